"""Subscribe an account to a plan version for a service, and end the subscription."""

from __future__ import annotations

from datetime import date, timedelta

from billing.clock_doubt import refuse_impossible_clock
from billing.domain.catalogue import Account, Subscription
from billing.domain.dunning_policy import Stage
from billing.facts import DunningStageChanged
from billing.store import account_rows, dunning_rows, plan_rows, subscription_rows
from core.periods import cycle_containing, local_date
from core.refusal import Refusal
from core.work import Work

BACKDATED_DAYS = 92
"""How far back a subscription may start: enough for a forgotten order, not for another system's history."""


async def subscribe(
    work: Work,
    *,
    account_id: str,
    service_id: str,
    plan_version_id: str,
    starts_on: date | None = None,
) -> str | Refusal:
    """A new subscription from ``starts_on`` (the account's today without one); returns its id.

    The first cycle is billed by actual days. If the current cycle has its invoice already, its part is added
    to the next one. Each service has one subscription at a time, of any account.
    """
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    impossible = refuse_impossible_clock(work.now) if starts_on is None else None
    if impossible is not None:
        return impossible
    starts_on = starts_on or local_date(work.now, account.time_zone)
    refusal = await _refuse_subscription(work, account, service_id, plan_version_id, starts_on)
    if refusal:
        return refusal
    had_another = await subscription_rows.overlapping_subscription(work.connection, service_id, date.min)
    subscription_id = work.ids.new("sub")
    await subscription_rows.insert_subscription(
        work.connection,
        {
            "id": subscription_id, "account_id": account_id, "service_id": service_id,
            "plan_version_id": plan_version_id, "starts_on": starts_on, "ends_on": None,
            "created_at": work.now,
        },
    )  # fmt: skip
    await _plan_next_cycle(work, account, starts_on)
    if had_another:
        await _settle_holds_of_former_account(work, account, service_id)
    await work.audit(
        "billing.subscribed", account_id, subscription=subscription_id, service=service_id,
        plan_version=plan_version_id, starts_on=str(starts_on),
    )  # fmt: skip
    return subscription_id


async def _refuse_subscription(
    work: Work, account: Account, service_id: str, plan_version_id: str, starts_on: date
) -> Refusal | None:
    refusal = _refuse_dates(account, starts_on, local_date(work.now, account.time_zone))
    return (
        refusal
        or await _refuse_offer(work, account, plan_version_id)
        or await _refuse_service(work, service_id, starts_on)
        or await _refuse_debtor(work, account)
    )


def _refuse_dates(account: Account, starts_on: date, today: date) -> Refusal | None:
    if account.closed_on is not None:
        message = f"account {account.number} was closed on {account.closed_on}"
        return Refusal("account_closed", message, "account_id")
    if starts_on < today - timedelta(days=BACKDATED_DAYS):
        message = f"{starts_on} is over {BACKDATED_DAYS} days ago; take the day from which Hilltop bills"
        return Refusal("too_far_back", message, "starts_on")
    return None


async def _refuse_offer(work: Work, account: Account, plan_version_id: str) -> Refusal | None:
    offer = (await plan_rows.plan_versions(work.connection, [plan_version_id])).get(plan_version_id)
    if offer is None:
        message = f"there is no plan version {plan_version_id}"
        return Refusal("unknown_plan_version", message, "plan_version_id")
    if offer.currency != account.currency:
        message = f"plan {offer.code} is sold in {offer.currency}, the account pays in {account.currency}"
        return Refusal("wrong_currency", message, "plan_version_id")
    return None


async def _refuse_service(work: Work, service_id: str, starts_on: date) -> Refusal | None:
    running = await subscription_rows.overlapping_subscription(work.connection, service_id, starts_on)
    if running is None:
        return None
    message = f"service {service_id} has subscription {running.id} on or after {starts_on}; end it first"
    return Refusal("service_subscribed", message, "service_id")


async def _refuse_debtor(work: Work, account: Account) -> Refusal | None:
    [state] = await dunning_rows.states(work.connection, [account.id])
    if not state.stage.touches_service:
        return None
    message = f"account {account.number} is {state.stage}; record its payment before selling it more"
    return Refusal("account_in_dunning", message, "account_id")


async def _plan_next_cycle(work: Work, account: Account, starts_on: date) -> None:
    """The subscription's first cycle is to be invoiced, unless that cycle or a later one has its invoice."""
    first = cycle_containing(starts_on, account.anchor_day).start
    last = await subscription_rows.last_cycle_start(work.connection, account.id)
    if last is not None:
        first = max(first, cycle_containing(last, account.anchor_day).end)
    if account.next_cycle_on is None or first < account.next_cycle_on:
        await account_rows.set_next_cycle(work.connection, account.id, first)


async def _settle_holds_of_former_account(work: Work, account: Account, service_id: str) -> None:
    """A service with a past subscription may carry the former account's hold: the new payer starts clear."""
    await work.publish(
        DunningStageChanged(
            account.id, [service_id], Stage.CLEAR, Stage.CLEAR,
            f"the service now belongs to account {account.number}",
        )
    )  # fmt: skip


async def end_subscription(
    work: Work, *, subscription_id: str, ends_on: date | None = None, reason: str = ""
) -> date | Refusal:
    """End on ``ends_on`` (exclusive; the account's today without one); returns that day.

    Days already invoiced in advance come back as a credit on the next invoice, which also closes the usage.
    Ending earlier than the start means that it never ran; it must not end before its start.
    """
    found = await subscription_rows.find_subscription(work.connection, subscription_id)
    if found is None:
        return Refusal(
            "unknown_subscription", f"there is no subscription {subscription_id}", "subscription_id"
        )
    account = await account_rows.lock_account(work.connection, found.account_id)
    if account is None:
        raise RuntimeError(f"subscription {subscription_id} has no account")
    impossible = refuse_impossible_clock(work.now)  # ended before its start, it would be credited whole
    if impossible is not None:
        return impossible
    ends_on = ends_on or max(local_date(work.now, account.time_zone), found.starts_on)
    refusal = _refuse_end(found, ends_on)
    if refusal:
        return refusal
    await subscription_rows.set_subscription_end(work.connection, subscription_id, ends_on)
    if account.next_cycle_on is None:
        last = await subscription_rows.last_cycle_start(work.connection, account.id)
        first = cycle_containing(last or found.starts_on, account.anchor_day)
        await account_rows.set_next_cycle(work.connection, account.id, first.end if last else first.start)
    await work.audit(
        "billing.subscription_ended",
        account.id,
        subscription=subscription_id,
        ends_on=str(ends_on),
        reason=reason,
    )
    return ends_on


def _refuse_end(found: Subscription, ends_on: date) -> Refusal | None:
    if found.ends_on is not None and found.ends_on <= ends_on:
        return Refusal(
            "already_ended", f"the subscription ends on {found.ends_on} already", "subscription_id"
        )
    if ends_on < found.starts_on:
        return Refusal("ends_before_start", f"the subscription starts on {found.starts_on}", "ends_on")
    return None
