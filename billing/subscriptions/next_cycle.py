"""Which cycle of an account is to be invoiced next."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from billing.domain.catalogue import Account, Subscription
from billing.store import account_rows, subscription_rows
from core.work import Work


async def payer_of(work: Work, account: Account) -> Account:
    """The account whose invoices its charges are on, locked."""
    if account.payer_account_id is None:
        return account
    payer = await account_rows.lock_account(work.connection, account.payer_account_id)
    if payer is None:
        raise RuntimeError(f"account {account.id} has no payer {account.payer_account_id}")
    return payer


async def plan_next_cycle(
    work: Work, account: Account, from_day: date, *, only_if_idle: bool = False
) -> None:
    """What begins on ``from_day`` is invoiced with its cycle, or the first one that has no invoice yet.

    ``only_if_idle``: an account with something to bill is left as it is.
    """
    payer = await payer_of(work, account)
    if only_if_idle and payer.next_cycle_on is not None:
        return
    if payer.cycle_from is None and payer.cadence.months != 1:
        payer = replace(payer, cycle_from=from_day)
        await account_rows.set_cycle_origin(work.connection, payer.id, from_day)
    first = payer.cycle_containing(from_day).start
    last = await subscription_rows.last_cycle_start(work.connection, payer.id)
    if last is not None:
        first = max(first, payer.cycle_containing(last).end)
    if payer.next_cycle_on is None or first < payer.next_cycle_on:
        await account_rows.set_next_cycle(work.connection, payer.id, first)


async def look_again(work: Work, account: Account, one: Subscription, day: date) -> None:
    """The next invoice looks again at the subscription from that day on, as a replay of it will."""
    since = day if one.recalculate_from is None else min(day, one.recalculate_from)
    await subscription_rows.update_subscription(work.connection, one.id, {"recalculate_from": since})
    await plan_next_cycle(work, account, day)
