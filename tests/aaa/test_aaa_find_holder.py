"""Who had an address at a time: what is proven, what is likely, what is open, and that it was asked."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from aaa_world import NOON, Dialled, minute, report, subscribe
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.address_claim import Certainty, HolderVerdict, Tenure, judge, weigh
from aaa.domain.session_filter import SessionFilter
from aaa.find_holder import HolderAnswer, HolderQuestion, find_holder
from aaa.reap_sessions import reap_sessions
from aaa.sessions import SessionView, list_sessions
from aaa.set_addressing import set_addressing
from core.clock import FakeClock
from core.instants import read_instant
from core.refusal import Refusal
from core.secrets import Sealer
from core.store.tables import audit
from core.work import Workplace

ANN = Dialled()
BEN = Dialled(acct_session_id="80000002", username="ben", mac="AA:BB:CC:00:00:02", began=60)


@pytest.fixture
async def told(workplace: Workplace, clock: FakeClock, sealer: Sealer) -> Workplace:
    """Ann had the address from noon to 12:30, Ben from 13:00; his session is still open at 13:20."""
    await subscribe(workplace, sealer)
    await subscribe(workplace, sealer, "ben")
    await report(
        workplace, ANN.start(), *(ANN.interim(at, (at, at)) for at in range(5, 30, 5)), ANN.stop(30, (9, 9))
    )
    await report(workplace, BEN.start(), *(BEN.interim(at, (at, at)) for at in range(65, 85, 5)))
    clock.step_to(minute(82))
    return workplace


async def ask(workplace: Workplace, at: float, address: str = "10.0.0.7", **fields: object) -> HolderAnswer:
    async with workplace.work("operator:ann") as work:
        answer = await find_holder(work, HolderQuestion(address, minute(at), "case 12", **fields))  # type: ignore[arg-type]
    assert not isinstance(answer, Refusal), answer
    return answer


def names(answer: HolderAnswer) -> list[tuple[str, Certainty]]:
    return [(one.session.username, one.certainty) for one in answer.holders]


async def test_well_inside_a_session_its_subscriber_held_it(told: Workplace) -> None:
    answer = await ask(told, 12)
    assert answer.verdict is HolderVerdict.HELD
    assert names(answer) == [("ann", Certainty.CERTAIN)]
    (holder,) = answer.holders
    assert holder.reasons == ()
    assert [one.at for one in holder.reports] == [minute(10), minute(15)], "the reports that enclose the time"
    assert (await ask(told, 70)).holders[0].session.username == "ben"


async def test_between_two_sessions_nobody_held_it_and_both_neighbours_are_named(told: Workplace) -> None:
    answer = await ask(told, 45)
    assert (answer.verdict, answer.holders) == (HolderVerdict.NOBODY, [])
    assert answer.before is not None
    assert answer.after is not None
    assert (answer.before.username, answer.after.username) == ("ann", "ben")
    assert (await ask(told, -10)).before is None


async def test_a_tolerance_that_reaches_into_the_neighbour_is_said(told: Workplace) -> None:
    edge = await ask(told, 29.5)
    assert (edge.verdict, names(edge)) == (HolderVerdict.LIKELY, [("ann", Certainty.LIKELY)])
    assert "within the clock tolerance" in edge.holders[0].reasons[0]
    wide = await ask(told, 45, tolerance_s=1_800)
    assert wide.verdict is HolderVerdict.DISPUTED
    assert set(names(wide)) == {("ann", Certainty.POSSIBLE), ("ben", Certainty.POSSIBLE)}


async def test_an_open_session_is_proven_to_its_last_report(told: Workplace, clock: FakeClock) -> None:
    assert names(await ask(told, 81)) == [("ben", Certainty.LIKELY)]
    clock.step_to(minute(300))
    late = await ask(told, 200)
    assert (late.verdict, names(late)) == (HolderVerdict.POSSIBLE, [("ben", Certainty.POSSIBLE)])
    assert "it should have reported" in late.holders[0].reasons[0]


async def test_an_inferred_end_is_no_proof(told: Workplace, clock: FakeClock) -> None:
    clock.step_to(minute(300))
    async with told.work("system:reaping") as work:
        assert await reap_sessions(work) == 1
    assert names(await ask(told, 79)) == [("ben", Certainty.CERTAIN)], "before its last report it ran"
    behind = await ask(told, 88)
    assert (behind.verdict, names(behind)) == (HolderVerdict.POSSIBLE, [("ben", Certainty.POSSIBLE)])
    assert "may have gone on" in behind.holders[0].reasons[0]
    assert (await ask(told, 200)).verdict is HolderVerdict.NOBODY


async def test_two_towers_with_the_same_private_address_dispute_until_one_is_named(told: Workplace) -> None:
    cat = Dialled(nas_id="nas_2", acct_session_id="1", username="cat", mac="AA:BB:CC:00:00:03", began=2)
    await report(told, cat.start(), cat.interim(10, (1, 1)), cat.interim(15, (1, 2)), cat.stop(40, (2, 2)))
    answer = await ask(told, 12)
    assert (answer.verdict, len(answer.holders)) == (HolderVerdict.DISPUTED, 2)
    assert names(await ask(told, 12, nas_id="nas_2")) == [("cat", Certainty.CERTAIN)]


async def test_a_silent_nas_leaves_a_doubt(told: Workplace) -> None:
    dan = Dialled(acct_session_id="5", username="dan", mac="AA:BB:CC:00:00:05", ip="10.0.0.9")
    await report(told, dan.start(), dan.interim(5, (1, 1)), dan.interim(60, (2, 2)), dan.stop(65, (3, 3)))
    answer = await ask(told, 30, "10.0.0.9")
    assert answer.verdict is HolderVerdict.LIKELY
    assert "reported nothing between" in answer.holders[0].reasons[0]


async def test_an_address_inside_a_delegated_prefix_and_one_that_changed(told: Workplace) -> None:
    prefix, other = "2001:db8:7:100::/56", "2001:db8:7:200::/56"
    eve = Dialled(acct_session_id="6", username="eve", mac="AA:BB:CC:00:00:06", ip="10.0.0.10")
    await report(told, eve.start(), eve.interim(5, (1, 1), delegated_ipv6_prefix=prefix))
    await report(told, eve.interim(10, (1, 1), delegated_ipv6_prefix=prefix))
    await report(told, eve.interim(15, (2, 2), delegated_ipv6_prefix=other), eve.stop(20, (3, 3)))
    held = await ask(told, 7, "2001:db8:7:1ab::77")
    assert (held.verdict, held.holders[0].network) == (HolderVerdict.HELD, prefix)
    early = await ask(told, 3, "2001:db8:7:1ab::77")
    assert names(early) == [("eve", Certainty.POSSIBLE)], "the session ran but had not yet said this prefix"
    for address in ("2001:db8:7:1ab::77", "2001:db8:7:2ab::77"):
        between = await ask(told, 12, address)
        assert names(between) == [("eve", Certainty.POSSIBLE)], address
    assert (await ask(told, 17, "2001:db8:7:1ab::77")).verdict is HolderVerdict.NOBODY
    assert (await ask(told, 17, "2001:db8:7:2ab::77")).verdict is HolderVerdict.HELD
    assert (await ask(told, 17, "2001:db8:8::1")).verdict is HolderVerdict.NOBODY


async def test_a_static_address_is_named_beside_the_sessions(told: Workplace, sealer: Sealer) -> None:
    service_id = await subscribe(told, sealer, "fay", framed_ip="198.51.100.7")
    answer = await ask(told, 12, "198.51.100.7")
    assert answer.verdict is HolderVerdict.NOBODY
    assert [one.service_id for one in answer.static] == [service_id]


async def test_an_address_behind_a_route_is_its_services_by_what_stands_today(told: Workplace) -> None:
    async with told.reading() as connection:
        ann = (await open_or_closed(connection, "ann")).service_id
    async with told.work("operator:ann") as work:
        routes = ["203.0.113.8/29", "2001:db8:b00::/48"]
        assert await set_addressing(work, ann, routes=routes) is None
    for address, network in (("203.0.113.10", routes[0]), ("2001:db8:b00:7::1", routes[1])):
        answer = await ask(told, 12, address)
        assert (answer.verdict, names(answer)) == (HolderVerdict.LIKELY, [("ann", Certainty.LIKELY)]), address
        assert "no report names the address" in answer.holders[0].reasons[0]
        assert [(one.network, one.service_id) for one in answer.static] == [(network, ann)]
        off = await ask(told, 45, address)
        assert (off.verdict, len(off.static)) == (HolderVerdict.NOBODY, 1), "she was not online then"
    assert (await ask(told, 12, "203.0.113.16")).static == []


async def open_or_closed(connection: AsyncConnection, username: str) -> SessionView:
    """The only session under that name."""
    (view,) = (await list_sessions(connection, SessionFilter(username=username))).rows
    return view


async def test_every_lookup_is_on_record_with_its_reason(told: Workplace) -> None:
    answer = await ask(told, 12)
    async with told.reading() as connection:
        query = select(audit).where(audit.c.action == "address.looked_up")
        (row,) = (await connection.execute(query)).all()
    assert (row.actor, row.subject) == ("operator:ann", "10.0.0.7")
    assert row.detail["reason"] == "case 12"
    assert row.detail["reference"] == answer.reference
    assert row.detail["sessions"] == [answer.holders[0].session.id]
    assert row.detail["verdict"] == "held"


async def test_a_question_that_is_none_is_refused_and_not_on_record(told: Workplace) -> None:
    for wrong, field in (
        ({"reason": "  "}, "reason"), ({"address": "nobody"}, "address"), ({"address": "2001:db8::/56"}, "address"),
        ({"tolerance_s": -1}, "tolerance"), ({"tolerance_s": 90_000}, "tolerance"), ({"at": minute(10_000)}, "at"),
    ):  # fmt: skip
        question = {"address": "10.0.0.7", "at": minute(12), "reason": "case 12"} | wrong
        async with told.work("operator:ann") as work:
            refusal = await find_holder(work, HolderQuestion(**question))  # type: ignore[arg-type]
        assert isinstance(refusal, Refusal), wrong
        assert refusal.field == field
    async with told.reading() as connection:
        assert not (
            await connection.execute(select(audit).where(audit.c.action == "address.looked_up"))
        ).all()


OFFSETS = st.integers(-400, 400).map(lambda minutes: NOON + timedelta(minutes=minutes))


@given(OFFSETS, OFFSETS, OFFSETS, st.integers(0, 90), st.booleans(), st.booleans())
def test_nothing_is_certain_outside_what_was_reported(
    one: datetime, other: datetime, at: datetime, tolerance_min: int, is_open: bool, inferred: bool
) -> None:
    started, last = min(one, other), max(one, other)
    tenure = Tenure(started, True, last, None if is_open else last, inferred and not is_open, 300)
    claim = weigh(tenure, at, timedelta(minutes=tolerance_min))
    if claim is None:
        assert not started <= at <= last, "a session is never denied what it reported"
    elif claim.certainty is Certainty.CERTAIN:
        assert started + timedelta(minutes=tolerance_min) <= at <= last
    else:
        assert claim.reasons, "every doubt is named"


def test_a_proven_claim_outweighs_a_possible_one_but_not_a_likely_one() -> None:
    assert judge([]) is HolderVerdict.NOBODY
    assert judge([("a", Certainty.CERTAIN), ("b", Certainty.POSSIBLE)]) is HolderVerdict.HELD
    assert judge([("a", Certainty.CERTAIN), ("b", Certainty.LIKELY)]) is HolderVerdict.DISPUTED
    assert judge([("a", Certainty.CERTAIN), ("a", Certainty.CERTAIN)]) is HolderVerdict.HELD
    assert judge([("a", Certainty.LIKELY), ("b", Certainty.POSSIBLE)]) is HolderVerdict.LIKELY
    assert judge([("a", Certainty.POSSIBLE), ("b", Certainty.POSSIBLE)]) is HolderVerdict.DISPUTED


def test_instants_are_read_with_their_zone_or_refused() -> None:
    assert (
        read_instant("2026-03-10T06:05-06:00")
        == read_instant("2026-03-10 06:05", "America/Denver")
        == minute(5)
    )
    assert read_instant("2026-03-10 12:05Z") == minute(5)
    for text, zone, said in (
        ("2026-03-10 12:05", None, "no time zone"), ("10.3.2026", None, "is no time"), ("", "UTC", "is no time"),
        ("2026-03-08 02:30", "America/Denver", "did not happen"), ("0001-01-01 00:00", "UTC", "out of range"),
        ("2025-11-02 01:30", "America/Denver", "-0600 or 2025-11-02T01:30:00-0700"), ("2026-03-10 12:05", "Mars", "not a time zone"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            read_instant(text, zone)
