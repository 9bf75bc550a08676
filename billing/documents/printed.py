"""Documents as printed words: the one mapping that the Typst and the HTML templates show.

Every document has ``kind``, ``title``, ``heading``, ``number``, ``language``, ``paper``, ``accent``, ``logo``
(png, svg or none), ``issuer`` (name, address, footer), ``to`` (name, address), ``facts`` (label, value),
``claim`` (label, words, amount, or none), ``pay`` (heading, text, rows of label and value, code as SVG,
code_words, link, or none), ``note``, ``page_words`` and ``words`` (the headings of tables). An invoice has
``lines`` (description, details, period, quantity, amount, share of the allowance in percent or none),
``sums`` (label, amount, strong) and ``charts`` beside; the others have ``columns``, ``rows`` and ``sums``, a
statement ``ages``, a letter ``paragraphs``. Every value is text, a list, a number, true or false, or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import InvalidOperation
from typing import Any

from billing.documents.invoice_view import InvoiceView, LineView
from billing.documents.look import Look
from billing.documents.payment_code import payment_code
from billing.documents.usage_chart import usage_chart
from billing.documents.words import Words
from billing.domain.invoicing import format_ppm

_LONG_WORD = re.compile(r"\S{25,}")
_UNITS = {"minor_per_gib": "GiB", "minor_per_mbits": "Mbit/s"}
_ZERO_WIDTH_SPACE = "\u200b"
_WHAT_A_GB_IS = "1 GB is 1,000,000,000 bytes. Ask us for the meter readings behind any line of this invoice."


def breakable(text: str) -> str:
    """The text with places to break in words that no column holds."""
    return _LONG_WORD.sub(
        lambda found: _ZERO_WIDTH_SPACE.join(
            found[0][start : start + 12] for start in range(0, len(found[0]), 12)
        ),
        text,
    )


def printed_frame(look: Look, words: Words, *, kind: str, heading: str, number: str) -> dict[str, Any]:
    """What all documents have: letterhead, language, sheet."""
    paper = look.terms.paper
    return {
        "kind": kind,
        "title": f"{heading} {number}".strip(),
        "heading": heading,
        "number": number,
        "language": words.language,
        "paper": words.paper if paper == "auto" else paper,
        "accent": look.terms.accent,
        "logo": look.logo.suffix if look.logo else None,
        "issuer": _issuer(look, words),
        "page_words": words.say("page {page} of {pages}", page="|", pages="|").split("|"),
        "facts": [],
        "claim": None,
        "pay": None,
        "note": None,
        "words": {
            "to": words.say("Billed to"),
            "description": words.say("Description"),
            "period": words.say("Period"),
            "quantity": words.say("Quantity"),
            "amount": words.say("Amount"),
        },
    }


def print_invoice(view: InvoiceView) -> dict[str, Any]:
    """The view in the words, dates and amounts of its locale."""
    words = Words(view.locale, view.currency)
    is_credit = view.kind == "credit_note" or view.total_minor < 0
    heading = words.say("Credit note") if is_credit else words.say("Invoice")
    charts = [usage_chart(breakable(one.title), one.days, words) for one in view.usage]
    return {
        **printed_frame(view.look, words, kind="invoice", heading=heading, number=view.number),
        "to": print_address(view.bill_to),
        "facts": _facts(view, words, is_credit=is_credit),
        "claim": _claim(view, words),
        "lines": [_line(line, words) for line in view.lines if line.kind != "tax"],
        "sums": _sums(view, words),
        "charts": [one for one in charts if one],
        "pay": None
        if is_credit
        else print_pay(view.look, words, view.number, view.open_minor, view.pay_link),
        "note": _note(view, words),
    }


def _issuer(look: Look, words: Words) -> dict[str, Any]:
    issuer = look.issuer
    tax_number = issuer.tax_number and words.say("Tax no. {number}", number=issuer.tax_number)
    contact = (issuer.name, issuer.phone, issuer.email, issuer.website, tax_number)
    return {
        "name": breakable(issuer.name),
        "address": [breakable(line) for line in issuer.address],
        "footer": [breakable(text) for text in contact if text],
    }


def print_address(to: Mapping[str, Any]) -> dict[str, Any]:
    """Name and address as the country's letters have them: the code before the town, or behind the region."""
    country, town = to.get("country"), to.get("city")
    region, code = to.get("region"), to.get("postal_code")
    if country in {"US", "CA", "AU", "BR", "MX", None}:
        place = " ".join(text for text in (region, code) if text)
        line = ", ".join(text for text in (town, place) if text)
    else:
        line = " ".join(text for text in (code, town) if text)
    return {
        "name": breakable(to["name"]),
        "address": [breakable(text) for text in (to.get("street"), line, country) if text],
    }


