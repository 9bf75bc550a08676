"""Which exchanges a watcher wants to see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from aaa.domain.identity import normalise_mac
from radius.packet.codec import ACCESS_REJECT, Attr, Packet
from radius.packet.names import CODES, code_name


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """Every part that is given has to fit. Texts may hold ``*`` and ``?``; case does not count."""

    user: str | None = None
    nas: str | None = None
    """A NAS's name, or its address."""
    station: str | None = None
    """Calling-Station-Id; a MAC in whatever spelling."""
    codes: Sequence[int] = ()
    """Of the request or of its answer."""
    rejects: bool = False
    """Only rejects and requests that got no answer."""

    @classmethod
    def from_json(cls, line: bytes) -> WatchFilter:
        """Raises ``ValueError`` for anything but a filter."""
        given = json.loads(line)
        known = {one.name for one in fields(cls)}
        if not isinstance(given, dict) or not given.keys() <= known:
            raise ValueError("not a filter")
        wanted = cls(**given)
        texts = (wanted.user, wanted.nas, wanted.station)
        if not all(one is None or isinstance(one, str) for one in texts) or not isinstance(
            wanted.codes, list
        ):
            raise ValueError("not a filter")
        return wanted

    def as_json(self) -> bytes:
        """One line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def matches(self, nas: str, source: Sequence[Any], packet: Packet | None, reply: bytes | None) -> bool:
        """Whether an exchange is wanted; ``packet`` is None for what is no packet."""
        if self.rejects and reply is not None and reply[0] != ACCESS_REJECT:
            return False
        if self.nas is not None and not (_fits(self.nas, nas) or _fits(self.nas, str(source[0]))):
            return False
        codes = {packet.code if packet else -1, reply[0] if reply else -1}
        if self.codes and not codes & set(self.codes):
            return False
        return self._is_wanted_user(packet) and self._is_wanted_station(packet)

    def _is_wanted_user(self, packet: Packet | None) -> bool:
        return self.user is None or _fits(self.user, _text(packet, Attr.USER_NAME))

    def _is_wanted_station(self, packet: Packet | None) -> bool:
        if self.station is None:
            return True
        said = _text(packet, Attr.CALLING_STATION_ID)
        mac = normalise_mac(self.station)
        return _fits(self.station, said) or (mac is not None and mac == normalise_mac(said))


def _text(packet: Packet | None, kind: int) -> str:
    value = packet.first(kind) if packet is not None else None
    return (value or b"").decode("utf-8", "replace")


def _fits(pattern: str, text: str) -> bool:
    return fnmatchcase(text.lower(), pattern.lower())


def code_of(text: str) -> int:
    """The code of a packet's name or number. Raises ``ValueError`` naming what is known."""
    if text.isdecimal() and int(text) < 256:
        return int(text)
    found = [code for code, name in CODES.items() if name.lower() == text.lower()]
    if not found:
        known = ", ".join(code_name(code) for code in sorted(CODES))
        raise ValueError(f"{text!r} is no packet code; use a number or one of {known}")
    return found[0]
