"""Usage cut by time: slices spread over spans and samples by time, without losing an octet.

Shares are added up exactly and rounded down only where they are read, span after span, so the result does
not depend on the order of slices, nor on where a slice was cut, if the cut shared its octets exactly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import lcm
from typing import Final

from billing.domain.rating.charge_model import Percentile95
from billing.domain.rating.unit import round_ratio

Slice = tuple[datetime, datetime, int, int]
"""Octets from and to the subscriber over ``[start, end)``; equal ends: at one instant."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = 10**6


@dataclass(frozen=True, slots=True)
class Spread:
    """Octets in and out of each span, in order, and whether any slice touched it."""

    octets_in: list[int]
    octets_out: list[int]
    touched: list[bool]


def microseconds(instant: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (instant - _EPOCH) // _MICROSECOND


def spread_slices(slices: Iterable[Slice], borders: Sequence[int]) -> Spread:
    """Spread slices over the spans between consecutive ``borders`` (microseconds since 1970).

    Raises ``ValueError`` for a slice that ends before it starts or lies outside.
    """
    count = len(borders) - 1
    whole_in, whole_out, touched = [0] * count, [0] * count, [False] * count
    crossing: dict[int, tuple[list[int], list[int]]] = {}
    first, last = borders[0], borders[-1]
    for start_at, end_at, octets_in, octets_out in slices:
        start, end = microseconds(start_at), microseconds(end_at)
        if not (first <= start <= end <= last and start < last):
            raise ValueError(f"usage from {start_at} until {end_at} lies outside the part that is rated")
        index = bisect_right(borders, start) - 1
        touched[index] = True
        if end <= borders[index + 1]:
            whole_in[index] += octets_in
            whole_out[index] += octets_out
            continue
        if end - start not in crossing:
            crossing[end - start] = ([0] * count, [0] * count)
        shares_in, shares_out = crossing[end - start]
        while start < end:
            border = borders[index + 1]
            time = min(end, border) - start
            shares_in[index] += octets_in * time
            shares_out[index] += octets_out * time
            touched[index] = True
            index += 1
            start = border
    if crossing:
        common = lcm(*crossing)
        _add_shares(whole_in, {length: shares[0] for length, shares in crossing.items()}, common)
        _add_shares(whole_out, {length: shares[1] for length, shares in crossing.items()}, common)
    return Spread(whole_in, whole_out, touched)


def cut_slices(slices: Iterable[Slice], from_at: datetime, until_at: datetime) -> list[Slice]:
    """What of each slice lies in ``[from_at, until_at)``, by time; its cuts at any borders are the whole."""
    found: list[Slice] = []
    for start, end, octets_in, octets_out in slices:
        if from_at <= start and end <= until_at:
            if start < until_at:
                found.append((start, end, octets_in, octets_out))
        elif start < until_at and end > from_at:
            length = (end - start) // _MICROSECOND
            first = max(from_at - start, timedelta()) // _MICROSECOND
            last = min(until_at - start, end - start) // _MICROSECOND
            found.append(
                (
                    max(start, from_at),
                    min(end, until_at),
                    octets_in * last // length - octets_in * first // length,
                    octets_out * last // length - octets_out * first // length,
                )
            )
    return found


def _add_shares(wholes: list[int], by_length: dict[int, list[int]], common: int) -> None:
    """Add what lies across borders: the running total is exact, each span gets what it grew by."""
    together = [0] * len(wholes)
    for length, shares in by_length.items():
        factor = common // length
        together = [total + share * factor for total, share in zip(together, shares, strict=True)]
    total = given = 0
    for index, share in enumerate(together):
        total += share
        reached = total // common
        wholes[index] += reached - given
        given = reached


@dataclass(frozen=True, slots=True)
class Ranked:
    """The samples of one direction and the one that is billed; rates in bit/s."""

    direction: str
    bps: int
    samples: int
    missing: int
    set_aside: int
    rank: int
    highest_bps: int


def sample_borders(from_at: datetime, until_at: datetime, sample_s: int) -> list[int]:
    """The borders of every whole sample of a part, and the part's end."""
    first, last, step = microseconds(from_at), microseconds(until_at), sample_s * _SECOND
    borders = list(range(first, last + 1, step))
    return borders if borders[-1] == last else [*borders, last]


def rank_samples(spread: Spread, model: Percentile95, samples: int, metered: str) -> list[Ranked]:
    """The 95th percentile of each direction that is metered (see ``Percentile95`` for the rule)."""
    pairs = zip(spread.octets_in, spread.octets_out, strict=True)
    by_direction = {
        "down": spread.octets_out,
        "up": spread.octets_in,
        "sum": [octets_in + octets_out for octets_in, octets_out in pairs] if metered == "sum" else [],
    }
    directions = ("down", "up") if metered == "max" else (metered,)
    return [_rank(one, by_direction[one][:samples], spread.touched[:samples], model) for one in directions]


def _rank(direction: str, octets: list[int], touched: list[bool], model: Percentile95) -> Ranked:
    missing = len(octets) - sum(touched)
    if model.missing == "left_out":
        octets = [count for count, there in zip(octets, touched, strict=True) if there]
    if not octets:
        return Ranked(direction, 0, 0, missing, 0, 0, 0)
    set_aside = len(octets) * 5 // 100
    rank = len(octets) - set_aside
    ordered = sorted(octets)
    bps = round_ratio(ordered[rank - 1] * 8, model.sample_s)
    return Ranked(
        direction, bps, len(octets), missing, set_aside, rank, round_ratio(ordered[-1] * 8, model.sample_s)
    )
