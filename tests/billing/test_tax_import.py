"""Bought tables of rates: every fault by line and field, all or nothing, twice the same."""

from __future__ import annotations

import pytest
from billing_story import Town

from billing.store import tax_rows
from billing.taxes.import_rules import RuleImport, import_tax_rules

TABLE = """name,country,state,county,city,postal code,class,rate,from,until
State tax,US,NM,,,,internet,5.125,2020-01-01,
State tax,US,NM,,,,internet,4.875,2023-07-01,
County tax,US,NM,Hill,,,internet,1.25,2020-01-01,2030-01-01
City tax,US,NM,Hill,Mesa,87999;8790*,internet,0.875,2020-01-01,
,US,NM,,,87123,internet,0.5,2020-01-01,
"""


async def _import(town: Town, text: str) -> RuleImport:
    async with town.workplace.work("operator:test") as work:
        return await import_tax_rules(work, text, "Local tax")


async def _rows(town: Town) -> list[tuple[str, str, str, str | None, int]]:
    async with town.workplace.reading() as connection:
        return sorted(
            (
                one.name,
                one.owed_to,
                str(one.valid_from),
                one.valid_until and str(one.valid_until),
                one.rate_ppm,
            )
            for one in await tax_rows.tax_rules(connection)
        )


async def test_a_table_is_imported_and_twice_changes_nothing(town: Town) -> None:
    first = await _import(town, TABLE)
    assert (first.created, first.unchanged, first.faults) == (5, 0, [])
    rows = await _rows(town)
    assert rows == [
        ("City tax", "US-NM/Hill/Mesa", "2020-01-01", None, 8_750),
        ("County tax", "US-NM/Hill", "2020-01-01", "2030-01-01", 12_500),
        ("Local tax", "US-NM/87123", "2020-01-01", None, 5_000),
        ("State tax", "US-NM", "2020-01-01", "2023-07-01", 51_250),
        ("State tax", "US-NM", "2023-07-01", None, 48_750),
    ]
    again = await _import(town, TABLE)
    assert (again.created, again.unchanged, again.faults) == (0, 5, [])
    assert await _rows(town) == rows


async def test_a_newer_table_ends_what_stood_and_the_older_one_again_changes_nothing(town: Town) -> None:
    await _import(town, TABLE)
    newer = "name,country,state,class,rate,from\nState tax,US,NM,internet,4.75,2026-07-01\n"
    assert (await _import(town, newer)).created == 1
    rows = await _rows(town)
    assert ("State tax", "US-NM", "2023-07-01", "2026-07-01", 48_750) in rows
    for text in (TABLE, newer, TABLE):
        assert (await _import(town, text)).created == 0
    assert await _rows(town) == rows


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("", 1, "line"), ("name,country,rate\n", 1, "line"), ("name;country;rate\nA;US;5\n", 1, "line"),
        ("name,country,rate,colour\nA,US,5,red\n", 1, "colour"), ("name,rate\nA,5\n", 1, "country"),
        ("name,country,rate,percent\nA,US,5,5\n", 1, "line"), ("name,country,rate\nA,US,5,6\n", 2, "line"),
        ("name,country,rate\n\nA,US,five\n", 3, "percent"), ("name,country,rate\nA,USA,5\n", 2, "country"),
        ("country,rate,from\nUS,5,2020-01-01\nUS,6,2020-01-01\n", 3, "valid_from"),
        ("country,rate,from,until\nUS,5,2020-01-01,2021-01-01\nUS,6,2020-06-01,\n", 3, "valid_from"),
        ("name,country,rate,on_top_of\nA,US,5,B\nB,US,5,A\n", 1, "on_top_of"),
        ('name,country,rate\n"A,US,5\n', 1, "line"),
    ],
)  # fmt: skip
async def test_a_file_with_a_fault_changes_nothing_and_names_line_and_field(
    town: Town, text: str, line: int, field: str
) -> None:
    report = await _import(town, text)
    assert [(fault.line, fault.field) for fault in report.faults][:1] == [(line, field)], report
    assert report.created == 0
    assert await _rows(town) == []


async def test_another_rate_for_a_day_that_has_one_is_a_fault_of_its_line(town: Town) -> None:
    await _import(town, TABLE)
    before = await _rows(town)
    report = await _import(town, TABLE.replace("5.125", "5.25").replace("4.875", "4.9"))
    assert [(fault.line, fault.field) for fault in report.faults] == [(2, "valid_from"), (3, "valid_from")]
    assert await _rows(town) == before
