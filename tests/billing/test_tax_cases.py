"""The worked cases of `tax_cases.toml`, one test each."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing.domain.taxes.book import TaxBook
from billing.domain.taxes.decide import TaxableLine, decide_taxes
from billing.domain.taxes.place import Jurisdiction, Place
from billing.domain.taxes.rule import Effect, Exemption, Method, RoundedPer, Rounding, TaxRule
from core.money import minor_digits, parse_amount

_TABLE = tomllib.loads(Path(__file__).with_name("tax_cases.toml").read_text())
_LINE = re.compile(
    r"(?P<price>\S+) (?P<tax_class>\S+) (?P<kind>\S+) (?P<day>\S+)(?P<inclusive> incl)?"
    r"(?: x(?P<quantity>\S+))? at (?P<place>\S+)(?: (?P<postal_code>.+))?"
)


def _ppm(percent: str) -> int:
    return int(Decimal(percent) * 10_000)


def _parts(place: str) -> dict[str, str | None]:
    top, *below = place.split("/")
    country, _, region = top.partition("-")
    county, city = [*below, "", ""][:2]
    return {"country": country, "region": region or None, "county": county or None, "city": city or None}


def _jurisdiction(told: dict[str, Any]) -> Jurisdiction:
    where = _parts(told["place"])
    return Jurisdiction(
        str(where["country"]), where["region"], where["county"], where["city"], told.get("district"),
        tuple(told.get("postal_codes", ())),
    )  # fmt: skip


def _rule(number: int, told: dict[str, Any]) -> TaxRule:
    method = Method(told.get("each", "percent"))
    unit = Decimal(told.get("amount", "0")).scaleb(minor_digits(told.get("currency", "USD")) + 6)
    return TaxRule(
        id=f"rule {number}",
        name=told["name"],
        jurisdiction=_jurisdiction(told),
        valid_from=told["from"],
        valid_until=told.get("until"),
        effect=Effect(told.get("effect", "tax")),
        tax_classes=frozenset(told.get("classes", ())),
        line_kinds=frozenset(told.get("kinds", ())),
        method=method,
        rate_ppm=_ppm(told.get("percent", "0")),
        unit_millionths=int(unit),
        currency=told.get("currency"),
        share_ppm=_ppm(told.get("share", "100")),
        on_top_of=frozenset(told.get("on", ())),
        taxable=told.get("taxable", False),
        rounding=Rounding(told.get("rounding", "half_up")),
        rounded_per=RoundedPer(told.get("per", "invoice")),
    )


_BOOK = TaxBook(_rule(number, told) for number, told in enumerate(_TABLE["rules"]))


def _line(position: int, told: str, currency: str) -> TaxableLine:
    found = _LINE.fullmatch(told)
    assert found, told
    where = _parts(found["place"])
    place = Place(
        str(where["country"]), where["region"], where["county"], where["city"], found["postal_code"]
    )
    return TaxableLine(
        position, parse_amount(found["price"], currency), bool(found["inclusive"]), found["tax_class"],
        found["kind"], date.fromisoformat(found["day"]), place, Decimal(found["quantity"] or "1"),
    )  # fmt: skip


def _exemption(number: int, told: dict[str, Any]) -> Exemption:
    return Exemption(
        f"exemption {number}", "acc_1", f"C-{number}", told["from"], told.get("until"),
        taxes=frozenset(told.get("taxes", ())), authorities=frozenset(told.get("authorities", ())),
        tax_classes=frozenset(told.get("classes", ())), share_ppm=_ppm(told.get("share", "100")),
    )  # fmt: skip


@pytest.mark.parametrize("case", _TABLE["case"], ids=[case["title"] for case in _TABLE["case"]])
def test_a_worked_case(case: dict[str, Any]) -> None:
    currency = case["currency"]
    lines = [_line(number, told, currency) for number, told in enumerate(case["lines"], start=1)]
    exemptions = [_exemption(number, told) for number, told in enumerate(case.get("exempt", ()))]
    decision = decide_taxes(lines, _BOOK, exemptions, currency)

    expected = [tuple(told.rsplit(" ", 1)) for told in case["taxes"]]
    amounts = [(tax.rule.name, tax.amount_minor) for tax in decision.taxes]
    assert amounts == [(name, parse_amount(amount, currency)) for name, amount in expected]
    nets = [parse_amount(net, currency) for net in case["net"]] if "net" in case else [
        line.quoted_minor for line in lines
    ]  # fmt: skip
    assert [line.net_minor for line in decision.lines] == nets
    assert decision.net_minor + decision.added_minor == sum(line.gross_minor for line in decision.lines)


def test_the_table_is_as_long_as_it_claims() -> None:
    assert len(_TABLE["case"]) >= 60
