"""Dunning states and events in the database, and what they are decided from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.dunning_policy import Stage
from billing.store.dunning_policy_rows import class_policies, effective_policy
from billing.store.tables import (
    account,
    allocation,
    charge,
    dunning_event,
    dunning_state,
    invoice,
    subscription,
    write_off,
)
from core.store.among import among


@dataclass(frozen=True, slots=True)
class DunningState:
    """Where an account stands on the ladder, with what is needed to decide further."""

    account_id: str
    number: str
    name: str
    policy_id: str
    currency: str
    time_zone: str
    stage: Stage
    since: datetime
    evaluated_on: date
    promise_until: date | None
    immune: bool
    immune_until: date | None
    reached: int | None
    cut_minor: int | None
    respite_until: date | None


@dataclass(frozen=True, slots=True)
class InQuestion:
    """An account that an evaluation looks at; ``due_on`` of its oldest late invoice, if it has one."""

    account_id: str
    time_zone: str
    evaluated_on: date
    look_again_at: datetime | None
    due_on: date | None
    open_minor: int


@dataclass(frozen=True, slots=True)
class OpenInvoiceRow:
    """An unpaid invoice of an account."""

    id: str
    account_id: str
    number: str
    due_on: date
    total_minor: int
    open_minor: int


async def accounts_in_question(connection: AsyncConnection, latest: date) -> list[InQuestion]:
    """Accounts that are not clear, or may owe late money or have promised it by ``latest``; worst first.

    Late on some calendar on Earth: each account's own one is looked at later. The worst has the oldest due
    date, of two the one with more open.
    """
    late = (
        select(
            invoice.c.account_id, func.min(invoice.c.due_on).label("due_on"),
            func.sum(invoice.c.open_minor).label("open_minor"),
        )
        .where(invoice.c.status == "finalised", invoice.c.open_minor > 0, invoice.c.due_on < latest)
        .group_by(invoice.c.account_id)
        .subquery()
    )  # fmt: skip
    state = dunning_state
    query = (
        select(
            account.c.id, account.c.time_zone, state.c.evaluated_on, state.c.look_again_at, late.c.due_on,
            late.c.open_minor,
        )
        .join(state, state.c.account_id == account.c.id)
        .outerjoin(late, late.c.account_id == account.c.id)
        .where(
            or_(
                state.c.stage != Stage.CLEAR, late.c.account_id.is_not(None), state.c.promise_until < latest
            )
        )
    )  # fmt: skip
    found = [
        InQuestion(
            row.id, row.time_zone, row.evaluated_on, row.look_again_at, row.due_on, int(row.open_minor or 0)
        )
        for row in await connection.execute(query)
    ]
    return sorted(found, key=lambda one: (one.due_on or date.max, -one.open_minor, one.account_id))


async def states(connection: AsyncConnection, account_ids: Collection[str]) -> list[DunningState]:
    """The states of the accounts, by account id."""
    classes = await class_policies(connection)
    state = dunning_state
    query = (
        select(
            account.c.id, account.c.number, account.c.name, account.c.account_class,
            account.c.dunning_policy_id, account.c.currency, account.c.time_zone, state.c.own_policy,
            state.c.stage, state.c.since, state.c.evaluated_on, state.c.promise_until, state.c.immune,
            state.c.immune_until, state.c.reached, state.c.cut_minor, state.c.respite_until,
        )
        .join(state, state.c.account_id == account.c.id)
        .where(account.c.id.in_(account_ids))
        .order_by(account.c.id)
    )  # fmt: skip
    return [
        DunningState(
            row.id, row.number, row.name,
            effective_policy(classes, row.account_class, row.dunning_policy_id, own=row.own_policy),
            row.currency, row.time_zone, Stage(row.stage), row.since, row.evaluated_on, row.promise_until,
            row.immune, row.immune_until, row.reached, row.cut_minor, row.respite_until,
        )
        for row in await connection.execute(query)
    ]  # fmt: skip


async def open_invoices(
    connection: AsyncConnection, account_ids: Collection[str]
) -> dict[str, list[OpenInvoiceRow]]:
    """Unpaid invoices by account, oldest due date first."""
    query = (
        select(
            invoice.c.id, invoice.c.account_id, invoice.c.number, invoice.c.due_on, invoice.c.total_minor,
            invoice.c.open_minor,
        )
        .where(
            invoice.c.account_id.in_(account_ids),
            invoice.c.status == "finalised",
            invoice.c.open_minor > 0,
        )
        .order_by(invoice.c.account_id, invoice.c.due_on, invoice.c.number)
    )  # fmt: skip
    found: dict[str, list[OpenInvoiceRow]] = {account_id: [] for account_id in account_ids}
    for row in await connection.execute(query):
        found[row.account_id].append(OpenInvoiceRow(*row))
    return found


async def allocations_undone(
    connection: AsyncConnection, invoice_ids: Collection[str]
) -> dict[str, list[tuple[datetime, int]]]:
    """The whole allocation history of those invoices that ever had an allocation taken back."""
    if not invoice_ids:
        return {}
    undone = select(allocation.c.invoice_id).where(
        allocation.c.invoice_id.in_(invoice_ids), allocation.c.amount_minor < 0
    )
    query = (
        select(allocation.c.invoice_id, allocation.c.at, allocation.c.amount_minor)
        .where(allocation.c.invoice_id.in_(undone))
        .order_by(allocation.c.at, allocation.c.id)
    )
    found: dict[str, list[tuple[datetime, int]]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.invoice_id, []).append((row.at, row.amount_minor))
    return found


async def services_of(connection: AsyncConnection, account_days: dict[str, date]) -> dict[str, list[str]]:
    """Services that the accounts pay for on the given local days (not ended), by account.

    Those are their own and those of the accounts that they are the payer of.
    """
    query = (
        select(
            subscription.c.account_id, account.c.payer_account_id, subscription.c.service_id,
            subscription.c.ends_on,
        )
        .join(account, account.c.id == subscription.c.account_id)
        .where(
            or_(account.c.id.in_(account_days), account.c.payer_account_id.in_(account_days)),
            subscription.c.service_id.is_not(None),
        )
        .order_by(subscription.c.service_id)
    )  # fmt: skip
    found: dict[str, dict[str, None]] = {account_id: {} for account_id in account_days}
    for row in await connection.execute(query):
        for payer in (row.account_id, row.payer_account_id):
            if payer in found and (row.ends_on is None or account_days[payer] < row.ends_on):
                found[payer][row.service_id] = None
    return {account_id: list(services) for account_id, services in found.items()}


async def stages_beside(
    connection: AsyncConnection, account_ids: Collection[str]
) -> dict[tuple[str, str], Stage]:
    """The stage of the other ladder of a service that somebody else pays for, by account and service."""
    if not account_ids:
        return {}
    own, payer = dunning_state.alias("own"), dunning_state.alias("payer")
    query = (
        select(
            subscription.c.service_id, account.c.id, account.c.payer_account_id, own.c.stage, payer.c.stage
        )
        .join(account, account.c.id == subscription.c.account_id)
        .join(own, own.c.account_id == account.c.id)
        .join(payer, payer.c.account_id == account.c.payer_account_id)
        .where(
            subscription.c.service_id.is_not(None),
            or_(
                among(connection, account.c.id, account_ids),
                among(connection, account.c.payer_account_id, account_ids),
            ),
        )
    )
    found: dict[tuple[str, str], Stage] = {}
    for service_id, child_id, payer_id, own_stage, payer_stage in await connection.execute(query):
        found[child_id, service_id] = Stage(payer_stage)
        found[payer_id, service_id] = Stage(own_stage)
    return found


async def services_left_behind(connection: AsyncConnection, account_id: str, on: date) -> list[str]:
    """Services whose subscription by this account has ended and that no account took over since.

    A hold placed while the subscription ran must still be lifted there when the account pays.
    """
    running = or_(subscription.c.ends_on.is_(None), subscription.c.ends_on > on)
    children = select(account.c.id).where(account.c.payer_account_id == account_id)
    taken_over = select(subscription.c.service_id).where(running, subscription.c.service_id.is_not(None))
    query = (
        select(subscription.c.service_id)
        .where(
            or_(subscription.c.account_id == account_id, subscription.c.account_id.in_(children)),
            subscription.c.service_id.not_in(taken_over),
        )
        .distinct()
        .order_by(subscription.c.service_id)
    )
    return [row.service_id for row in await connection.execute(query)]


async def save_stages(connection: AsyncConnection, moved: Sequence[dict[str, Any]]) -> None:
    """Set stage, since and evaluated_on of accounts that moved."""
    if moved:
        await connection.execute(
            update(dunning_state)
            .where(dunning_state.c.account_id == bindparam("b_account_id"))
            .values(stage=bindparam("b_stage"), since=bindparam("b_since")),
            [{f"b_{key}": value for key, value in one.items()} for one in moved],
        )


async def lock_debtors(connection: AsyncConnection, account_ids: Collection[str]) -> None:
    """Hold the accounts against other writers until this transaction ends, in the order of their ids."""
    query = select(account.c.id).where(account.c.id.in_(account_ids)).order_by(account.c.id)
    await connection.execute(query.with_for_update())


async def save_quiet(connection: AsyncConnection, on: date, account_ids: Collection[str]) -> None:
    """That day is decided for accounts of which nothing else changes."""
    if account_ids:
        await connection.execute(
            update(dunning_state)
            .where(dunning_state.c.account_id.in_(account_ids))
            .values(evaluated_on=on, look_again_at=None)
        )


async def save_evaluated(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Note for each account the last day decided, and what goes with it but the stage."""
    if rows:
        names = ("evaluated_on", "reached", "cut_minor", "respite_until", "look_again_at")
        await connection.execute(
            update(dunning_state)
            .where(dunning_state.c.account_id == bindparam("b_account_id"))
            .values({name: bindparam(f"b_{name}") for name in names}),
            [{f"b_{key}": value for key, value in one.items()} for one in rows],
        )


