"""A quarter of some sixty subscribers, drawn from one seed: whatever goes wrong out there goes wrong here.

The quarter keeps the truth beside the appliance: what every NAS counted and which reports ever arrived. At
the end of each day it compares the books, the meters, the holds and the towers with it.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from hillside import DENVER, GB, FieldReport, Hillside, Subscriber
from scripted_tower import LIST, Entry
from sqlalchemy import func, select

from aaa.domain.accounting import AccountingKind
from aaa.domain.effect import Effect
from aaa.record_accounting import record_accounting
from aaa.store import tables as aaa
from appliance.change_service import change_plan, end_line
from billing.payments.reverse_payment import reverse_payment
from billing.store import tables as billing
from core.clock import FakeClock
from core.periods import local_date
from core.refusal import Refusal, Refused
from core.secrets import Sealer
from core.work import Workplace
from provisioning.set_up import set_known_outage
from provisioning.store import tables as provisioning

SESSION_FAULTS = ("unreachable", "login", "hang", "garbled", "lie", "refuse", "hang_write", "half", "")
HABITS = ("punctual", "punctual", "sloppy", "sloppy", "bad", "in parts")


class PulledPlug(BaseException):
    """Nothing catches it, as nothing catches a power cut."""


@dataclass
class Household:
    """One subscriber as he is: how he pays, where he lives."""

    one: Subscriber
    habit: str
    device_id: str
    nas_id: str
    ended: set[str] = field(default_factory=set)
    payments: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        return [service_id for service_id in self.one.service_ids if service_id not in self.ended]


@dataclass
class Quarter:
    """The simulation; ``journal`` tells each day in figures that do not depend on ids."""

    world: Hillside
    chance: random.Random
    people: list[Household] = field(default_factory=list)
    arrived: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    underway: list[FieldReport] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)
    keys: Any = field(default_factory=lambda: itertools.count(1))

    @classmethod
    async def begin(
        cls, workplace: Workplace, sealer: Sealer, clock: FakeClock, seed: int, subscribers: int
    ) -> Quarter:
        """Everybody has moved in, nothing has happened yet."""
        world = await Hillside.build(workplace, sealer, clock)
        world.new_worker(device_sessions=1, drift_interval_s=600, new_suspensions_per_site_per_hour=500)
        quarter = cls(world, random.Random(seed))
        await world.town.tax()
        big: dict[str, Any] = {
            "code": "big",
            "name": "Big",
            "price_minor": 6000,
            "service_profile_id": world.profile_id,
        }
        await world.town.plan(**big, allowance_octets=None, overage_tiers=[])
        await world.nas("nas_old", gigawords=False)
        devices = [await world.tower(name) for name in ("Red", "Blue", "Green")]
        for device_id in devices:
            world.towers.by_device[device_id].entries.append(Entry(LIST, "192.0.2.200", "by hand"))
        for number in range(subscribers):
            await quarter._move_in(number, devices[number % 3])
        return quarter

    async def _move_in(self, number: int, device_id: str) -> None:
        name = f"c{number:03}"
        terms = {"anchor_day": self.chance.randint(1, 31), "payment_terms_days": self.chance.choice((7, 14))}
        one = await self.world.customer(name, device_id, **terms)
        nas_id = self.chance.choice(("nas_1", "nas_1", "nas_old"))
        self.people.append(Household(one, self.chance.choice(HABITS), device_id, nas_id))
        if number % 6 == 0:
            await self.world.sell(one, device_id, name + "-barn")

    async def live(self, days: int) -> None:
        """Day after day; each is proven at its end, and each seventh is a calm one."""
        for day in range(1, days + 1):
            await self._a_day()
            if day % 7 == 0 or day == days:
                await self._calm()
                await self._prove_calm()
            await self._prove_day()
            await self._note_day()

    async def _a_day(self) -> None:
        self._break_things()
        await self._dial_in()
        await self._deliver()
        await self._people_act()
        self.world.pass_time(hours=9)
        self._surf()
        self._come_and_go()
        await self._deliver()
        await self._dial_in()
        await self._money_comes_in()
        await self._settle(self._nothing_comes)
        today = local_date(self.world.clock.now(), DENVER)
        self.world.town.travel(today + timedelta(days=1))
        self._surf()
        await self._deliver()
        await self._night()

    # Out there.

    def _maybe(self, share: float, what: str) -> bool:
        happens = self.chance.random() < share
        self.tally[what] += happens
        return happens

    def _surf(self) -> None:
        """Who reaches the internet uses it; a narrow counter never turns twice, even if reports are lost."""
        for nas in self.world.nases.values():
            for line in nas.live:
                if self.world.reaches_internet(line.service_id):
                    most = 9 * GB if nas.gigawords else GB // 2
                    line.carry(self.chance.randint(0, most // 8), self.chance.randint(0, most))
            nas.interims()

    def _come_and_go(self) -> None:
        for nas in self.world.nases.values():
            for line in list(nas.live):
                if self._maybe(0.06, "sessions ended"):
                    nas.hang_up(line, tell=not self._maybe(0.4, "stops never sent"))
            if self._maybe(0.03, "NAS reboots"):
                nas.reboot(tell=self.chance.random() < 0.7)

    async def _dial_in(self) -> None:
        """Who is off line dials, and gets the lowest free address: addresses go round quickly."""
        for home in self.people:
            for service_id in home.lines:
                if self.world.line_of(service_id) is None and self.chance.random() < 0.8:
                    nas = self.world.nases[home.nas_id]
                    taken = {line.ip for line in nas.live}
                    pool = (f"100.64.{len(nas.nas_id)}.{n}" for n in range(1, 250))
                    address = next(one for one in pool if one not in taken)
                    line = await self.world.dial(home.one, address, service_id, home.nas_id)
                    self.tally["dials" if line else "dials rejected"] += 1

    def _break_things(self) -> None:
        """Towers fall ill for some sessions, lie, lose their entries."""
        for tower in self.world.towers.by_device.values():
            if self._maybe(0.15, "tower troubles"):
                count = self.chance.choice((1, 3, 10, 60))
                tower.faults = [self.chance.choice(SESSION_FAULTS) for _ in range(count)]
            if self._maybe(0.04, "tower reboots"):
                tower.entries = [entry for entry in tower.entries if entry.comment == "by hand"]
            if self._maybe(0.05, "power cuts in a session"):
                tower.at_first_look = _power_cut

    async def _deliver(self) -> None:
        """Reports come late, twice, out of order or never; the collector loses its power now and then."""
        self.underway += [one for nas in self.world.nases.values() for one in nas.take_reports()]
        coming: list[FieldReport] = []
        waiting: list[FieldReport] = []
        for report in self.underway:
            fate = self.chance.random()
            if fate < 0.03:
                self.tally["reports lost"] += 1
            elif fate < 0.10:
                waiting.append(report)
            else:
                coming += [self._damaged(report)] * (2 if fate < 0.16 else 1)
        self.underway = waiting
        self.chance.shuffle(coming)
        for start in range(0, len(coming), 40):
            await self._take_in(coming[start : start + 40])

    def _damaged(self, report: FieldReport) -> FieldReport:
        """Now and then a Stop comes without its counters."""
        if report.event.kind is not AccountingKind.STOP or not self._maybe(0.15, "empty stops"):
            return report
        event = replace(report.event, octets_in=0, octets_out=0)
        return replace(report, event=event, octets_in=0, octets_out=0)

    async def _all_comes_through(self) -> None:
        """For once no report is lost or late."""
        self.underway += [one for nas in self.world.nases.values() for one in nas.take_reports()]
        coming, self.underway = self.underway, []
        if coming:
            await self._take_in(coming)

    async def _take_in(self, reports: Sequence[FieldReport]) -> None:
        events = [one.event for one in reports]
        if self._maybe(0.05, "power cuts while taking in"):
            with suppress(PulledPlug):
                async with self.world.workplace.work("system:ingest") as work:
                    await record_accounting(work, events, self.world.sealer.derive_key("class-token"))
                    await _power_cut()
        await self.world.record(events)
        for one in reports:
            before = self.arrived.get(one.owner, (0, 0))
            self.arrived[one.owner] = (max(before[0], one.octets_in), max(before[1], one.octets_out))

    # People.

    async def _people_act(self) -> None:
        """Operators hold and lift, customers change plans and leave, towers are declared down and up."""
        by_hand = await self._held_by("operator")
        for home in self.people:
            for service_id in home.lines:
                if self._maybe(0.004, "operator holds"):
                    effect = self.chance.choice((Effect.BLOCK, Effect.WALLED_GARDEN, Effect.THROTTLE))
                    await self.world.hold(service_id, effect=effect)
                elif service_id in by_hand and self.chance.random() < 0.10:
                    await self.world.lift(service_id)
                elif self.chance.random() < 0.004:
                    await self._change_plan(service_id)
                elif self.chance.random() < 0.002:
                    await self._leave(home, service_id)
        for row in await self.world.rows(select(provisioning.site).order_by(provisioning.site.c.name)):
            if self._maybe(0.02, "outages") or row.known_outage:
                async with self.world.workplace.work("operator:ann") as work:
                    await set_known_outage(work, row.id, not row.known_outage)

    async def _held_by(self, holder: str) -> dict[str, str]:
        """The effect of each standing hold of the holder, by service."""
        query = select(aaa.hold).where(aaa.hold.c.holder == holder, aaa.hold.c.lifted_at.is_(None))
        return {row.service_id: row.effect for row in await self.world.rows(query)}

    async def _change_plan(self, service_id: str) -> None:
        try:
            async with self.world.workplace.work("operator:ann") as work:
                changed = await change_plan(work, service_id, self.chance.choice(("big", "home")))
        except Refused:
            self.tally["plan changes refused"] += 1
            return
        self.tally["plan changes refused" if isinstance(changed, Refusal) else "plan changes"] += 1

    async def _leave(self, home: Household, service_id: str) -> None:
        async with self.world.workplace.work("operator:ann") as work:
            await end_line(work, service_id, "moved away")
        home.ended.add(service_id)
        self.tally["lines ended"] += 1

    async def _money_comes_in(self) -> None:
        today = local_date(self.world.clock.now(), DENVER)
        rows = await self.world.rows(select(billing.invoice).where(billing.invoice.c.open_minor > 0))
        owed: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            owed[row.account_id].append(row)
        for home in self.people:
            invoices = owed.get(home.one.account_id, [])
            due = sum(row.open_minor for row in invoices)
            late = max(((today - row.due_on).days for row in invoices), default=0)
            if due and self.chance.random() < _eagerness(home.habit, late):
                await self._pay(home, self.chance.randint(1, due) if home.habit == "in parts" else due)
            elif home.payments and self._maybe(0.004, "chargebacks"):
                await self._charge_back(home)

    async def _pay(self, home: Household, amount: int) -> None:
        """Money, sometimes recorded twice under its key."""
        key = f"bank-{next(self.keys)}"
        receipt = await self.world.town.pay(home.one.account_id, amount, idempotency_key=key)
        home.payments.append(receipt.payment_id)
        self.tally["payments"] += 1
        if self._maybe(0.1, "payments told twice"):
            again = await self.world.town.pay(home.one.account_id, amount, idempotency_key=key)
            assert (again.outcome, again.payment_id) == ("exists", receipt.payment_id)

    async def _charge_back(self, home: Household) -> None:
        payment_id = home.payments.pop(self.chance.randrange(len(home.payments)))
        async with self.world.workplace.work("operator:ann") as work:
            await reverse_payment(work, payment_id=payment_id, reason="chargeback")

    # The appliance.

    async def _night(self) -> None:
        await self.world.town.bill()
        await self.world.town.dun()
        await self.world.reap()
        await self._settle()
        if self._maybe(0.3, "drift checks"):
            await self._check_drift()

    async def _nothing_comes(self) -> None:
        """Reports are underway for hours."""

    async def _settle(self, ingest: Callable[[], Awaitable[None]] | None = None) -> None:
        """Facts and tasks until nothing is due; a worker that loses its power is started again."""
        for _ in range(3):
            try:
                await self.world.settle(ingest=ingest or self._all_comes_through)
            except PulledPlug:
                self.tally["workers lost"] += 1
                self.world.pass_time(seconds=200)  # its leases run out
                continue
            return

    async def _check_drift(self) -> None:
        try:
            self.tally["drift repaired"] += await self.world.enforcer.check_drift()
        except PulledPlug:
            self.tally["workers lost"] += 1
            self.world.pass_time(seconds=200)

    async def _calm(self) -> None:
        """Towers are well, every report comes through, and the pauses of earlier failures run out."""
        for tower in self.world.towers.by_device.values():
            tower.faults, tower.at_first_look = [], None
        for row in await self.world.rows(select(provisioning.site)):
            async with self.world.workplace.work("operator:ann") as work:
                await set_known_outage(work, row.id, False)
        for turn in range(4):
            self.world.pass_time(minutes=20)
            for nas in self.world.nases.values():
                nas.interims()
            await self._all_comes_through()
            await self.world.reap()
            await self._settle()
            if turn == 1:
                await self._check_drift()

    # The proofs.

    async def _prove_day(self) -> None:
        await self.world.prove_books()
        await self._prove_invoices()
        await self._prove_usage()
        await self._prove_holds()
        for tower in self.world.towers.by_device.values():
            assert tower.foreign() == [("192.0.2.200", "by hand")]

    async def _prove_invoices(self) -> None:
        """At most one invoice for an account and a cycle."""
        cycle = (billing.invoice.c.account_id, billing.invoice.c.cycle_start)
        twice = await self.world.rows(select(*cycle).group_by(*cycle).having(func.count() > 1))
        assert twice == []

    async def _prove_usage(self) -> None:
        """What is on record is what the NASes counted, less what was never reported."""
        truth: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for (service_id, _), (octets_in, octets_out) in self.arrived.items():
            so_far = truth[service_id]
            truth[service_id] = (so_far[0] + octets_in, so_far[1] + octets_out)
        record = aaa.usage_record
        rows = await self.world.rows(
            select(
                record.c.service_id, func.sum(record.c.octets_in).label("up"),
                func.sum(record.c.octets_out).label("down"),
            ).group_by(record.c.service_id)
        )  # fmt: skip
        recorded = {row.service_id: (int(row.up), int(row.down)) for row in rows}
        expected = {service_id: octets for service_id, octets in truth.items() if service_id and any(octets)}
        differing = {
            service_id: (recorded.get(service_id), expected.get(service_id))
            for service_id in recorded.keys() | expected.keys()
            if recorded.get(service_id) != expected.get(service_id)
        }
        assert not differing, f"service: (recorded, reported): {differing}"

    async def _prove_holds(self) -> None:
        """The outbox is dry: dunning holds whom it says, and nobody else."""
        assert await self.world.waiting_facts() == []
        held = await self._held_by("dunning")
        stages = await self._stages()
        effects = {"restricted": "throttle", "suspended": "walled_garden"}
        for home in self.people:
            wanted = effects.get(stages[home.one.account_id])
            for service_id in home.lines:
                assert held.get(service_id) == wanted, (home.one.name, stages[home.one.account_id])
            if wanted is None:
                assert not held.keys() & home.ended, home.one.name

    async def _stages(self) -> dict[str, str]:
        rows = await self.world.rows(select(billing.dunning_state))
        return {row.account_id: row.stage for row in rows}

    async def _prove_calm(self) -> None:
        """Every task is verified, so every tower holds exactly what it should, and sessions are as entitled."""
        assert await self.world.open_tasks() == []
        effects = {
            row.service_id: Effect(row.effect) for row in await self.world.rows(select(aaa.entitlement))
        }
        sessions = await self.world.rows(select(aaa.session).where(aaa.session.c.stopped_at.is_(None)))
        free = {row.framed_ip for row in sessions if not effects[row.service_id].cuts_off}
        for device_id, tower in self.world.towers.by_device.items():
            here = {s for home in self.people if home.device_id == device_id for s in home.one.service_ids}
            wanted = {
                (row.service_id, row.framed_ip)
                for row in sessions
                if row.service_id in here and effects[row.service_id].cuts_off and row.framed_ip not in free
            }
            assert tower.marked() == wanted
        for nas in self.world.nases.values():
            for line in nas.live:
                cut_off = effects[line.service_id].cuts_off
                assert self.world.reaches_internet(line.service_id) is not cut_off, line
                self.tally["seen cut off" if cut_off else "seen on line"] += 1

    async def _note_day(self) -> None:
        stages = Counter((await self._stages()).values())
        bills = await self.world.rows(select(billing.invoice.c.total_minor))
        invoices, total = len(bills), sum(row.total_minor for row in bills)
        up = sum(octets[0] for octets in self.arrived.values())
        names = {s: home.one.usernames[s] for home in self.people for s in home.one.service_ids}
        marked = sorted(
            (names[service_id], address)
            for tower in self.world.towers.by_device.values()
            for service_id, address in tower.marked()
        )
        sent = sum(len(tower.sent) for tower in self.world.towers.by_device.values())
        self.tally["most marked"] = max(self.tally["most marked"], len(marked))
        self.journal.append(
            f"{self.world.clock.now().isoformat()} {sorted(stages.items())} {invoices} {total} {up} {marked} "
            f"{sent} {sorted(self.tally.items())}"
        )


def _eagerness(habit: str, days_late: int) -> float:
    """How likely somebody pays today."""
    match habit:
        case "punctual":
            return 0.3
        case "sloppy":
            return 0.12 if days_late > 5 else 0.02
        case "in parts":
            return 0.15
        case _:
            return 0.25 if days_late > 20 else 0.0


async def _power_cut() -> None:
    raise PulledPlug
