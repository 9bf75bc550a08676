"""`docs/proof-of-billing.md` counts the dated cases rightly, and there are enough of them."""

from __future__ import annotations

import re
from pathlib import Path

import test_billing_dated
import test_billing_dunning_cases
import test_rating_cases
import test_tax_cases

DOCUMENT = Path(__file__).parents[2] / "docs" / "proof-of-billing.md"
TABLES = {
    "test_billing_dated.BORDERS": test_billing_dated.BORDERS,
    "test_billing_dated.MONTH_ENDS": test_billing_dated.MONTH_ENDS,
    "test_billing_dated.CHANGES": test_billing_dated.CHANGES,
    "test_billing_dated.TAXES": test_billing_dated.TAXES,
    "test_billing_dated.MONEY": test_billing_dated.MONEY,
    "test_billing_dated.CREDITS": test_billing_dated.CREDITS,
    "test_tax_cases": test_tax_cases._TABLE["case"],
    "test_rating_cases.CASES": test_rating_cases.CASES,
    "test_billing_dunning_cases.CASES": test_billing_dunning_cases.CASES,
    "test_billing_dunning_cases.HOURS": test_billing_dunning_cases.HOURS,
    "test_billing_dunning_cases.FEES": test_billing_dunning_cases.FEES,
}


def test_the_document_counts_the_dated_cases() -> None:
    told = re.findall(r"^\| `(\S+)`[^|]*\| (\d+) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert {name: int(count) for name, count in told} == {name: len(table) for name, table in TABLES.items()}
    assert sum(len(table) for table in TABLES.values()) >= 120


def test_every_test_that_the_document_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)", DOCUMENT.read_text()))
    assert len(named) > 10
    assert [one for one in sorted(named) if not Path(__file__).with_name(f"{one}.py").exists()] == []
