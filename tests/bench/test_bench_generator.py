"""The load generator's accounting, against servers that lose, repeat and lie on purpose."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench import generator, packets
from bench.generator import Flood, Load, drive, flood, open_lanes, quantile, summarise

SECRET = b"a-secret-for-the-bench"
LANES = 2

Answer = Callable[[int, bytes], list[bytes]]
"""(number of the datagram, datagram) to the replies."""


def signed_reply(request: bytes, code: int, attributes: bytes = b"") -> bytes:
    head = bytes((code, request[1])) + (20 + len(attributes)).to_bytes(2, "big")
    return head + hashlib.md5(head + request[4:20] + attributes + SECRET).digest() + attributes


def framed_ip(number: int) -> bytes:
    return packets.attribute(8, bytes((10, 64, 0, number)))


@contextmanager
def server(answer: Answer) -> Iterator[int]:
    """A server on a loopback port that answers as told, until the block ends."""
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.bind(("127.0.0.1", 0))

    def serve() -> None:
        number = 0
        while True:
            datagram, source = endpoint.recvfrom(4096)
            if not datagram:
                return
            for reply in answer(number, datagram):
                endpoint.sendto(reply, source)
            number += 1

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield endpoint.getsockname()[1]
    finally:
        endpoint.sendto(b"", endpoint.getsockname())
        thread.join(5)
        endpoint.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retransmit and give up soon, so that a lost answer costs tenths of a second."""
    monkeypatch.setattr(generator, "RETRANSMIT_AFTER_S", 0.15)
    monkeypatch.setattr(generator, "DRAIN_S", 0.5)


def run(answer: Answer, count: int = 40, kind: str = "accounting") -> generator.RoundResult:
    people = packets.make_subscribers(20)
    if kind == "accounting":
        dealt = packets.accounting_requests(people, SECRET, [b""] * 20, count, LANES, "t", 1_700_000_000)
    else:
        dealt = packets.access_requests(people, SECRET, kind, count, LANES)
    with server(answer) as port:
        lanes, ran_s, in_time = drive(Load(port, 8, 1.0), open_lanes(Load(port, 8, 1.0), dealt))
    return summarise(lanes, ran_s, in_time, people, SECRET, 0.0)


def test_every_request_answered_once_is_counted_once() -> None:
    result = run(lambda _number, datagram: [signed_reply(datagram, 5)])
    assert (result.sent, result.answered, result.answered_in_time) == (40, 40, 40)
    assert (result.lost, result.retransmitted, result.strays, result.wrong) == (0, 0, 0, 0)
    assert result.sessions == 40  # the first block of a story is all Starts
    assert result.signed_replies is None  # an Accounting-Response needs no Message-Authenticator


def test_a_reply_lost_once_is_retransmitted_and_not_lost() -> None:
    result = run(lambda number, datagram: [] if number == 3 else [signed_reply(datagram, 5)])
    assert (result.answered, result.lost) == (40, 0)
    assert result.retransmitted >= 1
    assert result.p99_ms >= 150  # counted from the first sending


def test_a_request_never_answered_is_lost() -> None:
    people_silent = b"t00000007"

    def answer(_number: int, datagram: bytes) -> list[bytes]:
        return [] if people_silent in datagram else [signed_reply(datagram, 5)]

    dealt_all = run(answer)
    assert (dealt_all.sent, dealt_all.answered, dealt_all.lost) == (40, 39, 1)
    assert dealt_all.sessions == 39


def test_a_second_reply_is_a_stray_and_no_answer() -> None:
    result = run(lambda _number, datagram: [signed_reply(datagram, 5)] * 2)
    assert result.answered == 40
    assert 0 < result.strays <= 40


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda reply: bytes((3,)) + reply[1:], "code 3 where 5 was due"),
        (lambda reply: reply[:4] + bytes(16) + reply[20:], "the response authenticator is wrong"),
    ],
)
def test_a_wrong_reply_is_found(spoil: Callable[[bytes], bytes], fault: str) -> None:
    def answer(number: int, datagram: bytes) -> list[bytes]:
        reply = signed_reply(datagram, 5)
        return [spoil(reply) if number == 11 else reply]

    result = run(answer)
    assert (result.wrong, result.first_fault) == (1, fault)


def test_an_accept_with_another_subscribers_address_is_found() -> None:
    right = run(lambda number, datagram: [signed_reply(datagram, 2, framed_ip(number % 20))], 1, "pap")
    assert right.wrong == 0
    assert right.signed_replies is False
    wrong = run(lambda _number, datagram: [signed_reply(datagram, 2, framed_ip(19))], 1, "pap")
    assert wrong.first_fault == "Framed-IP-Address is not the one of subscriber00000"


def test_mschap_without_proof_of_the_password_is_found() -> None:
    result = run(lambda _number, datagram: [signed_reply(datagram, 2, framed_ip(0))], 1, "mschapv2")
    assert result.first_fault == "MS-CHAP2-Success does not prove the password"


def test_a_false_message_authenticator_is_found() -> None:
    false = packets.attribute(packets.MESSAGE_AUTHENTICATOR, bytes(16))
    result = run(lambda _number, datagram: [signed_reply(datagram, 2, false + framed_ip(0))], 1, "chap")
    assert result.first_fault == "the message authenticator is wrong"


def test_requests_come_round_again_under_their_own_identifier() -> None:
    people = packets.make_subscribers(20)
    dealt = packets.access_requests(people, SECRET, "pap", 256 * LANES, LANES)
    seen: dict[bytes, set[int]] = {}

    def answer(number: int, datagram: bytes) -> list[bytes]:
        seen.setdefault(datagram[4:20], set()).add(datagram[1])
        return [signed_reply(datagram, 2)]

    with server(answer) as port:
        load = Load(port, 32, 1.0, again=True)
        lanes, ran_s, in_time = drive(load, open_lanes(load, dealt))
    result = summarise(lanes, ran_s, in_time, people, SECRET, 0.0)
    assert result.answered > 256 * LANES
    assert len(seen) == 256 * LANES
    assert all(len(identifiers) == 1 for identifiers in seen.values())


def test_nobody_there_is_all_lost_and_no_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    people = packets.make_subscribers(4)
    dealt = packets.access_requests(people, SECRET, "pap", 8, LANES)
    lanes, ran_s, in_time = drive(Load(port, 4, 0.2), open_lanes(Load(port, 4, 0.2), dealt))
    result = summarise(lanes, ran_s, in_time, people, SECRET, 0.0)
    assert (result.sent, result.answered, result.lost, result.per_second) == (4, 0, 4, 0.0)


def test_quantiles() -> None:
    assert quantile([], 0.5) == 0.0
    ordered = [float(value) for value in range(100)]
    assert (quantile(ordered, 0.5), quantile(ordered, 0.99), quantile(ordered, 1.0)) == (50.0, 99.0, 99.0)


def test_a_flood_waits_for_nothing_and_counts_what_is_served() -> None:
    people = packets.make_subscribers(20)
    dealt = packets.access_requests(people, SECRET, "pap", 256 * LANES, LANES)

    def every_other(number: int, datagram: bytes) -> list[bytes]:
        return [signed_reply(datagram, 2)] if number % 2 else []

    with server(every_other) as port:
        result = flood(Flood(port, 2_000, 1.0), dealt)
    assert result.sent > 0
    assert 0 < result.answered <= result.sent * 0.6
