"""EAP-TLS (RFC 5216, RFC 9190): a certificate is the proof, and names the login."""

from __future__ import annotations

from aaa.authorize import Accept, Reject
from radius.eap.certificates import CertificateBook
from radius.eap.packet import EapType, MalformedEap
from radius.eap.resumption import Resumptions
from radius.eap.steps import Circle, Fail, Pass, Step, declined
from radius.eap.tls_session import TlsServer
from radius.eap.tunnel_method import TunnelMethod


class Tls(TunnelMethod):
    """The handshake is all there is."""

    kind = int(EapType.TLS)
    key_label = b"client EAP encryption"
    most_octets = 65_536
    """A chain of certificates may have many kilobytes."""

    def __init__(
        self, identity: bytes, server: TlsServer, resumptions: Resumptions, book: CertificateBook
    ) -> None:
        super().__init__(identity, server, resumptions)
        self._book = book

    def opened(self, circle: Circle) -> Step:
        """OpenSSL has followed the chain and the book has looked at the serial number; a session that was
        resumed without our knowing of it is looked at again here."""
        certificate = self.tunnel.peer_certificate
        if certificate is None:
            raise MalformedEap("a handshake without a certificate")
        found = self._book.login_of(certificate, self.identity)
        if isinstance(found, Reject):
            return Fail(found)
        verdict = circle.admit(found)
        if isinstance(verdict, Accept):
            return self.indicate_success(self.passed(verdict.login, "EAP-TLS", circle), circle)
        return declined(verdict, self.identity)

    def resumed(self, passed: Pass, circle: Circle) -> Step:
        """The certificate may have been revoked since, or bound to another service."""
        return self.opened(circle)

    def heard(self, clear: bytes, circle: Circle) -> Step:
        raise MalformedEap("data inside of EAP-TLS")
