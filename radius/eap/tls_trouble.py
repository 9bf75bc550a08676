"""Why TLS came to nothing, in words for the operator: each alert and each flaw of a certificate by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from OpenSSL import SSL


@dataclass(frozen=True, slots=True)
class TlsTrouble:
    """A handshake that failed. ``rule`` is stable for programs."""

    rule: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class CertificateTrouble:
    """A certificate of a peer that is not accepted. ``service_id`` when it is known whose it is."""

    rule: str
    reason: str
    remedy: str
    service_id: str | None = None

    def __str__(self) -> str:
        return self.reason


_ALERT_REMEDIES: Final = {
    "unknown_ca": (
        "the CPE does not know the authority that signed the server certificate",
        "install the certificate of that authority in the CPE (or its configuration template)",
    ),
    "bad_certificate": (
        "the CPE refuses the server certificate",
        "compare the server name that the CPE expects with the names in the server certificate",
    ),
    "certificate_unknown": (
        "the CPE refuses the server certificate",
        "look at what the CPE expects: its authority, and the server's name",
    ),
    "certificate_expired": (
        "the CPE takes the server certificate for expired",
        "set the CPE's clock, or renew the server certificate if it has expired",
    ),
    "access_denied": (
        "the CPE refuses the server certificate",
        "look at what the CPE expects: its authority, and the server's name",
    ),
    "protocol_version": (
        "the CPE does not speak a TLS version that is allowed here",
        "update the CPE, or look at radius.eap.tls_minimum",
    ),
    "handshake_failure": (
        "the CPE finds no cipher in common",
        "look at radius.eap.ciphers, or use an RSA certificate if the CPE knows no ECDSA",
    ),
    "decrypt_error": (
        "the CPE finds a signature wrong",
        "look for a second server with another key under the same name",
    ),
}
_OTHER_ALERT: Final = (
    "the CPE ended TLS", "look at the CPE's log; try it with the other TLS version (radius.eap.tls_maximum)"
)  # fmt: skip
_LOCAL: Final = {
    "peer did not return a certificate": TlsTrouble(
        "eap_certificate_missing", "the CPE sent no certificate",
        "install the certificate and key that were issued for it, or let it use a method with a password",
    ),
    "no shared cipher": TlsTrouble(
        "eap_tls_no_shared_cipher", "the CPE offers no cipher that is allowed here",
        "look at radius.eap.ciphers, or use an RSA certificate if the CPE knows no ECDSA",
    ),
    "unsupported protocol": TlsTrouble(
        "eap_tls_version", "the CPE offers no TLS version that is allowed here",
        "update the CPE, or look at radius.eap.tls_minimum and tls_maximum",
    ),
    "no suitable signature algorithm": TlsTrouble(
        "eap_tls_no_signature", "the CPE knows no signature that our certificate's key can make",
        "use an RSA certificate for CPEs that know no ECDSA",
    ),
}  # fmt: skip
_CERTIFICATE: Final = {
    2: ("unknown_ca", "no authority that is trusted here signed the CPE's certificate",
        "issue the CPE a certificate here, or import the authority that signed it"),
    7: ("bad_signature", "the signature in the CPE's certificate chain is wrong",
        "issue the CPE a new certificate"),
    9: ("not_yet_valid", "the CPE's certificate is not valid yet",
        "look at this server's clock, and at the certificate's dates"),
    10: ("expired", "the CPE's certificate has expired", "renew it and install the new one in the CPE"),
    23: ("revoked", "the CPE's certificate has been revoked", "issue the CPE a new one if it is still yours"),
    26: ("wrong_purpose", "the CPE's certificate is not made for TLS clients",
         "issue one with the extended key usage clientAuth"),
}  # fmt: skip
UNREADABLE: Final = 1
"""X509_V_ERR_UNSPECIFIED: a certificate that cannot be taken apart."""
_UNKNOWN_AUTHORITY: Final = frozenset((2, 18, 19, 20, 21, 24, 27, 33))
"""OpenSSL's many ways to say that the chain ends nowhere (X509_V_ERR_…, x509_vfy.h)."""
_ALERT = re.compile(r"alert (.+)$")


def of_tls(trouble: SSL.Error) -> TlsTrouble:
    """OpenSSL's complaint as trouble with a name."""
    if isinstance(trouble, (SSL.ZeroReturnError, SSL.SysCallError)):
        return TlsTrouble("eap_tls_closed", "the CPE closed TLS before its end", _OTHER_ALERT[1])
    reasons = [str(entry[2]) for entry in trouble.args[0]] if trouble.args and trouble.args[0] else []
    for reason in reasons:
        found = _ALERT.search(reason)
        if found is not None:
            return _of_alert(found.group(1))
        if reason in _LOCAL:
            return _LOCAL[reason]
    said = "; ".join(dict.fromkeys(reasons)) or "no reason given"
    return TlsTrouble("eap_tls_failed", f"TLS failed: {said}", _OTHER_ALERT[1])


def _of_alert(words: str) -> TlsTrouble:
    name = words.strip().lower().replace(" ", "_").replace("-", "_")
    reason, remedy = _ALERT_REMEDIES.get(name, _OTHER_ALERT)
    return TlsTrouble(f"eap_tls_alert_{name}", f"{reason} (TLS alert {name})", remedy)


def of_certificate(error: int) -> CertificateTrouble:
    """What OpenSSL found wrong with a peer's certificate (X509_V_ERR_…, x509_vfy.h)."""
    known = _CERTIFICATE.get(2 if error in _UNKNOWN_AUTHORITY else error)
    if known is None:
        return CertificateTrouble(
            "eap_certificate_refused", f"the CPE's certificate is not accepted (X.509 error {error})",
            "issue the CPE a new certificate",
        )  # fmt: skip
    return CertificateTrouble(f"eap_certificate_{known[0]}", known[1], known[2])


def expired() -> CertificateTrouble:
    """A certificate out of its time, found when its session was resumed."""
    return of_certificate(10)
