"""Closing days and locking periods: which days may still be booked on, and the chain that proves it.

**What was decided, and why.** A day that is closed says how many entries it has, what they sum to by ledger
account, and a SHA-256 over all of them and over the close before it. So whoever keeps one hash, on paper if
need be, can prove that nothing up to that day was changed since. Days are closed once, in order, with no
gap: a missing day would be a place to hide things in.

*A booking that belongs to a closed day is not lost and not forced in*: it goes to the first day after all
that is closed or locked and keeps the day it belongs to (``happened_on``). Money that came is a fact, and a
bank file that comes late must not be refused. Where a person names the day, he is refused and told the
first open one.

*A period lock* is the operator's word that a month, quarter or year (and all before it) is reported and
shall stay: it closes the days that are left, and ends by nothing but a reopening. *Reopening* is for the
owner, with a reason. It changes no close that was made: what is then booked there is closed by a
further close of the same day (its *supplement*), when the period is locked again. So the first hash of a
day stays provable for good, and what was added afterwards stands apart, with the act that allowed it
between the two in the same chain.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from core.periods import Period, add_months

ONE_DAY = timedelta(days=1)
DAY, LOCK, REOPEN = "day", "lock", "reopen"
FIRST_HASH = "0" * 64
"""What the first act of the chain follows."""
Sums = Mapping[str, Mapping[str, int]]
"""Currency to ledger account to minor units; debit positive."""


@dataclass(frozen=True, slots=True)
class ClosingAct:
    """One act of closing, a link of the chain. ``recorded_us``: microseconds since 1970 (UTC).

    ``day``: a closed day; of a lock the last day it locks; of a reopening the first day, ``until`` the last.
    ``supplement``: 0 for a day's first close, then 1 …; entries, postings and sums are those of that close.
    """

    number: int
    kind: str
    day: date
    until: date | None
    supplement: int
    entries: int
    postings: int
    sums: Sums
    reason: str | None
    recorded_us: int
    recorded_by: str


def link_hash(previous_hash: str, act: ClosingAct, digests: Iterable[str]) -> str:
    """The hash of an act: SHA-256, in hexadecimal.

    Over lines that each end in a line feed: the previous hash; one JSON array (RFC 8259, no blanks, keys in
    order, all but ASCII escaped) of the fields of ``ClosingAct`` in order; then the digest of every entry of
    the close in order of their ids (`billing.domain.ledger.entry_digest`).
    """
    told = [
        act.number, act.kind, act.day.isoformat(), act.until.isoformat() if act.until else None,
        act.supplement, act.entries, act.postings, act.sums, act.reason, act.recorded_us, act.recorded_by,
    ]  # fmt: skip
    header = json.dumps(told, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    hashed = hashlib.sha256(f"{previous_hash}\n{header}\n".encode("ascii"))
    for digest in digests:
        hashed.update(f"{digest}\n".encode("ascii"))
    return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class OpenDays:
    """Which days may be booked on. ``reopened``: periods, ends exclusive."""

    closed_through: date | None = None
    locked_through: date | None = None
    reopened: tuple[Period, ...] = ()

    @property
    def shut_through(self) -> date | None:
        """The last day of all that is closed or locked."""
        ends = [day for day in (self.closed_through, self.locked_through) if day is not None]
        return max(ends, default=None)

    def closed_before(self, day: date) -> bool:
        """Whether the day was closed at least once, be it open again."""
        return self.closed_through is not None and day <= self.closed_through

    def is_open(self, day: date) -> bool:
        """Whether something may be booked on that day."""
        shut = self.shut_through
        return shut is None or day > shut or any(day in period for period in self.reopened)

    def place(self, day: date) -> tuple[date, date | None]:
        """``(booked on, happened on)`` of what belongs to ``day``; the second is None when it is open."""
        shut = self.shut_through
        if shut is None or self.is_open(day):
            return day, None
        return shut + ONE_DAY, day


def open_days(closed_through: date | None, acts: Sequence[tuple[str, date, date | None]]) -> OpenDays:
    """Fold the locks and reopenings, ``(kind, day, until)`` in order of their numbers."""
    locked: date | None = None
    reopened: list[Period] = []
    for kind, day, until in acts:
        if kind == LOCK:
            locked = day if locked is None else max(locked, day)
            reopened = [
                Period(max(one.start, day + ONE_DAY), one.end) for one in reopened if one.end > day + ONE_DAY
            ]
        elif kind == REOPEN and until is not None:
            reopened.append(Period(day, until + ONE_DAY))
    return OpenDays(closed_through, locked, tuple(reopened))


def read_period(text: str) -> Period:
    """``2026``, ``2026-Q1``, ``2026-03`` or one day ``2026-03-31`` as a period.

    Raises ``ValueError`` saying how to write it.
    """
    found = _PERIOD.fullmatch(text.strip().upper())
    try:
        if found is not None:
            return _period(int(found[1]), found[2], found[3], found[4])
    except ValueError:  # no such month or day
        found = None
    raise ValueError(
        f"{text!r} is no period; write a year like 2026, a quarter like 2026-Q1, a month like 2026-03 "
        "or a day like 2026-03-31"
    )


_PERIOD = re.compile(r"(2[01]\d\d)(?:-Q([1-4])|-(\d\d)(?:-(\d\d))?)?")


def _period(year: int, quarter: str | None, month: str | None, day: str | None) -> Period:
    if day is not None:
        one = date(year, int(month or 0), int(day))
        return Period(one, one + ONE_DAY)
    start = date(year, int(month or 1) if quarter is None else int(quarter) * 3 - 2, 1)
    return Period(start, add_months(start, 1 if month else 3 if quarter else 12, 1))
