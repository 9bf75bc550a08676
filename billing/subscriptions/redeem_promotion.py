"""Redeem a coupon for a subscription, and end its use before its time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from billing.catalogue.define_promotion import LONGEST_CODE, plain_code
from billing.clock_doubt import refuse_impossible_clock
from billing.domain.catalogue import Account, Subscription
from billing.domain.owed import Promotion
from billing.store import account_rows, invoice_rows, plan_rows, promotion_rows, subscription_rows
from billing.subscriptions.change_subscription import FURTHEST_BACK_DAYS
from billing.subscriptions.next_cycle import look_again, payer_of
from core.periods import add_months, local_date
from core.refusal import answering, granted, refuse
from core.work import Work

NEW_DAYS = 30
"""Who subscribed for the first time at most so many days ago is a new customer."""
_FURTHEST_AHEAD_DAYS = 366


@dataclass(frozen=True, slots=True)
class Redeemed:
    """A promotion in use. ``outcome``: redeemed, or exists when the subscription used it already."""

    use_id: str
    outcome: str
    code: str
    name: str
    subscription_id: str
    from_on: date
    until_on: date | None


@answering
async def redeem_promotion(
    work: Work,
    *,
    code: str,
    account_id: str,
    subscription_id: str | None = None,
    from_on: date | None = None,
    referred_by: str | None = None,
) -> Redeemed:
    """The account uses the promotion for a subscription (None: the first one that it is for).

    It reduces the periods from the one with ``from_on`` in it on; None: from the first that is not invoiced
    yet. Once for each account; the same again answers ``exists``. ``referred_by``: number or id of the
    account that brought this one.
    """
    impossible = refuse_impossible_clock(work.now)
    if impossible is not None:
        granted(impossible)
    code = plain_code(code)
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        refuse("unknown_account", f"there is no account {account_id}", "account_id")
    payer = await payer_of(work, account)  # accounts are held before the promotion, by everybody
    found = await promotion_rows.find_promotion(work.connection, code, lock=True)
    if found is None or found.withdrawn_at is not None:
        said = "is not given any more" if found else "is not known; look at how it is written"
        refuse("unknown_promotion", f"the code {code[:LONGEST_CODE]!r} {said}", "code")
    used = await promotion_rows.use_of_account(work.connection, found.id, account.id)
    if used is not None:
        if subscription_id in {None, used.subscription_id}:
            return _redeemed(used.id, "exists", found, used)
        refuse("used_before", f"account {account.number} has used {code} before; it is given once", "code")
    today = local_date(work.now, account.time_zone)
    own = (await subscription_rows.subscriptions_of(work.connection, [account.id]))[account.id]
    await _check_offer(work, account, found, own, today)
    one = await _subscription_for(work, found, own, subscription_id, today)
    by_whom = await _referrer(work, account, found, referred_by)
    first = from_on or await _first_open_day(work, payer, one, today)
    _check_day(one, first, today)
    values = {
        "id": work.ids.new("use"), "promotion_id": found.id, "subscription_id": one.id,
        "account_id": account.id, "from_on": first,
        "until_on": None if found.months is None else add_months(first, found.months, first.day),
        "referred_by": None if by_whom is None else by_whom.id, "recorded_at": work.now,
        "recorded_by": work.actor,
    }  # fmt: skip
    if not await promotion_rows.insert_use(work.connection, values):
        raise RuntimeError("a use is neither new nor there")
    await look_again(work, account, one, first)
    await work.audit(
        "billing.promotion_redeemed", account.id, code=found.code, subscription=one.id, use=values["id"],
        from_on=str(first), until_on=None if values["until_on"] is None else str(values["until_on"]),
        referred_by=None if by_whom is None else by_whom.number,
    )  # fmt: skip
    return Redeemed(str(values["id"]), "redeemed", found.code, found.name, one.id, first, values["until_on"])


def _redeemed(use_id: str, outcome: str, found: Any, used: Any) -> Redeemed:
    return Redeemed(
        use_id, outcome, found.code, found.name, used.subscription_id, used.from_on, used.until_on
    )


async def _check_offer(
    work: Work, account: Account, found: Any, own: list[Subscription], today: date
) -> None:
    if account.closed_on is not None:
        message = f"account {account.number} was closed on {account.closed_on}"
        refuse("account_closed", message, "account_id")
    if found.redeem_from is not None and today < found.redeem_from:
        refuse("not_yet", f"{found.code} is given from {found.redeem_from} on", "code")
    if found.redeem_until is not None and today >= found.redeem_until:
        last = found.redeem_until - timedelta(days=1)
        refuse("too_late", f"{found.code} was given until {last}", "code")
    if found.currency is not None and found.currency != account.currency:
        message = f"{found.code} is for accounts in {found.currency}, this one pays in {account.currency}"
        refuse("wrong_currency", message, "code")
    begun = min((one.starts_on for one in own), default=today)
    if found.new_only and begun < today - timedelta(days=NEW_DAYS):
        message = f"{found.code} is for new customers; this one is with us since {begun}"
        refuse("not_new", message, "code")
    used = 0 if found.max_uses is None else await promotion_rows.count_uses(work.connection, found.id)
    if found.max_uses is not None and used >= found.max_uses:
        refuse("used_up", f"{found.code} was given {found.max_uses} times and is used up", "code")


async def _subscription_for(
    work: Work, found: Any, own: list[Subscription], wanted: str | None, today: date
) -> Subscription:
    versions = await plan_rows.plan_versions(work.connection, {one.plan_version_id for one in own})
    terms = Promotion(
        found.code, found.name, found.percent_ppm, found.amount_minor, tuple(found.item_kinds), today, None,
        tuple(found.item_codes), tuple(found.plan_codes),
    )  # fmt: skip
    if wanted is not None and wanted not in {one.id for one in own}:
        refuse("unknown_subscription", f"the account has no subscription {wanted}", "subscription_id")
    running = [one for one in own if one.ends_on is None or one.ends_on > today]
    if wanted is not None and wanted not in {one.id for one in running}:
        refuse("ended", f"the subscription {wanted} has ended; choose one that runs", "subscription_id")
    fitting = [
        one
        for one in running
        if wanted in {None, one.id} and terms.concerns_any(versions[one.plan_version_id])
    ]
    if not fitting:
        plans = ", ".join(found.plan_codes) or "plans with such items"
        message = f"{found.code} is for {plans}: change the plan first, or use another code"
        refuse("not_for_plan", message, "code")
    return fitting[0]


async def _referrer(work: Work, account: Account, found: Any, referred_by: str | None) -> Account | None:
    gives_credit = found.referral_minor is not None or found.referred_minor is not None
    if referred_by is None or not referred_by.strip():
        if gives_credit and found.percent_ppm is None and found.amount_minor is None:
            refuse("no_referrer", "name the account that brought this one", "referred_by")
        return None
    if not gives_credit:
        refuse("no_referral", f"{found.code} gives nothing for a referral: leave it empty", "referred_by")
    by_whom = await account_rows.find_account(work.connection, referred_by.strip())
    if by_whom is None or by_whom.closed_on is not None:
        message = f"there is no account {referred_by.strip()[:40]!r} that could have brought this one"
        refuse("unknown_referrer", message, "referred_by")
    if by_whom.id == account.id or by_whom.payer_id == account.payer_id:
        refuse("own_referrer", "nobody brings himself: name another customer's account", "referred_by")
    if by_whom.currency != account.currency:
        message = f"account {by_whom.number} pays in {by_whom.currency}; no credit can be given there"
        refuse("wrong_currency", message, "referred_by")
    return by_whom


async def _first_open_day(work: Work, payer: Account, one: Subscription, today: date) -> date:
    """The first day whose period no invoice has charged to the subscription."""
    charged = await invoice_rows.invoiced_parts(work.connection, [one.id], one.starts_on.replace(day=1))
    if not charged.get(one.id):
        return one.starts_on
    return payer.next_cycle_on or payer.cycle_containing(today).end


def _check_day(one: Subscription, first: date, today: date) -> None:
    if first < one.starts_on or (one.ends_on is not None and first >= one.ends_on):
        runs = f"from {one.starts_on}" + ("" if one.ends_on is None else f" until {one.ends_on}")
        refuse("not_running", f"the subscription runs {runs}; take a day within", "from_on")
    if not -FURTHEST_BACK_DAYS <= (first - today).days <= _FURTHEST_AHEAD_DAYS:
        refuse("too_far", f"{first} is over a year away; take a day nearer to today", "from_on")


@answering
async def end_promotion(work: Work, *, use_id: str, reason: str, ends_on: date | None = None) -> date:
    """End a use on ``ends_on`` (exclusive); None: with the first day that is not invoiced. Returns that day.

    Periods that begin before it keep what was taken off; ending it on its first day takes all of it back.
    """
    if not reason.strip():
        refuse("reason_missing", "say why it is ended", "reason")
    use = next(iter(await promotion_rows.uses(work.connection, use_id=use_id)), None)
    account = None if use is None else await account_rows.lock_account(work.connection, use.account_id)
    one = None
    if use is not None:
        one = await subscription_rows.find_subscription(work.connection, use.subscription_id)
    if use is None or account is None or one is None:
        refuse("unknown_use", f"nobody uses a promotion under {use_id[:40]!r}", "use_id")
    today = local_date(work.now, account.time_zone)
    payer = await payer_of(work, account)
    day = max(ends_on or await _first_open_day(work, payer, one, today), use.from_on)
    if use.until_on is not None and day >= use.until_on:
        refuse("over", f"it ends on {use.until_on} by itself", "ends_on")
    values = {
        "use_id": use.id, "ends_on": day, "reason": reason.strip(), "recorded_at": work.now,
        "recorded_by": work.actor,
    }  # fmt: skip
    if not await promotion_rows.insert_end(work.connection, values):
        refuse("ended_before", f"it was ended on {use.ended_on}: {use.end_reason}", "use_id")
    await look_again(work, account, one, day)
    await work.audit(
        "billing.promotion_ended", account.id, code=use.code, use=use.id, ends_on=str(day),
        reason=reason.strip(),
    )  # fmt: skip
    return day
