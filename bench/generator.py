"""The load generator: a process of its own that keeps a window of requests outstanding over several ports.

A lane is one connected UDP socket with its 256 identifiers. Requests are made before the clock runs and every
reply is checked after it has stopped, so that while it runs the generator does little more than system calls.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing.connection import Connection

from bench import packets
from bench.packets import Request, Subscriber

RETRANSMIT_AFTER_S = 1.0
DRAIN_S = 3.0
"""How long after the last new request replies are still waited for; what has none then is lost."""
_ENDLESS = 1 << 62
_UDP_SEGMENT = 103  # Linux; the socket module has no name for it
_TOGETHER = 64
THOROUGH_EVERY = 16
"""Each reply's code and authenticator are checked; of one in so many everything."""


@dataclass(frozen=True, slots=True)
class Load:
    """How to send: ``window`` requests outstanding in all, for ``seconds`` or until the requests are used up.

    ``again``: when they are used up, begin anew with the first. Between two sendings of one request its
    identifier has carried many others, so no server can take it for a retransmission (RFC 5080, 2.2.2).
    """

    port: int
    window: int
    seconds: float
    again: bool = False
    lanes: int = 0
    """How many of the lanes send; 0: all."""
    accounting_port: int = 0
    """Where the reports of mixed requests go."""


@dataclass(frozen=True, slots=True)
class RoundResult:
    """One round. Rates count what was answered while the clock ran; ``lost`` was never answered.

    ``sessions``: accounting sessions of which at least one report was answered, a promise to keep them;
    ``reports``: all the accounting that was answered.
    """

    sent: int
    answered: int
    answered_in_time: int
    seconds: float
    retransmitted: int
    lost: int
    strays: int
    wrong: int
    first_fault: str
    p50_ms: float
    p99_ms: float
    signed_replies: bool | None
    sessions: int
    reports: int
    generator_cpu_us: float

    @property
    def per_second(self) -> float:
        """Answered requests a second of running clock."""
        return self.answered_in_time / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Flood:
    """Order: send the prepared requests, the same ones again and again, so many a second whatever comes back.

    More than a server can take; nothing is retransmitted and nothing waited for.
    """

    port: int
    per_second: float
    seconds: float


@dataclass(frozen=True, slots=True)
class FloodResult:
    """What a flood was, and what of it was answered in its time."""

    sent: int
    answered: int
    seconds: float

    @property
    def sent_per_second(self) -> float:
        """What was offered."""
        return self.sent / self.seconds

    @property
    def answered_per_second(self) -> float:
        """What was served."""
        return self.answered / self.seconds


