"""Guessing is slowed down, and nobody can use that against a subscriber on his own line."""
# ruff: noqa: F811 - the fixture is imported

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radius_world import Bench, World, bench_over, chap, mschapv2, octets, pap, reply_to
from sqlalchemy import insert, select
from test_radius_role import Serving, needs_radclient, serving  # noqa: F401 - a fixture

from aaa.directory import Directory
from aaa.lockouts import held_back, let_go
from aaa.set_up import set_password
from aaa.store.tables import nas, session
from core.health import HealthIssue
from core.refusal import Refusal
from core.secrets import Secret
from radius.guard.lockout import Lockout, LockoutLimits
from radius.guard.lockout_watch import LockoutWatch
from radius.guard.overload import GiveWay
from radius.guard.rate_limits import Bucket, RateLimits
from radius.serving.counters import Counters
from radius.serving.findings import NasWatch

OWN, OTHER = "AA:BB:CC:00:11:22", "02:00:5E:00:00:01"


@dataclass
class Guesser:
    """Asks one bench again and again, each time from another port."""

    bench: Bench
    asked: int = 0

    def code(
        self, password: str = "guess", now_s: float = 0.0, *, mac: str | None = OTHER, source: str = "127.0.0.1",
        username: str = "alice", method: Any = pap,
    ) -> int | None:  # fmt: skip
        self.asked += 1
        packet = method(username, password)
        if mac is None:
            del packet[31]
        else:
            packet[31] = [mac.encode()]
        answer = self.bench.ask(octets(packet), (source, self.asked), now_s)
        return None if answer is None else int(reply_to(packet, answer).code)

    @property
    def rule(self) -> str:
        return self.bench.rejections[-1].reject.rule


async def _guesser(world: World) -> Guesser:
    await world.nas()
    await world.nas("other tower", "127.0.0.2")
    await world.service("alice")
    await world.service("bob", "another word")
    return Guesser(bench_over(await world.directory()))


def _lockout(guesser: Guesser) -> Lockout:
    return guesser.bench.pipeline._lockout


async def test_waiting_doubles_for_that_device_and_ends(world: World) -> None:
    guesser = await _guesser(world)
    now_s, looked_at = 0.0, []
    for _ in range(2_000):
        assert guesser.code(now_s=now_s) == 3
        if guesser.rule == "wrong_password":
            looked_at.append(now_s)
        now_s += 1
    assert looked_at[:5] == [0, 1, 2, 3, 4]
    assert looked_at[5:12] == [6, 10, 18, 34, 66, 130, 258]
    gaps = {later - earlier for earlier, later in pairwise(looked_at[13:])}
    assert gaps == {300}, "never for good"
    assert guesser.code("open sesame", now_s) == 3, "the right password is not told either while waiting"
    assert guesser.rule == "held_back"
    assert guesser.code("open sesame", now_s + 300) == 2
    assert guesser.code(now_s=now_s + 301) == 3
    assert guesser.rule == "wrong_password", "the count began anew"


async def test_every_method_counts_and_is_held_back(world: World) -> None:
    guesser = await _guesser(world)
    for method in (pap, chap, mschapv2, chap, mschapv2):
        guesser.code(method=method)
    for method in (pap, chap, mschapv2):
        assert guesser.code("open sesame", 1.0, method=method) == 3
        assert guesser.rule == "held_back"
    assert guesser.bench.counters.held_back == 3


async def test_the_subscriber_on_his_own_line_never_waits_for_a_guesser(world: World) -> None:
    guesser = await _guesser(world)
    for number in range(200):
        guesser.code(mac=f"02:00:5E:00:00:{number % 50:02X}", now_s=number)
    assert guesser.code("open sesame", 200, mac=OWN) == 2, "another MAC, and nothing is known of it yet"
    assert guesser.code("open sesame", 200, mac=OWN, source="127.0.0.2") == 2, "another NAS"
    assert guesser.code("another word", 200, mac=OWN, username="bob") == 2, "another login"


