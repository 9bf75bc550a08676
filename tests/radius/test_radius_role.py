"""The whole radius process over loopback: radclient is the witness; the database goes away; strangers get nothing."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from freeradius_peer import radclient
from radius_live import needs_radclient
from radius_world import SECRET, World, accounting, octets, pap, reply_to, status
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from aaa.domain.effect import Effect
from aaa.store.tables import nas, reject, session
from core.clock import SystemClock
from core.database import Database
from core.ids import UlidSource
from core.secrets import Secret
from core.store.tables import health_issue
from core.work import Workplace
from lab.nas import LabNas, LabSession
from lab.radius_wire import RadiusServer as LabServer
from radius.accounting.ingest import ingest_once
from radius.config import RadiusSettings
from radius.dynauth.live_session import LiveSessions
from radius.explaining.explain import explain
from radius.probing.probe import ProbeTarget, probe
from radius.serving.role import RadiusServer
from radius.serving.status import read_statuses, status_path


@dataclass
class Serving:
    """A radius process inside this one, on ports of its own."""

    world: World
    server: RadiusServer
    journal: Path
    auth_port: int
    accounting_port: int

    async def ask(
        self, packet: bytes, port: int | None = None, patience_s: float = 5.0, source: str = "127.0.0.1"
    ) -> bytes | None:
        """One datagram from ``source``; the answer, or None when there is none in ``patience_s``."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.bind((source, 0))
            client.connect(("127.0.0.1", port or self.auth_port))
            await loop.sock_sendall(client, packet)
            try:
                return await asyncio.wait_for(loop.sock_recv(client, 4096), patience_s)
            except TimeoutError:
                return None

    async def radclient(self, kind: str, *attributes: str, secret: str = SECRET, tries: int = 3) -> str:
        """What radclient says; its exit code does not matter here."""
        port = self.accounting_port if kind == "acct" else self.auth_port
        return await radclient(port, kind, secret, *attributes, tries=tries)

    async def settled(self, seq: int) -> None:
        """Wait until the directory has come to that change."""
        async with asyncio.timeout(10):
            while self.server.status().directory_seq < seq:
                await asyncio.sleep(0.01)


@pytest.fixture
async def serving(world: World, tmp_path: Path) -> AsyncIterator[Serving]:
    """The world's clock is the machine's: real datagrams travel in real time."""
    clock = SystemClock()
    world.workplace = Workplace(world.workplace.database, clock, UlidSource(clock))
    await world.nas()
    await world.service("alice", mac="00:e1:0c:38:c8:f8")
    journal = tmp_path / "journal" / "radius.sqlite"
    settings = RadiusSettings(
        auth_listen=["127.0.0.1:0"], accounting_listen=["127.0.0.1:0"], reject_delay_s=0.1,
        directory_refresh_s=0.05, reject_record_s=0.05, journal_commit_ms=2, status_interval_s=0.05,
        journal_trim_s=0.05,
    )  # fmt: skip
    server = RadiusServer(settings, world.workplace, world.sealer, journal)
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(server.run(stop, ready))
    await asyncio.wait_for(ready.wait(), 20)
    auth_port, accounting_port = server.ports
    yield Serving(world, server, journal, auth_port, accounting_port)
    stop.set()
    await running


@needs_radclient
async def test_radclient_pap_chap_and_mschap(serving: Serving) -> None:
    said = await serving.radclient(
        "auth", "User-Name = alice", 'User-Password = "open sesame"', "Message-Authenticator = 0x00"
    )
    assert "Received Access-Accept" in said
    assert 'Mikrotik-Rate-Limit = "5M/25M"' in said
    assert "Message-Authenticator" in said.split("Received Access-Accept")[1].splitlines()[1]
    said = await serving.radclient(
        "auth", "User-Name = alice", 'CHAP-Password = "open sesame"', "Message-Authenticator = 0x00"
    )
    assert "Received Access-Accept" in said
    said = await serving.radclient(
        "auth", "User-Name = alice", 'MS-CHAP-Password = "open sesame"', "Message-Authenticator = 0x00"
    )
    assert "Received Access-Accept" in said
    assert "MS-CHAP-MPPE-Keys" in said
    said = await serving.radclient(
        "auth", "User-Name = alice", "MS-CHAP-Password = other", "Message-Authenticator = 0x00"
    )
    assert "Received Access-Reject" in said
    assert "E=691 R=0" in said


