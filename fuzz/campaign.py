"""The throwing: datagram after datagram at the pipelines, every answer judged, memory watched.

The datagrams come from one seed. What is not reproduced by it: the server's own random numbers (States,
salts, TLS), so an EAP conversation differs in its octets from run to run.
"""

from __future__ import annotations

import gc
import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, Final

from aaa.domain.class_token import ClassToken, decode_class, encode_class
from aaa.domain.line import line_names, read_port
from fuzz.drafts import ACCESS, KINDS, Draft, draft
from fuzz.eap_peer import METHODS, Peer
from fuzz.judge import Judge, Unsound, Walked, walk
from fuzz.mutations import damaged, mutated, octets_of
from fuzz.world import ALWAYS_ACCEPTED, Nas, World
from radius.accounting.decode import AccountingOrigin, decode_accounting
from radius.accounting.pipeline import AccountingPipeline, Pending
from radius.config import EapSettings
from radius.dictionary.attributes import attribute_dictionary
from radius.dynauth.order import read_order
from radius.eap import avp
from radius.eap import packet as eap_packet
from radius.eap.framing import Reassembly
from radius.eap.keeping import EapKeeper
from radius.guard.lockout import Lockout, LockoutLimits
from radius.guard.pipeline_limits import PipelineLimits
from radius.guard.rate_limits import RateLimits
from radius.nas.attachment import read_attachment, read_line_ids
from radius.nas.table import NasTable
from radius.packet.codec import MalformedPacket, locate, trim
from radius.packet.shared_secret import SharedSecret
from radius.proxying.packets import Homeward, Nasward, answer_for_nas, forward_access
from radius.reply.cache import Source
from radius.serving.counters import Counters
from radius.sign_in.class_tokens import ClassTokens
from radius.sign_in.pipeline import AuthenticationPipeline
from radius.sign_in.reject_log import RejectLog
from radius.watching.client import decoded, packet_of
from radius.watching.filter import WatchFilter

