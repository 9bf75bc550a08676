"""Add a one-off charge or credit to an account, and withdraw one that is not billed yet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from billing.clock_doubt import refuse_impossible_clock
from billing.domain.catalogue import Account
from billing.store import account_rows, charge_rows, subscription_rows
from billing.subscriptions.next_cycle import plan_next_cycle
from core.money import format_money
from core.periods import local_date
from core.refusal import Refusal, granted
from core.work import Work

_NAME = re.compile(r"[a-z][a-z0-9_]{0,19}")
_REVENUE = re.compile(r"[a-z][a-z0-9_]{0,39}")
LARGEST_MINOR = 10**12


async def add_charge(
    work: Work,
    *,
    account_id: str,
    kind: str,
    description: str,
    amount_minor: int,
    tax_class: str,
    revenue: str,
    source: str,
    explanation: Mapping[str, Any] | None = None,
    subscription_id: str | None = None,
    quantity: str | None = None,
    tax_included: bool = False,
    happened_on: date | None = None,
    bill_from: date | None = None,
    period_end: date | None = None,
) -> str | Refusal:
    """A charge (a credit if ``amount_minor`` is negative) for the next invoice; returns its id.

    ``source`` is the caller's name of the event, such as ``late_fee:inv_…:1``: the same source again returns
    the charge that stands and changes nothing, or is refused when the amount differs. ``revenue`` names the
    revenue in the ledger (fees, usage, recurring, …). ``bill_from``: on no invoice issued before that day.
    """
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    impossible = refuse_impossible_clock(work.now) if happened_on is None else None
    happened_on = happened_on or local_date(work.now, account.time_zone)
    values = {
        "id": work.ids.new("chg"), "account_id": account_id, "subscription_id": subscription_id,
        "kind": kind, "description": description.strip(), "quantity": quantity, "quoted_minor": amount_minor,
        "tax_included": tax_included, "tax_class": tax_class, "revenue": revenue, "happened_on": happened_on,
        "bill_from": bill_from or happened_on, "period_end": period_end, "source": source,
        "explanation": dict(explanation or {}), "recorded_at": work.now, "recorded_by": work.actor,
        "withdrawn_at": None,
    }  # fmt: skip
    refusal = impossible or _refuse_form(values) or await _refuse_owner(work, account, subscription_id)
    if refusal is not None:
        return refusal
    if not await charge_rows.insert_charge(work.connection, values):
        return await _charged_before(work, values)
    await plan_next_cycle(work, account, max(bill_from or happened_on, happened_on), only_if_idle=True)
    await work.audit(
        "billing.charge_added", account_id, charge=values["id"], kind=kind,
        amount=format_money(amount_minor, account.currency), source=source,
    )  # fmt: skip
    return str(values["id"])


def _refuse_form(values: Mapping[str, Any]) -> Refusal | None:
    description, amount = values["description"], values["quoted_minor"]
    clear = 1 <= len(description) <= 200 and description.isprintable()
    faults = (
        (bool(_NAME.fullmatch(values["kind"])), "kind", "a kind of charge is one word, such as late_fee"),
        (clear, "description", "say on one line what it is for, in 1 to 200 characters"),
        (
            not isinstance(amount, bool) and 0 < abs(amount) < LARGEST_MINOR, "amount_minor",
            "the amount is in minor units, and not nothing",
        ),
        (bool(_REVENUE.fullmatch(values["revenue"])), "revenue", "revenue has a name, such as fees"),
        (1 <= len(values["tax_class"]) <= 40, "tax_class", "a tax class has 1 to 40 characters"),
        (1 <= len(values["source"].strip()) <= 120, "source", "name the event, in 1 to 120 characters"),
        (
            values["period_end"] is None or values["period_end"] > values["happened_on"], "period_end",
            "it ends before it began",
        ),
    )  # fmt: skip
    return next((Refusal(f"bad_{field}", words, field) for good, field, words in faults if not good), None)


async def _refuse_owner(work: Work, account: Account, subscription_id: str | None) -> Refusal | None:
    if subscription_id is None:
        return None
    found = await subscription_rows.find_subscription(work.connection, subscription_id)
    if found is not None and found.account_id == account.id:
        return None
    message = f"account {account.number} has no subscription {subscription_id}"
    return Refusal("unknown_subscription", message, "subscription_id")


async def _charged_before(work: Work, values: dict[str, Any]) -> str | Refusal:
    standing = await charge_rows.charge_of_source(work.connection, values["source"])
    if standing is None:
        raise RuntimeError("a charge is neither new nor there")
    for field in ("account_id", "quoted_minor"):
        if getattr(standing, field) != values[field]:
            message = (
                f"{values['source']} is charged with {field} {getattr(standing, field)}, not {values[field]}"
            )
            return Refusal("differs", message, "source")
    return str(standing.id)


async def withdraw_charge(work: Work, *, charge_id: str, reason: str) -> Refusal | None:
    """Take back a charge that no invoice has yet; one that is invoiced is credited instead."""
    if not reason.strip():
        return Refusal("reason_missing", "say why the charge is withdrawn", "reason")
    found = await charge_rows.find_charge(work.connection, charge_id)
    if found is None:
        return Refusal("unknown_charge", f"there is no charge {charge_id}", "charge_id")
    await account_rows.lock_account(work.connection, found.account_id)
    if await charge_rows.is_billed(work.connection, charge_id):
        return Refusal("already_billed", "it is on an invoice; issue a credit note for it", "charge_id")
    await charge_rows.withdraw_charge(work.connection, charge_id, work.now)
    await work.audit("billing.charge_withdrawn", found.account_id, charge=charge_id, reason=reason.strip())
    return None


async def take_charge_back(work: Work, *, source: str, reason: str) -> str | None:
    """What was charged for an event is not asked for after all: withdrawn, or credited once it is billed.

    Returns the id of the credit, None without one. An event that charged nothing is none; twice is once.
    """
    found = await charge_rows.charge_of_source(work.connection, source)
    if found is None or found.withdrawn_at is not None:
        return None
    if not await charge_rows.is_billed(work.connection, found.id):
        granted(await withdraw_charge(work, charge_id=found.id, reason=reason))
        return None
    return granted(
        await add_charge(
            work, account_id=found.account_id, kind=found.kind, subscription_id=found.subscription_id,
            description=f"{found.description[:180]}: taken back", amount_minor=-found.quoted_minor,
            tax_class=found.tax_class, tax_included=found.tax_included, revenue=found.revenue,
            source=f"back:{source}"[:120], explanation={"takes_back": found.id, "reason": reason},
        )
    )  # fmt: skip
