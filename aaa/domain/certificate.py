"""Rules of certificates: what they may be made for, how long they live, when they are renewed and told of."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from ipaddress import ip_address

from aaa.domain.checks import check_text
from core.refusal import Refusal

PURPOSES = ("server", "client", "nas")
"""Our own (EAP and RadSec), a subscriber's for EAP-TLS, a NAS's for RadSec."""

USES = ("client", "nas")
"""Who may come with a certificate of an outside authority."""

LIFE_DAYS = {"server": 730, "client": 1095, "nas": 730}
"""What is made without a wish. Apple's devices take no server certificate for more than 825 days."""
LONGEST_DAYS = {"server": 825, "client": 3650, "nas": 3650}
ROOT_DAYS = 7300
ISSUING_DAYS = 3650

CRL_LIFE = timedelta(days=7)
CRL_RENEWED_AFTER = timedelta(days=1)
"""A CRL is a day old when the next is signed, so one that was fetched is believed for six days at least."""

SERVER_RENEWED_BEFORE = timedelta(days=45)
"""Our own certificate is replaced this long before it ends: before anybody is told that it will."""
OVERLAP_DAYS = 30
"""How long the old certificate of a client or NAS is good beside its successor."""

WARN_BEFORE = timedelta(days=30)
ALARM_BEFORE = timedelta(days=7)

_DNS_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


def severity_of_end(not_after: datetime, now: datetime) -> str | None:
    """How loud the coming end of a certificate is told; None while it is far."""
    left = not_after - now
    if left <= ALARM_BEFORE:
        return "critical"
    return "warning" if left <= WARN_BEFORE else None


def check_days(days: int | None, purpose: str) -> int | Refusal:
    """The life of a certificate in days."""
    chosen = LIFE_DAYS[purpose] if days is None else days
    longest = LONGEST_DAYS[purpose]
    if 1 <= chosen <= longest:
        return chosen
    return Refusal("days.range", f"{chosen} days cannot be; a {purpose}'s lives 1 to {longest}", "days")


def check_host_name(text: str, field: str) -> str | Refusal:
    """A DNS name (a first label of ``*`` too) or an address, as certificates carry them."""
    name = text.strip()
    if is_address(name):
        return str(ip_address(name))
    labels = name.removeprefix("*.").split(".")
    if name and len(name) <= 253 and all(_DNS_LABEL.fullmatch(one) for one in labels):
        return name.lower()
    return Refusal(
        f"{field}.malformed", f"{text!r} is no host name or address; write it like radius.example.net", field
    )


def is_address(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def check_common_name(text: str, field: str) -> str | Refusal:
    """What fits a certificate's common name (64 characters, RFC 5280 appendix A)."""
    name = check_text(text, field, 64)
    if isinstance(name, Refusal):
        return name
    if any(ord(one) < 32 for one in name):
        return Refusal(f"{field}.malformed", f"the {field} holds characters that cannot be read", field)
    return name


def check_radsec_identity(text: str) -> str | Refusal:
    """A name that a NAS's certificate carries, or ``sha256:`` and the certificate's fingerprint.

    RFC 6614 section 2.3 has both. Fingerprints may be written with colons and in capitals.
    """
    wanted = text.strip().lower()
    if wanted.startswith("sha256:"):
        wanted = "sha256:" + wanted.removeprefix("sha256:").replace(":", "")
        if _FINGERPRINT.fullmatch(wanted):
            return wanted
        return Refusal(
            "radsec_identity.malformed",
            "a fingerprint is sha256: and 64 hexadecimal digits; see: openssl x509 -fingerprint -sha256",
            "radsec_identity",
        )
    return check_host_name(wanted, "radsec_identity")


def state_of(
    *, not_after: datetime, revoked_at: datetime | None, superseded_at: datetime | None, now: datetime
) -> str:
    """``good``, ``ending`` (within 30 days), ``replaced`` (it has a successor), ``ended`` or ``revoked``."""
    if revoked_at is not None:
        return "revoked"
    if not_after <= now:
        return "ended"
    if superseded_at is not None:
        return "replaced"
    return "good" if severity_of_end(not_after, now) is None else "ending"