async def take_back_days(connection: AsyncConnection, days: dict[str, date]) -> None:
    """A day to come was noted by a wrong clock: the last day decided is an earlier one."""
    if days:
        await connection.execute(
            update(dunning_state)
            .where(dunning_state.c.account_id == bindparam("b_id"))
            .values(evaluated_on=bindparam("b_day")),
            [{"b_id": account_id, "b_day": day} for account_id, day in days.items()],
        )


async def insert_events(connection: AsyncConnection, events: Sequence[dict[str, Any]]) -> None:
    """The trail of steps."""
    if events:
        await connection.execute(insert(dunning_event), list(events))


async def cuts_of_night(connection: AsyncConnection, policy_id: str, night: date) -> int:
    """How many accounts of the policy were cut in that local night."""
    query = select(func.count(dunning_event.c.account_id.distinct())).where(
        dunning_event.c.cut_on == night, dunning_event.c.policy_id == policy_id
    )
    return int((await connection.execute(query)).scalar_one())


async def set_immune(
    connection: AsyncConnection, account_id: str, *, immune: bool, until: date | None, reason: str | None
) -> None:
    """Whether the account is left alone by dunning, up to which day, and why."""
    await connection.execute(
        update(dunning_state)
        .where(dunning_state.c.account_id == account_id)
        .values(immune=immune, immune_until=until, immune_reason=reason)
    )