FINDINGS_KEPT: Final = 20
_TICK_EVERY: Final = 100
_STEP_S: Final = 0.002
_EAP_SHARE: Final = 0.02
"""Of the draws; each is a conversation of many datagrams."""
_TURNS: Final = 40
_GOOD: Final = (2, 5)  # Access-Accept, Accounting-Response
_STRANGERS: Final = 0.03


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not happen, and the datagram that made it happen."""

    number: int
    label: str
    datagram: bytes
    what: str


@dataclass(slots=True)
class Report:
    """What a campaign has seen."""

    seed: int
    thrown: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    """Access-Accepts and Accounting-Responses by what was asked: how deep the throwing comes."""
    findings: list[Finding] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    """Octets in memory after each tenth."""

    @property
    def growth(self) -> int:
        """Octets of resident memory gained after the warm-up of two tenths."""
        return self.resident[-1] - self.resident[1] if len(self.resident) > 1 else 0


class Campaign:
    """The product's pipelines as a worker has them, with small bounds so that they are reached soon."""

    def __init__(self, world: World, seed: int) -> None:
        self.report = Report(seed)
        self._random = Random(seed)
        self._world = world
        self._book = attribute_dictionary()
        self._now_s = 1_000.0
        self._judges = {False: Judge(), True: Judge()}
        self.counters = Counters()
        rejects = RejectLog(world.clock, self.counters)
        nases = NasTable(world.directory.nases, RateLimits())
        sign_ins = ClassTokens(world.class_key)
        lockout = Lockout(LockoutLimits(after=1_000_000, identities=500), self.counters)
        self._pipelines: list[AuthenticationPipeline] = []
        strict = Lockout(LockoutLimits(identities=500), self.counters)
        # OpenSSL keeps four kilobytes of each session that may be resumed, of twenty thousand at most: that
        # bound is too far off for a run to come to, and is no growth to be told of
        for delay_s, held, kept_s in ((0.0, lockout, 0), (1.0, strict, 600)):
            limits = PipelineLimits(delay_s, 500, 200, 6.0, 2_000)
            settings = EapSettings(
                conversations=256,
                conversation_lifetime_s=10,
                fragment_octets=1_000,
                session_lifetime_s=kept_s,
            )
            keeper = EapKeeper(settings, self.counters, rejects.note, held, world.clock)
            pipeline = AuthenticationPipeline(
                nases, sign_ins, self.counters, rejects.note, limits, lockout=held, eap=keeper.server
            )
            pipeline.use(world.directory)
            keeper.use(world.directory)
            self._pipelines.append(pipeline)
        self._accounting = AccountingPipeline(nases, self.counters, PipelineLimits(duplicate_entries=2_000))
        self._waiting: dict[tuple[Source, int], tuple[bytes, Nas | None, bool]] = {}
        self._token = encode_class(ClassToken("svc_1", 1, "abc"), world.class_key)

    def run(self, count: int, tell: Callable[[Report], None] = lambda report: None) -> Report:
        """Throw ``count`` datagrams; ``tell`` hears of every hundredth part. Many findings end it early."""
        report, step = self.report, -(-count // 100)
        told = 0
        while report.thrown < count and len(report.findings) < FINDINGS_KEPT:
            if self._random.random() < _EAP_SHARE:
                self._converse(count)
            else:
                self._throw_one()
            while report.thrown // step > told:
                told += 1
                if told % 10 == 0:
                    report.resident.append(_resident())
                tell(report)
        return report

    def _throw_one(self) -> None:
        one = mutated(self._random, self._random.choice(KINDS)(self._random))
        datagram = one.octets()
        if self._random.random() < 0.3:
            datagram = damaged(self._random, datagram)
        self._throw(one.label, datagram, self._source(one.nas), is_accounting=one.label == "accounting")

    def _source(self, nas: Nas) -> tuple[Source, Nas | None]:
        port = self._random.randrange(1_024, 65_536)
        if self._random.random() < _STRANGERS:
            return (f"192.0.2.{self._random.randrange(256)}", port), None
        six = (nas.address, port, None, 0, 0)
        return six if ":" in nas.address else (nas.address, port), nas

    def _converse(self, most: int) -> None:
        """An EAP conversation, spoiled somewhere or nowhere; every turn is a datagram."""
        random = self._random
        spoils = random.random() < 0.8
        where = random.randrange(12)
        said = iter(range(1_000))

        def spoil(octets: bytes) -> bytes:
            return octets_of(random, octets) if spoils and next(said) == where else octets

        method = random.choice(METHODS)
        peer = Peer(random, method, self._world.client, spoil)
        opening = draft(random, f"eap_{method}", ACCESS)
        source, nas = self._source(opening.nas)
        delayed = random.random() < 0.05
        message: bytes | None = spoil(b"\x02\x00\x00\x0a\x01alice")
        state: list[tuple[int, bytes]] = []
        for turn in range(_TURNS):
            if message is None or self.report.thrown >= most:
                return
            one = self._turn(opening, turn, message, state)
            if spoils and random.random() < 0.05:
                one = mutated(random, one)
            datagram = one.octets()
            if spoils and random.random() < 0.03:
                datagram = damaged(random, datagram)
            answer = self._throw(one.label, datagram, (source, nas), is_accounting=False, delayed=delayed)
            if answer is None or answer.code != 11:
                return
            message = peer.answer(b"".join(answer.all(79)))
            state = [(24, value) for value in answer.all(24)]

    def _turn(self, opening: Draft, turn: int, message: bytes, state: list[tuple[int, bytes]]) -> Draft:
        pieces = [(79, message[at : at + 253]) for at in range(0, len(message), 253)] or [(79, b"")]
        attributes = [(1, b"alice"), (31, b"AA:BB:CC:00:11:22"), *pieces, *state]
        return Draft(
            opening.label, opening.nas, ACCESS, (opening.identifier + turn) & 255, self._random.randbytes(16),
            attributes, secret=opening.secret,
        )  # fmt: skip

    def _throw(
        self,
        label: str,
        datagram: bytes,
        sent_by: tuple[Source, Nas | None],
        *,
        is_accounting: bool,
        delayed: bool | None = None,
    ) -> Walked | None:
        """Everything that a datagram meets, with whatever it raises as a finding."""
        self.report.thrown += 1
        self.report.labels[label] += 1
        self._now_s += _STEP_S
        try:
            if self.report.thrown % _TICK_EVERY == 0:
                self._tick()
            self._read(datagram)
            wrong_port = self._random.random() < 0.02
            if is_accounting != wrong_port:
                answer = self._account(datagram, *sent_by)
            else:
                delayed = self._random.random() < 0.3 if delayed is None else delayed
                answer = self._authenticate(datagram, *sent_by, delayed=delayed)
            self.report.accepted[label] += answer is not None and answer.code in _GOOD
        except Unsound as trouble:
            self._find(label, datagram, f"unsound: {trouble}")
        except Exception:
            self._find(label, datagram, traceback.format_exc(limit=-6))
        else:
            return answer
        return None

    def _find(self, label: str, datagram: bytes, what: str) -> None:
        """The same trouble is written down once."""
        if all(one.what != what for one in self.report.findings):
            self.report.findings.append(Finding(self.report.thrown, label, datagram, what))

    def _tick(self) -> None:
        self._world.clock.advance(timedelta(seconds=_STEP_S * _TICK_EVERY))
        for pipeline in self._pipelines:
            for reply, source in pipeline.due(self._now_s):
                asked = self._waiting.get((source, reply[1]))
                if asked is not None:
                    self._judge_late(reply, *asked)
        self._accounting.age(self._now_s)
        if len(self._waiting) > 4_000:
            self._waiting.clear()

    def _judge_late(self, reply: bytes, datagram: bytes, nas: Nas | None, had_signed: bool) -> None:
        try:
            self._judge(datagram, reply, nas, accounting=False, had_signed=had_signed)
        except Unsound as trouble:
            self._find("delayed", datagram, f"unsound: {trouble}")

    def _authenticate(
        self, datagram: bytes, source: Source, nas: Nas | None, *, delayed: bool
    ) -> Walked | None:
        had_signed = self._judges[False].has_signed(nas)
        reply = self._pipelines[delayed].receive(datagram, source, self._now_s)
        if reply is not None:
            again = self._pipelines[delayed].receive(datagram, source, self._now_s)
            if again != reply:
                raise Unsound("a retransmit got another answer than the request")
            return self._judge(datagram, reply, nas, accounting=False, had_signed=had_signed)
        if delayed and len(datagram) > 1:
            self._waiting[source, datagram[1]] = (datagram, nas, had_signed)
        self.report.answers["silence"] += 1
        return None

    def _account(self, datagram: bytes, source: Source, nas: Nas | None) -> Walked | None:
        outcome = self._accounting.receive(datagram, source, 1_773_144_000_000_000)
        if isinstance(outcome, Pending):
            packet = outcome.record.datagram
            origin = AccountingOrigin(outcome.record.nas_id, source[0], self._world.clock.now())
            try:
                decode_accounting(packet, origin)
            except MalformedPacket:
                self.report.answers["undecodable record"] += 1
            if self._random.random() < 0.05:
                self._accounting.refuse(outcome)
                return None
            outcome = self._accounting.settle(outcome, committed=self._random.random() < 0.95)
        if outcome is None:
            self.report.answers["silence"] += 1
            return None
        return self._judge(datagram, outcome, nas, accounting=True, had_signed=False)

    def _judge(
        self, datagram: bytes, reply: bytes, nas: Nas | None, *, accounting: bool, had_signed: bool
    ) -> Walked:
        answer = self._judges[accounting].judge(
            datagram, reply, nas, accounting=accounting, had_signed=had_signed
        )
        self.report.answers[f"code {answer.code}"] += 1
        if answer.code == 2 and datagram[0] == ACCESS:
            self._accepts_whom_it_may(answer)
        self._book.decode(reply[20:])
        return answer

    def _accepts_whom_it_may(self, answer: Walked) -> None:
        tokens = [decode_class(value, self._world.class_key) for value in answer.all(25)]
        if len(tokens) != 1 or tokens[0] is None:
            raise Unsound("an Access-Accept without a Class of ours")
        names = set(self._world.directory.usernames_of[tokens[0].service_id])
        if not names & {one.encode() for one in ALWAYS_ACCEPTED}:
            raise Unsound(f"an Access-Accept for {sorted(names)}")

    def _read(self, datagram: bytes) -> None:
        """What reads octets besides the pipelines: the dictionary, the watch, the Class token."""
        if self._random.random() < 0.5:
            for one in self._book.decode(datagram[20:]):
                str(one)
        if self._random.random() < 0.05:
            decoded(_event(datagram), self._book)
            wants = WatchFilter("a*", station="aa:bb:cc:00:11:22")
            wants.matches("nas", ("10.0.0.1",), packet_of(datagram), datagram or None)
        if self._random.random() < 0.2:
            packet = packet_of(datagram)
            if packet is not None:
                read_order(packet)
                _read_line(datagram)
                _proxy(datagram[: int.from_bytes(datagram[2:4], "big")])
            _parse_as_eap(datagram[20:])
        if self._random.random() < 0.1:
            altered = octets_of(self._random, self._token)
            if decode_class(altered, self._world.class_key) is not None and altered != self._token:
                raise Unsound("an altered Class token counts")


_SECRETS: Final = (SharedSecret(b"of-the-nas"), SharedSecret(b"of-the-home-server"))


def _read_line(datagram: bytes) -> None:
    """Where a request comes from: option 82, port and VLANs."""
    packet = trim(datagram)
    first, repeats = locate(packet)
    line_names(*read_line_ids(packet, first, repeats))
    read_port(read_attachment(packet, first, "nas_1", None).port or "")


def _proxy(packet: bytes) -> None:
    """As a request on its way to a home server, and as the reply of one, which may be as hostile."""
    with suppress(MalformedPacket):
        homeward = Homeward(*_SECRETS, bytes(12), b"alice")
        sent = forward_access(packet, homeward, 7, bytes(16))
        if walk(sent) is None:
            raise Unsound("a forwarded request that is no packet")
    nasward = Nasward(packet, packet, *_SECRETS, lambda: b"\x80\x01", None, lambda _name: True)
    for code in (2, 3, 11):
        with suppress(MalformedPacket):
            answer = answer_for_nas(bytes((code,)) + packet[1:], nasward)
            kept = answer.attributes[:4_000] if answer is not None else b""
            if (
                len(kept) < 4_000
                and walk(bytes(2) + (20 + len(kept)).to_bytes(2, "big") + bytes(16) + kept) is None
            ):
                raise Unsound("attributes from a home server that are none")


def _parse_as_eap(octets: bytes) -> None:
    """The parsers that conversations use, straight: each may say that it is malformed and nothing else."""
    for parse in (eap_packet.parse, lambda some: list(avp.parse(some)), Reassembly().take):
        with suppress(eap_packet.MalformedEap):
            parse(octets)


def _event(datagram: bytes) -> dict[str, Any]:
    return {
        "at": "2026-03-10T12:00:00", "nas": "", "source": "10.0.0.1", "port": 1, "reply": None,
        "request": datagram.hex(), "why": "", "ms": 0.0,
    }  # fmt: skip


def _resident() -> int:
    """Octets of this process in memory, after what is free has been given back."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def figures(report: Report, counters: Counters) -> Iterator[str]:
    """What a run says of itself."""
    yield f"{report.thrown:,} datagrams, seed {report.seed}"
    yield "thrown    " + ", ".join(f"{name} {count:,}" for name, count in sorted(report.labels.items()))
    yield "accepted  " + ", ".join(f"{name} {count:,}" for name, count in sorted(report.accepted.items()))
    yield "answers   " + ", ".join(f"{name} {count:,}" for name, count in sorted(report.answers.items()))
    counted = {name: count for name, count in counters.snapshot().items() if count}
    yield "counters  " + ", ".join(f"{name} {count:,}" for name, count in counted.items())
    yield "memory    " + ", ".join(f"{one / 2**20:.1f}" for one in report.resident) + " MiB by tenths"
    yield f"findings  {len(report.findings)}"
