"""The ledger as a beancount file ("Beancount Language Syntax"), checked by its own ``bean-check``.

Every entry has ours as metadata: ``entry``, ``source``, ``happened``, ``customer``. Where the export holds
the whole books up to its last day, balance assertions at the end have beancount prove our balances.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger.export_scope import (
    ExportScope,
    Names,
    Opened,
    amount,
    one_line,
    opened_accounts,
)
from billing.store import journal_rows
from billing.store.journal_rows import AccountUse, JournalEntry


def text(words: str) -> str:
    """A string of beancount's: quotes and backslashes are escaped."""
    escaped = one_line(words).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


async def beancount(connection: AsyncConnection, export: ExportScope) -> AsyncIterator[str]:
    """The file, in parts."""
    names = Names(await journal_rows.codes(connection), export.by_customer)
    opened, before = await opened_accounts(connection, export, names)
    yield _head(opened, names)
    if before and export.scope.first is not None:
        yield _opening(export.scope.first, before, names)
    last = date.min
    async for page in journal_rows.journal_pages(connection, export.scope):
        yield "".join(_entry(one, names) for one in page)
        last = max([last, *(one.booked_on for one in page)])
    if opened and export.is_whole:
        day = max(export.scope.last or last, export.scope.first or last) + timedelta(days=1)
        inside = await journal_rows.account_uses(connection, export.scope, by_customer=export.by_customer)
        yield _assertions(day, [*before, *inside], names)


def _head(opened: Sequence[Opened], names: Names) -> str:
    currencies = sorted({currency for one in opened for currency in one.currencies})
    lines = ['option "title" "Hilltop ledger"']
    lines += [f'option "operating_currency" "{currency}"' for currency in currencies]
    first = min((one.first_on for one in opened), default=None)
    lines += [f"{first} commodity {currency}" for currency in currencies]
    for one in opened:
        lines.append(f"{one.first_on} open {one.name} {','.join(one.currencies)}")
        lines.append(f"  ledger-account: {text(one.ledger_account)}")
        code = names.code(one.ledger_account)
        if code is not None:
            lines.append(f"  code: {text(code)}")
    return "\n".join(lines) + "\n"


def _side(name: str, amount_minor: int, currency: str) -> str:
    return f"  {name}  {amount(amount_minor, currency)} {currency}\n"


def _entry(entry: JournalEntry, names: Names) -> str:
    parts = [
        f"\n{entry.booked_on} * {text(entry.description)}\n",
        f"  entry: {text(entry.id)}\n",
        f"  source: {text(f'{entry.source_kind} {entry.source_id}')}\n",
    ]
    if entry.happened_on is not None:
        parts.append(f"  happened: {entry.happened_on}\n")
    if entry.entity_id is not None:
        parts.append(f"  entity: {text(entry.entity_id)}\n")
    for one in entry.postings:
        parts.append(_side(names.of(one), one.amount_minor, entry.currency))
        if one.customer_number is not None:
            parts.append(f"    customer: {text(one.customer_number)}\n")
            parts.append(f"    customer-name: {text(one.customer_name or '')}\n")
    return "".join(parts)


def _opening(first: date, before: Sequence[AccountUse], names: Names) -> str:
    sides = "".join(_side(names.of(one), one.amount_minor, one.currency) for one in before)
    return f'\n{first} * "Balances brought forward"\n{sides}'


def _assertions(day: date, uses: Sequence[AccountUse], names: Names) -> str:
    sums: dict[tuple[str, str], int] = {}
    for one in uses:
        key = names.of(one), one.currency
        sums[key] = sums.get(key, 0) + one.amount_minor
    shadowed = [name for name, _ in sums]  # an account above another would be asserted with it
    return "\n" + "".join(
        f"{day} balance {name}  {amount(total, currency)} {currency}\n"
        for (name, currency), total in sorted(sums.items())
        if not any(other.startswith(f"{name}:") for other in shadowed)
    )
