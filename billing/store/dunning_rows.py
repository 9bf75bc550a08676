"""Dunning policies, states and events in the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import bindparam, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.dunning import Policy, Stage, ladder_as_json, parse_ladder
from billing.store.rows import insert_if_absent
from billing.store.tables import (
    account,
    allocation,
    dunning_event,
    dunning_policy,
    dunning_state,
    invoice,
    subscription,
)


@dataclass(frozen=True, slots=True)
class DunningState:
    """Where an account stands on the ladder, with what is needed to decide further."""

    account_id: str
    policy_id: str
    currency: str
    time_zone: str
    stage: Stage
    evaluated_on: date
    promise_until: date | None
    immune: bool


@dataclass(frozen=True, slots=True)
class OpenInvoiceRow:
    """An unpaid invoice of an account."""

    id: str
    account_id: str
    number: str
    due_on: date
    total_minor: int
    open_minor: int


async def find_policy(connection: AsyncConnection, id_or_name: str) -> tuple[str, Policy] | None:
    """Id and content of the policy with that id or name."""
    query = select(dunning_policy).where(
        or_(dunning_policy.c.id == id_or_name, dunning_policy.c.name == id_or_name)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row.id, _policy(row))


async def insert_policy(connection: AsyncConnection, policy_id: str, name: str, policy: Policy) -> bool:
    """A new policy; False when the name is taken."""
    values = {
        "id": policy_id,
        "name": name,
        "ladder": ladder_as_json(policy.ladder),
        "minimum_balance_minor": policy.minimum_balance_minor,
        "skip_weekends": policy.skip_weekends,
    }
    return await insert_if_absent(connection, dunning_policy, values)


async def policies(connection: AsyncConnection) -> dict[str, Policy]:
    """Every policy by id."""
    return {row.id: _policy(row) for row in await connection.execute(select(dunning_policy))}


def _policy(row: Row[Any]) -> Policy:
    return Policy(parse_ladder(row.ladder), row.minimum_balance_minor, row.skip_weekends)


async def accounts_in_question(connection: AsyncConnection, latest: date) -> list[tuple[str, str, date]]:
    """``(id, time zone, last day evaluated)`` of accounts not clear, or may owe late money by ``latest``.

    Late on some calendar on Earth: each account's own one is looked at later.
    """
    late = select(invoice.c.account_id).where(
        invoice.c.status == "finalised", invoice.c.open_minor > 0, invoice.c.due_on < latest
    )
    query = (
        select(account.c.id, account.c.time_zone, dunning_state.c.evaluated_on)
        .join(dunning_state, dunning_state.c.account_id == account.c.id)
        .where(or_(dunning_state.c.stage != Stage.CLEAR, account.c.id.in_(late)))
        .order_by(account.c.id)
    )
    return [(row.id, row.time_zone, row.evaluated_on) for row in await connection.execute(query)]


async def states(connection: AsyncConnection, account_ids: Collection[str]) -> list[DunningState]:
    """The states of the accounts, by account id."""
    query = (
        select(
            account.c.id, account.c.dunning_policy_id, account.c.currency, account.c.time_zone,
            dunning_state.c.stage, dunning_state.c.evaluated_on, dunning_state.c.promise_until,
            dunning_state.c.immune,
        )
        .join(dunning_state, dunning_state.c.account_id == account.c.id)
        .where(account.c.id.in_(account_ids))
        .order_by(account.c.id)
    )  # fmt: skip
    return [
        DunningState(
            row.id, row.dunning_policy_id, row.currency, row.time_zone, Stage(row.stage),
            row.evaluated_on, row.promise_until, row.immune,
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
    """Services that the accounts hold on the given local days (not ended), by account."""
    query = (
        select(subscription.c.account_id, subscription.c.service_id, subscription.c.ends_on)
        .where(subscription.c.account_id.in_(account_days))
        .order_by(subscription.c.service_id)
    )
    found: dict[str, list[str]] = {account_id: [] for account_id in account_days}
    for row in await connection.execute(query):
        running = row.ends_on is None or account_days[row.account_id] < row.ends_on
        if running and row.service_id not in found[row.account_id]:
            found[row.account_id].append(row.service_id)
    return found


async def services_left_behind(connection: AsyncConnection, account_id: str, on: date) -> list[str]:
    """Services whose subscription by this account has ended and that no account took over since.

    A hold placed while the subscription ran must still be lifted there when the account pays.
    """
    running = or_(subscription.c.ends_on.is_(None), subscription.c.ends_on > on)
    query = (
        select(subscription.c.service_id)
        .where(
            subscription.c.account_id == account_id,
            subscription.c.service_id.not_in(select(subscription.c.service_id).where(running)),
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


async def save_evaluated(connection: AsyncConnection, days: dict[str, date]) -> None:
    """Note the last day decided for each account."""
    if days:
        await connection.execute(
            update(dunning_state)
            .where(dunning_state.c.account_id == bindparam("b_id"))
            .values(evaluated_on=bindparam("b_day")),
            [{"b_id": account_id, "b_day": day} for account_id, day in days.items()],
        )


async def insert_events(connection: AsyncConnection, events: Sequence[dict[str, Any]]) -> None:
    """The trail of stage changes."""
    if events:
        await connection.execute(insert(dunning_event), list(events))


async def set_promise(connection: AsyncConnection, account_id: str, until: date | None) -> None:
    """The day up to which a promise to pay defers worsening."""
    await connection.execute(
        update(dunning_state).where(dunning_state.c.account_id == account_id).values(promise_until=until)
    )


async def set_immune(connection: AsyncConnection, account_id: str, immune: bool) -> None:
    """Whether the account is left alone by dunning."""
    await connection.execute(
        update(dunning_state).where(dunning_state.c.account_id == account_id).values(immune=immune)
    )


async def set_policy(connection: AsyncConnection, account_id: str, policy_id: str) -> None:
    """Another ladder for the account."""
    await connection.execute(
        update(account).where(account.c.id == account_id).values(dunning_policy_id=policy_id)
    )
