"""A bank statement as a value, whatever format it came in; and what makes each of its lines itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from billing.domain.bank_file_fault import BankFileFault
from core.money import format_money, minor_digits

MOST_LINES = 50_000
LARGEST_MINOR = 10**13
LONGEST = 500


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One movement. ``amount_minor``: positive came in. ``line``: where it stands in the file, from 1.

    ``reversal``: the bank takes an earlier movement back. ``payer_account``: IBAN or number of the other.
    """

    line: int
    booked_on: date
    value_on: date | None
    amount_minor: int
    currency: str
    reversal: bool = False
    bank_reference: str = ""
    end_to_end_id: str = ""
    remittance: str = ""
    payer_name: str = ""
    payer_account: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """One account over one span. Balances are None where the format has none."""

    account: str
    reference: str
    currency: str
    lines: tuple[StatementLine, ...]
    opening_minor: int | None = None
    closing_minor: int | None = None
    opened_on: date | None = None
    closed_on: date | None = None

    def imbalance_minor(self) -> int:
        """How far opening balance and lines are from the closing balance; 0 where it cannot be told."""
        if self.opening_minor is None or self.closing_minor is None:
            return 0
        return self.closing_minor - self.opening_minor - sum(one.amount_minor for one in self.lines)


def check_statement(statement: Statement, currency: str, account: str, *, line: int = 0) -> None:
    """Raise ``BankFileFault`` when it is another account's, of another currency, or does not add up."""
    if statement.currency != currency:
        raise BankFileFault(line, "currency", f"the statement is in {statement.currency}, not {currency}")
    wrong = next((one for one in statement.lines if one.currency != currency), None)
    if wrong is not None:
        raise BankFileFault(wrong.line, "currency", f"the movement is in {wrong.currency}, not {currency}")
    if account and statement.account and plain(statement.account) != plain(account):
        shown = mask_account(statement.account)
        raise BankFileFault(line, "account", f"the statement is of {shown}, another account of the house")
    if off := statement.imbalance_minor():
        message = (
            "opening balance and movements differ from the closing balance by "
            f"{format_money(off, currency)}; a part of the file is missing"
        )
        raise BankFileFault(line, "closing balance", message)
    if len(statement.lines) > MOST_LINES:
        raise BankFileFault(line, "file", f"a statement has at most {MOST_LINES} movements")


def plain(text: str) -> str:
    """Letters and digits alone, in capitals: how references are compared."""
    return "".join(one for one in text.upper() if one.isalnum())


def mask_account(text: str) -> str:
    """An account number as it may be shown: the first two and last four characters."""
    bare = plain(text)
    return f"{bare[:2]}…{bare[-4:]}" if len(bare) > 6 else "…" + bare[-2:]


def clean_text(text: str | None, longest: int = LONGEST) -> str:
    """One line without control characters, no longer than what is kept."""
    shown = "".join(one if one.isprintable() else " " for one in text or "")
    return " ".join(shown.split())[:longest]


def minor_of(amount: Decimal, currency: str, line: int, field: str) -> int:
    """Minor units; raises ``BankFileFault`` for what no bank account can hold."""
    if not amount.is_finite():
        raise BankFileFault(line, field, "it is no number")
    if abs(amount.adjusted()) > 30:
        raise BankFileFault(line, field, "the amount is beyond all measure")
    scaled = amount.scaleb(minor_digits(currency))
    if scaled != scaled.to_integral_value() or abs(scaled) > LARGEST_MINOR:
        raise BankFileFault(line, field, f"{amount} is no amount of {currency}")
    return int(scaled)


def line_keys(lines: Sequence[StatementLine]) -> list[str]:
    """A key for each line: the same movement has the same one in every file that tells of it.

    It is made of all that the bank says of it; true twins in one file are told apart by counting them, in the
    order in which they stand.
    """
    seen: dict[str, int] = {}
    keys = []
    for one in lines:
        told = "\x1f".join((
            one.booked_on.isoformat(), str(one.amount_minor), one.currency, str(one.reversal),
            plain(one.bank_reference), plain(one.end_to_end_id), plain(one.remittance),
            plain(one.payer_name), plain(one.payer_account),
        ))  # fmt: skip
        digest = hashlib.sha256(told.encode()).hexdigest()[:48]
        seen[digest] = seen.get(digest, 0) + 1
        keys.append(f"{digest}-{seen[digest]}")
    return keys
