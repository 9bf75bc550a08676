"""Bill runs: how far one is, who is parked, which drafts wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store import draft_rows, parked_rows
from billing.store.tables import account, bill_run, invoice, parked
from billing.store.tables import draft as draft_table


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that is not finished: how far it is, in accounts, and how many it meets a second."""

    accounts: int
    done: int
    parked: int
    invoices: int
    drafts: int
    since: datetime
    per_second: float

    @property
    def met(self) -> int:
        """Done or parked."""
        return self.done + self.parked

    @property
    def left(self) -> int:
        """Still to come."""
        return max(self.accounts - self.met, 0)


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """An account that could not be billed."""

    account_id: str = field(metadata={"csv": False})
    account_number: str
    account_name: str
    since: datetime
    tried_at: datetime
    tries: int
    reason: str


@dataclass(frozen=True, slots=True)
class DraftRow:
    """A draft in a list."""

    id: str
    account_id: str = field(metadata={"csv": False})
    account_number: str
    account_name: str
    entity: str
    cycle_start: date
    currency: str
    net_minor: int
    tax_minor: int
    total_minor: int
    drafted_at: datetime
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class DraftSum:
    """What waits of one legal entity in one currency."""

    entity: str
    currency: str
    drafts: int
    net_minor: int
    tax_minor: int
    total_minor: int


@dataclass(frozen=True, slots=True)
class DraftPage:
    """One draft with its lines and what became of it."""

    row: DraftRow
    cycle_end: date
    lines: list[dict[str, Any]]
    decided_at: datetime | None
    decided_by: str
    invoice_id: str | None
    invoice_number: str | None
    newer_id: str | None


async def live_run(connection: AsyncConnection, now: datetime) -> LiveRun | None:
    """The newest run, while it is not finished."""
    query = select(bill_run).order_by(bill_run.c.started_at.desc(), bill_run.c.id.desc()).limit(1)
    run = (await connection.execute(query)).one_or_none()
    if run is None or run.finished_at is not None or run.worked_since is None:
        return None
    of_run = select(func.count()).select_from(parked).where(parked.c.run_id == run.id)
    set_aside = int((await connection.execute(of_run)).scalar_one())
    seconds = max((now - run.worked_since).total_seconds(), 0.001)
    return LiveRun(
        run.accounts, run.done, set_aside, run.invoices, run.drafts, run.worked_since,
        (run.done + set_aside) / seconds,
    )  # fmt: skip


async def parked_list(connection: AsyncConnection, limit: int) -> list[ParkedRow]:
    """Parked accounts, the longest parked first."""
    return [
        ParkedRow(row.account_id, row.number, row.name, row.since, row.tried_at, row.tries, row.reason)
        for row in await parked_rows.list_parked(connection, limit)
    ]


def _draft_row(row: Any) -> DraftRow:
    return DraftRow(
        row.id, row.account_id, row.number, row.name, row.entity_id or "", row.cycle_start, row.currency,
        row.net_minor, row.tax_minor, row.total_minor, row.drafted_at, row.state, row.reason or "",
    )  # fmt: skip


async def draft_list(connection: AsyncConnection, state: str, *, after: str, limit: int) -> list[DraftRow]:
    """Drafts in that state, the oldest first; ``after`` is the id to go on after."""
    return [
        _draft_row(row) for row in await draft_rows.list_drafts(connection, state, after=after, limit=limit)
    ]


async def draft_sums(connection: AsyncConnection) -> Sequence[DraftSum]:
    """What waits, by legal entity and currency."""
    return [
        DraftSum(
            row.entity_id or "", row.currency, int(row.drafts), int(row.net_minor), int(row.tax_minor),
            int(row.total_minor),
        )
        for row in await draft_rows.sums_waiting(connection)
    ]  # fmt: skip


async def draft_page(connection: AsyncConnection, draft_id: str) -> DraftPage | None:
    """One draft; ``newer_id``: the open one of the same account, when it is another."""
    query = (
        select(draft_table, account.c.number, account.c.name, invoice.c.number.label("invoice_number"))
        .join(account, account.c.id == draft_table.c.account_id)
        .outerjoin(invoice, invoice.c.id == draft_table.c.invoice_id)
        .where(draft_table.c.id == draft_id)
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    current = (await draft_rows.open_drafts(connection, [row.account_id])).get(row.account_id)
    return DraftPage(
        _draft_row(row), row.cycle_end, row.lines, row.decided_at, row.decided_by or "", row.invoice_id,
        row.invoice_number, None if current is None or current.id == draft_id else current.id,
    )  # fmt: skip


async def counts(connection: AsyncConnection) -> dict[str, int]:
    """How many drafts wait, how many are rejected, how many accounts are parked."""
    drafts = await draft_rows.count_open(connection)
    return {
        "waiting": drafts.get(draft_rows.WAITING, 0), "rejected": drafts.get(draft_rows.REJECTED, 0),
        "parked": await parked_rows.count_parked(connection),
    }  # fmt: skip
