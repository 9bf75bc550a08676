"""Octets of a bank to statements: MT940, camt.053 or CSV, told apart by what they begin with."""

from __future__ import annotations

import logging
import re
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from billing.domain.bank_csv import CsvMapping, read_bank_csv
from billing.domain.bank_file_fault import BankFileFault
from billing.domain.bank_statement import Statement, StatementLine, clean_text, minor_of
from billing.domain.camt053 import read_camt053

LARGEST_FILE = 20 * 2**20
_DEEPEST = 60
_MOST_ELEMENTS = 2_000_000


def read_statements(content: bytes, mapping: CsvMapping | None, currency: str) -> tuple[str, list[Statement]]:
    """``(format, statements)``. Raises ``BankFileFault`` naming line and field of what is no good."""
    if len(content) > LARGEST_FILE:
        raise BankFileFault(0, "file", f"the file is over {LARGEST_FILE // 2**20} MiB")
    if not content.strip():
        raise BankFileFault(0, "file", "the file is empty")
    start = content[:4000].lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0")
    if start.startswith((b"<?xml", b"<Document", b"<")):
        return "camt053", _camt053(content)
    if re.search(rb"(?m)^\s*:20:", content[:4000]) or start.startswith(b"{1:"):
        return "mt940", _mt940(content)
    if mapping is None:
        message = "this is neither MT940 nor camt.053; for a CSV file define the bank's columns first"
        raise BankFileFault(1, "format", message)
    return "csv", [read_bank_csv(content, mapping, currency)]


class _Lines(TreeBuilder):
    """Remembers the line of each element, and refuses trees that are no statement's."""

    def __init__(self) -> None:
        super().__init__()
        self.parser: Any = None
        self.lines: dict[int, int] = {}
        self.kept: list[Element] = []  # an id is an element's own only while the element lives
        self._depth = 0

    def start(self, tag: Any, attrs: Any, /) -> Element:
        self._depth += 1
        if self._depth > _DEEPEST or len(self.kept) >= _MOST_ELEMENTS:
            raise BankFileFault(self.parser.CurrentLineNumber, "Document", "this is built like no statement")
        element = super().start(tag, attrs)
        self.kept.append(element)
        self.lines[id(element)] = self.parser.CurrentLineNumber
        return element

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def _camt053(content: bytes) -> list[Statement]:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    builder = _Lines()
    parser = DefusedXMLParser(target=builder, forbid_dtd=True)
    builder.parser = parser.parser
    try:
        parser.feed(content)
        root = parser.close()
    except DefusedXmlException:
        raise BankFileFault(1, "DOCTYPE", "a statement declares no entities; the file is not taken") from None
    except (ParseError, LookupError, ValueError) as trouble:
        if isinstance(trouble, BankFileFault):
            raise
        line = max(1, getattr(trouble, "position", (1, 0))[0])
        raise BankFileFault(
            line, "XML", "the file is damaged or not XML; ask the bank for it again"
        ) from None
    return read_camt053(root, builder.lines)


def _mt940(content: bytes) -> list[Statement]:
    import mt940

    text = _decoded(content).replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"(?m)^\{1:.*?\{4:", "", text)  # the envelope of SWIFT; lines keep their numbers
    text = re.sub(r"(?m)^-\}?[ \t]*$", "", text)
    places = [match.start() for match in re.finditer(r"(?m)^:61:", text)]
    numbers = iter([text.count("\n", 0, place) + 1 for place in places])
    logging.getLogger("mt940").setLevel(logging.CRITICAL)  # it would log what customers wrote
    statements = []
    starts = [match.start() for match in re.finditer(r"(?m)^:20:", text)]
    for start, end in pairwise([*starts, len(text)]):
        block, first_line = text[start:end], text.count("\n", 0, start) + 1
        try:
            [parsed] = mt940.parse_statements(block, options=mt940.Options.all())
            statements.append(_statement(parsed, numbers, first_line))
        except BankFileFault:
            raise
        except Exception as trouble:  # noqa: BLE001 - the library raises whatever it stumbles over
            raise _fault_of(trouble, block, first_line) from None
    if not statements:
        raise BankFileFault(1, ":20:", "there is no statement in the file")
    return statements


def _decoded(content: bytes) -> str:
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return text
    raise BankFileFault(1, "encoding", "the file is neither UTF-8 nor Western European text")


def _fault_of(trouble: Exception, block: str, first_line: int) -> BankFileFault:
    """The library tells the text of the tag that it cannot read: its line is where that stands."""
    told = trouble.args[2] if len(trouble.args) > 2 and isinstance(trouble.args[2], str) else ""
    head = told.split("\n", maxsplit=1)[0]
    place = block.find(head) if head else -1
    line = first_line + (block.count("\n", 0, place) if place > 0 else 0)
    tags = re.findall(r"(?m)^:([0-9]{2}[A-Z]?):", block[: max(place, 0) + 5])
    return BankFileFault(line, f":{tags[-1]}:" if tags else ":61:", "this is not written as MT940 asks")


def _statement(parsed: Any, numbers: Any, first_line: int) -> Statement:
    data = parsed.data
    opening = data.get("final_opening_balance") or data.get("intermediate_opening_balance")
    closing = data.get("final_closing_balance") or data.get("intermediate_closing_balance")
    currency = str(parsed.currency or "")
    if opening is None or closing is None or not currency:
        raise BankFileFault(first_line, ":60F:", "the opening or closing balance is missing")
    lines = tuple(_line(one.data, next(numbers), currency) for one in parsed.transactions)
    number = data.get("statement_number") or ""
    return Statement(
        clean_text(str(data.get("account_identification") or ""), 60),
        clean_text(f"{data.get('transaction_reference') or ''} {number}", 60), currency, lines,
        minor_of(opening.amount.amount, currency, first_line, ":60F:"),
        minor_of(closing.amount.amount, currency, first_line, ":62F:"),
        date.fromisoformat(opening.date.isoformat()), date.fromisoformat(closing.date.isoformat()),
    )  # fmt: skip


def _line(data: dict[str, Any], number: int, currency: str) -> StatementLine:
    amount: Decimal = data["amount"].amount
    value_on = date.fromisoformat(data["date"].isoformat())
    entry = data.get("entry_date") or data.get("guessed_entry_date")
    booked_on = value_on if entry is None else date.fromisoformat(entry.isoformat())
    texts = [
        data.get(name) for name in ("purpose", "additional_purpose", "transaction_details", "extra_details")
    ]
    references = [str(data.get(name) or "").strip() for name in ("customer_reference", "bank_reference")]
    named = [one for one in references if one not in {"", "NONREF"}]
    minor = minor_of(amount, currency, number, ":61:")
    if minor == 0:
        raise BankFileFault(number, ":61:", "a movement of nothing")
    return StatementLine(
        number, booked_on, value_on, minor, currency, str(data.get("status", "")).startswith("R"),
        clean_text(" ".join(named), 140),
        clean_text(str(data.get("end_to_end_reference") or "").replace("NOTPROVIDED", ""), 140),
        clean_text(" ".join(str(one) for one in texts if one)),
        clean_text(str(data.get("applicant_name") or ""), 140),
        clean_text(str(data.get("applicant_iban") or data.get("gvc_applicant_iban") or ""), 40),
    )  # fmt: skip
