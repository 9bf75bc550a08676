"""Poll one target: ask, resolve by name, record. A time-out is not a zero: nothing is recorded then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Row as TableRow

from aaa.domain.metering import CounterSample
from aaa.record_sample import MeteredSample, SampleOutcome, record_samples
from core.health import close_issue, open_issue
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Workplace
from snmp.config import SnmpSettings
from snmp.domain import oids
from snmp.domain.oids import Answer, Row
from snmp.interfaces import Interfaces
from snmp.issues import unreachable, unreachable_key
from snmp.store import target_rows
from snmp.transport import Credentials, SnmpDevice, SnmpDoor, SnmpTrouble

ACTOR = "system:collector"


@dataclass(frozen=True, slots=True)
class PollOutcome:
    """What one poll found. ``trouble``: why there was no answer; ``absent``: rows that are not there now."""

    target_id: str
    target_name: str
    trouble: str | None = None
    sys_name: str | None = None
    sys_uptime_ticks: int | None = None
    engine_boots: int | None = None
    if_number: int | None = None
    narrow: bool = False
    absent: list[str] = field(default_factory=list)
    samples: list[SampleOutcome] = field(default_factory=list)

    @property
    def poll_sooner(self) -> bool:
        """True when a shorter interval would have made a sample certain."""
        return any(sample.poll_sooner for sample in self.samples)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a device answered."""

    bindings: Sequence[TableRow[Any]]
    system: Answer
    rows: dict[str, Row]
    expected_interval_s: float | None

    @property
    def engine_boots(self) -> int | None:
        return oids.number_of(self.system, oids.ENGINE_BOOTS)

    @property
    def absent(self) -> list[str]:
        return [binding.if_name for binding in self.bindings if binding.if_name not in self.rows]

    def samples(self, target_id: str) -> list[MeteredSample]:
        """The samples of the bound rows that are there."""
        return [
            self._metered(target_id, binding, self.rows[binding.if_name])
            for binding in self.bindings
            if binding.if_name in self.rows
        ]

    def _metered(self, target_id: str, binding: TableRow[Any], row: Row) -> MeteredSample:
        """The row in the subscriber's directions: a router's "in" is what the subscriber sent."""
        upload, download = row.octets_in, row.octets_out
        if binding.reversed:
            upload, download = download, upload
        sample = CounterSample(
            upload, download, row.width_bits, row.at, row.sys_uptime_ticks, self.engine_boots,
            row.discontinuity_ticks, row.age_s, row.if_index,
        )  # fmt: skip
        return MeteredSample(
            binding.service_id, f"snmp|{target_id}|{binding.if_name}", sample, binding.bills,
            binding.rate_cap_bps, self.expected_interval_s,
        )  # fmt: skip


