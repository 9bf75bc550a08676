"""RadSec (RFC 6614): RADIUS over TLS over TCP, answered by the same pipelines as what comes by UDP.

A connection is a source of its own: its packets are told apart by its number, and the NAS is the one whose
certificate opened it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from itertools import count
from typing import Final

from aaa.directory import Directory
from aaa.directory_certificates import TlsMaterial
from core.clock import Clock
from core.endpoints import split_endpoint
from core.health import HealthIssue
from core.log import logger
from core.store.columns import to_microseconds
from radius.accounting.journal import Journal
from radius.accounting.pipeline import AccountingPipeline, Pending
from radius.guard.rate_limits import Bucket
from radius.nas.table import RADSEC
from radius.packet.codec import ACCOUNTING_REQUEST, COA_ACK, COA_NAK, DISCONNECT_ACK, DISCONNECT_NAK
from radius.packet.shared_secret import SharedSecret
from radius.radsec.connection import Connection
from radius.radsec.limits import RadSecLimits
from radius.radsec.tls import Guests, server_context
from radius.reply.cache import Source
from radius.serving.counters import Counters
from radius.sign_in.pipeline import AuthenticationPipeline

_log = logger("radius")
_DYNAUTH_ANSWERS: Final = frozenset({COA_ACK, COA_NAK, DISCONNECT_ACK, DISCONNECT_NAK})
_SECRET: Final = SharedSecret(b"radsec")  # RFC 6614 section 2.3

_HANDSHAKES_OF_ONE: Final = 8
"""Connections from one address that have shown no certificate yet."""
_NEW_PER_S: Final = 100.0
"""Handshakes a worker begins in a second: each costs it a millisecond or more."""
_NEW_OF_ONE_PER_S: Final = 10.0
_NEW_OF_ONE_AT_ONCE: Final = 40.0
"""Those from one address, so that none takes them all."""
_NEWCOMERS_KEPT: Final = 4_096
_TOLD_KEPT: Final = 256
_REFUSALS_SHOWN: Final = 20
_TOLD_AGAIN_S: Final = 60.0

RADSEC_ISSUE = HealthIssue(
    "radius.radsec_certificate", "critical", "RadSec has no certificate to show: NASes cannot come by TLS",
    "Make the authority and our certificate (hilltop ca init NAME --server HOST), or issue another: "
    "hilltop ca issue server HOST.",
)  # fmt: skip


class RadSec:
    """The listeners of one worker and its connections."""

    def __init__(self, limits: RadSecLimits, clock: Clock, counters: Counters) -> None:
        self.limits = limits
        self.clock = clock
        self.counters = counters
        self._servers: list[asyncio.Server] = []
        self._beginning: list[asyncio.Task[None]] = []
        self._connections: dict[int, Connection] = {}
        self._numbers = count(1)
        self._tls: TlsMaterial | None = None
        self._context: ssl.SSLContext | None = None
        self.guests: Guests | None = None
        self._seen: tuple[object, object] | None = None
        self._budget = _NEW_PER_S
        self._budget_at_s = clock.monotonic_s()
        self._newcomers: dict[str, Bucket] = {}
        self._told: dict[str, float] = {}
        self._why: dict[str, str] = {}
        self._authentication: AuthenticationPipeline | None = None
        self._accounting: AccountingPipeline | None = None
        self._journal: Journal | None = None
        self._on_failure: Callable[[Exception], None] = _unexpected
        self.take: Callable[[bytes, Connection], bool] = self._take
        """Exchanged, as is ``send``, while somebody watches (``radius.watching.watch``)."""
        self.send: Callable[[bytes, Source], None] = self._send

    def answer_with(
        self,
        authentication: AuthenticationPipeline,
        accounting: AccountingPipeline,
        journal: Journal,
        on_failure: Callable[[Exception], None],
    ) -> None:
        """What answers the packets; call it before ``start``."""
        self._authentication, self._accounting, self._journal = authentication, accounting, journal
        self._on_failure = on_failure

    async def start(self, endpoints: list[str]) -> None:
        """Have the ports. Several workers may; the kernel divides the connections. Raises ``OSError``."""
        loop = asyncio.get_running_loop()
        for one in endpoints:
            made = await loop.create_server(
                lambda: Connection(self), sock=_listening(one), backlog=64, start_serving=False
            )
            self._servers.append(made)

    def begin(self) -> None:
        """Listen: before there is a certificate to show, nobody is to come."""
        self._beginning = [asyncio.create_task(one.start_serving()) for one in self._servers]

    @property
    def port(self) -> int:
        """The port of the first listener; 0 for none."""
        return int(self._servers[0].sockets[0].getsockname()[1]) if self._servers else 0

    @property
    def has_certificate(self) -> bool:
        """Whether there is a certificate to show and somebody to trust."""
        return self._context is not None

    @property
    def refused(self) -> dict[str, str]:
        """Why peers were not let in lately, by address; the newest last."""
        return dict(self._why)

    @property
    def open_by_nas(self) -> dict[str, int]:
        """How many connections each NAS has, by its name."""
        found: dict[str, int] = {}
        for one in self._connections.values():
            if one.nas_id:
                found[one.nas_name] = found.get(one.nas_name, 0) + 1
        return found

    def use(self, directory: Directory) -> None:
        """Judge by this snapshot from now on, the connections that are open too."""
        if self._authentication is not None:
            self._authentication.use(directory)
        seen = (directory.nases, directory.certificates)
        if self._seen is not None and all(a is b for a, b in zip(seen, self._seen, strict=True)):
            return
        self._seen, self.guests = seen, Guests(directory)
        if directory.certificates.tls is not self._tls:
            self._tls = directory.certificates.tls
            self._context = self._make_context(self._tls)
        for connection in list(self._connections.values()):
            connection.judge_again(self.guests)

    def _make_context(self, material: TlsMaterial) -> ssl.SSLContext | None:
        try:
            context = server_context(material)
        except (ssl.SSLError, OSError, ValueError) as trouble:
            _log.error(
                "radsec_certificate_unusable", error=str(trouble), remedy="hilltop ca issue server NAME"
            )
            return None
        if context is None:
            _log.warning("radsec_without_certificate", remedy="hilltop ca init NAME --server HOST")
        return context

    def _send(self, reply: bytes, source: Source) -> None:
        """Answer on the connection that ``source`` names, if it is still there."""
        connection = self._connections.get(source[1])
        if connection is None or not connection.send(reply):
            self.counters.not_sent += 1

    def tick(self, now_s: float) -> None:
        """Send what was delayed, age what is remembered, close what took too long."""
        if self._authentication is not None and self._accounting is not None:
            for reply, source in self._authentication.due(now_s):
                self.send(reply, source)
            self._accounting.age(now_s)
        self._budget = min(_NEW_PER_S, self._budget + (now_s - self._budget_at_s) * _NEW_PER_S)
        self._budget_at_s = now_s
        for connection in list(self._connections.values()):
            if connection.is_late(now_s):
                self.counters.radsec_timed_out += 1
                connection.end()

    @property
    def delayed(self) -> int:
        """How many rejects wait for their time."""
        return 0 if self._authentication is None else self._authentication.delayed

    def stop_reading(self) -> None:
        """Take no more; answers may still leave."""
        for server in self._servers:
            server.close()
        for connection in self._connections.values():
            connection.stop_reading()

    def close(self) -> None:
        """Say goodbye and close every connection."""
        for connection in list(self._connections.values()):
            connection.end()

    def welcome(self, connection: Connection, address: str) -> tuple[int, ssl.SSLContext] | None:
        """A number and the context for a new connection; None without room or a certificate of ours."""
        strangers = [one for one in self._connections.values() if not one.nas_id]
        full = (
            len(self._connections) >= self.limits.connections
            or len(strangers) >= max(1, self.limits.connections // 2)
            or sum(one.address == address for one in strangers) >= _HANDSHAKES_OF_ONE
            or self._budget < 1
        )
        if full or self._context is None or not self._may_come(address):
            self.counters.radsec_full += 1
            return None
        self._budget -= 1
        number = next(self._numbers)
        self._connections[number] = connection
        return number, self._context

    def _may_come(self, address: str) -> bool:
        """Whether one more handshake with that address may begin now."""
        if len(self._newcomers) >= _NEWCOMERS_KEPT:
            self._newcomers.clear()
        bucket = self._newcomers.setdefault(address, Bucket(_NEW_OF_ONE_PER_S, _NEW_OF_ONE_AT_ONCE))
        return bucket.take(1.0, self.clock.monotonic_s()) >= 1

    def has_room(self, nas_id: str) -> bool:
        """Whether one NAS may have one more connection."""
        present = sum(one.nas_id == nas_id for one in self._connections.values())
        return present < self.limits.connections_of_one

    def forget(self, number: int) -> None:
        """A connection has ended."""
        self._connections.pop(number, None)

    def refuse(self, address: str, why: str) -> None:
        """Tell the operator of a peer that was not let in: once a minute for each address."""
        self.counters.radsec_refused += 1
        now_s = self.clock.monotonic_s()
        if now_s - self._told.get(address, float("-inf")) < _TOLD_AGAIN_S:
            return
        if len(self._told) >= _TOLD_KEPT:
            self._told.clear()
        self._why.pop(address, None)  # the newest are shown last
        self._told[address] = now_s
        self._why[address] = why
        while len(self._why) > _REFUSALS_SHOWN:
            del self._why[next(iter(self._why))]
        _log.warning("radsec_refused", address=address, why=why)

    def _take(self, packet: bytes, connection: Connection) -> bool:
        """Answer one packet; False when it must be offered again, because the journal takes no more now."""
        source = source_of(connection)
        try:
            if packet[0] == ACCOUNTING_REQUEST:
                return self._report(packet, source, connection)
            if packet[0] in _DYNAUTH_ANSWERS:
                self.counters.unexpected_code += not connection.answered(packet, _SECRET)
                return True
            if self._authentication is not None:
                reply = self._authentication.receive(packet, source, self.clock.monotonic_s())
                if reply is not None:
                    self.send(reply, source)
        except Exception as trouble:  # noqa: BLE001 - the boundary of one packet
            self._on_failure(trouble)
        return True

    async def order(self, nas_id: str, code: int, attributes: bytes, wait_s: float) -> bytes | str:
        """Give a NAS an order over the newest connection it opened; its answer, or why there is none."""
        lines = [one for one in self._connections.values() if one.nas_id == nas_id]
        if not lines:
            return "the NAS has no RadSec connection open now"
        waiting = lines[-1].order(code, attributes, _SECRET)
        if waiting is None:
            return "the NAS leaves too many orders unanswered"
        try:
            return await asyncio.wait_for(waiting, wait_s)
        except TimeoutError:
            return f"no answer over its RadSec connection in {wait_s:g} s"
        except asyncio.CancelledError:
            if waiting.cancelled():
                return "its RadSec connection ended"
            raise

    def _report(self, packet: bytes, source: Source, connection: Connection) -> bool:
        accounting, journal = self._accounting, self._journal
        if accounting is None or journal is None:
            return True
        outcome = accounting.receive(packet, source, to_microseconds(self.clock.now()))
        if not isinstance(outcome, Pending):
            if outcome is not None:
                self.send(outcome, source)
            return True

        def on_commit(committed: bool) -> None:
            connection.in_work -= 1
            reply = accounting.settle(outcome, committed=committed)
            if reply is not None:
                self.send(reply, source)
            connection.go_on()

        if not journal.append(outcome.record, on_commit):
            accounting.refuse(outcome)
            return False
        connection.in_work += 1
        return True


def source_of(connection: Connection) -> Source:
    """What the packets of a connection come from."""
    return RADSEC + connection.nas_id, connection.number


def _unexpected(trouble: Exception) -> None:
    raise trouble


def _listening(endpoint: str) -> socket.socket:
    host, port = split_endpoint(endpoint)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind((host, port))
    except OSError as trouble:
        made.close()
        raise OSError(trouble.errno, f"{host} port {port}: {trouble.strerror}") from trouble
    return made
