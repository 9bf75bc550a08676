"""The field notes on SNMP, one test a line, against the lab's agent; and the other ways of small radios."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from snmp_world import ANNA, COMMUNITY, QUICK, SnmpWorld
from sqlalchemy import delete, update

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.record_accounting import record_accounting
from aaa.record_sample import record_samples
from core.clock import FakeClock
from core.secrets import Secret
from lab.agent import PPP, SnmpAgent, V3User
from snmp.poll import Collector
from snmp.store.tables import binding

USER = "<pppoe-ann>"
TURN = 1 << 32


# --- 32-bit octets wrap in 34 s at 1 Gbit/s: use 64-bit where there is one. Reset shows in sysUpTime (wraps
# itself at 497 days), ifCounterDiscontinuityTime, engine boots. ifIndex moves at reboot: map by name or MAC.
# A dynamic <pppoe-user> interface is born anew at each dial.


async def test_64_bit_counters_are_used_where_there_are_some(world: SnmpWorld, agent: SnmpAgent) -> None:
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service(rate_bps=1_000_000_000))
    agent.set_traffic("ether1", 0, TURN - 1)
    await world.poll(target_id)
    agent.add_traffic("ether1", 0, 30_000_000_000)  # the 32-bit column turns over six times
    assert (await world.poll(target_id)).narrow_bps is None
    assert await world.usage() == [(0, 30_000_000_000)]


async def test_32_bit_octets_are_followed_over_their_turn_and_one_that_may_have_turned_twice_is_not_billed(
    world: SnmpWorld, agent: SnmpAgent
) -> None:
    agent.has_64_bit = False
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service(rate_bps=50_000_000))
    agent.set_traffic("ether1", 0, TURN - 1_000)
    assert (await world.poll(target_id)).narrow_bps == 100_000_000
    agent.add_traffic("ether1", 50, 5_000)
    await world.poll(target_id, 1)
    agent.add_traffic("ether1", 0, 2 * TURN)
    assert (await world.poll(target_id, 60)).samples[0].poll_sooner
    agent.add_traffic("ether1", 0, 70)
    await world.poll(target_id, 1)
    assert await world.decisions() == ["first", "wrap", "unsure", "advance"]
    assert await world.total() == (50, 5_070)
    assert await world.open_issues() == []


async def test_a_reset_shows_in_engine_boots_and_in_uptime_and_indexes_move(
    any_world: SnmpWorld, agent: SnmpAgent
) -> None:
    for name in ("ether2", "ether3", "ether4"):
        agent.add_interface(name)
    target_id = await any_world.target(agent.port)
    for name in ("ether1", "ether2", "ether3", "ether4"):
        await any_world.bind(target_id, name, await any_world.service(name))
    agent.set_traffic("ether3", 5_000_000, 9_000_000)
    await any_world.poll(target_id)
    indexes = {name: one.index for name, one in agent.interfaces.items()}
    await agent.reboot()
    assert {name: one.index for name, one in agent.interfaces.items()} != indexes
    any_world.clock.advance(timedelta(minutes=1))
    agent.add_traffic("ether3", 20, 700)
    outcome = await any_world.poll(target_id)
    assert outcome.engine_boots == 2
    assert [one.decision for one in outcome.samples] == ["reset"] * 4
    assert await any_world.total() == (20, 700)


async def test_a_reset_shows_in_uptime_alone_where_there_are_no_engine_boots(
    world: SnmpWorld, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = agent.table
    monkeypatch.setattr(
        agent, "table", lambda: [row for row in table() if row[0][:7] != (1, 3, 6, 1, 6, 3, 10)]
    )
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service())
    world.clock.advance(timedelta(days=3))
    agent.set_traffic("ether1", 5_000_000, 9_000_000)
    assert (await world.poll(target_id)).engine_boots is None
    await agent.reboot()
    agent.add_traffic("ether1", 0, 800)
    await world.poll(target_id)
    assert await world.usage() == [(0, 800)]


async def test_uptime_that_turns_over_after_497_days_is_no_reset(world: SnmpWorld, agent: SnmpAgent) -> None:
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service())
    world.clock.advance(timedelta(seconds=TURN // 100 - 400))
    agent.set_traffic("ether1", 5_000_000, 9_000_000)
    before = await world.poll(target_id)
    agent.add_traffic("ether1", 1, 300)
    after = await world.poll(target_id)
    assert (before.sys_uptime_ticks or 0) > (after.sys_uptime_ticks or 0)
    assert await world.usage() == [(1, 300)]
    assert await world.decisions() == ["first", "advance"]


async def test_a_reset_shows_in_discontinuity_time_alone(world: SnmpWorld, agent: SnmpAgent) -> None:
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service())
    agent.set_traffic("ether1", 1_000, 1_000)
    await world.poll(target_id)
    world.clock.advance(timedelta(minutes=2))
    agent.interfaces["ether1"].appeared_at = world.clock.now()  # the card was reset
    agent.set_traffic("ether1", 0, 4_000)
    await world.poll(target_id)
    assert await world.usage() == [(0, 4_000)]
    assert await world.decisions() == ["first", "reset"]


async def test_a_dynamic_pppoe_row_born_anew_at_each_dial_is_one_meter(
    any_world: SnmpWorld, agent: SnmpAgent
) -> None:
    target_id = await any_world.target(agent.port)
    await any_world.bind(target_id, USER, await any_world.service())
    agent.add_interface(USER, kind=PPP)
    agent.add_traffic(USER, 0, 1_000)
    await any_world.poll(target_id)
    agent.remove_interface(USER)
    offline = await any_world.poll(target_id)
    assert (offline.trouble, offline.absent, offline.samples) == (None, [USER], [])
    any_world.clock.advance(timedelta(minutes=3))
    agent.add_interface(USER, kind=PPP)
    agent.add_traffic(USER, 0, 5_000)
    await any_world.poll(target_id)
    agent.add_traffic(USER, 0, 300)
    await any_world.poll(target_id)
    assert await any_world.usage() == [(0, 5_000), (0, 300)]
    assert len(await any_world.meters()) == 1


async def test_the_index_of_another_subscriber_is_never_read_for_this_one(
    world: SnmpWorld, agent: SnmpAgent
) -> None:
    target_id = await world.target(agent.port)
    await world.bind(target_id, USER, await world.service())
    row = agent.add_interface(USER, kind=PPP)
    await world.poll(target_id)
    agent.remove_interface(USER)
    agent._next_index = row.index  # some devices deal an index again
    other = agent.add_interface("<pppoe-bob>", kind=PPP)
    agent.set_traffic(other.name, 10**6, 10**6)
    assert other.index == row.index
    assert (await world.poll(target_id)).absent == [USER]
    assert await world.usage() == []


# --- A time-out is not a zero; a gap makes no spike at return; a delta larger than speed x time is refused.
# Radios report kilobytes or packets here and there. Cheap radios fall over under bulk walks: pace per device.


async def test_a_time_out_is_not_a_zero_and_a_gap_makes_no_spike_at_return(
    any_world: SnmpWorld, agent: SnmpAgent
) -> None:
    target_id = await any_world.target(agent.port)
    await any_world.bind(target_id, "ether1", await any_world.service())
    agent.set_traffic("ether1", 4_000, 1_000)
    await any_world.poll(target_id)
    agent.silent = True
    kinds = []
    for _ in range(3):
        assert (await any_world.poll(target_id)).trouble is not None
        kinds.append(await any_world.open_issues())
    assert kinds == [[], [], ["snmp.target_unreachable"]]
    assert await any_world.decisions() == ["first"]
    agent.silent = False
    agent.add_traffic("ether1", 6_000_000, 300_000_000)
    await any_world.poll(target_id)
    assert await any_world.usage() == [(6_000_000, 300_000_000)]
    assert await any_world.decisions() == ["first", "gap"]
    assert await any_world.open_issues() == []


async def test_a_difference_larger_than_speed_times_time_is_refused_and_told(
    world: SnmpWorld, agent: SnmpAgent
) -> None:
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service(), rate_cap_bps=10_000_000)
    await world.poll(target_id)
    agent.add_traffic("ether1", 0, 100_000_000_000)
    await world.poll(target_id)
    assert await world.total() == (0, 0)
    assert await world.open_issues() == ["aaa.meter_not_billed"]
    agent.add_traffic("ether1", 0, 500)
    await world.poll(target_id)
    assert await world.total() == (0, 500)


@pytest.mark.parametrize("unit", [1_000, 1_024])
async def test_a_radio_that_reports_kilobytes_or_packets_is_not_metered_but_told(
    world: SnmpWorld, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch, unit: int
) -> None:
    from pysnmp.proto import rfc1902

    packets, octets = [0], [10**9]
    table, index = agent.table, agent.interfaces["ether1"].index

    def with_packets() -> list[Any]:
        agent.set_traffic("ether1", octets[0] // unit, octets[0] // unit)
        extra = [
            ((1, 3, 6, 1, 2, 1, 2, 2, 1, column, index), rfc1902.Counter32(packets[0])) for column in (11, 17)
        ]
        return sorted([*table(), *extra])

    monkeypatch.setattr(agent, "table", with_packets)
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service())
    await world.poll(target_id)
    packets[0] += 100_000
    octets[0] += 100_000 * 900
    assert (await world.poll(target_id)).doubtful == ["ether1"]
    assert await world.usage() == []
    assert await world.open_issues() == ["snmp.not_octets"]
    unit = 1  # the firmware was updated: octets at last
    monkeypatch.setattr(agent, "boots", 2)
    await world.poll(target_id)
    packets[0] += 100_000
    octets[0] += 100_000 * 900
    assert (await world.poll(target_id)).doubtful == []
    assert await world.open_issues() == []


async def test_a_radio_that_falls_over_under_bulk_walks_is_asked_one_by_one_from_then_on(
    world: SnmpWorld, agent: SnmpAgent
) -> None:
    agent.bulk_limit = 1
    for number in range(2, 9):
        agent.add_interface(f"ether{number}")
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether8", await world.service())
    assert (await world.poll(target_id)).trouble is None
    agent.add_traffic("ether8", 0, 800)
    await agent.reboot()
    agent.add_traffic("ether8", 0, 900)
    asked = agent.requests
    assert (await world.poll(target_id)).trouble is None
    assert agent.requests - asked < 20, "no bulk request was tried again and waited for"
    assert await world.usage() == [(0, 900)]


async def test_a_radio_that_falls_over_under_large_requests_is_asked_row_by_row(
    world: SnmpWorld, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab.agent import _Instrumentation

    read = _Instrumentation.read_variables

    def fragile(self: _Instrumentation, *variables: object, **context: object) -> list[tuple[object, object]]:
        if len(variables) > 12:
            agent.silent = True
        try:
            return read(self, *variables, **context)
        finally:
            agent.silent = False

    monkeypatch.setattr(_Instrumentation, "read_variables", fragile)
    target_id = await world.target(agent.port)
    for number in range(2, 5):
        agent.add_interface(f"ether{number}")
        await world.bind(target_id, f"ether{number}", await world.service(f"s{number}"))
    outcome = await world.poll(target_id)
    assert (outcome.trouble, len(outcome.samples)) == (None, 3)
    asked = agent.requests
    assert len((await world.poll(target_id)).samples) == 3
    assert agent.requests - asked == 4, "system and three rows, no large request any more"


async def test_requests_to_one_device_are_paced(
    world: SnmpWorld, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []
    sleep = asyncio.sleep

    async def measured(seconds: float) -> None:
        paused.append(seconds)
        await sleep(0)

    settings = QUICK.model_copy(update={"pause_s": 30.0})
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service())
    collector = Collector(world.workplace, world.sealer, settings)
    monkeypatch.setattr("snmp.session.asyncio.sleep", measured)
    assert (await collector.poll(await world.row(target_id))).trouble is None
    collector.close()
    waits = [seconds for seconds in paused if seconds > 1]
    assert len(waits) == agent.requests - 1, "before each request but the first"
    assert all(25 < seconds <= 30 for seconds in waits)


# --- RADIUS counts payload, SNMP counts frames: a steady ratio is normal, its change is leakage.
# (What SNMP shows beside RADIUS is compared in aaa; here: it is shown and never billed.)


async def _radius_session(world: SnmpWorld, clock: FakeClock) -> None:
    async with world.workplace.work("system:ingest") as work:
        await record_accounting(
            work,
            [
                AccountingEvent(
                    nas_id="nas_1", kind=AccountingKind.START, acct_session_id="80000001", username="ann",
                    class_token=b"", occurred_at=clock.now(), received_at=clock.now(),
                    calling_station="AA:BB:CC:00:00:01", nas_port_id=None, framed_ip="10.0.0.7",
                    gigawords_present=False,
                )
            ],
            b"k" * 32,
        )  # fmt: skip


async def test_snmp_counts_frames_beside_radius_and_never_bills_them(
    world: SnmpWorld, agent: SnmpAgent, clock: FakeClock
) -> None:
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service())
    await world.poll(target_id)
    agent.add_traffic("ether1", 0, 1_000)
    await world.poll(target_id)
    await _radius_session(world, clock)
    agent.add_traffic("ether1", 0, 5_000)
    outcome = await world.poll(target_id)
    assert outcome.samples[0].added_out == 5_000, "it is seen"
    assert await world.usage() == [(0, 1_000)], "and not billed"
    assert await world.open_issues() == ["snmp.beside_radius"]
    clock.advance(timedelta(days=36))  # RADIUS has been silent for more than a billing cycle
    await world.poll(target_id)
    agent.add_traffic("ether1", 0, 70)
    await world.poll(target_id)
    assert (await world.usage())[-1] == (0, 70)
    assert await world.open_issues() == []


# --- the rest of what devices do


async def test_an_interface_given_to_another_service_while_the_device_is_asked_is_not_billed_to_the_first(
    world: SnmpWorld, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await world.service("first"), await world.service("second")
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", first)
    await world.poll(target_id)
    agent.add_traffic("ether1", 0, 500)
    rows = world.collector._known[target_id].interfaces.rows

    async def meanwhile(names: list[str]) -> object:
        found = await rows(names)
        async with world.workplace.work("operator:ann") as work:
            await work.connection.execute(update(binding).values(service_id=second))
        return found

    monkeypatch.setattr(world.collector._known[target_id].interfaces, "rows", meanwhile)
    await world.poll(target_id)
    assert await world.usage() == []
    assert {one.service_id for one in await world.meters()} == {first, second}


async def test_a_binding_taken_away_while_the_device_is_asked_records_nothing(
    world: SnmpWorld, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service())
    await world.poll(target_id)
    rows = world.collector._known[target_id].interfaces.rows

    async def meanwhile(names: list[str]) -> object:
        found = await rows(names)
        async with world.workplace.work("operator:ann") as work:
            await work.connection.execute(delete(binding))
        return found

    monkeypatch.setattr(world.collector._known[target_id].interfaces, "rows", meanwhile)
    assert (await world.poll(target_id)).samples == []
    assert len(await world.readings()) == 1


async def test_a_poll_cancelled_while_it_is_recorded_is_recorded_whole_and_leaves_no_lock(
    any_world: SnmpWorld, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snmp import poll

    target_id = await any_world.target(agent.port)
    await any_world.bind(target_id, "ether1", await any_world.service())
    record = record_samples

    async def cut_off(*words: Any) -> Any:
        polling.cancel()
        await asyncio.sleep(0.05)
        return await record(*words)

    monkeypatch.setattr(poll, "record_samples", cut_off)
    polling = asyncio.create_task(any_world.collector.poll(await any_world.row(target_id)))
    with pytest.raises(asyncio.CancelledError):
        await polling
    assert await any_world.decisions() == ["first"]
    async with any_world.workplace.work("operator:ann") as work:
        await work.audit("tested", target_id)


async def test_no_transaction_is_open_while_a_device_keeps_us_waiting(
    world: SnmpWorld, agent: SnmpAgent
) -> None:
    target_id = await world.target(agent.port)
    agent.silent = True
    polling = asyncio.create_task(world.collector.poll(await world.row(target_id)))
    while not agent.requests:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(5), world.workplace.work("operator:ann") as work:  # SQLite has one writer
        await work.audit("tested", target_id)
    assert not polling.done()
    assert (await polling).trouble is not None


async def test_a_poll_that_never_comes_to_an_end_is_given_up(world: SnmpWorld, agent: SnmpAgent) -> None:
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service())
    agent.silent = True
    settings = QUICK.model_copy(update={"poll_deadline_s": 0.2, "timeout_s": 60.0})
    collector = Collector(world.workplace, world.sealer, settings)
    outcome = await collector.poll(await world.row(target_id))
    assert outcome.trouble == "it was not read within 0.2 s"
    agent.silent = False
    assert (await collector.poll(await world.row(target_id))).trouble is None
    collector.close()


async def test_a_table_without_end_is_given_up(
    world: SnmpWorld, agent: SnmpAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snmp.session import SnmpDevice

    async def circle(self: SnmpDevice, oid: str, repetitions: int) -> list[tuple[str, int | str]]:
        return [("1.3.6.1.2.1.31.1.1.1.1.7", "a"), ("1.3.6.1.2.1.31.1.1.1.1.3", "b")]

    monkeypatch.setattr(SnmpDevice, "rows_after", circle)
    target_id = await world.target(agent.port)
    await world.bind(target_id, "ether1", await world.service())
    assert "no end" in str((await world.poll(target_id)).trouble)


async def test_a_replaced_device_with_the_same_user_is_heard_again(
    world: SnmpWorld, agent: SnmpAgent, clock: FakeClock
) -> None:
    target_id = await world.target(
        agent.port, version="3", community=None, username=ANNA.name, auth=Secret(ANNA.auth_password),
        privacy=Secret(ANNA.privacy_password),
    )  # fmt: skip
    assert (await world.poll(target_id)).trouble is None
    await agent.stop()
    other = SnmpAgent("spare", COMMUNITY, clock=clock, users=[ANNA])
    await other.start(port=agent.port)
    outcomes = [await world.poll(target_id) for _ in range(2)]
    await other.stop()
    assert outcomes[-1].sys_name == "spare", "another engine id: what was learned of the old one is forgotten"


async def test_two_devices_whose_users_share_a_name_but_no_password(
    world: SnmpWorld, agent: SnmpAgent, clock: FakeClock
) -> None:
    other = SnmpAgent(
        "other", COMMUNITY, clock=clock, users=[V3User("anna", "another-auth", "another-privacy")]
    )
    await other.start()
    targets = []
    for name, port, words in (("a", agent.port, ANNA), ("b", other.port, other.users[0])):
        targets.append(
            await world.target(
                port, name, version="3", community=None, username=words.name,
                auth=Secret(words.auth_password), privacy=Secret(words.privacy_password),
            )
        )  # fmt: skip
    for _ in range(2):
        assert [(await world.poll(one)).trouble for one in targets] == [None, None]
    await other.stop()


async def test_credentials_that_cannot_be_opened_are_trouble_with_a_remedy(
    world: SnmpWorld, agent: SnmpAgent
) -> None:
    from core.secrets import Sealer

    target_id = await world.target(agent.port)
    stranger = Collector(world.workplace, Sealer({"k9": bytes(32)}), QUICK)
    outcome = await stranger.poll(await world.row(target_id))
    stranger.close()
    assert "change its credentials" in str(outcome.trouble)
