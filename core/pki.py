"""X.509 as this house uses it: keys, a certificate authority's certificates, CRLs, requests and bundles.

Everything here is a function of its arguments but for the keys, the serial numbers and the salts, which the
library draws. Certificates follow RFC 5280; what they say of EAP-TLS and RadSec follows RFC 5216 section 5
and RFC 6614 section 2.3.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from core.addresses import Address
from core.secrets import Secret

KEY_TYPES = ("p256", "rsa2048", "rsa3072")
"""P-256 is the cheapest to sign with; RSA is for devices that know nothing else."""

LONGEST_COMMON_NAME = 64
"""Characters (ub-common-name, RFC 5280 appendix A)."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_BITS = {"rsa2048": 2048, "rsa3072": 3072}
_LEAST_RSA_BITS = 2048
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_LARGEST_PEM = 64 * 1024
_SLACK = timedelta(days=1)  # a device whose clock is some hours behind must not refuse what is new
_USES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


class PkiError(Exception):
    """A certificate, key, request or CRL that cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Names:
    """Whom a certificate is for: the common name, and what stands in its subjectAltName."""

    common_name: str
    dns: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    emails: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every name once, as text."""
        return tuple(dict.fromkeys([self.common_name, *self.dns, *map(str, self.addresses), *self.emails]))


@dataclass(frozen=True, slots=True)
class Issuer:
    """What signs: a certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey


@dataclass(frozen=True, slots=True)
class Request:
    """A certificate signing request whose signature is right."""

    public_key: PublicKey
    names: Names


@dataclass(frozen=True, slots=True)
class Revocation:
    """A serial number that is good no more, since when, and why (RFC 5280 section 5.3.1)."""

    serial: int
    at: datetime
    reason: str


def make_key(key_type: str) -> PrivateKey:
    """A new private key of one of ``KEY_TYPES``."""
    if key_type == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65537, _BITS[key_type])


def type_of(key: PublicKey) -> str:
    """What to call a key, like ``p256`` or ``rsa2048``."""
    return f"rsa{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else f"p{key.curve.key_size}"


def key_to_pem(key: PrivateKey) -> Secret:
    """The key as PKCS#8 PEM, unencrypted: seal it, or hand it out once."""
    octets = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret(octets.decode())