async def set_policy(connection: AsyncConnection, account_id: str, policy_id: str, *, own: bool) -> None:
    """Another ladder for the account; ``own``: whatever its class has."""
    await connection.execute(
        update(account).where(account.c.id == account_id).values(dunning_policy_id=policy_id)
    )
    await connection.execute(
        update(dunning_state).where(dunning_state.c.account_id == account_id).values(own_policy=own)
    )


async def look_again(connection: AsyncConnection, account_ids: Collection[str], at: datetime) -> None:
    """Today is not done with for these accounts."""
    await connection.execute(
        update(dunning_state).where(dunning_state.c.account_id.in_(account_ids)).values(look_again_at=at)
    )


async def late_fees_of(connection: AsyncConnection, account_ids: Collection[str]) -> set[str]:
    """Sources of the late fees that the accounts were charged ever, withdrawn ones too."""
    query = select(charge.c.source).where(charge.c.account_id.in_(account_ids), charge.c.kind == "late_fee")
    return {row.source for row in await connection.execute(query)}


async def written_off(connection: AsyncConnection, account_ids: Collection[str]) -> dict[str, int]:
    """Debts of the accounts given up, not forgiven and not paid since, in minor units."""
    total = func.sum(write_off.c.amount_minor)
    query = (
        select(write_off.c.account_id, total)
        .where(write_off.c.account_id.in_(account_ids), write_off.c.forgiven.is_(False))
        .group_by(write_off.c.account_id)
        .having(total > 0)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(query)}


async def paused_accounts(connection: AsyncConnection, account_days: dict[str, date]) -> set[str]:
    """Accounts whose every running service is paused on the given local day."""
    query = select(
        subscription.c.account_id, subscription.c.starts_on, subscription.c.ends_on, subscription.c.paused_on
    ).where(
        subscription.c.account_id.in_(
            select(subscription.c.account_id).where(
                subscription.c.account_id.in_(account_days), subscription.c.paused_on.is_not(None)
            )
        ),
        subscription.c.parent_id.is_(None),
    )
    paused: dict[str, bool] = {}
    for row in await connection.execute(query):
        on = account_days[row.account_id]
        if row.starts_on <= on and (row.ends_on is None or on < row.ends_on):
            at_rest = row.paused_on is not None and row.paused_on <= on
            paused[row.account_id] = paused.get(row.account_id, True) and at_rest
    return {account_id for account_id, every in paused.items() if every}


async def payers_of(connection: AsyncConnection, account_ids: Collection[str]) -> list[str]:
    """Who pays for the accounts that do not pay for themselves."""
    query = (
        select(account.c.payer_account_id)
        .where(account.c.id.in_(account_ids), account.c.payer_account_id.is_not(None))
        .distinct()
        .order_by(account.c.payer_account_id)
    )
    return [row.payer_account_id for row in await connection.execute(query)]


async def look_again_at_debtors(connection: AsyncConnection, at: datetime) -> None:
    """Today is not done with for whoever is on a ladder or owes: the rules have changed."""
    owing = select(invoice.c.account_id).where(invoice.c.status == "finalised", invoice.c.open_minor > 0)
    await connection.execute(
        update(dunning_state)
        .where(or_(dunning_state.c.stage != Stage.CLEAR, dunning_state.c.account_id.in_(owing)))
        .values(look_again_at=at)
    )
