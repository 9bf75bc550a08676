"""Subscribe an account to a plan version, for a service or as an add-on to another subscription."""

from __future__ import annotations

from datetime import date, timedelta

from billing.clock_doubt import refuse_impossible_clock
from billing.domain.catalogue import Account, PlanVersion, ServicePlace, Subscription
from billing.domain.contract import parse_contract
from billing.domain.dunning_policy import Stage
from billing.facts import DunningStageChanged, SubscriptionTurned
from billing.store import account_rows, dunning_rows, plan_rows, subscription_rows
from billing.subscriptions.next_cycle import plan_next_cycle
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work

BACKDATED_DAYS = 92
"""How far back a subscription may start: enough for a forgotten order, not for another system's history."""
MOST_OF_ONE = 10_000


async def subscribe(
    work: Work,
    *,
    account_id: str,
    service_id: str | None,
    plan_version_id: str,
    starts_on: date | None = None,
    quantity: int = 1,
    parent_id: str | None = None,
    place: ServicePlace | None = None,
) -> str | Refusal:
    """A new subscription from ``starts_on`` (the account's today without one); returns its id.

    The first cycle is billed by the plan's rule of proration. If the current cycle has its invoice already,
    its part is added to the next one. Each service has one plan at a time, of any account; an add-on goes
    with the subscription ``parent_id`` and its service, as often as wanted. ``place``: where the service is,
    if not at the account's address; it picks the taxes.
    """
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    impossible = refuse_impossible_clock(work.now) if starts_on is None else None
    if impossible is not None:
        return impossible
    starts_on = starts_on or local_date(work.now, account.time_zone)
    asked = Subscription(
        "", account_id, service_id, plan_version_id, starts_on, None, parent_id, quantity, place=place
    )
    offer = (await plan_rows.plan_versions(work.connection, [plan_version_id])).get(plan_version_id)
    refusal = await _refuse_subscription(work, account, asked, offer)
    if refusal is not None or offer is None:
        return refusal or Refusal("unknown_plan_version", "there is no such plan version", "plan_version_id")
    had_another = (
        service_id is not None
        and offer.kind == "plan"
        and (await subscription_rows.overlapping_plan(work.connection, service_id, date.min))
    )
    subscription_id = await _insert(work, account, asked, offer)
    await plan_next_cycle(work, account, starts_on)
    if had_another and service_id is not None:
        await _settle_holds_of_former_account(work, account, service_id)
        if starts_on <= local_date(work.now, account.time_zone):  # else the day itself turns it
            await work.publish(
                SubscriptionTurned(
                    subscription_id, account_id, service_id, offer.id, offer.service_profile_id, paused=False
                )
            )
    await work.audit(
        "billing.subscribed", account_id, subscription=subscription_id, service=service_id,
        plan_version=plan_version_id, starts_on=str(starts_on), quantity=quantity,
    )  # fmt: skip
    return subscription_id


async def _insert(work: Work, account: Account, asked: Subscription, offer: PlanVersion) -> str:
    subscription_id = work.ids.new("sub")
    place = asked.place or ServicePlace()
    bound = None if offer.contract is None else parse_contract(offer.contract).binds_until(asked.starts_on)
    ahead = asked.starts_on > local_date(work.now, account.time_zone)
    await subscription_rows.insert_subscription(
        work.connection,
        {
            "id": subscription_id, "account_id": account.id, "service_id": asked.service_id,
            "plan_version_id": asked.plan_version_id, "starts_on": asked.starts_on, "ends_on": None,
            "parent_id": asked.parent_id, "quantity": asked.quantity, "paused_on": None,
            "contract_until": bound, "contract_turn_on": None if bound is None else asked.starts_on,
            "recalculate_from": asked.starts_on,
            "next_change_on": asked.starts_on if ahead else None, "country": place.country,
            "region": place.region, "county": place.county, "city": place.city,
            "postal_code": place.postal_code, "created_at": work.now,
        },
    )  # fmt: skip
    await subscription_rows.insert_change(
        work.connection,
        {
            "id": work.ids.new("sch"), "subscription_id": subscription_id, "effective_on": asked.starts_on,
            "kind": "start", "plan_version_id": asked.plan_version_id, "quantity": asked.quantity,
            "withdraws_id": None, "reason": None, "recorded_at": work.now, "recorded_by": work.actor,
        },
    )  # fmt: skip
    return subscription_id


