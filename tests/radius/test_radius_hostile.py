"""What somebody in the network of a NAS can do to us, and what he cannot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from radius_world import Bench, World, accounting, bench_over, mschapv2, octets, pap, reply_to, vendor
from sqlalchemy import func, select

import aaa.record_rejects
from aaa.authorize import Reject
from aaa.directory import Login, _Draft
from aaa.domain.authentication import Pap
from aaa.domain.identity import normalise_mac
from aaa.store.tables import reject
from core.clock import FakeClock
from core.health import HealthIssue
from radius.accounting.decode import AccountingOrigin, decode_accounting
from radius.nas.table import NasTable
from radius.packet.shared_secret import SharedSecret
from radius.serving.counters import Counters
from radius.serving.findings import NasWatch, nas_issue_keys
from radius.sign_in.reject_log import Rejection, RejectLog

ACCEPT, REJECT = 2, 3
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
FLOODED, QUIET = ("10.0.0.1", 1), ("10.0.0.2", 1)


async def _two_towers(world: World, **limits: object) -> Bench:
    await world.nas("flooded", FLOODED[0])
    await world.nas("quiet", QUIET[0])
    await world.service("alice")
    return bench_over(await world.directory(), **limits)


async def test_a_flood_of_rejects_at_one_nas_leaves_the_others_theirs(world: World) -> None:
    bench = await _two_towers(world, reject_delay_s=1.0, delayed_rejects=20, delayed_rejects_of_one=5)
    for port in range(50):
        bench.ask(octets(pap(f"user{port}")), source=(FLOODED[0], port))
    assert (bench.pipeline.delayed, bench.counters.rejects_not_queued) == (5, 45)
    wrong = pap(password="nope")
    assert bench.ask(octets(wrong), source=QUIET) is None
    answers = {source: answer for answer, source in bench.pipeline.due(1.0)}
    assert reply_to(wrong, answers[QUIET]).code == REJECT
    assert bench.ask(octets(pap("more")), source=(FLOODED[0], 99), now_s=2.0) is None
    assert bench.pipeline.delayed == 1, "its share is free again"


async def test_an_unsigned_forgery_does_not_unlearn_that_a_nas_signs(world: World) -> None:
    bench = await _two_towers(world)
    signed, bare = pap(), pap(signed=False)
    assert bench.ask(octets(bare), source=FLOODED) is not None, "an old NAS is let through until it signs"
    assert reply_to(signed, bench.ask(octets(signed), source=(FLOODED[0], 2))).code == ACCEPT
    for port in range(3, 20):
        assert bench.ask(octets(pap(signed=False)), source=(FLOODED[0], port)) is None
    signed = pap()
    assert reply_to(signed, bench.ask(octets(signed), source=(FLOODED[0], 2))).code == ACCEPT
    assert bench.counters.unsigned_refused == 17


async def test_forged_sources_do_not_unlearn_it_either(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radius.nas.table._ADDRESSES_KEPT", 50)
    bench = await _two_towers(world)
    bench.ask(octets(pap()), source=FLOODED)
    for number in range(120):
        bench.ask(octets(pap(signed=False)), source=(f"192.0.2.{number}", 1))
    assert bench.ask(octets(pap(signed=False)), source=(FLOODED[0], 9)) is None


async def test_proxy_state_that_fills_the_packet_gets_no_answer_and_raises_nothing(world: World) -> None:
    bench = await _two_towers(world)
    full = pap()
    full[33] = [*(bytes([number]) * 253 for number in range(15)), b"x" * 180]
    assert bench.ask(octets(full), source=FLOODED) is None
    assert (bench.counters.malformed, bench.counters.failures) == (1, 0)
    some = pap()
    some[33] = [b"x" * 253] * 8
    reply = reply_to(some, bench.ask(octets(some), source=(FLOODED[0], 2)))
    assert (reply.code, reply[33]) == (ACCEPT, [b"x" * 253] * 8)


async def test_user_names_of_any_octets_are_refused_and_recorded(any_world: World, clock: FakeClock) -> None:
    bench = await _two_towers(any_world)
    log = RejectLog(clock, Counters())
    names = [b"a\0b", b"a\xffb", b"\xff" * 253, "é".encode() * 126, b"a\xfeb"]
    for port, name in enumerate(names):
        asked = pap(name, "x")
        assert reply_to(asked, bench.ask(octets(asked), source=(FLOODED[0], port))).code == REJECT
    for one in bench.rejections:
        log.note(one)
    await log.flush(any_world.workplace)
    async with any_world.workplace.reading() as connection:
        rows = (await connection.execute(select(reject.c.identity, reject.c.count))).all()
    assert {row[0]: row[1] for row in rows} == {
        "a\ufffdb": 3, "\ufffd" * 253: 1, "é" * 126: 1,
    }  # fmt: skip


def _made_up(nas_id: str, number: int) -> Rejection:
    return Rejection(nas_id, Reject("unknown_user", f"u{number}", "nobody", "none"), None)


async def test_invented_identities_neither_fill_memory_nor_the_database(
    any_world: World, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aaa.record_rejects, "KEPT_OF_A_NAS", 300)
    counters = Counters()
    log = RejectLog(clock, counters)
    log.note(_made_up("nas_quiet", 0))
    for number in range(4_000):
        clock.advance(timedelta(milliseconds=1))
        log.note(_made_up("nas_flooded", number))
        if number % 500 == 499:
            await log.flush(any_world.workplace)
    assert counters.rejects_not_recorded == 0
    async with any_world.workplace.reading() as connection:
        by_nas = select(reject.c.nas_id, func.count()).group_by(reject.c.nas_id)
        counts = {row[0]: row[1] for row in await connection.execute(by_nas)}
        newest = await connection.scalar(select(func.count()).where(reject.c.identity == "u3999"))
    assert counts == {"nas_flooded": 300, "nas_quiet": 1}
    assert newest == 1
    for number in range(600):
        log.note(_made_up("nas_flooded", 10_000 + number))
    log.note(_made_up("nas_quiet", 1))
    assert counters.rejects_not_recorded == 100, "the rest of the memory is for the other NASes"
    assert await log.flush(any_world.workplace) == 501


async def test_one_that_asks_again_and_again_is_shown_among_made_up_sources(world: World) -> None:
    nases = NasTable()
    for number in range(1_000):
        nases.note_stranger(f"198.51.{number >> 8}.{number & 255}")
        nases.note_stranger("192.0.2.7")
    assert nases.strangers["192.0.2.7"] == 1_000
    assert len(nases.strangers) == 100


async def test_the_longest_prefix_of_either_family_is_found(world: World) -> None:
    networks = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "2001:db8::1", "192.0.2.0/24"]
    for number, network in enumerate(networks):
        await world.nas(f"n{number}", network)
    nases = NasTable((await world.directory()).nases)
    expected = {
        "10.9.9.9": "n0", "10.1.9.9": "n1", "10.1.2.3": "n2", "10.1.2.4": "n1", "2001:db8::2": "n3",
        "2001:db8::1": "n4", "192.0.2.1": "n5", "2001:db9::1": None, "fe80::1%eth0": None,
    }  # fmt: skip
    found = {address: nases.at(address) for address in expected}
    assert {address: None if one is None else one.nas.name for address, one in found.items()} == expected


def test_the_finding_about_a_nas_ends_with_its_registration() -> None:
    watch = NasWatch()
    key = nas_issue_keys("nas_1")[0]
    watch._standing[key] = HealthIssue(key, "warning", "signs with another secret", "enter it")
    assert [one.key for one in watch.issues({}, {"nas_1": "north"})] == [key]
    assert watch.issues({}, {"nas_2": "south"}) == []


async def test_both_mppe_keys_have_salts_of_their_own(world: World) -> None:
    bench = await _two_towers(world)
    salts = []
    for port in range(40):
        asked = mschapv2()
        reply = reply_to(asked, bench.ask(octets(asked), source=(FLOODED[0], port)))
        salts += [(vendor(reply, 311, kind) or b"")[:2] for kind in (16, 17)]
    assert len(set(salts)) == 80
    assert all(salt[0] & 0x80 for salt in salts)


async def test_forgetting_a_service_leaves_a_name_that_is_another_ones_by_now(world: World) -> None:
    """A name goes from one service to another, and the first one's change is heard of last."""
    first, second = await world.service("alice"), await world.service("bob")
    directory = await world.directory()
    logins = dict(directory.logins)
    bob = logins[b"bob"]
    logins[b"alice"] = Login(logins[b"alice"].credential, bob.service)
    draft = _Draft(world.sealer, directory.policy, {}, logins, dict(directory.usernames_of))
    draft.forget([first])
    assert logins[b"alice"].service.id == second


