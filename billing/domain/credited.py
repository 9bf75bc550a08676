"""What a credit note gave back is not given back again when its period is cut afterwards.

Credits are no part of what was charged: credited days would be charged again by the next recalculation. So a
difference that gives back is held against them here. For each item and period the customer ends up paying
what is owed for it less what was credited, and never less than nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from billing.domain.catalogue import PlanVersion
from billing.domain.invoicing import LineDraft
from billing.domain.owed import Key, takes_off
from core.periods import Period


@dataclass(frozen=True, slots=True)
class Credited:
    """What credit notes gave back of an item's charges for one period, as it was priced.

    ``days``: those of the lines that they corrected. Negative where they took back what a line had given.
    """

    plan_version_id: str
    item_code: str
    charged_for: date
    days: Period
    quoted_minor: int
    notes: tuple[str, ...]

    @property
    def key(self) -> Key:
        """What it was charged as."""
        return self.plan_version_id, self.item_code, self.charged_for


@dataclass(slots=True)
class Charged:
    """What earlier invoices charged as ``key``, and the line that changes it on this one.

    ``days``: of a part of metered usage; None: it is charged by its period.
    """

    key: Key
    days: Period | None
    charged_minor: int = 0
    line: LineDraft | None = None

    @property
    def owed_minor(self) -> int:
        """What all of it comes to with this invoice."""
        return self.charged_minor + (0 if self.line is None else self.line.quoted_minor)


def hold_credited(
    charged: Sequence[Charged], credited: Iterable[Credited], versions: Mapping[str, PlanVersion]
) -> None:
    """Make the lines of one subscription that give back smaller by what credit notes gave back already.

    What was credited of an item stays with it when the plan changes, so an upgrade costs the difference; and
    with the items of the new plan that the old one does not have. ``charged`` has everything that was charged
    for the periods of the lines.
    """
    standing = _standing(credited)
    left = [max(0, one.owed_minor) for one in charged]
    rest = [one.quoted_minor for one in standing]
    reach = [_reach(one, charged, versions) for one in standing]
    for own in (True, False):
        for number, places in enumerate(reach):
            for place in places[not own]:
                part = min(left[place], rest[number])
                left[place] -= part
                rest[number] -= part
    for one, more, places in zip(standing, rest, reach, strict=True):
        _hold([charged[place] for kind in places for place in kind], more, one.notes)
    for day in sorted({one.charged_for for one in standing}):
        same = [place for place, one in enumerate(charged) if one.days is None and one.key[2] == day]
        off = sum(min(0, charged[place].owed_minor) for place in same if _is_off(charged[place], versions))
        notes = tuple(dict.fromkeys(note for one in standing if one.charged_for == day for note in one.notes))
        _hold([charged[place] for place in same], -off - sum(left[place] for place in same), notes)


def _standing(credited: Iterable[Credited]) -> list[Credited]:
    """What gave back, less what was taken back: of the same period first, then of those that followed it."""
    given: list[Credited] = []
    taken: list[Credited] = []
    for one in sorted(credited, key=lambda one: (one.charged_for, one.key)):
        (given if one.quoted_minor > 0 else taken).append(one)
    for one in taken:
        more = -one.quoted_minor
        for number in sorted(range(len(given)), key=_nearest(one, given)):
            part = min(more, given[number].quoted_minor)
            given[number] = replace(given[number], quoted_minor=given[number].quoted_minor - part)
            more -= part
    return [one for one in given if one.quoted_minor]


def _nearest(one: Credited, given: Sequence[Credited]) -> Callable[[int], tuple[bool, int, bool]]:
    def order(number: int) -> tuple[bool, int, bool]:
        other = given[number]
        days = (other.charged_for - one.charged_for).days
        return days < 0, abs(days), other.item_code != one.item_code

    return order


def _reach(
    one: Credited, charged: Sequence[Charged], versions: Mapping[str, PlanVersion]
) -> tuple[list[int], list[int], list[int]]:
    """The places of the same item, of those that its plan does not have, and of all others of the period."""
    version = versions[one.plan_version_id]
    metered = is_metered(version, one.item_code)
    own: list[int] = []
    new: list[int] = []
    other: list[int] = []
    for place, found in enumerate(charged):
        if metered:
            is_same = found.days is not None and found.days.intersect(one.days) is not None
        else:
            is_same = found.days is None and found.key[2] == one.charged_for
        if not is_same:
            continue
        if found.key[1] == one.item_code:
            own.append(place)
        elif version.item(found.key[1]) is None and not _is_off(found, versions):
            new.append(place)
        else:
            other.append(place)
    return own, new, other


def is_metered(version: PlanVersion, code: str) -> bool:
    """Whether lines of that code are for usage, charged by its days and not by a period of the item."""
    item = version.item(code)
    return item is not None and item.usage is not None


def _is_off(one: Charged, versions: Mapping[str, PlanVersion]) -> bool:
    return takes_off(versions[one.key[0]], one.key[1])


def _hold(among: Iterable[Charged], amount_minor: int, notes: Sequence[str]) -> None:
    """Let lines that give back give so much less, and say so."""
    for one in among:
        line = one.line
        if amount_minor <= 0 or line is None or line.quoted_minor >= 0:
            continue
        part = min(amount_minor, -line.quoted_minor)
        amount_minor -= part
        line.quoted_minor += part
        line.amount_minor = line.quoted_minor
        why = line.explanation
        line.explanation = {
            **why,
            "amount_minor": line.quoted_minor,
            "credited_minor": why.get("credited_minor", 0) + part,
            "credit_notes": list(dict.fromkeys((*why.get("credit_notes", ()), *notes))),
        }


# How much a credit note may give back


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands of all charges for an item and period, less what came back: by differences and credits."""

    plan_version_id: str
    item_code: str
    charged_for: date
    days: Period
    quoted_minor: int


@dataclass(slots=True)
class StandingCharges:
    """The charges of one subscription: its lines are credited together no further than a period stands."""

    standing: Sequence[Standing]
    versions: Mapping[str, PlanVersion]
    _given: list[tuple[Standing, int]] = field(default_factory=list)

    def creditable(self, key: Key, amount_minor: int) -> int:
        """So much of ``amount_minor`` as still stands, after the lines that were asked about before.

        What took something off comes first: it must not charge more than it gave.
        """
        [own] = [one for one in self.standing if (one.plan_version_id, one.item_code, one.charged_for) == key]
        if amount_minor < 0 and not takes_off(self.versions[own.plan_version_id], own.item_code):
            return amount_minor
        if amount_minor < 0:
            left = min(0, max(amount_minor, own.quoted_minor))
        else:
            together = sum(one.quoted_minor for one in self.standing if self._is_same(own, one))
            together -= sum(amount for one, amount in self._given if self._is_same(own, one))
            left = max(0, min(amount_minor, own.quoted_minor, together))
        self._given.append((own, left))
        return left

    def _is_same(self, one: Standing, other: Standing) -> bool:
        metered = is_metered(self.versions[one.plan_version_id], one.item_code)
        if metered != is_metered(self.versions[other.plan_version_id], other.item_code):
            return False
        if metered:
            return one.days.intersect(other.days) is not None
        return one.charged_for == other.charged_for
