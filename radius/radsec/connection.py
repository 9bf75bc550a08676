"""One RadSec connection: TLS over memory buffers, then packets by their own length field.

Every connection has bounds in octets and in time, so that one that sends half a packet, or nothing, or reads
no answers costs little and not for long. Back-pressure is TCP's own: nothing is read from a connection while
the journal or its own reader is behind.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Final

from radius.packet.codec import HEADER_OCTETS, MAX_PACKET_OCTETS
from radius.packet.shared_secret import SharedSecret
from radius.radsec.tls import Guests

if TYPE_CHECKING:
    from radius.radsec.server import RadSec

_HANDSHAKE_S: Final = 10.0
_HALF_PACKET_S: Final = 10.0
_UNREAD_S: Final = 30.0
"""How long a peer may leave our answers unread."""
_UNREAD_OCTETS: Final = 256 * 1024
"""What the kernel keeps of them."""
_IN_WORK: Final = 256
"""Reports of one connection that wait for the disk; beyond them nothing is read from it."""
_ORDERS: Final = 64
"""CoA- and Disconnect-Requests that wait for their answer on one connection."""
_JOURNAL_PAUSE_S: Final = 0.05
_CHUNK: Final = 16_384  # a TLS record


class Connection(asyncio.Protocol):
    """One TCP connection: TLS over memory buffers, then packets by their own length field."""

    def __init__(self, house: RadSec) -> None:
        self._house = house
        self._transport: asyncio.Transport | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._plain = bytearray()
        self._der = b""
        self._deadline_s: float | None = None
        self._heard_s = 0.0
        self._is_paused = False
        self._is_behind = False  # the peer leaves our answers unread
        self._stopped = False
        self._retry: asyncio.TimerHandle | None = None
        self.number = 0
        self.address = ""
        self.nas_id = ""
        self.nas_name = ""
        self.in_work = 0
        self._orders: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}
        """Orders of ours that wait for the NAS's answer, by identifier."""
        self._identifiers = count(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, if there is room."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a TCP server is given
        self._transport = transport
        wire = transport.get_extra_info("socket")
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNREAD_S * 1000))
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_OCTETS)
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        welcomed = self._house.welcome(self, self.address)
        if welcomed is None:
            transport.abort()
            return
        self.number, context = welcomed
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._heard_s = self._house.clock.monotonic_s()
        self._deadline_s = self._heard_s + _HANDSHAKE_S

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, whoever ended it."""
        self._transport = None
        self._stopped = True
        self._house.forget(self.number)
        for _, waiting in self._orders.values():
            waiting.cancel()

    def pause_writing(self) -> None:
        """Our answers pile up unread: read nothing more meanwhile, and not for long."""
        self._is_behind = True
        self._deadline_s = self._house.clock.monotonic_s() + _UNREAD_S
        self._settle_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._is_behind = False
        self._deadline_s = None
        self.go_on()

    def data_received(self, data: bytes) -> None:
        """Octets from the wire: at most what a socket gives at a time, and none while reading is paused."""
        if self._tls is None or self._stopped:
            return
        self._incoming.write(data)
        try:
            if not self.nas_id and not self._handshake(self._tls):
                return
            self._read(self._tls)
        except ssl.SSLError as trouble:
            self._flush()  # the alert that says why
            self._turn_away(_in_words(trouble))
            return
        self.go_on()

    def eof_received(self) -> None:
        """The peer has no more to say; the transport closes by itself."""

    def _handshake(self, tls: ssl.SSLObject) -> bool:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        self._flush()
        self._der = tls.getpeercert(binary_form=True) or b""
        guests = self._house.guests
        found = guests.admit(self._der) if guests is not None and self._der else "it shows no certificate"
        if isinstance(found, str):
            self._turn_away(found)
            return False
        if not self._house.has_room(found.nas_id):
            self._house.counters.radsec_full += 1
            self._turn_away(
                f"{found.name} has too many connections open; see radius.radsec_connections_of_one"
            )
            return False
        self.nas_id, self.nas_name = found.nas_id, found.name
        self._deadline_s = None
        self._house.counters.radsec_admitted += 1
        return True

    def _turn_away(self, why: str) -> None:
        self._house.refuse(self.address, why)
        self.end()

    def _read(self, tls: ssl.SSLObject) -> None:
        """Decrypt what has come; the plain octets are never more than came from the socket at once."""
        while True:
            try:
                some = tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                some = b""
            if not some:
                self.end()
                return
            self._plain += some
        self._flush()  # answers to key updates
        self._heard_s = self._house.clock.monotonic_s()

    def go_on(self) -> None:
        """Answer every whole packet that is there, as far as journal and peer let us."""
        while not self._stopped and not self._is_behind and self.in_work < _IN_WORK:
            packet = self._next()
            if packet is None:
                break
            if not self._house.take(packet, self):
                self._plain[:0] = packet
                self._try_later()
                break
        self._settle_reading()

    def _try_later(self) -> None:
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(_JOURNAL_PAUSE_S, self._again)

    def _again(self) -> None:
        self._retry = None
        self.go_on()

    def _next(self) -> bytes | None:
        """The next whole packet; the connection ends over octets that are none (RFC 6614 section 2.6)."""
        plain = self._plain
        if len(plain) < 4:
            self._expect_more(bool(plain))
            return None
        length = plain[2] << 8 | plain[3]
        if not HEADER_OCTETS <= length <= MAX_PACKET_OCTETS:
            self._house.counters.radsec_broken += 1
            self.end()
            return None
        if len(plain) < length:
            self._expect_more(True)
            return None
        packet = bytes(plain[:length])
        del plain[:length]
        self._deadline_s = None
        return packet

    def _expect_more(self, half: bool) -> None:
        if half and self._deadline_s is None:
            self._deadline_s = self._house.clock.monotonic_s() + _HALF_PACKET_S

    def order(self, code: int, attributes: bytes, secret: SharedSecret) -> asyncio.Future[bytes] | None:
        """Send the NAS an order (RFC 5176); None when too many wait, or the connection is gone."""
        if len(self._orders) >= _ORDERS:
            return None
        identifier = next(self._identifiers) & 255
        while identifier in self._orders:
            identifier = next(self._identifiers) & 255
        request = secret.dynauth_request(bytes((code, identifier)), attributes)
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._orders[identifier] = (request, waiting)
        waiting.add_done_callback(lambda _: self._orders.pop(identifier, None))
        if not self.send(request):
            waiting.cancel()
            return None
        return waiting

    def answered(self, packet: bytes, secret: SharedSecret) -> bool:
        """Whether a packet is the answer to an order of ours that still waits."""
        request, waiting = self._orders.get(packet[1], (b"", None))
        if waiting is None or waiting.done() or not secret.response_is_right(packet, request[4:20]):
            return False
        waiting.set_result(packet)
        return True

    def _settle_reading(self) -> None:
        """Read from the socket only while what was read can be answered."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        waits = self._stopped or self._is_behind or self.in_work >= _IN_WORK or self._has_whole_packet()
        if waits and not self._is_paused:
            transport.pause_reading()
        elif self._is_paused and not waits:
            transport.resume_reading()
        self._is_paused = waits

    def _has_whole_packet(self) -> bool:
        plain = self._plain
        return len(plain) >= HEADER_OCTETS and len(plain) >= (plain[2] << 8 | plain[3])

    def send(self, reply: bytes) -> bool:
        """Encrypt an answer and let it go; False when the connection is gone."""
        if self._tls is None or self._transport is None or self._transport.is_closing():
            return False
        try:
            self._tls.write(reply)
        except ssl.SSLError:
            return False
        self._flush()
        return True

    def _flush(self) -> None:
        octets = self._outgoing.read()
        if octets and self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)

    def judge_again(self, guests: Guests) -> None:
        """Whether the certificate is still good; a revoked one ends the connection."""
        if not self.nas_id:
            return
        found = guests.admit(self._der)
        if isinstance(found, str):
            self._turn_away(found)
        elif found.nas_id != self.nas_id:
            self.end()

    def is_late(self, now_s: float) -> bool:
        """Whether its time is over."""
        if self._deadline_s is not None and now_s >= self._deadline_s:
            return True
        return not self.in_work and now_s - self._heard_s >= self._house.limits.idle_s

    def stop_reading(self) -> None:
        """Take no more packets; answers may still leave."""
        self._stopped = True
        self._settle_reading()

    def end(self) -> None:
        """Say goodbye (close_notify) and close; what was written still leaves, unless nobody reads it."""
        self._stopped = True
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._tls is not None and self.nas_id:
            with suppress(ssl.SSLError):  # it waits for the peer's own goodbye, which we do not
                self._tls.unwrap()
            self._flush()
        if self._is_behind:
            transport.abort()
        else:
            transport.close()
        self._house.forget(self.number)


def _in_words(trouble: ssl.SSLError) -> str:
    """Why a handshake failed, for the operator."""
    reason = trouble.reason or "TLS failed"
    if isinstance(trouble, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {trouble.verify_message}"
    return {
        "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
        "WRONG_VERSION_NUMBER": "it does not speak TLS",
        "UNSUPPORTED_PROTOCOL": "it speaks no TLS 1.2 or later",
        "TLSV1_ALERT_UNKNOWN_CA": "it does not trust our certificate; give it the file of: hilltop ca export",
    }.get(reason, f"TLS failed ({reason.replace('_', ' ').lower()})")
