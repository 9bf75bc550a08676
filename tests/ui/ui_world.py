"""A small provider for the panel's tests: two months of a fictional valley, made through the use cases.

Ten households on three towers; most pay, some are late, one was suspended, paid and is back. One tower's
router is a real SSH console of the lab, so transcripts and proofs are what devices really say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import update

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.class_token import ClassToken, encode_class
from aaa.domain.effect import Effect
from aaa.place_hold import place_hold
from aaa.record_accounting import record_accounting
from aaa.record_rejects import RejectSighting, record_rejects
from aaa.set_up import NewCredential, create_service, define_profile, register_nas
from aaa.store import tables as aaa_tables
from aaa.store.tables import session
from appliance.reactions import REACTIONS
from appliance.wiring import MeteredUsage
from billing.dunning.evaluate import evaluate_dunning
from billing.invoicing.bill_run import BillRunOutcome, bill_run
from billing.ledger.verify import account_balance
from billing.payments.receive_payment import receive_payment
from billing.set_up import define_plan_version, open_account, set_tax_rate, subscribe
from billing.store import tables as billing_tables
from core.clock import FakeClock
from core.database import Database, sqlite_url
from core.ids import SeededIds
from core.outbox import dispatch_due
from core.refusal import granted
from core.secrets import Sealer, Secret
from core.store import tables as core_tables
from core.work import Work, Workplace
from lab.routeros import RouterOsConsole
from provisioning.config import ProvisioningSettings
from provisioning.enforce import Enforcer
from provisioning.set_up import add_enforcement_point, register_device, register_site, set_known_outage
from provisioning.store import tables as provisioning_tables
from snmp.set_up import bind, register_target
from snmp.store import tables as snmp_tables
from ui.operators import create_operator
from ui.passwords import Passwords
from ui.store import operator_rows
from ui.store import tables as ui_tables

OPENED = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
TODAY = datetime(2026, 3, 10, 16, 30, tzinfo=UTC)
GB = 10**9
PASSWORD = "quiet heron crosses granite"
ROLES = ("owner", "billing", "network", "viewer")
HOUSEHOLDS = (
    # name, town, plan, tower, pays on time, GB a day
    ("Willa Thornbury", "Juniper Flats", "home-25", 0, True, 7.0),
    ("Otis Marsh", "Juniper Flats", "home-100", 0, True, 19.0),
    ("Vale Creamery", "Cold Spring", "farm-50", 1, True, 11.0),
    ("Hester Quill", "Cold Spring", "home-25", 1, False, 9.5),
    ("Barnaby Pike", "Juniper Flats", "home-25", 0, False, 4.0),
    ("Tansy Orchard Co-op", "Mill Bend", "farm-50", 2, True, 14.0),
    ("Rufus Elderberry", "Mill Bend", "home-25", 2, True, 2.5),
    ("Saffron Lake Lodge", "Cold Spring", "home-100", 1, True, 31.0),
    ("Ada Whitlock", "Juniper Flats", "home-100", 0, False, 12.0),
    ("Linus Fairweather", "Mill Bend", "home-25", 2, True, 5.5),
)


@dataclass
class Provider:
    """The world while it is being made, and the ids that tests ask for."""

    workplace: Workplace
    clock: FakeClock
    sealer: Sealer
    accounts: dict[str, str] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)
    nases: list[str] = field(default_factory=list)
    sites: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    snmp_targets: list[str] = field(default_factory=list)
    plans: dict[str, tuple[str, str]] = field(default_factory=dict)  # code -> (version, profile)

    async def settle(self, enforcer: Enforcer | None = None) -> None:
        """Deliver facts and enforce until nothing is left to do at this moment."""
        while await dispatch_due(self.workplace, REACTIONS):
            pass
        while enforcer is not None and await enforcer.run_due():
            await dispatch_due(self.workplace, REACTIONS)


async def make_operators(workplace: Workplace) -> None:
    """One operator of each role, all with ``PASSWORD`` already their own."""
    password_hash = Passwords().hash_now(PASSWORD)
    async with workplace.work("system:test") as work:
        for role in ROLES:
            granted(await create_operator(work, role, role))
            found = await operator_rows.operator_by_name(work.connection, role)
            assert found is not None
            await operator_rows.set_password(work.connection, found.id, password_hash, must_change=False)


async def build_provider(path: Path, sealer: Sealer) -> Provider:
    """The whole story into the database file at ``path``."""
    clock = FakeClock(OPENED)
    database = Database(sqlite_url(path))
    async with database.write() as connection:
        for room in (core_tables, aaa_tables, billing_tables, provisioning_tables, snmp_tables, ui_tables):
            await connection.run_sync(room.metadata.create_all)
    provider = Provider(Workplace(database, clock, SeededIds(7)), clock, sealer)
    console = RouterOsConsole("quail-ridge-rb", "7.16", "hilltop", "tower words", clock=clock)
    port = await console.start()
    try:
        await _tell(provider, port, console.host_key)
    finally:
        await console.stop()
        await database.close()
    return provider


async def _tell(provider: Provider, port: int, host_key: str) -> None:
    await make_operators(provider.workplace)
    async with provider.workplace.work("operator:network") as work:
        await _build_network(provider, work, port, host_key)
    async with provider.workplace.work("operator:billing") as work:
        await _build_catalogue(provider, work)
    for number, household in enumerate(HOUSEHOLDS):
        provider.clock.advance(timedelta(minutes=7))
        async with provider.workplace.work("operator:owner") as work:
            await _sign_up(provider, work, number, household)
    settings = ProvisioningSettings(settle_s=0.01, backoff_first_s=1)
    enforcer = Enforcer(provider.workplace, provider.sealer, PromptNas(provider), settings, "test")
    try:
        await _two_months(provider, enforcer)
        await _today(provider, enforcer)
    finally:
        enforcer.close()


async def _build_network(provider: Provider, work: Work, port: int, host_key: str) -> None:
    sealer = provider.sealer
    for number, (name, latitude, longitude) in enumerate(
        [("Quail Ridge", 38.91, -106.97), ("Sugar Loaf", 38.84, -107.02), ("Mesa View", 38.79, -106.88)]
    ):
        site_id = granted(await register_site(work, name=name, latitude=latitude, longitude=longitude))
        provider.sites.append(site_id)
        provider.nases.append(
            granted(
                await register_nas(
                    work, sealer, name=f"{name.lower().replace(' ', '-')}-nas", network=f"10.{20 + number}.0.1",
                    secret=Secret("a long radius secret"), site_id=site_id,
                )
            )
        )  # fmt: skip
        real = number == 0
        provider.devices.append(
            granted(
                await register_device(
                    work, sealer, site_id=site_id, name=f"{name.lower().replace(' ', '-')}-rb", driver="routeros",
                    address="127.0.0.1", port=port if real else number,  # nobody listens on those
                    username="hilltop", password=Secret("tower words"), host_key=host_key if real else None,
                )
            )
        )  # fmt: skip


async def _build_catalogue(provider: Provider, work: Work) -> None:
    for code, name, price, down, up, allowance in (
        ("home-25", "Home 25", 4900, 25, 5, 250),
        ("home-100", "Home 100", 8900, 100, 20, None),
        ("farm-50", "Farm 50", 7400, 50, 10, 400),
    ):
        profile_id = granted(
            await define_profile(
                work, name=name, rate_down_bps=down * 10**6, rate_up_bps=up * 10**6, pool="subscribers"
            )
        )
        tiers: list[dict[str, Any]] = [
            {"up_to_octets": 50 * GB, "minor_per_gb": "25"},
            {"up_to_octets": None, "minor_per_gb": "12.5"},
        ]
        version_id = granted(
            await define_plan_version(
                work, code=code, name=name, price_minor=price, currency="USD",
                allowance_octets=None if allowance is None else allowance * GB,
                overage_tiers=[] if allowance is None else tiers, service_profile_id=profile_id,
            )
        )  # fmt: skip
        provider.plans[code] = (version_id, profile_id)
    granted(
        await set_tax_rate(
            work, name="State sales tax", tax_class="internet", country="US", region="CO", rate_ppm=29_000,
            valid_from=date(2026, 1, 1),
        )
    )  # fmt: skip


async def _sign_up(provider: Provider, work: Work, number: int, household: Sequence[Any]) -> None:
    name, town, plan, tower, _, _ = household
    login = name.split()[0].lower()
    account_id = granted(
        await open_account(
            work, name=name, email=f"{login}@example.com", phone=f"+1 970 555 01{number:02}",
            street=f"{100 + 7 * number} Larkspur Lane", city=town, region="CO", postal_code="81200",
            payment_terms_days=24 if login == "barnaby" else 14,
        )
    )  # fmt: skip
    version_id, profile_id = provider.plans[plan]
    service_id = granted(
        await create_service(
            work, provider.sealer, account_id=account_id, label="Home", profile_id=profile_id,
            credentials=[NewCredential("pppoe", f"{login}@valley.example", Secret("cpe words"))],
        )
    )  # fmt: skip
    granted(await subscribe(work, account_id=account_id, service_id=service_id, plan_version_id=version_id))
    granted(await add_enforcement_point(work, service_id=service_id, device_id=provider.devices[tower]))
    provider.accounts[name], provider.services[name] = account_id, service_id


async def _two_months(provider: Provider, enforcer: Enforcer) -> None:
    chance = Random(4)
    counters = {name: [0, 0] for name, *_ in HOUSEHOLDS}
    await _report(provider, AccountingKind.START, counters)
    day = OPENED.replace(hour=14)
    while day < TODAY - timedelta(hours=12):
        day += timedelta(days=1)
        provider.clock.step_to(day)
        for name, *_, gb in HOUSEHOLDS:
            weekend = 1.5 if day.weekday() >= 5 else 1.0
            down = gb * weekend * chance.uniform(0.45, 1.45)
            counters[name][1] += int(down * GB)
            counters[name][0] += int(down * GB * chance.uniform(0.08, 0.2))
        await _report(provider, AccountingKind.INTERIM, counters)
        if day.day == 1 or day.date() == OPENED.date() + timedelta(days=1):
            await _bill(provider)
        if day.day == 12 and day < TODAY - timedelta(days=20):
            await _pay(provider, everybody=day.month == 1)
        granted(await evaluate_dunning(provider.workplace, trust_clock=True))
        await provider.settle()
        if day > OPENED + timedelta(days=45):
            await provider.settle(enforcer)
    provider.clock.step_to(TODAY - timedelta(hours=5))
    await _report(provider, AccountingKind.INTERIM, counters)
    await provider.settle(enforcer)


async def _report(provider: Provider, kind: AccountingKind, counters: dict[str, list[int]]) -> None:
    key = provider.sealer.derive_key("class-token")
    now = provider.clock.now()
    events = []
    for number, (name, _, _, tower, _, _) in enumerate(HOUSEHOLDS):
        if name == "Rufus Elderberry" and kind is AccountingKind.INTERIM and now > TODAY - timedelta(days=2):
            continue
        octets_in, octets_out = counters[name]
        events.append(
            AccountingEvent(
                nas_id=provider.nases[tower], kind=kind, acct_session_id=f"8000{number:04x}",
                username=f"{name.split()[0].lower()}@valley.example",
                class_token=encode_class(ClassToken(provider.services[name], 1, f"s{number}"), key),
                occurred_at=now, received_at=now, octets_in=octets_in, octets_out=octets_out,
                gigawords_present=True, session_time_s=int((now - OPENED).total_seconds()),
                framed_ip=f"100.64.{tower}.{10 + number}", calling_station=f"02:00:5E:00:00:{number:02X}",
            )
        )  # fmt: skip
    async with provider.workplace.work("system:ingest") as work:
        await record_accounting(work, events, key)


async def _bill(provider: Provider) -> None:
    outcome = await bill_run(provider.workplace, MeteredUsage(), trust_clock=True)
    assert isinstance(outcome, BillRunOutcome)
    assert outcome.invoices == len(HOUSEHOLDS), outcome


async def _pay(provider: Provider, *, everybody: bool) -> None:
    for name, _, _, _, punctual, _ in HOUSEHOLDS:
        if punctual or everybody:
            await pay(provider, name, "transfer")


async def pay(provider: Provider, name: str, method: str) -> None:
    """Pay everything that is open."""
    account_id = provider.accounts[name]
    async with provider.workplace.work("operator:billing") as work:
        owed = await _owed(work, account_id)
        key = f"test:{name}:{provider.clock.now():%Y%m%d}"
        granted(
            await receive_payment(
                work, account_id=account_id, amount_minor=owed, currency="USD", method=method,
                idempotency_key=key,
            )
        )  # fmt: skip


async def _owed(work: Work, account_id: str) -> int:
    return int(await account_balance(work.connection, account_id))


async def _today(provider: Provider, enforcer: Enforcer) -> None:
    """Ada pays and is back; Otis is throttled by hand; Mesa View has an outage; some sign-ins are refused."""
    provider.clock.step_to(TODAY - timedelta(minutes=41))
    await pay(provider, "Ada Whitlock", "card")
    provider.clock.advance(timedelta(seconds=2.4))
    await provider.settle(enforcer)
    provider.clock.step_to(TODAY - timedelta(minutes=12))
    async with provider.workplace.work("operator:network") as work:
        granted(
            await place_hold(
                work, service_id=provider.services["Otis Marsh"], holder="operator", effect=Effect.THROTTLE,
                reason="asked to slow the line while his camera uploads",
            )
        )  # fmt: skip
        await set_known_outage(work, provider.sites[2], True)
        await _build_snmp(provider, work)
        await record_rejects(work, _rejects(provider))
    await provider.settle(enforcer)
    provider.clock.step_to(TODAY)


async def _build_snmp(provider: Provider, work: Work) -> None:
    """One target that answered four minutes ago, and checks what RADIUS says of Linus."""
    target_id = granted(
        await register_target(
            work, provider.sealer, name="mill-bend-backhaul", address="192.0.2.40",
            community=Secret("valley words"), site_id=provider.sites[2],
        )
    )  # fmt: skip
    granted(
        await bind(
            work, target_id=target_id, if_name="ath0.12", service_id=provider.services["Linus Fairweather"],
            bills=False,
        )
    )  # fmt: skip
    at = work.now - timedelta(minutes=4)
    await work.connection.execute(
        update(snmp_tables.target).values(last_polled_at=at, last_answer_at=at, sys_name="mill-bend-af60")
    )
    provider.snmp_targets.append(target_id)


def _rejects(provider: Provider) -> list[RejectSighting]:
    now = TODAY - timedelta(minutes=14)
    return [
        RejectSighting(
            provider.nases[1], "hester@valley.example", "wrong_password", "The PAP password is not the one on record.",
            "Type the password of this credential into the CPE again.", "02:00:5E:00:00:03",
            provider.services["Hester Quill"], now - timedelta(hours=3), now, 17,
        ),
        RejectSighting(
            provider.nases[2], "02005e0000aa", "unknown_identity", "No service signs in with this name.",
            "If this CPE belongs to a subscriber, add its MAC address to his service.", "02:00:5E:00:00:AA",
            None, now - timedelta(minutes=50), now - timedelta(minutes=50), 1,
        ),
    ]  # fmt: skip


class PromptNas:
    """A mover of live sessions whose NAS acknowledges and obeys at once."""

    def __init__(self, provider: Provider) -> None:
        self._workplace, self._clock = provider.workplace, provider.clock

    @dataclass(frozen=True, slots=True)
    class Moved:
        """What it answers."""

        outcome: str = "moved"
        detail: str = "CoA acknowledged"
        exchanges: tuple[dict[str, object], ...] = (
            {"sent": "CoA-Request Mikrotik-Address-List", "received": "CoA-ACK", "ms": 3},
        )

    async def move(self, service_id: str, generation: int, effect: str) -> Moved:
        self._clock.advance(timedelta(seconds=1.1))
        async with self._workplace.work("system:test") as work:
            await work.connection.execute(
                update(session).where(session.c.service_id == service_id).values(generation=generation)
            )
        return self.Moved()


def build_provider_now(path: Path, sealer: Sealer) -> Provider:
    """``build_provider`` from outside any event loop."""
    return asyncio.run(build_provider(path, sealer))
