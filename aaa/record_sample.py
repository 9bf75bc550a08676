"""Record counter samples of interfaces: meter readings and usage records of services metered by SNMP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Row

from aaa.config import DEFAULT_SETTINGS, AaaSettings
from aaa.domain.decision import Decision
from aaa.domain.metering import CounterMeter, CounterSample, Resolution, resolve_sample
from aaa.domain.session_meter import raw_value
from aaa.domain.usage import Interval, Point, follow
from aaa.recut import record_values
from aaa.store import session_rows, usage_rows
from core.health import HealthIssue, close_issue, open_issue
from core.work import Work

PROFILE_HEADROOM = 2
"""Without a cap of its own a row may show twice the profile's rate: frames are larger than what is shaped."""


@dataclass(frozen=True, slots=True)
class MeteredSample:
    """A sample, whose it is, and how it is to be read. ``rate_cap_bps`` None: from the service profile."""

    service_id: str
    meter_key: str
    sample: CounterSample
    bills: bool = True
    rate_cap_bps: int | None = None
    expected_interval_s: float | None = None


@dataclass(frozen=True, slots=True)
class SampleOutcome:
    """What was decided of one sample, and the octets it added. ``poll_sooner``: poll more often."""

    meter_key: str
    decision: Decision | None  # None: not newer than the last sample, nothing was recorded
    why: str
    added_in: int = 0
    added_out: int = 0
    poll_sooner: bool = False


async def record_sample(
    work: Work,
    *,
    service_id: str,
    meter_key: str,
    sample: CounterSample,
    bills: bool = True,
    rate_cap_bps: int | None = None,
    expected_interval_s: float | None = None,
) -> SampleOutcome:
    """Record one sample; see ``record_samples``."""
    one = MeteredSample(service_id, meter_key, sample, bills, rate_cap_bps, expected_interval_s)
    return (await record_samples(work, [one]))[0]


async def record_samples(
    work: Work, samples: Sequence[MeteredSample], settings: AaaSettings = DEFAULT_SETTINGS
) -> list[SampleOutcome]:
    """Record the samples of one poll, each of another meter, with few statements whatever their number."""
    desk = _Desk(work, settings)
    await desk.load(samples)
    outcomes = [await desk.take(one) for one in samples]
    await desk.write()
    return outcomes


