"""What an engine outside said stands on the lines of the invoice: read again, it is the same answer.

So a replay does not ask, and a credit note gives back what was charged, also when the engine is gone or has
changed its mind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy.engine import Row

from billing.domain.invoicing import InvoiceDraft, LineDraft, complete_invoice, taxable_lines
from billing.domain.taxes.decide import TaxDecision, TaxDue, TaxedLine, round_ratio
from billing.domain.taxes.place import Jurisdiction
from billing.domain.taxes.rule import Effect, Rounding, TaxRule

TAX_KINDS = ("tax", "surcharge")


def kept_taxes(issued: Iterable[Row[Any]], country: str) -> list[TaxDue]:
    """The taxes and surcharges as the tax lines of an invoice explain them."""
    return [_due(line.explanation, country) for line in issued if line.kind in TAX_KINDS]


def _due(told: Mapping[str, Any], country: str) -> TaxDue:
    rule = TaxRule(
        told["tax_rule"], told["name"], Jurisdiction(country), date.fromisoformat(told["valid_from"]),
        effect=Effect(told["effect"]), rate_ppm=told["rate_ppm"], authority=told["jurisdiction"],
    )  # fmt: skip
    return TaxDue(rule, told["base_minor"], told["amount_minor"], tuple(told["lines"]), tuple(told["parts"]))


def as_answered(draft: InvoiceDraft, issued: Sequence[Row[Any]]) -> InvoiceDraft:
    """``draft``, which has no taxes yet, with those on the lines that were ``issued``."""
    taxes = kept_taxes(issued, draft.account.country)
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
    issued: Sequence[Row[Any]], country: str, notes: Sequence[LineDraft], before: Mapping[int, int]
) -> TaxDecision:
    """What comes back of the taxes with ``notes``: lines of a credit note, naming theirs in ``explanation``.

    ``before``: what earlier notes credited by position. A line that is credited in several parts gives back
    its taxes to the minor unit when nothing of it is left.
    """
    quoted = {line.position: line.quoted_minor for line in issued}
    nets = [line.quoted_minor for line in notes]
    due = []
    for tax in kept_taxes(issued, country):
        positions, parts = [], []
        for index, line in enumerate(notes):
            at = line.explanation["line"]
            if at not in tax.positions:
                continue
            part, earlier = _part(tax, at), before.get(at, 0)
            back = _share(part, earlier, quoted[at]) - _share(part, earlier - line.quoted_minor, quoted[at])
            positions.append(index + 1)
            parts.append(back)
            if line.tax_included:
                nets[index] -= back
        if any(parts):
            due.append(tax._replace(amount_minor=sum(parts), positions=tuple(positions), parts=tuple(parts)))
    lines = tuple(
        TaxedLine(number, net, sum(_part(tax, number) for tax in due))
        for number, net in enumerate(nets, start=1)
    )
    based = [tax._replace(base_minor=sum(nets[at - 1] for at in tax.positions)) for tax in due]
    return TaxDecision(lines, tuple(based))


def _share(part_minor: int, credited_minor: int, quoted_minor: int) -> int:
    """The tax on so much of the line."""
    if quoted_minor < 0:
        credited_minor, quoted_minor = -credited_minor, -quoted_minor
    return round_ratio(part_minor * credited_minor, quoted_minor, Rounding.HALF_UP)
