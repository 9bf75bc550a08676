"""Who may resume which TLS session: the identity and method it was let in under, for a time."""

from __future__ import annotations

from dataclasses import dataclass

from aaa.domain.authentication import Credential

_KEPT = 50_000
"""A little more than OpenSSL keeps: 20,480 of EAP-TTLS, as many of PEAP, two pages of EAP-TLS. A session that
it knew and we did not would be taken up again and then have to prove itself, which peers do not expect."""


@dataclass(frozen=True, slots=True)
class Resumable:
    """What was proved in the session. A credential that has changed since proves nothing any more."""

    kind: int
    username: bytes
    credential: Credential
    how: str
    until_s: float


class Resumptions:
    """The sessions of one worker, by the name their tunnel gives them. The oldest go first."""

    def __init__(self, lifetime_s: float, kept: int = _KEPT) -> None:
        self._lifetime_s = lifetime_s
        self._kept = kept
        self._known: dict[bytes, Resumable] = {}

    def remember(  # noqa: PLR0917 - what was proved is these five things
        self, name: bytes, kind: int, username: bytes, credential: Credential, how: str, now_s: float
    ) -> bool:
        """Whether the session may be resumed from now on."""
        if not name or self._lifetime_s <= 0:
            return False
        known = self._known
        known.pop(name, None)
        while len(known) >= self._kept:
            del known[next(iter(known))]
        known[name] = Resumable(kind, username, credential, how, now_s + self._lifetime_s)
        return True

    def find(self, name: bytes, kind: int, now_s: float) -> Resumable | None:
        """What that session proved, if it did under this method and not too long ago."""
        found = self._known.get(name) if name else None
        if found is None or found.kind != kind:
            return None
        if found.until_s <= now_s:
            del self._known[name]
            return None
        return found

    def __len__(self) -> int:
        return len(self._known)
