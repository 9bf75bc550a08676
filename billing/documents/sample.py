"""A made-up invoice for previews and for trying templates: every kind of line, a chart, a part paid."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from billing.documents.invoice_view import InvoiceView, LineView, PaidView, ServiceUsage
from billing.documents.letter import OpenAccount, print_letter
from billing.documents.look import Look
from billing.documents.printed import print_address, print_invoice, printed_frame
from billing.documents.receipt import Receipt, print_receipt
from billing.documents.statement import Movement, Statement, print_statement
from billing.documents.usage_chart import UsageOfDay
from billing.documents.words import Words
from core.periods import Period

_MARCH, _APRIL = Period(date(2026, 3, 1), date(2026, 4, 1)), Period(date(2026, 4, 1), date(2026, 5, 1))
_TO = {
    "number": "A-000217", "name": "Juniper Flats Creamery", "street": "18 Cattle Guard Lane",
    "city": "Juniper Flats", "region": "CO", "postal_code": "81230", "country": "US",
}  # fmt: skip
_GB = 10**9


def sample_invoice(look: Look, currency: str = "USD", **changes: Any) -> InvoiceView:
    """The invoice; ``changes`` are fields of the view."""
    lines = (
        LineView(1, "recurring", "Home 100", "1", _APRIL, 5500, {"days": 30, "of_days": 30}),
        LineView(2, "rental", "Wi-Fi router, rented", "2", _APRIL, 900, {}),
        LineView(
            3, "usage", "Usage of Home 100", "236.40 GB", _MARCH, 1820,
            {
                "octets_in": 31 * _GB, "octets_out": 205_400_000_000, "allowance_octets": 200 * _GB,
                "used_octets": 236_400_000_000, "tiers": [{"octets": 36_400_000_000, "minor_per_gb": "50"}],
            },
        ),
        LineView(4, "discount", "A year with us: thank you", None, _APRIL, -500, {}),
        LineView(5, "tax", "Sales tax 2.9 %", None, None, 224, {}),
    )  # fmt: skip
    days = tuple(
        UsageOfDay(
            _MARCH.start + timedelta(days=number),
            (3 + number * 7 % 5) * 200_000_000,
            (40 + (number * 37 + number * number * 3) % 61) * 100_000_000,
        )
        for number in range(31)
    )
    values: dict[str, Any] = {
        "id": "inv_sample", "number": "INV-000042", "account_number": _TO["number"], "cycle": _APRIL,
        "issued_on": date(2026, 4, 1), "due_on": date(2026, 4, 15), "currency": currency, "net_minor": 7720,
        "tax_minor": 224, "total_minor": 7944, "open_minor": 5944, "status": "finalised", "bill_to": _TO,
        "lines": lines, "paid": (PaidView(date(2026, 3, 28), "transfer", 2000),), "issuer": look.issuer,
        "locale": look.locale, "usage": (ServiceUsage("Usage of Home 100", days),), "look": look,
    }  # fmt: skip
    return InvoiceView(**{**values, **changes})


def sample_documents(look: Look, currency: str = "USD") -> dict[str, dict[str, Any]]:
    """One printed document for each template."""
    moves = (
        Movement(date(2026, 4, 1), "invoice", "Invoice INV-000042", 7944, 9144),
        Movement(date(2026, 4, 9), "payment", "Payment, card", -5000, 4144),
    )
    statement = Statement(
        "acc_sample", _TO["number"], _TO, date(2026, 4, 1), date(2026, 4, 30), currency, 1200, moves, 4144,
        (0, 2944, 1200, 0, 0), 0, look.locale, look,
    )  # fmt: skip
    receipt = Receipt(
        "pay_01SAMPLE", "acc_sample", _TO["number"], _TO, date(2026, 4, 9), "card", 5000, currency,
        (("INV-000042", 5000),), look.locale, look,
    )  # fmt: skip
    debtor = OpenAccount(
        "acc_sample", _TO["number"], _TO["name"], None, "paper", _TO, date(2026, 4, 30), currency,
        (("INV-000042", date(2026, 4, 1), date(2026, 4, 15), 2944),), look.locale, "", look,
    )  # fmt: skip
    words = Words(look.locale, currency)
    deposit = {
        **printed_frame(look, words, kind="deposit", heading=words.say("Deposit slip"), number="20260430"),
        "to": print_address(_TO),
        "columns": [
            words.say("Date"),
            words.say("Account"),
            words.say("What"),
            words.say("Reference"),
            words.say("Amount"),
        ],
        "rows": [
            [words.short_day(date(2026, 4, 9)), "A-000217", words.say("cheque"), "4711", words.money(5000)]
        ],
        "sums": [{"label": words.say("Total"), "amount": words.money(5000), "strong": True}],
    }
    return {
        "invoice.typ": print_invoice(sample_invoice(look, currency)),
        "statement.typ": print_statement(statement),
        "receipt.typ": print_receipt(receipt),
        "letter.typ": print_letter(debtor, words.say("Invoice"), ["…"]),
        "deposit.typ": deposit,
    }
