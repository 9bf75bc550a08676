"""Laws of taxes: what holds for any rules, any lines, any certificates."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.domain.taxes.book import TaxBook
from billing.domain.taxes.decide import TaxableLine, TaxDecision, decide_taxes, round_ratio
from billing.domain.taxes.place import Jurisdiction, Level, Place
from billing.domain.taxes.rule import Effect, Exemption, Method, RoundedPer, Rounding, TaxRule
from billing.taxes.read_rule import read_rule, rule_texts

DAY = date(2026, 5, 1)
HILL = Place("US", "NM", "Hill", "Mesa", "87999")
NAMES = ("Alpha", "Beta", "Gamma", "Delta")  # each may rest on those before it
SURCHARGES = ("Alpha", "Gamma")
WHERE = (
    Jurisdiction("US"),
    Jurisdiction("US", "NM"),
    Jurisdiction("US", "NM", "Hill"),
    Jurisdiction("US", "NM", district="Arroyo", postal_codes=("8799*",)),
    Jurisdiction("US", "TX"),
)
CLASSES = ("internet", "voice")


@st.composite
def some_rules(draw: st.DrawFn) -> list[TaxRule]:
    rules = []
    for number in range(draw(st.integers(0, 5))):
        name = draw(st.sampled_from(NAMES))
        method = draw(st.sampled_from((Method.PERCENT, Method.PERCENT, *Method)))
        rules.append(TaxRule(
            id=f"r{number}", name=name, jurisdiction=draw(st.sampled_from(WHERE)), valid_from=date(2026, 1, 1),
            effect=Effect.SURCHARGE if name in SURCHARGES else Effect.TAX,
            tax_classes=draw(st.sampled_from((frozenset(), frozenset({"voice"})))),
            method=method, rate_ppm=draw(st.integers(0, 400_000)),
            unit_millionths=draw(st.integers(0, 200_000_000)), currency="USD",
            share_ppm=draw(st.sampled_from((1_000_000, 649_000))),
            on_top_of=frozenset(draw(st.sets(st.sampled_from(NAMES[: NAMES.index(name)]))) if name != "Alpha" else ()),
            taxable=draw(st.booleans()), rounding=draw(st.sampled_from(list(Rounding))),
            rounded_per=draw(st.sampled_from(list(RoundedPer))),
        ))  # fmt: skip
    return rules


some_lines = st.lists(
    st.builds(
        TaxableLine, st.just(0), st.integers(-(10**7), 10**7), st.booleans(), st.sampled_from(CLASSES),
        st.sampled_from(("recurring", "usage")), st.sampled_from((DAY, date(2025, 1, 1))),
        st.sampled_from((HILL, Place("US", "TX"), Place("US"), Place("CA"))),
        st.decimals(-5, 50, places=2),
    ),
    max_size=5,
).map(lambda lines: [line._replace(position=number) for number, line in enumerate(lines, start=1)])  # fmt: skip

some_exemptions = st.lists(
    st.builds(
        Exemption, st.uuids().map(str), st.just("acc"), st.just("C-1"), st.just(date(2026, 1, 1)),
        taxes=st.frozensets(st.sampled_from(NAMES), max_size=2),
        authorities=st.sampled_from((frozenset(), frozenset({"US-NM"}))),
        share_ppm=st.sampled_from((1_000_000, 500_000, 333_333)),
    ),
    max_size=2,
)  # fmt: skip


def _decide(
    lines: list[TaxableLine], rules: list[TaxRule], exemptions: list[Exemption] | None = None
) -> TaxDecision:
    return decide_taxes(lines, TaxBook(rules), exemptions or [], "USD")


@given(some_lines, some_rules(), some_exemptions)
def test_net_and_taxes_are_the_gross_and_a_price_with_taxes_is_kept(
    lines: list[TaxableLine], rules: list[TaxRule], exemptions: list[Exemption]
) -> None:
    decision = _decide(lines, rules, exemptions)
    for line, taxed in zip(lines, decision.lines, strict=True):
        assert taxed.position == line.position
        assert line.quoted_minor == (taxed.gross_minor if line.inclusive else taxed.net_minor)
        parts = [
            part
            for tax in decision.taxes
            for position, part in zip(tax.positions, tax.parts, strict=True)
            if position == line.position
        ]
        assert sum(parts) == taxed.added_minor
    for tax in decision.taxes:
        assert sum(tax.parts) == tax.amount_minor
    assert decision.net_minor + decision.added_minor == sum(line.gross_minor for line in decision.lines)
    assert sum(decision.by_ledger_account().values()) == decision.added_minor


@given(some_lines, some_rules(), some_exemptions)
def test_a_credit_of_the_same_lines_is_the_exact_negative(
    lines: list[TaxableLine], rules: list[TaxRule], exemptions: list[Exemption]
) -> None:
    charge = _decide(lines, rules, exemptions)
    credit = _decide(
        [line._replace(quoted_minor=-line.quoted_minor, quantity=-line.quantity) for line in lines],
        rules, exemptions,
    )  # fmt: skip
    assert [line.net_minor for line in credit.lines] == [-line.net_minor for line in charge.lines]
    assert [(tax.rule.id, tax.base_minor, tax.parts) for tax in credit.taxes] == [
        (tax.rule.id, -tax.base_minor, tuple(-part for part in tax.parts)) for tax in charge.taxes
    ]


@given(some_lines, some_rules(), some_exemptions, st.randoms(use_true_random=False))
def test_the_order_of_rules_and_certificates_does_not_matter(
    lines: list[TaxableLine], rules: list[TaxRule], exemptions: list[Exemption], random: object
) -> None:
    shuffled, certificates = list(rules), list(exemptions)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    random.shuffle(certificates)  # type: ignore[attr-defined]
    assert _decide(lines, shuffled, certificates) == _decide(lines, rules, exemptions)


@given(some_lines, some_rules(), some_exemptions, st.integers(0, 5))
def test_splitting_an_invoice_changes_nothing_where_each_line_is_rounded(
    lines: list[TaxableLine], rules: list[TaxRule], exemptions: list[Exemption], cut: int
) -> None:
    by_line = [replace(rule, rounded_per=RoundedPer.LINE) for rule in rules]
    whole = _decide(lines, by_line, exemptions)
    halves = [_decide(some, by_line, exemptions) for some in (lines[:cut], lines[cut:])]
    assert whole.lines == halves[0].lines + halves[1].lines
    assert whole.added_minor == halves[0].added_minor + halves[1].added_minor


@given(some_lines, some_rules(), some_exemptions)
def test_no_tax_is_further_from_its_exact_amount_than_its_rounding_allows(
    lines: list[TaxableLine], rules: list[TaxRule], exemptions: list[Exemption]
) -> None:
    """Independent of the code's integers: fractions, for net prices."""
    net = [line._replace(inclusive=False) for line in lines]
    decision = _decide(net, rules, exemptions)
    for tax in decision.taxes:
        rule = tax.rule
        if rule.method is not Method.PERCENT or tax.exempt:
            continue
        exact = Fraction(tax.base_minor * rule.rate_ppm * rule.share_ppm, 10**12)
        bound = len(tax.parts) if rule.rounded_per is RoundedPer.LINE else 1
        if rule.rounding in {Rounding.HALF_UP, Rounding.HALF_EVEN}:
            assert abs(exact - tax.amount_minor) <= Fraction(bound, 2)
        else:
            assert abs(exact - tax.amount_minor) < bound


