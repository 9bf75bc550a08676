"""A sign-in that went well before gets in one pass what it got in full, and nothing else gets that."""

from __future__ import annotations

import os
from typing import Any

import pytest
from radius_world import SECRET, Bench, World, bench_over, chap, mschapv2, octets, pap, reply_to

from aaa.domain.effect import Effect

MAKERS = {"pap": pap, "chap": chap, "mschapv2": mschapv2}


@pytest.fixture
async def bench(world: World) -> Bench:
    await world.nas()
    await world.nas("router", "127.0.0.3", admin_logins=True)
    world.ids["alice"] = await world.service("alice")
    return bench_over(await world.directory())


def at_once(bench: Bench, packet: Any) -> bool:
    """Whether it would be answered in one pass."""
    nas, pipeline = bench.nases.at("127.0.0.1"), bench.pipeline
    assert nas is not None
    watched = pipeline._lockout.watched
    return pipeline._quick.accept(nas, octets(packet), pipeline._logins, watched, False) is not None


def ask(bench: Bench, packet: Any, port: int = 40_000) -> Any:
    return reply_to(packet, bench.ask(octets(packet), source=("127.0.0.1", port)))


def without_what_differs(reply: Any) -> dict[Any, Any]:
    """Class, salted keys and proofs are new each time."""
    return {key: value for key, value in reply.items() if key not in (25, 26, 80)} | {
        "vendors": sorted(value[:5] for value in reply.get(26, []))
    }


@pytest.mark.parametrize("method", MAKERS)
async def test_the_second_time_is_like_the_first(bench: Bench, method: str) -> None:
    assert not at_once(bench, MAKERS[method]())
    first, second = (ask(bench, MAKERS[method](), port) for port in (40_001, 40_002))
    assert at_once(bench, MAKERS[method]())
    assert first.code == second.code == 2
    assert without_what_differs(first) == without_what_differs(second)
    assert first[25] != second[25], "each sign-in has a Class of its own"
    assert bench.counters.accepts == 3
    assert bench.nases.at("127.0.0.1").right == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("method", MAKERS)
async def test_a_wrong_password_is_never_accepted_because_of_the_right_one(bench: Bench, method: str) -> None:
    make = MAKERS[method]
    assert ask(bench, make()).code == 2
    assert ask(bench, make(password="another"), 40_003).code == 3
    assert ask(bench, make(), 40_004).code == 2
    assert [one.reject.rule for one in bench.rejections] == ["wrong_password"]


async def test_what_the_service_may_not_do_any_more_holds_at_once(world: World, bench: Bench) -> None:
    assert ask(bench, pap()).code == 2
    await world.hold(world.ids["alice"], Effect.BLOCK)
    bench.pipeline.use(await world.directory())
    assert ask(bench, pap(), 40_005).code == 3


async def test_guessing_at_one_login_keeps_no_other_one_waiting(world: World, bench: Bench) -> None:
    await world.service("bob", "another word")
    bench.pipeline.use(await world.directory())
    assert ask(bench, pap("bob", "another word")).code == ask(bench, pap(), 40_001).code == 2
    assert ask(bench, pap("bob", "a guess"), 40_002).code == 3
    assert at_once(bench, pap())
    assert not at_once(bench, pap("bob", "another word")), "its count has to begin anew"
    assert ask(bench, pap("bob", "another word"), 40_004).code == 2


async def test_what_is_unusual_is_looked_at_in_full(bench: Bench) -> None:
    assert ask(bench, pap()).code == 2
    proxied = pap()
    proxied[33] = [b"one", b"two"]
    assert ask(bench, proxied, 40_006)[33] == [b"one", b"two"]
    curious = pap()
    curious[89] = [b"\0"]
    assert len(ask(bench, curious, 40_007)[89][0]) == 32
    unsigned = pap(signed=False)
    assert bench.ask(octets(unsigned), source=("127.0.0.1", 40_008)) is None, "this NAS signs"
    forged = pap(secret=SECRET + "x")
    assert bench.ask(octets(forged), source=("127.0.0.1", 40_009)) is None
    for packet in (proxied, curious, unsigned, forged):
        assert not at_once(bench, packet)
    framed = pap()
    framed[6] = [(2).to_bytes(4, "big")]
    assert at_once(bench, framed)


async def test_a_subscriber_gets_no_prompt_however_often_he_signed_in(bench: Bench) -> None:
    router = ("127.0.0.3", 40_040)
    asked = pap()
    assert reply_to(asked, bench.ask(octets(asked), source=router)).code == 2
    for service_type in (6, 7):
        prompt = pap()
        prompt[6] = [service_type.to_bytes(4, "big")]
        reply = bench.ask(octets(prompt), source=(router[0], 40_041 + service_type))
        assert reply is None, "it is for the door of the operators, which is not here"


async def test_cut_and_garbled_requests_are_no_sign_ins(bench: Bench) -> None:
    good = octets(pap())
    assert ask(bench, pap()).code == 2
    for at in range(20, len(good)):
        for octet in (0, 1, 255, good[at] ^ 1):
            bad = good[:at] + bytes((octet,)) + good[at + 1 :]
            reply = bench.ask(bad, source=("127.0.0.1", 41_000))
            assert reply is None or bad == good, "a changed octet breaks the signature"
    for _ in range(200):
        assert bench.ask(good[:20] + os.urandom(60), source=("127.0.0.1", 41_001)) is None