async def test_made_up_devices_wait_and_known_ones_do_not(world: World) -> None:
    guesser = await _guesser(world)
    lockout = _lockout(guesser)
    nas_id = guesser.bench.nases.at("127.0.0.1").nas.id  # type: ignore[union-attr]
    for number in range(20):
        guesser.code(mac=f"02:00:5E:00:01:{number:02X}")
    assert list(lockout.unasked()) == [(nas_id, "alice")]
    guesser.code(mac="02:00:5E:00:02:01", now_s=1)
    assert guesser.rule == "wrong_password", "until it is known who signed in before, no stranger waits"
    lockout.learn_known(nas_id, "alice", ["aa-bb-cc-00-11-22"])
    guesser.code("open sesame", mac="02:00:5E:00:02:02", now_s=2)
    assert guesser.rule == "held_back"
    assert guesser.code("open sesame", 2, mac=OWN) == 2
    for _ in range(30):
        guesser.code(mac=OWN, now_s=3)
        assert guesser.code("open sesame", 14, mac=OWN) == 2, (
            "an imitated MAC holds its owner back ten seconds"
        )


@pytest.mark.parametrize("is_signed", [True, False])
async def test_what_anybody_can_forge_holds_no_known_device_back(world: World, is_signed: bool) -> None:
    """A datagram with a NAS's address as its source and a subscriber's name and MAC in it, once a second."""
    guesser = await _guesser(world)
    method = partial(chap, signed=is_signed)
    guesser.code(mac=OWN, method=method)
    nas_id = guesser.bench.nases.at("127.0.0.1").nas.id  # type: ignore[union-attr]
    if not is_signed:
        assert list(_lockout(guesser).unasked()) == [(nas_id, "alice")]
    _lockout(guesser).learn_known(nas_id, "alice", [OWN])
    for _ in range(5):
        guesser.code(mac=OWN, method=method)
    refused = 0
    for now_s in range(1, 60):
        guesser.code(now_s=now_s, mac=OWN, method=method)
        refused += guesser.code("open sesame", now_s, mac=OWN, method=method) != 2
    assert (refused > 0) is is_signed
    for now_s in range(60, 80):
        guesser.code(now_s=now_s, method=method)
    assert guesser.rule == "held_back", "another device is, also without a signature"


async def test_a_nas_that_names_no_device(world: World) -> None:
    guesser = await _guesser(world)
    for _ in range(5):
        guesser.code(mac=None)
    nas_id = guesser.bench.nases.at("127.0.0.1").nas.id  # type: ignore[union-attr]
    _lockout(guesser).learn_known(nas_id, "alice", [])
    guesser.code("open sesame", 1, mac=None)
    assert guesser.rule == "held_back"
    assert guesser.code("open sesame", 1, mac=None, source="127.0.0.2") == 2


async def test_another_password_set_here_lets_go_at_once(world: World) -> None:
    guesser = await _guesser(world)
    for _ in range(6):
        guesser.code()
    assert guesser.rule == "held_back"
    async with world.workplace.work("test") as work:
        await set_password(work, world.sealer, username="alice", password=Secret("guess"))
    guesser.bench.pipeline.use(await world.directory())
    assert guesser.code("guess") == 2
    assert not _lockout(guesser).watched


async def test_names_nobody_has_are_answered_only_so_often(world: World) -> None:
    await world.nas()
    await world.service("alice")
    directory = await world.directory()
    bench = bench_over(directory)
    bench.nases._rates = RateLimits(unknown_names=2)
    bench.nases._limits = {}
    bench.nases.learn(directory.nases)
    guesser = Guesser(bench)
    codes = [guesser.code(username=f"user{number}") for number in range(30)]
    assert codes == [3] * 20 + [None] * 10
    assert guesser.code("open sesame") == 2
    assert bench.counters.unknown_not_answered == 10
    assert guesser.code(username="user31", now_s=1.0) == 3


