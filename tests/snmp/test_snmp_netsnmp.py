"""The collector against net-snmp's agent: an independent witness of what is asked and what is understood."""

from __future__ import annotations

from typing import Any

import pytest
from snmp_netsnmp import AUTH, PRIVACY, NetSnmp
from snmp_world import QUICK, SnmpWorld

from core.refusal import Refusal
from core.secrets import Secret
from snmp.poll import PollOutcome, poll_target
from snmp.set_up import change_credentials

V3: dict[str, Any] = {"version": "3", "community": None, "username": "mon", "auth": Secret(AUTH)}


async def _bound(world: SnmpWorld, net_snmp: NetSnmp, **fields: Any) -> str:
    target_id = await world.target(net_snmp.port, **fields)
    await world.bind(target_id, "ether1", await world.service())
    return target_id


async def test_64_bit_counters_of_a_row_found_by_name_become_usage(
    any_world: SnmpWorld, net_snmp: NetSnmp
) -> None:
    target_id = await _bound(any_world, net_snmp)
    net_snmp.show({"lo": (1, 5, 5), "ether1": (2, 10**12, 10**13)})
    first = await any_world.poll(target_id)
    net_snmp.show({"lo": (1, 5, 5), "ether1": (2, 10**12 + 500, 10**13 + 7_000)})
    await any_world.poll(target_id)
    assert (first.sys_name, first.narrow_bps, first.absent, first.trouble) == (
        "tower-witness",
        None,
        [],
        None,
    )
    assert first.engine_boots is not None
    assert await any_world.usage() == [(500, 7_000)]
    (reading, _) = await any_world.readings()
    assert reading.raw_out == 10**13


async def test_usage_adds_up_to_what_the_agent_counted_through_gaps_moves_and_a_reboot(
    any_world: SnmpWorld, net_snmp: NetSnmp
) -> None:
    target_id = await _bound(any_world, net_snmp)
    seen: list[tuple[int, int, int]] = [
        (2, 100, 1_000), (2, 300, 90_000), (7, 300, 95_000), (7, 4_000, 1_000_000), (3, 4_400, 1_300_000),
    ]  # fmt: skip
    for row in seen:
        net_snmp.show({"ether1": row, "ether2": (row[0] + 1, 10**15, 10**15)})
        await any_world.poll(target_id)
    before = await any_world.total()
    assert before == (4_400 - 100, 1_300_000 - 1_000)
    net_snmp.stop()
    assert (await any_world.poll(target_id)).trouble is not None
    net_snmp.start()
    net_snmp.show({"ether1": (5, 70, 900)})
    await any_world.poll(target_id)
    assert await any_world.decisions() == ["first", "advance", "moved", "advance", "moved", "reset"]
    assert await any_world.total() == (before[0] + 70, before[1] + 900)


async def test_an_index_that_moved_is_found_again_by_its_name(world: SnmpWorld, net_snmp: NetSnmp) -> None:
    target_id = await _bound(world, net_snmp)
    net_snmp.show({"ether1": (2, 0, 1_000), "ether2": (3, 0, 77_000)})
    await world.poll(target_id)
    net_snmp.show({"ether1": (3, 0, 1_400), "ether2": (2, 0, 99_000)})
    await world.poll(target_id)
    assert await world.usage() == [(0, 400)]
    assert await world.decisions() == ["first", "moved"]


async def test_a_reboot_shows_in_boots_and_uptime_and_credits_the_new_value(
    world: SnmpWorld, net_snmp: NetSnmp
) -> None:
    target_id = await _bound(world, net_snmp)
    net_snmp.show({"ether1": (2, 0, 5_000_000)})
    before = await world.poll(target_id)
    net_snmp.stop()
    net_snmp.start()
    net_snmp.show({"ether1": (9, 0, 3_000)})
    after = await world.poll(target_id)
    assert before.engine_boots is not None
    assert after.engine_boots == before.engine_boots + 1
    assert await world.usage() == [(0, 3_000)]
    assert await world.decisions() == ["first", "reset"]


async def test_an_agent_restarted_over_counters_that_went_on_bills_the_difference_alone(
    world: SnmpWorld, net_snmp: NetSnmp
) -> None:
    target_id = await _bound(world, net_snmp)
    net_snmp.show({"ether1": (2, 0, 10**13)})
    await world.poll(target_id)
    net_snmp.stop()
    net_snmp.start()
    net_snmp.show({"ether1": (2, 0, 10**13 + 900)})
    await world.poll(target_id)
    assert await world.usage() == [(0, 900)]


async def test_without_ifxtable_names_are_descriptions_and_32_bits_are_followed_across_a_turn(
    world: SnmpWorld, net_snmp: NetSnmp
) -> None:
    target_id = await _bound(world, net_snmp)
    net_snmp.show({"ether1": (2, 0, (1 << 32) - 100)}, wide=False)
    first = await world.poll(target_id, 1)
    net_snmp.show({"ether1": (2, 0, (1 << 32) + 400)}, wide=False)
    await world.poll(target_id, 1)
    assert first.narrow_bps == 200_000_000
    assert await world.usage() == [(0, 500)]
    assert await world.decisions() == ["first", "wrap"]


