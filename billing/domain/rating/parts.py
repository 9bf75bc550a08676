"""Rating many parts at once: which draw on one bucket, in which order, and what each carries on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import NamedTuple

from billing.domain.rating.balance import Lot, Movement
from billing.domain.rating.calendar import Calendar
from billing.domain.rating.rate import Member, RatedUsage, Usage, rate_bucket, rate_usage
from billing.domain.rating.terms import UsageTerms


@dataclass(frozen=True, slots=True)
class PartToRate:
    """Closed usage of one usage item of a subscription over ``calendar.part``.

    ``payer_id`` is the account that pays for ``account_id``, itself if none does.
    """

    account_id: str
    payer_id: str
    subscription_id: str
    item_code: str
    terms: UsageTerms
    calendar: Calendar
    usage: Usage

    @property
    def bucket(self) -> str:
        """Whose balances it draws on."""
        return bucket_of(self.terms, self.account_id, self.payer_id, self.subscription_id, self.item_code)

    @property
    def member(self) -> str:
        """Its name among the members of the bucket."""
        return f"{self.subscription_id}:{self.item_code}:{self.calendar.part.start}"


@dataclass(frozen=True, slots=True)
class Moved:
    """Movements of a bucket that one rating made; ``rated_from`` is the first day that it rated."""

    bucket: str
    rated_from: date
    movements: tuple[Movement, ...]


class Step(NamedTuple):
    """One way in which a rating moves a lot: the same step twice is one, with both amounts."""

    bucket: str
    rated_from: date | None
    kind: str
    lot: str
    lot_kind: str
    opens_on: date
    closes_on: date
    on: date

    def source(self, rated_for: date) -> str:
        """Its name on record, made once by the invoice that opens the cycle of ``rated_for``."""
        said = (str(one) for one in (rated_for, *self))
        return sha256("|".join(said).encode()).hexdigest()


@dataclass(slots=True)
class Balance:
    """What a bucket's lots went through: ``steps`` with their amounts, old ones added up.

    A rating takes what was there before its day, and what it makes of it is compared with what earlier
    ratings of these days made: only the difference is new. So nothing is eaten twice.
    """

    bucket: str
    steps: dict[Step, int] = field(default_factory=dict)

    def lots_before(self, day: date) -> tuple[Lot, ...]:
        """What is there for a rating that begins on ``day``: bought, or left by ratings of earlier days."""
        left: dict[tuple[str, str, date, date], int] = {}
        for step, amount in self.steps.items():
            if step.rated_from is None or step.rated_from < day:
                lot = (step.lot, step.lot_kind, step.opens_on, step.closes_on)
                left[lot] = left.get(lot, 0) + amount
        return tuple(
            Lot(source, kind, amount, opens_on, closes_on)
            for (source, kind, opens_on, closes_on), amount in left.items()
            if amount
        )

    def difference(self, day: date, moved: Iterable[Moved]) -> dict[Step, int]:
        """What ratings from ``day`` on change: their movements less those that stand for the same days."""
        changed = {
            step: -amount
            for step, amount in self.steps.items()
            if step.rated_from is not None and step.rated_from >= day
        }
        for rating in moved:
            for one in rating.movements:
                lot = one.lot
                step = Step(
                    self.bucket, rating.rated_from, one.kind, lot.source, lot.kind, lot.opens_on,
                    lot.closes_on, one.on,
                )  # fmt: skip
                changed[step] = changed.get(step, 0) + one.amount
        return {step: amount for step, amount in changed.items() if amount}

    def add(self, changed: Mapping[Step, int]) -> None:
        """The difference is on record."""
        for step, amount in changed.items():
            self.steps[step] = self.steps.get(step, 0) + amount


@dataclass(frozen=True, slots=True)
class RatedParts:
    """Prices in the order of the parts, every movement, and what each bucket has left."""

    rated: list[RatedUsage]
    moved: list[Moved]
    lots: dict[str, tuple[Lot, ...]]


def bucket_of(terms: UsageTerms, account_id: str, payer_id: str, subscription_id: str, item_code: str) -> str:
    """The name of the bucket: one for each item of a subscription, or the one that the terms share.

    Only items with the same unit and window can share: others of the same name have a bucket of their own.
    """
    shared = terms.shared
    if shared is None:
        return f"{subscription_id}:{item_code}"
    owner = payer_id if shared.among == "payer" else account_id
    return f"{owner}:{shared.bucket}:{terms.unit.of}:{terms.per}"


def rate_parts(parts: Sequence[PartToRate], lots: Mapping[str, Sequence[Lot]]) -> RatedParts:
    """Rate ``parts``, cycle after cycle; ``lots`` are the balances of their buckets before the first.

    Parts of one shared bucket and cycle are rated together, others one by one, the earlier part first.
    Raises ``ValueError`` as ``rate_usage`` does.
    """
    left = {bucket: tuple(found) for bucket, found in lots.items()}
    rated: list[RatedUsage | None] = [None] * len(parts)
    moved: list[Moved] = []
    for bucket, indexes in _groups(parts):
        first = parts[indexes[0]]
        carried = left.get(bucket, ())
        if first.terms.shared is None:
            one = rate_usage(first.terms, first.usage, first.calendar, carried, bucket)
            rated[indexes[0]], left[bucket], movements = one, one.lots, one.movements
        else:
            members = [_member(parts[index]) for index in indexes]
            pool = rate_bucket(members, first.calendar, carried, bucket)
            for index in indexes:
                rated[index] = pool.rated[parts[index].member]
            left[bucket], movements = pool.lots, pool.movements
        if movements:
            begins = first.calendar.part.start if first.terms.shared is None else first.calendar.cycle.start
            moved.append(Moved(bucket, begins, movements))
    return RatedParts([one for one in rated if one is not None], moved, left)


def _member(part: PartToRate) -> Member:
    return Member(part.member, part.terms, part.calendar.part, part.usage)


def _groups(parts: Sequence[PartToRate]) -> list[tuple[str, list[int]]]:
    """Indexes of parts that are rated together, in the order of time."""
    groups: dict[tuple[date, date, str], list[int]] = {}
    for index, one in enumerate(parts):
        period = one.calendar.part if one.terms.shared is None else one.calendar.cycle
        groups.setdefault((period.start, period.end, one.bucket), []).append(index)
    return [(key[2], groups[key]) for key in sorted(groups)]
