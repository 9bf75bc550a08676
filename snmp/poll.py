"""Poll one target: ask, resolve by name, record. A time-out is not a zero: nothing is recorded then."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Row as TableRow

from aaa.record_sample import PROFILE_HEADROOM, MeteredSample, SampleOutcome, record_samples
from core.health import HealthIssue, close_issue, open_issue
from core.quantities import format_octets
from core.refusal import Refusal
from core.secrets import Sealer, SealError
from core.uninterrupted import uninterrupted
from core.work import Work, Workplace
from snmp import issues
from snmp.config import SnmpSettings
from snmp.domain import oids
from snmp.domain.oids import Answer
from snmp.domain.rows import InterfaceRow, counts_other_than_octets
from snmp.domain.samples import RADIUS_MEMORY, meter_key, sample_of
from snmp.interfaces import Interfaces
from snmp.session import Credentials, Patience, SnmpDevice, SnmpDoor, SnmpTrouble
from snmp.store import target_rows

ACTOR = "system:collector"

_IDENTITY = ("address", "port", "version", "username", "community_sealed", "auth_sealed", "privacy_sealed")


@dataclass(frozen=True, slots=True)
class PollOutcome:
    """What one poll found. ``trouble``: why there was no answer; ``absent``: rows that are not there now.

    ``ambiguous``: names that two rows bear; ``doubtful``: rows that do not count octets. None of the three
    was recorded. ``narrow_bps``: the fastest line on a 32-bit counter.
    """

    target_id: str
    target_name: str
    trouble: str | None = None
    sys_name: str | None = None
    sys_uptime_ticks: int | None = None
    engine_boots: int | None = None
    if_number: int | None = None
    narrow_bps: int | None = None
    absent: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)
    samples: list[SampleOutcome] = field(default_factory=list)

    def __str__(self) -> str:
        if self.trouble is not None:
            return f"{self.target_name}: {self.trouble}"
        return "\n".join([self._headline(), *(f"  {line}" for line in self._lines())])

    def _headline(self) -> str:
        uptime = (
            "" if self.sys_uptime_ticks is None else f", up {timedelta(seconds=self.sys_uptime_ticks // 100)}"
        )
        number = "" if self.if_number is None else f", {self.if_number} interfaces"
        return f"{self.target_name}: {self.sys_name or 'no name'}{uptime}{number}"

    def _lines(self) -> list[str]:
        samples = [
            f"{one.meter_key.rpartition('|')[2]}: {one.decision or 'nothing new'}, "
            f"{format_octets(one.added_in)} up, {format_octets(one.added_out)} down"
            + (f" ({one.why})" if one.why else "")
            for one in self.samples
        ]
        return [
            *samples,
            *(f"{name}: not there now" for name in self.absent),
            *(f"{name}: two interfaces bear this name" for name in self.ambiguous),
            *(f"{name}: does not count octets" for name in self.doubtful),
        ]


@dataclass(frozen=True, slots=True)
class _Found:
    """What a device answered."""

    system: Answer
    rows: dict[str, InterfaceRow]
    before: Mapping[str, InterfaceRow]
    ambiguous: frozenset[str]
    doubtful: frozenset[str]


@dataclass(slots=True)
class _Acquaintance:
    """What is remembered of a device between polls."""

    identity: tuple[Any, ...]
    device: SnmpDevice
    interfaces: Interfaces
    rows: dict[str, InterfaceRow] = field(default_factory=dict)
    failures: int = 0


class Collector:
    """The devices of the targets, kept open between polls."""

    def __init__(self, workplace: Workplace, sealer: Sealer, settings: SnmpSettings) -> None:
        self._workplace = workplace
        self._sealer = sealer
        self._settings = settings
        self._door = SnmpDoor()
        self._known: dict[str, _Acquaintance] = {}

    async def poll(self, target: TableRow[Any], expected_interval_s: float | None = None) -> PollOutcome:
        """Ask one target and record what it says. No transaction is open while the network is waited for."""
        bindings = await uninterrupted(self._bindings(target.id))
        try:
            known = self._acquaintance(target)
        except SealError as trouble:
            return await uninterrupted(self._record_failure(target, f"{trouble}; change its credentials", 1))
        try:
            async with asyncio.timeout(self._settings.poll_deadline_s):
                found = await _ask(known, [binding.if_name for binding in bindings])
        except (SnmpTrouble, TimeoutError) as trouble:
            known.failures += 1
            why = str(trouble) or f"it was not read within {self._settings.poll_deadline_s:g} s"
            return await uninterrupted(self._record_failure(target, why, known.failures))
        known.failures = 0
        known.rows = known.rows | found.rows
        return await uninterrupted(self._record(target, found, expected_interval_s))

    async def _bindings(self, target_id: str) -> Sequence[TableRow[Any]]:
        async with self._workplace.reading() as connection:
            return await target_rows.bindings_of(connection, target_id)

    def _acquaintance(self, target: TableRow[Any]) -> _Acquaintance:
        """The open device, opened anew when address or credentials changed."""
        identity = tuple(getattr(target, column) for column in _IDENTITY)
        standing = self._known.get(target.id)
        if standing is not None and standing.identity == identity:
            return standing
        self.forget(target.id)
        settings = self._settings
        device = SnmpDevice(
            self._door,
            (target.address, target.port),
            credentials_of(target, self._sealer),
            Patience(settings.timeout_s, settings.retries, settings.pause_s),
        )
        interfaces = Interfaces(
            device,
            repetitions=settings.bulk_repetitions,
            rows_per_request=settings.rows_per_request,
            now=self._workplace.clock.now,
        )
        self._known[target.id] = made = _Acquaintance(identity, device, interfaces)
        return made

    async def _record(
        self, target: TableRow[Any], found: _Found, expected_interval_s: float | None
    ) -> PollOutcome:
        async with self._workplace.work(ACTOR) as work:
            standing = await target_rows.lock_target(work.connection, target.id)
            if standing is None:
                return PollOutcome(target.id, target.name, "it is not a target any more")
            # Read again: an interface may have been given to another service while the device was asked.
            bindings = await target_rows.bindings_of(work.connection, target.id)
            session = _Recording(work, target, found, bindings)
            await session.prepare()
            outcomes = await record_samples(work, session.samples(expected_interval_s))
            await session.tell()
            await target_rows.update_target(work.connection, target.id, _answered(work, found.system))
            return session.outcome(outcomes)

    async def _record_failure(self, target: TableRow[Any], why: str, failures: int) -> PollOutcome:
        async with self._workplace.work(ACTOR) as work:
            values = {"last_polled_at": work.now, "last_error": why}
            await target_rows.update_target(work.connection, target.id, values)
            if failures >= self._settings.issue_after_failures:
                await open_issue(work, issues.unreachable(target.id, target.name, failures, why))
        return PollOutcome(target.id, target.name, why)

    def forget(self, target_id: str) -> None:
        """Close the device of a target."""
        standing = self._known.pop(target_id, None)
        if standing is not None:
            standing.device.close()

    def close(self) -> None:
        """Close every device."""
        for target_id in list(self._known):
            self.forget(target_id)
        self._door.close()


async def _ask(known: _Acquaintance, names: Sequence[str]) -> _Found:
    """System and rows of one device."""
    system = await known.device.get(oids.SYSTEM_OBJECTS)
    rows = await known.interfaces.rows(names)
    doubtful = frozenset(
        name
        for name, row in rows.items()
        if name in known.rows and counts_other_than_octets(known.rows[name], row)
    )
    return _Found(system, rows, known.rows, known.interfaces.ambiguous(names), doubtful)


class _Recording:
    """The answer of one poll being recorded."""

    def __init__(
        self, work: Work, target: TableRow[Any], found: _Found, bindings: Sequence[TableRow[Any]]
    ) -> None:
        self._work = work
        self._target = target
        self._found = found
        self._bindings = bindings
        self._by_radius: set[str] = set()
        self._rates_bps: dict[str, int] = {}

    async def prepare(self) -> None:
        """What else meters the services, and how fast their lines are."""
        connection, services = self._work.connection, [one.service_id for one in self._bindings]
        since = self._work.now - RADIUS_MEMORY
        self._by_radius = await target_rows.metered_by_radius(connection, services, since)
        self._rates_bps = await target_rows.fastest_rates_bps(connection, services)

    def samples(self, expected_interval_s: float | None) -> list[MeteredSample]:
        """The samples of the bound rows that are there and count octets."""
        return [
            MeteredSample(
                binding.service_id,
                meter_key(self._target.id, binding.if_name),
                sample_of(row, is_reversed=binding.reversed, before=self._found.before.get(binding.if_name)),
                binding.bills and binding.service_id not in self._by_radius,
                binding.rate_cap_bps,
                expected_interval_s,
            )
            for binding in self._bindings
            if (row := self._row(binding)) is not None and binding.if_name not in self._found.doubtful
        ]

    def _row(self, binding: TableRow[Any]) -> InterfaceRow | None:
        return self._found.rows.get(binding.if_name)

    async def tell(self) -> None:
        """Open the issues there are, close those that are over."""
        standing: list[HealthIssue] = []
        over = [issues.unreachable_key(self._target.id)]
        for one in self._bindings:
            doubtful, beside = one.if_name in self._found.doubtful, one.service_id in self._by_radius
            if doubtful:
                standing.append(issues.not_octets(one.id, self._target.name, one.if_name))
            elif self._row(one) is not None:
                over.append(issues.not_octets_key(one.id))
            if beside and one.bills:
                standing.append(issues.beside_radius(one.id, self._target.name, one.if_name, one.service_id))
            else:
                over.append(issues.beside_radius_key(one.id))
        for issue in standing:
            await open_issue(self._work, issue)
        for key in sorted(await target_rows.open_issue_keys(self._work.connection, over)):
            await close_issue(self._work, key)

    def outcome(self, samples: list[SampleOutcome]) -> PollOutcome:
        """The printable outcome."""
        missing = [one.if_name for one in self._bindings if self._row(one) is None]
        system = self._found.system
        return PollOutcome(
            self._target.id, self._target.name, None,
            oids.text_of(system, oids.SYS_NAME), oids.number_of(system, oids.SYS_UPTIME),
            oids.number_of(system, oids.ENGINE_BOOTS), oids.number_of(system, oids.IF_NUMBER),
            self._narrow_bps(),
            [name for name in missing if name not in self._found.ambiguous],
            [name for name in missing if name in self._found.ambiguous],
            sorted(self._found.doubtful), samples,
        )  # fmt: skip

    def _narrow_bps(self) -> int | None:
        """What the fastest line on a 32-bit counter can carry, as ``record_samples`` judges it."""
        return max(
            (
                one.rate_cap_bps or PROFILE_HEADROOM * self._rates_bps.get(one.service_id, 0)
                for one in self._bindings
                if (row := self._row(one)) is not None and row.width_bits == 32
            ),
            default=None,
        )


def _answered(work: Work, system: Answer) -> dict[str, Any]:
    return {
        "last_polled_at": work.now, "last_answer_at": work.now, "last_error": None,
        "sys_name": oids.text_of(system, oids.SYS_NAME),
        "sys_uptime_ticks": oids.number_of(system, oids.SYS_UPTIME),
        "engine_boots": oids.number_of(system, oids.ENGINE_BOOTS),
    }  # fmt: skip


async def poll_target(
    workplace: Workplace, sealer: Sealer, target_id: str, settings: SnmpSettings | None = None
) -> PollOutcome | Refusal:
    """Poll one target once, as the collector does; ``str`` of the outcome is for the operator."""
    async with workplace.reading() as connection:
        row = await target_rows.target_row(connection, target_id)
    if row is None:
        return Refusal("target.unknown", f"there is no SNMP target {target_id}; register it first", "target")
    collector = Collector(workplace, sealer, settings or SnmpSettings())
    try:
        return await collector.poll(row)
    finally:
        collector.close()


def credentials_of(target: TableRow[Any], sealer: Sealer) -> Credentials:
    """The opened credentials of a target. Raises ``SealError``."""
    if target.version == "2c":
        return Credentials(community=sealer.open(target.community_sealed, "snmp.community"))
    return Credentials(
        username=target.username,
        auth=None if target.auth_sealed is None else sealer.open(target.auth_sealed, "snmp.auth"),
        privacy=None if target.privacy_sealed is None else sealer.open(target.privacy_sealed, "snmp.privacy"),
    )
