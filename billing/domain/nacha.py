"""ACH files as Nacha's operating rules lay them out: 94 columns a record, ten records a block.

Written and read here; field positions are those of the rules' Appendix Three (ACH Record Format
Specifications). Amounts are cents. A file is a value: the same values make the same octets.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from billing.domain.bank_file_fault import BankFileFault

RECORD = 94
BLOCK = 10
MOST_RECORDS = 200_000
LARGEST_AMOUNT = 9_999_999_999
LARGEST_SAME_DAY = 100_000_000
"""A same-day entry is at most 1,000,000 dollars (Nacha, same-day ACH dollar limit since March 2022)."""

SEC_CODES = ("PPD", "CCD", "WEB")
ACCOUNT_TYPES = ("checking", "savings")

# (account type, kind) -> transaction code of the entry detail record.
TRANSACTION_CODES = {
    ("checking", "credit"): "22", ("checking", "prenote_credit"): "23",
    ("checking", "debit"): "27", ("checking", "prenote"): "28",
    ("savings", "credit"): "32", ("savings", "prenote_credit"): "33",
    ("savings", "debit"): "37", ("savings", "prenote"): "38",
}  # fmt: skip
_CREDITS = {"20", "21", "22", "23", "24", "30", "31", "32", "33", "34", "41", "42", "43", "51", "52"}
SENT_BACK = frozenset({"98", "99"})
"""Types of addenda that a bank sends back: notification of change, return."""
MIXED, CREDITS, DEBITS = "200", "220", "225"


def routing_number_fault(text: str) -> str | None:
    """What is wrong with an ABA routing number, or None: nine digits, the last of which checks the others.

    The weights 3, 7, 1 make the sum a multiple of ten (ABA Routing Number Administrative Policy).
    """
    if not re.fullmatch(r"[0-9]{9}", text):
        return "a routing number has nine digits"
    total = sum(int(digit) * (3, 7, 1)[place % 3] for place, digit in enumerate(text))
    return "the check digit does not fit; look for a wrong digit" if total % 10 or text == "0" * 9 else None


@dataclass(frozen=True, slots=True)
class FileHead:
    """Who sends to whom. ``origin`` and ``destination`` are written right-aligned in ten columns."""

    destination: str
    destination_name: str
    origin: str
    origin_name: str
    created_at: datetime
    modifier: str
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Addendum:
    """A record 7: type 05 is information with a payment, 98 a notification of change, 99 a return."""

    type_code: str
    information: str  # columns 4 to 83, of types 98 and 99 to 79, as they are
    trace_number: str = ""  # of types 98 and 99, given by the bank that sends it back


@dataclass(frozen=True, slots=True)
class Entry:
    """A record 6. ``line`` is where it stood in a file that was read."""

    transaction_code: str
    routing_number: str
    account_number: str
    amount_minor: int
    identification: str
    name: str
    trace_number: str
    discretionary: str = ""
    addenda: tuple[Addendum, ...] = ()
    line: int = field(default=0, compare=False)

    @property
    def is_credit(self) -> bool:
        """True when the money would go to the account named."""
        return self.transaction_code in _CREDITS


@dataclass(frozen=True, slots=True)
class Batch:
    """Records 5 to 8: entries of one company, one entry class, one effective date."""

    company_name: str
    company_id: str
    sec_code: str
    description: str
    effective_on: date | None  # None where a bank that sends something back leaves it out
    odfi: str
    number: int
    entries: tuple[Entry, ...]
    descriptive_date: str = ""
    discretionary: str = ""


@dataclass(frozen=True, slots=True)
class AchFile:
    """A whole file."""

    head: FileHead
    batches: tuple[Batch, ...]


def ascii_text(text: str, width: int) -> str:
    """Upper case, without accents, cut to ``width``; what ACH cannot say becomes a blank."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    kept = "".join(one if " " <= one <= "~" else " " for one in plain)
    return kept.upper()[:width].strip()


def _left(text: str, width: int) -> str:
    if len(text) > width or any(not " " <= one <= "~" for one in text):
        raise ValueError(f"{text!r} does not fit {width} columns of ASCII")
    return text.ljust(width)


def _digits(value: int, width: int) -> str:
    if not 0 <= value < 10**width:
        raise ValueError(f"{value} does not fit {width} digits")
    return str(value).zfill(width)


