"""Laws of money."""

from __future__ import annotations

from decimal import Decimal

import pytest
from babel.numbers import get_currency_precision
from hypothesis import given
from hypothesis import strategies as st

from core.currencies import check_currency, currencies, refuse_currency
from core.money import Money, allocate, format_money, minor_digits, parse_amount, round_half_up


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 10**6), min_size=1).filter(any))
def test_allocated_parts_sum_to_the_whole(total: int, weights: list[int]) -> None:
    parts = allocate(total, weights)
    assert sum(parts) == total
    assert all(part == 0 for part, weight in zip(parts, weights, strict=True) if weight == 0)


@given(st.integers(0, 10**9), st.lists(st.integers(1, 10**4), min_size=1))
def test_a_negative_total_mirrors_the_positive(total: int, weights: list[int]) -> None:
    assert allocate(-total, weights) == [-part for part in allocate(total, weights)]


@given(st.decimals(min_value=-(10**6), max_value=10**6, places=4))
def test_rounding_is_symmetric(value: Decimal) -> None:
    assert round_half_up(-value) == -round_half_up(value)
    assert abs(Decimal(round_half_up(value)) - value) <= Decimal("0.5")


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("12.34", "USD", 1234),
        ("12", "USD", 1200),
        ("1500", "JPY", 1500),
        ("1.234", "KWD", 1234),
        ("-3.5", "EUR", -350),
        (" +.5 ", "EUR", 50),
        ("9" * 20 + ".99", "USD", 10**22 - 1),
    ],
)
def test_amounts_are_read_in_the_currency_s_own_digits(text: str, currency: str, minor: int) -> None:
    assert parse_amount(text, currency) == minor
    assert parse_amount(format_money(minor, currency).split()[0], currency) == minor


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("12.345", "USD"),
        ("1.5", "JPY"),
        ("abc", "USD"),
        ("nan", "USD"),
        ("", "USD"),
        ("1e3", "USD"),
        ("1_000", "JPY"),
        ("1e99999999", "USD"),
        (".", "EUR"),
    ],
)
def test_what_is_no_amount_is_refused_in_words(text: str, currency: str) -> None:
    with pytest.raises(ValueError, match="amount|decimals"):
        parse_amount(text, currency)


def test_currencies_do_not_mix() -> None:
    with pytest.raises(ValueError, match="USD"):
        Money(1, "USD") + Money(1, "EUR")


@pytest.mark.parametrize("code", ["USD", "EUR", "JPY", "KWD", "XCG"])
def test_currencies_that_are_money_somewhere_are_taken(code: str) -> None:
    assert check_currency(code) == code


@pytest.mark.parametrize("code", ["XXQ", "usd", "", "DEM", "CLF", "UYW", "XAU", "XXX"])
def test_what_nobody_pays_with_is_refused(code: str) -> None:
    refusal = refuse_currency(code)
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("bad_currency", "currency")


def test_no_currency_in_use_has_more_decimals_than_we_reckon_with() -> None:
    fine = {code for code in currencies() if get_currency_precision(code) > 2}
    assert fine == {"BHD", "JOD", "KWD", "LYD", "OMR", "TND"}  # CLDR writes dinars of Iraq whole
    assert {minor_digits(code) for code in fine} == {3}