def key_from_pem(pem: Secret) -> PrivateKey:
    """The key in a PEM text without passphrase. Raises ``PkiError``, which never repeats the text."""
    try:
        key = serialization.load_pem_private_key(pem.reveal().encode(), password=None)
    except TypeError:
        raise PkiError("the key is locked by a passphrase; give it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise PkiError("the key is not a private key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise PkiError("the key is neither RSA nor of an elliptic curve; make one of these")
    _usable(key.public_key())
    return key


def to_pem(*certificates: x509.Certificate) -> str:
    """Certificates as PEM, one after the other."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def to_der(certificate: x509.Certificate) -> bytes:
    """A certificate as DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def fingerprint(der: bytes) -> bytes:
    """SHA-256 over a certificate's DER."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    return digest.finalize()


def read_certificates(text: bytes) -> list[x509.Certificate]:
    """The certificates in PEM, or the one in DER, first to last. Raises ``PkiError``."""
    if len(text) > _LARGEST_PEM:
        raise PkiError(f"it is over {_LARGEST_PEM} octets; is it the right file?")
    try:
        if b"-----BEGIN" in text:
            found = x509.load_pem_x509_certificates(text)
        else:
            found = [x509.load_der_x509_certificate(text)]
        for one in found:
            one.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise PkiError("it is not a certificate in PEM or DER form, or it is damaged") from None
    return found


def read_authority(text: bytes) -> x509.Certificate:
    """One certificate that may sign others. Raises ``PkiError``."""
    found = read_certificates(text)
    if len(found) != 1:
        raise PkiError(f"it holds {len(found)} certificates; give the authority's own alone")
    try:
        basic = found[0].extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        raise PkiError("it is no authority's certificate: it does not say that it may sign others") from None
    if not basic.ca:
        raise PkiError("it is no authority's certificate: give the one that issued it")
    _usable(found[0].public_key())
    return found[0]


def make_root(common_name: str, key: PrivateKey, now: datetime, days: int) -> x509.Certificate:
    """A certificate authority that vouches for itself, for ``days`` from ``now``."""
    subject = _subject(common_name)
    builder = _builder(subject, key.public_key(), now, now + timedelta(days=days)).issuer_name(subject)
    return _authority(builder, path_length=1).sign(key, hashes.SHA256())


def issue_authority(
    issuer: Issuer,
    common_name: str,
    public_key: PublicKey,
    *,
    now: datetime,
    days: int,
    crl_url: str | None = None,
) -> x509.Certificate:
    """An authority under ``issuer`` that signs no further ones."""
    builder = _builder(_subject(common_name), public_key, now, _end(issuer, now, days))
    return _signed(_authority(builder, path_length=0), issuer, crl_url)


def issue(
    issuer: Issuer,
    names: Names,
    public_key: PublicKey,
    *,
    use: str,
    now: datetime,
    days: int,
    crl_url: str | None = None,
) -> x509.Certificate:
    """A certificate for TLS as ``server`` or ``client``; it ends before its issuer does."""
    is_rsa = isinstance(public_key, rsa.RSAPublicKey)
    builder = (
        _builder(_subject(names.common_name), public_key, now, _end(issuer, now, days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, key_encipherment=is_rsa), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_USES[use]]), critical=False)
    )
    alternative = _alternative(names)
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return _signed(builder, issuer, crl_url)


def sign_crl(
    issuer: Issuer, number: int, now: datetime, until: datetime, revoked: Iterable[Revocation]
) -> bytes:
    """The list of revoked serials as DER (RFC 5280 section 5), believed until ``until``."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now.replace(microsecond=0))
        .next_update(until.replace(microsecond=0))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_key_of(issuer), critical=False)
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial)
        entry = entry.revocation_date(one.at.replace(microsecond=0))
        if one.reason != "unspecified":  # which is told by leaving the reason out (section 5.3.1)
            entry = entry.add_extension(x509.CRLReason(_REASONS[one.reason]), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


_REASONS = {
    "key_compromise": x509.ReasonFlags.key_compromise,
    "affiliation_changed": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessation": x509.ReasonFlags.cessation_of_operation,
    "privilege_withdrawn": x509.ReasonFlags.privilege_withdrawn,
}
REASONS = ("unspecified", *_REASONS)
"""Why a certificate may be revoked."""


def read_crl(text: bytes, authority: x509.Certificate) -> tuple[frozenset[int], datetime | None]:
    """The serials a CRL (PEM or DER) of ``authority`` revokes, and when its next one is due.

    Raises ``PkiError`` also for one that the authority did not sign.
    """
    try:
        load = x509.load_pem_x509_crl if b"-----BEGIN" in text else x509.load_der_x509_crl
        crl = load(text)
        right = crl.issuer == authority.subject and crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
        serials = frozenset(one.serial_number for one in crl)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PkiError("it is not a CRL in PEM or DER form, or it is damaged") from None
    if not right:
        raise PkiError("the CRL was not signed by this authority")
    return serials, crl.next_update_utc


def read_request(text: bytes) -> Request:
    """A request (PKCS#10, PEM or DER) with a right signature and a usable key. Raises ``PkiError``."""
    try:
        load = x509.load_pem_x509_csr if b"-----BEGIN" in text else x509.load_der_x509_csr
        asked = load(text)
        right, key = asked.is_signature_valid, asked.public_key()
        names = _names_of(asked.subject, asked.extensions)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
        raise PkiError("it is not a certificate request in PEM or DER form, or it is damaged") from None
    if not right:
        raise PkiError("the request's signature is wrong; make the request anew")
    return Request(_usable(key), names)


def names_in(certificate: x509.Certificate) -> Names:
    """Whom a certificate is for."""
    return _names_of(certificate.subject, certificate.extensions)


def issuer_digest(certificate: x509.Certificate) -> bytes:
    """What tells one issuer's serials from another's: SHA-256 over the issuer's name."""
    return fingerprint(certificate.issuer.public_bytes())


def subject_digest(certificate: x509.Certificate) -> bytes:
    """The same of an authority itself: the ``issuer_digest`` of whatever it issues."""
    return fingerprint(certificate.subject.public_bytes())


def issued(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether ``authority`` signed ``certificate``."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def bundle(
    label: str,
    key: PrivateKey,
    chain: Sequence[x509.Certificate],
    password: Secret,
    *,
    old: bool = False,
) -> bytes:
    """Key and chain (its own certificate first) as PKCS#12 under a password.

    ``old`` is for devices that know triple DES alone (RouterOS 6, Android before 12, Windows before 10).
    """
    lock: serialization.KeySerializationEncryption = serialization.BestAvailableEncryption(
        password.reveal().encode()
    )
    if old:
        builder = serialization.PrivateFormat.PKCS12.encryption_builder()
        builder = builder.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        lock = builder.hmac_hash(hashes.SHA1()).kdf_rounds(20_000).build(password.reveal().encode())  # noqa: S303 - what such devices read
    return pkcs12.serialize_key_and_certificates(label.encode(), key, chain[0], list(chain[1:]), lock)


def _usable(key: object) -> PublicKey:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise PkiError(f"its RSA key has {key.key_size} bits; {_LEAST_RSA_BITS} are the least")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    raise PkiError("its key is neither RSA nor of the curves P-256, P-384 or P-521; make one of these")


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, key: PublicKey, now: datetime, until: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.replace(microsecond=0) - _SLACK)
        .not_valid_after(until.replace(microsecond=0))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _end(issuer: Issuer, now: datetime, days: int) -> datetime:
    return min(now + timedelta(days=days), issuer.certificate.not_valid_after_utc)


def _authority(builder: x509.CertificateBuilder, path_length: int) -> x509.CertificateBuilder:
    return builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=path_length), critical=True
    ).add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)


def _signed(builder: x509.CertificateBuilder, issuer: Issuer, crl_url: str | None) -> x509.Certificate:
    builder = builder.issuer_name(issuer.certificate.subject).add_extension(_key_of(issuer), critical=False)
    if crl_url is not None:
        place = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([place]), critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def _key_of(issuer: Issuer) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, content_commitment=False, key_encipherment=key_encipherment,
        data_encipherment=False, key_agreement=False, key_cert_sign=key_cert_sign, crl_sign=crl_sign,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _alternative(names: Names) -> list[x509.GeneralName]:
    return [
        *map(x509.DNSName, names.dns),
        *map(x509.IPAddress, names.addresses),
        *map(x509.RFC822Name, names.emails),
    ]


def _names_of(subject: x509.Name, extensions: x509.Extensions) -> Names:
    common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = common[0].value if common else ""
    try:
        found = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Names(str(name))
    addresses = found.get_values_for_type(x509.IPAddress)
    return Names(
        str(name),
        tuple(found.get_values_for_type(x509.DNSName)),
        tuple(one for one in addresses if isinstance(one, ipaddress.IPv4Address | ipaddress.IPv6Address)),
        tuple(found.get_values_for_type(x509.RFC822Name)),
    )
