"""What was issued before, to compare a run to be with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import invoice
from core.store.among import among


@dataclass(frozen=True, slots=True)
class PastInvoice:
    """Total and tax of an invoice that was issued for a cycle."""

    total_minor: int
    tax_minor: int


@dataclass(frozen=True, slots=True)
class RunSum:
    """Invoices with their sums in one currency."""

    invoices: int = 0
    net_minor: int = 0
    tax_minor: int = 0

    @property
    def gross_minor(self) -> int:
        """Net and tax."""
        return self.net_minor + self.tax_minor

    def plus(self, invoices: int, net_minor: int, tax_minor: int) -> RunSum:
        """With so much more."""
        return RunSum(self.invoices + invoices, self.net_minor + net_minor, self.tax_minor + tax_minor)


async def past_invoices(
    connection: AsyncConnection, account_ids: Collection[str], last: int
) -> dict[str, list[PastInvoice]]:
    """By account its last invoices of cycles, at most ``last`` of them."""
    ranked = (
        select(
            invoice.c.account_id, invoice.c.total_minor, invoice.c.tax_minor,
            func.row_number()
            .over(partition_by=invoice.c.account_id, order_by=invoice.c.cycle_start.desc())
            .label("rank"),
        )
        .where(among(connection, invoice.c.account_id, account_ids), invoice.c.kind == "invoice")
        .subquery()
    )  # fmt: skip
    query = select(ranked.c.account_id, ranked.c.total_minor, ranked.c.tax_minor).where(ranked.c.rank <= last)
    found: dict[str, list[PastInvoice]] = {}
    for row in await connection.execute(query):
        found.setdefault(row[0], []).append(PastInvoice(row[1], row[2]))
    return found


async def sums_of_runs(connection: AsyncConnection, first: date, last: date) -> dict[tuple[str, str], RunSum]:
    """By entity ("": the house) and currency, what runs issued for cycles that turned on these days."""
    query = (
        select(
            invoice.c.entity_id, invoice.c.currency, func.count(), func.sum(invoice.c.net_minor),
            func.sum(invoice.c.tax_minor),
        )
        .where(
            invoice.c.kind == "invoice", invoice.c.bill_run_id.is_not(None), invoice.c.cycle_start >= first,
            invoice.c.cycle_start <= last,
        )
        .group_by(invoice.c.entity_id, invoice.c.currency)
    )  # fmt: skip
    return {
        (row[0] or "", row[1]): RunSum(int(row[2]), int(row[3]), int(row[4]))
        for row in await connection.execute(query)
    }
