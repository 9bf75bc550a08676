"""What every export of the ledger is told, and how it names accounts and writes amounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.account_names import account_name, is_account_name
from billing.domain.chart import heading
from billing.store import journal_rows
from billing.store.journal_rows import AccountUse, JournalPosting, Scope
from core.money import minor_digits

FIRST_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class ExportScope:
    """``by_customer``: receivable, credit and deposits have an account for each customer. ``opening``: an
    entry with what was before ``first``, so that the balances at the end are those of the whole books.
    """

    scope: Scope = field(default_factory=Scope)
    by_customer: bool = False
    opening: bool = False

    @property
    def before(self) -> Scope:
        """The days before the first one."""
        first = self.scope.first or FIRST_DAY
        return Scope(None, first - timedelta(days=1), self.scope.currency, self.scope.entity_id)

    @property
    def is_whole(self) -> bool:
        """Whether balances at the end are those of the books."""
        return self.scope.first is None or self.opening


@dataclass(frozen=True, slots=True)
class Names:
    """The names of accounts in one export; ``codes`` are the operator's own."""

    codes: Mapping[str, str]
    by_customer: bool

    def code(self, ledger_account: str) -> str | None:
        """The operator's code of an account, or of the heading it is under."""
        return self.codes.get(ledger_account) or self.codes.get(heading(ledger_account))

    def plain_text(self, ledger_account: str, customer_number: str | None) -> str:
        """For beancount and hledger: the operator's code where it is a valid account, else our own name."""
        customer = customer_number if self.by_customer else None
        code = self.code(ledger_account)
        own = account_name(ledger_account, customer)
        if code is None or not is_account_name(code):
            return own
        plain = account_name(ledger_account)
        return f"{code}{own[len(plain) :]}"

    def of(self, one: JournalPosting | AccountUse) -> str:
        """The same of a posting or a sum."""
        return self.plain_text(one.ledger_account, one.customer_number)


def amount(amount_minor: int, currency: str) -> Decimal:
    """Exact, with as many decimals as the currency has."""
    return Decimal(amount_minor).scaleb(-minor_digits(currency))


def one_line(text: str) -> str:
    """Without line breaks, tabs and other characters that cannot be seen; blanks are single."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


@dataclass(frozen=True, slots=True)
class Opened:
    """An account of an export and the first day and the currencies it is used with."""

    name: str
    ledger_account: str
    first_on: date
    currencies: tuple[str, ...]


async def opened_accounts(
    connection: AsyncConnection, export: ExportScope, names: Names
) -> tuple[list[Opened], list[AccountUse]]:
    """Every account that the export names, in order; and what stood on them before, when that is wanted."""
    inside = await journal_rows.account_uses(connection, export.scope, by_customer=export.by_customer)
    before: list[AccountUse] = []
    if export.opening and export.scope.first is not None:
        before = await journal_rows.account_uses(connection, export.before, by_customer=export.by_customer)
        before = [one for one in before if one.amount_minor]
    opened: dict[str, Opened] = {}
    for one in (*before, *inside):
        name = names.of(one)
        day = max(one.first_on, export.scope.first or one.first_on)
        known = opened.get(name, Opened(name, one.ledger_account, day, ()))
        currencies = tuple(sorted({*known.currencies, one.currency}))
        opened[name] = Opened(name, known.ledger_account, min(known.first_on, day), currencies)
    return [opened[name] for name in sorted(opened)], before
