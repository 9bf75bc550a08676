"""Enforcement over a tower that fails as scripted. Test names follow FIELD-NOTES "Dunning and enforcement"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from provisioning_world import World
from scripted_tower import Entry, ScriptedTower

from aaa.domain.effect import Effect
from core.clock import FakeClock
from core.secrets import Sealer
from provisioning.config import ProvisioningSettings
from provisioning.enforce import Enforcer
from provisioning.set_up import approve_parked, change_device, set_known_outage

LIST = "hilltop-suspended"
ADDRESS = "100.64.1.7"


class PulledPlug(BaseException):
    """Nothing catches it, as nothing catches a power cut."""


@dataclass
class Moved:
    outcome: str = "nothing_live"
    detail: str = ""
    exchanges: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class ScriptedSessions:
    """A mover of live sessions that answers as told; the last answer stays."""

    answers: list[Moved] = field(default_factory=lambda: [Moved()])
    asked: list[tuple[str, int, str]] = field(default_factory=list)

    async def move(self, service_id: str, generation: int, effect: str) -> Moved:
        self.asked.append((service_id, generation, effect))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


Make = Callable[..., Enforcer]


@pytest.fixture
def tower() -> ScriptedTower:
    return ScriptedTower()


@pytest.fixture
def sessions() -> ScriptedSessions:
    return ScriptedSessions()


@pytest.fixture
def make(world: World, tower: ScriptedTower, sessions: ScriptedSessions) -> Make:
    def build(worker: str = "w1", transport: Any = None, **settings: Any) -> Enforcer:
        return Enforcer(
            world.workplace, world.sealer, sessions, ProvisioningSettings(**settings), worker,
            transport=transport or tower, chance=lambda: 0.0,
        )  # fmt: skip

    return build


async def settle(enforcer: Enforcer, clock: FakeClock, rounds: int = 12) -> None:
    """Let time pass until nothing is due any more, or the rounds are over."""
    for _ in range(rounds):
        await enforcer.run_due()
        clock.advance(timedelta(seconds=1000))


async def test_suspend_and_restore_run_the_same_path(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    enforcer = make()
    await world.suspend(service_id)
    assert await enforcer.run_due() == 2
    assert tower.marked() == {(service_id, ADDRESS)}
    clock.advance(timedelta(minutes=1))
    await world.restore(service_id)
    assert await enforcer.run_due() == 2
    assert tower.marked() == set()
    device_tasks = await world.tasks(service_id)
    assert [row.status for row in device_tasks] == ["verified", "verified"]
    assert device_tasks[0].proof["entries"] == [{"mark": f"hilltop:{service_id}", "address": ADDRESS}]
    assert device_tasks[1].proof["note"] == "no entry of ours"
    facts = await world.facts("provisioning.enforcement_verified")
    assert [(f.payload["generation"], f.payload["effect"]) for f in facts] == [
        (2, "block"), (2, "block"), (3, "none"), (3, "none")
    ]  # fmt: skip
    assert await world.open_issues() == {}
    assert await enforcer.run_due() == 0


async def test_established_flows_are_cut_in_both_directions(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    await make().run_due()
    cuts = [line for line in tower.sent if "connection" in line]
    assert len(cuts) == 2
    assert "src-address" in cuts[0]
    assert "dst-address" in cuts[1]


async def test_payment_between_the_decision_and_the_push(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    """The payment comes after the claim and the first look: nothing is pushed."""
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)

    async def pay() -> None:
        await world.lift(service_id)

    tower.at_first_look = pay
    enforcer = make()
    await enforcer.run_due()
    assert tower.marked() == set()
    assert not [line for line in tower.sent if " add " in line.replace("/", " ")]
    await settle(enforcer, clock)
    assert [row.status for row in await world.tasks(service_id)] == ["superseded", "verified"]
    assert (await world.tasks(service_id))[-1].effect == "none"


async def test_a_payment_before_the_claim_wins_even_when_its_fact_is_still_on_its_way(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    await world.lift(service_id)  # nobody asked for enforcement of it yet
    enforcer = make()
    await settle(enforcer, clock)
    assert tower.marked() == set()
    assert (await world.tasks(service_id))[-1].effect == "none"


async def test_device_unreachable(world: World, tower: ScriptedTower, make: Make, clock: FakeClock) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    tower.faults = ["unreachable"] * 3
    enforcer = make()
    await enforcer.run_due()
    issue = (await world.open_issues())[f"provisioning.device:{world.device_id}"]
    assert "no SSH session" in issue.title
    assert "Check power" in issue.remedy
    assert (await world.tasks(service_id))[0].last_error.startswith("no SSH session")
    await settle(enforcer, clock)
    assert tower.marked() == {(service_id, ADDRESS)}
    assert await world.open_issues() == {}
    outcomes = [row.outcome for row in await world.transcripts() if row.device_id]
    assert outcomes == ["unreachable"] * 3 + ["verified"]


async def test_the_pause_between_attempts_grows(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    tower.faults = ["unreachable"] * 4
    enforcer = make(breaker_failures=99)
    pauses = []
    for _ in range(4):
        await enforcer.run_due()
        task = (await world.tasks(service_id))[0]
        pauses.append((task.next_attempt_at - clock.now()).total_seconds())
        assert await enforcer.run_due() == 0
        clock.step_to(task.next_attempt_at)
    assert pauses == [2, 4, 8, 16]


async def test_a_breaker_spares_a_device_that_keeps_failing(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    first = await world.enforced_service("ann", ADDRESS)
    await world.suspend(first)
    tower.faults = ["unreachable"] * 2
    enforcer = make(breaker_failures=2, breaker_open_s=300)
    await enforcer.run_due()
    clock.advance(timedelta(seconds=10))
    await enforcer.run_due()
    assert tower.sessions == 2
    second = await world.enforced_service("bob", "100.64.1.8")
    await world.suspend(second)
    clock.advance(timedelta(seconds=100))
    await enforcer.run_due()
    assert tower.sessions == 2
    issue = (await world.open_issues())[f"provisioning.device:{world.device_id}"]
    assert issue.severity == "critical"
    clock.advance(timedelta(seconds=201))
    await enforcer.run_due()
    assert tower.sessions == 3
    assert tower.marked() == {(first, ADDRESS), (second, "100.64.1.8")}
    assert await world.open_issues() == {}


async def test_device_lying(world: World, tower: ScriptedTower, make: Make, clock: FakeClock) -> None:
    """No exception proves nothing: a device that says yes and does nothing is found out by reading back."""
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    tower.faults = ["lie"]
    enforcer = make()
    await enforcer.run_due()
    assert (await world.tasks(service_id))[0].status == "waiting"
    assert await world.facts("provisioning.enforcement_verified") == [
        fact
        for fact in await world.facts("provisioning.enforcement_verified")
        if fact.payload["point_id"] != (await world.points(service_id))[0].id
    ]
    issue = (await world.open_issues())[f"provisioning.device:{world.device_id}"]
    assert issue.severity == "critical"
    assert "accepts commands but its state does not change" in issue.remedy
    assert [row.outcome for row in await world.transcripts() if row.device_id] == ["lied"]
    await settle(enforcer, clock)
    assert (await world.tasks(service_id))[0].status == "verified"
    assert await world.open_issues() == {}


async def test_a_login_without_the_right_to_write_is_named(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    tower.faults = ["refuse"]
    await make().run_due()
    issue = (await world.open_issues())[f"provisioning.device:{world.device_id}"]
    assert "not enough permissions (9)" in issue.title
    assert "right to write" in issue.remedy


async def test_a_login_refused_is_one_issue_however_often(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    tower.faults = ["login"] * 8
    enforcer = make()
    for _ in range(8):
        await enforcer.run_due()
        clock.advance(timedelta(seconds=1000))
    issues = await world.open_issues()
    assert list(issues) == [f"provisioning.device:{world.device_id}"]
    assert issues[f"provisioning.device:{world.device_id}"].occurrences == 8


async def test_device_replaced_shows_another_host_key(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock, sealer: Sealer
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    enforcer = make()
    await enforcer.run_due()
    assert (await world.device()).host_key == tower.host_key
    tower.host_key, tower.entries = "ssh-ed25519 AAAAother", []
    await world.restore(service_id)
    await enforcer.run_due()
    issue = (await world.open_issues())[f"provisioning.device:{world.device_id}"]
    assert "host key" in issue.title
    async with world.workplace.work("operator:ann") as work:
        assert await change_device(work, sealer, world.device_id, host_key=None) is None
    await enforcer.run_due()
    assert (await world.device()).host_key == "ssh-ed25519 AAAAother"
    assert (await world.tasks(service_id))[-1].status == "verified"
    assert await world.open_issues() == {}


async def test_subscriber_offline_at_enforcement(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    """Nothing to place: verified with the proof "no address"; when he dials in, he is asked for again."""
    service_id = await world.enforced_service("ann")
    generation = await world.suspend(service_id)
    enforcer = make()
    await enforcer.run_due()
    task = (await world.tasks(service_id))[0]
    assert (task.status, task.proof["note"]) == ("verified", "no address")
    assert await world.ask(service_id, generation, "block", "redelivered fact") == []
    await world.online(service_id, ADDRESS, generation)
    clock.advance(timedelta(seconds=5))
    assert len(await world.ask(service_id, generation, "block", "address changed")) == 2
    await enforcer.run_due()
    assert tower.marked() == {(service_id, ADDRESS)}


async def test_subscriber_with_a_new_address(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    service_id = await world.enforced_service("ann")
    await world.online(service_id, ADDRESS)
    generation = await world.suspend(service_id)
    enforcer = make()
    await enforcer.run_due()
    await world.offline(service_id)
    await world.online(service_id, "100.64.1.99", generation)
    clock.advance(timedelta(seconds=5))
    await world.ask(service_id, generation, "block", "address changed")
    await enforcer.run_due()
    assert tower.marked() == {(service_id, "100.64.1.99")}


async def test_the_address_reused_by_the_next_customer(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    """A stale block never hits the next holder: any session on that device removes it, whoever it is for."""
    late, next_one, third = [await world.enforced_service(name) for name in ("late", "next", "third")]
    await world.online(late, ADDRESS)
    await world.suspend(late)
    enforcer = make()
    await enforcer.run_due()
    assert tower.marked() == {(late, ADDRESS)}
    await world.offline(late)
    await world.online(next_one, ADDRESS)
    await world.online(third, "100.64.3.3")
    await world.suspend(third)
    await enforcer.run_due()
    assert tower.marked() == {(third, "100.64.3.3")}


async def test_an_address_that_an_entitled_service_uses_too_is_never_cut_off(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    late, paid = await world.enforced_service("late"), await world.enforced_service("paid")
    await world.online(late, ADDRESS)  # a session whose Stop was lost
    await world.online(paid, ADDRESS)
    await world.suspend(late)
    await make().run_due()
    assert tower.marked() == set()
    task = (await world.tasks(late))[0]
    assert task.status == "verified"
    assert "in use by an entitled service" in task.proof["note"]


async def test_two_suspended_services_behind_one_address(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    one, two = await world.enforced_service("one"), await world.enforced_service("two")
    for service_id in (one, two):
        await world.online(service_id, ADDRESS)
        await world.suspend(service_id)
    enforcer = make()
    await enforcer.run_due()
    assert len(tower.marked()) == 1
    for service_id in (one, two):
        assert (await world.tasks(service_id))[0].status == "verified"
    await world.restore(one)
    await settle(enforcer, clock, 2)
    assert tower.marked() == set()


async def test_entries_without_our_mark_are_never_touched(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    """A foreign entry at the address already cuts it off; at restoration it is named, not removed."""
    tower.entries = [
        Entry(LIST, ADDRESS, "blocked by hand"),
        Entry(LIST, "100.64.9.9", "hilltop"),
        Entry(LIST, "100.64.9.8", "hilltop:svc 1 list=x address=1.2.3.4"),
        Entry("other", "100.64.1.1", "hilltop:svc_1"),
    ]
    before = list(tower.entries)
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    enforcer = make()
    await enforcer.run_due()
    task = (await world.tasks(service_id))[0]
    assert task.status == "verified"
    assert "held by an entry without our mark" in task.proof["note"]
    assert tower.entries == before
    await world.restore(service_id)
    await enforcer.run_due()
    assert tower.entries == before
    assert (await world.tasks(service_id))[-1].status == "waiting"
    issues = await world.open_issues()
    assert list(issues) == [f"provisioning.foreign_entry:{world.device_id}:{service_id}"]
    tower.entries = before[1:]  # the operator removes it by hand
    await settle(enforcer, clock)
    assert (await world.tasks(service_id))[-1].status == "verified"
    assert await world.open_issues() == {}
    assert tower.entries == before[1:]


async def test_a_prefix_of_others_around_a_restored_address_is_named(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    enforcer = make()
    await enforcer.run_due()
    tower.entries.append(Entry(LIST, "100.64.1.0/24", "the whole sector"))
    await world.restore(service_id)
    await enforcer.run_due()
    assert tower.marked() == set()
    assert (await world.tasks(service_id))[-1].status == "waiting"
    assert list(await world.open_issues()) == [f"provisioning.foreign_entry:{world.device_id}:{service_id}"]


async def test_an_entry_of_ours_that_somebody_disabled_is_put_right(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    tower.entries = [Entry(LIST, ADDRESS, f"hilltop:{service_id}", disabled=True)]
    await world.suspend(service_id)
    await make().run_due()
    assert tower.marked() == {(service_id, ADDRESS)}


async def test_ipv6_is_cut_off_as_well(world: World, tower: ScriptedTower, make: Make) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.online(service_id, "2001:db8:0:1::7")
    await world.suspend(service_id)
    await make().run_due()
    assert tower.marked() == {(service_id, ADDRESS), (service_id, "2001:db8:0:1::7")}


async def test_throttling_places_nothing_on_the_device(
    world: World, tower: ScriptedTower, make: Make, sessions: ScriptedSessions
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    generation = await world.hold(service_id, Effect.THROTTLE)
    await world.ask(service_id, generation, "throttle")
    await make().run_due()
    assert tower.marked() == set()
    assert sessions.asked == [(service_id, generation, "throttle")]


async def test_two_holds_at_once(world: World, tower: ScriptedTower, make: Make, clock: FakeClock) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    generation = await world.hold(service_id, Effect.BLOCK, holder="operator")
    await world.ask(service_id, generation, "block")
    enforcer = make()
    await settle(enforcer, clock, 2)
    generation = await world.lift(service_id)  # dunning's is paid; the operator's stays
    await world.ask(service_id, generation, "block")
    await settle(enforcer, clock, 2)
    assert tower.marked() == {(service_id, ADDRESS)}


async def test_several_tasks_of_one_device_share_one_session(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    for number in range(5):
        await world.suspend(await world.enforced_service(f"s{number}", f"100.64.2.{number}"))
    await make().run_due()
    assert tower.sessions == 1
    assert len(tower.marked()) == 5


async def test_a_service_whose_command_is_refused_does_not_hold_up_the_others(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    first, second = [await world.enforced_service(f"s{n}", f"100.64.2.{n}") for n in range(2)]
    await world.suspend(first)
    await world.suspend(second)
    tower.faults = ["half"]  # the session breaks after the first change
    await make().run_due()
    assert len(tower.marked()) == 1
    assert {row.status for s in (first, second) for row in await world.tasks(s)} == {"waiting"}


async def test_two_workers_never_hold_two_sessions_on_one_device(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    services = [await world.enforced_service(f"s{n}", f"100.64.2.{n}") for n in range(3)]
    await world.suspend(services[0])
    one, two = make("w1"), make("w2")

    async def second_worker() -> None:
        await world.suspend(services[1])
        await two.run_due()

    tower.at_first_look = second_worker
    await one.run_due()
    assert tower.most_open == 1
    await two.run_due()
    assert tower.marked() == {(services[0], "100.64.2.0"), (services[1], "100.64.2.1")}


async def test_a_crashed_workers_claim_runs_out(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)

    async def crash() -> None:
        raise PulledPlug  # nothing after this point runs, as with a pulled plug

    tower.at_first_look = crash
    with pytest.raises(PulledPlug):
        await make("crashing").run_due()
    assert (await world.tasks(service_id))[0].status == "claimed"
    survivor = make("survivor")
    assert await survivor.run_due() == 0
    clock.advance(timedelta(seconds=181))
    await survivor.run_due()
    assert (await world.tasks(service_id))[0].status == "verified"


async def test_a_clock_that_steps_back_does_not_strand_tasks(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    tower.faults = ["unreachable"]
    enforcer = make()
    await enforcer.run_due()
    clock.step_to(clock.now() - timedelta(days=400))
    await enforcer.run_due()
    assert (await world.tasks(service_id))[0].status == "verified"


async def test_an_unforeseen_fault_is_kept_to_one_device(
    world: World, make: Make, tower: ScriptedTower
) -> None:
    other = await world.add_device("rb-two", address="192.0.2.2")
    ill = await world.enforced_service("ill", "100.64.1.1")
    well = await world.enforced_service("well", "100.64.1.2", other)
    await world.suspend(ill)
    await world.suspend(well)

    async def fault() -> None:
        raise ZeroDivisionError

    tower.at_first_look = fault
    await make().run_due()
    statuses = {(await world.tasks(ill))[0].status, (await world.tasks(well))[0].status}
    assert statuses == {"waiting", "verified"}
    issues = await world.open_issues()
    assert len(issues) == 1
    assert "fault of this software" in next(iter(issues.values())).remedy


# --- live sessions


async def test_disabling_does_not_drop_the_live_session_so_it_is_moved(
    world: World, make: Make, sessions: ScriptedSessions
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    generation = await world.suspend(service_id)
    await make().run_due()
    assert sessions.asked == [(service_id, generation, "block")]
    assert (await world.tasks(service_id, "live_session"))[0].status == "verified"


async def test_an_ack_does_not_prove_that_the_user_is_gone(
    world: World, make: Make, sessions: ScriptedSessions, clock: FakeClock
) -> None:
    service_id = await world.enforced_service("ann")
    await world.online(service_id, ADDRESS, generation=1)
    await world.suspend(service_id)
    sessions.answers = [Moved("disconnected", "Disconnect-ACK")]
    enforcer = make()
    await enforcer.run_due()
    assert (await world.tasks(service_id, "live_session"))[0].status == "waiting"
    await world.offline(service_id)  # the Stop
    clock.advance(timedelta(seconds=3))
    await enforcer.run_due()
    assert (await world.tasks(service_id, "live_session"))[0].status == "verified"
    assert await world.open_issues() == {}


async def test_a_silent_nas_is_tried_again_and_named(
    world: World, make: Make, sessions: ScriptedSessions, clock: FakeClock
) -> None:
    service_id = await world.enforced_service("ann")
    await world.suspend(service_id)
    exchange = {"sent": "Disconnect-Request secret=abc", "received": "", "ms": 9000}
    sessions.answers = [Moved("silent", "no answer from 192.0.2.1:3799", [exchange]), Moved()]
    enforcer = make()
    await enforcer.run_due()
    issue = (await world.open_issues())[f"provisioning.live_session:{service_id}"]
    assert "/radius incoming" in issue.remedy
    kept = [row for row in await world.transcripts() if row.device_id is None]
    assert kept[0].exchanges[0]["sent"] == "Disconnect-Request secret=<redacted>"
    await settle(enforcer, clock)
    assert await world.open_issues() == {}


# --- blast radius


async def test_a_cap_per_tower_parks_the_rest_until_approved(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    services = [await world.enforced_service(f"s{n}", f"100.64.2.{n}") for n in range(5)]
    for service_id in services:
        await world.suspend(service_id)
    enforcer = make(new_suspensions_per_site_per_hour=2)
    await settle_without_time(enforcer)
    assert len(tower.marked()) == 2
    issue = (await world.open_issues())[f"provisioning.blast_radius:{world.site_id}"]
    assert issue.title.startswith("Red Hill: 3 new suspensions are parked")
    async with world.workplace.work("operator:ann") as work:
        assert await approve_parked(work, world.site_id) == 6  # device and live session of three services
    await settle_without_time(enforcer)
    assert len(tower.marked()) == 5
    assert await world.open_issues() == {}


async def test_restorations_are_never_capped(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    services = [await world.enforced_service(f"s{n}", f"100.64.2.{n}") for n in range(3)]
    for service_id in services:
        await world.suspend(service_id)
    await settle_without_time(make())
    assert len(tower.marked()) == 3
    for service_id in services:
        await world.restore(service_id)
    await settle_without_time(make(new_suspensions_per_site_per_hour=1, new_suspensions_per_run=1))
    assert tower.marked() == set()


async def test_a_cap_per_run(world: World, tower: ScriptedTower, make: Make) -> None:
    for number in range(4):
        await world.suspend(await world.enforced_service(f"s{number}", f"100.64.2.{number}"))
    enforcer = make(new_suspensions_per_run=3)
    await settle_without_time(enforcer)
    assert len(tower.marked()) == 3


async def test_paying_while_parked_unparks_and_closes_the_issue(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    services = [await world.enforced_service(f"s{n}", f"100.64.2.{n}") for n in range(2)]
    for service_id in services:
        await world.suspend(service_id)
    enforcer = make(new_suspensions_per_site_per_hour=1)
    await settle_without_time(enforcer)
    await world.restore(services[1])
    await settle_without_time(enforcer)
    assert tower.marked() == {(services[0], "100.64.2.0")}
    assert await world.open_issues() == {}


async def test_never_suspend_during_a_known_outage_of_that_tower(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    suspended = await world.enforced_service("old", "100.64.2.1")
    await world.suspend(suspended)
    enforcer = make()
    await enforcer.run_due()
    async with world.workplace.work("operator:ann") as work:
        await set_known_outage(work, world.site_id, True)
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    await world.restore(suspended)
    await settle(enforcer, clock, 3)
    assert tower.marked() == set()  # the restoration went through, the suspension waits
    assert "known outage" in (await world.tasks(service_id))[0].last_error
    async with world.workplace.work("operator:ann") as work:
        await set_known_outage(work, world.site_id, False)
    await settle(enforcer, clock, 1)
    assert tower.marked() == {(service_id, ADDRESS)}


async def test_an_outage_that_becomes_known_after_the_claim_still_holds_the_push(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)

    async def outage() -> None:
        async with world.workplace.work("operator:ann") as work:
            await set_known_outage(work, world.site_id, True)

    tower.at_first_look = outage
    await make().run_due()
    assert tower.marked() == set()
    task = (await world.tasks(service_id))[0]
    assert (task.status, task.attempts) == ("waiting", 0)


async def settle_without_time(enforcer: Enforcer) -> None:
    while await enforcer.run_due():
        pass


# --- drift


async def test_device_rebooted_while_suspended_loses_entries_and_gets_them_back(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    enforcer = make()
    await enforcer.run_due()
    tower.entries = [Entry(LIST, "100.64.7.7", "of others")]
    assert await enforcer.check_drift() == 1
    assert tower.marked() == {(service_id, ADDRESS)}
    assert tower.foreign() == [("100.64.7.7", "of others")]
    drift = [row.drift for row in await world.observations() if row.drift]
    assert drift == [[{"what": "missing", "mark": f"hilltop:{service_id}", "address": ADDRESS}]]
    assert [t.outcome for t in await world.transcripts() if t.purpose == "drift_check"] == ["drift"]
    assert await enforcer.check_drift() == 0  # the timetable: not yet due
    clock.advance(timedelta(hours=2))
    assert await enforcer.check_drift() == 0
    assert tower.sessions == 3


async def test_stale_entries_of_ours_are_found_and_removed(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    entitled = await world.enforced_service("ann", ADDRESS)
    tower.entries = [
        Entry(LIST, ADDRESS, f"hilltop:{entitled}"),
        Entry(LIST, "100.64.1.8", "hilltop:svc_unknown"),
        Entry(LIST, "100.64.1.9", "somebody else"),
    ]
    assert await make().check_drift() == 2
    assert tower.entries == [Entry(LIST, "100.64.1.9", "somebody else")]


async def test_drift_never_carries_out_a_suspension_that_waits_for_its_task(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    assert await make().check_drift() == 0
    assert tower.marked() == set()


async def test_an_entitlement_that_nobody_asked_to_enforce_gets_its_task(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.hold(service_id)  # the fact was lost
    enforcer = make()
    await enforcer.check_drift()
    assert tower.marked() == set()
    await enforcer.run_due()
    assert tower.marked() == {(service_id, ADDRESS)}


async def test_a_lying_device_is_found_by_the_drift_check(
    world: World, tower: ScriptedTower, make: Make
) -> None:
    tower.entries = [Entry(LIST, "100.64.1.8", "hilltop:svc_unknown")]
    tower.faults = ["lie"]
    await make().check_drift()
    assert list(await world.open_issues()) == [f"provisioning.device:{world.device_id}"]


async def test_observations_are_bounded(world: World, make: Make, clock: FakeClock) -> None:
    enforcer = make(observations_kept=3)
    for _ in range(6):
        await enforcer.check_drift()
        clock.advance(timedelta(hours=2))
    assert len(await world.observations()) == 3


async def test_transcripts_of_a_failing_task_are_bounded(
    world: World, tower: ScriptedTower, make: Make, clock: FakeClock
) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    tower.faults = ["unreachable"] * 30
    await settle(make(transcripts_kept=4), clock, 9)
    assert len([row for row in await world.transcripts() if row.device_id]) == 4