def _facts(view: InvoiceView, words: Words, *, is_credit: bool) -> list[dict[str, str]]:
    facts = [
        (words.say("Number"), view.number),
        (words.say("Date"), words.day(view.issued_on)),
        (words.say("Account"), view.account_number),
    ]
    if view.corrects:
        facts.append((words.say("Corrects invoice"), view.corrects))
    if not is_credit and view.total_minor > 0:
        facts.insert(2, (words.say("Due"), words.day(view.due_on)))
    if view.kind == "invoice" and view.cycle.days:
        facts.append((words.say("Service period"), words.period(view.cycle)))
    return [{"label": label, "value": breakable(value)} for label, value in facts]


def _claim(view: InvoiceView, words: Words) -> dict[str, str]:
    if view.total_minor < 0:
        said = words.say("Kept for you and used for your next invoices")
        return _said(words.say("Credit"), said, -view.total_minor, words)
    if view.open_minor == 0:
        return _said(words.say("Nothing due"), words.say("Paid in full. Thank you."), 0, words)
    said = words.say("Please pay by {day}", day=words.day(view.due_on))
    return _said(words.say("Amount due"), said, view.open_minor, words)


def _said(label: str, said: str, amount_minor: int, words: Words) -> dict[str, str]:
    return {"label": label, "words": said, "amount": words.money(amount_minor)}


def print_pay(
    look: Look, words: Words, number: str, open_minor: int, link: str | None = None
) -> dict[str, Any] | None:
    """How an open amount is paid: bank details, words, and a code where one can be made."""
    issuer = look.issuer
    code = None
    if look.terms.payment_code == "auto":
        code = payment_code(
            name=issuer.name, iban=issuer.iban, bic=issuer.bic, pay_url=look.terms.pay_url,
            amount_minor=open_minor, currency=words.currency, number=number, link=link,
        )  # fmt: skip
    rows = []
    if issuer.iban:
        grouped = " ".join(issuer.iban[start : start + 4] for start in range(0, len(issuer.iban), 4))
        rows.append({"label": "IBAN", "value": grouped})
        if issuer.bic or issuer.bank:
            bank = ", ".join(text for text in (issuer.bank, issuer.bic) if text)
            rows.append({"label": words.say("Bank"), "value": breakable(bank)})
        rows.append({"label": words.say("Reference"), "value": number})
    caption = {
        "epc": words.say("Scan with your banking app"),
        "link": words.say("Scan to pay online"),
    }
    return {
        "heading": words.say("How to pay"),
        "text": breakable(issuer.payment_instructions),
        "rows": rows if open_minor > 0 else [],
        "code": code.svg if code else None,
        "code_words": caption[code.kind] if code else "",
        "link": code.target if code else None,
    }


def _line(line: LineView, words: Words) -> dict[str, Any]:
    return {
        "description": breakable(line.description),
        "details": [breakable(one) for one in _details(line, words)],
        "period": "" if line.period is None or not line.period.days else words.period(line.period),
        "quantity": breakable(line.quantity or ""),
        "amount": words.money(line.amount_minor),
        "share": _share(line),
    }