@needs_radclient
async def test_radclient_mac_login_status_and_reject(serving: Serving) -> None:
    said = await serving.radclient(
        "auth",
        'User-Name = "00:E1:0C:38:C8:F8"',
        'User-Password = ""',
        'Calling-Station-Id = "1:0:e1:c:38:c8:f8"',
    )
    assert "Received Access-Accept" in said
    said = await serving.radclient("status", "Message-Authenticator = 0x00")
    assert "Received Access-Accept" in said
    said = await serving.radclient("auth", "User-Name = mallory", "User-Password = guess")
    assert "Received Access-Reject" in said


@needs_radclient
async def test_radclient_accounting_is_on_disk_and_in_the_database(serving: Serving) -> None:
    world = serving.world
    accept = await serving.ask(octets(pap()))
    echoed = reply_to_class(accept)
    for kind, octets_in in (("Start", 0), ("Interim-Update", 1_000), ("Stop", 2_000)):
        said = await serving.radclient(
            "acct", f"Acct-Status-Type = {kind}", "Acct-Session-Id = 81e00001", "User-Name = alice",
            f"Acct-Input-Octets = {octets_in}", "Acct-Output-Octets = 5", "Acct-Output-Gigawords = 1",
            f"Class = 0x{echoed.hex()}", "Framed-IP-Address = 100.64.0.9",
        )  # fmt: skip
        assert "Received Accounting-Response" in said
    assert await ingest_once(serving.journal, world.workplace, world.sealer) == 3
    async with world.workplace.reading() as connection:
        (row,) = (await connection.execute(select(session))).all()
    assert row.service_id is not None
    assert (row.octets_in, row.octets_out, row.generation) == (2_000, (1 << 32) + 5, 1)
    said = await serving.radclient(
        "acct", "Acct-Status-Type = Start", "Acct-Session-Id = 1", secret="wrong secret", tries=1
    )
    assert "Received" not in said


def reply_to_class(accept: bytes | None) -> bytes:
    from radius.packet.codec import parse

    assert accept is not None
    value = parse(accept).first(25)
    assert value is not None
    return value


async def test_unknown_nas_and_wrong_secret_are_silent_over_the_wire(serving: Serving) -> None:
    assert await serving.ask(octets(pap()), source="127.0.0.9", patience_s=0.3) is None
    assert await serving.ask(octets(pap(secret="another secret here")), patience_s=0.3) is None
    assert (
        await serving.ask(octets(accounting(secret="another secret here")), serving.accounting_port, 0.3)
        is None
    )
    counters = serving.server.status().counters
    assert (counters["unknown_source"], counters["wrong_signature"]) == (1, 2)
    assert counters["failures"] == 0


async def test_a_reject_is_delayed_recorded_and_explained(serving: Serving) -> None:
    asked = pap(password="wrong one")
    answer = await serving.ask(octets(asked))
    assert reply_to(asked, answer).code == 3
    world = serving.world
    async with asyncio.timeout(10):
        while True:
            async with world.workplace.reading() as connection:
                rows = (await connection.execute(select(reject))).all()
            if rows:
                break
            await asyncio.sleep(0.02)
    assert (rows[0].identity, rows[0].rule, rows[0][-1]) == ("alice", "wrong_password", 1)
    async with world.workplace.reading() as connection:
        told = await explain(connection, world.sealer, "alice", Secret("wrong one"))
        good = await explain(connection, world.sealer, "alice", nas_name="tower")
        stranger = await explain(connection, world.sealer, "mallory")
    assert (told.verdict, told.rule) == ("reject", "wrong_password")
    assert told.past_rejects[0].count == 1
    assert good.verdict == "accept"
    assert 'Mikrotik-Rate-Limit = "5M/25M"' in good.attributes
    assert "25 Mbit/s down" in str(good)
    assert "open sesame" not in str(good)
    assert (stranger.verdict, stranger.rule) == ("reject", "unknown_user")
    with pytest.raises(LookupError, match="no enabled NAS"):
        async with world.workplace.reading() as connection:
            await explain(connection, world.sealer, "alice", nas_name="nowhere")


