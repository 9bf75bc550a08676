"""Brute force: who is held back after wrong passwords, and for how long. In memory, without I/O.

What is held back is always one login from one device at one NAS, and, when devices are made up faster than
that helps, one login at one NAS from devices that never signed in there. So nobody on another NAS, and nobody
with another MAC, can hold back a subscriber on his own line. While held back a request is refused unread: the
answer looks like any other reject, so it tells a guesser neither that he is held back nor that the login is
real. What carries no signature may come from anybody who knows the NAS's address, in the name of any device:
it never holds back one that has signed in there before. Waiting times double from two seconds to
``longest_s``, and nothing is held back for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from aaa.authorize import Reject
from aaa.domain.authentication import Credential
from aaa.domain.identity import normalise_mac
from radius.serving.counters import Counters

ANY_OTHER = ""
"""Stands for every device that is not known to have signed in before."""
_FIRST_WAIT_S = 2.0
_MADE_UP_DEVICES = 4  # times ``after`` wrong passwords from all devices together: then all strangers wait
_PLACES_OF_ONE = 64
_WAITING_LINES = 4_096


@dataclass(frozen=True, slots=True)
class LockoutLimits:
    """After how many wrong passwords waiting begins, and its bounds in seconds.

    ``longest_known_s``: of a device that has signed in there before; its owner's MAC may be imitated.
    ``forget_s``: after so long without a wrong password the count begins anew.
    """

    after: int = 5
    longest_s: float = 300.0
    longest_known_s: float = 10.0
    forget_s: float = 1_800.0
    identities: int = 10_000


@dataclass(slots=True)
class Place:
    """One login from one device, or from any that is not known, at one NAS."""

    failures: int = 0
    until_s: float = 0.0
    last_s: float = 0.0
    since: datetime | None = None
    """When it was first written down as held back; None: not held back, or not written yet."""
    changed: bool = False


@dataclass(slots=True)
class Watched:
    """A login that wrong passwords were sent for."""

    credential: Credential
    service_id: str | None
    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    known: dict[str, frozenset[str] | None] = field(default_factory=dict)
    """Devices that signed in at a NAS before, by its id; None: asked for and not heard yet."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A place as it is shown to the operator."""

    nas_id: str
    identity: str
    station: str
    service_id: str | None
    failures: int
    wait_s: float
    since: datetime | None


class KnownLogin(Protocol):
    """What guessing is held back for: a subscriber's login, or an operator's to network gear."""

    @property
    def credential(self) -> Credential:
        """What is guessed at."""

    @property
    def service(self) -> HasId:
        """Whose it is."""


class HasId(Protocol):
    """Something with an id."""

    @property
    def id(self) -> str:
        """The id."""


