"""Laws: a plan after apply is empty; others' entries stay; a faulty tower converges or raises one issue."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from provisioning_world import World
from scripted_tower import CONNECT_FAULTS, WRITE_FAULTS, Entry, ScriptedTower

from aaa.domain.effect import Effect
from aaa.entitlements import addresses_of, entitlement_of
from aaa.store import tables as aaa_tables
from core.clock import FakeClock
from core.database import Database, sqlite_url
from core.ids import SeededIds
from core.secrets import Sealer
from core.store import tables as core_tables
from core.work import Workplace
from provisioning.config import ProvisioningSettings
from provisioning.domain.backoff import backoff_s
from provisioning.domain.blast_radius import Caps, hold_back
from provisioning.domain.plan import (
    Add,
    Observation,
    OwnedEntry,
    Remove,
    Wanted,
    apply_changes,
    canonical_address,
    mark_of,
    owner_of,
    plan,
)
from provisioning.enforce import Enforcer
from provisioning.ports import NoLiveSessions
from provisioning.store import tables as provisioning_tables

SERVICES = st.sampled_from(["svc_a", "svc_b", "svc_c", "svc_d"])
ADDRESSES = st.sampled_from(["100.64.0.1", "100.64.0.2", "100.64.0.3", "2001:db8::1", "10.0.0.0/24"])
OBSERVED = st.builds(
    Observation,
    # One entry an address, as devices insist.
    st.dictionaries(ADDRESSES, st.tuples(SERVICES, st.booleans())).map(
        lambda found: frozenset(OwnedEntry(s, a, active) for a, (s, active) in found.items())
    ),
    st.frozensets(ADDRESSES),
).map(lambda o: Observation(o.owned, o.foreign - {e.address for e in o.owned}))
WANTED = st.builds(
    Wanted,
    st.dictionaries(ADDRESSES, st.frozensets(SERVICES, min_size=1)),
    st.frozensets(ADDRESSES),
    st.frozensets(SERVICES),
)


@given(WANTED, OBSERVED)
def test_a_plan_after_apply_is_empty(wanted: Wanted, observed: Observation) -> None:
    after = apply_changes(observed, plan(wanted, observed))
    assert plan(wanted, after) == ()


@given(WANTED, OBSERVED)
def test_a_plan_touches_only_what_is_ours_and_in_its_hands(wanted: Wanted, observed: Observation) -> None:
    changes = plan(wanted, observed)
    ours = {(e.service_id, e.address) for e in observed.owned}
    for change in changes:
        match change:
            case Remove(service_id, address):
                assert (service_id, address) in ours
                assert address not in observed.foreign
            case Add(service_id, address):
                assert service_id in wanted.scope
                assert service_id in wanted.cut_off[address]
                assert address not in wanted.free
                assert address not in observed.foreign
    assert apply_changes(observed, changes).foreign == observed.foreign


@given(WANTED, OBSERVED)
def test_after_a_plan_everyone_in_scope_is_where_he_belongs(wanted: Wanted, observed: Observation) -> None:
    after = apply_changes(observed, plan(wanted, observed))
    assert not [entry for entry in after.owned if entry.address in wanted.free]
    for address, owners in wanted.cut_off.items():
        if owners & wanted.scope and address not in wanted.free:
            assert after.covers(address)
    for entry in after.owned:
        assert entry.service_id not in wanted.scope or wanted.keeps(entry)
    addresses = [entry.address for entry in after.owned]
    assert len(addresses) == len(set(addresses))


@given(st.text())
def test_only_exact_marks_are_ours(text: str) -> None:
    owner = owner_of(text)
    assert owner is None or mark_of(owner) == text


@given(st.ip_addresses())
def test_one_spelling_for_each_address(address: object) -> None:
    text = str(address)
    assert canonical_address(text) == text
    assert canonical_address(text.upper()) == text
    assert canonical_address(f"{text}/{128 if ':' in text else 32}") == text


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_and_never_exceed_the_longest(attempt: int, chance: float) -> None:
    def pause(n: int, luck: float) -> float:
        return backoff_s(n, first_s=2, longest_s=900, jitter=0.2, chance=luck)

    assert 0 < pause(attempt, chance) <= 900
    assert pause(attempt + 1, 0) >= pause(attempt, 0)
    assert pause(attempt, chance) >= 0.8 * pause(attempt, 0)


@given(
    st.lists(SERVICES), st.dictionaries(SERVICES, st.sampled_from(["red", "blue"])), st.frozensets(SERVICES),
    st.integers(1, 3), st.integers(1, 3),
)  # fmt: skip
def test_no_tower_gets_more_than_its_cap(
    waiting: list[str], sites: dict[str, str], under_way: frozenset[str], per_run: int, per_site: int
) -> None:
    parked = hold_back(waiting, sites, under_way, Caps(per_run, per_site))
    passed = set(waiting) - set(parked) - under_way
    assert len(passed) <= per_run
    for site in {sites.get(one) for one in passed}:
        assert len([one for one in passed | under_way if sites.get(one) == site]) <= per_site
    assert not set(parked) & under_way


# --- the faulty tower

FAULTS = st.lists(st.sampled_from([*WRITE_FAULTS, *CONNECT_FAULTS, ""]), max_size=8)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("suspend"), st.integers(0, 2)),
        st.tuples(st.just("restore"), st.integers(0, 2)),
        st.tuples(st.just("quietly lift"), st.integers(0, 2)),  # the fact is still on its way
        st.tuples(st.just("move"), st.integers(0, 2)),
        st.tuples(st.just("run"), st.integers(1, 20)),
        st.tuples(st.just("wait"), st.integers(1, 2000)),
        st.tuples(st.just("reboot"), st.just(0)),
        st.tuples(st.just("drift"), st.just(0)),
    ),
    max_size=14,
)
FOREIGN = [
    Entry("hilltop-suspended", "100.64.250.1", "by hand"),
    Entry("other", "100.64.0.1", "hilltop:svc_x"),
]


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(FAULTS, EVENTS)
def test_a_faulty_tower_converges_or_raises_one_issue(
    faults: list[str], events: list[tuple[str, int]]
) -> None:
    asyncio.run(_live_through(faults, events))


async def _live_through(faults: list[str], events: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(sqlite_url(Path(folder) / "h.sqlite"))
        async with database.write() as connection:
            for room in (core_tables, aaa_tables, provisioning_tables):
                await connection.run_sync(room.metadata.create_all)
        clock = FakeClock(datetime(2026, 3, 10, tzinfo=UTC))
        sealer = Sealer({"k1": bytes(32)})
        world = await World.build(Workplace(database, clock, SeededIds()), sealer, clock)
        try:
            await _story(world, faults, events)
        finally:
            await database.close()


async def _story(world: World, faults: list[str], events: list[tuple[str, int]]) -> None:
    tower = ScriptedTower(entries=list(FOREIGN), faults=list(faults))
    enforcer = Enforcer(
        world.workplace, world.sealer, NoLiveSessions(), ProvisioningSettings(breaker_failures=3), "w",
        transport=tower, chance=lambda: 0.5,
    )  # fmt: skip
    services = [await world.enforced_service(f"s{n}") for n in range(3)]
    for number, service_id in enumerate(services):
        await world.online(service_id, f"100.64.0.{number}")
    for event, number in events:
        before = tower.marked()
        await _happen(world, enforcer, tower, services, event, number)
        await _nobody_entitled_was_newly_cut_off(world, tower.marked() - before)
        await _failing_means_exactly_one_issue(world, services)
        assert [e for e in tower.entries if e in FOREIGN] == FOREIGN
    tower.faults = []  # the tower is repaired
    for _ in range(3):
        world.clock.advance(timedelta(hours=2))
        await enforcer.check_drift()
        while await enforcer.run_due():
            pass
    assert tower.marked() == await _wanted(world, services, tower.marked())
    assert [e for e in tower.entries if e in FOREIGN] == FOREIGN
    assert await world.open_issues() == {}


async def _happen(
    world: World, enforcer: Enforcer, tower: ScriptedTower, services: list[str], event: str, number: int
) -> None:
    match event:
        case "suspend":
            await world.suspend(services[number])
        case "restore":
            await world.restore(services[number])
        case "quietly lift":
            await world.lift(services[number])
        case "move":
            await world.offline(services[number])
            await world.online(services[number], f"100.64.0.{(number + 1) % 3}")  # perhaps a neighbour's
        case "run":
            await enforcer.run_due(number)
        case "wait":
            world.clock.advance(timedelta(seconds=number))
        case "reboot":
            tower.entries = list(FOREIGN)
        case "drift":
            await enforcer.check_drift()
        case _:
            raise AssertionError(event)


async def _wanted(world: World, services: list[str], marked: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """(service, address) that should be on the tower: shared addresses only if nobody there is entitled."""
    users: dict[str, list[str]] = {}
    cut_off = {}
    async with world.workplace.reading() as connection:
        for service_id in services:
            entitlement = await entitlement_of(connection, service_id)
            cut_off[service_id] = entitlement is not None and entitlement.effect is not Effect.NONE
            for address in await addresses_of(connection, service_id):
                users.setdefault(address, []).append(service_id)
    blocked = {a: who for a, who in users.items() if all(cut_off[one] for one in who)}
    # Which of several may carry the mark is free: take the one that does.
    return {(next((u for u in who if (u, a) in marked), who[0]), a) for a, who in blocked.items()}


async def _nobody_entitled_was_newly_cut_off(world: World, added: set[tuple[str, str]]) -> None:
    async with world.workplace.reading() as connection:
        for service_id, _address in added:
            entitlement = await entitlement_of(connection, service_id)
            assert entitlement is not None
            assert entitlement.effect.cuts_off


async def _failing_means_exactly_one_issue(world: World, services: list[str]) -> None:
    waiting = [row for s in services for row in await world.tasks(s) if row.status == "waiting"]
    failing = [row for row in waiting if row.attempts > 0 and row.last_error]
    issues = await world.open_issues()
    assert len(issues) <= 1
    assert not failing or len(issues) == 1
