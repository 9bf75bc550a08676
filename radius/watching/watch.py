"""Live traffic of a radius process for whoever may look: ``hilltop radius watch``.

Beside its journal each process opens a stream socket that only its own user may open. While nobody is
connected nothing is tapped and nothing costs; the first watcher has the endpoints' callables exchanged for
ones that note every exchange, the last one who leaves has them put back. A watcher that reads too slowly
misses exchanges and is told how many; the process never waits for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from core.clock import Clock
from core.log import logger
from radius.nas.table import NasTable
from radius.packet.codec import ACCESS_REJECT, MalformedPacket, Packet, locate, parse, trim
from radius.radsec.connection import Connection
from radius.radsec.server import RadSec, source_of
from radius.reply.cache import Source
from radius.serving.counters import Counters
from radius.serving.endpoint import Datagram, Endpoint
from radius.sign_in.reject_log import Rejection, RejectLog
from radius.watching.filter import WatchFilter

_WATCHERS: Final = 8
_PENDING: Final = 10_000
_GIVEN_UP_AFTER_S: Final = 10.0
_LOOK_S: Final = 0.5
_BUFFERED: Final = 1 << 20
_FILTER_WITHIN_S: Final = 5.0
_UNFINISHED: Final = "eap_unfinished"
_LONGEST_PATH: Final = 100  # a socket's address holds 108 octets
_log = logger("radius")

_NAMES: Final = tuple(one.name for one in fields(Counters))
_read_counters = attrgetter(*_NAMES)
SILENCES: Final = {
    "unknown_source": "this address is no registered NAS",
    "over_limit": "more requests from this source or NAS than a worker takes",
    "malformed": "it is not a well-formed packet",
    "unexpected_code": "a packet of this code does not belong on this port",
    "wrong_signature": "it was signed with another secret than this NAS's",
    "unsigned_refused": "it carries no Message-Authenticator, and this NAS must sign",
    "suspected_wrong_secret": "the password is garbled: the secret differs on the two sides",
    "eap_ignored": "it answers another EAP request than the last one",
    "duplicates_in_work": "a retransmit of a request that is being worked on",
    "slow_proofs_refused": "too many passwords wait to be checked already",
    "unknown_not_answered": "too many names that nobody has are being asked for",
    "rejects_not_queued": "too many rejects wait for their time already",
    "proxy_loops": "it has been here before: a proxy sends it in a circle",
    "proxy_full": "too many wait for home servers already",
    "journal_failures": "the record could not be written to the journal",
    "journal_backlog_full": "too many records wait for the journal already",
    "stale_silent": "what we know is older than this class of service may be decided by",
    "gear_not_recorded": "an operator's sign-in that could not be put on record",
    "failures": "a defect of ours: see the log of the radius role",
}
"""What it means when a counter moved and no answer left."""


def watch_path(journal_path: Path) -> Path:
    """Where the process that owns this journal is watched."""
    return journal_path.with_suffix(".watch")


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name of the path that fits into a socket's address, however deep its folder lies."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@dataclass(slots=True)
class _Exchange:
    """A request that came, until it is known what became of it."""

    at: str
    came_s: float
    nas: str
    nas_id: str
    source: Source
    request: bytes = field(repr=False)
    packet: Packet | None
    counted: tuple[str, ...] = ()
    rejection: Rejection | None = None

    def as_event(self, reply: bytes | None, why: str, now_s: float) -> dict[str, Any]:
        return {
            "at": self.at, "nas": self.nas, "source": str(self.source[0]), "port": self.source[1],
            "request": self.request.hex(), "reply": reply.hex() if reply is not None else None,
            "why": why, "ms": round((now_s - self.came_s) * 1000, 2),
        }  # fmt: skip


@dataclass(slots=True)
class _Watcher:
    writer: asyncio.StreamWriter
    wants: WatchFilter
    missed: int = 0

    def tell(self, event: dict[str, Any]) -> None:
        """Hand over an event, unless so much waits already that this one has to be missed."""
        if self.writer.transport.get_write_buffer_size() > _BUFFERED:
            self.missed += 1
            return
        if self.missed:
            self.writer.write(json.dumps({"missed": self.missed}).encode() + b"\n")
            self.missed = 0
        self.writer.write(json.dumps(event).encode() + b"\n")


class WatchDoor:
    """The socket of one radius process, and what is tapped while somebody is connected to it."""

    def __init__(
        self, journal_path: Path, clock: Clock, counters: Counters, nases: NasTable, rejects: RejectLog
    ) -> None:
        self._path = watch_path(journal_path)
        self._clock = clock
        self._counters = counters
        self._nases = nases
        self._rejects = rejects
        self._inode = 0
        self._watchers: list[_Watcher] = []
        self._taps: list[_Tap | _RadSecTap] = []
        self._pending: dict[tuple[int, Source, int], _Exchange] = {}
        self._current: _Exchange | None = None
        self._current_key: tuple[int, Source, int] = (0, (), 0)
        self._counted_before: tuple[int, ...] = ()
        self._duplicates_before = 0

    async def run(self, endpoints: Sequence[Endpoint], radsec: RadSec, stop: asyncio.Event) -> None:
        """Let watchers in until ``stop``. When the socket cannot be opened, say so and serve without."""
        try:
            listening = self._listen()
        except OSError as trouble:
            _log.warning("radius_cannot_be_watched", error=f"{self._path}: {trouble.strerror or trouble}")
            return
        self._taps = [_Tap(number, endpoint, self) for number, endpoint in enumerate(endpoints)]
        self._taps.append(_RadSecTap(len(endpoints), radsec, self))
        server = await asyncio.start_unix_server(self._on_watcher, sock=listening)
        try:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await stop.wait()
                self._give_up_old()
        finally:
            server.close()
            for one in list(self._watchers):
                self._leave(one)
            self._unlink_own()

    def _unlink_own(self) -> None:
        """Take the name away, unless the process that replaces this one has given it to its own socket."""
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _listen(self) -> socket.socket:
        """A socket that only this user may open: it gets its mode before it gets its name."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(made.fileno(), 0o600)
            made.setblocking(False)
            self._path.unlink(missing_ok=True)
            with reachable(self._path) as name:
                made.bind(name)
            made.listen(_WATCHERS)
            self._inode = self._path.stat().st_ino
        except OSError:
            made.close()
            raise
        return made

    async def _on_watcher(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One watcher, from the line that says what it wants to see until it hangs up."""
        try:
            line = await asyncio.wait_for(reader.readline(), _FILTER_WITHIN_S)
            wants = WatchFilter.from_json(line)
        except (TimeoutError, ValueError, OSError):
            writer.close()
            return
        if len(self._watchers) >= _WATCHERS:
            writer.write(json.dumps({"trouble": f"{_WATCHERS} watch this process already"}).encode() + b"\n")
            writer.close()
            return
        watcher = _Watcher(writer, wants)
        self._enter(watcher)
        try:
            writer.write(json.dumps({"watching": os.getpid()}).encode() + b"\n")
            with contextlib.suppress(OSError):
                while await reader.read(4_096):  # nothing is said any more; the end is what is waited for
                    continue
        finally:
            self._leave(watcher)

    def _enter(self, watcher: _Watcher) -> None:
        if not self._watchers:
            for tap in self._taps:
                tap.attach()
            self._rejects.listener = self._on_reject
        self._watchers.append(watcher)

    def _leave(self, watcher: _Watcher) -> None:
        if watcher not in self._watchers:
            return
        self._watchers.remove(watcher)
        watcher.writer.close()
        if not self._watchers:
            for tap in self._taps:
                tap.detach()
            self._rejects.listener = None
            self._pending.clear()

    def came(self, number: int, datagram: Datagram) -> None:
        """A datagram is about to be handled; ``handled`` follows."""
        exchange = self._exchange(datagram)
        key = (number, datagram[1], datagram[0][1] if len(datagram[0]) > 1 else -1)
        self._remember(key, exchange)
        self._current, self._current_key = exchange, key
        self._counted_before = _read_counters(self._counters)
        self._duplicates_before = self._counters.duplicates

    def handled(self) -> None:
        """It was: when a counter has moved that means that no answer will follow, say so."""
        exchange, key = self._current, self._current_key
        self._current = None
        if exchange is None:
            return
        moved = zip(_NAMES, self._counted_before, _read_counters(self._counters), strict=True)
        exchange.counted = tuple(name for name, was, now in moved if now != was)
        silence = next((name for name in exchange.counted if name in SILENCES), None)
        is_another_s = "handed_over" in exchange.counted  # another process will tell of it
        if (silence or is_another_s) and self._pending.get(key) is exchange:
            del self._pending[key]
        if silence:
            self._tell(exchange, None, _why_silent(silence, exchange.request))

    def _remember(self, key: tuple[int, Source, int], exchange: _Exchange) -> None:
        """Until its answer leaves. The first of several retransmits is the one that is answered."""
        earlier = self._pending.get(key)
        if earlier is not None:
            if earlier.request == exchange.request:
                return
            del self._pending[key]
            self._tell(earlier, None, "the NAS asked something else under the same identifier")
        if len(self._pending) < _PENDING:
            self._pending[key] = exchange

    def _exchange(self, datagram: Datagram) -> _Exchange:
        octets, source = datagram
        nas = self._nases.at(source[0])
        try:
            packet: Packet | None = parse(octets)
        except MalformedPacket:
            packet = None
        return _Exchange(
            self._clock.now().isoformat(), self._clock.monotonic_s(), nas.nas.name if nas else "",
            nas.nas.id if nas else "", source, octets, packet,
        )  # fmt: skip

    def left(self, number: int, reply: bytes, source: Source) -> None:
        """An answer has left: what did it answer?"""
        exchange = self._pending.pop((number, source, reply[1]), None)
        if exchange is not None:
            again = "again, from memory" if self._is_again(exchange) else ""
            self._tell(exchange, reply, _why_refused(exchange.rejection, reply) or again)

    def _is_again(self, exchange: _Exchange) -> bool:
        """Whether the answer to it was given before: the pipeline has counted that by now."""
        return exchange is self._current and self._duplicates_before != self._counters.duplicates

    def _on_reject(self, rejection: Rejection) -> None:
        if rejection.reject.rule == _UNFINISHED:
            return  # of a peer that fell silent, not of the request at hand
        exchange = self._current or self._asked_by(rejection)
        if exchange is not None:
            exchange.rejection = rejection

    def _asked_by(self, rejection: Rejection) -> _Exchange | None:
        """Which request was it, when its verdict came later? The first of that name at that NAS."""
        for one in self._pending.values():
            name = one.packet.first(1) if one.packet is not None else None
            same = (name or b"").decode("utf-8", "replace") == rejection.reject.identity
            if same and one.nas_id == rejection.nas_id and one.rejection is None:
                return one
        return None

    def _give_up_old(self) -> None:
        """What has had no answer for long will get none; retransmits begin anew."""
        if not self._pending:
            return
        old = self._clock.monotonic_s() - _GIVEN_UP_AFTER_S
        for key, one in list(self._pending.items()):
            if one.came_s > old:
                return  # they are in the order in which they came
            del self._pending[key]
            self._tell(one, None, _why_too_late(one.counted))

    def _tell(self, exchange: _Exchange, reply: bytes | None, why: str) -> None:
        event: dict[str, Any] | None = None
        for one in self._watchers:
            if one.wants.matches(exchange.nas, exchange.source, exchange.packet, reply):
                event = event or exchange.as_event(reply, why, self._clock.monotonic_s())
                one.tell(event)


class _Observed(list[Datagram]):
    """A wake-up's datagrams, handled together as ever; the door hears when each begins and ends."""

    def __init__(self, datagrams: list[Datagram], number: int, door: WatchDoor) -> None:
        super().__init__(datagrams)
        self._number = number
        self._door = door

    def __iter__(self) -> Iterator[Datagram]:
        for one in super().__iter__():
            self._door.came(self._number, one)
            yield one
            self._door.handled()


class _Tap:
    """One endpoint, between whose callables we stand while somebody watches."""

    def __init__(self, number: int, endpoint: Endpoint, door: WatchDoor) -> None:
        self._number = number
        self._endpoint = endpoint
        self._door = door
        self._handle, self._send = endpoint.handle, endpoint.send

    def attach(self) -> None:
        self._handle, self._send = self._endpoint.handle, self._endpoint.send
        self._endpoint.handle, self._endpoint.send = self.handle, self.send

    def detach(self) -> None:
        self._endpoint.handle, self._endpoint.send = self._handle, self._send

    def handle(self, datagrams: list[Datagram]) -> None:
        self._handle(_Observed(datagrams, self._number, self._door))

    def send(self, reply: bytes, source: Source) -> None:
        self._send(reply, source)
        self._door.left(self._number, reply, source)


class _RadSecTap:
    """The same for what comes by TLS."""

    def __init__(self, number: int, radsec: RadSec, door: WatchDoor) -> None:
        self._number = number
        self._radsec = radsec
        self._door = door
        self._take, self._send = radsec.take, radsec.send

    def attach(self) -> None:
        self._take, self._send = self._radsec.take, self._radsec.send
        self._radsec.take, self._radsec.send = self.take, self.send

    def detach(self) -> None:
        self._radsec.take, self._radsec.send = self._take, self._send

    def take(self, packet: bytes, connection: Connection) -> bool:
        self._door.came(self._number, (packet, source_of(connection)))
        try:
            return self._take(packet, connection)
        finally:
            self._door.handled()

    def send(self, reply: bytes, source: Source) -> None:
        self._send(reply, source)
        self._door.left(self._number, reply, source)


def _why_too_late(counted: Sequence[str]) -> str:
    if "proxied" in counted:
        return "no home server of its realm has answered in time"
    words = ", ".join(name.replace("_", " ") for name in counted)
    return "no answer was ready in time" + (f" ({words})" if words else "")


def _why_silent(counter: str, request: bytes) -> str:
    if counter != "malformed":
        return SILENCES[counter]
    try:
        locate(trim(request))
    except MalformedPacket as trouble:
        return f"{SILENCES[counter]}: {trouble}"
    return f"{SILENCES[counter]}: what it proves itself with has a wrong form"


def _why_refused(rejection: Rejection | None, reply: bytes) -> str:
    if rejection is None or reply[0] != ACCESS_REJECT:
        return ""
    return f"{rejection.reject.rule}: {rejection.reject.explanation}; {rejection.reject.remedy}"
