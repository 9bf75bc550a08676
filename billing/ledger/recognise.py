"""Turn deferred into earned revenue, day by day of its service period.

What is booked is the difference between what all deferred lines have earned through a day and what was
recognised so far, by revenue name, currency and legal entity. So a crash, a second run, a credit note or a
back-dated correction come right with the next recognition, and none is ever edited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.ledger import Entry, recognition_entry
from billing.domain.recognition import (
    MonthEarned,
    RevenueKey,
    earned_by_key,
    earned_through,
    recognition_schedule,
)
from billing.store import closing_rows, ledger_rows, recognition_rows
from billing.store.recognition_rows import Recognition
from core.database import take_lane
from core.refusal import Refusal
from core.work import Work

BUSY = Refusal("books_busy", "somebody is booking at this moment; try again in some seconds")


@dataclass(frozen=True, slots=True)
class Reckoned:
    """What is to be recognised through a day, by what was known ``at`` an instant."""

    through: date
    at: datetime
    amounts: tuple[tuple[RevenueKey, int], ...]
    before: Mapping[RevenueKey, int]


async def reckon(connection: AsyncConnection, through: date, at: datetime) -> Reckoned | Refusal:
    """The long part, which reads every line billed in advance and needs no transaction that writes.

    Refused for a day before the last one that was recognised: what is earned is not taken back by asking.
    """
    last = await recognition_rows.last_recognition(connection)
    if last is not None and through < last[0]:
        message = f"revenue is recognised through {last[0]}; choose that day or a later one"
        return Refusal("recognised_further", message, "through")
    earned = await recognition_rows.whole_by_key(connection, through)
    running = await recognition_rows.running_lines(connection, through)
    for key, amount in earned_by_key(running, through).items():
        earned[key] = earned.get(key, 0) + amount
    before = await recognition_rows.recognised_by_key(connection)
    differences = {key: earned.get(key, 0) - before.get(key, 0) for key in earned.keys() | before.keys()}
    order = sorted(differences, key=lambda one: one.order)
    return Reckoned(through, at, tuple((key, differences[key]) for key in order if differences[key]), before)


async def book_reckoned(work: Work, reckoned: Reckoned) -> list[Entry] | Refusal:
    """Book it, as of the instant it was reckoned at. Refused when somebody else recognised meanwhile."""
    await take_lane(work.connection, "recognition")
    if await recognition_rows.recognised_by_key(work.connection) != reckoned.before:
        return Refusal("recognised_meanwhile", "somebody else recognised revenue meanwhile; try again")
    entries = [
        recognition_entry(
            await _source(work.connection, reckoned.through, key), reckoned.through, key, amount
        )
        for key, amount in reckoned.amounts
    ]
    await ledger_rows.book(work.connection, reckoned.at, work.ids, entries)
    return entries


async def recognise_through(work: Work, through: date) -> list[Entry] | Refusal:
    """Book what was earned through that day and not recognised yet; again changes nothing."""
    reckoned = await reckon(work.connection, through, work.now)
    return reckoned if isinstance(reckoned, Refusal) else await book_reckoned(work, reckoned)


async def _source(connection: AsyncConnection, through: date, key: RevenueKey) -> str:
    """Unique by day and revenue; a further recognition of the same day has the next number."""
    named = hashlib.sha256(f"{key.revenue}\n{key.entity_id or ''}".encode()).hexdigest()[:12]
    prefix = f"{through:%Y%m%d}-{key.currency}-{named}-"
    return f"{prefix}{await recognition_rows.sources_since(connection, prefix)}"


@dataclass(frozen=True, slots=True)
class EarnedLine:
    """What one invoice line gave to a recognition."""

    invoice_id: str
    invoice_number: str
    account_number: str
    account_name: str
    position: int
    description: str
    period_start: date
    period_end: date
    amount_minor: int
    earned_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Behind:
    """What is behind a recognition; ``more``: there are lines that were left off."""

    recognition: Recognition
    after: date | None
    lines: Sequence[EarnedLine]
    more: bool


async def lines_behind(connection: AsyncConnection, entry_id: str, limit: int = 1_000) -> Behind | Refusal:
    """The invoice lines behind a recognition with what each earned since the one before; they sum to it."""
    one = await recognition_rows.find_recognition(connection, entry_id)
    if one is None:
        return Refusal("unknown_recognition", f"{entry_id} is no recognition of revenue", "entry_id")
    before = await recognition_rows.recognition_before(connection, one)
    found = await recognition_rows.lines_earning(connection, one, before, limit + 1)
    lines: list[EarnedLine] = []
    for line in found[:limit]:
        earned = earned_through(line.amount_minor, line.period, one.through)
        if before is not None and line.known_before:
            earned -= earned_through(line.amount_minor, line.period, before.through)
        lines.append(
            EarnedLine(
                line.invoice_id, line.invoice_number, line.account_number, line.account_name, line.position,
                line.description, line.period.start, line.period.end, line.amount_minor, earned,
                one.key.currency,
            )
        )  # fmt: skip
    return Behind(one, before.through if before else None, lines, len(found) > limit)


async def recognitions(connection: AsyncConnection, limit: int = 100) -> Sequence[Recognition]:
    """What was recognised, newest first."""
    return await recognition_rows.newest_recognitions(connection, limit)


async def schedule(connection: AsyncConnection, today: date) -> list[MonthEarned]:
    """How much of what is billed by now will be recognised in which month, from the last recognition on."""
    last = await recognition_rows.last_recognition(connection)
    first = await closing_rows.first_booked_day(connection)
    after = last[0] if last is not None else min(first or today, today)
    running = await recognition_rows.running_lines(connection, after, booked_by=date.max)
    ended = await recognition_rows.whole_by_key(connection, after)
    late = await recognition_rows.recognised_by_key(connection)
    for key, amount in ended.items():
        late[key] = late.get(key, 0) - amount
    return recognition_schedule(running, late, after)
