"""The formats the books can be taken away in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger.export_beancount import beancount
from billing.ledger.export_csv import invoices_csv, journal_csv, payments_csv
from billing.ledger.export_hledger import hledger
from billing.ledger.export_iif import iif
from billing.ledger.export_scope import ExportScope
from billing.store import journal_rows
from billing.store.journal_rows import Scope
from core.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Export:
    """One format: its name, what it is called, the file it gives and what writes it."""

    name: str
    title: str
    suffix: str
    content_type: str
    write: Callable[[AsyncConnection, ExportScope], AsyncIterator[str]]
    one_currency: bool = False


_TEXT, _CSV = "text/plain; charset=utf-8", "text/csv; charset=utf-8"
EXPORTS: dict[str, Export] = {
    one.name: one
    for one in (
        Export("beancount", "beancount", "beancount", _TEXT, beancount),
        Export("hledger", "hledger journal", "journal", _TEXT, hledger),
        Export("iif", "QuickBooks IIF", "iif", _TEXT, iif, one_currency=True),
        Export("journal", "Journal as CSV", "csv", _CSV, journal_csv),
        Export("invoices", "Invoices as CSV", "csv", _CSV, invoices_csv),
        Export("payments", "Payments as CSV", "csv", _CSV, payments_csv),
    )
}


@dataclass(frozen=True, slots=True)
class PreparedExport:
    """What will be written, and the name of its file (without a folder)."""

    export: Export
    scope: ExportScope
    file_name: str

    def write(self, connection: AsyncConnection) -> AsyncIterator[str]:
        """The file, in parts; the connection must stay the same snapshot until the end."""
        return self.export.write(connection, self.scope)


async def prepare_export(
    connection: AsyncConnection,
    name: str,
    *,
    first: date | None = None,
    last: date | None = None,
    currency: str = "",
    entity: str = "",
    by_customer: bool = False,
    opening: bool = False,
) -> PreparedExport | Refusal:
    """An export of the days ``first`` to ``last``, both in it; of an entity's id, ``house`` for the house.

    Refused for an unknown format, an impossible span, and where a format has one currency and the books more.
    """
    export = EXPORTS.get(name)
    if export is None:
        return Refusal("bad_format", f"{name!r} is not one of {', '.join(EXPORTS)}", "format")
    if first is not None and last is not None and last < first:
        return Refusal("bad_span", f"{last} is before {first}; choose a later last day", "last")
    currency = currency.strip().upper()
    entity_id = None if not entity else "" if entity == "house" else entity
    scope = ExportScope(Scope(first, last, currency or None, entity_id), by_customer, opening)
    if export.one_currency and not currency:
        found = sorted({one.currency for one in await journal_rows.account_uses(connection, scope.scope)})
        if len(found) > 1:
            message = f"an {name} file has one currency; choose one of {', '.join(found)}"
            return Refusal("currency_missing", message, "currency")
        scope = replace(scope, scope=replace(scope.scope, currency=found[0] if found else None))
    span = f"{first or 'start'}-{last or 'end'}"
    kind = "ledger" if name in ("beancount", "hledger", "iif") else name
    words = "-".join(["hilltop", kind, span, *([currency] if currency else [])])
    return PreparedExport(export, scope, f"{words}.{export.suffix}")
