"""An invoice as printed words: the one mapping that the HTML and the Typst template both show.

Fields: ``title``, ``heading``, ``paper``, ``number``, ``issuer`` (name, address, footer), ``bill_to`` (name,
address), ``facts`` (label, value), ``claim`` (label, words, amount), ``lines`` (description, details, period,
quantity, amount, share of the allowance in percent or none), ``sums`` (label, amount, strong),
``payment_instructions``, ``note``. Every value is text, a list of texts, a number or none.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from babel import Locale
from babel.dates import format_date, format_interval
from babel.numbers import format_currency

from billing.documents.invoice_view import InvoiceView, LineView
from core.money import minor_digits
from core.periods import Period
from core.quantities import format_octets

_LETTER_PAPER = {"US", "CA", "MX", "PH", "CL", "CO", "VE"}


def print_invoice(view: InvoiceView) -> dict[str, Any]:
    """The view in the words, dates and amounts of its locale."""
    printer = _Printer(view.locale, view.currency)
    heading = "Credit note" if view.total_minor < 0 else "Invoice"
    return {
        "title": f"{heading} {view.number}",
        "heading": heading,
        "paper": "us-letter" if Locale.parse(view.locale).territory in _LETTER_PAPER else "a4",
        "number": view.number,
        "issuer": _issuer(view),
        "bill_to": _bill_to(view),
        "facts": _facts(view, printer),
        "claim": _claim(view, printer),
        "lines": [_line(line, printer) for line in view.lines if line.kind != "tax"],
        "sums": _sums(view, printer),
        "payment_instructions": view.issuer.payment_instructions,
        "note": _note(view),
    }


class _Printer:
    """Dates and amounts in one locale and currency."""

    def __init__(self, locale: str, currency: str) -> None:
        self._locale = locale
        self._currency = currency

    def money(self, amount_minor: int) -> str:
        major = Decimal(amount_minor).scaleb(-minor_digits(self._currency))
        return format_currency(major, self._currency, locale=self._locale)

    def unit_price(self, minor: str) -> str:
        """A price that may have more decimals than the currency."""
        digits = minor_digits(self._currency)
        major = Decimal(minor).scaleb(-digits)
        if major == round(major, digits):
            return format_currency(major, self._currency, locale=self._locale)
        return format_currency(
            major.normalize(), self._currency, locale=self._locale, decimal_quantization=False
        )

    def day(self, day: date) -> str:
        return format_date(day, "long", locale=self._locale)

    def period(self, period: Period) -> str:
        """First to last day, both included, as people write it."""
        last = period.end - timedelta(days=1)
        if last <= period.start:
            return format_date(period.start, "medium", locale=self._locale)
        return str(format_interval(period.start, last, "yMMMd", locale=self._locale))


def _issuer(view: InvoiceView) -> dict[str, Any]:
    issuer = view.issuer
    tax_number = None if issuer.tax_number is None else f"Tax no. {issuer.tax_number}"
    contact = (issuer.name, issuer.phone, issuer.email, issuer.website, tax_number)
    return {
        "name": issuer.name,
        "address": list(issuer.address),
        "footer": [text for text in contact if text],
    }


def _bill_to(view: InvoiceView) -> dict[str, Any]:
    to = view.bill_to
    place = " ".join(text for text in (to["region"], to["postal_code"]) if text)
    town = ", ".join(text for text in (to["city"], place) if text)
    return {
        "name": to["name"],
        "address": [text for text in (to["street"], town, to["country"]) if text],
    }


def _facts(view: InvoiceView, printer: _Printer) -> list[dict[str, str]]:
    facts = [
        ("Number", view.number),
        ("Date", printer.day(view.issued_on)),
        ("Account", view.account_number),
        ("Service month", printer.period(view.cycle)),
    ]
    if view.total_minor > 0:
        facts.insert(2, ("Due", printer.day(view.due_on)))
    return [{"label": label, "value": value} for label, value in facts]


def _claim(view: InvoiceView, printer: _Printer) -> dict[str, str]:
    if view.total_minor < 0:
        return _said("Credit", "Kept for you and used for your next invoices", -view.total_minor, printer)
    if view.open_minor == 0:
        return _said("Nothing due", "Paid in full. Thank you.", 0, printer)
    return _said("Amount due", f"Please pay by {printer.day(view.due_on)}", view.open_minor, printer)


def _said(label: str, words: str, amount_minor: int, printer: _Printer) -> dict[str, str]:
    return {"label": label, "words": words, "amount": printer.money(amount_minor)}


def _line(line: LineView, printer: _Printer) -> dict[str, Any]:
    return {
        "description": line.description,
        "details": _details(line, printer),
        "period": "" if line.period is None else printer.period(line.period),
        "quantity": line.quantity or "",
        "amount": printer.money(line.amount_minor),
        "share": _share(line),
    }


def _details(line: LineView, printer: _Printer) -> list[str]:
    why = line.explanation
    if line.kind == "usage":
        down, up = format_octets(why["octets_out"]), format_octets(why["octets_in"])
        tiers = [
            f"{format_octets(tier['octets'])} beyond it at {printer.unit_price(tier['minor_per_gb'])} per GB"
            for tier in why["tiers"]
        ]
        return [f"{down} down, {up} up", *tiers]
    if line.kind == "recurring" and why["days"] != why["of_days"]:
        return [f"{printer.money(why['price_minor'])} for a whole month"]
    return []


def _share(line: LineView) -> int | None:
    allowance = line.explanation.get("allowance_octets")
    if line.kind != "usage" or not allowance:
        return None
    return int(line.explanation["used_octets"]) * 100 // int(allowance)


def _sums(view: InvoiceView, printer: _Printer) -> list[dict[str, Any]]:
    sums: list[tuple[str, int, bool]] = [("Net", view.net_minor, False)]
    sums += [(line.description, line.amount_minor, False) for line in view.lines if line.kind == "tax"]
    sums.append(("Total", view.total_minor, True))
    for paid in view.paid:
        words = "Paid" if paid.amount_minor > 0 else "Taken back"
        method = "" if paid.method == "credit" else f", {paid.method}"
        sums.append((f"{words} {printer.day(paid.received_on)}{method}", -paid.amount_minor, False))
    if view.paid:
        sums.append(("Amount due", view.open_minor, True))
    return [
        {"label": label, "amount": printer.money(amount), "strong": strong} for label, amount, strong in sums
    ]


def _note(view: InvoiceView) -> str | None:
    if not any(line.kind == "usage" for line in view.lines):
        return None
    return "1 GB is 1,000,000,000 bytes. Ask us for the meter readings behind any line of this invoice."
