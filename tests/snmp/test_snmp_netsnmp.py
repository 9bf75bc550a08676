"""The collector against net-snmp's agent: an independent witness of what is asked and what is understood."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from snmp_netsnmp import NetSnmp
from sqlalchemy import select

from aaa.set_up import NewCredential, create_service, define_profile
from aaa.store.tables import meter_reading, usage_record
from core.clock import FakeClock
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.store.tables import health_issue
from core.work import Workplace
from snmp.config import SnmpSettings
from snmp.poll import Collector, PollOutcome, poll_once
from snmp.set_up import bind, register_target
from snmp.store import target_rows
from snmp.store.tables import target

QUICK = SnmpSettings(timeout_s=1.0, retries=0, pause_s=0, issue_after_failures=3)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[NetSnmp]:
    agent = NetSnmp(tmp_path)
    agent.start()
    yield agent
    agent.stop()


@pytest.fixture
async def service_id(workplace: Workplace, sealer: Sealer) -> str:
    async with workplace.work("operator:ann") as work:
        profile_id = granted(
            await define_profile(work, name="100", rate_down_bps=100_000_000, rate_up_bps=20_000_000)
        )
        return granted(
            await create_service(
                work, sealer, account_id="acc_1", label="home", profile_id=profile_id,
                credentials=[NewCredential("pppoe", "ann", Secret("pw"))],
            )
        )  # fmt: skip


async def _target(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, **fields: object
) -> str:
    """A version 2c target with the service bound to ether1, unless told otherwise."""
    values: dict[str, object] = {"community": Secret("public")} | fields
    async with workplace.work("operator:ann") as work:
        target_id = granted(
            await register_target(
                work, sealer, name="tower", address="127.0.0.1", port=agent.port, **values,  # type: ignore[arg-type]
            )
        )  # fmt: skip
        granted(await bind(work, target_id=target_id, if_name="ether1", service_id=service_id))
    return target_id


class _Poller:
    """One collector, as the role has it, over a clock that the test moves."""

    def __init__(self, workplace: Workplace, sealer: Sealer, clock: FakeClock) -> None:
        self.collector = Collector(workplace, sealer, QUICK)
        self._workplace, self._clock = workplace, clock
        self._failures = 0

    async def poll(self, after_min: float = 5) -> PollOutcome:
        self._clock.advance(timedelta(minutes=after_min))
        async with self._workplace.reading() as connection:
            row = (await target_rows.enabled_targets(connection))[0]
        outcome = await self.collector.poll(row, 300, self._failures)
        self._failures = 0 if outcome.trouble is None else self._failures + 1
        return outcome


@pytest.fixture
async def poller(workplace: Workplace, sealer: Sealer, clock: FakeClock) -> AsyncIterator[_Poller]:
    poller = _Poller(workplace, sealer, clock)
    yield poller
    poller.collector.close()


async def _usage(workplace: Workplace) -> list[tuple[int, int]]:
    async with workplace.reading() as connection:
        rows = await connection.execute(select(usage_record).order_by(usage_record.c.start_at))
        return [(row.octets_in, row.octets_out) for row in rows]


async def _decisions(workplace: Workplace) -> list[str]:
    async with workplace.reading() as connection:
        return list(
            (
                await connection.execute(select(meter_reading.c.decision).order_by(meter_reading.c.id))
            ).scalars()
        )


async def _open_issues(workplace: Workplace) -> list[str]:
    async with workplace.reading() as connection:
        rows = await connection.execute(select(health_issue.c.key).where(health_issue.c.closed_at.is_(None)))
        return list(rows.scalars())


async def test_64_bit_counters_of_a_row_found_by_name_become_usage(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller
) -> None:
    await _target(workplace, sealer, agent, service_id)
    agent.show({"lo": (1, 5, 5), "ether1": (2, 10**12, 10**13)})
    first = await poller.poll()
    agent.show({"lo": (1, 5, 5), "ether1": (2, 10**12 + 500, 10**13 + 7_000)})
    await poller.poll()
    assert (first.sys_name, first.narrow, first.absent, first.trouble) == ("tower-witness", False, [], None)
    assert first.engine_boots is not None
    assert await _usage(workplace) == [(500, 7_000)]


async def test_an_index_that_moved_is_found_again_by_its_name(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller
) -> None:
    await _target(workplace, sealer, agent, service_id)
    agent.show({"ether1": (2, 0, 1_000), "ether2": (3, 0, 77_000)})
    await poller.poll()
    agent.show({"ether1": (3, 0, 1_400), "ether2": (2, 0, 99_000)})
    await poller.poll()
    assert await _usage(workplace) == [(0, 400)]
    assert await _decisions(workplace) == ["first", "moved"]


async def test_a_reboot_shows_in_boots_and_uptime_and_credits_the_new_value(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller
) -> None:
    await _target(workplace, sealer, agent, service_id)
    agent.show({"ether1": (2, 0, 5_000_000)})
    before = await poller.poll()
    agent.stop()
    agent.start()
    agent.show({"ether1": (9, 0, 3_000)})
    after = await poller.poll()
    assert before.engine_boots is not None
    assert after.engine_boots == before.engine_boots + 1
    assert await _usage(workplace) == [(0, 3_000)]
    assert await _decisions(workplace) == ["first", "reset"]


async def test_an_agent_restarted_over_counters_that_went_on_bills_the_difference_alone(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller
) -> None:
    await _target(workplace, sealer, agent, service_id)
    agent.show({"ether1": (2, 0, 10**13)})
    await poller.poll()
    agent.stop()
    agent.start()
    agent.show({"ether1": (2, 0, 10**13 + 900)})
    await poller.poll()
    assert await _usage(workplace) == [(0, 900)]


async def test_without_64_bit_counters_the_32_bit_ones_are_read_and_followed_across_a_turn(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller
) -> None:
    await _target(workplace, sealer, agent, service_id)
    agent.show({"ether1": (2, 0, (1 << 32) - 100)}, wide=False)
    first = await poller.poll(1)
    agent.show({"ether1": (2, 0, (1 << 32) + 400)}, wide=False)
    await poller.poll(1)
    assert first.narrow
    assert await _usage(workplace) == [(0, 500)]
    assert await _decisions(workplace) == ["first", "wrap"]


async def test_a_time_out_is_not_a_zero_and_the_return_makes_no_spike(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller
) -> None:
    await _target(workplace, sealer, agent, service_id)
    agent.show({"ether1": (2, 0, 1_000)})
    await poller.poll()
    agent.stop()
    for _ in range(3):
        assert (await poller.poll()).trouble is not None
    assert await _decisions(workplace) == ["first"]
    assert [key.partition(":")[0] for key in await _open_issues(workplace)] == ["snmp.target_unreachable"]
    agent.start()
    agent.show({"ether1": (2, 0, 1_000_000_000)})
    await poller.poll()
    assert await _open_issues(workplace) == []
    assert len(await _usage(workplace)) == 1


async def test_a_row_that_is_not_there_is_absent_and_no_trouble(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller
) -> None:
    await _target(workplace, sealer, agent, service_id)
    agent.show({"ether2": (2, 0, 0)})
    outcome = await poller.poll()
    assert (outcome.absent, outcome.trouble, await _decisions(workplace)) == (["ether1"], None, [])


async def test_version_3_with_authentication_and_privacy(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller
) -> None:
    secrets = {"auth": Secret("authpassword"), "privacy": Secret("privpassword")}
    await _target(
        workplace, sealer, agent, service_id, version="3", community=None, username="mon", **secrets
    )
    agent.show({"ether1": (2, 0, 1_000)})
    await poller.poll()
    agent.show({"ether1": (2, 0, 1_250)})
    await poller.poll()
    assert await _usage(workplace) == [(0, 250)]


async def test_version_3_goes_on_over_a_reboot_of_the_agent(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller
) -> None:
    secrets = {"auth": Secret("authpassword"), "privacy": Secret("privpassword")}
    await _target(
        workplace, sealer, agent, service_id, version="3", community=None, username="mon", **secrets
    )
    agent.show({"ether1": (2, 0, 1_000)})
    await poller.poll()
    agent.stop()
    agent.start()
    assert (await poller.poll()).trouble is None


async def test_a_wrong_password_says_so_without_telling_it(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller
) -> None:
    secrets = {"auth": Secret("wrongpassword"), "privacy": Secret("privpassword")}
    await _target(
        workplace, sealer, agent, service_id, version="3", community=None, username="mon", **secrets
    )
    trouble = (await poller.poll()).trouble
    assert trouble is not None
    assert "refused" in trouble
    assert "wrongpassword" not in trouble


async def test_poll_once_by_name_as_the_command_line_does(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str
) -> None:
    await _target(workplace, sealer, agent, service_id)
    agent.show({"ether1": (2, 0, 1_000)})
    outcome = await poll_once(workplace, sealer, "tower", QUICK)
    assert isinstance(outcome, PollOutcome)
    assert outcome.samples[0].why == "the meter begins at this sample"
    assert isinstance(await poll_once(workplace, sealer, "nowhere", QUICK), Refusal)


async def test_reversed_says_that_in_is_the_download(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller
) -> None:
    target_id = await _target(workplace, sealer, agent, service_id)
    async with workplace.work("operator:ann") as work:
        granted(await bind(work, target_id=target_id, if_name="wlan1", service_id=service_id, reversed=True))
    agent.show({"wlan1": (5, 1_000, 0)})
    await poller.poll()
    agent.show({"wlan1": (5, 1_900, 50)})
    await poller.poll()
    assert await _usage(workplace) == [(50, 900)]


async def test_what_the_device_said_of_itself_is_kept(
    workplace: Workplace, sealer: Sealer, agent: NetSnmp, service_id: str, poller: _Poller, clock: FakeClock
) -> None:
    await _target(workplace, sealer, agent, service_id)
    await poller.poll()
    async with workplace.reading() as connection:
        row = (await connection.execute(select(target))).one()
    assert (row.sys_name, row.last_answer_at, row.last_error) == ("tower-witness", clock.now(), None)
    assert row.sys_uptime_ticks is not None