class Collector:
    """The devices of the targets, kept open between polls."""

    def __init__(self, workplace: Workplace, sealer: Sealer, settings: SnmpSettings) -> None:
        self._workplace = workplace
        self._sealer = sealer
        self._settings = settings
        self._door = SnmpDoor()
        self._open: dict[str, tuple[tuple[Any, ...], SnmpDevice, Interfaces]] = {}

    async def poll(
        self, target: TableRow[Any], expected_interval_s: float | None = None, failures: int = 0
    ) -> PollOutcome:
        """Ask one target and record what it says; ``failures`` is how many polls before this one failed."""
        async with self._workplace.reading() as connection:
            bindings = await target_rows.bindings_of(connection, target.id)
        device, interfaces = self._device(target)
        try:
            system = await device.get(oids.SYSTEM_OBJECTS)
            rows = await interfaces.rows(binding.if_name for binding in bindings)
        except SnmpTrouble as trouble:
            self._close(target.id)
            return await self._record_silence(target, str(trouble), failures + 1)
        found = _Found(bindings, system, rows, expected_interval_s)
        return await self._record(target, found)

    def _device(self, target: TableRow[Any]) -> tuple[SnmpDevice, Interfaces]:
        """The open device, opened anew when address or credentials changed."""
        identity = (
            target.address, target.port, target.version, target.username, target.community_sealed,
            target.auth_sealed, target.privacy_sealed, target.auth_protocol, target.privacy_protocol,
        )  # fmt: skip
        standing = self._open.get(target.id)
        if standing is not None and standing[0] == identity:
            return standing[1], standing[2]
        self._close(target.id)
        settings = self._settings
        device = SnmpDevice(
            self._door,
            (target.address, target.port),
            credentials_of(target, self._sealer),
            settings.timeout_s,
            settings.retries,
        )
        interfaces = Interfaces(device, settings.bulk_repetitions, self._pause, self._workplace.clock.now)
        self._open[target.id] = (identity, device, interfaces)
        return device, interfaces

    async def _pause(self) -> None:
        if self._settings.pause_s > 0:
            await self._workplace.clock.sleep(self._settings.pause_s)

    async def _record(self, target: TableRow[Any], found: _Found) -> PollOutcome:
        samples = found.samples(target.id)
        boots, uptime = found.engine_boots, oids.number_of(found.system, oids.SYS_UPTIME)
        sys_name = oids.text_of(found.system, oids.SYS_NAME)
        async with self._workplace.work(ACTOR) as work:
            outcomes = await record_samples(work, samples)
            answered = {
                "last_polled_at": work.now, "last_answer_at": work.now, "last_error": None,
                "sys_name": sys_name, "sys_uptime_ticks": uptime, "engine_boots": boots,
            }  # fmt: skip
            await target_rows.update_target(work.connection, target.id, answered)
            if target.last_error is not None:
                await close_issue(work, unreachable_key(target.id))
        return PollOutcome(
            target.id, target.name, None, sys_name, uptime, boots,
            oids.number_of(found.system, oids.IF_NUMBER),
            any(row.width_bits == 32 for row in found.rows.values()), found.absent, outcomes,
        )  # fmt: skip

    async def _record_silence(self, target: TableRow[Any], why: str, failures: int) -> PollOutcome:
        async with self._workplace.work(ACTOR) as work:
            values = {"last_polled_at": work.now, "last_error": why}
            await target_rows.update_target(work.connection, target.id, values)
            if failures >= self._settings.issue_after_failures:
                await open_issue(work, unreachable(target.id, target.name, failures, why))
        return PollOutcome(target.id, target.name, why)

    def _close(self, target_id: str) -> None:
        standing = self._open.pop(target_id, None)
        if standing is not None:
            standing[1].close()

    def close(self) -> None:
        """Close every device."""
        for target_id in list(self._open):
            self._close(target_id)
        self._door.close()


async def poll_once(
    workplace: Workplace, sealer: Sealer, target: str, settings: SnmpSettings | None = None
) -> PollOutcome | Refusal:
    """Poll the target of that id or name once, as the collector does."""
    async with workplace.reading() as connection:
        row = await target_rows.target_row(connection, target) or await target_rows.target_named(
            connection, target
        )
    if row is None:
        return Refusal("target.unknown", f"there is no SNMP target {target}; register it first", "target")
    collector = Collector(workplace, sealer, settings or SnmpSettings())
    try:
        return await collector.poll(row)
    finally:
        collector.close()


def credentials_of(target: TableRow[Any], sealer: Sealer) -> Credentials:
    """The opened credentials of a target."""
    if target.version == "2c":
        return Credentials(community=sealer.open(target.community_sealed, "snmp.community"))
    return Credentials(
        username=target.username,
        auth=None if target.auth_sealed is None else sealer.open(target.auth_sealed, "snmp.auth"),
        auth_protocol=target.auth_protocol or "sha256",
        privacy=None if target.privacy_sealed is None else sealer.open(target.privacy_sealed, "snmp.privacy"),
        privacy_protocol=target.privacy_protocol or "aes128",
    )
