"""Commission: what a reseller has earned and is not posted, statements of periods, and money paid out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.domain.commission import (
    MONTH,
    Assignment,
    CommissionLine,
    Source,
    commission_entry,
    earn,
    month_ends,
    payout_entry,
)
from billing.domain.ledger import Booking
from billing.store import ledger_rows, reseller_rows
from core.refusal import Refusal
from core.work import Work

METHODS = ("transfer", "cheque", "cash")


@dataclass(frozen=True, slots=True)
class CommissionDraft:
    """What is earned from ``from_on`` to ``until_on`` (exclusive), and before and was not posted then."""

    reseller_id: str
    from_on: date
    until_on: date
    currency: str
    lines: tuple[CommissionLine, ...]

    @property
    def amount_minor(self) -> int:
        """What the lines come to; negative when more was taken back than earned."""
        return sum(one.commission_minor for one in self.lines)


@dataclass(frozen=True, slots=True)
class PostedCommission:
    """A statement. ``outcome``: posted, or exists when the period has one."""

    id: str
    number: int
    from_on: date
    until_on: date
    amount_minor: int
    currency: str
    outcome: str


async def draft_commission(
    connection: AsyncConnection, reseller_id: str, until_on: date
) -> CommissionDraft | Refusal:
    """What a statement up to ``until_on`` (exclusive) would say; nothing is written."""
    found = await reseller_rows.find_reseller(connection, reseller_id)
    if found is None:
        return Refusal("unknown_reseller", f"there is no reseller {reseller_id!r}", "reseller_id")
    terms = await reseller_rows.terms_of(connection, reseller_id)
    assigned = await reseller_rows.assignments(connection, reseller_id)
    posted = await reseller_rows.statements_of(connection, reseller_id)
    first = min((one.from_on for one in assigned), default=until_on)
    from_on = posted[0].until_on if posted else min(first, until_on)
    accounts = sorted({one.account_id for one in assigned})
    sources = await reseller_rows.money_sources(connection, accounts) if accounts else []
    sources += await _months(connection, assigned, first, until_on)
    known = await reseller_rows.earned_keys(connection, reseller_id)
    fresh = [one for one in sources if one.key not in known and one.happened_on < until_on]
    lines = tuple(earn(fresh, terms, assigned))
    return CommissionDraft(reseller_id, from_on, until_on, found.currency, lines)


async def _months(
    connection: AsyncConnection, assigned: list[Assignment], first: date, until_on: date
) -> list[Source]:
    """The months of accounts that had a running subscription on a month's last day."""
    spans = await reseller_rows.running_spans(connection, sorted({one.account_id for one in assigned}))
    return [
        Source(MONTH, f"{last:%Y-%m}", account_id, last, last, 0)
        for last in month_ends(first, until_on)
        for account_id in sorted({one.account_id for one in assigned if one.covers(last)})
        if any(
            starts_on <= last and (ends_on is None or last < ends_on)
            for starts_on, ends_on in spans.get(account_id, ())
        )
    ]


async def post_commission(
    work: Work, *, reseller_id: str, until_on: date, settings: BillingSettings | None = None
) -> PostedCommission | Refusal:
    """Post what was earned before ``until_on`` as owed to the reseller; a period is posted once.

    What comes later for a day that is posted is on the next statement. Refused for days to come and on a
    doubtful clock.
    """
    if await reseller_rows.find_reseller(work.connection, reseller_id, lock=True) is None:
        return Refusal("unknown_reseller", f"there is no reseller {reseller_id!r}", "reseller_id")
    posted = await reseller_rows.statements_of(work.connection, reseller_id)
    for one in posted:
        if one.until_on == until_on:
            return PostedCommission(
                one.id, one.number, one.from_on, one.until_on, one.amount_minor, one.currency, "exists"
            )
    refusal = await find_clock_doubt(work.connection, work.now, settings or BillingSettings())
    refusal = refusal or _refuse_period(work, until_on, posted[0].until_on if posted else None)
    if refusal is not None:
        return refusal
    draft = await draft_commission(work.connection, reseller_id, until_on)
    if isinstance(draft, Refusal):
        return draft
    return await _post(work, draft, posted[0].number + 1 if posted else 1)


