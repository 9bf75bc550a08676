"""What taxes an invoice asked stands on its lines: read again, it is the same answer.

So a replay does not ask an engine outside again, and a credit note gives back what was charged: also when the
engine is gone or has changed its mind, when the service is elsewhere now, and in parts of any number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import product
from typing import Any

from sqlalchemy.engine import Row

from billing.domain.invoicing import InvoiceDraft, LineDraft, complete_invoice, taxable_lines
from billing.domain.taxes.book import TaxBook
from billing.domain.taxes.decide import TaxDecision, TaxDue, TaxedLine, round_ratio
from billing.domain.taxes.place import Jurisdiction
from billing.domain.taxes.rule import MILLION, Effect, Method, RoundedPer, Rounding, TaxRule

TAX_KINDS = ("tax", "surcharge")


def kept_taxes(
    issued: Sequence[Row[Any]], country: str, currency: str, book: TaxBook | None = None
) -> list[TaxDue]:
    """The taxes and surcharges as the tax lines of an invoice explain them.

    ``book``: our own rules as they were known; None: an engine outside said the taxes.
    """
    rules = {} if book is None else {rule.id: rule for rule in book.rules}
    quoted = {line.position: line.quoted_minor for line in issued}
    found = []
    for line in issued:
        if line.kind not in TAX_KINDS:
            continue
        told = line.explanation
        rule = rules.get(told.get("tax_rule", "")) or _rule(told, country, currency)
        units = told.get("units")
        found.append(
            TaxDue(
                rule, told["base_minor"], told["amount_minor"], tuple(told["lines"]), _parts(told, quoted),
                None if units is None else Decimal(units),
                tuple((one["certificate"], one["line"], one["share_ppm"]) for one in told.get("exempt", ())),
            )
        )  # fmt: skip
    return found


def _rule(told: Mapping[str, Any], country: str, currency: str) -> TaxRule:
    classes = told.get("tax_class", "all")
    bare = TaxRule(
        told.get("tax_rule", ""), told["name"], Jurisdiction(country), date.fromisoformat(told["valid_from"]),
        effect=Effect(told.get("effect", Effect.TAX)),
        tax_classes=frozenset() if classes == "all" else frozenset(classes.split(", ")),
        method=Method(told.get("method", Method.PERCENT)), rate_ppm=told["rate_ppm"],
        unit_millionths=told.get("unit_millionths", 0), currency=currency,
        share_ppm=told.get("share_ppm", MILLION), on_top_of=frozenset(told.get("on_top_of", ())),
        authority=told["jurisdiction"],
    )  # fmt: skip
    for rounding, per in product(Rounding, RoundedPer):
        rule = replace(bare, rounding=rounding, rounded_per=per)
        if rule.rounding_in_words() == told.get("rounding"):
            return rule
    return bare


def _parts(told: Mapping[str, Any], quoted: Mapping[int, int]) -> tuple[int, ...]:
    """What of the amount falls to each line; before that was kept, prices were net and rates of the whole."""
    if "parts" in told:
        return tuple(told["parts"])
    parts: list[int] = []
    base = 0
    for position in told["lines"]:
        base += quoted[position]
        parts.append(round_ratio(base * told["rate_ppm"], MILLION, Rounding.HALF_UP) - sum(parts))
    return tuple(parts)


def as_answered(draft: InvoiceDraft, issued: Sequence[Row[Any]]) -> InvoiceDraft:
    """``draft``, which has no taxes yet, with those on the lines that were ``issued``."""
    taxes = kept_taxes(issued, draft.account.country, draft.account.currency)
    taxed = []
    for line in taxable_lines(draft.account, draft.lines):
        added = sum(_part(tax, line.position) for tax in taxes)
        net = line.quoted_minor - added if line.inclusive else line.quoted_minor
        taxed.append(TaxedLine(line.position, net, added))
    decision = TaxDecision(tuple(taxed), tuple(taxes))
    return complete_invoice(
        draft.account, draft.cycle, draft.issued_on, list(draft.lines), decision, outside=True
    )


def _part(tax: TaxDue, position: int) -> int:
    return sum(part for at, part in zip(tax.positions, tax.parts, strict=True) if at == position)


def credited_taxes(
    issued: Sequence[Row[Any]],
    taxes: Sequence[TaxDue],
    notes: Sequence[LineDraft],
    before: Mapping[int, int],
    book: TaxBook | None = None,
) -> TaxDecision:
    """What comes back of ``taxes`` with ``notes``: lines of a credit note, naming theirs in ``explanation``.

    ``before``: what earlier notes credited by position. A line that is credited in several parts gives back
    its taxes to the minor unit when nothing of it is left. ``book``: as for ``kept_taxes``.
    """
    quoted = {line.position: line.quoted_minor for line in issued}
    at_of = [line.explanation["line"] for line in notes]
    gone = dict(before)
    for at, line in zip(at_of, notes, strict=True):
        gone[at] = gone.get(at, 0) - line.quoted_minor
    nets = [line.quoted_minor for line in notes]
    due = []
    for tax in taxes:
        positions, parts = [], []
        for index, (at, line) in enumerate(zip(at_of, notes, strict=True)):
            if at not in tax.positions:
                continue
            part = _part(tax, at)
            back = _share(part, before.get(at, 0), quoted[at]) - _share(part, gone[at], quoted[at])
            positions.append(index + 1)
            parts.append(back)
            if line.tax_included:
                nets[index] -= back
        if any(parts) or (positions and tax.units is None):
            number_of = {at_of[number - 1]: number for number in positions}
            due.append(
                tax._replace(
                    amount_minor=sum(parts), positions=tuple(positions), parts=tuple(parts),
                    units=_units_back(tax, gone, quoted),
                    exempt=tuple(
                        (certificate, number_of[at], share)
                        for certificate, at, share in tax.exempt
                        if at in number_of
                    ),
                )
            )  # fmt: skip
    lines = tuple(
        TaxedLine(number, net, sum(_part(tax, number) for tax in due))
        for number, net in enumerate(nets, start=1)
    )
    rests_on = [()] * len(due) if book is None else _rests_on(due, book)
    based = [
        tax._replace(
            base_minor=sum(
                nets[at - 1] + sum(_part(due[other], at) for other in below) for at in tax.positions
            )
        )
        for tax, below in zip(due, rests_on, strict=True)
    ]
    return TaxDecision(lines, tuple(based))


def _units_back(tax: TaxDue, gone: Mapping[int, int], quoted: Mapping[int, int]) -> Decimal | None:
    """A part of a line is a correction of money alone: what was counted comes back when nothing is left."""
    if tax.units is None:
        return None
    whole = all(gone.get(at, 0) == quoted[at] for at in tax.positions)
    return -tax.units if whole else Decimal(0)


def _rests_on(due: Sequence[TaxDue], book: TaxBook) -> Sequence[tuple[int, ...]]:
    known = {rule.id for rule in book.rules}
    if any(tax.rule.id not in known for tax in due):
        return [()] * len(due)  # of an earlier version: none rested on another
    return book.tariff_of([tax.rule for tax in due]).rests_on


def _share(part_minor: int, credited_minor: int, quoted_minor: int) -> int:
    """The tax on so much of the line."""
    if quoted_minor < 0:
        credited_minor, quoted_minor = -credited_minor, -quoted_minor
    return round_ratio(part_minor * credited_minor, quoted_minor, Rounding.HALF_UP)