@given(some_lines, some_rules(), some_exemptions)
def test_a_tax_explains_itself_in_plain_data(
    lines: list[TaxableLine], rules: list[TaxRule], exemptions: list[Exemption]
) -> None:
    for tax in _decide(lines, rules, exemptions).taxes:
        told = tax.explanation()
        assert json.loads(json.dumps(told)) == told
        assert sum(told["parts"]) == told["amount_minor"] == tax.amount_minor
        assert len(told["parts"]) == len(told["lines"])


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**9), st.sampled_from(list(Rounding)))
def test_rounding_mirrors_and_stays_near(top: int, bottom: int, rounding: Rounding) -> None:
    whole = round_ratio(top, bottom, rounding)
    assert round_ratio(-top, bottom, rounding) == -whole
    gap = Fraction(top, bottom) - whole
    match rounding:
        case Rounding.DOWN:
            assert abs(whole) <= abs(Fraction(top, bottom)) < abs(whole) + 1
        case Rounding.UP:
            assert abs(whole) - 1 < abs(Fraction(top, bottom)) <= abs(whole)
        case Rounding.HALF_UP:
            assert abs(gap) < Fraction(1, 2) or abs(whole) > abs(Fraction(top, bottom))
        case Rounding.HALF_EVEN:
            assert abs(gap) < Fraction(1, 2) or whole % 2 == 0


@given(some_rules(), st.sampled_from((None, "JPY", "KWD")))
def test_a_rule_is_read_back_from_the_texts_it_is_written_in(
    rules: list[TaxRule], currency: str | None
) -> None:
    for rule in rules:
        fixed = rule.method is not Method.PERCENT
        sound = replace(
            rule, id="", unit_millionths=rule.unit_millionths + 1 if fixed else 0,
            currency=(currency or "USD") if fixed else None, rate_ppm=0 if fixed else rule.rate_ppm,
            share_ppm=1_000_000 if fixed else rule.share_ppm, line_kinds=frozenset({"recurring"}),
            on_top_of=frozenset() if fixed else rule.on_top_of,
            taxable=rule.taxable and rule.effect is Effect.SURCHARGE,
        )  # fmt: skip
        assert read_rule(rule_texts(sound)) == sound


