"""Dunning: evaluate the ladder by date, preview it, relieve it at once when money comes in.

A reminder is a stage with its event and fact; whoever sends messages acts on the fact.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock_doubt import check_clock, find_clock_doubt
from billing.config import BillingSettings
from billing.domain.dunning import (
    Debtor,
    Decision,
    Policy,
    Stage,
    UnpaidInvoice,
    decide_relief,
    decide_stage,
    held_periods,
    replay_days,
)
from billing.facts import DunningStageChanged
from billing.store import account_rows, dunning_rows
from billing.store.dunning_rows import DunningState
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work, Workplace


@dataclass(frozen=True, slots=True)
class StageChange:
    """An account that moved, after all the days that were made up for."""

    account_id: str
    from_stage: Stage
    to_stage: Stage
    service_ids: tuple[str, ...]
    because: str


@dataclass(frozen=True, slots=True)
class WouldChange:
    """An account that would move if the ladder were evaluated at that instant and nothing paid till then."""

    account_id: str
    from_stage: Stage
    to_stage: Stage
    service_ids: tuple[str, ...]
    because: str


async def evaluate_dunning(
    workplace: Workplace,
    *,
    actor: str = "system:dunning",
    settings: BillingSettings | None = None,
    trust_clock: bool = False,
) -> list[StageChange] | Refusal:
    """Bring every account to the stage of its own local today, missed days in order.

    Each step is recorded as an event of its day; one fact tells the whole move. Refused on a doubtful clock;
    with ``trust_clock`` the actor has looked at it and vouches for it.
    """
    settings = settings or BillingSettings()
    doubt = await check_clock(workplace, settings, actor, vouched=trust_clock)
    if doubt is not None:
        return doubt
    async with workplace.reading() as connection:
        now = workplace.clock.now()
        in_question = await dunning_rows.accounts_in_question(connection, _tomorrow(now))
    # One evaluation a day: what else moves an account (payment, reversal, promise) is decided as it happens.
    account_ids = [
        one for one, zone_name, evaluated in in_question if evaluated != local_date(now, zone_name)
    ]
    changes: list[StageChange] = []
    for start in range(0, len(account_ids), settings.block_size):
        async with workplace.work(actor) as work:
            doubt = await find_clock_doubt(work.connection, work.now, settings)
            if doubt is not None:  # it stepped since
                return doubt
            changes += await _evaluate_block(work, account_ids[start : start + settings.block_size])
    return changes


def _tomorrow(now: datetime) -> date:
    return now.astimezone(UTC).date() + timedelta(days=1)  # somewhere it has begun


async def _evaluate_block(work: Work, account_ids: Sequence[str]) -> list[StageChange]:
    await account_rows.lock_accounts(work.connection, account_ids)
    debtors = await _debtors(work.connection, account_ids)
    moves: list[tuple[DunningState, list[Decision]]] = []
    evaluated: dict[str, date] = {}
    for one in debtors:
        today = local_date(work.now, one.state.time_zone)
        if today != one.state.evaluated_on:
            evaluated[one.state.account_id] = today
        # A day to come was noted by a wrong clock: it is taken back, else nothing is decided till then.
        if today >= one.state.evaluated_on:
            moves.append((one.state, list(replay_days(one.debtor, one.policy, today))))
    await dunning_rows.save_evaluated(work.connection, evaluated)
    return await _record_moves(work, [(state, steps) for state, steps in moves if steps])


@dataclass(frozen=True, slots=True)
class _Case:
    state: DunningState
    debtor: Debtor
    policy: Policy


async def _debtors(connection: AsyncConnection, account_ids: Collection[str]) -> list[_Case]:
    """The accounts as the ladder sees them."""
    policies = await dunning_rows.policies(connection)
    unpaid = await dunning_rows.open_invoices(connection, account_ids)
    ids = [one.id for group in unpaid.values() for one in group]
    history = await dunning_rows.allocations_undone(connection, ids)
    cases = []
    for state in await dunning_rows.states(connection, account_ids):
        invoices = tuple(
            UnpaidInvoice(
                one.number, one.due_on, one.open_minor,
                held_periods(one.total_minor, _local_history(history.get(one.id, ()), state.time_zone)),
            )
            for one in unpaid[state.account_id]
        )  # fmt: skip
        debtor = Debtor(
            state.stage, state.evaluated_on, invoices, state.currency, state.promise_until, state.immune
        )
        cases.append(_Case(state, debtor, policies[state.policy_id]))
    return cases


def _local_history(history: Sequence[tuple[datetime, int]], time_zone: str) -> list[tuple[date, int]]:
    return [(local_date(at, time_zone), amount) for at, amount in history]


async def _record_moves(
    work: Work, moves: Sequence[tuple[DunningState, Sequence[Decision]]]
) -> list[StageChange]:
    """Write the steps as events and the last of them as state; publish a fact for each account that moved."""
    await dunning_rows.insert_events(
        work.connection, [event for state, steps in moves for event in _events(work, state, steps)]
    )
    moved = [(state, steps[-1]) for state, steps in moves if steps[-1].stage is not state.stage]
    await dunning_rows.save_stages(
        work.connection,
        [{"account_id": state.account_id, "stage": last.stage, "since": work.now} for state, last in moved],
    )
    changes = await _changes(work, moved)
    await work.publish(
        *(
            DunningStageChanged(
                one.account_id, list(one.service_ids), one.from_stage, one.to_stage, one.because
            )
            for one in changes
        )
    )
    return changes


def _events(work: Work, state: DunningState, steps: Sequence[Decision]) -> list[dict[str, object]]:
    events: list[dict[str, object]] = []
    stage = state.stage
    for step in steps:
        events.append({
            "account_id": state.account_id, "on_date": step.on, "from_stage": stage, "to_stage": step.stage,
            "because": {
                "text": step.because, "overdue_minor": step.overdue_minor, "days_overdue": step.days_overdue,
            },
            "at": work.now,
        })  # fmt: skip
        stage = step.stage
    return events


async def _changes(work: Work, moved: Sequence[tuple[DunningState, Decision]]) -> list[StageChange]:
    days = {state.account_id: local_date(work.now, state.time_zone) for state, _ in moved}
    services = await dunning_rows.services_of(work.connection, days)
    changes = []
    for state, last in moved:
        concerned = list(services[state.account_id])
        if last.stage.rank < state.stage.rank:
            concerned += await dunning_rows.services_left_behind(
                work.connection, state.account_id, days[state.account_id]
            )
        changes.append(
            StageChange(
                state.account_id, state.stage, last.stage, tuple(dict.fromkeys(concerned)), last.because
            )
        )
    return changes


async def relieve_dunning(work: Work, account_id: str) -> StageChange | None:
    """After money came in: move the account to the milder stage it deserves now; it never gets worse here.

    The account must be locked by this transaction.
    """
    [case] = await _debtors(work.connection, [account_id])
    today = local_date(work.now, case.state.time_zone)
    relief = decide_relief(case.debtor, case.policy, today)
    if relief is None:
        return None
    await _note_evaluated(work, case.state, today)
    [change] = await _record_moves(work, [(case.state, [relief])])
    return change


async def reconsider_dunning(work: Work, account_id: str, *, clock_doubted: bool) -> StageChange | None:
    """Decide today alone, for better or worse: a payment was taken back, an exception was set.

    While the clock is doubted, or stands before a day already decided, only for better: what is worse is left
    to the evaluation that follows when the clock is right.
    """
    [case] = await _debtors(work.connection, [account_id])
    today = local_date(work.now, case.state.time_zone)
    if clock_doubted or today < case.state.evaluated_on:
        decision = decide_relief(case.debtor, case.policy, today)
    else:
        await _note_evaluated(work, case.state, today)
        decision = decide_stage(case.debtor, case.policy, today)
    if decision is None or decision.stage is case.state.stage:
        return None
    [change] = await _record_moves(work, [(case.state, [decision])])
    return change


async def _note_evaluated(work: Work, state: DunningState, today: date) -> None:
    if today > state.evaluated_on:
        await dunning_rows.save_evaluated(work.connection, {state.account_id: today})


async def preview_dunning(
    connection: AsyncConnection, on: datetime, account_ids: Collection[str] | None = None
) -> list[WouldChange]:
    """Who would move, and whereto, if the ladder were evaluated at ``on``: nothing is written."""
    in_question = await dunning_rows.accounts_in_question(connection, _tomorrow(on))
    concerned = {account_id for account_id, _, _ in in_question}
    if account_ids is not None:
        concerned &= set(account_ids)
    cases = await _debtors(connection, sorted(concerned))
    days = {case.state.account_id: local_date(on, case.state.time_zone) for case in cases}
    services = await dunning_rows.services_of(connection, days)
    would = []
    for case in cases:
        account_id, stage = case.state.account_id, case.state.stage
        last = next(reversed(list(replay_days(case.debtor, case.policy, days[account_id]))), None)
        if last is not None and last.stage is not stage:
            held = tuple(services[account_id])
            would.append(WouldChange(account_id, stage, last.stage, held, last.because))
    return would


async def record_promise(
    work: Work, *, account_id: str, until: date | None, settings: BillingSettings | None = None
) -> StageChange | Refusal | None:
    """A promise to pay by ``until`` (included) defers worsening; None withdraws it.

    By a doubted clock no day is past.
    """
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    doubted = await _clock_doubted(work, settings)
    if until is not None and not doubted and until < local_date(work.now, account.time_zone):
        return Refusal("promise_in_the_past", f"{until} is past; take today or a later day", "until")
    await dunning_rows.set_promise(work.connection, account_id, until)
    await work.audit("billing.promise_recorded", account_id, until=None if until is None else str(until))
    return await reconsider_dunning(work, account_id, clock_doubted=doubted)


async def set_immunity(
    work: Work, *, account_id: str, immune: bool, settings: BillingSettings | None = None
) -> StageChange | Refusal | None:
    """Leave the account alone, or stop doing so; the stage follows at once."""
    if await account_rows.lock_account(work.connection, account_id) is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    await dunning_rows.set_immune(work.connection, account_id, immune)
    await work.audit("billing.immunity_set", account_id, immune=immune)
    return await reconsider_dunning(work, account_id, clock_doubted=await _clock_doubted(work, settings))


async def _clock_doubted(work: Work, settings: BillingSettings | None) -> bool:
    """Whether it was ever trusted need not be asked: before that nobody was billed, and nobody owes."""
    return await find_clock_doubt(work.connection, work.now, settings or BillingSettings()) is not None
