"""What there is of authorities and certificates, for people; and the files that are public."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from ssl import PEM_cert_to_DER_cert
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain import certificate as rules
from aaa.store import certificate_rows as rows
from aaa.store.tables import certificate

PEM = "application/x-pem-file"
_ENDING_BEFORE = rules.WARN_BEFORE
_LONG_GONE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class AuthorityLine:
    """One authority: ours (root, issuing) or another's (outside)."""

    id: str
    name: str
    kind: str
    issues: bool
    trusted: bool
    uses: list[str]
    fingerprint: str
    crl_number: int
    crl_due_at: datetime | None
    not_after: datetime


@dataclass(frozen=True, slots=True)
class CertificateLine:
    """One certificate and whose it is. ``state``: see ``aaa.domain.certificate.state_of``."""

    id: str
    purpose: str
    subject: str
    names: list[str]
    holder: str
    username: str | None
    serial: str
    key_type: str
    state: str
    reason: str | None
    not_after: datetime
    issued_at: datetime
    issued_by: str
    revoked_at: datetime | None
    superseded_at: datetime | None
    service_id: str | None
    nas_id: str | None
    authority: str


async def list_authorities(connection: AsyncConnection) -> list[AuthorityLine]:
    """All of them, the newest first."""
    return [
        AuthorityLine(
            row.id, row.name, row.kind, bool(row.issues and row.retired_at is None), row.retired_at is None,
            list(row.uses), _fingerprint(row.certificate), row.crl_number, row.crl_due_at, row.not_after,
        )
        for row in await rows.authorities(connection)
    ]  # fmt: skip


async def list_certificates(
    connection: AsyncConnection,
    now: datetime,
    *,
    purpose: str | None = None,
    text: str = "",
    ending: bool = False,
    past: bool = False,
    limit: int = 1_000,
) -> list[CertificateLine]:
    """Those that are good, the newest first; with ``past`` also what is revoked, replaced or has ended.

    ``text`` looks in names, serials and the labels of services; ``ending`` leaves what ends within 30 days
    or did so in the last 30.
    """
    wanted = []
    if purpose:
        wanted.append(certificate.c.purpose == purpose)
    if text:
        wanted.append(rows.mentions(text))
    if ending or not past:
        wanted += [certificate.c.revoked_at.is_(None), certificate.c.superseded_at.is_(None)]
    if ending:
        wanted.append(certificate.c.not_after.between(now - _LONG_GONE, now + _ENDING_BEFORE))
    elif not past:
        wanted.append(certificate.c.not_after > now)
    found = await rows.certificates(connection, *wanted, limit=limit)
    return [_line(row, now) for row in found]


def _line(row: Any, now: datetime) -> CertificateLine:
    state = rules.state_of(
        not_after=row.not_after, revoked_at=row.revoked_at, superseded_at=row.superseded_at, now=now
    )
    holder = {"client": row.service_label, "nas": row.nas_name}.get(row.purpose) or "this server"
    return CertificateLine(
        row.id, row.purpose, row.subject, list(row.names), holder, row.username, row.serial, row.key_type,
        state, row.reason, row.not_after, row.issued_at, row.issued_by, row.revoked_at, row.superseded_at,
        row.service_id, row.nas_id, row.authority_name,
    )  # fmt: skip


def _fingerprint(pem: str) -> str:
    return sha256(PEM_cert_to_DER_cert(pem)).hexdigest()


PUBLIC_FILES = ("ca.pem", "ca.der", "chain.pem", "hilltop.crl", "root.crl")


async def public_file(connection: AsyncConnection, name: str) -> tuple[str, bytes] | None:
    """Media type and content of one of ``PUBLIC_FILES``; None while there is nothing behind the name.

    ``ca`` is what a device has to trust: our roots (the newest alone as DER). ``hilltop.crl`` is the list of
    the authority that signs, ``root.crl`` the root's (DER, RFC 2585 section 4.2).
    """
    ours = [row for row in await rows.authorities(connection) if row.kind != "outside" and not row.retired_at]
    roots = [row for row in ours if row.kind == "root"]
    signing = next((row for row in ours if row.issues), None)
    if signing is None:
        return None
    if name in {"ca.pem", "ca.der"}:
        return _certificates(name, roots)
    if name == "chain.pem":
        above = [row for row in roots if row.id == signing.parent_id]
        return PEM, "".join(row.certificate for row in (signing, *above)).encode()
    of = {"hilltop.crl": signing, "root.crl": roots[0] if roots else None}.get(name)
    return None if of is None or of.crl is None else ("application/pkix-crl", bytes(of.crl))


def _certificates(name: str, roots: Sequence[Any]) -> tuple[str, bytes] | None:
    if not roots:
        return None
    if name == "ca.pem":
        return PEM, "".join(row.certificate for row in roots).encode()
    return "application/pkix-cert", PEM_cert_to_DER_cert(roots[0].certificate)
