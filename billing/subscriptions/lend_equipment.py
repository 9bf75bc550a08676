"""Equipment goes to a customer and comes back: the rental runs while it is out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from billing.domain.catalogue import PlanVersion
from billing.domain.items import LARGEST_MINOR, PERIODIC
from billing.invoicing.add_charge import take_charge_back
from billing.store import equipment_rows, plan_rows
from billing.store.equipment_rows import Loan, loan_source
from billing.subscriptions.change_subscription import (
    FURTHEST_BACK_DAYS,
    Standing,
    change_quantity,
    end_subscription,
    find_standing,
)
from billing.subscriptions.next_cycle import look_again
from core.refusal import answering, granted, refuse
from core.work import Work


@dataclass(frozen=True, slots=True)
class Lent:
    """Equipment at a customer's. ``outcome``: lent, or exists when it was there already."""

    loan_id: str
    outcome: str
    lent_on: date


@dataclass(frozen=True, slots=True)
class Returned:
    """Equipment that came back. ``follows``: none, rental_stops, one_less or subscription_ends."""

    loan_id: str
    outcome: str
    returned_on: date
    follows: str


@answering
async def lend_equipment(
    work: Work,
    *,
    subscription_id: str,
    name: str,
    serial: str,
    value_minor: int = 0,
    lent_on: date | None = None,
) -> Lent:
    """The piece of that serial number is at the customer's from ``lent_on`` (today) on.

    ``value_minor`` is charged when it does not come back after the subscription has ended; 0: nothing. The
    same serial number there already answers ``exists``; somewhere else it is refused.
    """
    name, serial = name.strip(), serial.strip()
    for text, field, most in ((name, "name", 120), (serial, "serial", 80)):
        if not 1 <= len(text) <= most or not text.isprintable():
            refuse(f"bad_{field}", f"write it on one line in 1 to {most} characters", field)
    if isinstance(value_minor, bool) or not 0 <= value_minor < LARGEST_MINOR:
        refuse("bad_value", "its value is nothing or more, in minor units", "value_minor")
    found = granted(await find_standing(work, subscription_id))
    one, day = found.subscription, lent_on or found.today
    out = await equipment_rows.loans(work.connection, serial=serial, out=True)
    for other in out:
        if other.subscription_id == one.id:
            return Lent(other.id, "exists", other.lent_on)
        message = f"{serial} is with account {other.account_number} since {other.lent_on}: record its return"
        refuse("out_elsewhere", message, "serial")
    ended = one.ends_on is not None and day >= one.ends_on
    if day < one.starts_on or ended or day > found.today:
        message = f"take a day from {one.starts_on} to today on which the subscription runs"
        refuse("bad_day", message, "lent_on")
    if day < found.today - timedelta(days=FURTHEST_BACK_DAYS):
        refuse("too_far_back", f"{day} is over {FURTHEST_BACK_DAYS} days ago", "lent_on")
    values: dict[str, Any] = {
        "id": work.ids.new("loan"), "account_id": found.account.id, "subscription_id": one.id, "name": name,
        "serial": serial, "value_minor": value_minor, "lent_on": day, "recorded_at": work.now,
        "recorded_by": work.actor,
    }  # fmt: skip
    await equipment_rows.insert_loan(work.connection, values)
    await look_again(work, found.account, one, day)  # its rental may have rested
    await work.audit(
        "billing.equipment_lent", found.account.id, loan=values["id"], serial=serial, name=name,
        subscription=one.id, lent_on=str(day),
    )  # fmt: skip
    return Lent(values["id"], "lent", day)


@answering
async def return_equipment(
    work: Work, *, loan_id: str, returned_on: date | None = None, note: str = ""
) -> Returned:
    """It came back on ``returned_on`` (today): that day is not rented any more.

    The rental stops when nothing is out: an add-on that is nothing but rental ends, or counts one less while
    others are out; a rental within a plan rests. What was charged for it as lost comes back. The same again
    changes nothing.
    """
    loan = next(iter(await equipment_rows.loans(work.connection, loan_id=loan_id)), None)
    if loan is None:
        refuse("unknown_loan", f"nothing was lent under {loan_id[:40]!r}", "loan_id")
    found = granted(await find_standing(work, loan.subscription_id))
    day = returned_on or found.today
    if not loan.lent_on <= day <= found.today:
        refuse("bad_day", f"it was lent on {loan.lent_on}; take a day from then to today", "returned_on")
    if day < found.today - timedelta(days=FURTHEST_BACK_DAYS):
        refuse("too_far_back", f"{day} is over {FURTHEST_BACK_DAYS} days ago", "returned_on")
    values = {
        "loan_id": loan.id, "returned_on": day, "note": note.strip()[:500] or None, "recorded_at": work.now,
        "recorded_by": work.actor,
    }  # fmt: skip
    if not await equipment_rows.insert_return(work.connection, values):
        if returned_on is not None and loan.returned_on != returned_on:
            refuse("returned_before", f"it came back on {loan.returned_on}", "returned_on")
        return Returned(loan.id, "exists", loan.returned_on or day, "none")
    await take_charge_back(work, source=loan_source(loan.id), reason=f"{loan.serial} came back")
    await look_again(work, found.account, found.subscription, day)
    follows = await _follow(work, found, loan, day)
    await work.audit(
        "billing.equipment_returned", found.account.id, loan=loan.id, serial=loan.serial,
        returned_on=str(day), follows=follows,
    )  # fmt: skip
    return Returned(loan.id, "returned", day, follows)


async def _follow(work: Work, found: Standing, loan: Loan, day: date) -> str:
    one = found.subscription
    offer = (await plan_rows.plan_versions(work.connection, [one.plan_version_id]))[one.plan_version_id]
    others = await equipment_rows.loans(work.connection, subscription_id=one.id, out=True)
    day = max(day, one.starts_on)
    if one.ends_on is not None and one.ends_on <= day:
        return "none"
    if _only_rents(offer):
        reason = f"{loan.name} {loan.serial} came back"
        if not others:
            granted(await end_subscription(work, subscription_id=one.id, ends_on=day, reason=reason))
            return "subscription_ends"
        if one.quantity > len(others):
            granted(
                await change_quantity(
                    work, subscription_id=one.id, quantity=one.quantity - 1, effective_on=day, reason=reason
                )
            )
            return "one_less"
        return "none"
    if others or not any(item.kind == "rental" for item in offer.items):
        return "none"
    return "rental_stops"


def _only_rents(offer: PlanVersion) -> bool:
    kinds = {item.kind for item in offer.items if item.kind in (*PERIODIC, "usage")}
    return offer.kind == "addon" and kinds == {"rental"}
