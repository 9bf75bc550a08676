"""Home servers on the wire: sockets, outstanding requests, retransmits, and who is dead.

A request goes to the first server that is alive, again after its time-out, then to the next one. A server
that left all tries unanswered is dead until it answers Status-Server (RFC 5997), or for its ``dead_s``. When
all are dead the first is asked all the same: one lost burst must not turn everybody away. Tables are bounded,
and a port's identifiers are used in turn, so that a late reply meets nobody else's request.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from aaa.directory_realms import HomeServer
from core.log import logger
from radius.packet.codec import STATUS_SERVER, MalformedPacket
from radius.packet.shared_secret import SharedSecret
from radius.proxying.packets import is_reply
from radius.serving.counters import Counters

_log = logger("radius")
_LARGEST = 4_160
_SOCKETS_OF_ONE = 8
_STATUS_EVERY_S = 5.0
_AT_ONCE = 64

Make = Callable[[SharedSecret, int, bytes], bytes]
"""A request for a server with this secret, under an identifier and an authenticator."""


class Replied(NamedTuple):
    """A verified reply, the request it answers, and who gave it."""

    reply: bytes
    request: bytes
    secret: SharedSecret
    server_id: str


Done = Callable[[Replied | None], None]
"""Called once for a request; None: nobody answered."""


@dataclass(slots=True)
class _Exchange:
    """One request on its way."""

    make: Make
    done: Done
    rest: list[str]
    """Ids of the servers that are still to be asked."""
    server: Server | None = None
    channel: _Channel | None = None
    request: bytes = b""
    tries: int = 0
    due_s: float = 0.0
    over: bool = False


class _Channel:
    """One socket to one server: at most 256 requests are outstanding on it."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.free = deque(range(256))
        self.outstanding: dict[int, _Exchange] = {}
        family = socket.AF_INET6 if ":" in server.told.address else socket.AF_INET
        self._loop = loop
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect((server.told.address, server.told.auth_port or 0))
        loop.add_reader(self._socket.fileno(), self._on_readable)

    def send(self, request: bytes) -> None:
        """Let it go; what the kernel does not take now is sent again at its time."""
        try:
            self._socket.send(request)
        except OSError:
            self.server.servers.counters.not_sent += 1

    def close(self) -> None:
        """Let the port go."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _on_readable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                datagram = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError:  # its machine says that nobody listens there
                self.server.servers.refused(self.server)
                return
            self.server.servers.take(self, datagram)


@dataclass(slots=True, eq=False)
class Server:
    """One home server as this process sees it."""

    told: HomeServer
    servers: HomeServers
    secret: SharedSecret = field(init=False)
    channels: list[_Channel] = field(default_factory=list)
    dead_since_s: float | None = None
    asked_s: float = float("-inf")
    """When its state was last asked for."""
    heard_s: float = float("-inf")
    unbelieved_s: float = float("-inf")
    """When it last sent a reply whose signature was missing or wrong."""

    def __post_init__(self) -> None:
        self.secret = SharedSecret(self.told.secret.reveal().encode())

    def is_alive(self, now_s: float) -> bool:
        """Whether requests go to it."""
        if self.dead_since_s is None:
            return True
        return not self.told.status_check and now_s - self.dead_since_s >= self.told.dead_s


class HomeServers:
    """The home servers of one directory, and every request that waits for one."""

    def __init__(self, counters: Counters, most_outstanding: int, monotonic_s: Callable[[], float]) -> None:
        self.counters = counters
        self._most = most_outstanding
        self.most_of_one = max(1, most_outstanding // 2)
        """Of the requests that may be outstanding, those of one NAS."""
        self._monotonic_s = monotonic_s
        self._servers: dict[str, Server] = {}
        self._waiting: list[tuple[float, int, _Exchange]] = []
        self._order = count()
        self._outstanding = 0

    def use(self, servers: Sequence[HomeServer]) -> None:
        """Take over what is said of servers now; requests to one that was changed go on elsewhere."""
        wanted = {one.id: one for one in servers if one.auth_port is not None}
        for server_id, server in list(self._servers.items()):
            if wanted.get(server_id) != server.told:
                del self._servers[server_id]
                self._close(server)
        for server_id, told in wanted.items():
            if server_id not in self._servers:
                self._servers[server_id] = Server(told, self)

    @property
    def dead(self) -> list[Server]:
        """Those that do not answer."""
        return [one for one in self._servers.values() if one.dead_since_s is not None]

    @property
    def known(self) -> list[Server]:
        """All of them."""
        return list(self._servers.values())

    @property
    def outstanding(self) -> int:
        """How many requests wait for a reply."""
        return self._outstanding

    def ask(self, server_ids: Sequence[str], make: Make, done: Done) -> bool:
        """Send a request to the first of these that is alive; False when too many wait already.

        ``done`` is called once, now or later.
        """
        if self._outstanding >= self._most:
            return False
        now_s = self._monotonic_s()
        known = [self._servers[one] for one in server_ids if one in self._servers]
        alive = [one.told.id for one in known if one.is_alive(now_s)]
        exchange = _Exchange(make, done, alive or [one.told.id for one in known[:1]])
        self._outstanding += 1
        self._next_server(exchange)
        return True

    def _next_server(self, exchange: _Exchange) -> None:
        """Ask the next server, or give up."""
        while exchange.rest:
            server = self._servers.get(exchange.rest.pop(0))
            channel = None if server is None else self._channel(server)
            if server is None or channel is None:
                continue
            identifier, authenticator = channel.free.popleft(), os.urandom(16)
            try:
                exchange.request = exchange.make(server.secret, identifier, authenticator)
            except MalformedPacket:  # with what a proxy adds it is too long, for one server as for all
                channel.free.append(identifier)
                self.counters.malformed += 1
                break
            exchange.server, exchange.channel, exchange.tries = server, channel, 0
            channel.outstanding[identifier] = exchange
            self._send(exchange)
            return
        self._end(exchange, None)

    def _channel(self, server: Server) -> _Channel | None:
        for one in server.channels:
            if one.free:
                return one
        if len(server.channels) >= _SOCKETS_OF_ONE:
            return None
        try:
            made = _Channel(server, asyncio.get_running_loop())
        except OSError:  # no way there now
            return None
        server.channels.append(made)
        return made

    def _send(self, exchange: _Exchange) -> None:
        if exchange.channel is None or exchange.server is None:
            return
        exchange.tries += 1
        exchange.due_s = self._monotonic_s() + exchange.server.told.timeout_s
        heapq.heappush(self._waiting, (exchange.due_s, next(self._order), exchange))
        exchange.channel.send(exchange.request)

    def _release(self, exchange: _Exchange) -> None:
        channel = exchange.channel
        if channel is not None and exchange.request:
            identifier = exchange.request[1]
            if channel.outstanding.get(identifier) is exchange:
                del channel.outstanding[identifier]
                channel.free.append(identifier)
        exchange.channel = None

    def _end(self, exchange: _Exchange, reply: bytes | None) -> None:
        if exchange.over:
            return
        self._release(exchange)
        exchange.over = True
        self._outstanding -= 1
        server = exchange.server
        replied = None
        if reply is not None and server is not None:
            replied = Replied(reply, exchange.request, server.secret, server.told.id)
        try:
            exchange.done(replied)
        except Exception as trouble:  # noqa: BLE001 - the boundary of one reply
            self.counters.failures += 1
            _log.error("radius_defect", error=f"{type(trouble).__name__}: {trouble}", exc_info=trouble)

    def take(self, channel: _Channel, datagram: bytes) -> None:
        """A datagram from a server: the reply to a request, or nothing."""
        exchange = channel.outstanding.get(datagram[1]) if len(datagram) > 1 else None
        if exchange is None:
            self.counters.proxy_late += 1
            return
        server = channel.server
        asks_state = exchange.request[0] == STATUS_SERVER
        must_sign = server.told.signs_replies and not asks_state
        reply = is_reply(datagram, exchange.request, server.secret, must_sign=must_sign)
        if reply is None:
            self.counters.proxy_wrong_signature += 1
            server.unbelieved_s = self._monotonic_s()
            return
        server.heard_s = self._monotonic_s()
        server.dead_since_s = None
        self._end(exchange, reply)

    def refused(self, server: Server) -> None:
        """Nobody listens there: whoever waits for it goes on at once."""
        self._bury(server)
        for channel in server.channels:
            for exchange in list(channel.outstanding.values()):
                self._release(exchange)
                self._next_server(exchange)

    def _bury(self, server: Server) -> None:
        if server.dead_since_s is None:
            self.counters.proxy_deaths += 1
            server.asked_s = self._monotonic_s()
        server.dead_since_s = self._monotonic_s()

    def tick(self) -> None:
        """Send again what was not answered, go on to the next server, ask the dead how they are."""
        now_s = self._monotonic_s()
        while self._waiting and self._waiting[0][0] <= now_s:
            due_s, _, exchange = heapq.heappop(self._waiting)
            if exchange.over or exchange.due_s != due_s or exchange.server is None:
                continue
            if exchange.tries < exchange.server.told.tries:
                self.counters.proxy_retransmits += 1
                self._send(exchange)
                continue
            if exchange.server.heard_s < due_s - exchange.server.told.timeout_s * exchange.tries:
                self._bury(exchange.server)
            self._release(exchange)
            self._next_server(exchange)
        for server in self.dead:
            if server.told.status_check and now_s - server.asked_s >= _STATUS_EVERY_S:
                server.asked_s = now_s
                self._ask_state(server)

    def _ask_state(self, server: Server) -> None:
        def make(secret: SharedSecret, identifier: int, authenticator: bytes) -> bytes:
            return secret.access_request(bytes((STATUS_SERVER, identifier)), authenticator, b"")

        channel = self._channel(server)
        if channel is None or self._outstanding >= self._most:
            return
        exchange = _Exchange(make, _told_state, [server.told.id])
        self._outstanding += 1
        self._next_server(exchange)
        exchange.tries = server.told.tries  # asked once: the next time is soon enough

    def close(self) -> None:
        """Let every port go; nobody is told."""
        for server in self._servers.values():
            for channel in server.channels:
                channel.close()
        self._servers = {}
        self._waiting = []

    def _close(self, server: Server) -> None:
        for channel in server.channels:
            channel.close()
            for exchange in list(channel.outstanding.values()):
                self._release(exchange)
                self._next_server(exchange)


def _told_state(_replied: Replied | None) -> None:
    """A server that answers is alive: ``take`` has seen to that already."""
