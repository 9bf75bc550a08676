"""One invoice as its readers see it: everything a document needs, read in one go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings, IssuerSettings
from billing.store import invoice_rows
from core.periods import Period
from core.refusal import Refusal


@dataclass(frozen=True, slots=True)
class LineView:
    """A line as it was issued, with the explanation it carries."""

    position: int
    kind: str
    description: str
    quantity: str | None
    period: Period | None
    amount_minor: int
    explanation: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PaidView:
    """An allocation to the invoice; negative when it was taken back."""

    received_on: date
    method: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class InvoiceView:
    """A finalised invoice and what was paid on it. ``bill_to`` is the address as it was at issue."""

    id: str
    number: str
    account_number: str
    cycle: Period
    issued_on: date
    due_on: date
    currency: str
    net_minor: int
    tax_minor: int
    total_minor: int
    open_minor: int
    status: str
    bill_to: dict[str, Any]
    lines: tuple[LineView, ...]
    paid: tuple[PaidView, ...]
    issuer: IssuerSettings
    locale: str


async def invoice_view(
    connection: AsyncConnection, id_or_number: str, settings: BillingSettings | None = None
) -> InvoiceView | Refusal:
    """The invoice with that id or number, under the letterhead of ``settings``."""
    settings = settings or BillingSettings()
    row = await invoice_rows.find_invoice(connection, id_or_number)
    if row is None:
        return Refusal("unknown_invoice", f"there is no invoice {id_or_number}", "number")
    lines = tuple(
        LineView(
            line.position, line.kind, line.description, line.quantity,
            None if line.period_start is None else Period(line.period_start, line.period_end),
            line.amount_minor, line.explanation,
        )
        for line in await invoice_rows.lines_of(connection, row.id)
    )  # fmt: skip
    paid = tuple(
        PaidView(one.received_on, one.method, one.amount_minor)
        for one in await invoice_rows.payments_on(connection, row.id)
    )
    return InvoiceView(
        id=row.id,
        number=row.number,
        account_number=row.bill_to["number"],
        cycle=Period(row.cycle_start, row.cycle_end),
        issued_on=row.issued_on,
        due_on=row.due_on,
        currency=row.currency,
        net_minor=row.net_minor,
        tax_minor=row.tax_minor,
        total_minor=row.total_minor,
        open_minor=row.open_minor,
        status=row.status,
        bill_to=row.bill_to,
        lines=lines,
        paid=paid,
        issuer=settings.issuer,
        locale=settings.locale,
    )
