"""UDP sockets on the event loop: octets from the kernel to a pipeline and back.

The reader callback drains the socket, many datagrams a wake-up, which costs a fifth of asyncio's datagram
protocol; they are handled together, under one time stamp. A socket on a wildcard address notes where each
request came in and answers from there; one on a named address need not.

Answers of one wake-up to one source, as when the subscribers of a concentrator all dial at once, are handed
to the kernel together wherever they are of the same length (UDP segmentation, ``udp(7)``): they leave as the
same datagrams, for a fifth of the time.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from functools import lru_cache

from core.endpoints import split_endpoint
from radius.reply.cache import Source
from radius.serving.sockets import IP_PKTINFO, WILDCARDS, bind_endpoint

_LARGEST = 4_160  # a little more than a packet may have, so that a longer one is seen to be longer
_IPV6_PKTINFO = 50

_LAST_TURNS = 1_000
AT_ONCE = 32  # datagrams between two looks at the other sockets and the journal

_UDP_SEGMENT = 103  # Linux; the socket module has no name for it
_TOGETHER = 64  # UDP_MAX_SEGMENTS of older kernels
_LARGEST_TOGETHER = 1_232  # an IPv6 packet of 1,280 octets, which every network carries whole
_OCTETS_TOGETHER = 60_000
_SINGLY_KEPT = 1_024

Datagram = tuple[bytes, Source]


class Endpoint:
    """One bound socket. ``handle`` gets what came in a wake-up; ``send`` answers a source, then or later."""

    def __init__(
        self,
        listen: str,
        handle: Callable[[list[Datagram]], None],
        bound: socket.socket | None = None,
    ) -> None:
        """``bound``: a socket from ``bind_endpoint`` that is somebody else's to close; without, its own."""
        host, _ = split_endpoint(listen)
        self.handle = handle
        """Exchanged, as is ``send``, while somebody watches (``radius.watching.watch``)."""
        self.send: Callable[[bytes, Source], None] = self._send
        self._send_at_once = self.send
        self.not_sent = 0
        self._posted: list[tuple[bytes, Source]] = []
        self._in_turn = False
        self._one_came_last = False
        self._singly: set[str] = set()
        """Addresses that the kernel does not take answers together for: a network card may not be able to."""
        self.at_once = AT_ONCE
        """Datagrams of the next wake-up: fewer where others go first (``radius.guard.overload``)."""
        self._socket = bind_endpoint(listen) if bound is None else bound
        self._is_own = bound is None
        self._wildcard = host in WILDCARDS
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def port(self) -> int:
        """The port it is bound to."""
        return int(self._socket.getsockname()[1])

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to read."""
        self._loop = loop
        loop.add_reader(self._socket.fileno(), self.turn)

    def stop_reading(self) -> None:
        """Take what has come, and no more; answers may still leave."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None
            for _ in range(_LAST_TURNS):  # another process may have the socket too, and fill it again
                if not self.turn():
                    return

    def close(self) -> None:
        """Let the port go, unless the socket is another's."""
        self.stop_reading()
        self.flush()
        if self._is_own:
            self._socket.close()

    def turn(self) -> bool:
        """Handle what waits, at most a wake-up's worth; whether there was anything."""
        if self._one_came_last:  # one alone is answered before anybody looks for a second
            first = self._read(1)
            self._pass(first)
            more = self._read(self.at_once - 1)
            self._one_came_last = not more
            if more:
                self._pass(more)
            return bool(first)
        drained = self._read(self.at_once)
        self._one_came_last = len(drained) < 2
        self._pass(drained)
        return bool(drained)

    def _read(self, most: int) -> list[Datagram]:
        """What waits in the socket, at most so much: reading it all first keeps the caches warm."""
        return self._drain_wildcard(most) if self._wildcard else self._drain(most)

    def _pass(self, drained: list[Datagram]) -> None:
        self._in_turn = True
        try:
            self.handle(drained)
        finally:
            self._in_turn = False
            self.flush()

    def _drain(self, most: int) -> list[Datagram]:
        drained: list[Datagram] = []
        keep, recvfrom = drained.append, self._socket.recvfrom
        try:
            for _ in range(most):
                keep(recvfrom(_LARGEST))
        except BlockingIOError:
            pass
        except OSError:
            self.not_sent += 1  # an ICMP error of an earlier reply: the NAS will ask again
        return drained

    def _drain_wildcard(self, most: int) -> list[Datagram]:
        drained: list[Datagram] = []
        try:
            for _ in range(most):
                datagram, ancillary, _flags, address = self._socket.recvmsg(_LARGEST, 128)
                drained.append((datagram, (address[0], address[1], _arrival(ancillary), *address[2:])))
        except BlockingIOError:
            pass
        except OSError:
            self.not_sent += 1
        return drained

    def post(self, reply: bytes, source: Source) -> None:
        """Answer a source with what else goes to it now: at the end of the wake-up, or in the next one."""
        if self.send is not self._send_at_once:  # somebody watches and is to see what answers what
            self.send(reply, source)
            return
        if not self._posted and not self._in_turn:
            asyncio.get_running_loop().call_soon(self.flush)
        self._posted.append((reply, source))

    def flush(self) -> None:
        """Let go what is posted."""
        posted = self._posted
        if not posted:
            return
        self._posted = []
        if len(posted) == 1:
            self._send(*posted[0])
            return
        alike: dict[tuple[int, Source], list[bytes]] = {}
        for reply, source in posted:
            key = (len(reply), source)
            others = alike.get(key)
            if others is None:
                alike[key] = [reply]
            else:
                others.append(reply)
        for (size, source), replies in alike.items():
            if len(replies) == 1 or size > _LARGEST_TOGETHER or source[0] in self._singly:
                for reply in replies:
                    self._send(reply, source)
                continue
            most = min(_TOGETHER, _OCTETS_TOGETHER // size)
            for at in range(0, len(replies), most):
                self._send_together(replies[at : at + most], source)

    def _send_together(self, replies: list[bytes], source: Source) -> None:
        """Several answers of one length in one call."""
        segment = (socket.IPPROTO_UDP, _UDP_SEGMENT, len(replies[0]).to_bytes(2, sys.byteorder))
        try:
            if self._wildcard:
                ancillary = [segment] if source[2] is None else [segment, source[2]]
                self._socket.sendmsg(replies, ancillary, 0, (source[0], source[1], *source[3:]))
            else:
                self._socket.sendmsg(replies, [segment], 0, source)
        except BlockingIOError:  # the socket is full: the NAS will ask again
            self.not_sent += len(replies)
        except OSError:  # a card without checksums of its own, a narrow path: from now on as ever
            if len(self._singly) >= _SINGLY_KEPT:
                self._singly.clear()
            self._singly.add(source[0])
            for reply in replies:
                self._send(reply, source)

    def _send(self, reply: bytes, source: Source) -> None:
        """Answer a source that a datagram came from."""
        try:
            if self._wildcard:
                ancillary = [] if source[2] is None else [source[2]]
                self._socket.sendmsg([reply], ancillary, 0, (source[0], source[1], *source[3:]))
            else:
                self._socket.sendto(reply, source)
        except OSError:  # no route, or the socket is full: the NAS will ask again
            self.not_sent += 1


def _arrival(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int, bytes] | None:
    """The control message that makes a reply leave from the address its request came to."""
    return _departure(tuple(ancillary))


@lru_cache(maxsize=1_024)
def _departure(ancillary: tuple[tuple[int, int, bytes], ...]) -> tuple[int, int, bytes] | None:
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            _interface, local, _header = struct.unpack("=I4s4s", value[:12])
            return level, kind, struct.pack("=I4s4s", 0, local, bytes(4))
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
            return level, kind, value[:20]
    return None