class Lockout:
    """Counts wrong passwords and says who has to wait. ``watched`` is empty while nobody is guessing."""

    def __init__(self, limits: LockoutLimits, counters: Counters) -> None:
        self._limits = limits
        self._counters = counters
        self.watched: dict[bytes, Watched] = {}
        self.freed: set[str] = set()
        """Logins with another password than the one guessed at; all processes are to hear of it."""

    def refusal(
        self,
        logins: Mapping[bytes, KnownLogin],
        nas_id: str,
        username: bytes,
        station: bytes | None,
        now_s: float,
    ) -> Reject | None:
        """The refusal of a sign-in that has to wait; None: look at it."""
        one = self.watched.get(username)
        if one is None:
            return None
        login = logins.get(username)
        if login is None or login.credential != one.credential:
            del self.watched[username]  # what was guessed at is no more: the operator set another password
            self.freed.add(one.credential.username)
            return None
        device = device_of(station)
        place = one.places.get((nas_id, device))
        if place is None or place.until_s <= now_s:
            place = None if self._is_known(one, nas_id, device) else one.places.get((nas_id, ANY_OTHER))
        if place is None or place.until_s <= now_s:
            return None
        self._counters.held_back += 1
        return Reject(
            "held_back", login.credential.username,
            f"{place.failures} wrong passwords came for this login; the next is looked at in "
            f"{max(1, round(place.until_s - now_s))} s",
            "wait, or let it go on the page of refused sign-ins when its owner has the right password now",
            login.service.id,
        )  # fmt: skip

    def _is_known(self, one: Watched, nas_id: str, device: str) -> bool:
        """Whether strangers' waiting does not concern this device; also while that is not known yet."""
        known = one.known.get(nas_id)
        return known is None or device in known

    def wrong_password(
        self,
        logins: Mapping[bytes, KnownLogin],
        nas_id: str,
        username: bytes,
        station: bytes | None,
        now_s: float,
        *,
        signed: bool,
    ) -> None:
        """Count a password that was looked at and was wrong; ``signed``: its NAS vouches for the device."""
        login = logins.get(username)
        if login is None:
            return
        one = self.watched.get(username)
        if one is None or one.credential != login.credential:
            if len(self.watched) >= self._limits.identities:
                self._counters.lockouts_not_kept += 1
                return
            one = self.watched[username] = Watched(login.credential, login.service.id)
        device, limits = device_of(station), self._limits
        known = one.known.get(nas_id)
        if device and not signed and (known is None or device in known):
            one.known.setdefault(nas_id, None)
        elif device:
            longest = limits.longest_known_s if known and device in known else limits.longest_s
            self._count(one, (nas_id, device), limits.after, longest, now_s)
        strangers_after = limits.after * _MADE_UP_DEVICES if device else limits.after
        self._count(one, (nas_id, ANY_OTHER), strangers_after, limits.longest_s, now_s)

    def _count(self, one: Watched, key: tuple[str, str], after: int, longest_s: float, now_s: float) -> None:
        place = one.places.get(key)
        if place is None:
            if len(one.places) >= _PLACES_OF_ONE:
                return
            place = one.places[key] = Place()
        if now_s - place.last_s > self._limits.forget_s:
            place.failures = 0
        place.failures += 1
        place.last_s = now_s
        if place.failures >= after:
            one.known.setdefault(key[0], None)
            wait_s = _FIRST_WAIT_S * 2 ** min(place.failures - after, 16)
            place.until_s = now_s + min(wait_s, longest_s)
            place.changed = True

    def right_password(self, nas_id: str, username: bytes, station: bytes | None) -> None:
        """The login was accepted from there: that device's count begins anew, the strangers' does not."""
        one = self.watched.get(username)
        if one is None:
            return
        device = device_of(station)
        if device:
            one.places.pop((nas_id, device), None)
            known = one.known.get(nas_id)
            if known is not None:
                one.known[nas_id] = known | {device}

    def unasked(self) -> Iterator[tuple[str, str]]:
        """(NAS id, login) of which it is not known yet who signed in there before."""
        for one in self.watched.values():
            for nas_id, known in one.known.items():
                if known is None:
                    yield nas_id, one.credential.username

    def learn_known(self, nas_id: str, username: str, stations: Iterable[str]) -> None:
        """These devices signed in with that login at that NAS before any wrong password came."""
        one = self.watched.get(username.encode())
        if one is None:
            return
        devices = frozenset(device_of(station.encode()) for station in stations)
        one.known[nas_id] = devices
        for (at, device), place in one.places.items():
            if at == nas_id and device in devices:
                place.until_s = min(place.until_s, place.last_s + self._limits.longest_known_s)

    def adopt(self, logins: Mapping[bytes, KnownLogin], line: HeldBack, now_s: float) -> None:
        """Another process holds this back: so do we, for as long as it does."""
        username = line.identity.encode()
        login = logins.get(username)
        one = self.watched.get(username)
        if login is None or (one is None and len(self.watched) >= self._limits.identities):
            return
        if one is None:
            one = self.watched[username] = Watched(login.credential, login.service.id)
        elif one.credential != login.credential:
            del self.watched[username]
            self.freed.add(line.identity)
            return
        place = one.places.get((line.nas_id, line.station))
        if place is None:
            if len(one.places) >= _PLACES_OF_ONE:
                return
            place = one.places[line.nas_id, line.station] = Place()
        one.known.setdefault(line.nas_id, None)
        if place.until_s < now_s + line.wait_s:
            place.until_s = now_s + line.wait_s
            place.failures = max(place.failures, line.failures)
            place.last_s, place.since = now_s, line.since

    def let_go(self, identity: str, nas_id: str, station: str, at: datetime) -> None:
        """Somebody vouched for what was held back before ``at``: the count begins anew."""
        one = self.watched.get(identity.encode())
        place = None if one is None else one.places.get((nas_id, station))
        if one is not None and place is not None and place.since is not None and place.since <= at:
            del one.places[nas_id, station]

    def forget(self, now_s: float) -> None:
        """Drop what has been quiet for long."""
        for username, one in list(self.watched.items()):
            quiet = [key for key, place in one.places.items() if now_s - place.last_s > self._limits.forget_s]
            for key in quiet:
                del one.places[key]
            if not one.places:
                del self.watched[username]

    def held(self, now_s: float) -> list[tuple[HeldBack, Place]]:
        """What has to wait now; at most a few thousand."""
        found: list[tuple[HeldBack, Place]] = []
        for one in self.watched.values():
            for (nas_id, station), place in one.places.items():
                if place.until_s > now_s and len(found) < _WAITING_LINES:
                    line = HeldBack(
                        nas_id, one.credential.username, station, one.service_id, place.failures,
                        place.until_s - now_s, place.since,
                    )  # fmt: skip
                    found.append((line, place))
        return found


def device_of(station: bytes | None) -> str:
    """A Calling-Station-Id as places are kept: a MAC in one spelling; nothing is the device of nobody."""
    if not station:
        return ANY_OTHER
    text = station[:64].decode("utf-8", "replace").replace("\0", "\ufffd")
    return normalise_mac(text) or text
