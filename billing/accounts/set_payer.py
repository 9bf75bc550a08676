"""Another account pays: from a day on, what is not invoiced yet is on its invoices, and dunning acts there.

One level only: who pays for others pays for itself, so that there is no circle and one invoice says it all.
"""

from __future__ import annotations

from datetime import UTC, date, timedelta

from billing.accounts.turn_cycle import day_before_cycle, first_open_day, follow_calendar
from billing.clock_doubt import check_clock
from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.facts import DunningStageChanged
from billing.store import account_rows, dunning_rows
from billing.subscriptions.look_again import look_again
from billing.subscriptions.next_cycle import plan_next_cycle
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work, Workplace


async def set_payer(
    work: Work, *, account_id: str, payer_id: str | None, from_on: date | None = None
) -> date | Refusal:
    """``payer_id`` pays for the account from ``from_on`` (else today) on; None: it pays itself again.

    Returns the day. A day to come takes the place of what was planned for one. Refused for another currency
    or legal entity, for who is paid for himself, for who pays for others, and while the payer is cut.
    """
    pair = await _lock(work, account_id, payer_id)
    if isinstance(pair, Refusal):
        return pair
    account, payer = pair
    today = local_date(work.now, account.time_zone)
    day = from_on or today
    if day < today:
        message = f"{day} is past: what was invoiced stays where it is; take today or a later day"
        return Refusal("day_in_the_past", message, "from_on")
    refusal = _refuse_terms(account, payer) or await _refuse_standing(work, account, payer)
    if refusal is not None:
        return refusal
    withdrawn = await account_rows.end_waiting_payers(work.connection, account_id, work.now)
    if account.payer_account_id == payer_id:
        if not withdrawn:
            message = "that is how it is already"
            return Refusal("nothing_changes", message, "payer_id")
        await work.audit("billing.payer_plan_withdrawn", account_id)
        return today
    row_id = work.ids.new("apy")
    await account_rows.insert_payer(
        work.connection,
        {
            "id": row_id, "account_id": account_id, "payer_id": payer_id, "from_on": day,
            "recorded_at": work.now, "recorded_by": work.actor, "applied_at": None, "withdrawn_at": None,
        },
    )  # fmt: skip
    if day <= today:
        await _apply(work, account, payer, row_id)
    await work.audit("billing.payer_set", account_id, payer=payer_id, from_on=str(day))
    return day


async def _lock(
    work: Work, account_id: str, payer_id: str | None
) -> tuple[Account, Account | None] | Refusal:
    if account_id == payer_id:
        return Refusal("pays_itself", "an account without a payer pays itself: clear it", "payer_id")
    wanted = [account_id] if payer_id is None else [account_id, payer_id]
    locked = {one.id: one for one in await account_rows.lock_accounts(work.connection, wanted)}
    if account_id not in locked:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    if payer_id is not None and payer_id not in locked:
        return Refusal("unknown_payer", f"there is no account {payer_id}", "payer_id")
    return locked[account_id], None if payer_id is None else locked[payer_id]


def _refuse_terms(account: Account, payer: Account | None) -> Refusal | None:
    if payer is None:
        return None
    if payer.currency != account.currency:
        message = f"{payer.number} pays in {payer.currency}, {account.number} in {account.currency}"
        return Refusal("wrong_currency", message, "payer_id")
    if payer.entity_id != account.entity_id:
        return Refusal("other_entity", "they are customers of different legal entities", "payer_id")
    if payer.closed_on is not None:
        return Refusal("account_closed", f"account {payer.number} is closed", "payer_id")
    if payer.payer_account_id is not None:
        message = f"{payer.number} is paid for itself; name the account that pays for it"
        return Refusal("payer_is_paid_for", message, "payer_id")
    return None


