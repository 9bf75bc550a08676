"""Statements as CSV: every bank its own columns, so the mapping is data that is saved for each."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from billing.domain.bank_file_fault import BankFileFault
from billing.domain.bank_statement import MOST_LINES, Statement, StatementLine, clean_text, minor_of
from core.refusal import Refusal

ENCODINGS = ("utf-8", "cp1252", "iso-8859-1", "iso-8859-15", "utf-16")
SIGNS = ("as_is", "inverted", "columns", "indicator")
_LONGEST_CELL = 4_000
_DIRECTIVES = re.compile(r"%[dmYybBj]|[^%]")


@dataclass(frozen=True, slots=True)
class CsvMapping:
    """How one bank writes its file. Columns are told by heading, or by number from 1.

    ``skip_lines`` come before the headings (or the first movement, without ``headings``). ``signs``: as_is;
    inverted (what came in is negative); columns (``credit`` and ``debit`` without sign); indicator (column
    ``indicator`` holds ``debit_word`` for what went out).
    """

    booked: str
    amount: str = ""
    credit: str = ""
    debit: str = ""
    indicator: str = ""
    debit_word: str = "D"
    signs: str = "as_is"
    value: str = ""
    currency: str = ""
    payer_name: str = ""
    payer_account: str = ""
    bank_reference: str = ""
    end_to_end_id: str = ""
    remittance: tuple[str, ...] = ()
    balance: str = ""
    encoding: str = "utf-8"
    delimiter: str = ","
    skip_lines: int = 0
    headings: bool = True
    date_format: str = "%Y-%m-%d"
    decimal_mark: str = "."


def read_mapping(given: Mapping[str, Any]) -> CsvMapping | Refusal:
    """The mapping, or a refusal that names the field."""
    unknown = sorted(set(given) - {one.name for one in fields(CsvMapping)})
    if unknown:
        return Refusal("unknown_field", f"there is no field {unknown[0]}", unknown[0])
    try:
        one = CsvMapping(**{**given, "remittance": tuple(given.get("remittance", ()))})
    except TypeError:
        return Refusal("field_missing", "name the column of the day of booking", "booked")
    faults = (
        (bool(one.booked), "booked", "name the column of the day of booking"),
        (one.encoding in ENCODINGS, "encoding", f"use one of {', '.join(ENCODINGS)}"),
        (len(one.delimiter) == 1 and one.delimiter not in '"\r\n', "delimiter", "it is one character"),
        (one.signs in SIGNS, "signs", f"use one of {', '.join(SIGNS)}"),
        (0 <= one.skip_lines <= 200, "skip_lines", "at most 200 lines are skipped"),
        (one.decimal_mark in {".", ","}, "decimal_mark", "it is a point or a comma"),
        (_is_date_format(one.date_format), "date_format", "write it like %d.%m.%Y, with day, month and year"),
        (bool(one.credit and one.debit) or one.signs != "columns", "credit", "name credit and debit columns"),
        (bool(one.amount) or one.signs == "columns", "amount", "name the column of the amount"),
        (bool(one.indicator) or one.signs != "indicator", "indicator", "name the column of the sign"),
    )
    return next((Refusal(f"bad_{field}", words, field) for good, field, words in faults if not good), one)


def _is_date_format(text: str) -> bool:
    told = "".join(_DIRECTIVES.findall(text))
    parts = set(re.findall(r"%[a-zA-Z]", text))
    return (
        told == text and bool(parts & {"%Y", "%y"}) and (parts >= {"%d"} or "%j" in parts) and len(text) < 30
    )


def mapping_as_json(one: CsvMapping) -> dict[str, Any]:
    """The form it is saved in."""
    return asdict(one) | {"remittance": list(one.remittance)}


def read_bank_csv(content: bytes, mapping: CsvMapping, currency: str) -> Statement:
    """The movements in file order. Raises ``BankFileFault`` naming line and column.

    With a balance column the first and last movement prove that none is missing between them, whichever way
    round the bank lists them.
    """
    rows = list(_rows(_decoded(content, mapping), mapping))
    if not rows:
        raise BankFileFault(0, "file", "there is no movement in the file")
    columns = _columns(rows[0], mapping) if mapping.headings else None
    body = rows[1:] if mapping.headings else rows
    lines, balances = [], []
    for number, cells in body:
        row = _Row(number, cells, columns, mapping)
        if row.is_blank():
            continue
        lines.append(row.movement(currency))
        balances.append(row.amount(mapping.balance, currency) if mapping.balance else None)
    opening, closing = _balances(lines, balances)
    return Statement("", "", currency, tuple(lines), opening, closing)


def _decoded(content: bytes, mapping: CsvMapping) -> str:
    encoding = "utf-8-sig" if mapping.encoding == "utf-8" else mapping.encoding
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as trouble:
        line = content[: trouble.start].count(b"\n") + 1
        raise BankFileFault(line, "encoding", f"this is not {mapping.encoding}; choose another") from None
    if "\0" in text:
        raise BankFileFault(
            text[: text.index("\0")].count("\n") + 1, "encoding", "there is a zero octet in it"
        )
    return text


def _rows(text: str, mapping: CsvMapping) -> Iterator[tuple[int, list[str]]]:
    lines = text.splitlines()[mapping.skip_lines :]
    reader = csv.reader(lines, delimiter=mapping.delimiter, strict=True)
    try:
        for cells in reader:
            number = mapping.skip_lines + reader.line_num
            if number - mapping.skip_lines > MOST_LINES + 1:
                raise BankFileFault(number, "file", f"the file has more than {MOST_LINES} movements")
            if any(len(one) > _LONGEST_CELL for one in cells):
                raise BankFileFault(number, "cell", f"a cell has more than {_LONGEST_CELL} characters")
            yield number, cells
    except csv.Error as trouble:
        raise BankFileFault(mapping.skip_lines + reader.line_num, "row", str(trouble)) from None


def _columns(heading: tuple[int, list[str]], mapping: CsvMapping) -> dict[str, int]:
    number, cells = heading
    columns = {one.strip().casefold(): place for place, one in reversed(list(enumerate(cells)))}
    named = (
        mapping.booked, mapping.amount, mapping.credit, mapping.debit, mapping.indicator, mapping.value,
        mapping.currency, mapping.payer_name, mapping.payer_account, mapping.bank_reference,
        mapping.end_to_end_id, mapping.balance, *mapping.remittance,
    )  # fmt: skip
    for name in named:
        if name and not name.isdigit() and name.strip().casefold() not in columns:
            raise BankFileFault(number, name, "there is no column with this heading")
    return columns


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    cells: Sequence[str]
    columns: dict[str, int] | None
    mapping: CsvMapping

    def is_blank(self) -> bool:
        return not any(one.strip() for one in self.cells)

    def cell(self, name: str) -> str:
        if not name:
            return ""
        place = int(name) - 1 if name.isdigit() else (self.columns or {}).get(name.strip().casefold(), -1)
        if not 0 <= place < len(self.cells):
            raise BankFileFault(
                self.number, name, f"the line has {len(self.cells)} columns, and not this one"
            )
        return self.cells[place].strip()

    def day(self, name: str) -> date:
        told = self.cell(name)
        try:
            return datetime.strptime(told, self.mapping.date_format).date()  # noqa: DTZ007 - a day on paper
        except ValueError:
            message = f"{told[:40]!r} is no date like {self.mapping.date_format}"
            raise BankFileFault(self.number, name, message) from None

    def amount(self, name: str, currency: str) -> int:
        told = self.cell(name)
        bare = re.sub(r"[\s\u00a0\u202f']", "", told).replace("−", "-")
        if bare.endswith("-") and bare[0] not in "+-":  # the sign behind, as some banks write it
            bare = "-" + bare[:-1]
        thousands = "," if self.mapping.decimal_mark == "." else "."
        bare = bare.replace(thousands, "").replace(",", ".")
        if bare.startswith("(") and bare.endswith(")"):
            bare = "-" + bare[1:-1]
        if not re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{1,6})?", bare):
            raise BankFileFault(self.number, name, f"{told[:40]!r} is no amount")
        try:
            return minor_of(Decimal(bare), currency, self.number, name)
        except InvalidOperation:
            raise BankFileFault(self.number, name, f"{told[:40]!r} is no amount") from None

    def _signed(self, currency: str) -> int:
        mapping = self.mapping
        if mapping.signs == "columns":
            credit, debit = self.cell(mapping.credit), self.cell(mapping.debit)
            came = abs(self.amount(mapping.credit, currency)) if credit else 0
            went = abs(self.amount(mapping.debit, currency)) if debit else 0
            if bool(came) == bool(went):
                raise BankFileFault(
                    self.number, mapping.credit, "one of credit and debit must hold an amount"
                )
            return came - went
        amount = self.amount(mapping.amount, currency)
        if mapping.signs == "indicator":
            word = self.cell(mapping.indicator).casefold()
            return -abs(amount) if word == mapping.debit_word.casefold() else abs(amount)
        return -amount if mapping.signs == "inverted" else amount

    def movement(self, currency: str) -> StatementLine:
        mapping = self.mapping
        amount = self._signed(currency)
        if amount == 0:
            raise BankFileFault(self.number, mapping.amount or mapping.credit, "a movement of nothing")
        texts = [self.cell(name) for name in mapping.remittance]
        currency = (self.cell(mapping.currency) or currency).upper()[:10]
        value_on = self.day(mapping.value) if self.cell(mapping.value) else None
        return StatementLine(
            self.number, self.day(mapping.booked), value_on, amount, currency, False,
            clean_text(self.cell(mapping.bank_reference), 140),
            clean_text(self.cell(mapping.end_to_end_id), 140),
            clean_text(" ".join(one for one in texts if one)),
            clean_text(self.cell(mapping.payer_name), 140), clean_text(self.cell(mapping.payer_account), 40),
        )  # fmt: skip


def _balances(
    lines: Sequence[StatementLine], balances: Sequence[int | None]
) -> tuple[int | None, int | None]:
    """Opening and closing balance out of the balance after each movement, in either order of listing."""
    if not lines or balances[0] is None or balances[-1] is None:
        return None, None
    total = sum(one.amount_minor for one in lines)
    rising = balances[0] - lines[0].amount_minor
    if rising + total == balances[-1]:
        return rising, balances[-1]
    falling = balances[-1] - lines[-1].amount_minor
    if falling + total == balances[0]:
        return falling, balances[0]
    return rising, balances[-1]