async def test_memory_is_bounded_whatever_is_guessed(world: World) -> None:
    guesser = await _guesser(world)
    lockout = Lockout(LockoutLimits(identities=1), Counters())
    directory = await world.directory()
    for number in range(500):
        for name, device in (
            (b"alice", f"device {number}"),
            (b"bob", ""),
            (f"made up {number}".encode(), ""),
        ):
            lockout.wrong_password(
                directory.logins, "nas", name, device.encode(), float(number), signed=number % 2 > 0
            )
    assert list(lockout.watched) == [b"alice"]
    assert len(lockout.watched[b"alice"].places) <= 64
    assert guesser.bench is not None
    lockout.forget(10_000.0)
    assert not lockout.watched


async def test_the_watch_learns_from_sessions_and_tells_the_operator(any_world: World) -> None:
    world = any_world
    guesser = await _guesser(world)
    lockout, clock = _lockout(guesser), world.workplace.clock
    nas_id = guesser.bench.nases.at("127.0.0.1").nas.id  # type: ignore[union-attr]
    now = clock.now()
    async with world.workplace.work("test") as work:
        for number, (mac, minutes) in enumerate(((OWN, 60), (OTHER, 5))):
            at = now - timedelta(minutes=minutes)
            await work.connection.execute(
                insert(session).values(
                    id=f"ses_{number}", key=f"k{number}", nas_id=nas_id, acct_session_id=str(number), username="alice",
                    calling_station=mac, started_at=at, last_event_at=at, last_received_at=at,
                )
            )  # fmt: skip
    directory = await world.directory()
    watch = LockoutWatch(lockout, lambda: directory.logins)
    other = Lockout(LockoutLimits(), Counters())
    others_watch = LockoutWatch(other, lambda: directory.logins)
    await watch.turn(world.workplace)
    now_s = clock.monotonic_s()
    for number in range(20):
        guesser.code(mac=f"02:00:5E:00:01:{number % 4:02X}", now_s=now_s)
    for number in range(20):
        guesser.code(mac=f"02:00:5E:00:03:{number:02X}", now_s=now_s)
    await watch.turn(world.workplace)
    async with world.workplace.reading() as connection:
        shown = await held_back(connection, now)
    assert {one.calling_station for one in shown} == {
        "", *(f"02005e0001{number:02x}" for number in range(4)),
    }  # fmt: skip
    assert {(one.nas, one.identity, one.since) for one in shown} == {("tower", "alice", now)}
    assert guesser.code("open sesame", now_s + 1, mac=OWN) == 2
    assert guesser.code("open sesame", now_s + 1, mac=OTHER) == 3, "its session is younger than the guessing"
    await others_watch.turn(world.workplace)
    await others_watch.turn(world.workplace)
    for mac, held in ((OWN, False), (OTHER, True), ("02:00:5E:00:01:00", True)):
        refused = other.refusal(directory.logins, nas_id, b"alice", mac.encode(), now_s + 1)
        assert (refused is not None) is held, f"another process holds back the same: {mac}"
    async with world.workplace.work("operator:test") as work:
        assert await let_go(work, "alice", nas_id) is None
        assert isinstance(await let_go(work, "alice", nas_id), Refusal)
    await watch.turn(world.workplace)
    assert guesser.code("open sesame", now_s + 1, mac=OTHER) == 2
    await others_watch.turn(world.workplace)
    assert other.refusal(directory.logins, nas_id, b"alice", OTHER.encode(), now_s + 1) is None
    async with world.workplace.reading() as connection:
        assert await held_back(connection, now) == []


async def test_another_password_lets_go_in_every_process(world: World) -> None:
    guesser = await _guesser(world)
    clock = world.workplace.clock
    now_s = clock.monotonic_s()
    before = (await world.directory()).logins
    watch = LockoutWatch(_lockout(guesser), lambda: now_known)
    late = Lockout(LockoutLimits(), Counters())
    late_watch = LockoutWatch(late, lambda: now_known)
    now_known = before
    for _ in range(6):
        guesser.code(now_s=now_s)
    await watch.turn(world.workplace)
    async with world.workplace.work("test") as work:
        await set_password(work, world.sealer, username="alice", password=Secret("guess"))
    now_known = (await world.directory()).logins
    await watch.turn(world.workplace)
    await late_watch.turn(world.workplace)
    assert not _lockout(guesser).watched
    assert not late.watched, "a process that learns of it now does not hold back the new password"


