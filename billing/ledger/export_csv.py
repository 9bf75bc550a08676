"""Journal, invoices and payments as CSV (RFC 4180, UTF-8), a heading first; text cells run no formula.

The journal has a row for each posting: ``debit`` or ``credit`` is filled, ``amount`` is the one less the
other. Invoices and payments tell what does not change after they were written, so that a period gives the
same file whenever it is exported; what is still open, allocated or taken back is in the panel's lists and in
the journal.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.chart import chart_line
from billing.ledger.export_scope import ExportScope, Names, amount
from billing.store import journal_rows
from billing.store.journal_rows import JournalEntry
from core.spreadsheet import csv_rows

_Row = list[str | int | Decimal | None]
JOURNAL_COLUMNS = (
    "entry", "booked_on", "happened_on", "source_kind", "source_id", "description", "entity",
    "ledger_account", "code", "kind", "customer_number", "customer_name", "currency", "debit", "credit",
    "amount",
)  # fmt: skip
INVOICE_COLUMNS = (
    "number", "kind", "issued_on", "due_on", "customer_number", "customer_name", "entity", "cycle_start",
    "cycle_end", "currency", "net", "tax", "total", "corrects",
)  # fmt: skip
PAYMENT_COLUMNS = (
    "id", "received_on", "received_at", "customer_number", "customer_name", "entity", "method", "currency",
    "amount", "key", "recorded_by", "note",
)  # fmt: skip


async def journal_csv(connection: AsyncConnection, export: ExportScope) -> AsyncIterator[str]:
    """The journal, in parts."""
    names = Names(await journal_rows.codes(connection), by_customer=False)
    yield csv_rows([JOURNAL_COLUMNS])
    async for page in journal_rows.journal_pages(connection, export.scope):
        yield csv_rows(row for entry in page for row in _sides(entry, names))


def _sides(entry: JournalEntry, names: Names) -> Iterator[_Row]:
    happened = entry.happened_on.isoformat() if entry.happened_on else None
    for one in entry.postings:
        line = chart_line(one.ledger_account)
        moved = amount(one.amount_minor, entry.currency)
        yield [
            entry.id, entry.booked_on.isoformat(), happened, entry.source_kind, entry.source_id,
            entry.description, entry.entity_id, one.ledger_account, names.code(one.ledger_account),
            line.kind.value if line else None, one.customer_number, one.customer_name, entry.currency,
            moved if one.amount_minor > 0 else None, -moved if one.amount_minor < 0 else None, moved,
        ]  # fmt: skip


async def invoices_csv(connection: AsyncConnection, export: ExportScope) -> AsyncIterator[str]:
    """Invoices and credit notes by the day of issue, in parts."""
    yield csv_rows([INVOICE_COLUMNS])
    async for rows in journal_rows.invoice_pages(connection, export.scope):
        yield csv_rows(
            [
                row.number, row.kind, row.issued_on.isoformat(), row.due_on.isoformat(), row.customer_number,
                row.customer_name, row.entity_id, row.cycle_start.isoformat(), row.cycle_end.isoformat(),
                row.currency, amount(row.net_minor, row.currency), amount(row.tax_minor, row.currency),
                amount(row.total_minor, row.currency), row.corrects,
            ]
            for row in rows
        )  # fmt: skip


async def payments_csv(connection: AsyncConnection, export: ExportScope) -> AsyncIterator[str]:
    """Payments by the day they were received, in parts."""
    yield csv_rows([PAYMENT_COLUMNS])
    async for rows in journal_rows.payment_pages(connection, export.scope):
        yield csv_rows(
            [
                row.id, row.received_on.isoformat(), row.received_at.astimezone(UTC).isoformat(),
                row.customer_number, row.customer_name, row.entity_id, row.method, row.currency,
                amount(row.amount_minor, row.currency), row.idempotency_key, row.recorded_by, row.note,
            ]
            for row in rows
        )  # fmt: skip
