"""Two valid secrets for a while: which one a request was made with, and who still uses the old one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aaa.authorize import Accept, Silent, Verdict
from aaa.domain.authentication import Pap
from aaa.rotate_secret import SecretUse, note_secret_uses, retire_expired_secrets
from core.secrets import Sealer, Secret
from core.work import Workplace
from radius.nas.table import NasState, NasTable
from radius.serving.findings import NasWatch

_SAID_AGAIN_S = 60.0
_SAID_KEPT = 20_000


def other_proof(nas: NasState, packet: bytes, at: int) -> Pap:
    """The password of the User-Password at ``at``, read with the secret that is not in use."""
    assert nas.other is not None  # noqa: S101 - the caller has looked
    return Pap(nas.other.show_password(packet[at + 2 : at + packet[at + 1]], packet[4:20]))


def fits_better(proof: Pap, verdict: Verdict, other: Pap, tried: Verdict) -> bool:
    """Whether the other secret made the request: it shows the right password, or one where ours shows noise.

    An empty password is empty under both and tells nothing.
    """
    if isinstance(verdict, Accept) or proof.password == other.password:
        return False
    return isinstance(tried, Accept) or (isinstance(verdict, Silent) and not isinstance(tried, Silent))


class RotationWatch:
    """Follows rotations for the database and the operator: who uses which secret, when the old one ends."""

    def __init__(self, nases: NasTable, watch: NasWatch) -> None:
        self._nases = nases
        self._watch = watch
        self._said: dict[tuple[str, str], tuple[Secret, bool, float]] = {}

    async def turn(self, workplace: Workplace) -> None:
        """Once a second, before the counts of the NASes are taken away. The old secrets end in any case."""
        now = workplace.clock.now()
        seen = self._seen(workplace.clock.monotonic_s())
        left = self._nases.end_rotations(now)
        for nas_id, (name, addresses) in _by_nas(left).items():
            self._watch.old_secret_ended(nas_id, name, addresses)
        if seen:
            async with workplace.work("system:radius") as work:
                await note_secret_uses(work, seen)
        if self._nases.ended_rotations:
            self._said.clear()
            async with workplace.work("system:radius") as work:
                ended = await retire_expired_secrets(work)
            for one in ended:
                if one.left_behind:
                    self._watch.old_secret_ended(one.nas_id, one.name, one.left_behind)
            self._nases.ended_rotations.clear()

    def _seen(self, now_s: float) -> list[SecretUse]:
        """What is new since the last turn, and once a minute what stays so."""
        seen = []
        for address, state in self._nases.rotating:
            if not (state.right or state.proved):
                continue
            state.proved = False
            key = (state.nas.id, address)
            said = self._said.get(key)
            if (
                said is None
                or said[:2] != (state.nas.secret, state.on_old)
                or now_s - said[2] >= _SAID_AGAIN_S
            ):
                if len(self._said) >= _SAID_KEPT:
                    self._said.clear()
                self._said[key] = (state.nas.secret, state.on_old, now_s)
                seen.append(SecretUse(state.nas.id, address, state.on_old))
        return seen


def _by_nas(left: list[tuple[str, NasState]]) -> Mapping[str, tuple[str, list[str]]]:
    found: dict[str, tuple[str, list[str]]] = {}
    for address, state in left:
        found.setdefault(state.nas.id, (state.nas.name, []))[1].append(address)
    return found


def secrets_of(row: Any, sealer: Sealer, now: datetime) -> tuple[Secret, Secret | None]:
    """The secret to reach a NAS with, and the other one while its secret is rotated.

    ``row`` has ``secret_sealed``, ``old_secret_sealed``, ``old_secret_until`` and, of the address, ``old_at``
    and ``new_at``. First comes the one last seen to work; who has not been heard yet has the old one.
    """
    new = sealer.open(row.secret_sealed, "nas.secret")
    if row.old_secret_sealed is None or row.old_secret_until <= now:
        return new, None
    old = sealer.open(row.old_secret_sealed, "nas.secret")
    on_new = row.new_at is not None and (row.old_at is None or row.new_at >= row.old_at)
    return (new, old) if on_new else (old, new)