async def test_a_suspension_reaches_the_answers_within_a_moment(serving: Serving) -> None:
    world = serving.world
    async with world.workplace.reading() as connection:
        service_id = (await explain(connection, world.sealer, "alice")).service_id
    assert service_id is not None
    before = serving.server.status().directory_seq
    await world.hold(service_id, Effect.WALLED_GARDEN)
    await serving.settled(before + 1)
    target = ProbeTarget("127.0.0.1", serving.auth_port, Secret(SECRET))
    outcome = await probe(target, "alice", Secret("open sesame"))
    assert outcome.accepted
    assert "Mikrotik-Address-List = hilltop-walled" in map(str, outcome.attributes)
    async with world.workplace.reading() as connection:
        told = await explain(connection, world.sealer, "alice")
    assert (told.verdict, told.because) == ("walled_garden", ["dunning: invoice 7 is overdue"])


@pytest.mark.parametrize("method", ["pap", "chap", "mschapv2", "mac", "status"])
async def test_the_probe_speaks_every_method(serving: Serving, method: str) -> None:
    target = ProbeTarget("127.0.0.1", serving.auth_port, Secret(SECRET))
    name = "00:E1:0C:38:C8:F8" if method == "mac" else "alice"
    password = None if method == "mac" else Secret("open sesame")
    outcome = await probe(target, name, password, method=method)
    assert outcome.accepted, str(outcome)
    if method == "mschapv2":
        assert "MS-MPPE-Send-Key = (hidden)" in map(str, outcome.attributes)
    assert SECRET not in str(outcome)


async def test_the_probe_says_what_to_look_at(serving: Serving) -> None:
    target = ProbeTarget("127.0.0.1", serving.auth_port, Secret("not the secret"))
    outcome = await probe(target, "alice", Secret("open sesame"), timeout_s=0.2)
    assert "is the secret the same" in outcome.answer
    with pytest.raises(ValueError, match="mschapv2"):
        await probe(target, "alice", method="kerberos")


