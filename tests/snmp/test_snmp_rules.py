"""When a device is asked next, what its rows say, and how its interfaces are found: without a socket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snmp.domain import oids
from snmp.domain.oids import Answer
from snmp.domain.pacing import interval_s, turn_s, wait_s
from snmp.domain.rows import InterfaceRow, counts_other_than_octets, map_names, read_row
from snmp.domain.samples import meter_key, sample_of
from snmp.interfaces import Interfaces
from snmp.session import SnmpSilence, SnmpTooBig, SnmpTrouble

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
TURN = 1 << 32


# --- pacing


def test_a_32_bit_counter_turns_over_in_34_s_at_a_gigabit() -> None:
    assert round(turn_s(1_000_000_000)) == 34


@pytest.mark.parametrize(
    ("narrow_bps", "expected_s"), [(None, 300), (10_000_000, 300), (200_000_000, 77), (10_000_000_000, 5)]
)
def test_32_bits_are_polled_as_often_as_the_line_demands(narrow_bps: int | None, expected_s: float) -> None:
    assert round(interval_s(300, narrow_bps, 5)) == expected_s


@given(st.integers(1, 3600), st.integers(1, 10**10))
def test_law_one_lost_poll_leaves_a_32_bit_counter_certain(poll_s: int, line_bps: int) -> None:
    chosen = interval_s(poll_s, line_bps, 0.0)
    assert chosen <= poll_s
    assert 2 * chosen < turn_s(line_bps)


def test_failures_double_the_wait_up_to_the_longest() -> None:
    waits = [wait_s(300, failures, 1800) for failures in range(6)]
    assert waits == [300, 300, 600, 1200, 1800, 1800]


@given(st.integers(1, 3600), st.integers(0, 5000), st.integers(1, 7200))
def test_law_a_wait_is_never_shorter_than_the_interval(interval: int, failures: int, longest: int) -> None:
    assert interval <= wait_s(interval, failures, longest) <= max(interval, longest)


# --- rows


def _answer(index: int, name: str, **more: int) -> dict[str, int | str]:
    columns = {
        "uptime": oids.SYS_UPTIME, "boots": oids.ENGINE_BOOTS, "hc_in": f"{oids.IF_HC_IN_OCTETS}.{index}",
        "hc_out": f"{oids.IF_HC_OUT_OCTETS}.{index}", "in_": f"{oids.IF_IN_OCTETS}.{index}",
        "out": f"{oids.IF_OUT_OCTETS}.{index}", "changed": f"{oids.IF_LAST_CHANGE}.{index}",
    }  # fmt: skip
    return {f"{oids.IF_NAME}.{index}": name} | {columns[key]: value for key, value in more.items()}


def test_a_row_is_read_in_the_width_that_was_asked() -> None:
    answer = _answer(2, "ether1", hc_in=1 << 40, hc_out=5, in_=7, out=6, boots=3, uptime=50)
    wide, narrow = (read_row(answer, 2, oids.IF_NAME, width, NOON) for width in (64, 32))
    assert wide == InterfaceRow(NOON, 2, "ether1", 1 << 40, 5, 64, 50, 3)
    assert narrow == InterfaceRow(NOON, 2, "ether1", 7, 6, 32, 50, 3)


def test_a_row_without_name_or_a_pair_of_counters_is_none_and_never_zero() -> None:
    assert read_row(_answer(2, "ether1", hc_in=1), 2, oids.IF_NAME, 64, NOON) is None
    assert read_row(_answer(2, "", hc_in=1, hc_out=1), 2, oids.IF_NAME, 64, NOON) is None
    assert read_row({}, 2, oids.IF_NAME, 64, NOON) is None


@pytest.mark.parametrize(
    ("name", "changed", "age_s"),
    [
        ("<pppoe-ann>", 90_000, 100.0),
        ("ether1", 90_000, None),
        ("<pppoe-ann>", 0, None),
        ("<pppoe-ann>", 100_001, None),
    ],
)
def test_only_a_dynamic_row_or_one_that_moved_tells_its_age(
    name: str, changed: int, age_s: float | None
) -> None:
    answer = _answer(2, name, uptime=100_000, hc_in=1, hc_out=1, changed=changed)
    row = read_row(answer, 2, oids.IF_NAME, 64, NOON)
    assert row is not None
    assert sample_of(row).session_age_s == age_s
    assert sample_of(row, before=row).session_age_s == age_s
    if changed == 90_000:
        assert sample_of(row, before=replace(row, if_index=1)).session_age_s == 100.0


def test_names_are_mapped_and_a_name_borne_twice_is_nobodys() -> None:
    names: list[int | str] = ["a", "b", "", "a", 5, "c"]
    walked: list[tuple[str, int | str]] = [
        (f"{oids.IF_NAME}.{index}", name) for index, name in enumerate(names, start=1)
    ]
    found = map_names(oids.IF_NAME, walked)
    assert [found.index_of(name) for name in "abcd"] == [None, 2, 6, None]
    assert found.ambiguous("abcd") == {"a": (1, 4)}
    assert found.settle({1: True, 4: False}).index_of("a") == 4
    for is_down in ({1: False, 4: False}, {1: True, 4: True}, {}):
        assert found.settle(is_down).index_of("a") is None


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.booleans())
def test_law_directions_are_the_subscribers_and_turning_them_twice_changes_nothing(
    octets_in: int, octets_out: int, is_reversed: bool
) -> None:
    row = InterfaceRow(NOON, 2, "ether1", octets_in, octets_out, 64, 5, 1, 0)
    sample = sample_of(row, is_reversed=is_reversed)
    assert (sample.octets_in, sample.octets_out) == (
        (octets_out, octets_in) if is_reversed else (octets_in, octets_out)
    )
    turned = replace(row, octets_in=octets_out, octets_out=octets_in)
    assert sample_of(turned, is_reversed=not is_reversed) == sample


def test_a_meter_key_has_device_and_name_and_no_index() -> None:
    assert meter_key("tgt_1", "<pppoe-ann>") == "snmp|tgt_1|<pppoe-ann>"


# --- units


def _passed(octets: int, packets: int, width_bits: int = 64, at: int = TURN - 5_000) -> bool:
    """Whether the difference of two rows is doubted; both begin close to where 32 bits turn over."""
    turn = 1 << width_bits
    old = InterfaceRow(
        NOON, 2, "e", at, at, width_bits, 100, 1, 0, packets_in=TURN - 50, packets_out=TURN - 50
    )
    new = replace(
        old, octets_in=(at + octets) % turn, octets_out=(at + 64 * packets) % turn, sys_uptime_ticks=900,
        packets_in=(TURN - 50 + packets) % TURN, packets_out=(TURN - 50 + packets) % TURN,
    )  # fmt: skip
    return counts_other_than_octets(old, new)


@given(st.integers(0, 10**6), st.integers(40, 9_000), st.sampled_from([32, 64]))
def test_law_octets_of_real_packets_are_never_doubted(packets: int, size: int, width_bits: int) -> None:
    if width_bits == 32:
        size = min(size, 1_500)
    assert not _passed(packets * size, packets, width_bits)


@given(st.integers(1_000, 10**6), st.integers(40, 9_000), st.sampled_from([32, 64]))
def test_law_kilobytes_and_packets_in_place_of_octets_are_doubted(
    packets: int, size: int, width_bits: int
) -> None:
    assert _passed(packets * size // 1_000, packets, width_bits)
    assert _passed(packets, packets, width_bits)


def test_across_a_reset_or_without_packets_nothing_is_doubted() -> None:
    old = InterfaceRow(NOON, 2, "e", 10**9, 10**9, 64, 900, 1, 0, packets_in=5, packets_out=5)
    new = replace(old, octets_in=5, octets_out=5, packets_in=10**6, packets_out=10**6)
    assert counts_other_than_octets(replace(old, octets_in=0, octets_out=0), new)
    for after in (
        replace(new, sys_uptime_ticks=5),
        replace(new, engine_boots=2),
        replace(new, discontinuity_ticks=7),
        replace(new, if_index=9),
        replace(new, packets_in=None, packets_out=None),
    ):
        assert not counts_other_than_octets(replace(old, octets_in=0, octets_out=0), after)


# --- interfaces


class _Radio:
    """A device as a dictionary of names to (index, in, out), with the limits of small radios."""

    def __init__(self, bulk_limit: int = 50, get_limit: int = 500, trouble: type[SnmpTrouble] = SnmpSilence):
        self.rows: dict[str, tuple[int, int, int]] = {}
        self.bulk_limit, self.get_limit, self.trouble = bulk_limit, get_limit, trouble
        self.walked = 0
        self.refused = 0
        self.asked: list[int] = []

    async def get(self, asked: Sequence[str]) -> Answer:
        self.asked.append(len(asked))
        if len(asked) > self.get_limit:
            self.refused += 1
            raise self.trouble("too much")
        table: dict[str, int | str] = {oids.SYS_UPTIME: 5}
        for name, (index, octets_in, octets_out) in self.rows.items():
            table |= _answer(index, name, hc_in=octets_in, hc_out=octets_out)
        return {oid: table[oid] for oid in asked if oid in table}

    async def rows_after(self, oid: str, repetitions: int) -> list[tuple[str, int | str]]:
        self.walked += 1
        if repetitions > self.bulk_limit:
            self.refused += 1
            raise self.trouble("too much")
        last = 0 if oid == oids.IF_NAME else int(oid.rpartition(".")[2])
        later = sorted((index, name) for name, (index, _, _) in self.rows.items() if index > last)
        beyond: list[tuple[str, int | str]] = [("1.3.6.1.2.1.31.1.1.1.2.1", 0)]
        return [*((f"{oids.IF_NAME}.{index}", name) for index, name in later), *beyond][:repetitions]


def _interfaces(radio: _Radio) -> Interfaces:
    return Interfaces(radio, repetitions=10, rows_per_request=8, now=lambda: NOON)


async def test_names_are_walked_once_while_indexes_stay_and_rows_are_read_together() -> None:
    radio = _Radio()
    radio.rows = {f"ether{n}": (n, n, n) for n in range(1, 25)}
    interfaces = _interfaces(radio)
    names = [f"ether{n}" for n in range(1, 11)]
    assert set(await interfaces.rows(names)) == set(names)
    assert (interfaces.walks, radio.walked) == (1, 3)
    radio.asked.clear()
    await interfaces.rows(names)
    assert (interfaces.walks, len(radio.asked)) == (1, 2)


async def test_a_name_at_another_index_is_never_read_from_the_old_one() -> None:
    radio = _Radio()
    radio.rows = {"a": (1, 100, 100), "b": (2, 999, 999)}
    interfaces = _interfaces(radio)
    await interfaces.rows(["a"])
    radio.rows = {"a": (2, 150, 150), "b": (1, 999, 999)}
    assert (await interfaces.rows(["a"]))["a"].octets_in == 150


@given(st.permutations(range(1, 9)), st.permutations(range(1, 9)), st.sets(st.integers(0, 7)))
def test_law_whatever_the_indexes_do_each_name_has_its_own_counters(
    before: list[int], after: list[int], gone: set[int]
) -> None:
    import asyncio

    async def twice() -> None:
        radio = _Radio()
        names = [f"if{n}" for n in range(8)]
        interfaces = _interfaces(radio)
        radio.rows = {name: (at, 100 * n, n) for n, (name, at) in enumerate(zip(names, before, strict=True))}
        await interfaces.rows(names)
        radio.rows = {
            name: (at, 100 * n + 1, n)
            for n, (name, at) in enumerate(zip(names, after, strict=True))
            if n not in gone
        }
        found = await interfaces.rows(names)
        assert {name: row.octets_in for name, row in found.items()} == {
            f"if{n}": 100 * n + 1 for n in range(8) if n not in gone
        }

    asyncio.run(twice())


@pytest.mark.parametrize("trouble", [SnmpSilence, SnmpTooBig])
async def test_a_small_radio_is_asked_one_by_one_from_then_on(trouble: type[SnmpTrouble]) -> None:
    radio = _Radio(bulk_limit=1, get_limit=12, trouble=trouble)
    radio.rows = {f"sta{n}": (n, n, n) for n in range(1, 8)}
    interfaces = _interfaces(radio)
    assert len(await interfaces.rows(radio.rows)) == 7
    assert radio.refused == 2
    radio.rows = {name: (at + 9, n, n) for name, (at, n, _) in radio.rows.items()}
    assert len(await interfaces.rows(radio.rows)) == 7
    assert radio.refused == 2


async def test_a_dead_device_is_not_taken_for_a_small_one() -> None:
    radio = _Radio(bulk_limit=0)
    radio.rows = {"a": (1, 1, 1)}
    interfaces = _interfaces(radio)
    with pytest.raises(SnmpSilence):
        await interfaces.rows(["a"])
    radio.bulk_limit, radio.walked = 50, 0
    radio.rows = {f"if{n}": (n, n, n) for n in range(1, 10)}
    assert len(await interfaces.rows(["if9"])) == 1
    assert radio.walked == 1, "bulk as before"