def test_a_password_is_in_no_text_of_a_proof() -> None:
    assert "sesame" not in repr(Pap(b"open sesame"))
    assert "xyzzy" not in repr(SharedSecret(b"xyzzy5461"))


@pytest.mark.parametrize("name", ["dead.beef", "1:2", "1-2-3", "a.b.c", "cafe-babe"])
def test_names_that_only_look_like_hex_are_no_mac(name: str) -> None:
    assert normalise_mac(name) is None


@pytest.mark.parametrize("age_s", [0xFFFFFFFF, 0x80000000, 11 * 366 * 86_400])
def test_a_session_older_than_any_device_has_no_known_age(age_s: int) -> None:
    """Its octets would be spread over all those years and belong to no bill."""
    told = accounting(kind=3, a46=age_s, a42=5)
    event = decode_accounting(octets(told), AccountingOrigin("nas_1", "192.0.2.1", NOW))
    assert event is not None
    assert (event.session_time_s, event.evidence["session_time_s"]) == (None, age_s)


@pytest.mark.parametrize("stamp", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("delay_s", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_no_clock_of_a_nas_moves_a_report_out_of_its_time(stamp: int, delay_s: int) -> None:
    told = accounting(kind=3, a55=stamp, a41=delay_s)
    event = decode_accounting(octets(told), AccountingOrigin("nas_1", "192.0.2.1", NOW))
    assert event is not None
    assert event.occurred_at == NOW
