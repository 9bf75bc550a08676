"""What a bank sends back: returns with their reasons, and notifications of change.

Reason codes: Nacha operating rules, Appendix Four (returns) and Five (notifications of change).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from billing.domain.nacha import SENT_BACK, AchFile, Addendum, Entry, routing_number_fault

RETURN_REASONS = {
    "R01": "insufficient funds", "R02": "account closed", "R03": "no account, or it cannot be found",
    "R04": "invalid account number", "R05": "unauthorised debit to a consumer account",
    "R06": "returned at our bank's request", "R07": "authorisation revoked by the customer",
    "R08": "payment stopped", "R09": "uncollected funds", "R10": "customer says it was not authorised",
    "R11": "customer says it was not as authorised", "R12": "account sold to another bank",
    "R13": "routing number does not exist for ACH", "R14": "representative payee deceased",
    "R15": "account holder deceased", "R16": "account frozen", "R17": "the bank could not read the entry",
    "R20": "no transaction account", "R21": "invalid company identification",
    "R22": "invalid individual identification", "R23": "credit refused by the receiver",
    "R24": "duplicate entry", "R28": "routing number check digit error",
    "R29": "company says it was not authorised", "R31": "permissible return",
    "R37": "source document presented for payment", "R38": "stop payment on the source document",
    "R39": "improper source document", "R51": "ineligible re-presented cheque",
}  # fmt: skip

NO_FURTHER_DEBIT = frozenset({
    "R02", "R03", "R04", "R05", "R07", "R08", "R10", "R11", "R12", "R13", "R14", "R15", "R16", "R20", "R28",
    "R29",
})  # fmt: skip
"""After one of these the mandate or the account is no good: autopay ends until somebody mends it.

R08 stops one payment or all that follow, and the file does not say which: it is taken as all.
"""

LATE_RETURN_DAYS = 60
"""Calendar days after settlement in which a consumer may have a debit returned (R05, R07, R10, R11)."""


class Answer(StrEnum):
    """What kind of record came back."""

    RETURNED = "return"
    CHANGE = "change"
    OTHER = "other"  # dishonoured, contested and addenda of types that are no answer to our entries


@dataclass(frozen=True, slots=True)
class Returned:
    """One entry that came back. ``reason`` in words; ``amount_minor`` is 0 for a notification of change."""

    answer: Answer
    code: str
    reason: str
    original_trace: str
    return_trace: str
    amount_minor: int
    line: int
    sent_on: date
    information: str = ""
    corrected: str = ""


def read_returns(file: AchFile) -> list[Returned]:
    """Every return and notification in the file, in its order; entries that are neither are left out."""
    return [
        _returned(entry, addendum, file.head.created_at.date())
        for batch in file.batches
        for entry in batch.entries
        for addendum in entry.addenda
        if addendum.type_code in SENT_BACK
    ]


def _returned(entry: Entry, addendum: Addendum, sent_on: date) -> Returned:
    """Columns of the addenda record: code 4-6, original trace 7-21, data from 36 on."""
    told = addendum.information
    code, trace = told[0:3], told[3:18].strip()
    if addendum.type_code == "98":
        corrected = told[32:61].rstrip()
        return Returned(
            Answer.CHANGE, code, CHANGE_CODES.get(code, "a change without a code of the rules"), trace,
            addendum.trace_number, entry.amount_minor, entry.line, sent_on, "", corrected,
        )  # fmt: skip
    known = code in RETURN_REASONS
    contested = code[1:].isdigit() and int(code[1:]) >= 61
    reason = RETURN_REASONS.get(
        code, "dishonoured or contested return" if contested else "a reason not known"
    )
    answer = Answer.RETURNED if known or not contested else Answer.OTHER
    return Returned(
        answer, code, reason, trace, addendum.trace_number, entry.amount_minor, entry.line, sent_on,
        told[32:76].strip(),
    )  # fmt: skip


CHANGE_CODES = {
    "C01": "account number", "C02": "routing number", "C03": "routing number and account number",
    "C04": "name", "C05": "account type", "C06": "account number and account type",
    "C07": "routing number, account number and account type", "C08": "foreign bank", "C09": "identification",
    "C13": "addenda format", "C14": "entry class for outbound international payment",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Correction:
    """What a notification of change asks for; None stays as it is."""

    routing_number: str | None = None
    account_number: str | None = None
    account_type: str | None = None


_TYPE_OF_CODE = {"2": "checking", "3": "savings"}


def read_correction(code: str, corrected: str) -> Correction | str:
    """The change that ``code`` and its corrected data ask for, or in words why it cannot be made by itself.

    Columns of the corrected data field: C01 account 1-17; C02 routing 1-9; C03 routing 1-9, account 13-29;
    C05 transaction code 1-2; C06 account 1-17, code 21-22; C07 routing 1-9, account 10-26, code 27-28.
    """
    layout = {
        "C01": (None, (0, 17), None), "C02": ((0, 9), None, None), "C03": ((0, 9), (12, 29), None),
        "C05": (None, None, (0, 2)), "C06": (None, (0, 17), (20, 22)), "C07": ((0, 9), (9, 26), (26, 28)),
    }.get(code)  # fmt: skip
    if layout is None:
        return f"{code} ({CHANGE_CODES.get(code, 'unknown')}) is mended by hand"
    routing, account, kind = ("" if one is None else corrected[one[0] : one[1]].strip() for one in layout)
    if layout[0] and (fault := routing_number_fault(routing)):
        return f"the corrected routing number: {fault}"
    if layout[1] and not account:
        return "the corrected account number is empty"
    account_type = _TYPE_OF_CODE.get(kind[:1])
    if layout[2] and account_type is None:
        return f"{kind!r} is no transaction code of a checking or savings account"
    return Correction(routing or None, account or None, account_type)
