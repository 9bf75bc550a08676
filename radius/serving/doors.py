"""The sockets of one RADIUS process, each with its pipeline, and the pipelines of what comes by TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from aaa.directory import Directory
from core.clock import Clock
from core.store.columns import to_microseconds
from radius.accounting.journal import Journal
from radius.accounting.pipeline import AccountingPipeline, Pending
from radius.config import RadiusSettings
from radius.eap.server import EapServer
from radius.gear.door import GearDoor
from radius.guard.lockout import Lockout
from radius.guard.overload import GiveWay
from radius.guard.pipeline_limits import PipelineLimits
from radius.leases.leasing import Leasing
from radius.nas.table import NasTable
from radius.proxying.proxy import Proxy
from radius.radsec.server import RadSec
from radius.reply.cache import Source
from radius.serving.counters import Counters
from radius.serving.endpoint import AT_ONCE, Datagram, Endpoint
from radius.serving.latency import WakeUpLatency
from radius.serving.place import Place
from radius.serving.siblings import Handed, Siblings
from radius.sign_in.admission import Admission
from radius.sign_in.answers import LateAnswers
from radius.sign_in.by_eap import Elsewhere
from radius.sign_in.class_tokens import ClassTokens
from radius.sign_in.live_devices import LiveDevices
from radius.sign_in.pipeline import AuthenticationPipeline
from radius.sign_in.reject_log import RejectLog
from radius.sign_in.slow_proof import SlowProofs


@dataclass(frozen=True, slots=True)
class Shared:
    """What all pipelines of a process have in common."""

    clock: Clock
    nases: NasTable
    tokens: ClassTokens
    counters: Counters
    rejects: RejectLog
    slow_proofs: SlowProofs
    lockout: Lockout
    gear: GearDoor
    eap: EapServer
    admission: Admission
    devices: LiveDevices
    leasing: Leasing
    proxy: Proxy
    on_failure: Callable[[Exception], None]
    """Told of what a datagram made us raise, which nothing should."""


class Doors:
    """Where requests come in and answers go out."""

    def __init__(self, settings: RadiusSettings, place: Place, shared: Shared, radsec: RadSec) -> None:
        self._settings = settings
        self._place = place
        self._shared = shared
        self._radsec = radsec
        self._authentication: list[tuple[AuthenticationPipeline, Endpoint]] = []
        self._accounting: list[tuple[AccountingPipeline, Endpoint]] = []
        self._ears: dict[str, Endpoint] = {}
        self._order = GiveWay(AT_ONCE)
        self.latency = WakeUpLatency()

    def open(self, journal: Journal, siblings: Siblings | None) -> None:
        """Have a pipeline behind every socket; nothing is read yet. Raises ``OSError`` for a taken port."""
        for listen in self._settings.auth_listen:
            self._authentication.append(self._open_authentication(listen, siblings))
        for listen in self._settings.accounting_listen:
            self._accounting.append(self._open_accounting(listen, journal))
        self._join_radsec(journal)

    def _join_radsec(self, journal: Journal) -> None:
        """What comes by TLS is answered by pipelines of its own, alike those of the sockets."""

        def send_late(reply: bytes, source: Source) -> None:
            self._radsec.send(reply, source)

        authentication = self._authentication_pipeline(send_late, None)
        self._radsec.answer_with(
            authentication, self._accounting_pipeline(), journal, self._shared.on_failure
        )

    def _authentication_pipeline(
        self, send_late: Callable[[bytes, Source], None], elsewhere: Elsewhere | None
    ) -> AuthenticationPipeline:
        shared = self._shared
        return AuthenticationPipeline(
            shared.nases, shared.tokens, shared.counters, shared.rejects.note, self._limits(),
            late=LateAnswers(shared.slow_proofs, send_late), lockout=shared.lockout, gear=shared.gear,
            eap=shared.eap, admission=shared.admission, elsewhere=elsewhere, proxy=shared.proxy,
            leasing=shared.leasing,
        )  # fmt: skip

    def _accounting_pipeline(self) -> AccountingPipeline:
        shared = self._shared
        return AccountingPipeline(shared.nases, shared.counters, self._limits(), shared.devices)

    def _limits(self) -> PipelineLimits:
        settings = self._settings
        return PipelineLimits(
            settings.reject_delay_s, settings.delayed_rejects, -(-settings.delayed_rejects // 10),
            settings.duplicate_memory_s, settings.duplicate_entries, -(-settings.slow_proof_queue // 2),
        )  # fmt: skip

    def _open_authentication(
        self, listen: str, siblings: Siblings | None
    ) -> tuple[AuthenticationPipeline, Endpoint]:
        name = f"auth {listen}"

        def send_late(reply: bytes, source: Source) -> None:
            endpoint.send(reply, source)

        pipeline = self._authentication_pipeline(send_late, self._elsewhere(name, siblings))
        receive, monotonic_s, on_failure = (
            pipeline.receive, self._shared.clock.monotonic_s, self._shared.on_failure,
        )  # fmt: skip
        took_sign_ins, note_wake_up = self._order.took_sign_ins, self.latency.note

        def handle(datagrams: list[Datagram]) -> None:
            now_s = monotonic_s()
            for datagram, source in datagrams:
                try:
                    reply = receive(datagram, source, now_s)
                except Exception as trouble:  # noqa: BLE001 - the boundary of one datagram
                    on_failure(trouble)
                    continue
                if reply is not None:
                    endpoint.post(reply, source)
            took_sign_ins(len(datagrams))
            note_wake_up(monotonic_s() - now_s)

        endpoint = self._ears[name] = Endpoint(listen, handle, self._place.sockets.get(name))
        return pipeline, endpoint

    def _elsewhere(self, endpoint: str, siblings: Siblings | None) -> Elsewhere | None:
        if siblings is None:
            return None

        def hand_over(worker: int, datagram: bytes, source: Source) -> bool:
            return siblings.hand_over(worker, Handed(endpoint, source, datagram))

        def hand_back(datagram: bytes, source: Source) -> bool:
            return siblings.hand_back(Handed(endpoint, source, datagram))

        return Elsewhere(self._place.index, self._place.count, hand_over, hand_back)

    def take(self, handed: Handed) -> None:
        """A datagram that came to another process and belongs to a conversation of this one."""
        endpoint = self._ears.get(handed.endpoint)
        if endpoint is not None:
            endpoint.handle([(handed.datagram, handed.source)])

    def _open_accounting(self, listen: str, journal: Journal) -> tuple[AccountingPipeline, Endpoint]:
        pipeline, clock, on_failure = self._accounting_pipeline(), self._shared.clock, self._shared.on_failure

        def handle(datagrams: list[Datagram]) -> None:
            now_us = to_microseconds(clock.now())
            endpoint.at_once = self._order.reports_to_take()
            for datagram, source in datagrams:
                try:
                    outcome = pipeline.receive(datagram, source, now_us)
                except Exception as trouble:  # noqa: BLE001 - the boundary of one datagram
                    on_failure(trouble)
                    continue
                if isinstance(outcome, Pending):
                    if not journal.append(outcome.record, partial(on_commit, outcome)):
                        pipeline.refuse(outcome)
                elif outcome is not None:
                    endpoint.post(outcome, source)

        def on_commit(pending: Pending, committed: bool) -> None:
            reply = pipeline.settle(pending, committed=committed)
            if reply is not None:
                endpoint.post(reply, pending.key[0])

        endpoint = Endpoint(listen, handle, self._place.sockets.get(f"accounting {listen}"))
        return pipeline, endpoint

    def use(self, directory: Directory) -> None:
        """Answer from this snapshot from now on, also what comes by TLS."""
        for pipeline, _ in self._authentication:
            pipeline.use(directory)
        self._radsec.use(directory)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to read: what came meanwhile waits in the sockets."""
        for endpoint in self.endpoints:
            endpoint.start(loop)
        self._radsec.begin()

    def stop_reading(self) -> None:
        """Take what has come, and no more; answers may still leave."""
        for endpoint in self.endpoints:
            endpoint.stop_reading()
        self._radsec.stop_reading()

    def close(self) -> None:
        """Let the ports go."""
        self._radsec.close()
        for endpoint in self.endpoints:
            endpoint.close()

    def tick(self) -> None:
        """Send the rejects whose time has come, and age what is remembered. Call it a few times a second."""
        now_s = self._shared.clock.monotonic_s()
        for pipeline, endpoint in self._authentication:
            for reply, source in pipeline.due(now_s):
                endpoint.post(reply, source)
        for accounting, _ in self._accounting:
            accounting.age(now_s)
        self._radsec.tick(now_s)

    @property
    def endpoints(self) -> list[Endpoint]:
        """The UDP sockets."""
        return [endpoint for _, endpoint in [*self._authentication, *self._accounting]]

    @property
    def delayed(self) -> int:
        """How many rejects wait for their time, those by TLS not counted."""
        return sum(pipeline.delayed for pipeline, _ in self._authentication)

    @property
    def ports(self) -> tuple[int, int]:
        """The first authentication and the first accounting port, once they are open; 0 for none."""
        first = [each[0][1].port if each else 0 for each in (self._authentication, self._accounting)]
        return first[0], first[1]
