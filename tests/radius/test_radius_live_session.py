"""CoA and Disconnect against a NAS made of pyrad: it obeys, refuses, has lost the session, or is silent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from pyrad.packet import CoARequest, DisconnectRequest
from pyrad_nas import Answer, PyradNas
from radius_world import CLASS_KEY, SECRET, World
from sqlalchemy import delete, select, update

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.class_token import ClassToken, encode_class
from aaa.domain.effect import Effect
from aaa.entitlements import entitlement_of
from aaa.record_accounting import record_accounting
from aaa.sessions import SessionDetail, session_detail
from aaa.set_up import limit_devices, redefine_profile
from aaa.store.dynauth_rows import keep_exchange
from aaa.store.tables import nas as nas_table
from aaa.store.tables import session
from appliance.reactions import REACTIONS
from core.outbox import dispatch_due
from core.refusal import Refusal
from radius.config import RadiusSettings
from radius.dynauth.live_session import LiveSessions

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


@pytest.mark.parametrize(
    ("devices", "when_crowded", "ended"),
    [(None, None, [b"00000001"]), (None, "oldest", [b"00000002"]), (2, None, []), (None, "unlimited", [])],
)
async def test_who_stays_is_the_services_choice(
    world: World, tower: Tower, devices: int | None, when_crowded: str | None, ended: list[bytes]
) -> None:
    nas = await tower(lambda request: None)
    service_id = await world.service("alice")
    async with world.workplace.work("test") as work:
        assert await limit_devices(work, service_id, devices=devices, when_crowded=when_crowded) is None
    await _dials(world, service_id, "00000001", calling_station="AA:BB:CC:00:11:01")
    world.workplace.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]
    await _dials(world, service_id, "00000002", calling_station="AA:BB:CC:00:11:02", framed_ip="100.64.0.10")
    await _movers(world).end_surplus()
    assert [heard[44][0] for heard in nas.heard] == ended


async def test_a_stale_row_costs_nobody_his_line(world: World, tower: Tower) -> None:
    nas = await tower(lambda request: None)
    service_id = await world.service("alice")
    await _dials(world, service_id, "00000001", calling_station="AA:BB:CC:00:11:01")
    world.workplace.clock.advance(timedelta(hours=2))  # type: ignore[attr-defined]
    await _dials(world, service_id, "00000002", calling_station="AA:BB:CC:00:11:02", framed_ip="100.64.0.10")
    await _movers(world).end_surplus()
    assert nas.heard == []


# Orders by hand: one session, what was sent and answered on record, and what follows from it.


async def _session_id(world: World) -> str:
    async with world.workplace.reading() as connection:
        return str((await connection.execute(select(session.c.id))).scalar_one())


async def _detail(world: World) -> SessionDetail:
    async with world.workplace.reading() as connection:
        found = await session_detail(connection, await _session_id(world))
    assert found is not None
    return found


async def test_an_order_and_its_answer_are_on_record_with_retries(world: World, tower: Tower) -> None:
    tries: list[int] = []
    await tower(lambda request: tries.append(1) or (None if len(tries) > 1 else "silent"))  # type: ignore[func-returns-value]
    await _dials(world, await world.service("alice"))
    outcome = await _movers(world).disconnect(await _session_id(world), "operator:ann")
    assert not isinstance(outcome, Refusal)
    assert outcome.outcome == "disconnected"
    (kept,) = (await _detail(world)).exchanges
    assert (kept.request, kept.answer, kept.tries, kept.actor) == ("disconnect", "ack", 2, "operator:ann")
    assert "Acct-Session-Id = 81e00001" in kept.sent
    assert SECRET not in str(kept)


async def test_a_session_that_the_nas_does_not_have_is_closed_by_inference(
    world: World, tower: Tower
) -> None:
    await tower(lambda request: 503)
    await _dials(world, await world.service("alice"))
    outcome = await _movers(world).disconnect(await _session_id(world), "operator:ann")
    assert not isinstance(outcome, Refusal)
    assert outcome.outcome == "nothing_live"
    detail = await _detail(world)
    assert (detail.session.close_cause, detail.session.close_inferred) == ("nas_lost_it", True)
    assert detail.session.stopped_at == detail.session.last_event_at
    assert detail.exchanges[0].error_cause == 503
    again = await _movers(world).disconnect(detail.session.id, "operator:ann")
    assert isinstance(again, Refusal)
    world.workplace.clock.advance(timedelta(minutes=5))  # type: ignore[attr-defined]
    now = world.workplace.clock.now()
    proof = AccountingEvent(
        nas_id=world.ids["nas"], kind=AccountingKind.INTERIM, acct_session_id="81e00001", username="alice",
        class_token=encode_class(ClassToken(detail.session.service_id or "", 1, "81e00001"), CLASS_KEY),
        occurred_at=now, received_at=now,
    )  # fmt: skip
    async with world.workplace.work("test") as work:
        await record_accounting(work, [proof], CLASS_KEY)
    assert (await _detail(world)).session.is_open, "a report proves that it was alive after all"


async def test_a_redefined_profile_reaches_a_live_session_without_ending_it(
    world: World, tower: Tower
) -> None:
    nas = await tower(lambda request: None)
    service_id = await world.service("alice")
    await _dials(world, service_id)
    async with world.workplace.work("test") as work:
        changed = await redefine_profile(
            work, world.ids["Home 25"], rate_down_bps=80_000_000, rate_up_bps=9_000_000
        )
        assert changed == ["rate_down_bps", "rate_up_bps"]
    while await dispatch_due(world.workplace, REACTIONS):
        pass
    async with world.workplace.reading() as connection:
        stands = await entitlement_of(connection, service_id)
    assert stands is not None
    assert stands.generation == 2, "what enforcement moves sessions to"
    assert (await _movers(world).move(service_id, stands.generation, stands.effect)).outcome == "moved"
    by_hand = await _movers(world).reapply(await _session_id(world), "operator:ann")
    assert not isinstance(by_hand, Refusal)
    assert by_hand.outcome == "moved"
    assert [heard.code for heard in nas.heard] == [CoARequest, CoARequest], "nobody was dropped"
    assert {bytes(heard[26][0][6:]) for heard in nas.heard} == {b"9M/80M"}
    assert await _generations(world) == [2]


async def test_terms_cannot_be_applied_where_there_are_none(world: World, tower: Tower) -> None:
    nas = await tower(lambda request: None)
    service_id = await world.service("alice")
    await _dials(world, service_id)
    await world.hold(service_id, Effect.BLOCK)
    refused = await _movers(world).reapply(await _session_id(world), "operator:ann")
    assert isinstance(refused, Refusal)
    assert "disconnect it" in refused.message
    assert nas.heard == []


async def test_each_kind_of_nas_is_told_what_it_looks_sessions_up_by(world: World, tower: Tower) -> None:
    for dialect, named in (
        ("mikrotik", {1, 44, 8}), ("ubiquiti", {1, 44, 31}), ("cambium_pmp450", {1, 44, 31}),
        ("accel_ppp", {1, 44, 8, 87}), ("generic", {1, 44, 8, 31}),
    ):  # fmt: skip
        async with world.workplace.work("test") as work:
            await work.connection.execute(delete(nas_table))
        nas = await tower(lambda request: None, dialect=dialect)
        username = f"user-{dialect}"
        service_id = await world.service(username)
        await _dials(
            world,
            service_id,
            dialect,
            nas_port_id="ether2",
            calling_station=f"02:00:00:00:00:{len(dialect):02}",
        )
        assert (await _movers(world).move(service_id, 2, Effect.BLOCK)).outcome == "disconnected"
        (heard,) = nas.heard
        assert {kind for kind in range(1, 200) if kind in heard} - {4, 32, 55, 80} == named, dialect


async def test_a_nas_that_refuses_an_attribute_is_asked_with_the_least(world: World, tower: Tower) -> None:
    nas = await tower(lambda request: 401 if 8 in request else None, dialect="generic")
    service_id = await world.service("alice")
    await _dials(world, service_id)
    assert (await _movers(world).move(service_id, 2, Effect.BLOCK)).outcome == "disconnected"
    assert [8 in heard for heard in nas.heard] == [True, False]
    assert [one.answer for one in (await _detail(world)).exchanges] == ["ack", "nak"], "newest first"


async def test_a_nas_that_refuses_for_ever_leaves_a_bounded_record(world: World) -> None:
    await world.nas()
    world.ids["nas"] = "nas_1"
    await _dials(world, await world.service("alice"))
    session_id = await _session_id(world)
    for number in range(30):
        world.workplace.clock.advance(timedelta(seconds=1))  # type: ignore[attr-defined]
        async with world.workplace.work("test") as work:
            await keep_exchange(
                work.connection,
                {
                    "id": f"dyn_{number:02}", "session_id": session_id, "at": work.now, "actor": "system:radius",
                    "request": "coa", "sent": "", "answer": "nak", "error_cause": 501, "detail": "", "tries": 1, "ms": 1,
                },
            )  # fmt: skip
    kept = [one.id for one in (await _detail(world)).exchanges]
    assert kept == [f"dyn_{number:02}" for number in range(29, 9, -1)]
