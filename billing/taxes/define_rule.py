"""Tax rules change by new rows: what a rule ends or replaces is withdrawn and written anew with its days.

So a draft as of an earlier instant reads what was known then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from billing.domain.taxes.book import TaxBook
from billing.domain.taxes.place import fold, fold_postal_code
from billing.domain.taxes.rule import TaxRule
from billing.store import tax_rows
from billing.store.tax_rows import RuleToWrite
from billing.taxes.check_rule import check_rule
from core.ids import IdSource
from core.refusal import Refusal
from core.work import Work


async def define_tax_rule(work: Work, rule: TaxRule) -> str | Refusal:
    """Write ``rule`` (its id and instant are given here); returns its id.

    A rule of the same name, place, classes and kinds that runs into its days ends the day before, and goes on
    after it when the new one ends first. One that begins on the same day or later must not exist.
    """
    refusal = check_rule(rule)
    if refusal:
        return refusal
    await tax_rows.take_lane_of_rules(work.connection)
    standing = await tax_rows.tax_rules(work.connection, countries=[rule.jurisdiction.country])
    change = RuleChange(standing, work.ids, work.now)
    refusal = change.add(rule) or change.refuse_circles()
    if refusal:
        return refusal
    await change.write(work)
    await work.audit(
        "billing.tax_rule_defined", change.latest_id, name=rule.name, place=rule.jurisdiction.code,
        rate=rule.rate_in_words(), valid_from=str(rule.valid_from),
        valid_until=None if rule.valid_until is None else str(rule.valid_until),
    )  # fmt: skip
    return change.latest_id


async def end_tax_rule(work: Work, *, rule_id: str, valid_until: date) -> str | Refusal:
    """The rule holds up to the day before ``valid_until``; returns the id of the row that says so."""
    rule = await _standing(work, rule_id)
    if isinstance(rule, Refusal):
        return rule
    if valid_until <= rule.valid_from:
        return Refusal(
            "bad_day",
            f"{rule.name} holds from {rule.valid_from}; end it later, or withdraw it if it never was so",
            "valid_until",
        )
    if rule.valid_until is not None and rule.valid_until <= valid_until:
        return Refusal("ended_already", f"{rule.name} ends on {rule.valid_until} already", "valid_until")
    ended = replace(rule, id=work.ids.new("tax"), valid_until=valid_until, recorded_at=work.now)
    await tax_rows.withdraw_rules(work.connection, [rule.id], work.now, work.actor)
    await tax_rows.insert_rules(work.connection, [RuleToWrite(ended, rule.id)], work.actor)
    await work.audit("billing.tax_rule_ended", ended.id, name=rule.name, valid_until=str(valid_until))
    return ended.id


async def withdraw_tax_rule(work: Work, *, rule_id: str, reason: str) -> Refusal | None:
    """The rule was a mistake: no draft from now on reads it. Issued invoices stay as they are."""
    rule = await _standing(work, rule_id)
    if isinstance(rule, Refusal):
        return rule
    reason = reason.strip()
    if not 0 < len(reason) <= 200:
        return Refusal("no_reason", "say in 1 to 200 characters why it is withdrawn", "reason")
    rest = [one for one in await tax_rows.tax_rules(work.connection) if one.id != rule.id]
    if not any(one.name == rule.name for one in rest):
        resting = next((one for one in rest if rule.name in one.on_top_of), None)
        if resting is not None:
            return Refusal("in_use", f"{resting.name} rests on {rule.name}; change that first", "rule_id")
    await tax_rows.withdraw_rules(work.connection, [rule.id], work.now, work.actor)
    await work.audit("billing.tax_rule_withdrawn", rule.id, name=rule.name, reason=reason)
    return None


async def _standing(work: Work, rule_id: str) -> TaxRule | Refusal:
    await tax_rows.take_lane_of_rules(work.connection)
    rule = await tax_rows.find_rule(work.connection, rule_id)
    if rule is None:
        return Refusal("unknown_tax_rule", f"there is no tax rule {rule_id[:40]}; list them first", "rule_id")
    if rule.withdrawn_at is not None:
        return Refusal("withdrawn", f"this row of {rule.name} was withdrawn or replaced already", "rule_id")
    return rule


_Reach = tuple[object, ...]


@dataclass(slots=True)
class RuleChange:
    """New rules over those that stand, before anything is written."""

    standing: Iterable[TaxRule]
    ids: IdSource
    now: datetime
    latest_id: str = ""
    _by_reach: dict[_Reach, list[TaxRule]] = field(default_factory=dict)
    _withdrawn: list[str] = field(default_factory=list)
    _new: dict[str, RuleToWrite] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for rule in self.standing:
            self._by_reach.setdefault(_reach(rule), []).append(rule)

    @property
    def added(self) -> int:
        """How many rows are to be written."""
        return len(self._new)

    def same(self, rule: TaxRule) -> Sequence[TaxRule]:
        """The rules of that name and place as they would stand, for the same lines or some of them."""
        return [
            one
            for one in self._by_reach.get(_reach(rule), ())
            if _meet(one.tax_classes, rule.tax_classes) and _meet(one.line_kinds, rule.line_kinds)
        ]

    def add(self, rule: TaxRule) -> Refusal | None:
        """Make room for one more rule and note it."""
        in_the_way = [one for one in self.same(rule) if _overlap(one, rule)]
        later = next((one for one in in_the_way if one.valid_from >= rule.valid_from), None)
        if later is not None:
            return Refusal(
                "rate_exists",
                f"{rule.name} has a rate from {later.valid_from} already; take a later day",
                "valid_from",
            )
        for one in in_the_way:
            self._cut(one, rule)
        self.latest_id = self.ids.new("tax")
        self._note(replace(rule, id=self.latest_id, recorded_at=self.now, withdrawn_at=None), None)
        return None

    def _cut(self, old: TaxRule, new: TaxRule) -> None:
        self._by_reach[_reach(old)].remove(old)
        written = self._new.pop(old.id, None)
        if written is None:
            self._withdrawn.append(old.id)
        origin = old.id if written is None else written.replaces_id
        self._note(
            replace(old, id=self.ids.new("tax"), valid_until=new.valid_from, recorded_at=self.now), origin
        )
        if new.valid_until is not None and (old.valid_until is None or new.valid_until < old.valid_until):
            after = replace(old, id=self.ids.new("tax"), valid_from=new.valid_until, recorded_at=self.now)
            self._note(after, origin)

    def _note(self, rule: TaxRule, origin: str | None) -> None:
        self._new[rule.id] = RuleToWrite(rule, origin)
        self._by_reach.setdefault(_reach(rule), []).append(rule)

    def refuse_circles(self) -> Refusal | None:
        """Whether a new rule rests on a tax that nobody knows, or on itself by a detour."""
        rules = [rule for some in self._by_reach.values() for rule in some]
        names = {(rule.jurisdiction.country, rule.name) for rule in rules}
        for written in self._new.values():
            for name in sorted(written.rule.on_top_of):
                if (written.rule.jurisdiction.country, name) not in names:
                    message = (
                        f"there is no tax {name!r} in {written.rule.jurisdiction.country}; define it first"
                    )
                    return Refusal("unknown_tax", message, "on_top_of")
        try:
            TaxBook(rules)
        except ValueError as trouble:
            return Refusal("tax_circle", str(trouble), "on_top_of")
        return None

    async def write(self, work: Work) -> None:
        """Withdraw what was cut and insert the new rows."""
        await tax_rows.withdraw_rules(work.connection, self._withdrawn, self.now, work.actor)
        await tax_rows.insert_rules(work.connection, list(self._new.values()), work.actor)


def _reach(rule: TaxRule) -> _Reach:
    where = rule.jurisdiction
    return (
        rule.name, where.country, fold(where.region), fold(where.county), fold(where.city),
        fold(where.district), frozenset(fold_postal_code(code) for code in where.postal_codes),
    )  # fmt: skip


def _meet(some: frozenset[str], others: frozenset[str]) -> bool:
    """Whether two lists have something in common; an empty one is all."""
    return not some or not others or bool(some & others)


def _overlap(one: TaxRule, other: TaxRule) -> bool:
    return (one.valid_until is None or other.valid_from < one.valid_until) and (
        other.valid_until is None or one.valid_from < other.valid_until
    )