def _details(line: LineView, words: Words) -> list[str]:
    """What the line's explanation says in a few words; nothing for one that is not known."""
    why = line.explanation
    try:
        if "credited_minor" in why:
            amount = words.money(int(why["credited_minor"]))
            notes = ", ".join(why["credit_notes"])
            return [words.say("{amount} less, given back before by {notes}", amount=amount, notes=notes)]
        if line.kind == "usage":
            return _usage_details(why, words)
        if line.kind in {"recurring", "rental"} and why["days"] != why["of_days"]:
            return [words.say("{price} for a whole period", price=words.money(int(why["price_minor"])))]
        if line.kind == "discount":
            return _discount_details(why, words)
    except (KeyError, TypeError, ValueError, InvalidOperation):
        return []
    return []


def _discount_details(why: Mapping[str, Any], words: Words) -> list[str]:
    """What it was taken off, and by which code."""
    said = []
    if why["percent_ppm"] is not None:
        price = words.money(int(why["base_minor"]))
        said.append(words.say("{share} of {price}", share=format_ppm(int(why["percent_ppm"])), price=price))
    if "promotion" in why:
        said.append(words.say("Code {code}", code=why["promotion"]))
    return said


def _usage_details(why: Mapping[str, Any], words: Words) -> list[str]:
    moved = words.say(
        "{down} down, {up} up",
        down=words.octets(int(why["octets_out"])),
        up=words.octets(int(why["octets_in"])),
    )
    steps = [_step(one, words) for one in why.get("steps", why.get("tiers", ()))]
    return [moved, *(one for one in steps if one)]


def _step(step: Mapping[str, Any], words: Words) -> str:
    """One step of a charge model: how much at which price; nothing where it has no price by quantity."""
    key = next((one for one in step if one.startswith("minor_per_")), None)
    if key is None or not {"octets", "bps"} & step.keys():
        return ""
    price = words.unit_price(str(step[key]))
    if key == "minor_per_gb" and "octets" in step:
        said = words.say(
            "{octets} beyond it at {price} per GB", octets=words.octets(int(step["octets"])), price=price
        )
    else:
        how_much = words.octets(int(step["octets"])) if "octets" in step else words.rate(int(step["bps"]))
        unit = _UNITS.get(key, key.removeprefix("minor_per_"))
        said = words.say("{quantity} at {price} per {unit}", quantity=how_much, price=price, unit=unit)
    return f"{step['class']}: {said}" if "class" in step else said


def _share(line: LineView) -> int | None:
    allowance, used = line.explanation.get("allowance_octets"), line.explanation.get("used_octets")
    if line.kind != "usage" or not isinstance(allowance, int) or not isinstance(used, int) or not allowance:
        return None
    return used * 100 // allowance


def _sums(view: InvoiceView, words: Words) -> list[dict[str, Any]]:
    sums: list[tuple[str, int, bool]] = [(words.say("Net"), view.net_minor, False)]
    sums += [(line.description, line.amount_minor, False) for line in view.lines if line.kind == "tax"]
    sums.append((words.say("Total"), view.total_minor, True))
    for paid in view.paid:
        said = "Paid {day}" if paid.amount_minor > 0 else "Taken back {day}"
        label = words.say(said, day=words.day(paid.received_on))
        if paid.method != "credit":
            label = f"{label}, {words.say(paid.method)}"
        sums.append((label, -paid.amount_minor, False))
    if view.paid:
        sums.append((words.say("Amount due"), view.open_minor, True))
    return [
        {"label": breakable(label), "amount": words.money(amount), "strong": strong}
        for label, amount, strong in sums
    ]


def _note(view: InvoiceView, words: Words) -> str | None:
    said = []
    if any(line.kind == "usage" for line in view.lines):
        said.append(
            words.say(
                "1 GB is 1,000,000,000 bytes. Ask us for the meter readings behind any line of this invoice."
            )
        )
    if view.look.terms.closing:
        said.append(breakable(view.look.terms.closing))
    return " ".join(said) or None
