"""A supplicant inside the test: it says what it likes, and so can do what eapol_test never would."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from OpenSSL import SSL
from radius_world import HERE, SECRET, Bench, octets, reply_to, request

from radius.eap.avp import encode as avp
from radius.packet.shared_secret import SharedSecret

ACCEPT, REJECT, CHALLENGE = 2, 3, 11
TLS, TTLS, PEAP = 13, 21, 25


def response(identifier: int, kind: int, data: bytes = b"") -> bytes:
    return bytes((2, identifier)) + (5 + len(data)).to_bytes(2, "big") + bytes((kind,)) + data


@dataclass
class Peer:
    """One CPE behind one NAS."""

    bench: Bench
    source: tuple[Any, ...] = HERE
    identity: str = "nobody@example"
    station: bytes = b"AA-BB-CC-00-11-22"
    state: bytes | None = None
    eap: bytes = b""
    """The last request it got."""
    now_s: float = 0.0
    sent: bytes = b""
    number: int = field(default=0)

    def packet(self, eap: bytes, **more: Any) -> Any:
        self.number = self.number + 1 & 255
        packet = request(self.identity, identifier=self.number)
        packet[31] = [self.station]
        packet[79] = [eap[at : at + 253] for at in range(0, len(eap), 253)] or [b""]
        if self.state is not None:
            packet[24] = [self.state]
        for kind, value in more.items():
            packet[int(kind.removeprefix("a"))] = [value]
        return packet

    def ask(self, eap: bytes, **more: Any) -> Any:
        """Send EAP; the reply as pyrad reads it, None for silence."""
        packet = self.packet(eap, **more)
        self.sent = octets(packet)
        answer = self.bench.ask(self.sent, self.source, self.now_s)
        if answer is None:
            return None
        reply = reply_to(packet, answer)
        assert answer[20] == 80, "the Message-Authenticator comes first"
        self.eap = b"".join(reply.get(79, []))
        self.state = reply[24][0] if 24 in reply else None
        return reply

    def begin(self, **more: Any) -> Any:
        self.state = None
        return self.ask(response(1, 1, self.identity.encode()), **more)

    def say(self, kind: int, data: bytes, **more: Any) -> Any:
        """Answer the last request."""
        return self.ask(response(self.eap[1], kind, data), **more)

    def choose(self, kind: int) -> Any:
        """Begin, and ask for that method if another is proposed."""
        reply = self.begin()
        return reply if self.eap[4] == kind else self.say(3, bytes((kind,)))


@dataclass
class TunnelPeer(Peer):
    """A CPE with TLS."""

    kind: int = TTLS
    piece: int = 1_000
    context: SSL.Context | None = None
    session: SSL.Session | None = None
    tls: Any = None
    unsent: bytes = b""

    def connect(self, version: int = SSL.TLS1_2_VERSION) -> Any:
        """The handshake; the reply that came when it was done on this side."""
        if self.context is None:
            self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            self.context.set_max_proto_version(version)
        self.tls = SSL.Connection(self.context, None)
        self.tls.set_connect_state()
        if self.session is not None:
            self.tls.set_session(self.session)
        reply = self.choose(self.kind)
        while reply.code == CHALLENGE:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                reply = self.tell()
                continue
            return self.tell() if self.pending() else reply
        return reply

    def pending(self) -> bytes:
        """What TLS has to say and has not said yet."""
        with suppress(SSL.WantReadError):
            self.unsent += self.tls.bio_read(65_536)
        return self.unsent

    def tell(self) -> Any:
        """Send what TLS has to say, in pieces, and take in the whole of what comes back."""
        rest, self.unsent = self.pending(), b""
        while len(rest) > self.piece:
            self.say(self.kind, b"\x40" + rest[: self.piece])
            rest = rest[self.piece :]
        reply = self.say(self.kind, b"\0" + rest)
        while reply is not None and reply.code == CHALLENGE:
            flags, body = self.eap[5], self.eap[6:]
            if body:
                self.tls.bio_write(body[4:] if flags & 0x80 else body)
            if not flags & 0x40:
                break
            reply = self.say(self.kind, b"\0")
        return reply

    def inside(self, clear: bytes) -> Any:
        """Say something inside of TLS."""
        self.tls.send(clear)
        return self.tell()

    def pap(self, username: str, password: str) -> Any:
        return self.inside(avp(0, 1, username.encode()) + avp(0, 2, password.encode()))

    def remember(self) -> None:
        with suppress(SSL.Error):  # TLS 1.3 brings what can be resumed behind the handshake
            self.tls.recv(1)
        self.session = self.tls.get_session()
        self.tls.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)


def keys_of(peer: Peer, reply: Any) -> tuple[bytes, bytes]:
    """MS-MPPE-Recv-Key and -Send-Key as the NAS finds them; their salts differ."""
    hidden = {value[4]: value[6:] for value in reply[26] if value[:4] == (311).to_bytes(4, "big")}
    receive, send = hidden[17], hidden[16]
    assert receive[:2] != send[:2]
    assert receive[0] & send[0] & 0x80
    secret = SharedSecret(SECRET.encode())
    return secret.show_key(receive, peer.sent[4:20]), secret.show_key(send, peer.sent[4:20])
