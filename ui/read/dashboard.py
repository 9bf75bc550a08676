"""The first screen: how the network and the money stand now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.effect import Effect
from aaa.store.tables import entitlement, entitlement_change, hold, service, session
from billing.store.tables import account, bill_run, dunning_state, invoice, payment
from core.store.tables import health_issue
from provisioning.store.tables import task

_RECENT_TASKS = 80  # enough to find the last few changes, whatever the number of points
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers at the top."""

    online: int
    services: int
    by_effect: dict[str, int]
    overdue_accounts: int
    overdue: list[tuple[int, str]]  # amount_minor, currency
    by_stage: dict[str, int]


@dataclass(frozen=True, slots=True)
class IssueRow:
    """A health issue that is open."""

    severity: str
    title: str
    remedy: str
    opened_at: datetime
    last_seen_at: datetime
    occurrences: int


@dataclass(frozen=True, slots=True)
class BillRunRow:
    """One bill run."""

    id: str
    through: date
    started_at: datetime
    finished_at: datetime | None
    invoices: int
    drafts: int
    parked: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Movement:
    """A service that was suspended or restored, over all its enforcement points.

    ``from_payment`` is the time from the payment that lifted dunning's hold to the last verification.
    """

    service_id: str
    account_id: str
    account_name: str
    label: str
    effect: str
    restored: bool
    started_at: datetime
    verified_at: datetime | None
    points: int
    points_verified: int
    from_payment: timedelta | None


async def figures(connection: AsyncConnection, today: date) -> Figures:
    """Counts over indexes; ``today`` is the panel's local date."""
    online = select(func.count(session.c.service_id.distinct())).where(
        session.c.stopped_at.is_(None), session.c.service_id.is_not(None)
    )
    effects = select(entitlement.c.effect, func.count()).group_by(entitlement.c.effect)
    by_effect = {row[0]: int(row[1]) for row in await connection.execute(effects)}
    late = and_(invoice.c.status == "finalised", invoice.c.due_on < today, invoice.c.open_minor > 0)
    accounts = select(func.count(invoice.c.account_id.distinct())).where(late)
    sums = select(func.sum(invoice.c.open_minor), invoice.c.currency).where(late).group_by(invoice.c.currency)
    stages = select(dunning_state.c.stage, func.count()).group_by(dunning_state.c.stage)
    return Figures(
        online=(await connection.execute(online)).scalar_one(),
        services=sum(count for effect, count in by_effect.items() if effect != Effect.ENDED),
        by_effect=by_effect,
        overdue_accounts=(await connection.execute(accounts)).scalar_one(),
        overdue=[(int(row[0]), row[1]) for row in await connection.execute(sums)],
        by_stage={row[0]: int(row[1]) for row in await connection.execute(stages)},
    )


async def open_issues(connection: AsyncConnection, limit: int = 20) -> list[IssueRow]:
    """Open health issues, critical ones first."""
    query = (
        select(health_issue)
        .where(health_issue.c.closed_at.is_(None))
        .order_by(health_issue.c.severity, health_issue.c.opened_at.desc())
        .limit(limit)
    )
    return [
        IssueRow(row.severity, row.title, row.remedy, row.opened_at, row.last_seen_at, row.occurrences)
        for row in await connection.execute(query)
    ]


async def bill_runs(connection: AsyncConnection, limit: int = 1) -> list[BillRunRow]:
    """Bill runs, newest first."""
    rows = await connection.execute(select(bill_run).order_by(bill_run.c.id.desc()).limit(limit))
    return [
        BillRunRow(row.id, row.through, row.started_at, row.finished_at, row.invoices, row.drafts, row.parked)
        for row in rows
    ]


async def movements(connection: AsyncConnection, limit: int = _SHOWN) -> list[Movement]:
    """The latest suspensions and restorations, newest first."""
    recent = (
        select(
            task.c.service_id, task.c.generation, task.c.effect, task.c.created_at, task.c.verified_at,
            service.c.account_id, service.c.label, account.c.name,
        )
        .join(service, service.c.id == task.c.service_id)
        .join(account, account.c.id == service.c.account_id)
        .order_by(task.c.id.desc())
        .limit(_RECENT_TASKS)
    )  # fmt: skip
    grouped: dict[tuple[str, int], list[Any]] = {}
    for row in await connection.execute(recent):
        grouped.setdefault((row.service_id, row.generation), []).append(row)
    found: list[Movement] = []
    for rows in grouped.values():
        if len(found) == limit:
            break
        moved = await _movement(connection, rows)
        if moved is not None:
            found.append(moved)
    return found


async def _movement(connection: AsyncConnection, rows: list[Any]) -> Movement | None:
    first = rows[0]
    before = await _effect_before(connection, first.service_id, first.generation)
    cut, was_cut = Effect(first.effect).cuts_off, before is not None and Effect(before).cuts_off
    if cut == was_cut or first.effect == Effect.ENDED:
        return None
    verified = [row.verified_at for row in rows if row.verified_at]
    done = max(verified) if len(verified) == len(rows) else None
    started = min(row.created_at for row in rows)
    paid_at = None if cut else await _paid_at(connection, first, started)
    return Movement(
        first.service_id, first.account_id, first.name, first.label, first.effect, not cut, started, done,
        len(rows), len(verified), done - paid_at if done and paid_at else None,
    )  # fmt: skip


async def _effect_before(connection: AsyncConnection, service_id: str, generation: int) -> str | None:
    query = (
        select(entitlement_change.c.effect)
        .where(entitlement_change.c.service_id == service_id, entitlement_change.c.generation < generation)
        .order_by(entitlement_change.c.generation.desc())
        .limit(1)
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def _paid_at(connection: AsyncConnection, row: Any, started: datetime) -> datetime | None:
    """When the payment arrived that lifted dunning's hold before this restoration, if one did."""
    lifted = select(func.max(hold.c.lifted_at)).where(
        hold.c.service_id == row.service_id, hold.c.holder == "dunning", hold.c.lifted_at <= started
    )
    lifted_at = (await connection.execute(lifted)).scalar_one()
    if lifted_at is None or started - lifted_at > timedelta(hours=1):
        return None
    paid = select(func.max(payment.c.received_at)).where(
        payment.c.account_id == row.account_id, payment.c.received_at <= lifted_at,
        payment.c.received_at >= lifted_at - timedelta(hours=1),
    )  # fmt: skip
    found: datetime | None = (await connection.execute(paid)).scalar_one()
    return found
