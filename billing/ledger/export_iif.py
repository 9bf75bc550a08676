"""The ledger as an IIF file for QuickBooks Desktop: general journal entries of one currency.

Tab-separated lines, ``!TRNS``/``!SPL``/``!ENDTRNS`` headings first (Intuit, "Import and export files
(IIF)"); the accounts (``ACCNT``) and customers (``CUST``) that the entries name come before them, so that an
import finds them. Fields are ASCII without tabs, quotes and semicolons, on which imports stumble; names have
at most 31 (accounts, each level) and 41 (customers) characters. An account of the kind AR wants a customer's
name, and stands first in its entry.
"""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.account_names import component
from billing.domain.chart import AccountKind, chart_line
from billing.domain.ledger import RECEIVABLE
from billing.ledger.export_scope import ExportScope, Names, amount, one_line
from billing.store import journal_rows
from billing.store.journal_rows import JournalEntry, JournalPosting

_TYPES = {
    AccountKind.ASSET: "OCASSET", AccountKind.LIABILITY: "OCLIAB", AccountKind.EQUITY: "EQUITY",
    AccountKind.INCOME: "INC", AccountKind.EXPENSE: "EXP",
}  # fmt: skip
_SPECIAL_TYPES = {RECEIVABLE: "AR", "cash": "BANK"}
_ACCOUNT_LIMIT, _NAME_LIMIT, _MEMO_LIMIT = 31, 41, 400
_COLUMNS = "TRNSTYPE\tDATE\tACCNT\tNAME\tAMOUNT\tMEMO"
_END = "\r\n"


def ascii_field(text: str, limit: int) -> str:
    """A field as QuickBooks reads it: accents are dropped, what has no ASCII form becomes a question mark."""
    plain = unicodedata.normalize("NFKD", one_line(text))
    kept = "".join(one for one in plain if not unicodedata.combining(one))
    field = kept.encode("ascii", "replace").decode("ascii")
    return field.replace('"', "'").replace(";", ",")[:limit].strip()


def iif_account(ledger_account: str, names: Names) -> str:
    """The account's name: the operator's code, else ours, such as ``Tax:US-NM``."""
    code = names.code(ledger_account)
    if code is not None:
        return ":".join(ascii_field(part, _ACCOUNT_LIMIT) for part in code.split(":"))
    head, _, detail = ledger_account.partition(":")
    own = " ".join(word.capitalize() for word in head.split("_"))
    return f"{own}:{component(detail)[:_ACCOUNT_LIMIT]}" if detail else own


def iif_customer(number: str, name: str) -> str:
    """A customer's name in the list, which must be unique: it begins with his number."""
    return ascii_field(f"{number} {name}", _NAME_LIMIT).replace(":", " ")


async def iif(connection: AsyncConnection, export: ExportScope) -> AsyncIterator[str]:
    """The file, in parts; the scope must name a currency, for a file has only one."""
    names = Names(await journal_rows.codes(connection), by_customer=False)
    uses = await journal_rows.account_uses(connection, export.scope, by_customer=True)
    yield _lists(names, uses)
    yield f"!TRNS\t{_COLUMNS}{_END}!SPL\t{_COLUMNS}{_END}!ENDTRNS{_END}"
    async for page in journal_rows.journal_pages(connection, export.scope):
        yield "".join(_entry(one, names) for one in page)


def _lists(names: Names, uses: list[journal_rows.AccountUse]) -> str:
    accounts: dict[str, str] = {}
    customers: set[str] = set()
    for one in uses:
        line = chart_line(one.ledger_account)
        kind = AccountKind.EQUITY if line is None else line.kind
        head = one.ledger_account.partition(":")[0]
        own_type = _SPECIAL_TYPES.get(head, _TYPES[kind])
        name = iif_account(one.ledger_account, names)
        if ":" in name:
            accounts.setdefault(name.partition(":")[0], own_type)
        accounts.setdefault(name, own_type)
        if one.customer_number is not None:
            customers.add(iif_customer(one.customer_number, one.customer_name or ""))
    text = f"!ACCNT\tNAME\tACCNTTYPE{_END}"
    text += "".join(f"ACCNT\t{name}\t{kind}{_END}" for name, kind in sorted(accounts.items()))
    return text + f"!CUST\tNAME{_END}" + "".join(f"CUST\t{name}{_END}" for name in sorted(customers))


def _entry(entry: JournalEntry, names: Names) -> str:
    sides = sorted(entry.postings, key=lambda one: one.ledger_account != RECEIVABLE)
    lines = [_side("TRNS" if place == 0 else "SPL", one, entry, names) for place, one in enumerate(sides)]
    return "".join(lines) + f"ENDTRNS{_END}"


def _side(kind: str, one: JournalPosting, entry: JournalEntry, names: Names) -> str:
    customer = ""
    if one.customer_number is not None:
        customer = iif_customer(one.customer_number, one.customer_name or "")
    return "\t".join([
        kind, "GENERAL JOURNAL", f"{entry.booked_on:%m/%d/%Y}", iif_account(one.ledger_account, names),
        customer, str(amount(one.amount_minor, entry.currency)),
        ascii_field(f"{entry.id} {entry.description}", _MEMO_LIMIT),
    ]) + _END  # fmt: skip