async def _refuse_subscription(
    work: Work, account: Account, asked: Subscription, offer: PlanVersion | None
) -> Refusal | None:
    today = local_date(work.now, account.time_zone)
    return (
        _refuse_dates(account, asked, today)
        or refuse_offer(account, offer, asked)
        or await _refuse_place_in_house(work, asked, offer)
        or await _refuse_debtor(work, account)
    )


def _refuse_dates(account: Account, asked: Subscription, today: date) -> Refusal | None:
    if account.closed_on is not None:
        message = f"account {account.number} was closed on {account.closed_on}"
        return Refusal("account_closed", message, "account_id")
    if asked.starts_on < today - timedelta(days=BACKDATED_DAYS):
        message = (
            f"{asked.starts_on} is over {BACKDATED_DAYS} days ago; take the day from which Hilltop bills"
        )
        return Refusal("too_far_back", message, "starts_on")
    if not 1 <= asked.quantity <= MOST_OF_ONE:
        return Refusal("bad_quantity", f"take 1 to {MOST_OF_ONE} of it", "quantity")
    return None


def refuse_offer(account: Account, offer: PlanVersion | None, asked: Subscription) -> Refusal | None:
    """Why the account cannot have this plan version from that day on."""
    if offer is None:
        message = f"there is no plan version {asked.plan_version_id}"
        return Refusal("unknown_plan_version", message, "plan_version_id")
    if offer.currency != account.currency:
        message = f"plan {offer.code} is sold in {offer.currency}, the account pays in {account.currency}"
        return Refusal("wrong_currency", message, "plan_version_id")
    early = offer.offered_from is not None and asked.starts_on < offer.offered_from
    late = offer.offered_until is not None and asked.starts_on >= offer.offered_until
    if early or late:
        message = (
            f"version {offer.version} of {offer.code} is offered from {offer.offered_from or 'ever'} until "
            f"{offer.offered_until or 'further notice'}"
        )
        return Refusal("not_offered", message, "plan_version_id")
    if offer.kind == "plan" and asked.service_id is None:
        return Refusal("no_service", f"{offer.code} is for a line; name the service", "service_id")
    return None


async def _refuse_place_in_house(
    work: Work, asked: Subscription, offer: PlanVersion | None
) -> Refusal | None:
    if asked.parent_id is not None:
        parent = await subscription_rows.find_subscription(work.connection, asked.parent_id)
        if parent is None or parent.account_id != asked.account_id:
            message = f"the account has no subscription {asked.parent_id}"
            return Refusal("unknown_parent", message, "parent_id")
    if offer is None or asked.service_id is None:
        return None
    refusal = await refuse_second_meter(work, asked, offer)
    if refusal is not None or offer.kind != "plan":
        return refusal
    running = await subscription_rows.plan_within(work.connection, asked.service_id, asked.starts_on, None)
    if running is None:
        return None
    message = (
        f"service {asked.service_id} has subscription {running.id} on or after {asked.starts_on}; "
        "end it first"
    )
    return Refusal("service_subscribed", message, "service_id")


async def refuse_second_meter(work: Work, asked: Subscription, offer: PlanVersion) -> Refusal | None:
    """Why what is asked cannot be priced by usage: the line's is another subscription's to price.

    A usage record is closed and charged once; a second subscription that meters the line would have none.
    """
    if offer.usage_item is None or asked.service_id is None:
        return None
    others = await subscription_rows.of_service(work.connection, asked.service_id, asked.starts_on)
    others = [one for one in others if one.id != asked.id]
    versions = await plan_rows.plan_versions(work.connection, {one.plan_version_id for one in others})
    for one in others:
        meters = versions[one.plan_version_id]
        if meters.usage_item is not None and {meters.kind, offer.kind} != {"plan"}:
            message = (
                f"the usage of this line is priced by {meters.code} (subscription {one.id}): sell "
                f"{offer.code} without usage, as a top-up, or a plan that holds both"
            )
            return Refusal("metered_twice", message, "plan_version_id")
    return None


async def _refuse_debtor(work: Work, account: Account) -> Refusal | None:
    for state in await dunning_rows.states(work.connection, {account.id, account.payer_id}):
        if state.stage.touches_service:
            message = f"account {state.number} is {state.stage}; record its payment before selling it more"
            return Refusal("account_in_dunning", message, "account_id")
    return None


async def _settle_holds_of_former_account(work: Work, account: Account, service_id: str) -> None:
    """A service with a past subscription may carry the former account's hold: the new payer starts clear."""
    await work.publish(
        DunningStageChanged(
            account.id, [service_id], Stage.CLEAR, Stage.CLEAR,
            f"the service now belongs to account {account.number}",
        )
    )  # fmt: skip
