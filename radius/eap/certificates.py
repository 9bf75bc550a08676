"""Certificates as EAP needs them: what we show, and whom a peer's certificate lets in."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from aaa.authorize import Reject
from aaa.authorize_certificate import login_of_certificate
from aaa.directory import Directory, Login
from aaa.directory_certificates import TlsMaterial, Unacceptable
from core.clock import Clock
from radius.eap.tls_session import ServerCertificate
from radius.eap.tls_trouble import CertificateTrouble, expired


class CertificateBook(Protocol):
    """What is known of the certificates that peers come with."""

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        """The authorities whose signature counts; none: EAP-TLS is not offered."""

    def vet(self, certificate: x509.Certificate) -> CertificateTrouble | None:
        """What is wrong with a certificate that an anchor signed: revoked, or not known."""

    def login_of(self, certificate: x509.Certificate, identity: bytes) -> Login | Reject:
        """Whom the certificate lets in, if it is still good. ``identity`` is what EAP was told."""


class DirectoryBook:
    """The book of a directory, which follows its changes; the anchors are those it was made with."""

    def __init__(self, directory: Directory, anchors: tuple[x509.Certificate, ...], clock: Clock) -> None:
        self._anchors = anchors
        self._clock = clock
        self.directory = directory

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        return self._anchors

    def vet(self, certificate: x509.Certificate) -> CertificateTrouble | None:
        judged = self.directory.certificates.judge(certificate.public_bytes(Encoding.DER), "client")
        if isinstance(judged, Unacceptable):
            return CertificateTrouble(f"eap_{judged.rule}", judged.explanation, judged.remedy)
        return None

    def login_of(self, certificate: x509.Certificate, identity: bytes) -> Login | Reject:
        """The dates are looked at too: OpenSSL does not, when a session is resumed."""
        if not _is_in_time(certificate, self._clock.now()):
            trouble = expired()
            shown = identity.decode("utf-8", "replace")
            return Reject(trouble.rule, shown, trouble.reason, trouble.remedy)
        der = certificate.public_bytes(Encoding.DER)
        found = login_of_certificate(self.directory, der, identity)
        return found._replace(rule=f"eap_{found.rule}") if isinstance(found, Reject) else found


def _is_in_time(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def of_directory(material: TlsMaterial) -> tuple[ServerCertificate, ...]:
    """What the embedded authority issued for us: one for each kind of key.

    Raises ``ValueError`` when one of them cannot be read.
    """
    return tuple(
        ServerCertificate(
            tuple(x509.load_pem_x509_certificates(one.chain.encode())),
            _key(load_pem_private_key(one.key.reveal().encode(), None), one.id),
        )
        for one in material.servers
    )


def anchors_of(material: TlsMaterial) -> tuple[x509.Certificate, ...]:
    """The authorities that may have signed a client's certificate."""
    found = material.anchors_for("client")
    return tuple(x509.load_pem_x509_certificates(found.encode())) if found else ()


def read_server_certificate(chain: Path, key: Path) -> ServerCertificate:
    """The chain (our own certificate first) and its key, from PEM files without a passphrase.

    Raises ``ValueError`` naming the file and what is wrong with it.
    """
    certificates = _read_chain(chain)
    found = _read_key(key)
    if certificates[0].public_key() != found.public_key():
        raise ValueError(f"{key} is not the key of the first certificate in {chain}")
    return ServerCertificate(tuple(certificates), found)


def _read_chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as trouble:
        raise ValueError(f"{path} cannot be read: {trouble.strerror}") from None
    except ValueError:
        raise ValueError(f"{path} holds no certificate in PEM form") from None


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as trouble:
        raise ValueError(f"{path} cannot be read: {trouble.strerror}") from None
    except (ValueError, TypeError):
        raise ValueError(f"{path} holds no private key in PEM form without a passphrase") from None
    return _key(key, str(path))


def _key(key: object, where: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    if isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        return key
    raise ValueError(f"{where} holds neither an RSA key nor one on an elliptic curve")
