"""Tables of rates, as they are bought: CSV, one rule a line; all lines or none, twice changes nothing."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from billing.domain.taxes.rule import TaxRule
from billing.store import tax_rows
from billing.taxes.define_rule import RuleChange
from billing.taxes.read_rule import FIELDS, read_rule
from core.refusal import Refusal
from core.work import Work

MAX_LINES = 50_000
_CALLED = {  # how others head the column: the field
    "postal_code": "postal_codes", "zip": "postal_codes", "class": "classes", "tax_class": "classes",
    "kind": "kinds", "rate": "percent", "from": "valid_from", "until": "valid_until", "state": "region",
}  # fmt: skip
_FAULTS_SHOWN = 500


@dataclass(frozen=True, slots=True)
class RuleFault:
    """One thing wrong with one line of the file (line 1 is the header)."""

    line: int
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class RuleImport:
    """What an import did: with any fault nothing was kept. ``unchanged`` lines stood so already."""

    created: int = 0
    unchanged: int = 0
    faults: list[RuleFault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Told:
    line: int
    rule: TaxRule


async def import_tax_rules(work: Work, text: str, name: str = "") -> RuleImport:
    """Define every rule of the CSV ``text``; ``name`` is for lines that have none of their own.

    Columns are the fields of ``read_rule``; ``rate``, ``class``, ``postal_code``, ``from`` and ``until`` are
    understood too. Of two lines with the same name, place and classes the later ends the one before.
    """
    told, faults = _read(text, name)
    if faults:
        return RuleImport(faults=faults[:_FAULTS_SHOWN])
    told, faults = _days_settled(told)
    await tax_rows.take_lane_of_rules(work.connection)
    countries = {one.rule.jurisdiction.country for one in told}
    standing = await tax_rows.tax_rules(work.connection, countries=countries)
    change = RuleChange(standing, work.ids, work.now)
    created = 0
    for one in told:
        if _stands(one.rule, change.same(one.rule)):
            continue
        refusal = change.add(one.rule)
        if refusal is not None:
            faults.append(RuleFault(one.line, refusal.field or "line", refusal.message))
        created += 1
    circle = None if faults else change.refuse_circles()
    if circle is not None:
        faults.append(RuleFault(1, circle.field or "line", circle.message))
    if faults:
        return RuleImport(faults=sorted(faults, key=lambda fault: fault.line)[:_FAULTS_SHOWN])
    if created:
        await change.write(work)
        await work.audit("billing.tax_rules_imported", "import", created=created, rows=change.added)
    return RuleImport(created, len(told) - created)


def _read(text: str, name: str) -> tuple[list[_Told], list[RuleFault]]:
    try:
        lines = list(_lines(text))
    except csv.Error as trouble:
        return [], [RuleFault(1, "line", f"this is not CSV: {trouble}")]
    if len(lines) < 2:
        return [], [RuleFault(1, "line", "the file needs a header and at least one line below it")]
    if len(lines) > MAX_LINES + 1:
        return [], [RuleFault(lines[-1][0], "line", f"more than {MAX_LINES} lines; split the file")]
    header = [_field(column) for column in lines[0][1]]
    faults = list(_header_faults(header, lines[0][1]))
    if faults:
        return [], faults
    told: list[_Told] = []
    for line, cells in lines[1:]:
        if len(cells) > len(header):
            faults.append(
                RuleFault(line, "line", "more cells than the header has columns; quote cells with commas")
            )
            continue
        row = dict(zip(header, cells, strict=False))
        rule = read_rule({**row, "name": row.get("name", "").strip() or name})
        if isinstance(rule, Refusal):
            faults.append(RuleFault(line, rule.field or "line", rule.message))
        else:
            told.append(_Told(line, rule))
    return told, faults


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each line that is not empty, with its number."""
    reader = csv.reader(io.StringIO(text.lstrip("\ufeff"), newline=""), strict=True)
    begins = 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield begins, cells
        begins = reader.line_num + 1


def _field(column: str) -> str:
    column = column.strip().lower().replace(" ", "_")
    return _CALLED.get(column, column)


def _header_faults(header: Sequence[str], typed: Sequence[str]) -> Iterator[RuleFault]:
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        yield RuleFault(1, "line", "the columns are not separated by commas; save the file with commas")
        return
    for column, word in zip(header, typed, strict=True):
        if column not in FIELDS:
            yield RuleFault(1, word.strip() or "(empty)", f"unknown column; known: {', '.join(FIELDS)}")
    if len(set(header)) != len(header):
        yield RuleFault(1, "line", "a column stands twice")
    if "country" not in header:
        yield RuleFault(1, "country", "this column is required")


def _days_settled(told: Sequence[_Told]) -> tuple[list[_Told], list[RuleFault]]:
    """An open line ends where the next one of the same name, place and classes begins."""
    by_scope: dict[str, list[_Told]] = defaultdict(list)
    for one in told:
        by_scope[tax_rows.scope_of(one.rule)].append(one)
    settled: list[_Told] = []
    faults: list[RuleFault] = []
    for group in by_scope.values():
        group.sort(key=lambda one: (one.rule.valid_from, one.line))
        for one, after in pairwise(group):
            begins, ends = after.rule.valid_from, one.rule.valid_until
            if begins == one.rule.valid_from or (ends is not None and ends > begins):
                message = f"line {one.line} says something for {begins} already; leave one of them out"
                faults.append(RuleFault(after.line, "valid_from", message))
            settled.append(replace(one, rule=replace(one.rule, valid_until=ends or begins)))
        settled.append(group[-1])
    return settled, faults


def _stands(rule: TaxRule, same: Sequence[TaxRule]) -> bool:
    """Whether the rule is on record as it is; an open one may have been ended since by the one after it."""
    for one in same:
        if _terms(one) != _terms(rule):
            continue
        if one.valid_until == rule.valid_until:
            return True
        if rule.valid_until is None and any(after.valid_from == one.valid_until for after in same):
            return True
    return False


def _terms(rule: TaxRule) -> TaxRule:
    """All but what the record adds."""
    return replace(rule, id="", valid_until=None, recorded_at=rule.recorded_at.min, withdrawn_at=None)
