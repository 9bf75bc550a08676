"""An operator's word on what waits for it: a suspension, a write-off."""

from __future__ import annotations

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.dunning.evaluate import reconsider_dunning
from billing.dunning.record_outcomes import StageChange
from billing.dunning.write_off import write_off_invoice
from billing.store import account_rows, approval_rows
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work


async def decide_approval(
    work: Work,
    *,
    approval_id: str,
    approve: bool,
    note: str | None = None,
    settings: BillingSettings | None = None,
) -> StageChange | Refusal | None:
    """Approve what waits, or decline it: then it is not asked again before the request's last day is over.

    An approved cut still keeps to hours, closed days and caps, and is dropped when it is no longer due.
    """
    found = await approval_rows.find_approval(work.connection, approval_id)
    if found is None:
        return Refusal("unknown_approval", f"no request {approval_id} is known", "approval_id")
    account = await account_rows.lock_account(work.connection, found.account_id)
    found = await approval_rows.find_approval(work.connection, approval_id)  # now locked
    if account is None or found is None:
        raise RuntimeError(f"request {approval_id} has no account")
    if found.state != "waiting":
        return Refusal("approval_decided", f"it waits no longer: {found.state}", "approval_id")
    if local_date(work.now, account.time_zone) > found.expires_on:
        return Refusal("approval_expired", "it was left too long and is asked anew tonight", "approval_id")
    if note is not None and len(note) > 500:
        return Refusal("too_long", "use at most 500 characters", "note")
    if approve and found.kind == "write_off":
        done = await write_off_invoice(work, invoice=found.subject, reason=note or found.because)
        if isinstance(done, Refusal):
            return done
    state = ("done" if found.kind == "write_off" else "approved") if approve else "declined"
    word = {
        "state": state, "decided_at": work.now, "decided_by": work.actor, "note": (note or "").strip() or None
    }  # fmt: skip
    await approval_rows.decide(work.connection, approval_id, word)
    await work.audit(
        "billing.dunning_approval_decided", account.id, request=approval_id, kind=found.kind,
        what=found.subject, approved=approve, note=note,
    )  # fmt: skip
    doubt = await find_clock_doubt(work.connection, work.now, settings or BillingSettings())
    return await reconsider_dunning(work, account.id, clock_doubted=doubt is not None)