async def test_two_rows_of_one_name_are_nobodys(world: SnmpWorld, net_snmp: NetSnmp) -> None:
    target_id = await _bound(world, net_snmp)
    net_snmp.show({"ether1": (2, 0, 10)})
    table = net_snmp.folder / "table.json"
    table.write_text(table.read_text()[:-1] + ', "1.3.6.1.2.1.31.1.1.1.1.3": ["string", "ether1"]}')
    outcome = await world.poll(target_id)
    assert (outcome.ambiguous, outcome.absent, await world.readings()) == (["ether1"], [], [])
    assert "two interfaces bear this name" in str(outcome)


@pytest.mark.parametrize(
    ("username", "privacy"),
    [("mon", Secret(PRIVACY)), ("old", Secret(PRIVACY)), ("plain", None)],
    ids=["SHA-256 and AES", "SHA and AES", "SHA-512 without privacy"],
)
async def test_version_3_finds_the_protocol_by_asking_and_goes_on_over_a_reboot(
    world: SnmpWorld, net_snmp: NetSnmp, username: str, privacy: Secret | None
) -> None:
    target_id = await _bound(world, net_snmp, **V3 | {"username": username, "privacy": privacy})
    net_snmp.show({"ether1": (2, 0, 1_000)})
    assert (await world.poll(target_id)).trouble is None
    net_snmp.show({"ether1": (2, 0, 1_250)})
    await world.poll(target_id)
    net_snmp.stop()
    net_snmp.start()
    net_snmp.show({"ether1": (2, 0, 90)})
    assert (await world.poll(target_id)).trouble is None
    assert await world.usage() == [(0, 250), (0, 90)]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"auth": Secret("not-the-password"), "privacy": Secret(PRIVACY)}, "authentication password"),
        ({"privacy": Secret("not-the-password")}, "privacy password"),
        ({"username": "stranger", "privacy": Secret(PRIVACY)}, "no such user"),
        ({"username": "plain", "privacy": Secret(PRIVACY)}, "security level"),
        ({"version": "2c", "username": None, "auth": None, "community": Secret("not-it")}, "no answer"),
    ],
)
async def test_what_the_device_refuses_is_said_with_a_remedy_and_without_the_secret(
    world: SnmpWorld, net_snmp: NetSnmp, fields: dict[str, Any], said: str
) -> None:
    target_id = await _bound(world, net_snmp, **V3 | fields)
    outcome = await world.poll(target_id)
    assert said in str(outcome.trouble)
    row = await world.row(target_id)
    for secret in ("not-the-password", "not-it", AUTH, PRIVACY):
        assert secret not in f"{outcome}{row.last_error}"
    assert await world.readings() == []


async def test_version_3_goes_on_when_the_agent_lost_its_memory_of_boots_and_engine_id(
    world: SnmpWorld, net_snmp: NetSnmp
) -> None:
    target_id = await _bound(world, net_snmp, **V3 | {"privacy": Secret(PRIVACY)})
    assert (await world.poll(target_id)).engine_boots == 1
    net_snmp.stop()
    (net_snmp.folder / "persistent" / "snmpd.conf").unlink()
    net_snmp.start()
    assert (await world.poll(target_id)).engine_boots == 1


async def test_other_credentials_are_used_from_the_next_poll_on(world: SnmpWorld, net_snmp: NetSnmp) -> None:
    target_id = await _bound(world, net_snmp, community=Secret("not-it"))
    assert (await world.poll(target_id)).trouble is not None
    async with world.workplace.work("operator:ann") as work:
        await change_credentials(
            work, world.sealer, target_id, version="3", username="mon", auth=Secret(AUTH),
            privacy=Secret(PRIVACY),
        )  # fmt: skip
    assert (await world.poll(target_id)).trouble is None


async def test_poll_target_once_as_the_command_line_does(world: SnmpWorld, net_snmp: NetSnmp) -> None:
    target_id = await _bound(world, net_snmp)
    net_snmp.show({"ether1": (2, 0, 1_000)})
    outcome = await poll_target(world.workplace, world.sealer, target_id, QUICK)
    assert isinstance(outcome, PollOutcome)
    assert str(outcome).splitlines()[0].startswith("tower: tower-witness, up 0:00:0")
    assert "ether1: first, 0 B up, 0 B down (the meter begins at this sample)" in str(outcome)
    assert isinstance(await poll_target(world.workplace, world.sealer, "tgt_x", QUICK), Refusal)


async def test_reversed_says_that_in_is_the_download(world: SnmpWorld, net_snmp: NetSnmp) -> None:
    target_id = await world.target(net_snmp.port)
    await world.bind(target_id, "wlan1", await world.service(), reversed=True)
    net_snmp.show({"wlan1": (5, 1_000, 0)})
    await world.poll(target_id)
    net_snmp.show({"wlan1": (5, 1_900, 50)})
    await world.poll(target_id)
    assert await world.usage() == [(50, 900)]


async def test_what_the_device_says_of_itself_is_kept(world: SnmpWorld, net_snmp: NetSnmp) -> None:
    target_id = await _bound(world, net_snmp)
    await world.poll(target_id)
    answered_at = world.clock.now()
    row = await world.row(target_id)
    assert (row.sys_name, row.last_answer_at, row.last_error) == ("tower-witness", answered_at, None)
    assert (row.sys_uptime_ticks is not None, row.engine_boots is not None) == (True, True)
    net_snmp.stop()
    await world.poll(target_id)
    row = await world.row(target_id)
    assert (row.last_answer_at, row.last_polled_at) == (answered_at, world.clock.now())
    assert "no answer" in row.last_error
