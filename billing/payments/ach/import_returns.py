"""Take in a file of returns and notifications of change: each answer once, in whatever file it comes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Row

from billing.config import BillingSettings
from billing.domain.ach_returns import (
    LATE_RETURN_DAYS,
    NO_FURTHER_DEBIT,
    Answer,
    Correction,
    Returned,
    read_correction,
    read_returns,
)
from billing.domain.bank_file_fault import BankFileFault
from billing.domain.nacha import read_nacha
from billing.payments.ach.keep_bank_account import NUMBER_PURPOSE, mark_of
from billing.payments.reverse_payment import reverse_payment
from billing.store import account_rows, ach_rows
from core.periods import local_date
from core.refusal import Refusal, Refused, answering, refuse
from core.secrets import Sealer, Secret
from core.work import Work

KIND = "ach_return"
LARGEST_FILE = 20 * 2**20
_NSF = frozenset({"R01", "R09"})


@dataclass(frozen=True, slots=True)
class ReturnsTaken:
    """What a file changed. ``outcome``: taken, or exists when the same octets came before."""

    file_id: str
    outcome: str
    counts: dict[str, int]  # by outcome of the answers


@answering
async def import_ach_returns(
    work: Work, sealer: Sealer, *, content: bytes, name: str, settings: BillingSettings | None = None
) -> ReturnsTaken:
    """Reverse what came back, with the fee of the settings, and apply corrections.

    What cannot be done by itself is listed with outcome ``by_hand``; what is none of our entries as
    ``unknown``. Raises nothing half-way: the file is taken whole or refused with line and field.
    """
    if len(content) > LARGEST_FILE:
        refuse("too_large", f"the file is over {LARGEST_FILE // 2**20} MiB", "file")
    try:
        answers = read_returns(read_nacha(content))
    except BankFileFault as fault:
        refuse("bad_file", str(fault), "file")
    if not answers:
        refuse("no_returns", "there is no return and no notification of change in the file", "file")
    digest = hashlib.sha256(content).hexdigest()
    file_id = work.ids.new("bkf")
    row = {
        "id": file_id, "kind": KIND, "sha256": digest, "name": name.strip()[:120] or "returns",
        "octets": len(content), "imported_at": work.now, "imported_by": work.actor, "summary": {},
    }  # fmt: skip
    if not await ach_rows.insert_file(work.connection, row):
        known = await ach_rows.file_of_hash(work.connection, KIND, digest)
        if known is None:
            raise RuntimeError("a file is neither new nor there")
        return ReturnsTaken(known.id, "exists", dict(known.summary))
    await _lock_accounts(work, answers)
    counts: dict[str, int] = {}
    taker = _Taker(work, sealer, file_id, settings or BillingSettings())
    for one in answers:
        outcome = await taker.take(one)
        counts[outcome] = counts.get(outcome, 0) + 1
    await ach_rows.set_summary(work.connection, file_id, counts)
    await work.audit("billing.ach_returns_imported", file_id, file=row["name"], sha256=digest, counts=counts)
    return ReturnsTaken(file_id, "taken", counts)


async def _lock_accounts(work: Work, answers: list[Returned]) -> None:
    """All at once and in order: two files at once do not wait for each other's accounts."""
    found = [await ach_rows.entry_of_trace(work.connection, one.original_trace) for one in answers]
    await account_rows.lock_accounts(work.connection, sorted({one.account_id for one in found if one}))


