"""Prove that nothing in the books was changed: each entry against its digest, each close against its hash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.closing import (
    DAY,
    FIRST_HASH,
    LOCK,
    ONE_DAY,
    REOPEN,
    ClosingAct,
    OpenDays,
    Sums,
    link_hash,
    open_days,
)
from billing.domain.ledger import entry_digest
from billing.ledger.fault import LedgerFault
from billing.store import closing_rows
from billing.store.closing_rows import Sides

_NAMED = 5  # rows of one broken day that are named
Act = tuple[ClosingAct, str, str]


@dataclass(slots=True)
class _Found:
    """What one close ought to cover, as it stands now."""

    entries: list[tuple[str, str]] = field(default_factory=list)
    postings: int = 0
    sums: dict[str, dict[str, int]] = field(default_factory=dict)

    def digests(self) -> Iterator[str]:
        """In the order that a close is hashed in: by the octets of the entries' ids."""
        return (digest for _, digest in sorted(self.entries))

    def add(self, entry_id: str, digest: str, sides: Sides) -> None:
        self.entries.append((entry_id, digest))
        self.postings += len(sides)
        for name, _, currency, amount in sides:
            by_name = self.sums.setdefault(currency, {})
            by_name[name] = by_name.get(name, 0) + amount


async def chain_faults(connection: AsyncConnection, since: date | None = None) -> list[LedgerFault]:
    """What is wrong with the chain and the entries it covers, the oldest day first.

    ``since``: the links are all looked at, the entries of days from then on only.
    """
    acts = await closing_rows.acts(connection)
    faults = _links(acts)
    closes = {(act.day, act.supplement): (act, before, own) for act, before, own in acts if act.kind == DAY}
    days = open_days(
        max((day for day, _ in closes), default=None),
        [(act.kind, act.day, act.until) for act, _, _ in acts if act.kind in (LOCK, REOPEN)],
    )
    first = await closing_rows.first_booked_day(connection)
    start = max((day for day in (first, since) if day is not None), default=None)
    if start is not None and (since is None or first is not None):
        faults += await _Reading(connection, closes, days, start).faults()
    for (day, supplement), close in sorted(closes.items()):  # days that have lost every entry
        if close[0].entries and (since is None or day >= since) and (first is None or day < first):
            faults.append(_day_fault(close, _Found(), supplement))
    return sorted(faults, key=lambda fault: fault.day or date.min)


def _links(acts: list[Act]) -> list[LedgerFault]:
    faults: list[LedgerFault] = []
    expected, newest = FIRST_HASH, None
    for place, (act, before, own) in enumerate(acts, start=1):
        if act.number != place:
            faults.append(
                LedgerFault(
                    "chain_linked", f"act {place}", f"it is missing; the next is {act.number}", act.day
                )
            )
            break
        if before != expected:
            faults.append(
                LedgerFault(
                    "chain_linked", f"act {act.number}", "it does not follow the act before it", act.day
                )
            )
        expected = own
        if act.kind == DAY and act.supplement == 0:
            if newest is not None and act.day != newest + ONE_DAY:
                faults.append(
                    LedgerFault(
                        "days_in_order", str(act.day), f"closed after {newest}: not in order", act.day
                    )
                )
            newest = act.day
        elif act.kind != DAY and link_hash(before, act, []) != own:
            faults.append(
                LedgerFault("act_unchanged", f"act {act.number}", f"this {act.kind} was changed", act.day)
            )
    return faults


class _Reading:
    """One walk over the entries in order of day and id."""

    def __init__(
        self,
        connection: AsyncConnection,
        closes: Mapping[tuple[date, int], Act],
        days: OpenDays,
        start: date,
    ) -> None:
        self._connection = connection
        self._closes = closes
        self._days = days
        self._start = start
        self._found: dict[int, _Found] = {}
        self._faults: list[LedgerFault] = []

    async def faults(self) -> list[LedgerFault]:
        after: tuple[date, str] | None = None
        day = self._start
        while page := await closing_rows.entries_page(self._connection, self._start, date.max, after):
            for booked_on, entry, stored, sides in page:
                while day < booked_on:
                    self._settle(day)
                    day = self._next_day(day, booked_on)
                told = entry_digest(entry, sides)
                if stored is not None and told != stored:
                    words = f"booked on {booked_on}: the entry or a posting of it was changed"
                    self._faults.append(LedgerFault("entry_unchanged", entry.id, words, booked_on))
                self._found.setdefault(entry.supplement, _Found()).add(entry.id, stored or told, sides)
            after = (page[-1][0], page[-1][1].id)
        self._settle(day)
        while (day := day + ONE_DAY) <= (self._days.closed_through or date.min):
            self._settle(day)
        return self._faults

    def _next_day(self, day: date, booked_on: date) -> date:
        closed = self._days.closed_through
        return day + ONE_DAY if closed is not None and day < closed else booked_on

    def _settle(self, day: date) -> None:
        """Compare what was found on a day with its closes."""
        found, self._found = self._found, {}
        if not self._days.closed_before(day):
            return
        supplement = 0
        while (close := self._closes.get((day, supplement))) is not None:
            now = found.pop(supplement, _Found())
            if _differs(close, now):
                self._faults.append(_day_fault(close, now, supplement))
            supplement += 1
        for number, left in found.items():
            if number == supplement and supplement > 0 and self._days.is_open(day):
                continue  # booked since it was reopened, and not closed yet
            for entry_id, _ in left.entries[:_NAMED]:
                words = f"booked on {day} after that day was closed"
                self._faults.append(LedgerFault("closed_day_untouched", entry_id, words, day))


def _differs(close: Act, now: _Found) -> bool:
    act, before, own = close
    if link_hash(before, act, now.digests()) != own:
        return True
    counts = (act.entries, act.postings) != (len(now.entries), now.postings)
    return counts or bool(_different_sums(act.sums, now.sums))


def _day_fault(close: Act, now: _Found, supplement: int) -> LedgerFault:
    act = close[0]
    words = []
    if act.entries != len(now.entries):
        words.append(f"closed with {act.entries} entries, now {len(now.entries)}")
    if act.postings != now.postings:
        words.append(f"closed with {act.postings} postings, now {now.postings}")
    words += _different_sums(act.sums, now.sums)
    said = "; ".join(words) or "the numbers agree, but an entry or the close itself was changed"
    name = str(act.day) if supplement == 0 else f"{act.day} supplement {supplement}"
    return LedgerFault("day_unchanged", name, f"act {act.number}: {said}", act.day)


def _different_sums(closed: Sums, now: Sums) -> list[str]:
    words: list[str] = []
    for currency in sorted(closed.keys() | now.keys()):
        before, after = closed.get(currency, {}), now.get(currency, {})
        words += [
            f"{name} {currency} was {before.get(name, 0)}, is {after.get(name, 0)}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name, 0) != after.get(name, 0)
        ]
    return words[:_NAMED]
