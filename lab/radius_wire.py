"""Sending RADIUS as a NAS does: one socket, 256 identifiers, the same octets again when no answer comes."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from importlib import resources
from io import StringIO
from typing import Any, cast

from pyrad.dictionary import Dictionary
from pyrad.packet import Packet, PacketError


@dataclass(frozen=True, slots=True)
class RadiusServer:
    """A server of the NAS's list; they are tried in order."""

    host: str = "127.0.0.1"
    auth_port: int = 1812
    accounting_port: int = 1813


def load_dictionary() -> Dictionary:
    """The lab's own dictionary of attributes."""
    return Dictionary(StringIO(resources.files("lab").joinpath("dictionary").read_text()))


def hide_password(password: str, secret: bytes, authenticator: bytes) -> bytes:
    """User-Password (RFC 2865 5.2). An empty one is still 16 octets on the wire, as MikroTik sends it."""
    plain = password.encode()
    plain += bytes(-len(plain) % 16 or (16 if not plain else 0))
    hidden, last = b"", authenticator
    for start in range(0, len(plain), 16):
        pad = hashlib.md5(secret + last).digest()
        last = bytes(a ^ b for a, b in zip(plain[start : start + 16], pad, strict=True))
        hidden += last
    return hidden


def decoded(packet: Packet) -> dict[str, list[Any]]:
    """The attributes that the dictionary knows, by name."""
    return {name: packet[name] for name in packet.keys() if isinstance(name, str)}  # noqa: SIM118 - its own


@dataclass(slots=True)
class WireCounters:
    """What went over the socket."""

    sent: int = 0
    retransmitted: int = 0
    answered: int = 0
    unanswered: int = 0
    forged: int = 0


class RequestSocket(asyncio.DatagramProtocol):
    """The NAS's socket towards the servers, bound to its own address."""

    def __init__(self, timeout_s: float, tries: int) -> None:
        self.timeout_s = timeout_s
        self.tries = tries
        self.counters = WireCounters()
        self.enforce_message_authenticator = False
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: dict[tuple[str, int, int], tuple[Packet, asyncio.Future[Packet]]] = {}
        self._next_id = 0

    async def open(self, source_address: str) -> None:
        """Bind."""
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=(source_address, 0)
        )

    def close(self) -> None:
        """Unbind; whoever waits gets no answer."""
        if self._transport is not None:
            self._transport.close()
        for _, future in self._waiting.values():
            future.cancel()

    @property
    def local_address(self) -> tuple[str, int]:
        """Where requests come from."""
        assert self._transport is not None
        return cast(tuple[str, int], self._transport.get_extra_info("sockname")[:2])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) < 20 or (addr[0], addr[1], data[1]) not in self._waiting:
            return
        request, future = self._waiting[(addr[0], addr[1], data[1])]
        try:
            reply = request.CreateReply(packet=data)
            genuine = request.VerifyReply(reply, data, enforce_ma=self.enforce_message_authenticator)
        except (PacketError, ValueError):
            genuine = False
        if not genuine:
            self.counters.forged += 1  # RFC 2865 3: silently discarded
        elif not future.done():
            reply.request_authenticator = request.authenticator
            future.set_result(reply)

    def error_received(self, exc: Exception) -> None:
        """A closed port answers with ICMP: the same as no answer, the timer decides."""

    def take_id(self, host: str, port: int) -> int:
        """The next identifier free towards that server."""
        for _ in range(256):
            self._next_id = (self._next_id + 1) % 256
            if (host, port, self._next_id) not in self._waiting:
                return self._next_id
        raise RuntimeError(f"256 requests to {host}:{port} are waiting; a NAS would open another socket")

    async def ask(self, request: Packet, host: str, port: int, tries: int | None = None) -> Packet | None:
        """Send, and send the very same octets again while no answer comes; None after the last try."""
        assert self._transport is not None
        octets = request.RequestPacket()
        key = (host, port, request.id)
        future: asyncio.Future[Packet] = asyncio.get_running_loop().create_future()
        self._waiting[key] = (request, future)
        try:
            for attempt in range(tries or self.tries):
                self.counters.sent += 1
                self.counters.retransmitted += attempt > 0
                self._transport.sendto(octets, (host, port))
                done, _ = await asyncio.wait({future}, timeout=self.timeout_s)
                if done and not future.cancelled():
                    self.counters.answered += 1
                    return future.result()
            self.counters.unanswered += 1
            return None
        finally:
            del self._waiting[key]
