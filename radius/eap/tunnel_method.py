"""What EAP-TLS, EAP-TTLS and PEAP have in common: fragments, the handshake, keys, and sessions resumed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from aaa.authorize import Accept, Reject
from aaa.directory import Login
from radius.eap.framing import START, Fragments, Reassembly
from radius.eap.packet import MalformedEap
from radius.eap.resumption import Resumable, Resumptions
from radius.eap.steps import Ask, Circle, Fail, Pass, Step, refusal
from radius.eap.tls_session import TlsServer, Tunnel, TunnelFailed

_KEY_OCTETS: Final = 64
_LABEL_13: Final = b"EXPORTER_EAP_TLS_Key_Material"  # RFC 9190 section 2.3, RFC 9427 section 2.1
_METHOD_ID_13: Final = b"EXPORTER_EAP_TLS_Method-Id"
_SUCCESS_INDICATION: Final = b"\0"
"""RFC 9190 section 2.5: one octet inside of TLS says that the handshake was the last word."""


class TunnelMethod(ABC):
    """A method that begins with a TLS handshake."""

    kind: int
    key_label: bytes
    """What keys are exported under in TLS 1.2."""
    most_octets = 16_384
    """What a peer may say in one conversation: several times what any needs that shows no certificate."""

    def __init__(self, identity: bytes, server: TlsServer, resumptions: Resumptions) -> None:
        self.identity = identity
        """As told outside of TLS: it may be anonymous."""
        self._server = server
        self._tunnel: Tunnel | None = None
        self._resumptions = resumptions
        self._incoming = Reassembly()
        self._heard = 0
        self._outgoing: Fragments | None = None
        self._afterwards: Step | None = None

    @property
    def tunnel(self) -> Tunnel:
        """Opened by the peer's first word: who says nothing costs no memory of OpenSSL's."""
        if self._tunnel is None:
            self._tunnel = self._server.open(self.identity)
        return self._tunnel

    def begin(self, circle: Circle) -> Step:
        """RFC 5216 section 2.1.1: an empty packet with the start flag. The version is 0."""
        return Ask(bytes((START,)))

    def take(self, data: bytes, identifier: int, circle: Circle) -> Step:
        self._heard += len(data)
        if self._heard > self.most_octets:
            raise MalformedEap("more octets than a conversation may have")
        message = self._incoming.take(data)
        if self._outgoing is not None and not self._outgoing.is_finished:
            if message != b"":
                raise MalformedEap("data where a fragment's acknowledgement is due")
            return Ask(self._outgoing.next())
        if message is None:
            return Ask(b"\0")
        self._outgoing = None
        try:
            return self._turn(message, circle)
        except TunnelFailed as failed:
            return self._failed(failed, circle)

    def close(self) -> None:
        if self._tunnel is not None:
            self._tunnel.close()

    def _turn(self, message: bytes, circle: Circle) -> Step:
        if self._afterwards is not None:
            return self._afterwards
        tunnel = self._tunnel
        if tunnel is not None and tunnel.established:
            return self.heard(tunnel.read(message) if message else b"", circle)
        if not message:
            raise MalformedEap("nothing where the handshake is due")
        tunnel = self.tunnel
        tunnel.take(message)
        if not tunnel.established:
            return self.send(tunnel.outgoing(), circle)
        return self._established(circle)

    def _established(self, circle: Circle) -> Step:
        resumed = self._resumptions.find(self.tunnel.resumed_from, self.kind, circle.now_s)
        if resumed is not None:
            return self._resume(resumed, circle)
        return self.opened(circle)

    def _resume(self, resumed: Resumable, circle: Circle) -> Step:
        """The session proved somebody before; whether he may in now is decided now."""
        login = circle.find(resumed.username)
        if login is None or login.credential != resumed.credential:
            return self.opened(circle)
        verdict = circle.admit(login)
        if isinstance(verdict, Accept):
            return self.resumed(self.passed(verdict.login, f"{resumed.how}, resumed", circle), circle)
        if isinstance(verdict, Reject):
            return Fail(verdict)
        return self.opened(circle)

    @abstractmethod
    def opened(self, circle: Circle) -> Step:
        """A full handshake is done; ``tunnel.read()`` has what the peer said with it."""

    @abstractmethod
    def resumed(self, passed: Pass, circle: Circle) -> Step:
        """A session was resumed whose owner may in."""

    @abstractmethod
    def heard(self, clear: bytes, circle: Circle) -> Step:
        """What the peer said inside; empty for an acknowledgement."""

    def send(self, octets: bytes, circle: Circle, afterwards: Step | None = None) -> Step:
        """Send TLS to the peer; ``afterwards`` is the step when it has taken all of it."""
        self._afterwards = afterwards
        self._outgoing = Fragments(octets, circle.fragment_octets)
        return Ask(self._outgoing.next())

    def indicate_success(self, passed: Pass, circle: Circle) -> Step:
        """The end of a handshake that says all: TLS 1.3 says so inside, TLS 1.2 did with its Finished."""
        if self.tunnel.is_tls13:
            return self.send(self.tunnel.seal(_SUCCESS_INDICATION), circle, passed)
        rest = self.tunnel.outgoing()
        return self.send(rest, circle, passed) if rest else passed

    def passed(self, login: Login, how: str, circle: Circle) -> Pass:
        """Success with its keys; the session may be resumed from now on."""
        if self._resumptions.remember(
            self.tunnel.resumable_as, self.kind, login.credential.username.encode(), login.credential,
            how.removesuffix(", resumed"), circle.now_s,
        ):  # fmt: skip
            self.tunnel.keep()
        session_id = self._session_id() if circle.wants_session_id else b""
        return Pass(login, self._keys(), session_id, how)

    def _keys(self) -> bytes:
        """The MSK: RFC 5216 section 2.3, RFC 5281 section 8, RFC 9190 section 2.3, RFC 9427 section 2."""
        if self.tunnel.is_tls13:
            return self.tunnel.export(_LABEL_13, 2 * _KEY_OCTETS, bytes((self.kind,)))[:_KEY_OCTETS]
        return self.tunnel.export(self.key_label, _KEY_OCTETS)  # what a longer one begins with

    def _session_id(self) -> bytes:
        """RFC 5247 section 1.4, RFC 9190 section 2.3."""
        kind = bytes((self.kind,))
        if self.tunnel.is_tls13:
            return kind + self.tunnel.export(_METHOD_ID_13, 64, kind)
        return kind + self.tunnel.randoms

    def _failed(self, failed: TunnelFailed, circle: Circle) -> Step:
        """The peer is told by an alert what TLS found, and the conversation ends when it has heard it."""
        trouble = failed.trouble
        identity = self.identity.decode("utf-8", "replace")
        service_id = getattr(trouble, "service_id", None)
        reject = Reject(trouble.rule, identity, trouble.reason, trouble.remedy, service_id)
        if not failed.alert:
            return Fail(reject)
        step = self.send(failed.alert, circle, Fail(reject, told=True))
        return step._replace(refused=reject) if isinstance(step, Ask) else step


def out_of_turn(identity: bytes, what: str) -> Fail:
    """For a peer that says inside of TLS what cannot be said there."""
    return Fail(
        refusal(
            "eap_inner_method", identity, what,
            "set the CPE's inner method to PAP, CHAP, MS-CHAP, MS-CHAPv2, EAP-MSCHAPv2 or EAP-MD5",
        )
    )  # fmt: skip
