"""Change how an account's cycles turn, from the first cycle on that has no invoice yet.

What was billed stays; the days from there to the first new turn are billed as a share of the new cycle.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.cadence import Cadence, parse_cadence
from billing.domain.catalogue import Account, former_cycle
from billing.domain.items import PERIODIC
from billing.store import account_rows, plan_rows, subscription_rows
from billing.subscriptions.next_cycle import plan_next_cycle
from core.money import format_money
from core.refusal import Refusal
from core.work import Work


async def turn_cycle(
    work: Work,
    account: Account,
    *,
    anchor_day: int | None = None,
    unit: str | None = None,
    count: int | None = None,
) -> date | Refusal | None:
    """Cycles of a locked account, and of those it pays for, on another day or of another length.

    Returns the first day of the new way; None when nothing is billed yet, or nothing changes.
    """
    day = account.anchor_day if anchor_day is None else anchor_day
    if not 1 <= day <= 31:
        return Refusal("bad_anchor", f"the billing day is {day}; it must be 1 to 31", "anchor_day")
    try:
        cadence = parse_cadence(unit or account.cycle_unit, account.cycle_count if count is None else count)
    except ValueError as trouble:
        return Refusal("bad_cycle", str(trouble), "cycle_unit")
    if (day, cadence.unit, cadence.count) == (account.anchor_day, account.cycle_unit, account.cycle_count):
        return None
    if account.payer_account_id is not None:
        message = "its cycles are those of the account that pays for it: change them there"
        return Refusal("follows_payer", message, "anchor_day")
    from_on = await first_open_day(work, account)
    await _turn(work, account, from_on, day, cadence)
    for child in await account_rows.paid_for(work.connection, [account.id]):
        await _turn(work, child, from_on, day, cadence)
    if from_on is None and account.next_cycle_on is not None:
        await _begin_anew(work, account, account.next_cycle_on)
    return from_on


async def _begin_anew(work: Work, account: Account, next_cycle_on: date) -> None:
    """Nothing was invoiced: the first cycle is that of the first day, as the calendar is now."""
    changed = await account_rows.find_account(work.connection, account.id)
    if changed is None:
        raise RuntimeError(f"account {account.id} has gone")
    first = await subscription_rows.first_day_of(work.connection, account.id)
    await account_rows.set_next_cycle(work.connection, account.id, None)
    await plan_next_cycle(work, replace(changed, next_cycle_on=None), first or next_cycle_on)


async def first_open_day(work: Work, account: Account) -> date | None:
    """The first day of the first cycle that has no invoice; None: nothing of it was ever invoiced."""
    last = await subscription_rows.last_cycle_start(work.connection, account.id)
    if last is None and not await subscription_rows.was_invoiced(work.connection, account.id):
        return None
    return account.next_cycle_on or (None if last is None else account.cycle_containing(last).end)


async def priced_by_cycle(connection: AsyncConnection, account_id: str) -> list[str]:
    """Items without a period that the account and those it pays for have now, as ``Home 25 (30.00 USD)``.

    Their price is for a cycle, however long one is.
    """
    accounts = [account_id, *(one.id for one in await account_rows.paid_for(connection, [account_id]))]
    of = await subscription_rows.subscriptions_of(connection, accounts)
    running = [one for several in of.values() for one in several if one.ends_on is None]
    versions = await plan_rows.plan_versions(connection, {one.plan_version_id for one in running})
    return sorted({
        f"{item.name} ({format_money(item.price_minor, version.currency)})"
        for version in versions.values()
        for item in version.items
        if item.kind in PERIODIC and item.cadence is None and item.price_minor
    })  # fmt: skip


async def follow_calendar(work: Work, account: Account, payer: Account, from_on: date | None) -> None:
    """The account's cycles turn with its payer's from that day on."""
    terms = (account.anchor_day, account.cadence, account.cadence.months != 1 and account.cycle_from)
    if terms != (payer.anchor_day, payer.cadence, payer.cadence.months != 1 and payer.cycle_from):
        await _turn(work, account, from_on, payer.anchor_day, payer.cadence, payer.cycle_from)


async def _turn(  # noqa: PLR0917 - the terms of a calendar
    work: Work, account: Account, from_on: date | None, day: int, cadence: Cadence, origin: date | None = None
) -> None:
    counted_from = None if cadence.months == 1 else origin or from_on
    values: dict[str, Any] = {
        "anchor_day": day, "cycle_unit": cadence.unit, "cycle_count": cadence.count,
        "cycle_from": counted_from,
    }  # fmt: skip
    if from_on is not None:
        values["former_cycles"] = [*(account.former_cycles or ()), former_cycle(account, from_on)]
    await account_rows.update_account(work.connection, account.id, values)


def day_before_cycle(account: Account, day: date) -> date:
    """The first day of the cycle before the one that begins on ``day``: its usage may not be billed yet."""
    return account.cycle_containing(day - timedelta(days=1)).start
