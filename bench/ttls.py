"""CPEs that sign in by EAP-TTLS/MSCHAPv2, many at once over one socket, each time with a whole handshake.

Own code over hashlib and OpenSSL, independent of Hilltop's EAP. What a server says is checked: the proof that
it knows the password, its Response Authenticator, and the key that it tells the NAS, against the peer's own.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from OpenSSL import SSL

from bench.mschap import nt_response, success_message
from bench.packets import Subscriber

_CHALLENGE, _ACCEPT = 11, 2
_EAP_MESSAGE, _STATE, _VENDOR, _SIGNATURE = 79, 24, 26, 80
_TTLS, _IDENTITY = 21, 1
_MORE, _LENGTH, _START = 0x40, 0x80, 0x20
_PIECE = 1_000
_AGAIN_S = 2.0


@dataclass(slots=True)
class Outcome:
    """What came of a load: whole sign-ins, those that were refused or wrong, and how long it took."""

    right: int = 0
    wrong: int = 0
    lost: int = 0
    seconds: float = 0.0


class _Cpe:
    """One sign-in under way."""

    def __init__(self, context: SSL.Context, person: Subscriber) -> None:
        self.person = person
        self.state = b""
        self.request = b""
        self.sent_at = 0.0
        self._tls = SSL.Connection(context, None)
        self._tls.set_connect_state()
        self._established = self._proved = False
        self._to_send = b""
        self._expected = b""

    def first(self) -> bytes:
        """The EAP that begins it: an anonymous identity."""
        return _response(1, _IDENTITY, b"anonymous")

    def answer(self, request: bytes) -> bytes:
        """The response to a request. Raises ``ValueError`` when the server says what it may not."""
        identifier, kind, flags, body = request[1], request[4], request[5], request[6:]
        if kind != _TTLS:
            raise ValueError(f"EAP type {kind} was proposed")
        if flags & _LENGTH:
            body = body[4:]
        if body:
            self._tls.bio_write(body)
        if flags & _MORE:
            return _response(identifier, _TTLS, b"\0")
        if not self._to_send:
            self._to_send = self._next(bool(body))
        piece, self._to_send = self._to_send[:_PIECE], self._to_send[_PIECE:]
        return _response(identifier, _TTLS, bytes((_MORE if self._to_send else 0,)) + piece)

    def _next(self, spoken: bool) -> bytes:
        if not self._established:
            try:
                self._tls.do_handshake()
                self._established = True
            except SSL.WantReadError:
                return self._pending()
            said = self._pending()
            if said:  # TLS 1.3: our Finished goes first
                return said
        if not self._proved:
            self._tls.send(self._proof())
            return self._pending()
        if spoken:
            self._check(self._tls.recv(4_096))
        return b""

    def _pending(self) -> bytes:
        try:
            return self._tls.bio_read(16_384)
        except SSL.WantReadError:
            return b""

    def _proof(self) -> bytes:
        """User-Name, MS-CHAP-Challenge and MS-CHAP2-Response (RFC 5281 section 11.2.4)."""
        self._proved = True
        person, peer = self.person, os.urandom(16)
        told = self._tls.export_keying_material(b"ttls challenge", 17)
        name = person.username.encode()
        response = nt_response(name, person.nt_hash, told[:16], peer)
        self._expected = success_message(name, person.nt_hash, told[:16], peer, response)
        value = told[16:17] + b"\0" + peer + bytes(8) + response
        return _avp(0, 1, name) + _avp(311, 11, told[:16]) + _avp(311, 25, value)

    def _check(self, clear: bytes) -> None:
        if self._expected not in clear:
            raise ValueError("the server did not prove that it knows the password")

    def key(self) -> bytes:
        """The key that the NAS has to be told (the first half of the MSK)."""
        return self._tls.export_keying_material(b"ttls keying material", 64)[:32]


class TtlsLoad:
    """Signs ``people`` in at one server, ``window`` of them at once."""

    def __init__(self, port: int, secret: bytes, people: Sequence[Subscriber], window: int = 32) -> None:
        if not 1 <= window <= 64:
            raise ValueError("a socket has identifiers for 64 sign-ins at once")
        self._secret = secret
        self._window = window
        self._people = people
        self._next = 0
        self._numbers = [0] * window
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.set_max_proto_version(SSL.TLS1_2_VERSION)
        self._context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.connect(("127.0.0.1", port))

    def close(self) -> None:
        """Let the socket go."""
        self._socket.close()

    def run(self, seconds: float) -> Outcome:
        """Begin sign-ins for so long, and let those under way come to their end."""
        outcome = Outcome()
        begun = time.monotonic()
        under_way: list[_Cpe | None] = [self._begin(slot) for slot in range(self._window)]
        while any(under_way):
            now = time.monotonic()
            for slot, reply in self._replies():
                cpe = under_way[slot]
                if cpe is None or not self._take(slot, cpe, reply, outcome):
                    continue
                under_way[slot] = self._begin(slot) if now - begun < seconds else None
            for slot, cpe in enumerate(under_way):
                if cpe is not None and now - cpe.sent_at > _AGAIN_S:
                    outcome.lost += 1
                    under_way[slot] = self._begin(slot) if now - begun < seconds else None
        outcome.seconds = time.monotonic() - begun
        return outcome

    def _begin(self, slot: int) -> _Cpe:
        self._next += 1
        cpe = _Cpe(self._context, self._people[self._next % len(self._people)])
        self._send(slot, cpe, cpe.first())
        return cpe

    def _replies(self) -> Iterator[tuple[int, bytes]]:
        select.select([self._socket], [], [], 0.2)
        try:
            while True:
                reply = self._socket.recv(4_096)
                yield reply[1] % 64, reply
        except BlockingIOError:
            return

    def _take(self, slot: int, cpe: _Cpe, reply: bytes, outcome: Outcome) -> bool:
        """Whether this sign-in has come to its end."""
        if slot >= self._window or reply[1] != cpe.request[1]:
            return False
        signed = hashlib.md5(reply[:4] + cpe.request[4:20] + reply[20:] + self._secret).digest()
        told = dict(_attributes(reply))
        if reply[4:20] == signed and reply[0] == _CHALLENGE:
            cpe.state = told[_STATE]
            try:
                self._send(slot, cpe, cpe.answer(told[_EAP_MESSAGE]))
            except (ValueError, SSL.Error):
                outcome.wrong += 1
                return True
            return False
        right = reply[4:20] == signed and reply[0] == _ACCEPT and self._told_key(cpe, reply) == cpe.key()
        outcome.right += right
        outcome.wrong += not right
        return True

    def _told_key(self, cpe: _Cpe, reply: bytes) -> bytes:
        """MS-MPPE-Recv-Key in clear (RFC 2548 section 2.4.3)."""
        for kind, value in _pairs(reply):
            if kind == _VENDOR and value[:5] == b"\0\0\x01\x37\x11":
                hidden, previous, clear = value[8:], cpe.request[4:20] + value[6:8], b""
                for at in range(0, len(hidden), 16):
                    pad = hashlib.md5(self._secret + previous).digest()
                    previous = hidden[at : at + 16]
                    clear += bytes(one ^ other for one, other in zip(previous, pad, strict=True))
                return clear[1 : 1 + clear[0]]
        return b""

    def _send(self, slot: int, cpe: _Cpe, eap: bytes) -> None:
        number = self._numbers[slot] = (self._numbers[slot] + 1) % 4
        attributes = _attribute(1, b"anonymous") + _attribute(31, b"02-00-00-00-00-%02X" % slot)
        attributes += b"".join(_attribute(_EAP_MESSAGE, eap[at : at + 253]) for at in range(0, len(eap), 253))
        if cpe.state:
            attributes += _attribute(_STATE, cpe.state)
        length = 38 + len(attributes)
        header = bytes((1, slot + 64 * number, length >> 8, length & 255)) + os.urandom(16)
        unsigned = header + bytes((_SIGNATURE, 18)) + bytes(16) + attributes
        signature = hmac.digest(self._secret, unsigned, "md5")
        cpe.request = unsigned[:22] + signature + unsigned[38:]
        cpe.sent_at = time.monotonic()
        self._socket.send(cpe.request)


def _response(identifier: int, kind: int, data: bytes) -> bytes:
    return bytes((2, identifier)) + (5 + len(data)).to_bytes(2, "big") + bytes((kind,)) + data


def _attribute(kind: int, value: bytes) -> bytes:
    return bytes((kind, len(value) + 2)) + value


def _avp(vendor: int, code: int, value: bytes) -> bytes:
    header = 12 if vendor else 8
    front = (
        code.to_bytes(4, "big")
        + bytes((0xC0 if vendor else 0x40,))
        + (header + len(value)).to_bytes(3, "big")
    )
    return front + (vendor.to_bytes(4, "big") if vendor else b"") + value + bytes(-len(value) % 4)


def _pairs(reply: bytes) -> Iterator[tuple[int, bytes]]:
    at = 20
    while at + 2 <= len(reply):
        yield reply[at], reply[at + 2 : at + reply[at + 1]]
        at += max(reply[at + 1], 2)


def _attributes(reply: bytes) -> Iterator[tuple[int, bytes]]:
    """Each type once; the pieces of the EAP-Message joined."""
    joined: dict[int, bytes] = {}
    for kind, value in _pairs(reply):
        joined[kind] = joined.get(kind, b"") + value if kind == _EAP_MESSAGE else value
    yield from joined.items()
