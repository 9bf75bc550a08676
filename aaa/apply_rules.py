"""Make the rules of profiles come true: holds of the holders ``schedule`` and ``quota``, and no others.

Both are computed anew at every turn and compared with what stands, so that a turn that was missed, repeated
or cut off changes when something happens and never whether.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.close_usage import usage_between
from aaa.domain.effect import Effect
from aaa.domain.entitlement import Holder
from aaa.domain.profile_rule import HoursRule, QuotaRule, Rule, period_containing, strongest
from aaa.place_hold import lift_hold, place_hold
from aaa.store import repositories, rule_rows
from core.refusal import Refusal, granted
from core.work import Work, Workplace

BillingTurns = Callable[[AsyncConnection, Sequence[str]], Awaitable[Mapping[str, tuple[int, str]]]]
"""Anchor day and time zone of the accounts with these ids; accounts without one are left out."""

RulesInWords = Callable[[AsyncConnection, str], Awaitable[list[str]]]
"""What the rules of its profile say of a service now."""

_AT_ONCE = 100
_LEAST_PAUSE = timedelta(seconds=60)
_LONGEST_PAUSE = timedelta(hours=6)
_GONE = {"service.ended", "service.unknown"}
_ACTOR = "system:rules"


async def no_billing_turns(_connection: AsyncConnection, _accounts: Sequence[str]) -> Mapping[str, Any]:
    """Nobody is billed: cycles turn on the first."""
    return {}


@dataclass(frozen=True, slots=True)
class QuotaState:
    """How far a service has come in a quota."""

    rule: QuotaRule
    used: int
    reason: str
    period_ends: datetime

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left."""
        return self.used >= self.rule.octets


@dataclass(frozen=True, slots=True)
class _Known:
    rules: tuple[QuotaRule, ...]
    due: datetime


