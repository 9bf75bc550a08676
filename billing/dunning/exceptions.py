"""What keeps one account off the ladder for a while: a promise, immunity, a dispute, a deferral."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.dunning_policy import Policy
from billing.dunning.debtors import load_cases
from billing.dunning.evaluate import reconsider_dunning
from billing.dunning.record_outcomes import StageChange
from billing.store import account_rows, dunning_rows, exception_rows, invoice_rows
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work

BROKEN_WITHIN = timedelta(days=365)
_LONGEST_TEXT = 500
OUTCOMES = ("upheld", "rejected", "withdrawn")


async def record_promise(
    work: Work,
    *,
    account_id: str,
    until: date | None,
    amount_minor: int | None = None,
    note: str | None = None,
    settings: BillingSettings | None = None,
) -> StageChange | Refusal | None:
    """A promise to pay by ``until`` (included) defers worsening; None withdraws it.

    It is kept when ``amount_minor`` has come by then, all that is open and due by then without one. A new
    promise takes the place of an open one. Refused beyond the policy's longest promise, or when the account
    broke as many within a year as the policy bears. By a doubted clock no day is past.
    """
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return _unknown(account_id)
    doubted = await _clock_doubted(work, settings)
    today = local_date(work.now, account.time_zone)
    if until is not None:
        refusal = _refuse_note(note, "note") or await _refuse_promise(
            work, account, until, amount_minor, today, doubted=doubted
        )
        if refusal is not None:
            return refusal
    standing = await exception_rows.open_promises(work.connection, [account_id])
    fate = "withdrawn" if until is None else "replaced"
    await exception_rows.end_promises(work.connection, [(one.id, fate) for one in standing], work.now)
    if until is not None:
        open_minor = await exception_rows.open_until(work.connection, account_id, until)
        await exception_rows.insert_promise(
            work.connection,
            {
                "id": work.ids.new("prm"), "account_id": account_id, "until": until,
                "promised_minor": open_minor if amount_minor is None else amount_minor, "note": _text(note),
                "state": "open", "made_at": work.now, "made_by": work.actor, "ended_at": None,
            },
        )  # fmt: skip
    await exception_rows.set_promise_until(work.connection, {account_id: until})
    await work.audit("billing.promise_recorded", account_id, until=None if until is None else str(until))
    return await reconsider_dunning(work, account_id, clock_doubted=doubted)


async def _refuse_promise(
    work: Work, account: Account, until: date, amount_minor: int | None, today: date, *, doubted: bool
) -> Refusal | None:
    if not doubted and until < today:
        return Refusal("promise_in_the_past", f"{until} is past; take today or a later day", "until")
    if amount_minor is not None and amount_minor <= 0:
        return Refusal("bad_amount", "a promise is about more than nothing", "amount_minor")
    policy = await _policy_of(work, account.id)
    longest = policy.longest_promise_days
    if longest is not None and not doubted and until > today + timedelta(days=longest):
        message = f"the policy takes promises of up to {longest} days; take {today + timedelta(days=longest)}"
        return Refusal("promise_too_long", message, "until")
    if policy.broken_promises is not None:
        broken = await exception_rows.broken_since(work.connection, account.id, work.now - BROKEN_WITHIN)
        if broken >= policy.broken_promises:
            message = f"{broken} promises were broken within a year; the policy bears no more of them"
            return Refusal("promises_broken", message, "until")
    return None


async def _policy_of(work: Work, account_id: str) -> Policy:
    [case] = await load_cases(work.connection, [account_id], work.now, for_relief=True)
    return case.policy


async def set_immunity(
    work: Work,
    *,
    account_id: str,
    immune: bool,
    until: date | None = None,
    reason: str | None = None,
    settings: BillingSettings | None = None,
) -> StageChange | Refusal | None:
    """Leave the account alone (up to ``until``, included), or stop doing so; the stage follows at once."""
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return _unknown(account_id)
    doubted = await _clock_doubted(work, settings)
    refusal = _refuse_note(reason, "reason") or _refuse_past(work, account, until, "until", doubted=doubted)
    if refusal is not None:
        return refusal
    until, reason = (until, _text(reason)) if immune else (None, None)
    await dunning_rows.set_immune(work.connection, account_id, immune=immune, until=until, reason=reason)
    await work.audit(
        "billing.immunity_set", account_id, immune=immune, until=None if until is None else str(until),
        reason=reason,
    )  # fmt: skip
    return await reconsider_dunning(work, account_id, clock_doubted=doubted)


async def open_dispute(
    work: Work,
    *,
    account_id: str,
    reason: str,
    invoice: str | None = None,
    amount_minor: int | None = None,
    until: date | None = None,
    settings: BillingSettings | None = None,
) -> str | Refusal:
    """An amount is disputed and does not count as overdue until it is settled; returns the dispute's id.

    ``invoice``: id or number, None for the account as a whole; ``amount_minor`` None: all of it; ``until``:
    the last day on which it counts. The stage follows at once.
    """
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return _unknown(account_id)
    doubted = await _clock_doubted(work, settings)
    found = None if invoice is None else await invoice_rows.find_invoice(work.connection, invoice)
    if invoice is not None and (found is None or found.account_id != account_id):
        return Refusal("unknown_invoice", f"account {account.number} has no invoice {invoice}", "invoice")
    refusal = _refuse_dispute(reason, amount_minor, None if found is None else found.total_minor)
    refusal = refusal or _refuse_past(work, account, until, "until", doubted=doubted)
    if refusal is not None:
        return refusal
    dispute_id = work.ids.new("dsp")
    today = local_date(work.now, account.time_zone)
    await exception_rows.insert_dispute(
        work.connection,
        {
            "id": dispute_id, "account_id": account_id, "invoice_id": None if found is None else found.id,
            "amount_minor": amount_minor, "reason": reason.strip(), "from_on": today,
            "until_on": _day_after(until), "outcome": None, "outcome_note": None, "placed_at": work.now,
            "placed_by": work.actor, "ended_at": None,
        },
    )  # fmt: skip
    await work.audit(
        "billing.dispute_opened", account_id, dispute=dispute_id, reason=reason.strip(),
        invoice=None if found is None else found.number, amount_minor=amount_minor,
    )  # fmt: skip
    await reconsider_dunning(work, account_id, clock_doubted=doubted)
    return dispute_id


def _refuse_dispute(reason: str, amount_minor: int | None, total_minor: int | None) -> Refusal | None:
    if not reason.strip():
        return Refusal("reason_missing", "say what is disputed and why", "reason")
    if amount_minor is not None and amount_minor <= 0:
        return Refusal("bad_amount", "a dispute is about more than nothing", "amount_minor")
    if amount_minor is not None and total_minor is not None and amount_minor > total_minor:
        return Refusal("bad_amount", "that is more than the invoice says", "amount_minor")
    return _refuse_note(reason, "reason")


async def settle_dispute(
    work: Work,
    *,
    dispute_id: str,
    outcome: str,
    note: str | None = None,
    settings: BillingSettings | None = None,
) -> StageChange | Refusal | None:
    """End a dispute: ``upheld`` (a credit note is another matter), ``rejected`` or ``withdrawn``.

    Days on which the whole of an invoice was disputed do not count as late.
    """
    if outcome not in OUTCOMES:
        return Refusal("bad_outcome", f"{outcome!r} is not one of {', '.join(OUTCOMES)}", "outcome")
    found = await exception_rows.find_dispute(work.connection, dispute_id)
    if found is None:
        return Refusal("unknown_dispute", f"there is no dispute {dispute_id}", "dispute_id")
    account = await account_rows.lock_account(work.connection, found.account_id)
    found = await exception_rows.find_dispute(work.connection, dispute_id)  # now locked
    if account is None or found is None:
        raise RuntimeError(f"dispute {dispute_id} has no account")
    if found.ended_at is not None:
        return Refusal("dispute_settled", f"it was settled before: {found.outcome}", "dispute_id")
    refusal = _refuse_note(note, "note")
    if refusal is not None:
        return refusal
    today = local_date(work.now, account.time_zone)
    ends = max(found.from_on, min(found.until_on or today, today))
    await exception_rows.end_dispute(
        work.connection, dispute_id,
        {"until_on": ends, "outcome": outcome, "outcome_note": _text(note), "ended_at": work.now},
    )  # fmt: skip
    await work.audit("billing.dispute_settled", account.id, dispute=dispute_id, outcome=outcome)
    return await reconsider_dunning(work, account.id, clock_doubted=await _clock_doubted(work, settings))


async def place_deferral(
    work: Work,
    *,
    source: str,
    reason: str,
    account_ids: Collection[str] = (),
    service_ids: Collection[str] = (),
    until: date | None = None,
    settings: BillingSettings | None = None,
) -> int | Refusal:
    """Nothing worsens for these accounts until ``source`` lifts it, or after ``until``; returns how many.

    ``source`` names the event and who placed it (``ticket:tic_…``, ``outage:site_…``); the same source again
    adds those that are new and changes nothing for the others. A service stands for who pays for it.
    """
    source, reason = source.strip(), reason.strip()
    if not source or len(source) > 120:
        return Refusal("bad_source", "name the event in 1 to 120 characters", "source")
    if not reason or len(reason) > _LONGEST_TEXT:
        return Refusal("reason_missing", f"say why, in 1 to {_LONGEST_TEXT} characters", "reason")
    wanted: dict[str, str | None] = dict.fromkeys(account_ids)
    by_service = await exception_rows.accounts_of_services(work.connection, service_ids)
    for service_id, holder in by_service.items():
        wanted.setdefault(holder, service_id)
    accounts = await account_rows.lock_accounts(work.connection, wanted)
    payers = await account_rows.lock_accounts(
        work.connection, await dunning_rows.payers_of(work.connection, list(wanted))
    )
    service_of = wanted | {one.id: None for one in payers if one.id not in wanted}
    doubted, placed = await _clock_doubted(work, settings), 0
    for account in {one.id: one for one in (*accounts, *payers)}.values():
        values = {
            "id": work.ids.new("def"), "source": source, "account_id": account.id,
            "service_id": service_of[account.id], "reason": reason,
            "from_on": local_date(work.now, account.time_zone), "until_on": _day_after(until),
            "placed_at": work.now, "placed_by": work.actor, "lifted_at": None,
        }  # fmt: skip
        if await exception_rows.insert_deferral(work.connection, values):
            placed += 1
            await work.audit("billing.deferral_placed", account.id, source=source, reason=reason)
            await reconsider_dunning(work, account.id, clock_doubted=doubted)
    return placed


async def lift_deferral(
    work: Work, *, source: str, account_id: str | None = None, settings: BillingSettings | None = None
) -> int:
    """What the source placed (on one account, or on all) no longer defers; the ladder decides at once."""
    standing = [
        one
        for one in await exception_rows.standing_deferrals(work.connection, source.strip())
        if account_id is None or one.account_id == account_id
    ]
    accounts = {
        one.id: one
        for one in await account_rows.lock_accounts(work.connection, [row.account_id for row in standing])
    }
    ends = {
        one.id: max(one.from_on, local_date(work.now, accounts[one.account_id].time_zone)) for one in standing
    }
    await exception_rows.lift_deferrals(work.connection, ends, work.now)
    doubted = await _clock_doubted(work, settings)
    for one in standing:
        await work.audit("billing.deferral_lifted", one.account_id, source=source.strip())
        await reconsider_dunning(work, one.account_id, clock_doubted=doubted)
    return len(standing)


def _unknown(account_id: str) -> Refusal:
    return Refusal("unknown_account", f"there is no account {account_id}", "account_id")


def _text(given: str | None) -> str | None:
    return (given or "").strip() or None


def _refuse_note(given: str | None, field: str) -> Refusal | None:
    if given is not None and len(given) > _LONGEST_TEXT:
        return Refusal("too_long", f"use at most {_LONGEST_TEXT} characters", field)
    return None


def _refuse_past(
    work: Work, account: Account, until: date | None, field: str, *, doubted: bool
) -> Refusal | None:
    if until is None or doubted or until >= local_date(work.now, account.time_zone):
        return None
    return Refusal("day_in_the_past", f"{until} is past; take today or a later day", field)


def _day_after(last: date | None) -> date | None:
    return None if last is None else last + timedelta(days=1)


async def _clock_doubted(work: Work, settings: BillingSettings | None) -> bool:
    """Whether it was ever trusted need not be asked: before that nobody was billed, and nobody owes."""
    return await find_clock_doubt(work.connection, work.now, settings or BillingSettings()) is not None