def _rule(name: str, *, on: tuple[str, ...] = (), **terms: object) -> TaxRule:
    return TaxRule(
        name, name, Jurisdiction("US"), date(2026, 1, 1), on_top_of=frozenset(on), rate_ppm=50_000, **terms
    )  # type: ignore[arg-type]


def test_taxes_that_rest_on_each_other_are_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match="taxes rest on each other: A on B on C on A|B on C on A|C on A on B"
    ):
        TaxBook([_rule("A", on=("B",)), _rule("B", on=("C",)), _rule("C", on=("A",))])
    with pytest.raises(ValueError, match="taxes rest on each other: A on A"):
        TaxBook([_rule("A", on=("A",))])


def test_a_name_is_a_tax_or_a_surcharge_in_a_country_never_both() -> None:
    with pytest.raises(ValueError, match="A is a tax and a surcharge in US"):
        TaxBook([_rule("A"), replace(_rule("A", effect=Effect.SURCHARGE), id="other")])


def test_a_surcharge_on_top_of_a_tax_is_not_in_the_base_of_that_tax() -> None:
    rules = [_rule("Tax"), _rule("Fee", on=("Tax",), effect=Effect.SURCHARGE, taxable=True)]
    line = TaxableLine(1, 10_000, False, "internet", "recurring", DAY, Place("US"))
    assert [(tax.rule.name, tax.amount_minor) for tax in _decide([line], rules).taxes] == [
        ("Tax", 500),
        ("Fee", 525),
    ]


def test_a_fixed_amount_in_another_currency_stops_the_invoice_with_the_reason() -> None:
    fee = _rule("Fee", method=Method.PER_LINE, unit_millionths=1_510_000_00, currency="CAD")
    line = TaxableLine(1, 10_000, False, "internet", "recurring", DAY, Place("US"), Decimal(1))
    with pytest.raises(ValueError, match="Fee of US is 1.51 CAD a line, but the invoice is in USD"):
        _decide([line], [fee])


def test_a_jurisdiction_knows_its_level_and_name() -> None:
    assert [one.level for one in WHERE] == [
        Level.COUNTRY,
        Level.REGION,
        Level.COUNTY,
        Level.DISTRICT,
        Level.REGION,
    ]
    assert Jurisdiction("US", "NM", "Hill", "Mesa").code == "US-NM/Hill/Mesa"
    assert WHERE[3].code == "US-NM/Arroyo"


@pytest.mark.parametrize(
    ("codes", "postal_code", "reached"),
    [
        (("87999",), "87999", True), (("87999",), "87999-1234", True), (("87999-1234",), "87999", False),
        (("8799*",), "87991", True), (("8799*",), "87981", False), (("87901..87999",), "87950-0001", True),
        (("87901..87999",), "88000", False), (("87999",), None, False), (("K1A 0B1",), "k1a0b1", True),
    ],
)  # fmt: skip
def test_postal_codes_fit_whole_by_beginning_or_by_span(
    codes: tuple[str, ...], postal_code: str | None, reached: bool
) -> None:
    book = TaxBook([TaxRule("r", "R", Jurisdiction("US", "NM", district="D", postal_codes=codes), DAY)])
    tariff = book.for_place(Place("US", "NM", postal_code=postal_code)).tariff("internet", "recurring", DAY)
    assert bool(tariff.rules) is reached


def test_a_county_that_an_address_does_not_tell_follows_from_its_postal_code_alone() -> None:
    by_name = TaxRule("n", "By name", Jurisdiction("US", "NM", "Hill"), DAY)
    by_code = TaxRule("c", "By code", Jurisdiction("US", "NM", "Hill", postal_codes=("87999",)), DAY)
    book = TaxBook([by_name, by_code])

    def reaching(place: Place) -> set[str]:
        return {rule.id for rule in book.for_place(place).tariff("internet", "recurring", DAY).rules}

    assert reaching(Place("US", "NM", postal_code="87999")) == {"c"}
    assert reaching(Place("US", "NM", "Hill", postal_code="87999")) == {"c", "n"}
    assert reaching(Place("US", "NM", "Dale", postal_code="87999")) == set()


@given(
    st.lists(st.sampled_from(WHERE), max_size=6),
    st.sampled_from((HILL, Place("US", "NM"), Place("US", "TX", "Hill"), Place("us", "nm", "HILL "))),
)
def test_the_index_finds_what_looking_at_every_rule_finds(where: list[Jurisdiction], place: Place) -> None:
    rules = [TaxRule(f"r{number}", "Tax", one, DAY) for number, one in enumerate(where)]
    found = TaxBook(rules).for_place(place).tariff("internet", "recurring", DAY).rules
    assert {rule.id for rule in found} == {
        rule.id for rule in rules if rule.jurisdiction.covers(place.folded())
    }
