"""Usage: differences between meter readings, over half-open intervals.

The intervals of a meter are a function of its readings and of the *border*: the end of the last period that
was closed for the service. What begins before the border never changes again; octets that become known later
are usage of the open period, and begin at the border.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Point:
    """An absolute reading: octets since the meter's birth. ``age_s``: how old the session was, if known."""

    at: datetime
    octets_in: int
    octets_out: int
    age_s: int | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """Octets over ``[start, end)``; start equals end for octets known at one instant only.

    ``interpolated`` marks an interval whose ends are not both readings.
    """

    start: datetime
    end: datetime
    octets_in: int
    octets_out: int
    interpolated: bool = False


def cut_usage(
    points: Iterable[Point], border: datetime | None = None, before_in: int = 0, before_out: int = 0
) -> list[Interval]:
    """The intervals from the border on, of points whose totals never fall.

    ``before_*`` is what the meter's intervals before the border hold together. Without a border: everything.
    """
    ordered = _ordered(points)
    if not ordered:
        return []
    if border is None:
        return _differences(_birth(ordered[0]), ordered)
    birth = _birth(ordered[0])
    if birth.at > border:
        return _differences(birth, ordered)
    earlier = [point for point in ordered if point.at <= border]
    standing = earlier[-1] if earlier else birth
    at_border = Point(border, standing.octets_in, standing.octets_out)
    later = [point for point in ordered if point.at > border]
    measured = standing.at == border
    return [
        interval if interval.start > border or (measured and interval.end > border) else _marked(interval)
        for interval in _differences(Point(border, before_in, before_out), [at_border, *later])
    ]


def _ordered(points: Iterable[Point]) -> list[Point]:
    """By time, one point an instant, the highest."""
    by_instant: dict[datetime, Point] = {}
    for point in points:
        other = by_instant.get(point.at)
        if other is None or (point.octets_in, point.octets_out) >= (other.octets_in, other.octets_out):
            by_instant[point.at] = point
    return [by_instant[at] for at in sorted(by_instant)]


def _birth(first: Point) -> Point:
    """Where the meter stood at zero: at its first reading, or its session's age before it."""
    has_octets = first.octets_in > 0 or first.octets_out > 0
    age_s = first.age_s if has_octets and first.age_s is not None else 0
    return Point(first.at - timedelta(seconds=age_s), 0, 0)


def _differences(start: Point, points: Sequence[Point]) -> list[Interval]:
    intervals = []
    previous = start
    for point in points:
        octets_in = max(0, point.octets_in - previous.octets_in)
        octets_out = max(0, point.octets_out - previous.octets_out)
        if octets_in or octets_out:
            intervals.append(Interval(previous.at, point.at, octets_in, octets_out))
        previous = Point(
            point.at,
            max(point.octets_in, previous.octets_in),
            max(point.octets_out, previous.octets_out),
        )
    return intervals


def _marked(interval: Interval) -> Interval:
    return Interval(interval.start, interval.end, interval.octets_in, interval.octets_out, interpolated=True)


def follow(previous: Point | None, point: Point, border: datetime | None) -> Interval | None:
    """The interval that ``point`` adds behind the newest point before it: ``cut_usage``, one step of it.

    None when no octets were added. The point must lie behind the border.
    """
    start = _birth(point) if previous is None else previous
    at = start.at if border is None else max(start.at, border)
    added = (point.octets_in - start.octets_in, point.octets_out - start.octets_out)
    return Interval(at, point.at, *added, interpolated=at != start.at) if any(added) else None


def split_interval(interval: Interval, border: datetime) -> tuple[Interval, Interval]:
    """Two intervals that meet at ``border``, octets shared by time; together they are the whole.

    Raises ``ValueError`` when the border is not inside.
    """
    if not interval.start < border < interval.end:
        raise ValueError(f"{border} is not inside {interval.start} to {interval.end}")
    first_in = share(interval.octets_in, interval, border)
    first_out = share(interval.octets_out, interval, border)
    return (
        Interval(interval.start, border, first_in, first_out, interpolated=True),
        Interval(
            border,
            interval.end,
            interval.octets_in - first_in,
            interval.octets_out - first_out,
            interpolated=True,
        ),
    )


def share(octets: int, interval: Interval, until: datetime) -> int:
    """The part of ``octets`` before ``until``, by time, rounded down; all of it for an instant."""
    if until >= interval.end:
        return octets
    if until <= interval.start:
        return 0
    microsecond = timedelta(microseconds=1)
    return (
        octets * ((until - interval.start) // microsecond) // ((interval.end - interval.start) // microsecond)
    )


def spread(intervals: Iterable[Interval], borders: Sequence[datetime]) -> list[tuple[int, int]]:
    """Octets in each span between consecutive borders; intervals are shared by time and lose nothing inside.

    An instant belongs to the span that begins with it or contains it.
    """
    spans = [[0, 0] for _ in borders[1:]]
    for interval in intervals:
        index = max(0, bisect_right(borders, interval.start) - 1)
        while index < len(spans) and (borders[index] < interval.end or borders[index] == interval.start):
            octets_in, octets_out = _inside(interval, borders[index], borders[index + 1])
            spans[index][0] += octets_in
            spans[index][1] += octets_out
            index += 1
    return [(octets_in, octets_out) for octets_in, octets_out in spans]


def _inside(interval: Interval, start: datetime, end: datetime) -> tuple[int, int]:
    if interval.start == interval.end:
        inside = start <= interval.start < end
        return (interval.octets_in, interval.octets_out) if inside else (0, 0)
    return (
        share(interval.octets_in, interval, end) - share(interval.octets_in, interval, start),
        share(interval.octets_out, interval, end) - share(interval.octets_out, interval, start),
    )
