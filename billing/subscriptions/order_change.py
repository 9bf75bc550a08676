"""One order for a subscription, as people type it: what is to happen, from which day; previewed, then done.

Panel, command line and programs ask in the same words, and what is previewed is what is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from billing.subscriptions.change_subscription import (
    Wanted,
    end_subscription,
    find_standing,
    record_changes,
    withdraw_change,
)
from core.refusal import Refusal

if TYPE_CHECKING:
    from core.work import Work

KINDS = ("plan", "quantity", "pause", "resume", "end", "withdraw")
WHEN = ("now", "period_end", "on")


@dataclass(frozen=True, slots=True)
class Order:
    """``kind`` is one of ``KINDS``. ``when``: today, the end of the running cycle, or ``on``.

    ``until``: the day on which a pause ends by itself. ``change_id``: what is withdrawn.
    """

    kind: str
    when: str = "now"
    on: date | None = None
    plan_version_id: str | None = None
    quantity: int | None = None
    until: date | None = None
    change_id: str | None = None
    reason: str = ""
    waive_early_end: bool = False


async def plan_order(work: Work, subscription_id: str, order: Order) -> list[Wanted] | Refusal:
    """The changes that the order asks for, with their days; whether they may be is not yet decided."""
    found = await find_standing(work, subscription_id)
    if isinstance(found, Refusal):
        return found
    starts = max(found.today, found.subscription.starts_on)
    on = starts
    if order.when == "on" and order.on is not None:
        on = order.on
    elif order.when == "period_end":
        on = found.account.cycle_containing(starts).end
    refusal = _refuse_form(order, on)
    if refusal is not None:
        return refusal
    if order.kind == "withdraw":
        return [Wanted("withdraw", withdraws_id=order.change_id, reason=order.reason)]
    wanted = [Wanted(order.kind, on, order.plan_version_id, order.quantity, reason=order.reason)]
    if order.kind == "pause" and order.until is not None:
        wanted.append(Wanted("resume", order.until, reason=order.reason))
    return wanted


def _refuse_form(order: Order, on: date) -> Refusal | None:
    if order.kind not in KINDS:
        return Refusal("bad_kind", f"{order.kind!r} is not one of {', '.join(KINDS)}", "kind")
    if order.when not in WHEN:
        return Refusal("bad_when", f"{order.when!r} is not one of {', '.join(WHEN)}", "when")
    if order.when == "on" and order.on is None:
        return Refusal("day_missing", "name the day", "on")
    if order.kind == "pause" and order.until is not None and order.until <= on:
        message = f"it resumes on {order.until}, before the pause begins on {on}"
        return Refusal("bad_resume", message, "until")
    return None


async def carry_out(work: Work, subscription_id: str, order: Order) -> date | Refusal:
    """Write it; returns the day from which it holds."""
    wanted = await plan_order(work, subscription_id, order)
    if isinstance(wanted, Refusal):
        return wanted
    if order.kind == "end":
        return await end_subscription(
            work,
            subscription_id=subscription_id,
            ends_on=wanted[0].effective_on,
            reason=order.reason,
            waive_early_end=order.waive_early_end,
        )
    if order.kind == "withdraw":
        return await withdraw_change(
            work, subscription_id=subscription_id, change_id=order.change_id or "", reason=order.reason
        )
    return await record_changes(work, subscription_id, wanted)
