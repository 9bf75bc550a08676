"""What RADIUS processes on the same ports tell each other, over datagram sockets beside their journals.

The kernel gives a process what comes from one source port. Three things do not fit into that: an EAP
conversation whose NAS changes its source port, which is handed to the process that holds it; health, which
is told by one process for all of them; and addresses that were given away, which a service is to get again
wherever it asks next. While RADIUS is reloaded it is also a way back: who takes over hands what belongs to a
conversation begun before to the process that was in its place. Nobody waits for an answer; what a sibling
does not take is lost, as a datagram may be.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from aaa.lease_addresses import Grant
from core.health import HealthIssue
from radius.leases.leasing import grant_record, grants_of
from radius.nas.table import Seen
from radius.reply.cache import Source
from radius.serving.place import Place, sibling_name

_LARGEST = 131_072
_TOGETHER_S = 0.5  # within so much a family begins
_AT_ONCE = 64
_HANDED, _REPORT, _GIVEN = b"D", b"R", b"L"


@dataclass(frozen=True, slots=True)
class Handed:
    """A datagram that came to the wrong process: to which endpoint (by name), from where."""

    endpoint: str
    source: Source
    datagram: bytes


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What one process noticed since it last told, by NAS id, and the issues that it finds of itself."""

    worker: int
    seen: Mapping[str, Seen]
    issues: Sequence[HealthIssue]


class Siblings:
    """One process's ear, and its way to the others."""

    def __init__(
        self,
        journal_path: Path,
        place: Place,
        on_handed: Callable[[Handed], None],
        on_report: Callable[[WorkerReport], None],
        on_given: Callable[[Sequence[Grant]], None] = lambda _grants: None,
    ) -> None:
        self._place = place
        self._on_handed = on_handed
        self._on_report = on_report
        self._on_given = on_given
        self._folder = journal_path.parent
        self._names = [sibling_name(index) for index in range(place.count)]
        self._folder_descriptor = -1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._former: socket.socket | None = None
        self._inode = 0
        self._began = float("inf")
        self.lost = 0
        """What a sibling would not take, or could not be understood."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to hear; the place of a process that was here before is taken over."""
        self._folder_descriptor = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        own = self._folder / self._names[self._place.index]
        beginning = f"{own.name}.{os.getpid()}"
        (self._folder / beginning).unlink(missing_ok=True)
        self._socket.bind(self._reachable(beginning))
        (self._folder / beginning).chmod(0o600)
        made = (self._folder / beginning).stat()
        self._inode, self._began = made.st_ino, made.st_ctime + _TOGETHER_S
        self._former = _connected(self._reachable(own.name))
        (self._folder / beginning).replace(own)
        loop.add_reader(self._socket.fileno(), self._on_readable)
        self._loop = loop

    def _reachable(self, name: str) -> str:
        """A socket's path, short enough for a socket address (108 octets) however long the folder's is."""
        return f"/proc/self/fd/{self._folder_descriptor}/{name}"

    def close(self) -> None:
        """Hear no more. The path stays: by now it may be our successor's."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None
            os.close(self._folder_descriptor)
        self._forget_former()
        self._socket.close()

    def _forget_former(self) -> None:
        if self._former is not None:
            self._former.close()
            self._former = None

    @property
    def has_successor(self) -> bool:
        """Whether another process has this one's place, or the leader's: a smaller family has not all."""
        try:
            if (self._folder / self._names[self._place.index]).stat().st_ino != self._inode:
                return True
            return (self._folder / self._names[0]).stat().st_ctime > self._began
        except OSError:
            return False

    def hand_over(self, index: int, handed: Handed) -> bool:
        """Give a datagram to its process, of a larger family before ours too; False: there is none."""
        return self._send(index, _packed(handed))

    def hand_back(self, handed: Handed) -> bool:
        """Give a datagram to the process that was in this one's place, if it is still there."""
        if self._former is None:
            return False
        try:
            self._former.send(_packed(handed))
        except BlockingIOError:
            self.lost += 1
        except OSError:
            self._forget_former()
            return False
        return True

    def report(self, report: WorkerReport) -> None:
        """Tell the leader."""
        issues = [astuple(issue) for issue in report.issues]
        self._send(0, _REPORT + json.dumps([report.worker, report.seen, issues]).encode())

    def tell_given(self, grants: Sequence[Grant]) -> None:
        """Tell all others what was given away; who does not hear it learns it from the database."""
        record = grant_record(grants)
        message = _GIVEN + json.dumps([record.received_us, record.nas_id, record.datagram.decode()]).encode()
        for index in range(self._place.count):
            if index != self._place.index:
                self._send(index, message)

    def _send(self, index: int, message: bytes) -> bool:
        try:
            self._socket.sendto(message, self._reachable(sibling_name(index)))
        except OSError:
            self.lost += 1
            return False
        return True

    def _on_readable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                message = self._socket.recv(_LARGEST)
            except OSError:
                return
            try:
                self._take(message)
            except (ValueError, TypeError, IndexError, KeyError):
                self.lost += 1

    def _take(self, message: bytes) -> None:
        if message[:1] == _REPORT:
            worker, seen, issues = json.loads(message[1:])
            counts = {str(nas_id): Seen(*map(int, one)) for nas_id, one in seen.items()}
            self._on_report(WorkerReport(int(worker), counts, [HealthIssue(*one) for one in issues]))
        elif message[:1] == _GIVEN:
            received_us, nas_id, told = json.loads(message[1:])
            self._on_given(grants_of(int(received_us), str(nas_id), str(told).encode()))
        elif message[:1] == _HANDED:
            end = 3 + int.from_bytes(message[1:3], "big")
            endpoint, source = json.loads(message[3:end])
            self._on_handed(Handed(str(endpoint), _source(source), message[end:]))


def _connected(path: str) -> socket.socket | None:
    """A way to whoever listens there now, also when somebody else does later; None: nobody does."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        made.connect(path)
    except OSError:
        made.close()
        return None
    return made


def _packed(handed: Handed) -> bytes:
    head = json.dumps([handed.endpoint, _plain(handed.source)]).encode()
    return _HANDED + len(head).to_bytes(2, "big") + head + handed.datagram


def _plain(source: Source) -> list[Any]:
    """A source as JSON: what the endpoint needs to reply (a control message) has octets in it."""
    return [
        [one[0], one[1], one[2].hex()] if isinstance(one, tuple) and len(one) == 3 else one for one in source
    ]


def _source(plain: list[Any]) -> Source:
    return tuple((one[0], one[1], bytes.fromhex(one[2])) if isinstance(one, list) else one for one in plain)
