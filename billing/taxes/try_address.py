"""What a line at an address on a day would be taxed with: for the panel, the command line and programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.taxes.book import TaxBook
from billing.domain.taxes.decide import TaxableLine, TaxDecision
from billing.domain.taxes.place import Place
from billing.domain.taxes.rule import Exemption
from billing.store import account_rows, tax_rows
from billing.taxes.engine import OwnRules, TaxDocument, TaxEngine, TaxTrouble
from billing.taxes.tax_books import TaxBooks
from core.refusal import Refusal


@dataclass(frozen=True, slots=True)
class TaxQuestion:
    """A line that is thought of. ``account``: whose certificates count (id or number), or nobody's."""

    place: Place
    on: date
    price_minor: int
    currency: str
    tax_class: str = "internet"
    kind: str = "recurring"
    inclusive: bool = False
    quantity: Decimal = Decimal(1)
    account: str | None = None
    as_of: datetime | None = None


async def try_address(
    connection: AsyncConnection,
    question: TaxQuestion,
    books: TaxBooks | None = None,
    engine: TaxEngine | None = None,
) -> TaxDecision | Refusal:
    """The taxes of that one line by ``engine``; without one by the rules as known now or at ``as_of``."""
    exemptions: Sequence[Exemption] = ()
    if question.account is not None:
        account = await account_rows.find_account(connection, question.account)
        if account is None:
            return Refusal("unknown_account", f"there is no account {question.account[:40]}", "account")
        found = await tax_rows.exemptions_of(connection, [account.id], question.as_of)
        exemptions = found.get(account.id, ())
    if engine is None:
        engine = OwnRules(await _book(connection, question, books))
    line = TaxableLine(
        1, question.price_minor, question.inclusive, question.tax_class, question.kind, question.on,
        question.place, question.quantity,
    )  # fmt: skip
    document = TaxDocument("try", question.account or "", question.currency, question.on, [line], exemptions)
    answer = (await engine.taxes_of([document]))[document.code]
    return Refusal("no_taxes", answer.reason) if isinstance(answer, TaxTrouble) else answer


async def _book(connection: AsyncConnection, question: TaxQuestion, books: TaxBooks | None) -> TaxBook:
    if books is not None:
        return await books.book(connection, question.as_of)
    return TaxBook(await tax_rows.tax_rules(connection, question.as_of, [question.place.country.upper()]))