class _Taker:
    """Carries out the answers of one file."""

    def __init__(self, work: Work, sealer: Sealer, file_id: str, settings: BillingSettings) -> None:
        self._work = work
        self._sealer = sealer
        self._file_id = file_id
        self._settings = settings

    async def take(self, one: Returned) -> str:
        """Record the answer and act on it; its outcome."""
        entry = await ach_rows.entry_of_trace(self._work.connection, one.original_trace)
        row: dict[str, Any] = {
            "id": self._work.ids.new("acr"), "bank_file_id": self._file_id,
            "entry_id": None if entry is None else entry.id, "answer": one.answer, "code": one.code,
            "original_trace": one.original_trace, "return_trace": one.return_trace,
            "amount_minor": one.amount_minor, "sent_on": one.sent_on, "recorded_at": self._work.now,
        }  # fmt: skip
        outcome, told = await self._decide(one, entry)
        if not await ach_rows.insert_return(self._work.connection, row | {"outcome": outcome, "told": told}):
            return "again"
        if outcome in {"reversed", "late", "prenote"} and entry is not None:
            await ach_rows.set_entry(self._work.connection, entry.id, state="returned")
            if one.code in NO_FURTHER_DEBIT or entry.kind == "prenote":
                await ach_rows.end_bank_account(
                    self._work.connection, entry.bank_account_id, self._work.now, f"{one.code}: {one.reason}"
                )
        return outcome

    async def _decide(self, one: Returned, entry: Row[Any] | None) -> tuple[str, str]:
        if entry is None:
            return "unknown", f"{one.code}: no entry of ours has this trace number"
        if one.answer is Answer.OTHER:
            return "by_hand", f"{one.code}: {one.reason}"
        if one.answer is Answer.CHANGE:
            return await self._correct(one, entry)
        if entry.state == "returned":
            return "again", f"{one.code}: the entry came back before"
        if entry.kind == "prenote":
            return "prenote", f"{one.code}: {one.reason}; the bank account is no good"
        return await self._reverse(one, entry)

    async def _reverse(self, one: Returned, entry: Row[Any]) -> tuple[str, str]:
        words = f"{one.code}: {one.reason}"
        if one.amount_minor != entry.amount_minor:
            return "by_hand", f"{words}; the amount is not the entry's"
        done = await reverse_payment(
            self._work, payment_id=entry.payment_id, reason=words, source=f"ach_return:{entry.id}",
            kind="nsf" if one.code in _NSF else "ach_return", happened_on=one.sent_on,
            amount_minor=entry.amount_minor, settings=self._settings,
        )  # fmt: skip
        if isinstance(done, Refusal):
            if done.code in {"already_reversed", "bad_amount", "differs"}:
                return "by_hand", f"{words}; {done.message}"
            raise Refused(done)
        if one.sent_on > entry.settles_on + timedelta(days=LATE_RETURN_DAYS):
            return "late", f"{words}; it came after {LATE_RETURN_DAYS} days: the bank may dishonour it"
        return "reversed", words

    async def _correct(self, one: Returned, entry: Row[Any]) -> tuple[str, str]:
        asked = read_correction(one.code, one.corrected)
        if not isinstance(asked, Correction):
            return "by_hand", f"{one.code}: {asked}"
        old = await ach_rows.find_bank_account(self._work.connection, entry.bank_account_id)
        if old is None or old.ended_at is not None:
            return "again", f"{one.code}: the bank account was changed or ended before"
        number = self._sealer.open(old.number_sealed, NUMBER_PURPOSE)
        if asked.account_number is not None:
            number = Secret(asked.account_number)
        routing = asked.routing_number or old.routing_number
        kind, ending = asked.account_type or old.account_type, number.reveal()[-4:]
        told = f"{one.code}: corrected to {kind}, ending {ending}"
        account = await account_rows.lock_account(self._work.connection, old.account_id)
        if account is None:
            raise RuntimeError(f"bank account {old.id} has no account")
        await ach_rows.end_bank_account(
            self._work.connection, old.id, self._work.now, f"corrected by the bank ({one.code})"
        )
        await ach_rows.insert_bank_account(
            self._work.connection,
            {
                "id": self._work.ids.new("bac"), "account_id": old.account_id, "holder_name": old.holder_name,
                "account_type": kind, "routing_number": routing,
                "number_sealed": self._sealer.seal(number, NUMBER_PURPOSE),
                "last_four": ending, "mark": mark_of(self._sealer, routing, number),
                "sec_code": old.sec_code, "authorised_on": old.authorised_on, "mandate": old.mandate,
                "autopay": old.autopay,
                "usable_from": old.usable_from or local_date(self._work.now, account.time_zone),
                "recorded_at": self._work.now, "recorded_by": self._work.actor, "replaces": old.id,
            },
        )  # fmt: skip
        return "corrected", told