@dataclass(slots=True)
class Lane:
    """One source port: its requests in order, and what is outstanding under each identifier."""

    endpoint: socket.socket
    requests: list[Request]
    last: int
    """How many may be sent; beyond ``len(requests)``, a multiple of 256, the same ones come round again."""
    next: int = 0
    outstanding: list[int] = field(default_factory=lambda: [-1] * 256)
    sent_at: list[float] = field(default_factory=lambda: [0.0] * 256)
    resent_at: list[float] = field(default_factory=lambda: [0.0] * 256)
    waiting: int = 0
    replies: list[tuple[int, bytes]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    strays: int = 0
    retransmitted: int = 0
    partner: Lane | None = None
    """The lane this one keeps step with: ``for_each_of_partner`` requests for each it has an answer to."""
    for_each_of_partner: float = 0.0

    def request(self, index: int) -> Request:
        """What was sent as number ``index``."""
        return self.requests[index % len(self.requests)]

    def receive(self) -> None:
        """Take every reply that is there."""
        receive, now = self.endpoint.recv, time.perf_counter
        outstanding, sent_at = self.outstanding, self.sent_at
        replies, latencies = self.replies, self.latencies
        taken = 0
        try:
            while True:
                reply = receive(4096)
                identifier = reply[1]
                index = outstanding[identifier]
                if index < 0:
                    self.strays += 1  # a second reply: to the request and to its retransmission
                    continue
                outstanding[identifier] = -1
                latencies.append(now() - sent_at[identifier])
                replies.append((index, reply))
                taken += 1
        except BlockingIOError:
            pass
        except ConnectionRefusedError:
            pass  # the server is not there: the requests stay outstanding and are lost
        self.waiting -= taken

    def fill(self, window: int) -> None:
        """Send new requests until ``window`` are outstanding, none is left, or an identifier is taken."""
        now = time.perf_counter
        outstanding, sent_at, resent_at, requests = (
            self.outstanding,
            self.sent_at,
            self.resent_at,
            self.requests,
        )
        stock = len(requests)
        index = self.next
        last = min(self.last, index + window - self.waiting)
        if self.partner is not None:
            last = min(last, int(len(self.partner.replies) * self.for_each_of_partner) + window)
        batch: list[bytes] = []
        while index < last:
            identifier = index & 255
            if outstanding[identifier] >= 0:
                break
            outstanding[identifier] = index
            octets = requests[index % stock].octets
            if batch and (len(octets) != len(batch[0]) or len(batch) == _TOGETHER):
                self._send(batch)
                batch = []
            batch.append(octets)
            sent_at[identifier] = resent_at[identifier] = now()
            index += 1
        if batch:
            self._send(batch)
        self.waiting += index - self.next
        self.next = index

    def _send(self, batch: list[bytes]) -> None:
        """Requests of one length in one call, which the kernel parts again (UDP segmentation, ``udp(7)``)."""
        segment = [] if len(batch) == 1 else [(socket.IPPROTO_UDP, _UDP_SEGMENT, _length(batch[0]))]
        with suppress(
            BlockingIOError, ConnectionRefusedError
        ):  # then they are retransmitted like any lost one
            self.endpoint.sendmsg(batch, segment)

    def retransmit(self, older_than: float) -> None:
        """Send again, byte for byte, what was last sent before ``older_than``."""
        for identifier, index in enumerate(self.outstanding):
            if index >= 0 and self.resent_at[identifier] < older_than:
                self.resent_at[identifier] = time.perf_counter()
                self.retransmitted += 1
                with suppress(BlockingIOError, ConnectionRefusedError):
                    self.endpoint.send(self.request(index).octets)


def _length(octets: bytes) -> bytes:
    return len(octets).to_bytes(2, sys.byteorder)


def _open_lane(port: int, requests: list[Request], last: int) -> Lane:
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    endpoint.bind(("127.0.0.1", 0))
    endpoint.connect(("127.0.0.1", port))
    endpoint.setblocking(False)
    return Lane(endpoint, requests, last)


def open_lanes(load: Load, dealt: Sequence[list[Request]]) -> list[Lane]:
    return [_open_lane(load.port, requests, _ENDLESS if load.again else len(requests)) for requests in dealt]


def _open_mixed(
    load: Load, accesses: Sequence[list[Request]], reports: Sequence[list[Request]]
) -> list[Lane]:
    """A lane of sign-ins beside each lane of reports, in step: a session has one sign-in and its reports."""
    lanes: list[Lane] = []
    for own, beside in zip(accesses, reports, strict=True):
        signing_in = _open_lane(load.port, own, _ENDLESS)
        reporting = _open_lane(load.accounting_port, beside, len(beside))
        signing_in.partner, signing_in.for_each_of_partner = reporting, 1 / packets.REPORTS_OF_A_SESSION
        reporting.partner, reporting.for_each_of_partner = signing_in, packets.REPORTS_OF_A_SESSION
        lanes += [signing_in, reporting]
    return lanes


def drive(load: Load, lanes: list[Lane]) -> tuple[list[Lane], float, int]:
    """Run one round; the lanes, the seconds the clock ran, and the replies that had come by then."""
    share = max(1, min(250, load.window // len(lanes)))
    poll = select.epoll()
    by_descriptor = {lane.endpoint.fileno(): lane for lane in lanes}
    try:
        for descriptor in by_descriptor:
            poll.register(descriptor, select.EPOLLIN)
        started = time.perf_counter()
        for lane in lanes:
            lane.fill(share)
        _exchange(poll, by_descriptor, lanes, share, started + load.seconds)
        ran_s = time.perf_counter() - started
        in_time = sum(len(lane.replies) for lane in lanes)
        _exchange(poll, by_descriptor, lanes, 0, time.perf_counter() + DRAIN_S)
    finally:
        poll.close()
        for lane in lanes:
            lane.endpoint.close()
    return lanes, ran_s, in_time


def flood(order: Flood, dealt: Sequence[list[Request]]) -> FloodResult:
    """Run one flood. Its first fifth is not counted: a server's buffers fill first."""
    lanes = _open_lanes_of_flood(order.port, dealt)
    try:
        started = time.perf_counter()
        counted_from, until = started + order.seconds / 5, started + order.seconds
        sent = answered = sent_before = answered_before = 0
        counting = False
        while (now := time.perf_counter()) < until:
            if not counting and now >= counted_from:
                counting, sent_before, answered_before, counted_from = True, sent, answered, now
            due = int((now - started) * order.per_second)
            for endpoint, octets in lanes:
                for _ in range(min(64, due - sent)):
                    with suppress(BlockingIOError, ConnectionRefusedError):
                        endpoint.send(next(octets))
                    sent += 1
                answered += _take_all(endpoint)
        ran_s = time.perf_counter() - counted_from
    finally:
        for endpoint, _ in lanes:
            endpoint.close()
    return FloodResult(sent - sent_before, answered - answered_before, ran_s)


def _open_lanes_of_flood(
    port: int, dealt: Sequence[list[Request]]
) -> list[tuple[socket.socket, Iterator[bytes]]]:
    lanes = [_open_lane(port, requests, 0) for requests in dealt]
    return [(lane.endpoint, cycle([one.octets for one in lane.requests])) for lane in lanes]


def _take_all(endpoint: socket.socket) -> int:
    """How many accepts and responses were waiting."""
    taken = 0
    try:
        while True:
            taken += endpoint.recv(4096)[0] in {packets.ACCESS_ACCEPT, packets.ACCOUNTING_RESPONSE}
    except (BlockingIOError, ConnectionRefusedError):
        return taken


def _exchange(
    poll: select.epoll, by_descriptor: dict[int, Lane], lanes: Iterable[Lane], window: int, until: float
) -> None:
    """Receive and refill until ``until`` (perf_counter), or until nothing is outstanding."""
    now = time.perf_counter()
    next_look = now + 0.1
    while now < until:
        for descriptor, _event in poll.poll(0.05):
            lane = by_descriptor[descriptor]
            lane.receive()
            if window:
                lane.fill(window)
                if lane.partner is not None:
                    lane.partner.fill(window)
        now = time.perf_counter()
        if now >= next_look:
            next_look = now + 0.1
            for lane in lanes:
                lane.retransmit(now - RETRANSMIT_AFTER_S)
                if window:
                    lane.fill(window)  # an identifier that was taken may be free now
        if not any(lane.waiting for lane in lanes):
            return


def summarise(
    lanes: Sequence[Lane],
    ran_s: float,
    in_time: int,
    people: Sequence[Subscriber],
    secret: bytes,
    cpu_s: float,
) -> RoundResult:
    """Check every reply and count."""
    latencies = sorted(value for lane in lanes for value in lane.latencies)
    answered = len(latencies)
    sent = sum(lane.next for lane in lanes)
    wrong, first_fault, signed = _faults(lanes, people, secret)
    answered_sessions = (lane.request(index).session for lane in lanes for index, _ in lane.replies)
    sessions = [one for one in answered_sessions if one >= 0]
    return RoundResult(
        sent=sent,
        answered=answered,
        answered_in_time=in_time,
        seconds=ran_s,
        retransmitted=sum(lane.retransmitted for lane in lanes),
        lost=sent - answered,
        strays=sum(lane.strays for lane in lanes),
        wrong=wrong,
        first_fault=first_fault,
        p50_ms=quantile(latencies, 0.50) * 1000,
        p99_ms=quantile(latencies, 0.99) * 1000,
        signed_replies=signed,
        sessions=len(set(sessions)),
        reports=len(sessions),
        generator_cpu_us=cpu_s / answered * 1e6 if answered else 0.0,
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the ordered values lie; 0 when there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _faults(
    lanes: Sequence[Lane], people: Sequence[Subscriber], secret: bytes
) -> tuple[int, str, bool | None]:
    """(wrong replies, the first fault in words, whether replies carry a Message-Authenticator)."""
    wrong, first, signed = 0, "", None
    for lane in lanes:
        for place, (index, reply) in enumerate(lane.replies):
            request = lane.request(index)
            thorough = place % THOROUGH_EVERY == 0
            fault = packets.fault_in_reply(request, reply, people[request.subscriber], secret, thorough)
            if fault:
                wrong += 1
                first = first or fault
            elif signed is None and reply[0] == packets.ACCESS_ACCEPT:
                signed = packets.message_authenticator_is_right(request.octets, reply, secret) is not None
    return wrong, first, signed


@dataclass(frozen=True, slots=True)
class Accesses:
    """Order: make Access-Requests by one method."""

    method: str
    count: int


@dataclass(frozen=True, slots=True)
class Reports:
    """Order: make Accounting-Requests of sessions named after ``run``, with the Class last learnt."""

    run: str
    count: int


@dataclass(frozen=True, slots=True)
class Mixed:
    """Order: make sign-ins by PAP and beside them the reports of sessions named after ``run``."""

    run: str
    count: int


@dataclass(frozen=True, slots=True)
class LearnClasses:
    """Order: authenticate every subscriber once at ``port`` and keep the Class that each was given."""

    port: int


Order = Accesses | Reports | Mixed | LearnClasses | Load | Flood


class _Worker:
    """What the generator process does with its orders."""

    def __init__(self, people: Sequence[Subscriber], secret: bytes, lanes: int) -> None:
        self._people = people
        self._secret = secret
        self._lanes = lanes
        self._dealt: list[list[Request]] = []
        self._beside: list[list[Request]] = []
        self._classes = [b""] * len(people)

    def carry_out(self, order: Order) -> RoundResult | FloodResult | None:
        """Do one order."""
        match order:
            case Accesses(method, count):
                self._dealt = packets.access_requests(self._people, self._secret, method, count, self._lanes)
                self._beside = []
            case Reports(run, count):
                self._dealt, self._beside = self._reports(run, count, self._lanes), []
            case Mixed(run, count):
                half = self._lanes // 2
                self._beside = self._reports(run, count, half)
                self._dealt = packets.access_requests(self._people, self._secret, "pap", half * 2048, half)
            case LearnClasses(port):
                return self._learn_classes(port)
            case Load():
                return self._run(order)
            case Flood():
                return flood(order, self._dealt)
        return None

    def _reports(self, run: str, count: int, lanes: int) -> list[list[Request]]:
        begun = int(time.time()) - packets.STORY_S - 60
        return packets.accounting_requests(
            self._people, self._secret, self._classes, count, lanes, run, begun
        )

    def _run(self, load: Load) -> RoundResult:
        cpu_before = time.process_time()
        if self._beside:
            opened = _open_mixed(load, self._dealt, self._beside)
        else:
            opened = open_lanes(load, self._dealt[: load.lanes or None])
        lanes, ran_s, in_time = drive(load, opened)
        return summarise(lanes, ran_s, in_time, self._people, self._secret, time.process_time() - cpu_before)

    def _learn_classes(self, port: int) -> RoundResult:
        dealt = packets.access_requests(
            self._people, self._secret, "pap", len(self._people), self._lanes, seed=2
        )
        load = Load(port, 64, 20.0)
        lanes, ran_s, in_time = drive(load, open_lanes(load, dealt))
        for lane in lanes:
            for index, reply in lane.replies:
                given = packets.attributes_of(reply).get(packets.CLASS, [b""])
                self._classes[lane.request(index).subscriber] = given[0]
        return summarise(lanes, ran_s, in_time, self._people, self._secret, 0.0)


def _serve(orders: Connection, people: Sequence[Subscriber], secret: bytes, lanes: int) -> None:
    worker = _Worker(people, secret, lanes)
    while (order := orders.recv()) is not None:  # None: go home
        orders.send(worker.carry_out(order))


class Generator:
    """The generator process, seen from the program that gives it orders."""

    def __init__(self, people: Sequence[Subscriber], secret: bytes, lanes: int = 8) -> None:
        context = multiprocessing.get_context("spawn")
        self._orders, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, people, secret, lanes), daemon=True)
        self._process.start()
        theirs.close()

    def prepare(self, order: Accesses | Reports | Mixed) -> None:
        """Have the requests of the coming rounds made."""
        self._orders.send(order)
        self._orders.recv()

    def run(self, order: Load | LearnClasses) -> RoundResult:
        """Have one round run; raises ``EOFError`` when the generator died."""
        self._orders.send(order)
        result = self._orders.recv()
        assert isinstance(result, RoundResult)
        return result

    def flood(self, order: Flood) -> FloodResult:
        """Have one flood run; raises ``EOFError`` when the generator died."""
        self._orders.send(order)
        result = self._orders.recv()
        assert isinstance(result, FloodResult)
        return result

    def close(self) -> None:
        """End the process."""
        self._orders.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