def _exactly(text: str, width: int) -> str:
    if not (len(text) == width and text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not {width} digits")
    return text


def service_class(entries: Iterable[Entry]) -> str:
    """220 when all are credits, 225 when all are debits, 200 for a mixture."""
    kinds = {entry.is_credit for entry in entries}
    return MIXED if len(kinds) != 1 else CREDITS if True in kinds else DEBITS


def entry_hash(entries: Iterable[Entry]) -> int:
    """The sum of the first eight digits of every routing number, its last ten digits alone."""
    return sum(int(entry.routing_number[:8]) for entry in entries) % 10**10


def write_nacha(file: AchFile) -> bytes:
    """The file's octets: records of 94 columns, each ended by CR LF, filled with nines to whole blocks.

    Raises ``ValueError`` naming a value that does not fit its field.
    """
    records = [_file_header(file.head)]
    for batch in file.batches:
        records += _batch_records(batch)
    entries = [entry for batch in file.batches for entry in batch.entries]
    blocks = -(-(len(records) + 1) // BLOCK)
    records.append(
        "9" + _digits(len(file.batches), 6) + _digits(blocks, 6) + _digits(_count(entries), 8)
        + _digits(entry_hash(entries), 10) + _totals(entries) + " " * 39
    )  # fmt: skip
    records += ["9" * RECORD] * (blocks * BLOCK - len(records))
    wrong = next((one for one in records if len(one) != RECORD), None)
    if wrong is not None:
        raise ValueError(f"a record {wrong[:1]} has {len(wrong)} columns")
    return "".join(record + "\r\n" for record in records).encode("ascii")


def _file_header(head: FileHead) -> str:
    if not re.fullmatch(r"[A-Z0-9]", head.modifier):
        raise ValueError(f"{head.modifier!r} is no file id modifier; it is A to Z or 0 to 9")
    return (
        "101" + _left(head.destination.rjust(10), 10) + _left(head.origin.rjust(10), 10)
        + f"{head.created_at:%y%m%d%H%M}" + head.modifier + "094101" + _left(head.destination_name, 23)
        + _left(head.origin_name, 23) + _left(head.reference, 8)
    )  # fmt: skip


def _batch_records(batch: Batch) -> list[str]:
    kind = service_class(batch.entries)
    company = _left(batch.company_id, 10)
    odfi = _exactly(batch.odfi, 8)
    records = [
        "5" + kind + _left(batch.company_name, 16) + _left(batch.discretionary, 20) + company
        + _left(batch.sec_code, 3) + _left(batch.description, 10) + _left(batch.descriptive_date, 6)
        + (f"{batch.effective_on:%y%m%d}" if batch.effective_on else " " * 6) + "   1" + odfi
        + _digits(batch.number, 7)
    ]  # fmt: skip
    for entry in batch.entries:
        records += _entry_records(entry)
    records.append(
        "8" + kind + _digits(_count(batch.entries), 6) + _digits(entry_hash(batch.entries), 10)
        + _totals(batch.entries) + company + " " * 25 + odfi + _digits(batch.number, 7)
    )  # fmt: skip
    return records


def _entry_records(entry: Entry) -> list[str]:
    records = [
        "6" + _exactly(entry.transaction_code, 2) + _exactly(entry.routing_number, 9)
        + _left(entry.account_number, 17) + _digits(entry.amount_minor, 10) + _left(entry.identification, 15)
        + _left(entry.name, 22) + _left(entry.discretionary, 2) + ("1" if entry.addenda else "0")
        + _exactly(entry.trace_number, 15)
    ]  # fmt: skip
    for number, addendum in enumerate(entry.addenda, start=1):
        tail = (
            _exactly(addendum.trace_number or entry.trace_number, 15)
            if addendum.type_code in SENT_BACK
            else _digits(number, 4) + entry.trace_number[-7:]
        )
        width = RECORD - 3 - len(tail)
        records.append("7" + _exactly(addendum.type_code, 2) + _left(addendum.information, width) + tail)
    return records


def _count(entries: Sequence[Entry]) -> int:
    return len(entries) + sum(len(entry.addenda) for entry in entries)


def _totals(entries: Sequence[Entry]) -> str:
    debits = sum(entry.amount_minor for entry in entries if not entry.is_credit)
    credits_ = sum(entry.amount_minor for entry in entries if entry.is_credit)
    return _digits(debits, 12) + _digits(credits_, 12)


# Reading


def read_nacha(content: bytes) -> AchFile:
    """The file in ``content``, with every count, hash and total proved.

    Lines may end in CR LF, LF or not at all; filling nines may be missing, as some banks send it. Raises
    ``BankFileFault`` naming line and field.
    """
    reader = _Reader(_records_of(content))
    return reader.whole()


def _records_of(content: bytes) -> list[str]:
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as trouble:
        line = content[: trouble.start].count(b"\n") + 1
        raise BankFileFault(
            line, "encoding", "an ACH file is plain ASCII; ask the bank for it again"
        ) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not any(line.strip() for line in lines[1:]):  # one long line: records without ends
        lines = [lines[0][at : at + RECORD] for at in range(0, len(lines[0]), RECORD)]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise BankFileFault(0, "file", "the file is empty")
    if len(lines) > MOST_RECORDS:
        raise BankFileFault(0, "file", f"the file has more than {MOST_RECORDS} records")
    for number, one in enumerate(lines, start=1):
        if len(one) > RECORD:
            message = f"the record has {len(one)} columns; an ACH record has 94"
            raise BankFileFault(number, "record", message)
    return [one.ljust(RECORD) for one in lines]  # trailing blanks are lost on the way at some banks


class _Reader:
    """Walks the records once."""

    def __init__(self, records: Sequence[str]) -> None:
        self._records = records
        self._at = 0

    @property
    def line(self) -> int:
        return self._at + 1

    def _peek(self) -> str:
        return self._records[self._at][0] if self._at < len(self._records) else ""

    def _take(self, kind: str, name: str) -> str:
        if self._peek() != kind:
            found = f"a record {self._peek()!r}" if self._peek() else "the end of the file"
            raise BankFileFault(self.line, "record type", f"{found} where the {name} must be")
        record = self._records[self._at]
        self._at += 1
        return record

    def _number(self, record: str, first: int, last: int, name: str) -> int:
        text = record[first - 1 : last]
        if not (text.isascii() and text.isdigit()):
            raise BankFileFault(self._at, name, f"{text!r} is not a number (columns {first} to {last})")
        return int(text)

    def whole(self) -> AchFile:
        head = self._head(self._take("1", "file header"))
        batches = []
        while self._peek() == "5":
            batches.append(self._batch())
        control = self._take("9", "file control")
        entries = [entry for batch in batches for entry in batch.entries]
        self._prove(control, "batch count", 2, 7, len(batches))
        self._prove(control, "entry and addenda count", 14, 21, _count(entries))
        self._prove_sums(control, entries, 22)
        for record in self._records[self._at :]:
            self._at += 1
            if record.strip("9 "):
                raise BankFileFault(self._at, "record", "there is more behind the end of the file")
        return AchFile(head, tuple(batches))

    def _head(self, record: str) -> FileHead:
        if record[34:40] != "094101":
            raise BankFileFault(1, "record size", "the file header does not say 94 columns, 10 a block")
        try:
            created_at = datetime.strptime(record[23:33].replace(" ", "0"), "%y%m%d%H%M")  # noqa: DTZ007
        except ValueError:
            raise BankFileFault(1, "file creation date", f"{record[23:33]!r} is no date and time") from None
        return FileHead(
            record[3:13].strip(), record[40:63].strip(), record[13:23].strip(), record[63:86].strip(),
            created_at, record[33], record[86:94].strip(),
        )  # fmt: skip

    def _batch(self) -> Batch:
        record = self._take("5", "batch header")
        effective_on = None
        if record[69:75].strip(" 0"):
            try:
                effective_on = datetime.strptime(record[69:75], "%y%m%d").date()  # noqa: DTZ007
            except ValueError:
                message = f"{record[69:75]!r} is no date"
                raise BankFileFault(self._at, "effective entry date", message) from None
        number = self._number(record, 88, 94, "batch number")
        entries = []
        while self._peek() == "6":
            entries.append(self._entry())
        control = self._take("8", "batch control")
        self._prove(control, "entry and addenda count", 5, 10, _count(entries))
        self._prove_sums(control, entries, 11)
        self._prove(control, "batch number", 88, 94, number)
        return Batch(
            record[4:20].strip(), record[40:50].strip(), record[50:53], record[53:63].strip(), effective_on,
            record[79:87].strip(), number, tuple(entries), record[63:69].strip(), record[20:40].strip(),
        )  # fmt: skip

    def _entry(self) -> Entry:
        record = self._take("6", "entry detail")
        line = self._at
        self._number(record, 4, 12, "routing number")
        entry = Entry(
            record[1:3], record[3:12], record[12:29].strip(), self._number(record, 30, 39, "amount"),
            record[39:54].strip(), record[54:76].strip(), record[79:94].strip(), record[76:78].strip(),
            line=line,
        )  # fmt: skip
        addenda = []
        while self._peek() == "7":
            follower = self._take("7", "addenda")
            if follower[1:3] in SENT_BACK:
                addenda.append(Addendum(follower[1:3], follower[3:79], follower[79:94].strip()))
            else:
                addenda.append(Addendum(follower[1:3], follower[3:83]))
        if bool(addenda) != (record[78] == "1"):
            raise BankFileFault(line, "addenda indicator", "it contradicts the records that follow")
        return replace(entry, addenda=tuple(addenda))

    def _prove(self, record: str, name: str, first: int, last: int, counted: int) -> None:
        said = self._number(record, first, last, name)
        if said != counted:
            raise BankFileFault(self._at, name, f"the file says {said}; its records make {counted}")

    def _prove_sums(self, record: str, entries: Sequence[Entry], start: int) -> None:
        self._prove(record, "entry hash", start, start + 9, entry_hash(entries))
        debits = sum(entry.amount_minor for entry in entries if not entry.is_credit)
        credits_ = sum(entry.amount_minor for entry in entries if entry.is_credit)
        self._prove(record, "total of debits", start + 10, start + 21, debits)
        self._prove(record, "total of credits", start + 22, start + 33, credits_)