@needs_radclient
async def test_the_running_server_holds_back_and_lets_go_seen_by_radclient(serving: Serving) -> None:
    world = serving.world
    line = ("User-Name = alice", "Message-Authenticator = 0x00", f'Calling-Station-Id = "{OTHER}"')
    wrong, right = 'User-Password = "guess"', 'User-Password = "open sesame"'
    for _ in range(6):
        assert "Received Access-Reject" in await serving.radclient("auth", *line, wrong)
    assert "Received Access-Reject" in await serving.radclient("auth", *line, right)
    own = ("User-Name = alice", "Message-Authenticator = 0x00", f'Calling-Station-Id = "{OWN}"')
    assert "Received Access-Accept" in await serving.radclient("auth", *own, right)
    async with asyncio.timeout(10):
        while True:
            async with world.workplace.reading() as connection:
                shown = await held_back(connection, world.workplace.clock.now())
                nas_id = (await connection.execute(select(nas.c.id))).scalar_one()
            if shown:
                break
            await asyncio.sleep(0.02)
    assert [one.calling_station for one in shown] == ["02005e000001"]
    async with world.workplace.work("operator:test") as work:
        assert await let_go(work, "alice", nas_id) is None
    async with asyncio.timeout(10):
        while "Received Access-Accept" not in await serving.radclient("auth", *line, right):
            await asyncio.sleep(0.02)


async def test_a_source_beyond_its_rate_gets_silence_and_others_their_answers(world: World) -> None:
    await world.nas(network="127.0.0.0/29")
    await world.nas("other tower", "127.0.0.9")
    await world.service("alice")
    directory: Directory = await world.directory()
    bench = bench_over(directory)
    bench.nases._rates, bench.nases._limits = RateLimits(source=40, nas=60), {}
    bench.nases.learn(directory.nases)
    guesser = Guesser(bench)
    first = [guesser.code("open sesame", 0.0) for _ in range(200)]
    assert first == [2] * 80 + [None] * 120, "two seconds' worth at once"
    second = [guesser.code("open sesame", 0.0, source="127.0.0.2") for _ in range(200)]
    assert second == [2] * 40 + [None] * 160, "they share what their NAS may send"
    assert guesser.code("open sesame", 0.0, source="127.0.0.9") == 2
    assert bench.counters.over_limit == 280
    later = [guesser.code("open sesame", 1.0) for _ in range(200)]
    assert later == [2] * 40 + [None] * 160


async def test_floods_are_findings_that_name_the_nas_and_end(world: World) -> None:
    await world.nas()
    nases = bench_over(await world.directory()).nases
    state = nases.at("127.0.0.1")
    assert state is not None
    watch, names = NasWatch(), nases.names
    state.over, state.unknown, state.right = 3, 4, 1

    def look() -> list[HealthIssue]:
        seen = nases.take_seen()
        watch.count(seen, names)
        return watch.issues(seen, names)

    found = look()
    assert {one.key.partition(":")[0] for one in found} == {"radius.flood", "radius.unknown_names"}
    assert all("tower" in one.title and "radius." in one.remedy for one in found)
    for _ in range(60):
        state.right = 1
        assert len(look()) == 2
    assert look() == []
    total = watch.totals[state.nas.id]
    assert (total.right, total.over_limit, total.unknown_not_answered) == (61, 3, 4)


def test_reports_give_way_while_sign_ins_fill_their_socket() -> None:
    order = GiveWay(32)
    order.took_sign_ins(31)
    assert order.reports_to_take() == 32
    order.took_sign_ins(32)
    assert [order.reports_to_take() for _ in range(2)] == [4, 32]


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 40)), max_size=60),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_a_bucket_never_gives_more_than_its_burst_and_rate(
    asked: list[tuple[float, int]], rate: int, burst: int
) -> None:
    bucket, now_s, given_out = Bucket(rate, burst), 0.0, 0.0
    for pause_s, wanted in asked:
        now_s += pause_s
        taken = bucket.take(wanted, now_s)
        assert 0 <= taken <= wanted
        given_out += taken
        assert given_out <= burst + rate * now_s + 1e-6
