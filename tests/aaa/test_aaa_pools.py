"""Pools: what they hold, who gets what, and that no two ever have the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.define_pool import define_pool
from aaa.domain.address_pool import AddressPool, check_excluded, check_ranges
from core.refusal import Refusal, granted
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
