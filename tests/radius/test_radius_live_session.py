"""CoA and Disconnect against a NAS made of pyrad: it obeys, refuses, has lost the session, or is silent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from pyrad.packet import CoARequest, DisconnectRequest
from pyrad_nas import Answer, PyradNas
from radius_world import CLASS_KEY, SECRET, World
from sqlalchemy import select, update

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.class_token import ClassToken, encode_class
from aaa.domain.effect import Effect
from aaa.record_accounting import record_accounting
from aaa.store.tables import session
from radius.config import RadiusSettings
from radius.live_session import LiveSessions

SETTINGS = RadiusSettings(dynauth_timeout_s=0.1, dynauth_tries=3)
Tower = Callable[..., Awaitable[PyradNas]]


@pytest.fixture
async def tower(world: World) -> AsyncIterator[Tower]:
    """Starts a NAS that answers as it is told and registers it."""
    started: list[PyradNas] = []

    async def start(answer: Answer, *, network: str = "127.0.0.1", dialect: str = "mikrotik") -> PyradNas:
        nas = PyradNas(SECRET.encode(), answer)
        started.append(nas)
        port = await nas.start()
        world.ids["nas"] = await world.nas(
            f"tower-{len(started)}", network, dialect=dialect, dynauth_port=port, identifier="T1"
        )
        return nas

    yield start
    for nas in started:
        nas.close()


async def _dials(world: World, service_id: str, number: str = "81e00001", **fields: object) -> None:
    now = world.workplace.clock.now()
    event = AccountingEvent(
        nas_id=world.ids["nas"], kind=AccountingKind.START, acct_session_id=number, username="alice",
        class_token=encode_class(ClassToken(service_id, 1, number), CLASS_KEY), occurred_at=now, received_at=now,
        **({"framed_ip": "100.64.0.9", "calling_station": "AA:BB:CC:00:11:22"} | fields),  # type: ignore[arg-type]
    )  # fmt: skip
    async with world.workplace.work("test") as work:
        await record_accounting(work, [event], CLASS_KEY)


def _movers(world: World) -> LiveSessions:
    return LiveSessions(world.workplace, world.sealer, SETTINGS)


async def _generations(world: World) -> list[int | None]:
    async with world.workplace.reading() as connection:
        return list((await connection.execute(select(session.c.generation))).scalars())


async def test_nothing_live(world: World) -> None:
    await world.nas()
    outcome = await _movers(world).move(await world.service("alice"), 2, "walled_garden")
    assert (outcome.outcome, outcome.exchanges) == ("nothing_live", [])


async def test_a_session_is_moved_into_the_walled_garden_and_back(world: World, tower: Tower) -> None:
    nas = await tower(lambda request: None)
    service_id = await world.service("alice")
    await _dials(world, service_id)
    outcome = await _movers(world).move(service_id, 2, Effect.WALLED_GARDEN)
    assert outcome.outcome == "moved"
    assert await _generations(world) == [2]
    (heard,) = nas.heard
    assert heard.code == CoARequest
    assert heard[1] == [b"alice"]
    assert heard[44] == [b"81e00001"]
    assert heard[8] == [bytes((100, 64, 0, 9))]
    assert (heard[4], heard[32]) == ([bytes((127, 0, 0, 1))], [b"T1"])
    assert int.from_bytes(heard[55][0], "big") == int(world.workplace.clock.now().timestamp())
    assert [(value[4], value[6:]) for value in heard[26]] == [(8, b"5M/25M"), (19, b"hilltop-walled")]
    (exchange,) = outcome.exchanges
    assert "Mikrotik-Address-List" in exchange["sent"]
    assert exchange["received"] == "ACK"
    assert SECRET not in str(outcome)
    assert (await _movers(world).move(service_id, 3, Effect.NONE)).outcome == "moved"
    assert nas.heard[1][26][1][6:] == b"hilltop-open", "a CoA can replace a list, not take it away"
    assert (await _movers(world).move(service_id, 4, Effect.THROTTLE)).outcome == "moved"
    assert nas.heard[2][26][0][6:] == b"512k/1M"


async def test_a_nas_behind_a_translator_is_called_what_it_called_itself(world: World, tower: Tower) -> None:
    own = bytes((192, 168, 88, 1))
    nas = await tower(lambda request: None if request[4] == [own] else 403)
    service_id = await world.service("alice")
    await _dials(world, service_id, evidence={"source": "127.0.0.1", "nas_ip_address": "192.168.88.1"})
    assert (await _movers(world).move(service_id, 2, Effect.WALLED_GARDEN)).outcome == "moved"
    assert (await _movers(world).move(service_id, 3, Effect.BLOCK)).outcome == "disconnected"
    assert [heard[4] for heard in nas.heard] == [[own], [own]]


async def test_other_dialects_speak_their_own_words(world: World, tower: Tower) -> None:
    nas = await tower(lambda request: None, dialect="wispr")
    service_id = await world.service("alice")
    await _dials(world, service_id)
    await _movers(world).move(service_id, 2, Effect.WALLED_GARDEN)
    (heard,) = nas.heard
    assert heard[11] == [b"hilltop-walled"]
    assert [value[4] for value in heard[26]] == [7, 8]


async def test_a_block_disconnects_at_once(world: World, tower: Tower) -> None:
    nas = await tower(lambda request: None)
    service_id = await world.service("alice")
    await _dials(world, service_id)
    assert (await _movers(world).move(service_id, 2, Effect.BLOCK)).outcome == "disconnected"
    assert [heard.code for heard in nas.heard] == [DisconnectRequest]
    assert 26 not in nas.heard[0]


@pytest.mark.parametrize("cause", [401, 405, 0])
async def test_a_nas_that_cannot_change_sessions_disconnects_them(
    world: World, tower: Tower, cause: int
) -> None:
    nas = await tower(lambda request: cause if request.code == CoARequest else None)
    service_id = await world.service("alice")
    await _dials(world, service_id)
    outcome = await _movers(world).move(service_id, 2, Effect.WALLED_GARDEN)
    assert outcome.outcome == "disconnected"
    assert [heard.code for heard in nas.heard] == [CoARequest, DisconnectRequest]
    assert outcome.exchanges[0]["received"].startswith("NAK")


async def test_a_nas_that_refuses_both_is_reported(world: World, tower: Tower) -> None:
    await tower(lambda request: 501)
    service_id = await world.service("alice")
    await _dials(world, service_id)
    outcome = await _movers(world).move(service_id, 2, Effect.WALLED_GARDEN)
    assert outcome.outcome == "refused"
    assert "administratively prohibited" in outcome.detail
    assert await _generations(world) == [1], "a session that did not follow keeps its generation"


async def test_a_session_the_nas_has_lost_is_gone(world: World, tower: Tower) -> None:
    nas = await tower(lambda request: 503)
    service_id = await world.service("alice")
    await _dials(world, service_id)
    outcome = await _movers(world).move(service_id, 2, Effect.WALLED_GARDEN)
    assert outcome.outcome == "nothing_live"
    assert "gone" in outcome.detail
    assert len(nas.heard) == 1, "no Disconnect after session-context-not-found"


async def test_silence_is_reported_after_identical_retransmits(world: World, tower: Tower) -> None:
    nas = await tower(lambda request: "silent")
    service_id = await world.service("alice")
    await _dials(world, service_id)
    outcome = await _movers(world).move(service_id, 2, Effect.WALLED_GARDEN)
    assert outcome.outcome == "silent"
    assert "/radius incoming" in outcome.detail, "the remedy is named"
    assert len(nas.datagrams) == 3
    assert len(set(nas.datagrams)) == 1, "a retransmit is the same octets"
    assert await _generations(world) == [1]


async def test_a_late_answer_after_a_lost_one_counts(world: World, tower: Tower) -> None:
    tries: list[int] = []

    def second_time(_: object) -> str | None:
        tries.append(1)
        return None if len(tries) > 1 else "silent"

    await tower(second_time)
    service_id = await world.service("alice")
    await _dials(world, service_id)
    assert (await _movers(world).move(service_id, 2, Effect.WALLED_GARDEN)).outcome == "moved"


async def test_the_worst_of_several_sessions_counts(world: World, tower: Tower) -> None:
    await tower(lambda request: 501 if request[44] == [b"00000002"] else None)
    service_id = await world.service("alice")
    await _dials(world, service_id, "00000001", calling_station="AA:BB:CC:00:11:01")
    await _dials(world, service_id, "00000002", calling_station="AA:BB:CC:00:11:02", framed_ip="100.64.0.10")
    outcome = await _movers(world).move(service_id, 2, Effect.WALLED_GARDEN)
    assert outcome.outcome == "refused"
    assert len(outcome.exchanges) == 3
    assert sorted(await _generations(world), key=str) == [1, 2]


async def test_a_prefix_is_reached_where_its_session_came_from(world: World, tower: Tower) -> None:
    nas = await tower(lambda request: None, network="127.0.0.0/8")
    service_id = await world.service("alice")
    await _dials(world, service_id)
    outcome = await _movers(world).move(service_id, 2, Effect.WALLED_GARDEN)
    assert outcome.outcome == "silent"
    assert "not known" in outcome.detail
    async with world.workplace.work("test") as work:
        await work.connection.execute(update(session).values(nas_address="127.0.0.1"))
    assert (await _movers(world).move(service_id, 2, Effect.WALLED_GARDEN)).outcome == "moved"
    assert len(nas.heard) == 1


async def test_the_newest_sign_in_wins_and_one_device_is_one_session(world: World, tower: Tower) -> None:
    nas = await tower(lambda request: None)
    service_id = await world.service("alice")
    await _dials(world, service_id, "00000001", calling_station="AA:BB:CC:00:11:01")
    await _movers(world).end_surplus()
    assert nas.heard == []
    world.workplace.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    await _dials(world, service_id, "00000002", calling_station="AA:BB:CC:00:11:02", framed_ip="100.64.0.10")
    await _movers(world).end_surplus()
    assert [(heard.code, heard[44]) for heard in nas.heard] == [(DisconnectRequest, [b"00000001"])]


async def test_a_stale_row_costs_nobody_his_line(world: World, tower: Tower) -> None:
    nas = await tower(lambda request: None)
    service_id = await world.service("alice")
    await _dials(world, service_id, "00000001", calling_station="AA:BB:CC:00:11:01")
    world.workplace.clock.advance(timedelta(hours=2))  # type: ignore[attr-defined]
    await _dials(world, service_id, "00000002", calling_station="AA:BB:CC:00:11:02", framed_ip="100.64.0.10")
    await _movers(world).end_surplus()
    assert nas.heard == []
