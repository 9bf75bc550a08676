"""What the radius processes of this machine count, in Prometheus's words: from status files and journals.

Every worker counts for itself since its own start, so its samples carry its name: ``sum without (worker)``
adds them up, and a worker that was restarted is a counter that was reset and nothing else.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy.exc import SQLAlchemyError

from aaa.store import directory_rows
from core.store.columns import from_microseconds
from core.work import Workplace
from radius.accounting.journal import JournalReader
from radius.serving.latency import BOUNDS_S
from radius.serving.status import RadiusStatus, read_named_statuses

_Statuses = Mapping[str, RadiusStatus]


async def radius_families(journal_directory: Path, workplace: Workplace) -> list[Metric]:
    """Everything that is known of RADIUS here."""
    now = workplace.clock.now()
    statuses = await asyncio.to_thread(read_named_statuses, journal_directory)
    lags = await _lags(journal_directory, workplace, now)
    return [*_counted(statuses), *_of_nases(statuses), *_state(statuses, now), *_journals(lags)]


def _counted(statuses: _Statuses) -> Iterator[Metric]:
    events = CounterMetricFamily(
        "hilltop_radius_events", "What became of datagrams; a walled accept is an accept too",
        labels=["worker", "event"],
    )  # fmt: skip
    latency = HistogramMetricFamily(
        "hilltop_radius_wakeup_seconds", "From reading sign-ins to their last answer, a sample a wake-up",
        labels=["worker"],
    )  # fmt: skip
    for worker, one in statuses.items():
        for event, count in one.counters.items():
            events.add_metric([worker, event], count)
        if one.latency_counts:
            latency.add_metric([worker], _cumulative(one.latency_counts), one.latency_total_s)
    yield events
    yield latency


def _cumulative(counts: Sequence[int]) -> list[tuple[str, float]]:
    buckets, total = [], 0
    for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _of_nases(statuses: _Statuses) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "hilltop_radius_nas_requests",
        "Requests of a NAS by what its secret and its limits said of them: right, wrong, unsigned (refused), "
        "over_limit, unknown_not_answered",
        labels=["worker", "nas", "outcome"],
    )
    for worker, one in statuses.items():
        for nas, counts in one.nases.items():
            for outcome, count in counts.items():
                requests.add_metric([worker, nas, outcome], count)
    yield requests


_GAUGES: Mapping[str, str] = {
    "hilltop_radius_directory_age_seconds": "Since a worker last saw the database",
    "hilltop_radius_directory_logins": "Logins a worker answers for",
    "hilltop_radius_directory_nases": "NASes a worker answers",
    "hilltop_radius_directory_change": "Number of the newest change a worker knows",
    "hilltop_radius_directory_from_snapshot": "1 while a worker answers from the snapshot",
    "hilltop_radius_stale_profiles": "Profiles answered as they say for a database long away",
    "hilltop_radius_delayed_rejects": "Rejects that wait for their time",
    "hilltop_radius_journal_backlog_records": "Accounting records that are not on disk yet",
    "hilltop_radius_journal_failing": "1 while the journal cannot be written",
    "hilltop_radius_status_age_seconds": "Age of these figures of a worker",
}


def _state(statuses: _Statuses, now: datetime) -> Iterator[Metric]:
    families = {name: GaugeMetricFamily(name, words, labels=["worker"]) for name, words in _GAUGES.items()}
    for worker, one in statuses.items():
        for family, value in zip(families.values(), _values(one, now), strict=True):
            family.add_metric([worker], value)
    yield from families.values()


def _values(one: RadiusStatus, now: datetime) -> tuple[float, ...]:
    """In the order of ``_GAUGES``."""
    age_s = max(0.0, (now - datetime.fromisoformat(one.at)).total_seconds())
    return (
        one.directory_age_s, one.directory_logins, one.directory_nases, one.directory_seq,
        one.directory_from_snapshot, one.stale_profiles, one.delayed_rejects, one.journal_backlog,
        one.journal_trouble is not None, age_s,
    )  # fmt: skip


_Lag = tuple[str, int, float]
"""A journal's name, how many records the database has not taken over, the age of the oldest in seconds."""


async def _lags(journal_directory: Path, workplace: Workplace, now: datetime) -> list[_Lag]:
    """Of every journal here; nothing while the database is away, for then nobody knows."""
    lags = []
    for path in await asyncio.to_thread(lambda: sorted(journal_directory.glob("*.sqlite"))):
        try:
            reader = await asyncio.to_thread(JournalReader, path)
        except sqlite3.Error:
            continue
        try:
            async with workplace.reading() as connection:
                position = await directory_rows.journal_position(connection, reader.id)
            count, oldest_us = await asyncio.to_thread(reader.waiting_after, position)
        except (SQLAlchemyError, sqlite3.Error, OSError):
            continue
        finally:
            reader.close()
        age_s = 0.0 if oldest_us is None else max(0.0, (now - from_microseconds(oldest_us)).total_seconds())
        lags.append((path.stem, count, age_s))
    return lags


def _journals(lags: Iterable[_Lag]) -> Iterator[Metric]:
    records = GaugeMetricFamily(
        "hilltop_radius_ingest_lag_records", "Records on disk that the database has not taken over",
        labels=["journal"],
    )  # fmt: skip
    seconds = GaugeMetricFamily(
        "hilltop_radius_ingest_lag_seconds", "Age of the oldest of them", labels=["journal"]
    )
    for name, count, age_s in lags:
        records.add_metric([name], count)
        seconds.add_metric([name], age_s)
    yield records
    yield seconds
