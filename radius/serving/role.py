"""The radius process: sockets, pipelines and journal, and what keeps them fed from the database.

Nothing on the way of a request waits for the database. Each task here may fail again and again while it is
away; the answers go on from the last directory and into the journal.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from aaa.directory import Directory
from aaa.lockouts import GEAR_MARK
from aaa.store import directory_rows, gear_rows
from core.changes import Changes, when_changed
from core.health import HealthIssue
from core.log import logger
from core.secrets import Sealer
from core.work import Workplace
from radius.accounting.journal import Journal, JournalLimits, damaged_journals
from radius.config import RadiusSettings
from radius.directory.snapshot import snapshot_path
from radius.directory.source import REFUSED_KEY, STALE_ISSUE, DirectorySource
from radius.dynauth.listener import DynauthListener
from radius.dynauth.live_session import LiveSessions
from radius.eap.keeping import CERTIFICATE_ISSUE, EapKeeper
from radius.gear.door import GearDoor
from radius.gear.record import GEAR_ISSUE, GearRecord, gear_record_path, take_over_left
from radius.guard.lockout import Lockout
from radius.guard.lockout_watch import LockoutWatch
from radius.leases.leasing import Leasing
from radius.leases.turns import LeaseTurns
from radius.nas.secret_rotation import RotationWatch
from radius.nas.table import NasTable
from radius.proxying.findings import home_server_issue_keys, home_server_issues
from radius.proxying.home_servers import HomeServers
from radius.proxying.proxy import Proxy
from radius.radsec.door import RadSecDoor, door_name
from radius.radsec.server import RADSEC_ISSUE, RadSec
from radius.reply.rendering import Renderings
from radius.serving.counters import Counters
from radius.serving.doors import Doors, Shared
from radius.serving.family_health import FamilyHealth
from radius.serving.findings import (
    DAMAGED_JOURNAL_KEY,
    JOURNAL_ISSUE,
    NasWatch,
    damaged_journal_issue,
    nas_issue_keys,
)
from radius.serving.place import ALONE, Place, journal_name
from radius.serving.siblings import Siblings
from radius.serving.status import RadiusStatus, write_status
from radius.serving.turns import Turn, pause, repeat
from radius.sign_in.admission import Admission
from radius.sign_in.class_tokens import ClassTokens
from radius.sign_in.live_devices import LiveDevices
from radius.sign_in.reject_log import RejectLog
from radius.sign_in.slow_proof import SlowProofs
from radius.watching.watch import WatchDoor

_TICK_S = 0.05
_LOG_EVERY_S = 60.0
_QUIET_TICK_S = 0.25
"""While nothing waits to be sent at its time."""
_EAP_LOOK_S = 30.0
_LAST_WORDS_S = 3.0
"""How long a process that ends waits for what its answers wait for."""
_SUCCESSION_S = 0.3
"""So long after its end it may take until it is seen that another process takes its place."""
_READ_AGAIN_S = 30.0
"""What follows the database is read so often even if nothing was committed."""
_GEAR_LEFT_S = 5.0
_log = logger("radius")


async def run_radius(  # noqa: PLR0917 - the composition root calls it this way
    settings: RadiusSettings,
    workplace: Workplace,
    sealer: Sealer,
    journal_path: Path,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
    place: Place = ALONE,
) -> None:
    """Answer RADIUS until ``stop``; ``ready`` is set when the first directory is loaded."""
    server = RadiusServer(settings, workplace, sealer, journal_path, place)
    await server.run(stop, ready or asyncio.Event())


class RadiusServer:
    """One radius process."""

    def __init__(
        self,
        settings: RadiusSettings,
        workplace: Workplace,
        sealer: Sealer,
        journal_path: Path,
        place: Place = ALONE,
    ) -> None:
        self._settings = settings
        self._place = place
        self._workplace = workplace
        self._clock = workplace.clock
        self._changes = Changes(workplace.database, self._clock)
        self._sealer = sealer
        self._journal_path = journal_path
        self.counters = Counters()
        self._nases = NasTable(rates=settings.rates)
        self._lockout = Lockout(settings.lockout, self.counters)
        self._lockouts = LockoutWatch(
            self._lockout, lambda: self._directory.logins if self._directory else {}
        )
        self._gear = GearDoor(
            Lockout(settings.lockout, self.counters), GearRecord(gear_record_path(journal_path)), self._clock
        )
        self._gear_lockouts = LockoutWatch(
            self._gear.lockout, lambda: self._directory.gear if self._directory else {},
            gear_rows.stations_of, GEAR_MARK,
        )  # fmt: skip
        self._rejects = RejectLog(self._clock, self.counters)
        self._slow_proofs = SlowProofs(settings.slow_proof_threads, settings.slow_proof_queue)
        self._tokens = ClassTokens(sealer.derive_key("class-token"))
        self._live_sessions = LiveSessions(workplace, sealer, settings)
        self._devices = LiveDevices(self._clock, sealer.derive_key("class-token"))
        self._admission = Admission(self._clock, self._devices)
        self._leasing = Leasing(self._clock)
        self._leases = LeaseTurns(
            self._leasing, workplace, journal_path, place, settings.pool_hold_h, changes=self._changes
        )
        self._eap = EapKeeper(
            settings.eap, self.counters, self._rejects.note, self._lockout, self._clock, place.index
        )
        self._directory: Directory | None = None
        self._door = WatchDoor(journal_path, self._clock, self.counters, self._nases, self._rejects)
        self._source = DirectorySource(
            workplace,
            sealer,
            settings.policy,
            snapshot_path(journal_path.parent),
            settings.database_patience_s,
            changes=self._changes,
        )
        self._proxy = Proxy(
            HomeServers(self.counters, settings.proxy_outstanding, self._clock.monotonic_s),
            self.counters, sealer.derive_key("proxy-loop")[:8], settings.dictionary_files,
        )  # fmt: skip
        self._radsec = RadSec(settings.radsec, self._clock, self.counters)
        self._doors = Doors(settings, place, self._shared(), self._radsec)
        self._radsec_door = RadSecDoor(door_name(sealer, workplace), self._radsec.order)
        self.dynauth = DynauthListener(workplace, sealer, settings)
        self._journal: Journal | None = None
        self._journal_trouble: str | None = None
        self._damaged: list[str] = []
        self._watch = NasWatch()
        self._health = FamilyHealth(place, self._nases, self._watch, self._own_issues)
        self._siblings = (
            Siblings(journal_path, place, self._doors.take, self._health.hear, self._leasing.hear_all)
            if place.has_others
            else None
        )
        self._rotations = RotationWatch(self._nases, self._watch)

    def _shared(self) -> Shared:
        return Shared(
            clock=self._clock, nases=self._nases, tokens=self._tokens, counters=self.counters,
            rejects=self._rejects, slow_proofs=self._slow_proofs, lockout=self._lockout, gear=self._gear,
            eap=self._eap.server, admission=self._admission, devices=self._devices, leasing=self._leasing,
            proxy=self._proxy, on_failure=self._on_failure,
        )  # fmt: skip

    async def run(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """Open everything, serve, close everything."""
        loop = asyncio.get_running_loop()
        try:
            self._open(loop)
            if self._place.leads:  # one process: an EAP conversation may go on over another connection
                await self._radsec.start(self._settings.radsec_listen)
            await self._serve(stop, ready)
        finally:
            await self._close()

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        settings = self._settings
        limits = JournalLimits(
            settings.journal_commit_rows, settings.journal_commit_ms / 1000, settings.journal_backlog
        )
        self._journal = Journal(self._journal_path, loop, limits, self._on_journal_trouble)
        self._leases.begin(self._journal.id)
        self._leasing.append = self._journal.append
        if self._siblings is not None:
            self._leasing.on_grant = self._siblings.tell_given
        self._doors.open(self._journal, self._siblings)
        if self._place.leads:
            self.dynauth.open(self._place.sockets)

    async def _serve(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        settings = self._settings
        turns = [
            Turn("directory", settings.directory_refresh_s, partial(self._follow_directory, ready)),
            Turn("rejects", settings.reject_record_s, self._record),
            Turn("lockouts", settings.reject_record_s, self._following(self._lockouts)),
            Turn("gear_lockouts", settings.reject_record_s, self._following(self._gear_lockouts)),
            Turn("cpes", settings.reject_record_s, partial(self._admission.flush, self._workplace)),
            Turn("online", settings.online_refresh_s, self._when_changed(self._refresh_devices)),
            Turn("leases", 0.0, partial(self._leases.turn, settings.directory_refresh_s)),
            Turn("eap", _EAP_LOOK_S, self._look_at_eap),
            Turn("gear", settings.reject_record_s, partial(self._gear.record.turn, self._workplace)),
            Turn("trimming", settings.journal_trim_s, self._when_changed(self._trim)),
            Turn("status", settings.status_interval_s, self._write_status),
        ]
        if self._place.leads:
            turns += [
                Turn("simultaneous_use", settings.simultaneous_use_check_s, self._live_sessions.end_surplus),
                Turn("gear_left", _GEAR_LEFT_S, self._take_over_gear),
                Turn("damaged", settings.status_interval_s, self._look_for_damaged),
                *self._radsec_turns(),
            ]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick(stop))
            tasks.create_task(self._log_counters(stop))
            tasks.create_task(self._hear_until(stop))
            if self._settings.dynauth_listen and self._place.leads:
                tasks.create_task(self.dynauth.run(stop))
            tasks.create_task(self._door.run(self._doors.endpoints, self._radsec, stop))
            for turn in turns:
                tasks.create_task(repeat(turn, stop))

    def _when_changed(
        self, act: Callable[[], Awaitable[None]], is_busy: Callable[[], bool] = lambda: False
    ) -> Callable[[], Awaitable[None]]:
        return when_changed(self._changes, self._clock, act, _READ_AGAIN_S, is_busy)

    def _following(self, watch: LockoutWatch) -> Callable[[], Awaitable[None]]:
        return self._when_changed(partial(watch.turn, self._workplace), lambda: watch.is_busy)

    async def _refresh_devices(self) -> None:
        await self._devices.refresh(self._workplace)

    def _radsec_turns(self) -> list[Turn]:
        """Orders to NASes go by their connections only where there are any."""
        return [Turn("radsec_door", 1.0, self._radsec_door.turn)] if self._settings.radsec_listen else []

    async def _follow_directory(self, ready: asyncio.Event) -> None:
        try:
            await self._source.turn()
        finally:  # also while the database is away there may be something else to answer from
            before, found = self._directory, self._source.answering
            if found is not None and found is not before:
                if before is None:
                    await self._leases.prepare(found)
                self._use(found, anew=before is None or _speaks_otherwise(before, found))
                self._changes.touch()  # who is followed depends on it
                ready.set()

    def _use(self, directory: Directory, *, anew: bool) -> None:
        if anew:
            files = self._settings.dictionary_files
            self._nases.learn(directory.nases, Renderings(directory.templates, files))
        self._eap.use(directory)
        self._admission.use(directory)
        self._devices.use(directory)
        self._leasing.use(directory)
        self._doors.use(directory)
        self._proxy.use(directory)
        first = self._directory is None
        self._directory = directory
        for trouble in directory.troubles:
            _log.error("directory_row_unusable", trouble=trouble)
        if first:
            if self._place.waits:
                asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._begin)
            else:
                self._begin()
            keys = {key for nas in directory.nases for key in nas_issue_keys(nas.id)}
            self._health.inherit(keys | home_server_issue_keys(directory) | {
                JOURNAL_ISSUE.key, DAMAGED_JOURNAL_KEY, CERTIFICATE_ISSUE, STALE_ISSUE.key, GEAR_ISSUE.key,
                REFUSED_KEY, RADSEC_ISSUE.key,
            })  # fmt: skip
            _log.info("directory_loaded", logins=len(directory.logins), nases=len(directory.nases))
            gc.collect()
            gc.freeze()  # a hundred thousand services must not be walked by every collection

    def _begin(self) -> None:
        """Answer: until now nobody could, or another process did. What came meanwhile waits in sockets."""
        loop = asyncio.get_running_loop()
        if self._siblings is not None:
            try:
                self._siblings.start(loop)
            except OSError as trouble:  # no place for it on the disk: alone, and answering
                _log.error("siblings_not_heard", error=str(trouble))
        self._doors.start(loop)
        self.dynauth.begin()

    async def _hear_until(self, stop: asyncio.Event) -> None:
        """Whoever takes our place hears at once what comes: two that take turns would split conversations."""
        await stop.wait()
        self._stop_hearing()

    def _stop_hearing(self) -> None:
        self._doors.stop_reading()
        self.dynauth.stop_reading()

    async def _tick(self, stop: asyncio.Event) -> None:
        """Send delayed rejects and age what is remembered."""
        while not stop.is_set():
            self._send_due()
            await pause(stop, self._until_tick_s)

    @property
    def _until_tick_s(self) -> float:
        """Soon while something waits for its time; else soon enough for what may begin to wait meanwhile."""
        if self._owes_answers or self._proxy.servers.outstanding:
            return _TICK_S
        return max(_TICK_S, min(_QUIET_TICK_S, self._settings.reject_delay_s / 4))

    def _send_due(self) -> None:
        self._doors.tick()
        self._proxy.servers.tick()

    async def _say_last_words(self) -> None:
        """Give the answers that wait: for a reject's time, a slow hash, a home server. Who repeats himself is
        heard by whoever comes after us, but not everybody does. EAP conversations go on as long as our
        successor hands us their packets."""
        began_s = self._clock.monotonic_s()
        while self._owes_answers or self._is_spoken_with(began_s):
            if self._clock.monotonic_s() - began_s > _LAST_WORDS_S:
                return
            self._send_due()
            await asyncio.sleep(_TICK_S)

    def _is_spoken_with(self, since_s: float) -> bool:
        if self._siblings is None or not self._eap.server.under_way:
            return False
        return self._siblings.has_successor or self._clock.monotonic_s() - since_s < _SUCCESSION_S

    @property
    def _owes_answers(self) -> bool:
        return bool(
            self._radsec.delayed or self._doors.delayed or self._slow_proofs.waiting or self._proxy.waiting
        )

    async def _record(self) -> None:
        await self._rotations.turn(self._workplace)
        await self._rejects.flush(self._workplace)
        signing = self._nases.newly_signing()
        if signing:
            async with self._workplace.work("system:radius") as work:
                for nas_id in signing:
                    await directory_rows.remember_signing(work.connection, nas_id, work.now)
        await self._health.turn(self._workplace, self._siblings)

    async def _look_at_eap(self) -> None:
        """The files of the server certificate may have been replaced."""
        self._eap.look()

    def _on_journal_trouble(self, trouble: str | None) -> None:
        if trouble is None:
            _log.info("journal_works_again")
            if self._journal is not None:
                self._leases.begin(self._journal.id)
        elif self._journal_trouble is None:
            _log.error("journal_failing", error=trouble, remedy=JOURNAL_ISSUE.remedy)
        self._journal_trouble = trouble

    def _own_issues(self) -> list[HealthIssue]:
        """What this process finds of itself."""
        own = [*self._eap.issues(self._clock.now()), *self._source.issues(), *self._watch.ended.values()]
        if self._gear.record.trouble is not None:
            own.append(GEAR_ISSUE)
        own += home_server_issues(self._proxy.servers.known, self._clock.monotonic_s())
        if self._journal_trouble is not None:
            own.append(JOURNAL_ISSUE)
        if self._damaged:
            own.append(damaged_journal_issue(self._damaged))
        if self._radsec.port and not self._radsec.has_certificate:
            own.append(RADSEC_ISSUE)
        return own

    async def _take_over_gear(self) -> None:
        """What processes that run no more have left of sign-ins to gear: the leader's part."""
        names = [journal_name(index) for index in range(self._place.count)]
        await take_over_left(self._journal_path.parent, [*names, self._journal_path.name], self._workplace)

    async def _look_for_damaged(self) -> None:
        """Journals that were put aside stay on the health page until somebody has taken them away."""
        self._damaged = await asyncio.to_thread(damaged_journals, self._journal_path.parent)

    async def _trim(self) -> None:
        if self._journal is None:
            return
        async with self._workplace.reading() as connection:
            taken_over = await directory_rows.journal_position(connection, self._journal.id)
        if taken_over:
            self._journal.trim(taken_over)

    async def _write_status(self) -> None:
        status = self.status()
        await asyncio.to_thread(write_status, self._journal_path, status)

    @property
    def dynauth_ports(self) -> list[int]:
        """Where orders of proxies and scripts are heard."""
        return self.dynauth.ports

    @property
    def radsec_port(self) -> int:
        """The first port for TLS, once it is open; 0 for none."""
        return self._radsec.port

    @property
    def ports(self) -> tuple[int, int]:
        """The first authentication and the first accounting port, once they are open; 0 for none."""
        return self._doors.ports

    def status(self) -> RadiusStatus:
        """The state of this process now."""
        directory, journal = self._directory, self._journal
        self.counters.not_sent = sum(one.not_sent for one in self._doors.endpoints)
        return RadiusStatus(
            at=self._clock.now().isoformat(),
            pid=os.getpid(),
            worker=self._place.index,
            counters=self.counters.snapshot(),
            delayed_rejects=self._doors.delayed,
            directory_seq=directory.seq if directory else 0,
            directory_logins=len(directory.logins) if directory else 0,
            directory_nases=len(directory.nases) if directory else 0,
            directory_age_s=round(self._source.age_s, 3),
            troubles=[*directory.troubles, *self._nases.template_troubles, *self._proxy.troubles]
            if directory
            else ["the directory has not been loaded yet"],
            journal_id=journal.id if journal else "",
            journal_backlog=journal.backlog if journal else 0,
            journal_trouble=self._journal_trouble,
            unsigned_nases=self._nases.unsigned(),
            strangers=self._nases.strangers,
            radsec=self._radsec.open_by_nas,
            radsec_refused=self._radsec.refused,
            directory_from_snapshot=self._source.from_snapshot,
            stale_profiles=len(self._source.due),
            nases=self._watch.counts_by_name(),
            latency_counts=list(self._doors.latency.counts),
            latency_total_s=self._doors.latency.total_s,
        )

    async def _log_counters(self, stop: asyncio.Event) -> None:
        last = self.counters.snapshot()
        while not stop.is_set():
            await pause(stop, _LOG_EVERY_S)
            now = self.counters.snapshot()
            changed = {name: count for name, count in now.items() if count != last[name]}
            if changed:
                _log.info("radius_counters", **changed)
            last = now

    def _on_failure(self, trouble: Exception) -> None:
        self.counters.failures += 1
        if self.counters.failures == 1:
            _log.error("radius_defect", error=f"{type(trouble).__name__}: {trouble}", exc_info=trouble)

    async def _close(self) -> None:
        self._stop_hearing()
        await self._say_last_words()
        self._slow_proofs.close()
        await self._gear.record.close()
        await self.dynauth.close()
        await self._leases.close()
        if self._journal is not None:
            await self._journal.close()
        if self._siblings is not None:
            self._siblings.close()
        await asyncio.sleep(0)  # the answers of the last commit leave before the sockets close
        self._radsec_door.close()
        self._doors.close()
        self._proxy.servers.close()


def _speaks_otherwise(before: Directory, after: Directory) -> bool:
    """Whether a NAS, or what one is told, is another than before."""
    return before.nases is not after.nases or before.templates is not after.templates
