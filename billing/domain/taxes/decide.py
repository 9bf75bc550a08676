"""What taxes an invoice carries, line by line and rule by rule: integers throughout, one rounding each.

A line's price is quoted net or with its taxes. Of a price with taxes every part that is a tax or surcharge is
solved for exactly, also where one rests on another, and rounded by its rule; the net is what remains, so that
net and taxes are the price to the minor unit. A credit of the same lines gives exactly the negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from math import lcm
from typing import Any, Final, NamedTuple

from billing.domain.taxes.book import Tariff, TaxBook
from billing.domain.taxes.place import Place
from billing.domain.taxes.rule import MILLION, Effect, Exemption, Method, RoundedPer, Rounding, TaxRule

RULE = "rules valid on each line's tax day, where its service is"
_CUBED: Final = MILLION**3  # base × rate × share × what is not exempt, each in millionths
_ONE: Final = Decimal(1)
_HALF_UP, _PER_LINE = Rounding.HALF_UP, RoundedPer.LINE  # a member of an Enum takes long to look up


class TaxableLine(NamedTuple):
    """A line with what decides its taxes. ``position`` is its place on the invoice.

    ``quoted_minor`` is net, or with all taxes and surcharges where ``inclusive``. ``quantity`` is what fixed
    amounts count: the units the line adds, 0 for a correction of money alone; a line of no money is a credit
    when its quantity is negative.
    """

    position: int
    quoted_minor: int
    inclusive: bool
    tax_class: str
    kind: str
    tax_date: date
    place: Place
    quantity: Decimal = _ONE


class TaxedLine(NamedTuple):
    """A line with its taxes and surcharges: ``net_minor`` and ``added_minor`` sum to ``gross_minor``."""

    position: int
    net_minor: int
    added_minor: int

    @property
    def gross_minor(self) -> int:
        """What the line costs with everything."""
        return self.net_minor + self.added_minor


class TaxDue(NamedTuple):
    """What one rule asks on one invoice. ``parts`` of ``amount_minor`` fall to the lines at ``positions``.

    ``base_minor`` is the net of these lines with the taxes that the rule rests on, before the taxable share
    and exemptions; ``exempt`` are ``(certificate, position, share in ppm)`` of what was left out in part.
    """

    rule: TaxRule
    base_minor: int
    amount_minor: int
    positions: tuple[int, ...]
    parts: tuple[int, ...]
    units: Decimal | None = None
    exempt: tuple[tuple[str, int, int], ...] = ()

    @property
    def jurisdiction(self) -> str:
        """Under what it is payable."""
        return self.rule.owed_to

    @property
    def description(self) -> str:
        """``Gross receipts tax 7.625 %``."""
        return f"{self.rule.name} {self.rule.rate_in_words()}"

    def explanation(self) -> dict[str, Any]:
        """The tax as data: plain values, always in this order."""
        rule = self.rule
        told: dict[str, Any] = {
            "name": rule.name,
            "jurisdiction": rule.owed_to,
            "effect": rule.effect.value,
            "tax_class": ", ".join(sorted(rule.tax_classes)) or "all",
            "rate_ppm": rule.rate_ppm,
            "rate": rule.rate_in_words(),
            "valid_from": rule.valid_from.isoformat(),
            "base_minor": self.base_minor,
            "lines": list(self.positions),
            "parts": list(self.parts),
            "amount_minor": self.amount_minor,
            "rounding": rule.rounding_in_words(),
            "rule": RULE,
            "tax_rule": rule.id,
        }
        if rule.method is not Method.PERCENT:
            told["method"] = rule.method.value
            told["unit_millionths"] = rule.unit_millionths
            told["units"] = str(self.units)
        if rule.share_ppm != MILLION:
            told["share_ppm"] = rule.share_ppm
        if rule.on_top_of:
            told["on_top_of"] = sorted(rule.on_top_of)
        if self.exempt:
            told["exempt"] = [
                {"certificate": certificate, "line": position, "share_ppm": share}
                for certificate, position, share in self.exempt
            ]
        return told


class TaxRelief(NamedTuple):
    """A line that a certificate took wholly out of a rule."""

    rule: TaxRule
    exemption: Exemption
    position: int


class TaxDecision(NamedTuple):
    """Every line with its net, and every tax and surcharge in the order they rest on each other."""

    lines: tuple[TaxedLine, ...]
    taxes: tuple[TaxDue, ...]
    reliefs: tuple[TaxRelief, ...] = ()

    @property
    def net_minor(self) -> int:
        """The lines without taxes and surcharges."""
        return sum(line.net_minor for line in self.lines)

    @property
    def added_minor(self) -> int:
        """All taxes and surcharges."""
        return sum(tax.amount_minor for tax in self.taxes)

    @property
    def tax_minor(self) -> int:
        """What is held for authorities."""
        return sum(tax.amount_minor for tax in self.taxes if tax.rule.effect is Effect.TAX)

    def by_ledger_account(self) -> dict[str, int]:
        """Amounts by ``tax:<authority or jurisdiction>`` and ``revenue:surcharge:<name>``."""
        owed: dict[str, int] = {}
        for tax in self.taxes:
            account = tax.rule.ledger_account
            owed[account] = owed.get(account, 0) + tax.amount_minor
        return owed


def decide_taxes(
    lines: Sequence[TaxableLine],
    book: TaxBook,
    exemptions: Sequence[Exemption] = (),
    currency: str | None = None,
) -> TaxDecision:
    """Every tax and surcharge of an invoice in ``currency``, of an account with these ``exemptions``.

    Raises ``ValueError`` when a fixed amount is due in another currency than the invoice's.
    """
    tariffs: list[Tariff] = []
    place, taxes_there = None, None
    plain = not exemptions
    for line in lines:
        if line.place is not place or taxes_there is None:
            place = line.place
            taxes_there = book.for_place(place)
        tariff = taxes_there.tariff(line.tax_class, line.kind, line.tax_date)
        tariffs.append(tariff)
        if line.inclusive or not tariff.plain:
            plain = False
    if plain:
        return _plain_taxes(lines, tariffs, book)
    return _Invoice(lines, tariffs, book, exemptions, currency).decide()


def _plain_taxes(lines: Sequence[TaxableLine], tariffs: Sequence[Tariff], book: TaxBook) -> TaxDecision:
    """Net prices, percentages of the whole, nobody exempt: nearly every invoice, and so the quick way."""
    if not lines:
        return TaxDecision((), ())
    positions, quoted, *_ = zip(*lines, strict=True)
    everything, sum_of_all = range(len(lines)), sum(quoted)
    taxed: Iterable[tuple[TaxRule, Sequence[int]]]
    if tariffs.count(tariffs[0]) == len(tariffs):
        taxed = [(rule, everything) for rule in tariffs[0].rules]
    else:
        by_rule: dict[str, tuple[TaxRule, list[int]]] = {}
        for index, tariff in enumerate(tariffs):
            for rule in tariff.rules:
                by_rule.setdefault(rule.id, (rule, []))[1].append(index)
        taxed = [by_rule[rule_id] for rule_id in sorted(by_rule, key=book.rank.__getitem__)]
    added = [0] * len(lines)
    due: list[TaxDue] = []
    for rule, indexes in taxed:
        rate = rule.rate_ppm
        whole = indexes is everything
        amounts = quoted if whole else [quoted[index] for index in indexes]
        base = sum_of_all if whole else sum(amounts)
        parts = _rounded(rule, [amount * rate for amount in amounts], MILLION)
        total = sum(parts)
        if base == 0 and total == 0:
            continue
        for index, part in zip(indexes, parts, strict=True):
            added[index] += part
        at = positions if whole else tuple([positions[index] for index in indexes])
        due.append(TaxDue(rule, base, total, at, tuple(parts)))
    return TaxDecision(tuple(map(TaxedLine, positions, quoted, added)), tuple(due))


class _Invoice:
    """Lines on their way through the rules, in the book's order: what rests on a tax finds it rounded."""

    def __init__(
        self,
        lines: Sequence[TaxableLine],
        tariffs: Sequence[Tariff],
        book: TaxBook,
        exemptions: Sequence[Exemption],
        currency: str | None,
    ) -> None:
        self._lines = lines
        self._currency = currency
        self._signs = [
            -1 if line.quoted_minor < 0 or (line.quoted_minor == 0 and line.quantity < 0) else 1
            for line in lines
        ]
        self._reliefs: list[TaxRelief] = []
        self._exempt: dict[tuple[int, str], tuple[Exemption, int]] = {}
        self._tariffs = [
            self._less_exempt(index, tariff, exemptions) if exemptions else tariff
            for index, tariff in enumerate(tariffs)
        ]
        self._gross_parts = [
            self._parts_of_gross(index) if line.inclusive else None for index, line in enumerate(lines)
        ]
        self._parts: list[dict[str, int]] = [{} for _ in lines]  # by line: rule id to its rounded part
        self._below: dict[str, list[tuple[int, tuple[str, ...]]]] = {}  # by rule: lines, and what it rests on
        self._rules: dict[str, TaxRule] = {}
        for index, tariff in enumerate(self._tariffs):
            for rule, places in zip(tariff.rules, tariff.rests_on, strict=True):
                self._rules[rule.id] = rule
                ids = tuple([tariff.rules[place].id for place in places])
                self._below.setdefault(rule.id, []).append((index, ids))
        self._order = sorted(self._below, key=book.rank.__getitem__)

    def _less_exempt(self, index: int, tariff: Tariff, exemptions: Sequence[Exemption]) -> Tariff:
        """The tariff without what a certificate frees the line from wholly; parts are noted."""
        line = self._lines[index]
        kept: list[int] = []
        for place, rule in enumerate(tariff.rules):
            fitting = [one for one in exemptions if one.frees(rule, line.tax_class, line.tax_date)]
            best = max(fitting, key=lambda one: (one.share_ppm, one.id), default=None)
            if best is not None and best.share_ppm >= MILLION:
                self._reliefs.append(TaxRelief(rule, best, line.position))
                continue
            kept.append(place)
            if best is not None:
                self._exempt[index, rule.id] = (best, best.share_ppm)
        if len(kept) == len(tariff.rules):
            return tariff
        new_place = {old: new for new, old in enumerate(kept)}
        return Tariff(
            tuple(tariff.rules[old] for old in kept),
            tuple(
                tuple(new_place[below] for below in tariff.rests_on[old] if below in new_place)
                for old in kept
            ),
        )

    def _kept_ppm(self, index: int, rule: TaxRule) -> int:
        found = self._exempt.get((index, rule.id))
        return MILLION if found is None else MILLION - found[1]

    def _fixed(self, index: int, rule: TaxRule) -> int:
        """A fixed amount on a line, in millionths of millionths of millionths of the minor unit."""
        if self._currency is not None and rule.currency != self._currency:
            raise ValueError(
                f"{rule.name} of {rule.owed_to} is {rule.rate_in_words()}, but the invoice is in "
                f"{self._currency}: define it in that currency too, or end it"
            )
        quantity = abs(self._lines[index].quantity)
        if rule.method is Method.PER_LINE:
            counted = MILLION if quantity else 0
        else:
            counted = int((quantity * MILLION).to_integral_value())
        return self._signs[index] * rule.unit_millionths * counted * self._kept_ppm(index, rule)

    def _parts_of_gross(self, index: int) -> dict[str, tuple[int, int]]:
        """Of a price with taxes: by rule its exact amount as ``(numerator, denominator)``."""
        tariff, quoted = self._tariffs[index], self._lines[index].quoted_minor
        known = tariff.parts_of_gross if not self._exempt else None
        if known is not None:
            shares, denominator = known
            return {
                rule.id: (quoted * share, denominator)
                for rule, share in zip(tariff.rules, shares, strict=True)
            }
        # each part is fixed + rate × net, so the price is fixed_of_all + (1 + rate_of_all) × net
        parts: list[tuple[Fraction, Fraction]] = []
        for rule, below in zip(tariff.rules, tariff.rests_on, strict=True):
            if rule.method is Method.PERCENT:
                factor = Fraction(rule.rate_ppm * rule.share_ppm * self._kept_ppm(index, rule), _CUBED)
                fixed = sum((parts[place][0] for place in below), Fraction(0))
                rate = sum((parts[place][1] for place in below), Fraction(1))
                parts.append((factor * fixed, factor * rate))
            else:
                parts.append((Fraction(self._fixed(index, rule), _CUBED), Fraction(0)))
        net = (quoted - sum((fixed for fixed, _ in parts), Fraction(0))) / sum(
            (rate for _, rate in parts), Fraction(1)
        )
        exact = [fixed + rate * net for fixed, rate in parts]
        return {
            rule.id: (amount.numerator, amount.denominator)
            for rule, amount in zip(tariff.rules, exact, strict=True)
        }

    def decide(self) -> TaxDecision:
        for rule_id in self._order:
            self._apply(self._rules[rule_id], self._below[rule_id])
        nets = [
            line.quoted_minor - sum(parts.values()) if line.inclusive else line.quoted_minor
            for line, parts in zip(self._lines, self._parts, strict=True)
        ]
        due = [self._due(self._rules[rule_id], self._below[rule_id], nets) for rule_id in self._order]
        return TaxDecision(
            tuple(
                TaxedLine(line.position, net, sum(parts.values()))
                for line, net, parts in zip(self._lines, nets, self._parts, strict=True)
            ),
            tuple(tax for tax in due if any(tax.parts) or (tax.base_minor and tax.units is None)),
            tuple(self._reliefs),
        )

    def _apply(self, rule: TaxRule, taxed: Sequence[tuple[int, tuple[str, ...]]]) -> None:
        exact = [self._exact(rule, index, below) for index, below in taxed]
        denominator = reduce(lcm, {bottom for _, bottom in exact})
        numerators = [top * (denominator // bottom) for top, bottom in exact]
        for (index, _), part in zip(taxed, _rounded(rule, numerators, denominator), strict=True):
            self._parts[index][rule.id] = part

    def _exact(self, rule: TaxRule, index: int, below: tuple[str, ...]) -> tuple[int, int]:
        of_gross = self._gross_parts[index]
        if of_gross is not None:
            return of_gross[rule.id]
        if rule.method is not Method.PERCENT:
            return self._fixed(index, rule), _CUBED
        parts = self._parts[index]
        base = self._lines[index].quoted_minor
        for one in below:
            base += parts[one]
        if rule.share_ppm == MILLION and not self._exempt:
            return base * rule.rate_ppm, MILLION
        return base * rule.rate_ppm * rule.share_ppm * self._kept_ppm(index, rule), _CUBED

    def _due(
        self, rule: TaxRule, taxed: Sequence[tuple[int, tuple[str, ...]]], nets: Sequence[int]
    ) -> TaxDue:
        indexes = [index for index, _ in taxed]
        parts = [self._parts[index][rule.id] for index in indexes]
        base = sum(nets[index] + sum(self._parts[index][one] for one in below) for index, below in taxed)
        exempt = [
            (found[0].certificate, self._lines[index].position, found[1])
            for index in indexes
            if (found := self._exempt.get((index, rule.id))) is not None
        ]
        return TaxDue(
            rule, base, sum(parts), tuple([self._lines[index].position for index in indexes]),
            tuple(parts), self._units(rule, indexes), tuple(exempt),
        )  # fmt: skip

    def _units(self, rule: TaxRule, indexes: Sequence[int]) -> Decimal | None:
        if rule.method is Method.PERCENT:
            return None
        quantities = [self._signs[index] * abs(self._lines[index].quantity) for index in indexes]
        if rule.method is Method.PER_LINE:
            return Decimal(sum((one > 0) - (one < 0) for one in quantities))
        return sum(quantities, Decimal(0))


def _rounded(rule: TaxRule, numerators: Sequence[int], denominator: int) -> list[int]:
    """The part of each line in minor units, by the rule's way of rounding.

    Rounded once an invoice, a line has what the rounded sum up to it grows by: so the parts are the whole,
    a line of nothing has nothing, and credits mirror.
    """
    rounding = rule.rounding
    if rule.rounded_per is _PER_LINE:
        return [round_ratio(top, denominator, rounding) for top in numerators]
    parts: list[int] = []
    exact = before = 0
    for top in numerators:
        exact += top
        now = round_ratio(exact, denominator, rounding)
        parts.append(now - before)
        before = now
    return parts


def round_ratio(numerator: int, denominator: int, rounding: Rounding) -> int:
    """The whole number that stands for a fraction; ``-x`` gives exactly the negative of ``x``."""
    size = abs(numerator)
    if rounding is _HALF_UP:
        whole = (2 * size + denominator) // (2 * denominator)
    else:
        whole, rest = divmod(size, denominator)
        if rounding is Rounding.UP:
            whole += rest > 0
        elif rounding is Rounding.HALF_EVEN:
            whole += 2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1)
    return whole if numerator >= 0 else -whole
