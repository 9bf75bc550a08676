"""Accounts as the ladder sees them, read from the records in a few statements for many."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.dunning import Debtor, Deferral, Dispute, UnpaidInvoice, held_periods, join_periods
from billing.domain.dunning_policy import Bar, Ladders, Policy, PolicyHistory, Stage
from billing.dunning.deferral_sources import deferred_now
from billing.dunning.holiday_calendar import holidays_of
from billing.store import approval_rows, dunning_policy_rows, dunning_rows, exception_rows
from billing.store.dunning_rows import DunningState, OpenInvoiceRow
from core.periods import Period, local_date


@dataclass(frozen=True, slots=True)
class Case:
    """One account with all that its decision needs. ``today`` is its local date."""

    state: DunningState
    today: date
    debtor: Debtor
    ladders: Ladders
    bar: Bar | None  # what defers everything just now
    charged: frozenset[tuple[str, int]]  # late fees charged before: invoice id and number
    approvals: tuple[Any, ...]  # live requests

    @property
    def policy(self) -> Policy:
        """The version in force today."""
        return self.ladders.on(self.today)


async def load_histories(connection: AsyncConnection) -> dict[str, PolicyHistory]:
    """Every policy by id, with its holidays."""
    found: dict[str, list[tuple[date, Policy]]] = {}
    for one in await dunning_policy_rows.versions(connection):
        policy = replace(one.policy, version_id=one.id, holidays=holidays_of(one.policy.closed))
        found.setdefault(one.policy_id, []).append((one.valid_from, policy))
    return {policy_id: PolicyHistory(tuple(versions)) for policy_id, versions in found.items()}


async def load_cases(
    connection: AsyncConnection, account_ids: Collection[str], now: datetime, *, for_relief: bool = False
) -> list[Case]:
    """The accounts, by id. ``for_relief`` leaves out what defers them just now."""
    histories = await load_histories(connection)
    states = await dunning_rows.states(connection, account_ids)
    today = {one.account_id: local_date(now, one.time_zone) for one in states}
    unpaid = await dunning_rows.open_invoices(connection, account_ids)
    history = await dunning_rows.allocations_undone(
        connection, [one.id for group in unpaid.values() for one in group]
    )
    oldest = min((one.evaluated_on for one in states), default=date.min)
    exceptions = await _load_exceptions(connection, account_ids, oldest)
    bars = {} if for_relief else await deferred_now(connection, today)
    charge_late = any(one.charges_late for one in histories.values())
    charged = _charged(await dunning_rows.late_fees_of(connection, account_ids) if charge_late else ())
    cases = []
    for state in states:
        mine = unpaid[state.account_id]
        debtor = _debtor(state, mine, history, exceptions, today[state.account_id])
        cases.append(
            Case(
                state, today[state.account_id], debtor,
                histories[state.policy_id].in_currency(state.currency),
                bars.get(state.account_id),
                frozenset((one.id, number) for one in mine for number in charged.get(one.id, ())),
                tuple(exceptions.approvals.get(state.account_id, ())),
            )
        )  # fmt: skip
    return cases


@dataclass(frozen=True, slots=True)
class _Exceptions:
    disputes: Mapping[str, Sequence[Any]]
    deferrals: Mapping[str, Sequence[Any]]
    approvals: Mapping[str, Sequence[Any]]
    written_off: Mapping[str, int]


async def _load_exceptions(
    connection: AsyncConnection, account_ids: Collection[str], since: date
) -> _Exceptions:
    return _Exceptions(
        _grouped(await exception_rows.disputes_of(connection, account_ids)),
        _grouped(await exception_rows.deferrals_of(connection, account_ids, since)),
        _grouped(await approval_rows.live_approvals(connection, account_ids)),
        await dunning_rows.written_off(connection, account_ids),
    )


def _grouped(rows: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.account_id, []).append(row)
    return found


def _charged(sources: Collection[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for source in sources:
        _, invoice_id, number = source.split(":")
        found.setdefault(invoice_id, []).append(int(number))
    return found


def _debtor(
    state: DunningState,
    unpaid: Sequence[OpenInvoiceRow],
    history: Mapping[str, Sequence[tuple[datetime, int]]],
    exceptions: _Exceptions,
    today: date,
) -> Debtor:
    disputes = exceptions.disputes.get(state.account_id, ())
    approvals = [one for one in exceptions.approvals.get(state.account_id, ()) if one.kind == "stage"]
    approved = [Stage(one.subject) for one in approvals if _stands(one, "approved", today)]
    return Debtor(
        state.stage, state.evaluated_on,
        tuple(_unpaid(one, state.time_zone, history.get(one.id, ()), disputes) for one in unpaid),
        state.currency, state.promise_until, state.immune, state.immune_until, state.reached,
        state.respite_until, state.cut_minor,
        tuple(
            Deferral(_days(one), one.reason)
            for one in exceptions.deferrals.get(state.account_id, ())
        ),
        tuple(Dispute(_days(one), one.number, one.amount_minor) for one in disputes),
        max(approved, key=lambda stage: stage.rank, default=None),
        max((one.expires_on for one in approvals if _stands(one, "declined", today)), default=None),
        exceptions.written_off.get(state.account_id, 0),
    )  # fmt: skip


def _stands(approval: Any, state: str, today: date) -> bool:
    return bool(approval.state == state and today <= approval.expires_on)


def _days(span: Any) -> Period:
    return Period(span.from_on, max(span.from_on, span.until_on or date.max))


def _unpaid(
    one: OpenInvoiceRow, time_zone: str, history: Sequence[tuple[datetime, int]], disputes: Sequence[Any]
) -> UnpaidInvoice:
    held: tuple[Period, ...] = ()
    if history:
        held = held_periods(one.total_minor, [(local_date(at, time_zone), amount) for at, amount in history])
    whole = [
        _days(dispute)
        for dispute in disputes
        if dispute.invoice_id in {None, one.id}
        and (dispute.amount_minor is None or (dispute.invoice_id and dispute.amount_minor >= one.open_minor))
    ]
    if whole:
        held = join_periods([*held, *whole])
    return UnpaidInvoice(one.number, one.due_on, one.open_minor, held, one.id)