class _Desk:
    """The samples of one poll being worked in."""

    def __init__(self, work: Work, settings: AaaSettings) -> None:
        self._work = work
        self._settings = settings
        self._meters: dict[str, Row[Any]] = {}
        self._lines: dict[str, Row[Any]] = {}
        self._borders: dict[str, datetime] = {}
        self._new_meters: list[dict[str, Any]] = []
        self._states: dict[str, Any] = {}
        self._readings: list[dict[str, Any]] = []
        self._records: list[dict[str, Any]] = []

    async def load(self, samples: Sequence[MeteredSample]) -> None:
        """Meters, line rates and borders of everything in the poll."""
        connection = self._work.connection
        services = [one.service_id for one in samples]
        await usage_rows.take_metering_lane(connection)
        self._meters = await usage_rows.meters_by_key(connection, (one.meter_key for one in samples))
        self._lines = await session_rows.lines_of(connection, services)
        self._borders = await usage_rows.border_of_each(connection, services)

    async def take(self, one: MeteredSample) -> SampleOutcome:
        """Resolve one sample against its meter."""
        row = await self._meter_row(one)
        before = None if row is None else CounterMeter.from_json(row.state)
        if before is not None and one.sample.at <= _newest(before):
            return SampleOutcome(one.meter_key, None, "not newer than the last sample")
        resolution = resolve_sample(before, one.sample, self._cap_bps(one), one.expected_interval_s)
        meter_id = self._work.ids.new("mtr") if row is None else str(row.id)
        if row is None:
            self._new_meters.append(self._new_meter(meter_id, one, resolution))
        else:
            self._states[meter_id] = _state(resolution)
        self._readings.append(_reading(meter_id, self._work.now, one.sample, resolution))
        if before is not None and one.bills:
            await self._bill(one, meter_id, before, resolution)
        await self._tell(one, resolution)
        return SampleOutcome(
            one.meter_key, resolution.decision, resolution.why, resolution.added_in, resolution.added_out,
            resolution.poll_sooner,
        )  # fmt: skip

    async def _meter_row(self, one: MeteredSample) -> Row[Any] | None:
        """The meter as it stands; one that was another service's is put away, and this service's begins."""
        row = self._meters.get(one.meter_key)
        if row is None:
            return None
        if row.service_id != one.service_id:
            await usage_rows.update_meter(self._work.connection, row.id, {"key": f"{row.key}#{row.id}"})
            return None
        if row.bills != one.bills:
            await usage_rows.update_meter(self._work.connection, row.id, {"bills": one.bills})
        return row

    def _new_meter(self, meter_id: str, one: MeteredSample, resolution: Resolution) -> dict[str, Any]:
        return {
            "id": meter_id, "service_id": one.service_id, "source": "snmp", "key": one.meter_key,
            "bills": one.bills, "created_at": self._work.now, "state": _state(resolution),
        }  # fmt: skip

    def _cap_bps(self, one: MeteredSample) -> int:
        if one.rate_cap_bps is not None:
            return one.rate_cap_bps
        line = self._lines.get(one.service_id)
        if line is None:
            return self._settings.line_rate_bps
        rates = (line.rate_up_bps, line.rate_down_bps, line.burst_up_bps or 0, line.burst_down_bps or 0)
        return int(PROFILE_HEADROOM * max(rates))

    async def _bill(
        self, one: MeteredSample, meter_id: str, before: CounterMeter, resolution: Resolution
    ) -> None:
        border = self._borders.get(one.service_id)
        after = resolution.meter
        point = Point(one.sample.at, after.total_in, after.total_out)
        if border is not None and point.at <= border:
            if resolution.added_in or resolution.added_out:
                await self._add_at(border, one.service_id, meter_id, resolution)
            return
        interval = follow(Point(_newest(before), before.total_in, before.total_out), point, border)
        if interval is not None:
            self._records.append(record_values(one.service_id, meter_id, interval))

    async def _add_at(self, border: datetime, service_id: str, meter_id: str, resolution: Resolution) -> None:
        """Octets of a period closed already (our clock stepped back): they are usage of the open one."""
        standing = await usage_rows.record_at(self._work.connection, meter_id, border)
        known_in, known_out = (0, 0) if standing is None else (standing.octets_in, standing.octets_out)
        interval = Interval(
            border,
            border,
            known_in + resolution.added_in,
            known_out + resolution.added_out,
            interpolated=True,
        )
        values = record_values(service_id, meter_id, interval)
        if standing is None:
            await usage_rows.insert_records(self._work.connection, [values])
        else:
            await usage_rows.amend_records(self._work.connection, [values | {"id": standing.id}])

    async def _tell(self, one: MeteredSample, resolution: Resolution) -> None:
        key = f"aaa.meter_not_billed:{one.meter_key}"[:160]
        if resolution.decision.counts:
            row = self._meters.get(one.meter_key)
            if row is not None and row.state.get("flagged"):
                await close_issue(self._work, key)
            return
        await open_issue(
            self._work,
            HealthIssue(
                key, "warning", f"{one.meter_key} is {resolution.decision}: {resolution.why}",
                "poll more often, set the rate cap of the binding, or look at the device's counters",
            ),
        )  # fmt: skip

    async def write(self) -> None:
        """Write meters, states, readings and records."""
        connection = self._work.connection
        await usage_rows.insert_meters(connection, self._new_meters)
        await usage_rows.set_meter_states(connection, self._states)
        await usage_rows.insert_readings(connection, self._readings)
        await usage_rows.insert_records(connection, self._records)


def _state(resolution: Resolution) -> dict[str, Any]:
    return resolution.meter.as_json() | {"flagged": not resolution.decision.counts}


def _newest(meter: CounterMeter) -> datetime:
    return meter.good.at if meter.suspect is None else meter.suspect.at


def _reading(meter_id: str, now: datetime, sample: CounterSample, resolution: Resolution) -> dict[str, Any]:
    evidence = {"sample": sample.as_json()} | ({"why": resolution.why} if resolution.why else {})
    return {
        "meter_id": meter_id, "at": sample.at, "octets_in": resolution.meter.total_in,
        "octets_out": resolution.meter.total_out, "raw_in": raw_value(sample.octets_in),
        "raw_out": raw_value(sample.octets_out), "received_at": now, "decision": resolution.decision.value,
        "evidence": evidence,
    }  # fmt: skip