def _refuse_period(work: Work, until_on: date, posted_until: date | None) -> Refusal | None:
    if until_on > work.now.astimezone(UTC).date():
        return Refusal("not_over", f"the days before {until_on} are not over", "until_on")
    if posted_until is not None and until_on < posted_until:
        message = f"statements are posted up to {posted_until}; take a later day"
        return Refusal("day_is_posted", message, "until_on")
    return None


async def _post(work: Work, draft: CommissionDraft, number: int) -> PostedCommission:
    statement_id, amount = work.ids.new("cst"), draft.amount_minor
    await reseller_rows.insert_statement(
        work.connection,
        {
            "id": statement_id, "reseller_id": draft.reseller_id, "number": number,
            "from_on": draft.from_on, "until_on": draft.until_on, "currency": draft.currency,
            "amount_minor": amount, "posted_at": work.now, "posted_by": work.actor,
        },
        [(work.ids.new("cln"), one) for one in draft.lines],
    )  # fmt: skip
    if amount:
        found = await reseller_rows.find_reseller(work.connection, draft.reseller_id)
        entity_id = None if found is None else found.entity_id
        last_day = draft.until_on - timedelta(days=1)
        booking = Booking(draft.reseller_id, last_day, draft.currency, entity_id)
        entry = commission_entry(booking, statement_id, amount)
        await ledger_rows.book(work.connection, work.now, work.ids, [entry])
    await work.audit(
        "billing.commission_posted", f"reseller:{draft.reseller_id}", number=number,
        until_on=str(draft.until_on), amount_minor=amount, lines=len(draft.lines),
    )  # fmt: skip
    return PostedCommission(
        statement_id, number, draft.from_on, draft.until_on, amount, draft.currency, "posted"
    )


async def pay_commission(  # noqa: PLR0911 - each thing that can be wrong has its own words
    work: Work,
    *,
    reseller_id: str,
    amount_minor: int,
    method: str,
    idempotency_key: str,
    reference: str | None = None,
) -> str | Refusal:
    """Record that commission was paid out; returns the payout's id. The same key again changes nothing."""
    found = await reseller_rows.find_reseller(work.connection, reseller_id, lock=True)
    if found is None:
        return Refusal("unknown_reseller", f"there is no reseller {reseller_id!r}", "reseller_id")
    if method not in METHODS:
        return Refusal("bad_method", f"choose one of {', '.join(METHODS)}", "method")
    if not 0 < len(idempotency_key.strip()) <= 120:
        return Refusal("bad_key", "give the payout a key of 1 to 120 characters", "idempotency_key")
    if reference is not None and len(reference) > 140:
        return Refusal("too_long", "use at most 140 characters", "reference")
    known = await reseller_rows.payout_by_key(work.connection, idempotency_key.strip())
    if known is not None:
        same = (known.reseller_id, known.amount_minor) == (reseller_id, amount_minor)
        message = "that key paid another amount or reseller"
        return str(known.id) if same else Refusal("key_differs", message, "idempotency_key")
    owed = await reseller_rows.payable(work.connection, reseller_id)
    if not 0 < amount_minor <= owed:
        return Refusal("bad_amount", "pay more than nothing and at most what is owed", "amount")
    payout_id, today = work.ids.new("cpo"), work.now.astimezone(UTC).date()
    await reseller_rows.insert_payout(
        work.connection,
        {
            "id": payout_id, "reseller_id": reseller_id, "idempotency_key": idempotency_key.strip(),
            "amount_minor": amount_minor, "currency": found.currency, "method": method,
            "reference": (reference or "").strip() or None, "paid_on": today, "recorded_at": work.now,
            "recorded_by": work.actor,
        },
    )  # fmt: skip
    booking = Booking(reseller_id, today, found.currency, found.entity_id)
    entry = payout_entry(booking, payout_id, method, amount_minor)
    await ledger_rows.book(work.connection, work.now, work.ids, [entry])
    await work.audit(
        "billing.commission_paid", f"reseller:{reseller_id}", amount_minor=amount_minor, method=method
    )
    return payout_id
