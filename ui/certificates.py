"""The panel's certificate: made by the machine itself, looked at, checked before it is believed."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from core.addresses import Address, local_addresses

_NOT_BEFORE = datetime(2025, 1, 1, tzinfo=UTC)
_EARLIEST_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_LATEST_NOW = datetime(2100, 1, 1, tzinfo=UTC)
_LIFE = timedelta(days=3650)  # nobody has it in a list of trusted ones: it is known by its fingerprint
_LONGEST_NAME = 64  # ub-common-name, RFC 5280, appendix A


class CertificateError(Exception):
    """A certificate or key that cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is worth knowing of a certificate."""

    subject: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    fingerprint: str
    self_signed: bool

    def expired(self, now: datetime) -> bool:
        """True after its last instant."""
        return now > self.not_after


def make_self_signed(now: datetime, addresses: Sequence[Address] | None = None) -> tuple[bytes, bytes]:
    """Certificate and key (PEM) for this machine's names and the addresses it has now.

    It is valid from well in the past and for ten years from a believable instant: a machine that makes one at
    its first boot may have a clock that is wrong by years.
    """
    host = socket.gethostname().partition(".")[0][:_LONGEST_NAME] or "hilltop"
    names = dict.fromkeys([host, f"{host}.local", "localhost"])
    if addresses is None:
        addresses = [one.address for one in local_addresses() if not one.address.is_link_local]
    loopback: list[Address] = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(min(max(now, _EARLIEST_NOW), _LATEST_NOW).replace(microsecond=0) + _LIFE)
        .add_extension(
            x509.SubjectAlternativeName(
                [*map(x509.DNSName, names), *map(x509.IPAddress, dict.fromkeys([*addresses, *loopback]))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def read_certificate(pem: bytes) -> Certificate:
    """The first certificate of a chain, each link of which must parse. Raises ``CertificateError``."""
    return _described(_chain(pem)[0])


def read_pair(certificate: bytes, key: bytes) -> Certificate:
    """As ``read_certificate``, and the key must be this certificate's. Raises ``CertificateError``."""
    chain = _chain(certificate)
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        raise CertificateError("the key is locked by a passphrase; give it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("the key is not a private key in PEM form") from None
    if private.public_key() != chain[0].public_key():
        raise CertificateError("certificate and key do not belong together")
    for link, issuer in pairwise(chain):
        if link.issuer != issuer.subject:
            raise CertificateError(
                "the chain is out of order: first the panel's own certificate, then the one that issued it"
            )
    return _described(chain[0])


def _chain(pem: bytes) -> list[x509.Certificate]:
    try:
        chain = x509.load_pem_x509_certificates(pem)
        for link in chain:
            link.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError("the certificate is not in PEM form, or it is damaged") from None
    return chain


def _described(one: x509.Certificate) -> Certificate:
    names: tuple[str, ...] = ()
    try:
        alternative = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = (
            *alternative.get_values_for_type(x509.DNSName),
            *map(str, alternative.get_values_for_type(x509.IPAddress)),
        )
    except (x509.ExtensionNotFound, ValueError):
        names = ()
    return Certificate(
        subject=one.subject.rfc4514_string(),
        names=names,
        not_before=one.not_valid_before_utc,
        not_after=one.not_valid_after_utc,
        fingerprint=one.fingerprint(hashes.SHA256()).hex(":").upper(),
        self_signed=one.issuer == one.subject,
    )
