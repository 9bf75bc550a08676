"""A receipt: what came in from an account, and which invoices it paid when it came."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.documents.invoice_view import usable_locale
from billing.documents.keep_look import HOUSE, find_look
from billing.documents.look import Look
from billing.documents.printed import breakable, print_address, printed_frame
from billing.documents.words import Words
from billing.store import document_rows
from core.refusal import Refusal

_AT_ONCE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A payment as it was recorded. ``paid``: invoice numbers and minor units; the rest is credit."""

    payment_id: str
    account_id: str
    account_number: str
    to: dict[str, Any]
    received_on: date
    method: str
    amount_minor: int
    currency: str
    paid: tuple[tuple[str, int], ...]
    locale: str
    look: Look

    @property
    def credit_minor(self) -> int:
        """What paid no invoice."""
        return self.amount_minor - sum(amount for _, amount in self.paid)


async def receipt_of(
    connection: AsyncConnection, payment_id: str, settings: BillingSettings
) -> Receipt | Refusal:
    """The receipt of a payment; none for one that was taken back, or that was no money."""
    payment = await document_rows.payment_row(connection, payment_id)
    if payment is None:
        return Refusal("unknown_payment", f"there is no payment {payment_id}", "payment")
    if payment.reversed_at is not None or payment.method == "credit":
        return Refusal(
            "no_receipt", "this payment was taken back, or was no money: there is no receipt", "payment"
        )
    row = await document_rows.account_row(connection, payment.account_id)
    if row is None:
        raise RuntimeError("a payment without its account")
    look = await find_look(connection, settings, brand=row.entity_id or HOUSE, at=payment.received_at)
    names = ("number", "name", "street", "city", "region", "postal_code", "country")
    return Receipt(
        payment.id, row.id, row.number, {name: getattr(row, name) for name in names}, payment.received_on,
        payment.method, payment.amount_minor, payment.currency,
        tuple(await document_rows.paid_by(connection, payment.id, payment.received_at + _AT_ONCE)),
        usable_locale(row.locale, look.locale), look,
    )  # fmt: skip


def print_receipt(view: Receipt) -> dict[str, Any]:
    """The receipt in the words of its locale."""
    words = Words(view.locale, view.currency)
    rows = [[f"{words.say('Invoice')} {number}", words.money(amount)] for number, amount in view.paid]
    if view.credit_minor:
        rows.append([words.say("Credit for your next invoices"), words.money(view.credit_minor)])
    number = view.payment_id.removeprefix("pay_")
    return {
        **printed_frame(view.look, words, kind="receipt", heading=words.say("Receipt"), number=number),
        "to": print_address(view.to),
        "words": {"to": words.say("Received from")},
        "facts": [
            {"label": words.say("Receipt"), "value": breakable(number)},
            {"label": words.say("Date"), "value": words.day(view.received_on)},
            {"label": words.say("Account"), "value": breakable(view.account_number)},
            {"label": words.say("Paid by"), "value": words.say(view.method)},
        ],
        "claim": {
            "label": words.say("Received"),
            "words": words.say("Thank you for your payment."),
            "amount": words.money(view.amount_minor),
        },
        "columns": [words.say("Used for"), words.say("Amount")],
        "rows": rows,
        "sums": [{"label": words.say("Total"), "amount": words.money(view.amount_minor), "strong": True}],
    }
