"""Watch usage against what is included: alerts, caps, automatic top-ups; and their end.

Each bucket is looked at when something could have changed at the earliest. What a look finds is compared with
what the one before found, so a turn that was missed, repeated or cut off changes when something happens and
never whether, and nothing is told twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock_doubt import ClockDoubted, find_clock_doubt
from billing.config import BillingSettings
from billing.domain.rating.quota_turn import (
    LEAST_PAUSE,
    LONGEST_PAUSE,
    Watched,
    changed_holds,
    decide_alerts,
    decide_holds,
    decide_next_look,
    strongest,
)
from billing.facts import QuotaAlert, QuotaCleared, QuotaReached
from billing.ports import WatchedUsage
from billing.rating.buy_top_up import buy_top_up, refuse_unpaid
from billing.rating.running_items import (
    RunningBucket,
    RunningItem,
    by_bucket,
    measure_buckets,
    running_items,
)
from billing.store import account_rows, bucket_rows, plan_rows, quota_rows, usage_item_rows
from billing.store.quota_rows import Alert, QuotaState
from core.facts import Fact
from core.periods import start_of_day
from core.refusal import Refusal, granted
from core.work import Work, Workplace

ACTOR = "system:quota"
_FAMILIES_AT_ONCE = 200
_LOOK_AT_ALL_EVERY = timedelta(hours=1)
_ANY_LINE_BPS = 10**10
"""Of a service whose profile is not known."""
_CLEARED = "a new window, a top-up, or other terms"


@dataclass(frozen=True, slots=True)
class QuotaTurn:
    """What one turn did: buckets looked at, alerts told, services held and let go, top-ups bought."""

    looked_at: int = 0
    alerts: int = 0
    held: int = 0
    freed: int = 0
    topped_up: int = 0

    def __add__(self, other: QuotaTurn) -> QuotaTurn:
        return QuotaTurn(
            self.looked_at + other.looked_at,
            self.alerts + other.alerts,
            self.held + other.held,
            self.freed + other.freed,
            self.topped_up + other.topped_up,
        )


class QuotaWatch:
    """Looks at the buckets that are due.

    Accounts whose subscriptions changed are found by what was written since the last turn; all of them are
    gone through at the first turn and then every hour, for changes that were written to come later.
    """

    def __init__(
        self, workplace: Workplace, usage: WatchedUsage, settings: BillingSettings | None = None
    ) -> None:
        self._workplace = workplace
        self._usage = usage
        self._settings = settings or BillingSettings()
        self._last: datetime | None = None
        self._last_of_all: datetime | None = None

    async def turn(self) -> QuotaTurn | Refusal:
        """One look at everything that is due; refused while the clock is doubted."""
        now = self._workplace.clock.now()
        async with self._workplace.reading() as connection:
            doubt = await find_clock_doubt(connection, now, self._settings)
            if doubt is not None:
                return doubt
            account_ids = await self._due_accounts(connection, now)
            families = await usage_item_rows.families_of(connection, account_ids)
        done = QuotaTurn()
        ordered = [families[payer_id] for payer_id in sorted(families)]
        for start in range(0, len(ordered), _FAMILIES_AT_ONCE):
            async with self._workplace.reading() as connection:
                some = await _ripe(connection, ordered[start : start + _FAMILIES_AT_ONCE], now)
            if not some:
                continue
            try:
                done += await self._workplace.carry_out(ACTOR, _Look(self._usage, self._settings, some))
            except ClockDoubted as doubted:  # it stepped since
                return doubted.refusal
        return done

    async def _due_accounts(self, connection: AsyncConnection, now: datetime) -> list[str]:
        due = set(await quota_rows.accounts_to_look_at(connection, now, now + 2 * LONGEST_PAUSE))
        versions = await plan_rows.plan_versions(connection)
        watched = [
            one.id
            for one in versions.values()
            if any(item.usage is not None and item.usage.is_watched for item in one.items)
        ]
        all_of_them = (
            self._last_of_all is None or not timedelta() <= now - self._last_of_all < _LOOK_AT_ALL_EVERY
        )
        since = None if all_of_them or self._last is None else self._last - LEAST_PAUSE
        yesterday = (now - timedelta(days=2)).astimezone(UTC).date()
        due |= set(await usage_item_rows.accounts_on_versions(connection, watched, yesterday, since))
        self._last, self._last_of_all = now, now if all_of_them else self._last_of_all
        return sorted(due)


async def look_at_accounts(
    work: Work, usage: WatchedUsage, account_ids: Sequence[str], settings: BillingSettings | None = None
) -> QuotaTurn:
    """Look at the buckets of some accounts now, whenever they would be due: something was changed.

    Nothing is looked at while the clock is doubted.
    """
    settings = settings or BillingSettings()
    if await find_clock_doubt(work.connection, work.now, settings) is not None:
        return QuotaTurn()
    families = await usage_item_rows.families_of(work.connection, account_ids)
    everyone = [one for family in families.values() for one in family]
    return await _Look(usage, settings, everyone, at_once=True)(work)


async def _ripe(connection: AsyncConnection, families: Sequence[Sequence[str]], now: datetime) -> list[str]:
    """The accounts of those families that have a bucket to look at; to find that out nobody is locked."""
    everyone = [one for family in families for one in family]
    states = await quota_rows.states_of_accounts(connection, everyone, lock=False)
    running = _watched_buckets(await running_items(connection, everyone, now))
    ripe = {state.account_id for bucket, state in states.items() if bucket not in running}
    for bucket, items in running.items():
        if _is_due(states.get(bucket), items, now):
            ripe |= {one.account.id for one in items}
    return [one for family in families if ripe.intersection(family) for one in family]


def _watched_buckets(items: Sequence[RunningItem]) -> dict[str, list[RunningItem]]:
    buckets = by_bucket(items)
    return {bucket: found for bucket, found in buckets.items() if any(one.terms.is_watched for one in found)}


@dataclass(slots=True)
class _Look:
    """One look at the buckets of whole families, in one transaction."""

    usage: WatchedUsage
    settings: BillingSettings
    account_ids: Sequence[str]
    at_once: bool = False

    async def __call__(self, work: Work) -> QuotaTurn:
        doubt = await find_clock_doubt(work.connection, work.now, self.settings)
        if doubt is not None:
            raise ClockDoubted(doubt)
        await account_rows.lock_accounts(work.connection, sorted(self.account_ids))
        states = await quota_rows.states_of_accounts(work.connection, self.account_ids)
        running = _watched_buckets(await running_items(work.connection, self.account_ids, work.now))
        due = [
            one
            for bucket, items in running.items()
            if self.at_once or _is_due(states.get(bucket), items, work.now)
            for one in items
        ]
        gone = [state for bucket, state in states.items() if bucket not in running]
        if not due and not gone:
            return QuotaTurn()
        return await self._compare(work, due, gone, states)

    async def _compare(
        self,
        work: Work,
        due: Sequence[RunningItem],
        gone: Sequence[QuotaState],
        states: dict[str, QuotaState],
    ) -> QuotaTurn:
        before = dict(states)
        rates = await self.usage.fastest_rates(work.connection, sorted({one.service_id for one in due}))
        buckets = await measure_buckets(work.connection, self.usage, due, work.now)
        notes = _Notes(work, await _alerts_told(work, buckets))
        for one in buckets:
            bucket, bought = await self._top_up(work, one)
            watched = [_watched(item, rates) for item in bucket.items]
            notes.tell_alerts(bucket, watched)
            states[bucket.bucket] = notes.note(bucket, watched, states.get(bucket.bucket))
            notes.turn += QuotaTurn(looked_at=1, topped_up=bought)
        for state in gone:
            notes.note_end(state)
            del states[state.bucket]
        notes.tell_holds(before, states)
        await notes.write([states[one.bucket] for one in buckets], [state.bucket for state in gone])
        return notes.turn

    async def _top_up(self, work: Work, bucket: RunningBucket) -> tuple[RunningBucket, int]:
        """Buy what is bought by itself while the cap is reached; how the bucket stands then."""
        bought = 0
        while True:
            offer = await _automatic_offer(work, bucket)
            if offer is None:
                return bucket, bought
            item, code, source = offer
            receipt = granted(
                await buy_top_up(
                    work, subscription_id=item.subscription.id, code=code, source=source, how="automatic"
                )
            )
            bought += receipt.outcome == "bought"
            [bucket] = await measure_buckets(work.connection, self.usage, bucket.items, work.now)


async def _automatic_offer(work: Work, bucket: RunningBucket) -> tuple[RunningItem, str, str] | None:
    """The first offer that may still be bought automatically for a cap that is reached."""
    for item in bucket.items:
        offers = [one for one in item.terms.top_ups if one.automatic]
        if not offers or not bucket.standing.is_capped(item.terms):
            continue
        since = item.period.start
        bought = await bucket_rows.top_ups_since(work.connection, bucket.bucket, since, "automatic")
        for offer in offers:
            count = sum(1 for one in bought if one.code == offer.code)
            if count < offer.automatic and await refuse_unpaid(work, item, offer) is None:
                name = f"auto:{bucket.bucket}:{offer.code}:{since}:{count + 1}"
                return item, offer.code, f"auto:{hashlib.sha256(name.encode()).hexdigest()}"
    return None


def _terms_key(items: Sequence[RunningItem]) -> str:
    """Changes when another item, plan version or part is under the bucket."""
    named = "|".join(sorted(f"{one.key}:{one.version.id}:{one.service_id}" for one in items))
    return hashlib.sha256(named.encode()).hexdigest()


def _is_due(state: QuotaState | None, items: Sequence[RunningItem], now: datetime) -> bool:
    if state is None or state.terms_key != _terms_key(items):
        return True
    return state.look_at <= now or state.look_at > now + 2 * LONGEST_PAUSE  # noted by a clock that was wrong


def _watched(item: RunningItem, rates: Mapping[str, tuple[int, int]]) -> Watched:
    down, up = rates.get(item.service_id, (_ANY_LINE_BPS, _ANY_LINE_BPS))
    return Watched(item.service_id, item.terms, down, up)


async def _alerts_told(work: Work, buckets: Sequence[RunningBucket]) -> set[Alert]:
    since = min((one.standing.window.start for one in buckets), default=None)
    if since is None:
        return set()
    return await quota_rows.alerts_told(work.connection, [one.bucket for one in buckets], since)


@dataclass(slots=True)
class _Notes:
    """What a look finds, written at its end with a few statements; ``told``: alerts that windows have had."""

    work: Work
    told: set[Alert]
    turn: QuotaTurn = field(default_factory=QuotaTurn)
    events: list[dict[str, object]] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)

    def tell_alerts(self, bucket: RunningBucket, watched: Sequence[Watched]) -> None:
        """Alerts that the window has not had."""
        standing, first = bucket.standing, bucket.items[0]
        for percent in decide_alerts(standing, watched):
            alert = (bucket.bucket, standing.window.start, percent)
            if alert in self.told:
                continue
            self.told.add(alert)
            self._event(bucket, "alert", threshold=percent)
            self.turn += QuotaTurn(alerts=1)
            services = sorted({one.service_id for one in bucket.items})
            self.facts.append(
                QuotaAlert(
                    first.account.id, services, bucket.bucket, percent,
                    standing.used, standing.included, first.terms.unit.name,
                    standing.window.start.isoformat(), standing.window.end.isoformat(),
                )
            )  # fmt: skip

    def note(
        self, bucket: RunningBucket, watched: Sequence[Watched], before: QuotaState | None
    ) -> QuotaState:
        """How the bucket stands, and a step of its trail when a cap is reached or no longer is."""
        standing, first, now = bucket.standing, bucket.items[0], self.work.now
        held = decide_holds(standing, watched)
        effect = strongest(held)
        if effect != (before.effect if before is not None else None):
            self._event(bucket, "cleared" if effect is None else "reached", effect=effect)
        turns_at = start_of_day(standing.window.end, first.account.time_zone)
        if bucket.lots:  # a lot may open or close with any day
            turns_at = min(turns_at, start_of_day(first.today + timedelta(days=1), first.account.time_zone))
        return QuotaState(
            bucket.bucket, first.account.id, _terms_key(bucket.items), standing.window.start,
            standing.window.end, standing.used, standing.included, effect, held, now,
            decide_next_look(standing, watched, now, turns_at),
        )  # fmt: skip

    def note_end(self, state: QuotaState) -> None:
        """The bucket runs no longer, or is watched no longer."""
        if state.effect is not None:
            self.events.append({
                "bucket": state.bucket, "account_id": state.account_id, "window_start": state.window_start,
                "kind": "cleared", "threshold": 0, "used": state.used, "included": state.included,
                "effect": None, "at": self.work.now,
            })  # fmt: skip

    def tell_holds(self, before: Mapping[str, QuotaState], after: Mapping[str, QuotaState]) -> None:
        """Whom caps hold now and whom they let go."""
        every = (*before.values(), *after.values())
        owner = {service: state.account_id for state in every for service in state.held}
        placed, freed = changed_holds(
            [one.held for one in before.values()], [one.held for one in after.values()]
        )
        for service, (effect, because) in sorted(placed.items()):
            self.facts.append(QuotaReached(owner[service], [service], effect, because))
        for service in freed:
            self.facts.append(QuotaCleared(owner[service], [service], _CLEARED))
        self.turn += QuotaTurn(held=len(placed), freed=len(freed))

    async def write(self, states: Sequence[QuotaState], gone: Sequence[str]) -> None:
        """Everything, in the order in which it was found."""
        await quota_rows.insert_events(self.work.connection, self.events)
        await quota_rows.save_states(self.work.connection, states)
        await quota_rows.forget_states(self.work.connection, gone)
        await self.work.publish(*self.facts)

    def _event(self, bucket: RunningBucket, kind: str, threshold: int = 0, effect: str | None = None) -> None:
        standing = bucket.standing
        self.events.append({
            "bucket": bucket.bucket, "account_id": bucket.items[0].account.id,
            "window_start": standing.window.start, "kind": kind, "threshold": threshold,
            "used": standing.used, "included": standing.included, "effect": effect, "at": self.work.now,
        })  # fmt: skip
