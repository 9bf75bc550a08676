"""From journal to database: the event's time and counters, exactly once, poison set aside."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radius_world import CLASS_KEY, World, accounting, octets
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.class_token import ClassToken, encode_class
from aaa.record_accounting import record_accounting
from aaa.store.tables import journal_cursor, session
from core.store.columns import to_microseconds
from core.store.tables import health_issue
from radius.accounting import ingest
from radius.accounting.decode import AccountingOrigin, decode_accounting
from radius.accounting.ingest import ingest_once, run_ingest, set_aside_path
from radius.accounting.journal import Record, _open, write_records
from radius.packet.codec import MalformedPacket, Packet, encode

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
ORIGIN = AccountingOrigin("nas_1", "127.0.0.1", NOW)


def _decoded(
    origin: AccountingOrigin = ORIGIN, kind: int = 3, /, **attributes: int | bytes
) -> AccountingEvent:
    event = decode_accounting(octets(accounting("81e00001", kind, attributes=attributes)), origin)
    assert event is not None
    return event


def _stamp(at: datetime) -> int:
    return int(at.timestamp())


@pytest.mark.parametrize(
    ("delay_s", "stamp", "expected", "why"),
    [
        (None, None, NOW, "no clock, no delay: the arrival"),
        (30, None, NOW - timedelta(seconds=30), "the delay is taken off"),
        (None, NOW - timedelta(minutes=4), NOW - timedelta(minutes=4), "a sane clock is believed"),
        (None, NOW + timedelta(minutes=4), NOW + timedelta(minutes=4), "also when it is a little fast"),
        (None, NOW - timedelta(minutes=6), NOW, "a clock six minutes off is not"),
        (600, NOW - timedelta(seconds=590), NOW - timedelta(seconds=590), "compared after the delay"),
        (600, NOW, NOW - timedelta(seconds=600), "the stamp of the retransmit is not that of the event"),
        (None, datetime(1970, 1, 2, tzinfo=UTC), NOW, "a clock without battery"),
        (0xFFFFFFFF, None, NOW, "a delay of a century is no delay"),
    ],
)
def test_time_of_an_event(delay_s: int | None, stamp: datetime | None, expected: datetime, why: str) -> None:
    more = {} if delay_s is None else {"a41": delay_s}
    more |= {} if stamp is None else {"a55": _stamp(stamp)}
    event = _decoded(**more)
    assert event.occurred_at == expected, why
    assert event.received_at == NOW


def test_counters_join_their_high_words_and_absent_is_not_zero() -> None:
    event = _decoded(a42=5, a52=2, a43=7, a53=1, a46=300)
    assert (event.octets_in, event.octets_out) == ((2 << 32) + 5, (1 << 32) + 7)
    assert event.gigawords_present
    assert event.session_time_s == 300
    plain = _decoded(a42=5, a43=7)
    assert (plain.octets_in, plain.octets_out, plain.gigawords_present) == (5, 7, False)
    bare = _decoded(ORIGIN, 2)
    assert (bare.octets_in, bare.octets_out) == (None, None), "a Stop may carry no counters"


def test_a_nas_that_reverses_directions_is_put_right() -> None:
    event = _decoded(AccountingOrigin("nas_1", "127.0.0.1", NOW, octets_reversed=True), a42=5, a43=7)
    assert (event.octets_in, event.octets_out) == (7, 5)
    assert event.evidence["input_octets"] == 5, "the evidence stays as it was received"


def test_what_a_stop_says() -> None:
    event = _decoded(ORIGIN, 2, a49=6, a8=bytes((100, 64, 0, 9)), a31=b"AA:BB", a87=b"ether1")
    assert event.kind is AccountingKind.STOP
    assert (event.terminate_cause, event.framed_ip) == ("Admin-Reset", "100.64.0.9")
    assert (event.calling_station, event.nas_port_id, event.username) == ("AA:BB", "ether1", "alice")
    assert _decoded(ORIGIN, 2, a49=99).terminate_cause == "cause 99"


def test_our_class_is_found_among_others() -> None:
    ours = encode_class(ClassToken("svc_1", 3, "abc"), CLASS_KEY)
    packet = accounting()
    packet[25] = [b"theirs", ours]
    event = decode_accounting(octets(packet), ORIGIN)
    assert event is not None and event.class_token == ours
    packet[25] = [b"theirs"]
    event = decode_accounting(octets(packet), ORIGIN)
    assert event is not None and event.class_token == b"theirs"


def test_what_makes_no_sense_and_what_says_nothing() -> None:
    with pytest.raises(MalformedPacket, match="Acct-Session-Id"):
        _decoded(a44=b"")
    nameless = accounting()
    del nameless[40]
    with pytest.raises(MalformedPacket, match="Acct-Status-Type"):
        decode_accounting(octets(nameless), ORIGIN)
    assert decode_accounting(octets(accounting(kind=15)), ORIGIN) is None
    assert _decoded(ORIGIN, 7, a44=b"").kind is AccountingKind.NAS_ON
    assert _decoded(ORIGIN, 8).kind is AccountingKind.NAS_OFF
    assert _decoded(a87=b"\xff\x00x").nas_port_id == "\ufffd\ufffdx"


class Journalled:
    """A journal that a radius process has left behind."""

    def __init__(self, path: Path, nas_id: str) -> None:
        self.path = path
        path.parent.mkdir(exist_ok=True)
        self._connection = _open(path)
        self._connection.execute("INSERT INTO journal (id) VALUES ('journal-1')")
        self._nas_id = nas_id

    def write(self, *packets: object, at: datetime = NOW, source: str = "127.0.0.1") -> None:
        records = [
            Record(to_microseconds(at), self._nas_id, source, one if isinstance(one, bytes) else octets(one))
            for one in packets
        ]
        write_records(self._connection, records)


async def test_records_become_sessions_exactly_once(any_world: World, tmp_path: Path) -> None:
    nas_id = await any_world.nas()
    service_id = await any_world.service("alice")
    journal = Journalled(tmp_path / "journal" / "radius.sqlite", nas_id)
    token = encode_class(ClassToken(service_id, 1, "abc"), CLASS_KEY)
    journal.write(
        accounting(a25=token), accounting(kind=3, a25=token, a42=100, a43=900, a46=60, identifier=4)
    )
    workplace, sealer = any_world.workplace, any_world.sealer
    assert await ingest_once(journal.path, workplace, sealer) == 2
    assert await ingest_once(journal.path, workplace, sealer) == 0
    async with workplace.reading() as connection:
        (row,) = (await connection.execute(select(session))).all()
        assert (row.service_id, row.octets_in, row.octets_out) == (service_id, 100, 900)
        assert (await connection.execute(select(journal_cursor.c.seq))).scalar_one() == 2
    journal.write(accounting(kind=2, a25=token, a42=150, a43=950, a46=90, identifier=5))
    assert await ingest_once(journal.path, workplace, sealer) == 1
    async with workplace.reading() as connection:
        (row,) = (await connection.execute(select(session))).all()
        assert (row.octets_in, row.octets_out) == (150, 950)
        assert row.stopped_at is not None


async def test_two_readers_take_over_a_record_once(world: World, tmp_path: Path) -> None:
    nas_id = await world.nas()
    await world.service("alice")
    journal = Journalled(tmp_path / "journal" / "radius.sqlite", nas_id)
    journal.write(*(accounting(f"{number:08x}", 1) for number in range(50)))
    outcomes = await asyncio.gather(
        *(ingest_once(journal.path, world.workplace, world.sealer) for _ in range(3)), return_exceptions=True
    )
    assert 50 in outcomes
    async with world.workplace.reading() as connection:
        assert len((await connection.execute(select(session))).all()) == 50


async def test_poison_is_set_aside_and_the_rest_goes_by(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nas_id = await world.nas()
    await world.service("alice")
    journal = Journalled(tmp_path / "journal" / "radius.sqlite", nas_id)
    broken = octets(accounting())[:-3]
    journal.write(accounting("00000001"), broken, accounting("poison"), accounting("00000002"))
    record = record_accounting

    async def picky(work: object, events: list[AccountingEvent], *terms: object) -> object:
        if any(event.acct_session_id == "poison" for event in events):
            raise ValueError("this record breaks the metering")
        return await record(work, events, *terms)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest, "record_accounting", picky)
    assert await ingest_once(journal.path, world.workplace, world.sealer) == 4
    lines = [json.loads(line) for line in set_aside_path(journal.path).read_text().splitlines()]
    assert sorted({line["seq"] for line in lines}) == [2, 3]
    assert "breaks the metering" in lines[-1]["reason"]
    async with world.workplace.reading() as connection:
        ids = set((await connection.execute(select(session.c.acct_session_id))).scalars())
        (issue,) = (await connection.execute(select(health_issue))).all()
    assert ids == {"00000001", "00000002"}
    assert issue.key == "radius.set_aside:radius"
    assert "set-aside" in issue.remedy


async def test_an_outage_of_the_database_sets_nothing_aside(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nas_id = await world.nas()
    await world.service("alice")
    journal = Journalled(tmp_path / "journal" / "radius.sqlite", nas_id)
    journal.write(accounting("00000001"))
    record = record_accounting

    async def away(*_: object) -> object:
        raise OperationalError("INSERT", {}, Exception("the database is away"))

    monkeypatch.setattr(ingest, "record_accounting", away)
    with pytest.raises(OperationalError):
        await ingest_once(journal.path, world.workplace, world.sealer)
    assert not set_aside_path(journal.path).exists()
    monkeypatch.setattr(ingest, "record_accounting", record)
    assert await ingest_once(journal.path, world.workplace, world.sealer) == 1


async def test_the_session_of_a_prefix_knows_where_it_came_from(world: World, tmp_path: Path) -> None:
    nas_id = await world.nas("region", "10.0.0.0/8")
    await world.service("alice")
    journal = Journalled(tmp_path / "journal" / "radius.sqlite", nas_id)
    journal.write(accounting("00000001"), source="10.9.8.7")
    await ingest_once(journal.path, world.workplace, world.sealer)
    async with world.workplace.reading() as connection:
        assert (await connection.execute(select(session.c.nas_address))).scalar_one() == "10.9.8.7"


async def test_a_journal_that_is_only_just_begun_holds_nothing_yet(world: World, tmp_path: Path) -> None:
    """At first start the collector may look between the file, its tables and its id."""
    path = tmp_path / "begun.sqlite"
    path.touch()
    assert await ingest_once(path, world.workplace, world.sealer) == 0
    connection = _open(path)
    assert await ingest_once(path, world.workplace, world.sealer) == 0
    connection.execute("INSERT INTO journal (id) VALUES ('j1')")
    write_records(connection, [Record(1, "nas_gone", "127.0.0.2", b"\0")])
    connection.close()
    assert await ingest_once(path, world.workplace, world.sealer) == 1


async def test_the_running_ingest_takes_every_journal_and_stops(world: World, tmp_path: Path) -> None:
    nas_id = await world.nas()
    await world.service("alice")
    journal = Journalled(tmp_path / "journal" / "radius.sqlite", nas_id)
    journal.write(*(accounting(f"{number:08x}") for number in range(1_200)))
    stop = asyncio.Event()
    running = asyncio.create_task(run_ingest(tmp_path / "journal", world.workplace, world.sealer, stop))
    try:
        async with asyncio.timeout(30):
            while await _position(world) < 1_200:
                await asyncio.sleep(0.02)
    finally:
        stop.set()
        await running


async def test_a_journal_is_read_only_when_it_was_written_to(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test's clock stands still, so nothing is read for the time that has passed."""
    nas_id = await world.nas()
    await world.service("alice")
    journal = Journalled(tmp_path / "journal" / "radius.sqlite", nas_id)
    rounds = reads = 0
    look, read = ingest._Journals.with_news, ingest.ingest_once

    def with_news(journals: ingest._Journals) -> list[tuple[Path, int]]:
        nonlocal rounds
        rounds += 1
        return look(journals)

    async def ingest_one(*taken: Any) -> int:
        nonlocal reads
        reads += 1
        return await read(*taken)

    async def until_quiet(records: int) -> None:
        """All is taken over, and then five rounds go by without a look into the journal."""
        while await _position(world) < records:
            await asyncio.sleep(0.02)
        before = -1
        while reads != before:
            before, until = reads, rounds + 5
            while rounds < until:
                await asyncio.sleep(0.02)

    monkeypatch.setattr(ingest, "_IDLE_S", 0.01)
    monkeypatch.setattr(ingest._Journals, "with_news", with_news)
    monkeypatch.setattr(ingest, "ingest_once", ingest_one)
    stop = asyncio.Event()
    running = asyncio.create_task(run_ingest(tmp_path / "journal", world.workplace, world.sealer, stop))
    try:
        async with asyncio.timeout(30):
            await until_quiet(0)
            journal.write(accounting("00000001"))
            await until_quiet(1)
            journal.write(accounting("00000002"))
            await until_quiet(2)
    finally:
        stop.set()
        await running


async def _position(world: World) -> int:
    async with world.workplace.reading() as connection:
        return (await connection.execute(select(journal_cursor.c.seq))).scalar_one_or_none() or 0


@given(st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=40)), max_size=15))
def test_whatever_attributes_a_nas_sends_only_malformed_packet_is_raised(
    attributes: list[tuple[int, bytes]],
) -> None:
    packet = Packet(4, 1, bytes(16), ((40, b"\0\0\0\x03"), (44, b"s"), *attributes))
    try:
        event = decode_accounting(encode(packet), ORIGIN)
    except MalformedPacket:
        return
    assert event is not None
    assert event.acct_session_id == "s"
    json.dumps(event.evidence)