async def _refuse_standing(work: Work, account: Account, payer: Account | None) -> Refusal | None:
    if payer is None:
        return None
    if await account_rows.paid_for(work.connection, [account.id]):
        message = f"{account.number} pays for others; have those paid for first"
        return Refusal("pays_for_others", message, "account_id")
    for state in await dunning_rows.states(work.connection, [payer.id, account.id]):
        if state.stage.touches_service:
            message = f"account {state.number} is {state.stage}; record its payment before that"
            return Refusal("account_in_dunning", message, "payer_id")
    return None


async def _apply(work: Work, account: Account, payer: Account | None, row_id: str) -> None:
    if account.payer_account_id is not None:
        account = await _leave(work, account)
    if payer is not None:
        await _join(work, account, payer)
    await account_rows.mark_payer_applied(work.connection, row_id, work.now)


async def _join(work: Work, account: Account, payer: Account) -> None:
    open_day = await first_open_day(work, account)
    values = {"payer_account_id": payer.id, "next_cycle_on": None}
    await account_rows.update_account(work.connection, account.id, values)
    if account.next_cycle_on is not None:
        joined = await _standing(work, account.id)
        await plan_next_cycle(work, joined, account.next_cycle_on)
        payer = await _standing(work, payer.id)
    await follow_calendar(work, account, payer, open_day)
    since = account.next_cycle_on if open_day is None else day_before_cycle(account, open_day)
    if since is not None:
        await look_again(work, account.id, since, f"account {payer.number} pays")


async def _leave(work: Work, account: Account) -> Account:
    """It pays itself again, on the calendar that it had with its payer."""
    payer = await _standing(work, account.payer_id)
    days = {account.id: local_date(work.now, account.time_zone)}
    services = (await dunning_rows.services_of(work.connection, days))[account.id]
    values = {"payer_account_id": None, "next_cycle_on": payer.next_cycle_on}
    await account_rows.update_account(work.connection, account.id, values)
    if payer.next_cycle_on is not None:
        since = day_before_cycle(payer, payer.next_cycle_on)
        await look_again(work, account.id, since, f"account {account.number} pays itself")
    states = {
        one.account_id: one for one in await dunning_rows.states(work.connection, [payer.id, account.id])
    }
    if services and states[payer.id].stage.touches_service:
        await work.publish(
            DunningStageChanged(
                account.id, services, states[payer.id].stage, states[account.id].stage,
                f"account {payer.number} no longer pays for it",
            )
        )  # fmt: skip
    return await _standing(work, account.id)


async def _standing(work: Work, account_id: str) -> Account:
    found = await account_rows.find_account(work.connection, account_id)
    if found is None:
        raise RuntimeError(f"account {account_id} has gone")
    return found


async def turn_payers(
    workplace: Workplace, *, actor: str = "system:billing", settings: BillingSettings | None = None
) -> int | Refusal:
    """Carry out what was planned for a day that has come; returns how many. Refused on a doubtful clock.

    What can no longer be, for the payer is cut or paid for himself by now, waits until it can.
    """
    doubt = await check_clock(workplace, settings or BillingSettings(), actor)
    if doubt is not None:
        return doubt
    now = workplace.clock.now()
    async with workplace.reading() as connection:
        latest = now.astimezone(UTC).date() + timedelta(days=1)
        waiting = await account_rows.payers_waiting(connection, latest=latest)
    turned = 0
    for one in waiting:
        if one.from_on > local_date(now, one.time_zone):
            continue
        async with workplace.work(actor) as work:
            turned += await _turn_one(work, one.id, one.account_id, one.payer_id)
    return turned


async def _turn_one(work: Work, row_id: str, account_id: str, payer_id: str | None) -> bool:
    pair = await _lock(work, account_id, payer_id)
    standing = await account_rows.payers_waiting(work.connection, account_id=account_id)
    if isinstance(pair, Refusal) or row_id not in {one.id for one in standing}:
        return False
    account, payer = pair
    if (_refuse_terms(account, payer) or await _refuse_standing(work, account, payer)) is not None:
        return False
    await _apply(work, account, payer, row_id)
    await work.audit("billing.payer_turned", account_id, payer=payer_id)
    return True
