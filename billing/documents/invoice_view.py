"""One invoice as its readers see it: everything a document needs, read in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings, IssuerSettings
from billing.documents.keep_look import HOUSE, find_look
from billing.documents.look import Look, house_look
from billing.documents.usage_chart import UsageOfDay
from billing.payments.gateways.pay_link import pay_path
from billing.ports import DailyUsageSource
from billing.store import document_rows
from core.locales import check_locale
from core.periods import Period
from core.refusal import Refusal
from core.secrets import Sealer

_MOST_CHARTS = 3


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
    """An allocation to the invoice; negative when it was taken back. ``at``: None counts as at issue."""

    received_on: date
    method: str
    amount_minor: int
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ServiceUsage:
    """What one service moved each day of a billed period; ``title`` is the line it was billed by."""

    title: str
    days: tuple[UsageOfDay, ...]


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
    kind: str = "invoice"
    corrects: str | None = None
    issued_at: datetime | None = None
    account_id: str = ""
    pay_link: str | None = None
    usage: tuple[ServiceUsage, ...] = ()
    look: Look = field(default_factory=lambda: house_look(BillingSettings()))


async def invoice_view(
    connection: AsyncConnection,
    id_or_number: str,
    settings: BillingSettings | None = None,
    usage: DailyUsageSource | None = None,
    sealer: Sealer | None = None,
) -> InvoiceView | Refusal:
    """The invoice with that id or number as it stands now, in the look and language of its issue.

    Without ``usage`` there is no chart of it, without ``sealer`` no link of its own to pay it by.
    """
    settings = settings or BillingSettings()
    row = await document_rows.invoice_row(connection, id_or_number)
    if row is None:
        return Refusal("unknown_invoice", f"there is no invoice {id_or_number}", "number")
    look = await find_look(connection, settings, brand=row.entity_id or HOUSE, at=row.created_at)
    rows = await document_rows.lines_of(connection, row.id)
    lines = tuple(
        LineView(
            line.position, line.kind, _described(line, row.account_id), line.quantity,
            None if line.period_start is None else Period(line.period_start, line.period_end),
            line.amount_minor, line.explanation or {},
        )
        for line in rows
    )  # fmt: skip
    paid = tuple(
        PaidView(one.received_on, one.method, one.amount_minor, one.at)
        for one in await document_rows.payments_on(connection, row.id)
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
        issuer=look.issuer,
        locale=usable_locale(row.bill_to.get("locale") or row.account_locale, look.locale),
        kind=row.kind,
        corrects=row.corrects_number,
        issued_at=row.created_at,
        account_id=row.account_id,
        pay_link=None if sealer is None else pay_path(sealer, row.id),
        usage=await _usage(connection, rows, usage, row.time_zone) if look.terms.usage_chart else (),
        look=look,
    )


def _described(line: Row[Any], account_id: str) -> str:
    """The line's words; what is for another account says for which."""
    if line.account_id is None or line.account_id == account_id:
        return str(line.description)
    return f"{line.description} ({line.account_number})"


async def _usage(
    connection: AsyncConnection, rows: Sequence[Any], usage: DailyUsageSource | None, zone: str
) -> tuple[ServiceUsage, ...]:
    """Days of the billed periods; they are closed, so their figures stand for good."""
    if usage is None:
        return ()
    billed: dict[tuple[str, date, date], str] = {}
    for line in rows:
        if line.kind == "usage" and line.service_id and line.period_start:
            billed.setdefault((line.service_id, line.period_start, line.period_end), line.description)
    return tuple([
        ServiceUsage(
            title,
            tuple(UsageOfDay(*day) for day in await usage.by_day(connection, service_id, start, end, zone)),
        )
        for (service_id, start, end), title in list(billed.items())[:_MOST_CHARTS]
    ])  # fmt: skip


def as_issued(view: InvoiceView) -> InvoiceView:
    """The invoice as it was when it got its number: what was paid later is not on the document."""
    paid = tuple(
        one for one in view.paid if one.at is None or view.issued_at is None or one.at <= view.issued_at
    )
    left = max(view.total_minor, 0) - sum(one.amount_minor for one in paid)
    return replace(view, paid=paid, open_minor=left)


def usable_locale(wanted: str | None, default: str) -> str:
    """``wanted`` if dates can be written in it."""
    if not wanted:
        return default
    try:
        return check_locale(wanted)
    except ValueError:
        return default
