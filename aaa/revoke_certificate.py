"""Revoke certificates, and sign the lists of what is revoked."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Row

from aaa.domain import certificate as rules
from aaa.domain.checks import check_choice
from aaa.issue_certificate import unknown
from aaa.make_authority import signer
from aaa.store import certificate_rows as rows
from aaa.store import repositories
from core import pki
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Work


async def revoke_certificate(
    work: Work, sealer: Sealer, *, certificate: str, reason: str = "unspecified"
) -> str | Refusal:
    """End a certificate (id or serial) at once, for one of ``core.pki.REASONS``; returns its id.

    Our servers refuse it within a second; others read the new CRL.
    """
    await repositories.take_directory_lane(work.connection)
    chosen = check_choice(reason, "reason", pki.REASONS)
    if isinstance(chosen, Refusal):
        return chosen
    row = await rows.certificate_row(work.connection, certificate)
    if row is None:
        return unknown(certificate)
    if row.revoked_at is not None:
        return Refusal("certificate.revoked", f"it was revoked on {row.revoked_at:%Y-%m-%d}", "certificate")
    await revoke_row(work, row, chosen)
    authority = await rows.authority_row(work.connection, row.authority_id)
    if authority is not None:
        await sign_crl(work, sealer, authority)
    return str(row.id)


async def revoke_row(work: Work, row: Row[Any], reason: str) -> None:
    """Write a revocation down and tell the directories; the CRL is the caller's to sign."""
    await rows.update_certificate(
        work.connection, row.id, {"revoked_at": work.now, "revoked_by": work.actor, "reason": reason}
    )
    await repositories.append_directory_change(work.connection, "certificate", row.id, work.now)
    await work.audit("certificate.revoke", row.id, name=row.subject, serial=row.serial, reason=reason)


async def sign_crl(work: Work, sealer: Sealer, authority: Row[Any]) -> None:
    """The next CRL of an authority of ours, with all that it revoked and that has not ended by itself."""
    revoked = [
        pki.Revocation(int(one.serial, 16), one.revoked_at, one.reason)
        for one in await rows.revoked_by(work.connection, authority.id, work.now)
    ]
    until, number = work.now + rules.CRL_LIFE, authority.crl_number + 1
    crl = pki.sign_crl(signer(sealer, authority), number, work.now, until, revoked)
    await rows.update_authority(
        work.connection, authority.id, {"crl": crl, "crl_number": number, "crl_due_at": until}
    )
