"""Buy a top-up: more to use, and a charge for it on the next invoice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy.engine import Row

from billing.clock_doubt import refuse_impossible_clock
from billing.domain.catalogue import Account
from billing.domain.dunning_policy import Stage
from billing.domain.rating.terms import TopUpOffer
from billing.domain.rating.words import quantity_text
from billing.facts import ToppedUp
from billing.invoicing.add_charge import add_charge
from billing.rating.running_items import RunningItem, running_items
from billing.store import (
    account_rows,
    bucket_rows,
    charge_rows,
    dunning_rows,
    payment_rows,
    quota_rows,
    subscription_rows,
)
from core.money import format_money
from core.refusal import Refusal, Refused, granted
from core.work import Work

WAYS = ("operator", "portal", "automatic")
MOST_BY_PORTAL = 10
"""So often in a cycle a bucket is topped up on the portal: whoever sits behind the line can ask there."""
_OWING = (Stage.RESTRICTED, Stage.SUSPENDED, Stage.ENDED)


@dataclass(frozen=True, slots=True)
class TopUpReceipt:
    """``outcome``: bought, or exists (the source is on record). ``closes_on``: the first day without it."""

    id: str
    outcome: str
    name: str
    amount: int
    price_minor: int
    currency: str
    closes_on: date


async def buy_top_up(
    work: Work, *, subscription_id: str, code: str, source: str, how: str = "operator"
) -> TopUpReceipt | Refusal:
    """Buy the offer ``code`` of the subscription's plan; the same ``source`` again buys nothing more.

    It serves at once. A price becomes a one-off charge of the account. ``how``: operator, portal, automatic.
    """
    account = await _lock_account_of(work, subscription_id)
    if account is None:
        return Refusal("unknown_subscription", f"there is no subscription {subscription_id}", "subscription")
    standing = await bucket_rows.top_up_of_source(work.connection, source)
    if standing is not None:
        return _bought_before(standing, subscription_id, code, account.currency)
    refusal = refuse_impossible_clock(work.now) or _refuse_source(source, how)
    if refusal is not None:
        return refusal
    running = await running_items(work.connection, [account.id], work.now)
    chosen = _choose([one for one in running if one.subscription.id == subscription_id], code)
    if isinstance(chosen, Refusal):
        return chosen
    refusal = await _refuse_portal(work, *chosen) if how == "portal" else None
    refusal = refusal or await refuse_unpaid(work, *chosen)
    return refusal or await _buy(work, *chosen, source, how)


async def _lock_account_of(work: Work, subscription_id: str) -> Account | None:
    subscription = await subscription_rows.find_subscription(work.connection, subscription_id)
    if subscription is None:
        return None
    return await account_rows.lock_account(work.connection, subscription.account_id)


def _refuse_source(source: str, how: str) -> Refusal | None:
    if not 1 <= len(source.strip()) <= 120:
        return Refusal("bad_source", "name the purchase, in 1 to 120 characters", "source")
    if how not in WAYS:
        return Refusal("bad_way", f"{how!r} is no way to buy; use {', '.join(WAYS)}", "how")
    return None


def _choose(items: Sequence[RunningItem], code: str) -> tuple[RunningItem, TopUpOffer] | Refusal:
    if not items:
        message = "it has nothing that is metered today: it has ended, has not begun, or is paused"
        return Refusal("not_running", message, "subscription")
    for one in items:
        offer = one.terms.top_up(code)
        if offer is not None:
            return one, offer
    offered = ", ".join(offer.code for one in items for offer in one.terms.top_ups) or "none at all"
    return Refusal("unknown_top_up", f"its plan has no top-up {code!r}; it offers {offered}", "code")


async def _refuse_portal(work: Work, item: RunningItem, offer: TopUpOffer) -> Refusal | None:
    if not offer.portal:
        return Refusal("not_on_portal", "this top-up is sold by the provider's office alone", "code")
    payers = {item.account.id, item.account.payer_id}
    states = await dunning_rows.states(work.connection, payers)
    if any(one.stage in _OWING for one in states):
        return Refusal("owing", "there are unpaid invoices: please pay them first", "code")
    bought = await bucket_rows.top_ups_since(work.connection, item.bucket, item.period.start, "portal")
    if len(bought) >= MOST_BY_PORTAL:
        message = f"{MOST_BY_PORTAL} top-ups were bought here already: please ask the provider's office"
        return Refusal("enough", message, "code")
    return None


async def refuse_unpaid(work: Work, item: RunningItem, offer: TopUpOffer) -> Refusal | None:
    """A prepaid offer needs credit beyond what waits to be invoiced; prices are compared without tax."""
    if not offer.prepaid:
        return None
    payer_id = item.account.payer_id
    credit = await payment_rows.credits_of(work.connection, [payer_id])
    waiting = await charge_rows.waiting_charges(work.connection, {item.account.id, payer_id}, date.max)
    free = sum(one.unallocated_minor for one in credit.get(payer_id, ()))
    free -= sum(one.quoted_minor for some in waiting.values() for one in some)
    if free >= offer.price_minor:
        return None
    currency = item.account.currency
    message = (
        f"{offer.name} is paid before it is used: {format_money(max(free, 0), currency)} of "
        f"{format_money(offer.price_minor, currency)} is there; record a payment first"
    )
    return Refusal("not_paid", message, "code")


async def _buy(work: Work, item: RunningItem, offer: TopUpOffer, source: str, how: str) -> TopUpReceipt:
    account, subscription = item.account, item.subscription
    top_up_id, closes_on = work.ids.new("tup"), offer.closes_on(item.today, item.period)
    words = quantity_text(offer.amount, item.terms.unit)
    charge_id: str | None = None
    if offer.price_minor:
        charge_id = granted(
            await add_charge(
                work, account_id=account.id, subscription_id=subscription.id, kind="top_up",
                description=f"{offer.name} ({words}), until {closes_on}", quantity="1",
                amount_minor=offer.price_minor, tax_class=item.item.tax_class,
                tax_included=item.item.tax_included, revenue="usage", source=f"top_up:{top_up_id}",
                happened_on=item.today,
                explanation={
                    "model": "top_up", "top_up": offer.code, "plan": item.version.code,
                    "plan_version": item.version.version, "item": item.item.code,
                    "unit": item.terms.unit.as_json(), item.terms.unit.of: offer.amount,
                    "price_minor": offer.price_minor, "bought_on": item.today.isoformat(),
                    "closes_on": closes_on.isoformat(), "how": how, "amount_minor": offer.price_minor,
                },
            )
        )  # fmt: skip
    values = {
        "id": top_up_id, "source": source, "account_id": account.id, "subscription_id": subscription.id,
        "item_code": item.item.code, "bucket": item.bucket, "code": offer.code, "name": offer.name,
        "amount": offer.amount, "price_minor": offer.price_minor, "how": how, "opens_on": item.today,
        "closes_on": closes_on, "charge_id": charge_id, "bought_at": work.now, "bought_by": work.actor,
    }  # fmt: skip
    if not await bucket_rows.insert_top_up(work.connection, values):
        # Another one with this source came between: what was charged here must not stay.
        raise Refused(Refusal("at_once", "the same purchase is being made twice; look again", "source"))
    await quota_rows.look_again(work.connection, [item.bucket], work.now)
    await work.publish(
        ToppedUp(
            top_up_id, account.id, subscription.id, offer.name, offer.amount, offer.price_minor, how,
            closes_on.isoformat(),
        )
    )  # fmt: skip
    await work.audit(
        "billing.topped_up", subscription.id, top_up=top_up_id, code=offer.code, how=how,
        price_minor=offer.price_minor, closes_on=closes_on.isoformat(),
    )  # fmt: skip
    return TopUpReceipt(
        top_up_id, "bought", offer.name, offer.amount, offer.price_minor, account.currency, closes_on
    )


def _bought_before(
    standing: Row[Any], subscription_id: str, code: str, currency: str
) -> TopUpReceipt | Refusal:
    for field, value in (("subscription_id", subscription_id), ("code", code)):
        if getattr(standing, field) != value:
            message = f"{standing.source} bought with {field} {getattr(standing, field)}, not {value}"
            return Refusal("differs", message, "source")
    return TopUpReceipt(
        standing.id,
        "exists",
        standing.name,
        standing.amount,
        standing.price_minor,
        currency,
        standing.closes_on,
    )
