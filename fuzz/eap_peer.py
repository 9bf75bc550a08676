"""A peer that really speaks EAP, so that mutations come to every depth of a conversation.

MD5 and MS-CHAPv2 by hand; TTLS, PEAP and TLS with OpenSSL as the client, fragments and all. What it says is
honest until ``spoil`` changes it: an EAP packet, or what goes through the tunnel.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import md5
from random import Random
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from aaa.domain.mschap import challenge_hash, challenge_response
from aaa.domain.nt_hash import nt_hash
from fuzz.world import PASSWORD, ClientCertificate

IDENTITY, NAK, MD5, TLS, TTLS, PEAP, MSCHAPV2 = 1, 3, 4, 13, 21, 25, 26
METHODS: Final = (MD5, MSCHAPV2, TTLS, PEAP, TLS)
_NAME: Final = b"alice"
_NT_HASH: Final = nt_hash(PASSWORD)
_PIECE: Final = 900

Spoil = Callable[[bytes], bytes]


class Peer:
    """One conversation by one method. ``spoil`` is asked about each thing that is said."""

    def __init__(self, random: Random, method: int, client: ClientCertificate, spoil: Spoil) -> None:
        self._random = random
        self._method = method
        self._spoil = spoil
        self._client = client
        self._tunnel: SSL.Connection | None = None
        self._said_inside = False
        self._out = b""
        self._in = b""

    def answer(self, request: bytes) -> bytes | None:
        """The response to an EAP request; None when there is nothing to say to it."""
        if len(request) < 5 or request[0] != 1:
            return None
        kind, data = request[4], request[5:]
        try:
            said = self._say(kind, data, request[1])
        except (SSL.Error, IndexError):
            return None  # the server's part was meant for somebody else, or we spoiled our own
        return None if said is None else self._spoil(_response(request[1], *said))

    def _say(self, kind: int, data: bytes, identifier: int) -> tuple[int, bytes] | None:
        if kind == IDENTITY:
            return IDENTITY, _NAME
        if kind != self._method:
            return NAK, bytes((self._method,))
        if kind == MD5:
            challenge = data[1 : 1 + data[0]]
            return MD5, b"\x10" + md5(bytes((identifier,)) + PASSWORD.encode() + challenge).digest()
        if kind == MSCHAPV2:
            return MSCHAPV2, self._ms_chap(data)
        piece = self._tls(data)
        return None if piece is None else (kind, piece)

    def _ms_chap(self, data: bytes) -> bytes:
        """draft-kamath-pppext-eap-mschapv2: OpCode, identifier, length, value."""
        if data[:1] != b"\x01":
            return data[:1]  # success or failure is acknowledged by its OpCode alone
        challenge, peer = data[5:21], self._random.randbytes(16)
        answer = challenge_response(challenge_hash(peer, challenge, _NAME), _NT_HASH)
        value = b"\x31" + peer + bytes(8) + answer + b"\0" + _NAME
        return b"\x02" + data[1:2] + (4 + len(value)).to_bytes(2, "big") + value

    def _tls(self, data: bytes) -> bytes | None:
        """One packet of TLS in, one out: fragments are acknowledged and made."""
        flags = data[0]
        self._in += data[5:] if flags & 0x80 else data[1:]
        if flags & 0x40:
            return b"\0"
        if self._out:
            return self._next_piece()
        if self._tunnel is None:
            self._tunnel = self._open()
        coming, self._in = self._in, b""
        self._out = self._through(self._tunnel, coming)
        return self._next_piece(first=True)

    def _next_piece(self, *, first: bool = False) -> bytes:
        piece, rest = self._out[:_PIECE], self._out[_PIECE:]
        whole, self._out = len(self._out), rest
        if not rest:
            return b"\0" + piece
        return b"\xc0" + whole.to_bytes(4, "big") + piece if first else b"\x40" + piece

    def _open(self) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_verify(SSL.VERIFY_NONE)
        if self._random.random() < 0.5:
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
        if self._method == TLS:
            context.use_certificate(x509.load_pem_x509_certificate(self._client.chain.encode()))
            context.use_privatekey(load_pem_private_key(self._client.key.encode(), None))
        made = SSL.Connection(context, None)
        made.set_connect_state()
        return made

    def _through(self, tunnel: SSL.Connection, coming: bytes) -> bytes:
        if coming:
            tunnel.bio_write(coming)
        heard = b""
        try:
            tunnel.do_handshake()
            if self._method == TTLS and not self._said_inside:
                self._said_inside = True
                tunnel.send(self._spoil(self._avps(tunnel)))
            heard = tunnel.recv(65_536)
        except SSL.WantReadError:
            pass
        if heard and self._method == PEAP:
            inside = self._inside(heard)
            if inside:
                tunnel.send(inside)
        try:
            return bytes(tunnel.bio_read(65_536))
        except SSL.WantReadError:
            return b""

    def _avps(self, tunnel: SSL.Connection) -> bytes:
        """RFC 5281 section 11.2: what is proved inside TTLS."""
        name = _avp(1, _NAME)
        match self._random.randrange(3):
            case 0:
                return name + _avp(2, PASSWORD.encode() + bytes(-len(PASSWORD) % 16))
            case 1:
                material = tunnel.export_keying_material(b"ttls challenge", 17, None)
                proof = md5(material[16:17] + PASSWORD.encode() + material[:16]).digest()
                return name + _avp(60, material[:16]) + _avp(3, material[16:17] + proof)
            case _:
                return _avp(79, _response(0, IDENTITY, _NAME))

    def _inside(self, heard: bytes) -> bytes:
        """PEAPv0: inner packets have no header of their own, but for the Extensions of the end."""
        if len(heard) > 4 and heard[0] == 1 and heard[4] == 33:
            return self._spoil(b"\x02" + heard[1:])
        if not heard:
            return b""
        kind, data = heard[0], heard[1:]
        if kind == IDENTITY:
            said = bytes((IDENTITY,)) + _NAME
        elif kind == MSCHAPV2:
            said = bytes((MSCHAPV2,)) + self._ms_chap(data)
        else:
            said = bytes((NAK, MSCHAPV2))
        return self._spoil(said)


def _response(identifier: int, kind: int, data: bytes) -> bytes:
    return bytes((2, identifier)) + (5 + len(data)).to_bytes(2, "big") + bytes((kind,)) + data


def _avp(code: int, value: bytes) -> bytes:
    length = 8 + len(value)
    return code.to_bytes(4, "big") + b"\x40" + length.to_bytes(3, "big") + value + bytes(-length % 4)