class RuleKeeper:
    """Applies the rules of all profiles.

    A quota is looked at again when it could be used up at the earliest, by what is left of it and the
    fastest the line may be, and at least every six hours: usage that came late is found then.
    """

    def __init__(
        self, workplace: Workplace, time_zone: str, billing_turns: BillingTurns = no_billing_turns
    ) -> None:
        self._workplace = workplace
        self._zone = time_zone
        self._turns = billing_turns
        self._known: dict[str, _Known] = {}
        self._last: datetime | None = None
        self.looks = 0
        """How often a service's quotas were summed up."""

    async def turn(self) -> int:
        """One look at everything that is due; returns how many holds were placed or lifted."""
        now = self._workplace.clock.now()
        if self._last is not None and now < self._last:  # a clock stepped back: nothing known is due by it
            self._known.clear()
        self._last = now
        async with self._workplace.reading() as connection:
            rules = await rule_rows.rules_by_profile(connection)
        changed = await self._apply_hours(rules, now)
        return changed + await self._apply_quotas(rules, now)

    async def _apply_hours(self, rules: Mapping[str, list[Rule]], now: datetime) -> int:
        on: dict[str, HoursRule] = {}
        for profile_id, of_profile in rules.items():
            hours = [rule for rule in of_profile if isinstance(rule, HoursRule)]
            chosen = strongest([rule for rule in hours if rule.is_on(now, self._zone)])
            if chosen is not None:
                on[profile_id] = chosen
        changed = await self._lift_elsewhere(Holder.SCHEDULE, list(on), "its hours are over")
        for profile_id, rule in on.items():
            changed += await self._hold_profile(profile_id, rule)
        return changed

    async def _hold_profile(self, profile_id: str, rule: HoursRule) -> int:
        def wanting(connection: AsyncConnection) -> Awaitable[list[str]]:
            return rule_rows.services_without_hold(
                connection, profile_id, (Holder.SCHEDULE, rule.effect.value, rule.reason), _AT_ONCE
            )

        async def place(work: Work, service_id: str) -> None:
            await _place(work, service_id, Holder.SCHEDULE, rule.effect, rule.reason)

        return await self._for_each(wanting, place)

    async def _lift_elsewhere(self, holder: Holder, profile_ids: Sequence[str], why: str) -> int:
        def wanting(connection: AsyncConnection) -> Awaitable[list[str]]:
            return rule_rows.services_held_elsewhere(connection, holder, profile_ids, _AT_ONCE)

        async def lift(work: Work, service_id: str) -> None:
            granted(await lift_hold(work, service_id=service_id, holder=holder, reason=why))

        return await self._for_each(wanting, lift)

    async def _for_each(
        self,
        wanting: Callable[[AsyncConnection], Awaitable[list[str]]],
        act: Callable[[Work, str], Awaitable[None]],
    ) -> int:
        """Act on the services that want it, some in a transaction, until none does; how many did."""
        changed = 0
        while True:
            async with self._workplace.reading() as connection:
                some = await wanting(connection)
            if some:
                async with self._workplace.work(_ACTOR) as work:
                    for service_id in some:
                        await act(work, service_id)
            changed += len(some)
            if len(some) < _AT_ONCE:
                return changed

    async def _apply_quotas(self, rules: Mapping[str, list[Rule]], now: datetime) -> int:
        quotas = {
            profile_id: tuple(rule for rule in of_profile if isinstance(rule, QuotaRule))
            for profile_id, of_profile in rules.items()
        }
        quotas = {profile_id: found for profile_id, found in quotas.items() if found}
        changed = await self._lift_elsewhere(Holder.QUOTA, list(quotas), "the profile has no quota")
        async with self._workplace.reading() as connection:
            services = await rule_rows.services_of_profiles(connection, quotas)
            holds = await rule_rows.holds_of(connection, Holder.QUOTA)
        alive = {row.id for row in services}
        for service_id in [one for one in self._known if one not in alive]:
            del self._known[service_id]
        due = [row for row in services if self._is_due(row.id, quotas[row.profile_id], now)]
        for start in range(0, len(due), _AT_ONCE):
            changed += await self._look_at(due[start : start + _AT_ONCE], quotas, holds, now)
        return changed

    def _is_due(self, service_id: str, rules: tuple[QuotaRule, ...], now: datetime) -> bool:
        known = self._known.get(service_id)
        return known is None or known.rules != rules or known.due <= now

    async def _look_at(
        self,
        services: Sequence[Any],
        quotas: Mapping[str, tuple[QuotaRule, ...]],
        holds: Mapping[str, tuple[str, str]],
        now: datetime,
    ) -> int:
        """Look at some services; only what has to change is written."""
        self.looks += len(services)
        changes: list[tuple[str, QuotaState | None]] = []
        looked: dict[str, _Known] = {}
        async with self._workplace.reading() as connection:
            turns = await self._turns(connection, [row.account_id for row in services])
            for row in services:
                calendar = Calendar(now, self._zone, turns.get(row.account_id, (1, self._zone)))
                rules = quotas[row.profile_id]
                states = [await quota_state(connection, row.id, rule, calendar) for rule in rules]
                looked[row.id] = _Known(rules, min(_next_look(one, row, now) for one in states))
                wanted, stands = _wanted(states), holds.get(row.id)
                if stands != (wanted and (wanted.rule.effect.value, wanted.reason)):
                    changes.append((row.id, wanted))
        if changes:
            async with self._workplace.work(_ACTOR) as work:
                for service_id, wanted in changes:
                    await _hold_quota(work, service_id, wanted)
        self._known.update(looked)
        return len(changes)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Now, the provider's time zone, and on which day in which zone the account's billing cycle turns."""

    now: datetime
    zone: str
    turn: tuple[int, str]


async def quota_state(
    connection: AsyncConnection, service_id: str, rule: QuotaRule, calendar: Calendar
) -> QuotaState:
    """How far the service has come."""
    anchor_day, zone_of_account = calendar.turn
    where = zone_of_account if rule.period == "billing" else calendar.zone
    period = period_containing(rule.period, calendar.now, where, anchor_day)
    start, end = period.instants(where)
    octets_in, octets_out = await usage_between(connection, service_id, start, end)
    return QuotaState(rule, rule.counted(octets_in, octets_out), rule.reason(period), end)


def _next_look(state: QuotaState, row: Any, now: datetime) -> datetime:
    if state.is_used_up:
        return min(state.period_ends, now + _LONGEST_PAUSE)
    seconds = (state.rule.octets - state.used) * 8 / state.rule.fastest_bps(row.down_bps, row.up_bps)
    pause = timedelta(seconds=min(seconds, _LONGEST_PAUSE.total_seconds()))
    return min(state.period_ends, now + max(_LEAST_PAUSE, pause))


def _wanted(states: Sequence[QuotaState]) -> QuotaState | None:
    """The quota that is to hold: of those used up the one with the strongest effect."""
    used_up = [one for one in states if one.is_used_up]
    return min(used_up, key=lambda one: (-one.rule.effect.rank, one.rule.name), default=None)


async def _hold_quota(work: Work, service_id: str, wanted: QuotaState | None) -> None:
    if wanted is not None:
        await _place(work, service_id, Holder.QUOTA, wanted.rule.effect, wanted.reason)
        return
    reason = "the quota is not used up"
    granted(await lift_hold(work, service_id=service_id, holder=Holder.QUOTA, reason=reason))


async def _place(work: Work, service_id: str, holder: Holder, effect: Effect, reason: str) -> None:
    """A service that ended meanwhile has nothing left to hold."""
    outcome = await place_hold(work, service_id=service_id, holder=holder, effect=effect, reason=reason)
    if not isinstance(outcome, Refusal) or outcome.code not in _GONE:
        granted(outcome)


def rules_speaker(workplace: Workplace, time_zone: str, billing_turns: BillingTurns) -> RulesInWords:
    """``rules_in_words`` by this house's clock and calendar."""

    async def speak(connection: AsyncConnection, service_id: str) -> list[str]:
        return await rules_in_words(connection, service_id, workplace.clock.now(), time_zone, billing_turns)

    return speak


async def rules_in_words(
    connection: AsyncConnection,
    service_id: str,
    now: datetime,
    zone_name: str,
    billing_turns: BillingTurns = no_billing_turns,
) -> list[str]:
    """What the profile's rules say of a service now, for whoever asks why."""
    row = await repositories.service_row(connection, service_id)
    if row is None:
        return []
    turns = await billing_turns(connection, [row.account_id])
    said = []
    for one in await rule_rows.rule_rows(connection, row.profile_id):
        rule = rule_rows.as_rule(one)
        head = f"{rule.name}: {rule.effect.value.replace('_', ' ')} {rule}"
        if isinstance(rule, HoursRule):
            said.append(f"{head}, {'now' if rule.is_on(now, zone_name) else 'not now'}")
            continue
        calendar = Calendar(now, zone_name, turns.get(row.account_id, (1, zone_name)))
        state = await quota_state(connection, service_id, rule, calendar)
        share = 100 * state.used // rule.octets
        said.append(f"{head}, {share} % used until {state.period_ends:%Y-%m-%d %H:%M}Z")
    return said
