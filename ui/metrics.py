"""The panel's numbers in Prometheus's words: families of samples, written out in what the scraper takes.

Names follow Prometheus's own advice: ``hilltop_`` in front, base units at the end, ``_total`` for counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from aaa.list_pools import PoolLine
from core.release import version
from ui.read.metrics import HouseCounts

_SEVERITIES = ("warning", "critical")
_TASKS = ("waiting", "claimed", "parked")


class _Families:
    """What the library's writers want: something that collects."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def written(families: Iterable[Metric], accept: str) -> tuple[bytes, str]:
    """The page and its content type, for what the scraper's Accept header names."""
    encode, content_type = choose_encoder(accept)
    return encode(_Families(families)), content_type


def house_families(counts: HouseCounts | None, now: datetime) -> Iterator[Metric]:
    """What the database says; without it only that it is away."""
    yield InfoMetricFamily("hilltop_release", "The release that runs", {"version": version()})
    yield _gauge("hilltop_database_up", "1 while the panel reaches the database", 0 if counts is None else 1)
    if counts is None:
        return
    yield _gauge("hilltop_sessions_online", "Sessions that are open", counts.sessions)
    yield _labelled("hilltop_services", "Services by lifecycle", "lifecycle", counts.services, ())
    yield _labelled(
        "hilltop_enforcement_tasks",
        "Enforcement tasks that have not come true",
        "status",
        counts.tasks,
        _TASKS,
    )
    yield _labelled(
        "hilltop_health_issues", "Health issues that stand", "severity", counts.issues, _SEVERITIES
    )
    yield _gauge("hilltop_outbox_facts", "Facts that wait for their delivery", counts.facts_waiting)
    oldest = counts.oldest_fact_at
    waited_s = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
    yield _gauge("hilltop_outbox_oldest_fact_age_seconds", "Age of the oldest fact that waits", waited_s)
    yield _gauge("hilltop_logins_held_back", "Logins held back after wrong passwords", counts.held_back)
    yield from _pools(counts.pools)


def webhook_families(seen: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    """Webhooks of gateways since this process began."""
    family = CounterMetricFamily(
        "hilltop_webhooks", "Webhooks of gateways by what became of them", labels=["gateway", "outcome"]
    )
    for labels, count in sorted(seen.items()):
        family.add_metric(list(labels), count)
    yield family


def _pools(pools: Sequence[PoolLine]) -> Iterator[Metric]:
    size = GaugeMetricFamily("hilltop_pool_size", "What a pool of ours can hand out", labels=["pool"])
    used = GaugeMetricFamily(
        "hilltop_pool_addresses", "What became of it; the rest is free", labels=["pool", "state"]
    )
    for pool in pools:
        size.add_metric([pool.name], pool.size)
        for state in ("online", "kept", "set_aside", "resting"):
            used.add_metric([pool.name, state], getattr(pool, state))
    yield size
    yield used


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _labelled(
    name: str, words: str, label: str, counts: Iterable[tuple[str, int]], always: Iterable[str]
) -> Metric:
    """A gauge for each label; those that are ``always`` told are 0 when nothing has them."""
    family = GaugeMetricFamily(name, words, labels=[label])
    for value, count in {**dict.fromkeys(always, 0), **dict(counts)}.items():
        family.add_metric([value], count)
    return family
