"""Who need not pay a tax, by which certificate, from when until when; a picture of it may be kept."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from billing.domain.taxes.rule import MILLION, Exemption
from billing.store import account_rows, tax_rows
from core.refusal import Refusal
from core.work import Work

LARGEST_SCAN = 2 * 2**20
"""Octets of a certificate's picture."""
_BEGINNINGS = {
    b"%PDF-": "application/pdf",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
}


async def grant_exemption(
    work: Work,
    *,
    account_id: str,
    certificate: str,
    valid_from: date,
    valid_until: date | None = None,
    taxes: Collection[str] = (),
    authorities: Collection[str] = (),
    tax_classes: Collection[str] = (),
    share_ppm: int = MILLION,
    issued_on: date | None = None,
    note: str | None = None,
    scan: bytes | None = None,
) -> str | Refusal:
    """Free the account (id or number) from taxes by name, authority and class; none named means all.

    ``valid_until`` is exclusive: the first day on which the certificate no longer holds. Returns the id.
    """
    account = await account_rows.find_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id[:40]}", "account")
    media_type = None if scan is None else media_type_of(scan)
    refusal = _check(certificate.strip(), valid_from, valid_until, share_ppm, (note or "").strip())
    refusal = refusal or await _check_names(work, taxes, authorities)
    if refusal is None and scan is not None and (len(scan) > LARGEST_SCAN or media_type is None):
        refusal = Refusal("bad_scan", "the picture must be a PDF, PNG or JPEG of at most 2 MB", "scan")
    if refusal:
        return refusal
    exemption = Exemption(
        work.ids.new("exm"), account.id, certificate.strip(), valid_from, valid_until, frozenset(taxes),
        frozenset(authorities), frozenset(tax_classes), share_ppm, issued_on, (note or "").strip() or None,
        work.now,
    )  # fmt: skip
    await tax_rows.insert_exemption(work.connection, exemption, work.actor)
    if scan is not None:
        await tax_rows.insert_scan(
            work.connection,
            {
                "exemption_id": exemption.id, "media_type": media_type, "content": scan,
                "recorded_at": work.now, "recorded_by": work.actor[:80],
            },
        )  # fmt: skip
    await work.audit(
        "billing.tax_exemption_granted", account.id, exemption=exemption.id,
        certificate=exemption.certificate, valid_from=str(valid_from),
        valid_until=None if valid_until is None else str(valid_until),
    )  # fmt: skip
    return exemption.id


async def withdraw_exemption(work: Work, *, exemption_id: str, reason: str) -> Refusal | None:
    """Drafts from now on no longer read it; one that merely ends says so by its last day."""
    reason = reason.strip()
    if not 0 < len(reason) <= 200:
        return Refusal("no_reason", "say in 1 to 200 characters why it is withdrawn", "reason")
    found = await tax_rows.find_exemption(work.connection, exemption_id)
    if found is None:
        return Refusal("unknown_exemption", f"there is no exemption {exemption_id[:40]}", "exemption_id")
    if not await tax_rows.withdraw_exemption(work.connection, found.id, work.now, work.actor, reason):
        return Refusal("withdrawn", f"certificate {found.certificate} was withdrawn already", "exemption_id")
    await work.audit(
        "billing.tax_exemption_withdrawn", found.account_id, exemption=found.id,
        certificate=found.certificate, reason=reason,
    )  # fmt: skip
    return None


def media_type_of(content: bytes) -> str | None:
    """What kind of picture the octets are, by how they begin; None: none that is kept."""
    return next((kind for begin, kind in _BEGINNINGS.items() if content.startswith(begin)), None)


def _check(
    certificate: str, valid_from: date, valid_until: date | None, share_ppm: int, note: str
) -> Refusal | None:
    if not 0 < len(certificate) <= 80 or not certificate.isprintable():
        return Refusal("bad_certificate", "give the certificate's number, 1 to 80 characters", "certificate")
    if valid_until is not None and valid_until <= valid_from:
        return Refusal("bad_day", "the certificate must end after its first day", "valid_until")
    if not 0 < share_ppm <= MILLION:
        return Refusal("bad_share", "the exempt share must be above 0 and at most 100 %", "share")
    if len(note) > 2_000:
        return Refusal("long_note", "a note has at most 2000 characters", "note")
    return None


async def _check_names(work: Work, taxes: Collection[str], authorities: Collection[str]) -> Refusal | None:
    """A name that no rule has would free from nothing, and nobody would notice."""
    if not taxes and not authorities:
        return None
    rules = await tax_rows.tax_rules(work.connection)
    for field, given, known in (
        ("taxes", taxes, {rule.name for rule in rules}),
        (
            "authorities",
            authorities,
            {name for rule in rules for name in (rule.owed_to, rule.jurisdiction.code)},
        ),
    ):
        for name in sorted(given):
            if name not in known:
                return Refusal(
                    f"unknown_{field}", f"no tax rule has {name[:60]!r}; write it as rules do", field
                )
    return None