async def test_authentication_and_accounting_survive_the_database(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> object:
        raise OperationalError("BEGIN", {}, Exception("the database is away"))

    database = serving.world.workplace.database
    real = type(database).read, type(database).write, type(database).commit_mark

    class Away:
        async def __aenter__(self) -> object:
            return await away()

        async def __aexit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(type(database), "read", lambda self: Away())
    monkeypatch.setattr(type(database), "write", lambda self: Away())
    monkeypatch.setattr(type(database), "commit_mark", away)
    async with asyncio.timeout(10):
        while serving.server.status().directory_age_s < 0.2:
            await asyncio.sleep(0.02)
    for number in range(20):
        asked = pap(identifier=number)
        assert reply_to(asked, await serving.ask(octets(asked))).code == 2
        wrong = pap(password="no", identifier=number)
        assert reply_to(wrong, await serving.ask(octets(wrong))).code == 3
        report = accounting(f"{number:08x}", identifier=number)
        assert reply_to(report, await serving.ask(octets(report), serving.accounting_port)).code == 5
    monkeypatch.setattr(type(database), "read", real[0])
    monkeypatch.setattr(type(database), "write", real[1])
    monkeypatch.setattr(type(database), "commit_mark", real[2])
    world = serving.world
    assert await ingest_once(serving.journal, world.workplace, world.sealer) == 20
    async with asyncio.timeout(10):
        while True:
            async with world.workplace.reading() as connection:
                counts = (await connection.execute(select(reject.c.count))).scalars().all()
            if counts == [20]:
                break
            await asyncio.sleep(0.02)


async def test_a_process_that_nobody_asks_reads_nothing_and_still_sees_a_change(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of transactions a minute for nothing cost a small box more than its sign-ins."""
    database = type(serving.world.workplace.database)
    real_read, real_mark = database.read, database.commit_mark
    looks_since_read = 0

    def read(self: Database) -> object:
        nonlocal looks_since_read
        looks_since_read = 0
        return real_read(self)

    async def commit_mark(self: Database) -> object:
        nonlocal looks_since_read
        looks_since_read += 1
        return await real_mark(self)

    monkeypatch.setattr(database, "read", read)
    monkeypatch.setattr(database, "commit_mark", commit_mark)
    async with asyncio.timeout(20):
        while looks_since_read < 30:
            await asyncio.sleep(0.02)
        assert serving.server.status().directory_age_s < 5
        await serving.world.service("newcomer", password="open sesame")
        for identifier in range(256):
            asked = pap("newcomer", identifier=identifier)
            if reply_to(asked, await serving.ask(octets(asked))).code == 2:
                return
            await asyncio.sleep(0.02)
    pytest.fail("the change was not seen")


async def test_what_a_nas_taught_reaches_the_database_and_the_status_file(serving: Serving) -> None:
    old = pap(signed=False, identifier=1)
    assert await serving.ask(octets(old)) is not None
    assert serving.server.status().unsigned_nases == ["tower"]
    assert await serving.ask(octets(pap(identifier=2))) is not None
    world = serving.world
    async with asyncio.timeout(10):
        while True:
            async with world.workplace.reading() as connection:
                if (await connection.execute(select(nas.c.signs_requests))).scalar_one():
                    break
            await asyncio.sleep(0.02)
        while not status_path(serving.journal).exists() or not _accepts(serving):
            await asyncio.sleep(0.02)
    assert await serving.ask(octets(pap(signed=False, identifier=3)), patience_s=0.3) is None
    (told,) = read_statuses(serving.journal.parent)
    assert told.directory_logins == 2
    assert SECRET not in status_path(serving.journal).read_text()


def _accepts(serving: Serving) -> int:
    counters = json.loads(status_path(serving.journal).read_text())["counters"]
    return int(counters["accepts"])


async def test_journal_is_trimmed_behind_the_database(serving: Serving) -> None:
    from radius.accounting.journal import JournalReader

    for number in range(5):
        await serving.ask(octets(accounting(f"{number:08x}", identifier=number)), serving.accounting_port)
    await ingest_once(serving.journal, serving.world.workplace, serving.world.sealer)
    reader = JournalReader(serving.journal)
    async with asyncio.timeout(10):
        while reader.count_after(0):
            await asyncio.sleep(0.02)
    reader.close()


async def test_an_answer_leaves_from_the_address_it_was_asked_at(world: World, tmp_path: Path) -> None:
    """On a wildcard socket, as on a box with several addresses."""
    clock = SystemClock()
    world.workplace = Workplace(world.workplace.database, clock, UlidSource(clock))
    await world.nas()
    await world.service("alice")
    settings = RadiusSettings(auth_listen=["0.0.0.0:0"], accounting_listen=["[::1]:0"], journal_commit_ms=1)
    server = RadiusServer(settings, world.workplace, world.sealer, tmp_path / "journal" / "radius.sqlite")
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(server.run(stop, ready))
    await asyncio.wait_for(ready.wait(), 20)
    loop = asyncio.get_running_loop()
    try:
        for address in ("127.0.0.1", "127.0.0.77"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                client.bind(("127.0.0.1", 0))
                asked = pap() if address == "127.0.0.1" else status()
                await loop.sock_sendto(client, octets(asked), (address, server.ports[0]))
                answer, source = await asyncio.wait_for(loop.sock_recvfrom(client, 4096), 5)
                assert reply_to(asked, answer).code == 2
                assert source[0] == address
    finally:
        stop.set()
        await running


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="0.0.0.0:1812"):
        RadiusSettings(auth_listen=["1812"])
    with pytest.raises(ValueError, match="extra"):
        RadiusSettings(reject_delay=1)  # type: ignore[call-arg]
    policy = RadiusSettings(walled_garden_list="pay").policy
    assert policy.walled_garden_list == "pay"


async def test_a_full_disk_stops_answers_to_accounting_alone_and_is_told(serving: Serving) -> None:
    world, journal = serving.world, serving.server._journal
    assert journal is not None
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count={pages}")
    large = accounting(a87=bytes(253), a18=bytes(253))
    unanswered = 0
    for number in range(40):
        large.id = number
        if await serving.ask(octets(large), serving.accounting_port, 0.1) is None:
            unanswered += 1
    assert unanswered, "a full disk must not acknowledge"
    asked = pap()
    assert reply_to(asked, await serving.ask(octets(asked))).code == 2
    await _issue_is(world, "radius.journal", is_open=True)
    journal._connection.execute("PRAGMA max_page_count=1000000")
    assert await serving.ask(octets(large), serving.accounting_port) is not None, "the retransmit is taken"
    await _issue_is(world, "radius.journal", is_open=False)
    aside = serving.journal.with_name("radius.damaged")
    aside.write_bytes(b"what could not be read")
    await _issue_is(world, "radius.journal_damaged", is_open=True)
    aside.unlink()
    await _issue_is(world, "radius.journal_damaged", is_open=False)


async def test_another_secret_on_the_device_is_a_finding_until_it_is_right(serving: Serving) -> None:
    world = serving.world
    await serving.ask(octets(pap(secret="another secret here")), patience_s=0.1)
    async with world.workplace.reading() as connection:
        nas_id = (await connection.execute(select(nas.c.id))).scalar_one()
    await _issue_is(world, f"radius.secret:{nas_id}", is_open=True)
    await serving.ask(octets(pap(identifier=8)))
    await _issue_is(world, f"radius.secret:{nas_id}", is_open=False)


async def _issue_is(world: World, key: str, *, is_open: bool) -> None:
    async with asyncio.timeout(10):
        while await _is_open(world, key) is not is_open:
            await asyncio.sleep(0.02)


async def _is_open(world: World, key: str) -> bool | None:
    """None: it was never found."""
    async with world.workplace.reading() as connection:
        row = (await connection.execute(select(health_issue).where(health_issue.c.key == key))).one_or_none()
    assert row is None or row.remedy
    return None if row is None else row.closed_at is None


async def test_a_flood_of_accounting_does_not_starve_authentication(serving: Serving) -> None:
    """After a power cut: what asks to sign in is answered between the reports, not behind them."""
    loop = asyncio.get_running_loop()
    reports = [octets(accounting(f"{number:08x}", identifier=number % 256)) for number in range(3_000)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        for number, report in enumerate(reports):
            flood.sendto(report, ("127.0.0.1", serving.accounting_port))
            if number == 0:
                await loop.run_in_executor(None, lambda: None)
        asked = pap()
        answer = await serving.ask(octets(asked))
        done = serving.server.status().counters["accounting"]
    assert reply_to(asked, answer).code == 2
    assert done < 3_000, "the sign-in waited behind every report"


async def test_strangers_are_shown_to_the_operator(serving: Serving) -> None:
    await serving.ask(octets(pap()), source="127.0.0.9", patience_s=0.1)
    assert serving.server.status().strangers == {"127.0.0.9": 1}
    await serving.world.nas("forgotten", "127.0.0.9")
    async with asyncio.timeout(10):
        while serving.server.status().strangers:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("method", ["pap", "chap", "mschapv2", "mac"])
async def test_the_labs_nas_lives_through_a_session(serving: Serving, method: str) -> None:
    """Its RADIUS, its MS-CHAP and its CoA share no line with ours: dial, count, be walled, be restored, end."""
    world = serving.world
    servers = [LabServer("127.0.0.1", serving.auth_port, serving.accounting_port)]
    tower = LabNas(
        "lab tower", "127.0.0.31", servers, SECRET, clock=world.workplace.clock, coa_port=0, timeout_s=3.0
    )
    await tower.start()
    try:
        before = serving.server.status().directory_seq
        await world.nas("lab tower", "127.0.0.31", dynauth_port=tower.coa_port, identifier="lab tower")
        await serving.settled(before + 1)
        line = await tower.dial("alice", "open sesame", method, mac="00:e1:0c:38:c8:f8")  # type: ignore[arg-type]
        assert isinstance(line, LabSession), line
        assert line.rates_bps() == (25_000_000, 5_000_000)
        line.transfer(down=5_000_000_000, up=7)
        assert await line.interim()
        await ingest_once(serving.journal, world.workplace, world.sealer)
        async with world.workplace.reading() as connection:
            row = (await connection.execute(select(session))).one()
        assert (row.octets_out, row.octets_in) == (5_000_000_000, 7)

        movers = LiveSessions(world.workplace, world.sealer, RadiusSettings())
        generation = await world.hold(row.service_id, Effect.WALLED_GARDEN)
        assert (await movers.move(row.service_id, generation, Effect.WALLED_GARDEN)).outcome == "moved"
        assert line.address_lists == {"hilltop-walled"}
        assert (await movers.move(row.service_id, generation + 1, Effect.NONE)).outcome == "moved"
        assert "hilltop-walled" not in line.address_lists
        assert (await movers.move(row.service_id, generation + 2, Effect.BLOCK)).outcome == "disconnected"
        assert not line.live
    finally:
        await tower.stop()


async def test_a_nas_that_stops_signing_is_refused_and_that_is_told(serving: Serving) -> None:
    world = serving.world
    async with world.workplace.reading() as connection:
        nas_id = (await connection.execute(select(nas.c.id))).scalar_one()
    assert await serving.ask(octets(pap())) is not None
    async with asyncio.timeout(10):
        # it counts once no signed request came within a turn of the watch
        while not await _is_open(world, f"radius.unsigned:{nas_id}"):
            assert await serving.ask(octets(pap(signed=False, identifier=9)), patience_s=0.05) is None
    assert await serving.ask(octets(pap(identifier=10))) is not None
    await _issue_is(world, f"radius.unsigned:{nas_id}", is_open=False)
