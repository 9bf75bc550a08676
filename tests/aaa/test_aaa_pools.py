"""Pools: what they hold, who gets what, and that no two ever have the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from aaa.define_pool import change_pool, define_pool, delete_pool
from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.address_pool import AddressPool, check_excluded, check_ranges
from aaa.find_holder import HolderQuestion, find_holder
from aaa.keep_pools import keep_pools
from aaa.lease_addresses import Giver, Grant, record_grants, report_for_duty, reserve
from aaa.list_pools import past_leases
from aaa.record_accounting import record_accounting
from aaa.set_addressing import set_addressing
from aaa.set_up import NewCredential, create_service, define_profile
from aaa.store import pool_rows
from core.clock import FakeClock
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.store.tables import health_issue
from core.work import Workplace


def made(kind: str, ranges: list[str], length: int, excluded: list[str] | None = None) -> AddressPool:
    spans = granted(check_ranges(kind, length, ranges))[0]
    left_out = granted(check_excluded(4 if kind == "ipv4" else 6, excluded or []))[0]
    return AddressPool("ipp_1", "homes", kind, length, spans, left_out)


def test_what_a_pool_hands_out() -> None:
    homes = made("ipv4", ["10.0.0.0/29", "10.1.0.5-10.1.0.6"], 32, ["10.0.0.0", "10.0.0.6-10.0.0.7"])
    everything = list(homes.from_position(0))
    assert [network for _, network in everything] == [
        "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.1.0.5", "10.1.0.6"
    ]  # fmt: skip
    assert homes.size == 7
    assert list(homes.from_position(6)) == everything[5:]
    assert homes.gives("10.0.0.3")
    assert not homes.gives("10.0.0.6")
    assert not homes.gives("10.0.0.0/30")
    behind = made("delegated_prefix", ["2001:db8::/54"], 56, ["2001:db8:0:101::/64"])
    assert [network for _, network in behind.from_position(0)] == [
        "2001:db8::/56", "2001:db8:0:200::/56", "2001:db8:0:300::/56"
    ]  # fmt: skip
    assert behind.size == 3


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), max_size=6),
    st.integers(0, 256),
)
def test_size_and_positions_agree_with_a_count(excluded: list[tuple[int, int]], position: int) -> None:
    def written(number: int) -> str:
        return f"10.0.{number // 256}.{number % 256}"

    texts = [f"{written(low)}-{written(low + more)}" for low, more in excluded]
    pool = made("ipv4", ["10.0.0.0/24"], 32, texts)
    gone = {number for low, more in excluded for number in range(low, low + more + 1)}
    left = [number for number in range(256) if number not in gone]
    assert pool.size == len(left)
    assert [at for at, _ in pool.from_position(position)] == [one for one in left if one >= position]
    assert all(pool.gives(written(number)) is (number not in gone) for number in range(256))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"kind": "ipx"}, "kind.unknown"),
        ({"ranges": []}, "ranges.none"),
        ({"ranges": ["10.0.0.1/24"]}, "ranges.malformed"),
        ({"ranges": ["10.0.0.9-10.0.0.2"]}, "ranges.malformed"),
        ({"ranges": ["2001:db8::/48"]}, "ranges.version"),
        ({"ranges": ["127.0.0.0/24"]}, "ranges.no_host"),
        ({"ranges": ["10.0.0.0/24", "10.0.0.128/25"]}, "ranges.overlap"),
        ({"kind": "delegated_prefix", "ranges": ["2001:db8::/60"]}, "ranges.unaligned"),
        ({"kind": "delegated_prefix", "ranges": ["2001:db8::/48"], "length": 12}, "length.range"),
        ({"length": 30}, "length.ipv4"),
        ({"netmask_bits": 40}, "netmask_bits.range"),
        ({"rest_s": 5}, "rest_s.range"),
        ({"when_full": "wait"}, "when_full.unknown"),
        ({"excluded": ["2001:db8::1"]}, "excluded.version"),
        ({"excluded": ["10.0.0.0/24"]}, "ranges.empty"),
    ],
)
async def test_what_makes_no_pool_is_refused(workplace: Workplace, fields: dict[str, Any], code: str) -> None:
    asked: dict[str, Any] = {"name": "homes", "kind": "ipv4", "ranges": ["10.0.0.0/24"]} | fields
    async with workplace.work("test") as work:
        refused = await define_pool(work, **asked)
    assert isinstance(refused, Refusal)
    assert refused.code == code


@dataclass
class Valley:
    """A pool, and services that get something of it."""

    workplace: Workplace
    clock: FakeClock
    sealer: Sealer
    pool_id: str = ""

    async def begin(self, ranges: Sequence[str] = ("10.0.0.1-10.0.0.8",), **fields: Any) -> None:
        async with self.workplace.work("test") as work:
            asked = {"name": "homes", "kind": "ipv4", "ranges": list(ranges)} | fields
            self.pool_id = granted(await define_pool(work, **asked))
            self.profile_id = granted(
                await define_profile(work, name="p", rate_down_bps=10**6, rate_up_bps=10**6, pool="homes")
            )

    async def service(self, name: str, framed_ip: str | None = None) -> str | Refusal:
        async with self.workplace.work("test") as work:
            return await create_service(
                work, self.sealer, account_id="acc_1", label=name, profile_id=self.profile_id,
                credentials=[NewCredential("pppoe", name, Secret("open sesame"))], framed_ip=framed_ip,
            )  # fmt: skip

    async def give(self, network: str, service_id: str) -> None:
        async with self.workplace.work("test") as work:
            await record_grants(work, [Grant(network, self.pool_id, service_id, None, "nas_1", work.now)])

    async def account(self, kind: AccountingKind, name: str, network: str, nas_id: str = "nas_1") -> None:
        now = self.clock.now()
        event = AccountingEvent(
            nas_id=nas_id, kind=kind, acct_session_id=f"{name} {network}", username=name, class_token=b"",
            occurred_at=now, received_at=now, framed_ip=network, session_time_s=0,
        )  # fmt: skip
        async with self.workplace.work("test") as work:
            await record_accounting(work, [event], b"k" * 32)

    async def leases(self) -> dict[str, Any]:
        async with self.workplace.reading() as connection:
            return {row.network: row for row in await pool_rows.held_leases(connection, "", 1_000)}

    async def reserve(self, number: int) -> list[str]:
        async with self.workplace.work("test") as work:
            until = work.now + timedelta(hours=72)
            newest = await pool_rows.newest_version(work.connection)
            await report_for_duty(work, Giver("journal/one", "journal", until), newest)
            got = await reserve(work, "journal/one", {self.pool_id: number}, {self.pool_id})
        return list(got.networks.get(self.pool_id, ()))

    async def keep(self) -> int:
        async with self.workplace.work("test") as work:
            return await keep_pools(work)

    async def issues(self) -> dict[str, str]:
        async with self.workplace.reading() as connection:
            rows = await connection.execute(select(health_issue).where(health_issue.c.closed_at.is_(None)))
            return {row.key.partition(":")[0]: row.severity for row in rows}


@pytest.fixture
def valley(any_workplace: Workplace, clock: FakeClock, sealer: Sealer) -> Valley:
    return Valley(any_workplace, clock, sealer)


async def test_what_is_set_aside_is_nobody_elses_in_any_way(valley: Valley) -> None:
    await valley.begin()
    granted(await valley.service("static", framed_ip="10.0.0.2"))
    ann = granted(await valley.service("ann"))
    await valley.account(AccountingKind.START, "ann", "10.0.0.3")  # nobody gave it: a pool on the NAS did
    async with valley.workplace.work("test") as work:
        assert await set_addressing(work, ann, routes=["10.0.0.4/31"]) is None
    got = []
    while some := await valley.reserve(8):
        got += some
    assert sorted(got) == ["10.0.0.1", "10.0.0.6", "10.0.0.7", "10.0.0.8"]
    assert (await valley.leases())["10.0.0.3"].service_id == ann


async def test_the_least_recently_used_goes_first_and_none_too_soon(valley: Valley) -> None:
    await valley.begin(["10.0.0.1-10.0.0.3"], rest_s=600)
    services = [granted(await valley.service(name)) for name in ("ann", "bob", "cid", "dot")]
    for _ in range(3):
        await valley.reserve(3)
    for number, name in enumerate(("ann", "bob", "cid"), 1):
        await valley.give(f"10.0.0.{number}", services[number - 1])
        await valley.account(AccountingKind.START, name, f"10.0.0.{number}")
    valley.clock.advance(timedelta(minutes=5))
    assert await valley.keep() == 0
    assert await valley.issues() == {"aaa.pool_full": "warning"}
    assert await valley.reserve(3) == []
    assert await valley.keep() == 0
    assert await valley.issues() == {"aaa.pool_full": "critical"}
    await valley.account(AccountingKind.STOP, "bob", "10.0.0.2")
    valley.clock.advance(timedelta(minutes=1))
    await valley.account(AccountingKind.STOP, "ann", "10.0.0.1")
    valley.clock.advance(timedelta(minutes=9, seconds=1))
    assert await valley.keep() == 1  # bob's, who was away for ten minutes
    assert await valley.reserve(3) == []
    valley.clock.advance(timedelta(minutes=2))
    assert await valley.reserve(3) == ["10.0.0.2"]
    async with valley.workplace.reading() as connection:
        [line] = await past_leases(connection, network="10.0.0.2")
    assert (line.service, line.because) == ("bob", "needed by others")


async def test_an_address_in_use_is_not_taken_out_of_its_pool(valley: Valley) -> None:
    await valley.begin()
    ann = granted(await valley.service("ann"))
    await valley.reserve(8)
    await valley.give("10.0.0.1", ann)
    await valley.account(AccountingKind.START, "ann", "10.0.0.1")
    async with valley.workplace.work("test") as work:
        kept = [
            await change_pool(work, valley.pool_id, ranges=["10.0.0.4-10.0.0.8"]),
            await delete_pool(work, valley.pool_id),
        ]
    assert all(isinstance(one, Refusal) and "10.0.0.1 (ann)" in one.message for one in kept)
    taken = await valley.service("bob", framed_ip="10.0.0.1")
    assert isinstance(taken, Refusal)
    assert taken.code == "framed_ip.leased"
    await valley.account(AccountingKind.STOP, "ann", "10.0.0.1")
    async with valley.workplace.work("test") as work:
        assert await change_pool(work, valley.pool_id, ranges=["10.0.0.4-10.0.0.8"]) == ["ranges"]
    assert await valley.leases() == {}
    got = []
    while some := await valley.reserve(8):
        got += some
    assert sorted(got) == ["10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8"] or "10.0.0.4" in got
    async with valley.workplace.work("test") as work:
        assert await delete_pool(work, valley.pool_id) is None


async def test_two_at_one_address_are_told_and_who_is_there_counts(valley: Valley) -> None:
    await valley.begin()
    ann, bob = granted(await valley.service("ann")), granted(await valley.service("bob"))
    await valley.reserve(8)
    await valley.give("10.0.0.1", ann)
    await valley.account(AccountingKind.START, "bob", "10.0.0.1", nas_id="nas_2")
    assert (await valley.leases())["10.0.0.1"].service_id == bob
    await valley.account(AccountingKind.START, "ann", "10.0.0.1")
    assert await valley.issues() == {"aaa.pool_conflict": "critical"}
    await valley.account(AccountingKind.STOP, "bob", "10.0.0.1", nas_id="nas_2")
    await valley.account(AccountingKind.STOP, "ann", "10.0.0.1")
    async with valley.workplace.reading() as connection:
        past = await past_leases(connection, network="10.0.0.1")
    assert [(one.service, one.until_at is None) for one in past] == [("bob", True), ("ann", False)]


async def test_the_look_up_of_an_address_counts_its_leases(valley: Valley) -> None:
    await valley.begin()
    ann = granted(await valley.service("ann"))
    await valley.give("10.0.0.1", ann)
    valley.clock.advance(timedelta(minutes=5))
    async with valley.workplace.work("test") as work:
        asked = HolderQuestion("10.0.0.1", work.now - timedelta(minutes=1), "a letter")
        answer = await find_holder(work, asked)
    assert not isinstance(answer, Refusal)
    assert [(one.service, one.until_at) for one in answer.leases] == [("ann", None)]
