"""A letter to an account: paragraphs, and the invoices that are open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.documents.invoice_view import usable_locale
from billing.documents.keep_look import HOUSE, find_look
from billing.documents.look import Look
from billing.documents.printed import breakable, print_address, print_pay, printed_frame
from billing.documents.words import Words
from billing.store import document_rows
from core.refusal import Refusal


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """An account and what it owes on a day. ``open``: number, issued on, due on, minor units."""

    account_id: str
    account_number: str
    name: str
    email: str | None
    delivery: str
    to: dict[str, Any]
    on: date
    currency: str
    open: tuple[tuple[str, date, date, int], ...]
    locale: str
    brand: str
    look: Look

    @property
    def open_minor(self) -> int:
        """The sum of what is open."""
        return sum(amount for *_, amount in self.open)

    @property
    def overdue_minor(self) -> int:
        """The sum of what is due before the day."""
        return sum(amount for _, _, due_on, amount in self.open if due_on < self.on)


async def open_account_of(
    connection: AsyncConnection, account: str, on: date, settings: BillingSettings
) -> OpenAccount | Refusal:
    """What an account (id or number) owes at the end of a day."""
    row = await document_rows.account_row(connection, account)
    if row is None:
        return Refusal("unknown_account", f"there is no account {account}", "account")
    look = await find_look(connection, settings, brand=row.entity_id or HOUSE)
    names = ("number", "name", "street", "city", "region", "postal_code", "country")
    return OpenAccount(
        row.id, row.number, row.name, row.email, row.delivery,
        {name: getattr(row, name) for name in names}, on, row.currency,
        tuple(await document_rows.open_at(connection, row.id, on)),
        usable_locale(row.locale, look.locale), row.entity_id or HOUSE, look,
    )  # fmt: skip


def print_letter(view: OpenAccount, subject: str, paragraphs: Sequence[str]) -> dict[str, Any]:
    """A letter of these words, with the table of what is open under it."""
    words = Words(view.locale, view.currency)
    rows = [
        [breakable(number), words.short_day(issued_on), words.short_day(due_on), words.money(amount)]
        for number, issued_on, due_on, amount in view.open
    ]
    return {
        **printed_frame(view.look, words, kind="letter", heading=subject, number=view.account_number),
        "to": print_address(view.to),
        "words": {"to": ""},
        "facts": [
            {"label": words.say("Date"), "value": words.day(view.on)},
            {"label": words.say("Account"), "value": breakable(view.account_number)},
        ],
        "paragraphs": [breakable(one) for one in paragraphs],
        "columns": [words.say("Invoice"), words.say("Date"), words.say("Due"), words.say("Open")],
        "rows": rows,
        "sums": [{"label": words.say("Amount due"), "amount": words.money(view.open_minor), "strong": True}]
        if rows
        else [],
        "pay": print_pay(view.look, words, view.account_number, view.open_minor) if rows else None,
    }
