"""All rooms over one clock: towers that keep their lists, a NAS that knows the truth, a worker's daily round.

Nothing here decides: accounting goes in as events, money and holds move through use cases and reactions,
towers are changed by the enforcer alone. What a subscriber reaches is read from the tower and the NAS.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from billing_story import Town
from scripted_tower import LIST, ScriptedConsole, ScriptedTower
from sqlalchemy import Row, select

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.class_token import ClassToken, encode_class
from aaa.domain.effect import Effect
from aaa.entitlements import Entitlement, entitlement_of
from aaa.place_hold import lift_hold, place_hold
from aaa.reap_sessions import reap_sessions
from aaa.record_accounting import record_accounting
from aaa.set_up import NewCredential, create_service, define_profile
from aaa.store.directory_rows import record_session_generation
from aaa.store.tables import hold, session, usage_record
from appliance.reactions import REACTIONS
from appliance.wiring import MeteredUsage
from billing.payments.reverse_payment import Reversal, reverse_payment
from billing.set_up import subscribe
from core.clock import FakeClock
from core.outbox import dispatch_due
from core.periods import local_date, start_of_day
from core.refusal import granted
from core.secrets import Sealer, Secret
from core.store.tables import fact, health_issue
from core.work import Workplace
from provisioning.config import ProvisioningSettings
from provisioning.enforce import Enforcer
from provisioning.ports import Driver, Target
from provisioning.set_up import add_enforcement_point, register_device, register_site
from provisioning.store.tables import task

GB = 10**9
DENVER = "America/Denver"
INTERIM_S = 12 * 3600
KINDS = AccountingKind


@dataclass
class Dialled:
    """One live session as its NAS knows it, with true counters."""

    service_id: str
    username: str
    acct_session_id: str
    sign_in: str
    first_generation: int  # in its Class, whatever CoA did since
    effect: str
    ip: str
    mac: str
    began: datetime
    octets_in: int = 0
    octets_out: int = 0

    def carry(self, octets_in: int, octets_out: int) -> None:
        """The subscriber sends and receives."""
        self.octets_in += octets_in
        self.octets_out += octets_out


@dataclass(frozen=True)
class FieldReport:
    """An accounting report with the truth behind it: whose session, and its counters before any wrap."""

    event: AccountingEvent
    owner: tuple[str, str]  # service id, sign-in
    octets_in: int = 0
    octets_out: int = 0


class FieldNas:
    """A NAS that never forgets what truly happened: live sessions, finished ones, reports not yet sent."""

    def __init__(self, nas_id: str, class_key: bytes, clock: FakeClock, *, gigawords: bool = True) -> None:
        self.nas_id = nas_id
        self.class_key = class_key
        self.clock = clock
        self.gigawords = gigawords
        self.live: list[Dialled] = []
        self.unsent: list[FieldReport] = []
        self.silent = False  # neither CoA nor Disconnect is answered
        self._dials = 0

    def dial(self, entitlement: Entitlement, username: str, ip: str, mac: str = "") -> Dialled | None:
        """A sign-in as the RADIUS server answers it: into the walled garden, or rejected under a block."""
        if entitlement.effect in (Effect.BLOCK, Effect.ENDED):
            return None
        self._dials += 1
        one = Dialled(
            entitlement.service_id, username, f"8{self._dials:07x}", f"{self.nas_id}-{self._dials}",
            entitlement.generation, entitlement.effect.value, ip, mac or f"02:00:00:00:00:{username[-2:]}",
            self.clock.now(),
        )  # fmt: skip
        self.live.append(one)
        self._tell(one, KINDS.START)
        return one

    def interims(self) -> None:
        """Every live session tells its counters."""
        for one in self.live:
            self._tell(one, KINDS.INTERIM)

    def hang_up(self, one: Dialled, *, tell: bool = True) -> None:
        """The session ends; without ``tell`` the Stop is lost."""
        self.live.remove(one)
        if tell:
            self._tell(one, KINDS.STOP)

    def reboot(self, *, tell: bool = True) -> None:
        """Every session is gone without a Stop; Accounting-On follows."""
        self.live.clear()
        if tell:
            now = self.clock.now()
            back = AccountingEvent(self.nas_id, KINDS.NAS_ON, "0", "", b"", now, now)
            self.unsent.append(FieldReport(back, ("", "")))

    def take_reports(self) -> list[FieldReport]:
        """The reports waiting to be sent, in order; they are not waiting any more."""
        waiting, self.unsent = self.unsent, []
        return waiting

    def _tell(self, one: Dialled, kind: AccountingKind) -> None:
        now = self.clock.now()
        turn = 1 << (64 if self.gigawords else 32)
        start = kind is KINDS.START
        event = AccountingEvent(
            self.nas_id, kind, one.acct_session_id, one.username,
            encode_class(ClassToken(one.service_id, one.first_generation, one.sign_in), self.class_key), now, now,
            None if start else one.octets_in % turn, None if start else one.octets_out % turn,
            self.gigawords and not start, None if start else int((now - one.began).total_seconds()),
            one.ip, one.mac, None, "User-Request" if kind is KINDS.STOP else None,
        )  # fmt: skip
        self.unsent.append(FieldReport(event, (one.service_id, one.sign_in), one.octets_in, one.octets_out))


@dataclass(frozen=True)
class Moved:
    """What became of live sessions."""

    outcome: str
    detail: str = ""
    exchanges: Sequence[dict[str, Any]] = ()


@dataclass
class FieldSessions:
    """Moves live sessions as CoA and Disconnect do; who moved is written down as the RADIUS role writes it."""

    workplace: Workplace
    nases: dict[str, FieldNas]

    async def move(self, service_id: str, generation: int, effect: str) -> Moved:
        async with self.workplace.reading() as connection:
            rows = (
                await connection.execute(
                    select(session.c.id, session.c.nas_id).where(
                        session.c.service_id == service_id, session.c.stopped_at.is_(None)
                    )
                )
            ).all()
        if not rows:
            return Moved("nothing_live")
        reached = [row for row in rows if not self.nases[row.nas_id].silent]
        outcomes = {self._order(self.nases[row.nas_id], service_id, effect) for row in reached}
        async with self.workplace.work("system:radius") as work:
            await record_session_generation(work.connection, [row.id for row in reached], generation)
        if len(reached) < len(rows):
            return Moved("silent", "no answer to three requests")
        return Moved("disconnected" if "disconnected" in outcomes else "moved")

    def _order(self, nas: FieldNas, service_id: str, effect: str) -> str:
        outcome = "moved"
        for one in [one for one in nas.live if one.service_id == service_id]:
            if effect in (Effect.BLOCK, Effect.ENDED):
                nas.hang_up(one)
                outcome = "disconnected"
            else:
                one.effect = effect
        return outcome


class Towers:
    """One transport to several scripted towers."""

    def __init__(self) -> None:
        self.by_device: dict[str, ScriptedTower] = {}

    def close(self) -> None:
        return None

    @asynccontextmanager
    async def open(self, target: Target, driver: Driver) -> AsyncIterator[ScriptedConsole]:
        async with self.by_device[target.device_id].open(target, driver) as console:
            yield console


@dataclass
class Subscriber:
    """A customer with one account and the services he was sold."""

    name: str
    account_id: str
    service_ids: list[str] = field(default_factory=list)
    subscriptions: list[str] = field(default_factory=list)
    usernames: dict[str, str] = field(default_factory=dict)

    @property
    def service_id(self) -> str:
        return self.service_ids[0]


@dataclass
class Hillside:
    """The world of one test."""

    workplace: Workplace
    sealer: Sealer
    clock: FakeClock
    town: Town
    towers: Towers
    nases: dict[str, FieldNas]
    sessions: FieldSessions
    enforcer: Enforcer
    profile_id: str = ""
    plan_id: str = ""

    @classmethod
    async def build(cls, workplace: Workplace, sealer: Sealer, clock: FakeClock) -> Hillside:
        usage: Any = MeteredUsage()
        towers = Towers()
        nases: dict[str, FieldNas] = {}
        sessions = FieldSessions(workplace, nases)
        enforcer = Enforcer(
            workplace, sealer, sessions, ProvisioningSettings(), "worker",
            transport=towers, chance=lambda: 0.0,
        )  # fmt: skip
        world = cls(
            workplace, sealer, clock, Town(workplace, clock, meters=usage), towers, nases, sessions, enforcer
        )
        async with workplace.work("operator:ann") as work:
            world.profile_id = granted(
                await define_profile(
                    work, name="home", rate_down_bps=100_000_000, rate_up_bps=20_000_000,
                    interim_interval_s=INTERIM_S,
                )
            )  # fmt: skip
        world.plan_id = await world.town.plan(service_profile_id=world.profile_id)
        await world.nas("nas_1")
        return world

    def new_worker(self, worker: str = "worker", **settings: Any) -> Enforcer:
        """Another worker takes over, with these settings of provisioning."""
        self.enforcer = Enforcer(
            self.workplace, self.sealer, self.sessions, ProvisioningSettings(**settings), worker,
            transport=self.towers, chance=lambda: 0.0,
        )  # fmt: skip
        return self.enforcer

    async def nas(self, nas_id: str, *, gigawords: bool = True) -> FieldNas:
        """A NAS that reports to us."""
        key = self.sealer.derive_key("class-token")
        self.nases[nas_id] = FieldNas(nas_id, key, self.clock, gigawords=gigawords)
        return self.nases[nas_id]

    async def tower(self, name: str) -> str:
        """A tower with one router; returns the device's id."""
        async with self.workplace.work("operator:ann") as work:
            site_id = granted(await register_site(work, name=name))
            device_id = granted(
                await register_device(
                    work, self.sealer, site_id=site_id, name=f"rb-{name.lower()}", driver="routeros",
                    address="192.0.2.1", username="hilltop", password=Secret("opensesame"),
                )
            )  # fmt: skip
        self.towers.by_device[device_id] = ScriptedTower()
        return device_id

    async def customer(self, name: str, device_id: str, **terms: Any) -> Subscriber:
        """An account with one service behind that device, on the usual plan, sold today."""
        one = Subscriber(name, await self.town.account(name, **terms))
        await self.sell(one, device_id, name)
        return one

    async def sell(self, one: Subscriber, device_id: str, username: str, ip: str | None = None) -> str:
        """One more service for the account."""
        async with self.workplace.work("operator:ann") as work:
            service_id = granted(
                await create_service(
                    work, self.sealer, account_id=one.account_id, label=username, profile_id=self.profile_id,
                    credentials=[NewCredential("pppoe", username, Secret("pw-of-" + username))], framed_ip=ip,
                )
            )  # fmt: skip
            one.subscriptions.append(
                granted(
                    await subscribe(
                        work, account_id=one.account_id, service_id=service_id, plan_version_id=self.plan_id
                    )
                )
            )
            granted(await add_enforcement_point(work, service_id=service_id, device_id=device_id))
        one.service_ids.append(service_id)
        one.usernames[service_id] = username
        return service_id

    # What happens out there.

    async def dial(
        self, one: Subscriber, ip: str, service_id: str = "", nas_id: str = "nas_1"
    ) -> Dialled | None:
        """The CPE signs in; None when the server rejects it."""
        service_id = service_id or one.service_id
        return self.nases[nas_id].dial(await self.entitlement(service_id), one.usernames[service_id], ip)

    def line_of(self, service_id: str) -> Dialled | None:
        """The live session of the service, wherever it is."""
        live = (line for nas in self.nases.values() for line in nas.live if line.service_id == service_id)
        return next(live, None)

    def reaches_internet(self, service_id: str) -> bool:
        """The plain truth out there: a session that is not walled, and no entry on any tower on its address."""
        line = self.line_of(service_id)
        if line is None or Effect(line.effect).cuts_off:
            return False
        return not any(
            entry.list_name == LIST and entry.address == line.ip and not entry.disabled
            for tower in self.towers.by_device.values()
            for entry in tower.entries
        )

    # What the worker and the collector do.

    async def ingest(self) -> None:
        """Take in what the NASes report."""
        await self.record([one.event for nas in self.nases.values() for one in nas.take_reports()])

    async def record(self, events: Sequence[AccountingEvent]) -> None:
        """One batch of the collector."""
        if not events:
            return
        async with self.workplace.work("system:ingest") as work:
            await record_accounting(work, events, self.sealer.derive_key("class-token"))

    async def reap(self) -> int:
        async with self.workplace.work("system:reaping") as work:
            return await reap_sessions(work)

    async def settle(self, rounds: int = 12, ingest: Callable[[], Awaitable[None]] | None = None) -> None:
        """Deliver facts and enforce until nothing is due; who is hung up on reports at once."""
        for _ in range(rounds):
            facts = await dispatch_due(self.workplace, REACTIONS)
            tasks = await self.enforcer.run_due(200)
            await (ingest or self.ingest)()
            if not facts and not tasks:
                return

    async def round(self) -> None:
        """One turn of everything on the worker's timetable."""
        await self.ingest()
        await self.town.bill()
        await self.town.dun()
        await self.reap()
        await self.settle()

    async def live_until(
        self, day: date | str, *, octets_in: int = GB // 10, octets_out: int = GB, drift: bool = False
    ) -> None:
        """Day after day until that day has begun: everybody surfs, NASes report, the worker makes its round."""
        last = date.fromisoformat(day) if isinstance(day, str) else day
        while (today := local_date(self.clock.now(), DENVER)) < last:
            self.town.travel(today + timedelta(days=1))
            for nas in self.nases.values():
                for line in nas.live:
                    if self.reaches_internet(line.service_id):
                        line.carry(octets_in, octets_out)
                nas.interims()
            await self.round()
            if drift:
                await self.enforcer.check_drift()

    def pass_time(self, **span: float) -> None:
        """Nobody does anything for a while."""
        self.clock.advance(timedelta(**span))

    # What people do.

    async def pay_all(self, one: Subscriber) -> str:
        """Pay everything that is open; returns the payment's id."""
        due = sum(row.open_minor for row in await self.town.invoices(one.account_id))
        return (await self.town.pay(one.account_id, due)).payment_id

    async def charge_back(self, payment_id: str) -> Reversal:
        """The bank takes the money back."""
        async with self.workplace.work("operator:ann") as work:
            return granted(await reverse_payment(work, payment_id=payment_id, reason="chargeback"))

    async def hold(self, service_id: str, holder: str = "operator", effect: Effect = Effect.BLOCK) -> int:
        async with self.workplace.work("operator:ann") as work:
            return granted(
                await place_hold(work, service_id=service_id, holder=holder, effect=effect, reason="abuse")
            )

    async def lift(self, service_id: str, holder: str = "operator") -> int:
        async with self.workplace.work("operator:ann") as work:
            return granted(await lift_hold(work, service_id=service_id, holder=holder))

    # What is on record.

    async def entitlement(self, service_id: str) -> Entitlement:
        async with self.workplace.reading() as connection:
            found = await entitlement_of(connection, service_id)
        assert found is not None
        return found

    async def effect(self, service_id: str) -> str:
        return (await self.entitlement(service_id)).effect.value

    async def rows(self, query: Any) -> Sequence[Row[Any]]:
        async with self.workplace.reading() as connection:
            return (await connection.execute(query)).all()

    async def open_tasks(self) -> Sequence[Row[Any]]:
        return await self.rows(select(task).where(task.c.status.in_(["waiting", "claimed", "parked"])))

    async def holders(self, service_id: str) -> list[str]:
        """Who holds the service now."""
        query = select(hold.c.holder).where(hold.c.service_id == service_id, hold.c.lifted_at.is_(None))
        return sorted(row.holder for row in await self.rows(query))

    async def used(self, service_id: str) -> tuple[int, int]:
        """Octets on record for the service, ever."""
        query = select(usage_record.c.octets_in, usage_record.c.octets_out).where(
            usage_record.c.service_id == service_id
        )
        found = await self.rows(query)
        return sum(row.octets_in for row in found), sum(row.octets_out for row in found)

    async def sessions_on_record(self, service_id: str) -> Sequence[Row[Any]]:
        query = select(session).where(session.c.service_id == service_id)
        return await self.rows(query.order_by(session.c.started_at, session.c.id))

    async def issues(self) -> dict[str, Row[Any]]:
        query = select(health_issue).where(health_issue.c.closed_at.is_(None))
        return {row.key: row for row in await self.rows(query)}

    async def waiting_facts(self) -> Sequence[Row[Any]]:
        return await self.rows(select(fact).where(fact.c.dispatched_at.is_(None)))

    async def prove_books(self) -> None:
        await self.town.prove_books()

    @staticmethod
    def noon(day: str) -> datetime:
        """Noon of that local day."""
        return start_of_day(date.fromisoformat(day), DENVER) + timedelta(hours=12)
