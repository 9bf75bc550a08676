"""The journal and the accounting pipeline: answered after the commit, silent when there was none."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from radius_world import HERE, SECRET, World, accounting, octets, reply_to, status

from radius.accounting.journal import Journal, JournalLimits, JournalReader, Record, damaged_journals
from radius.accounting.pipeline import AccountingPipeline, Pending
from radius.nas.table import NasTable
from radius.serving.counters import Counters

NOW_US = 1_700_000

ACCOUNTING_RESPONSE = 5


async def _pipeline(world: World) -> AccountingPipeline:
    await world.nas()
    return AccountingPipeline(NasTable((await world.directory()).nases), Counters())


def _record(number: int) -> Record:
    return Record(number, "nas_1", "127.0.0.1", b"datagram %d" % number)


async def test_the_answer_exists_only_after_the_commit_and_duplicates_cost_a_look_up(world: World) -> None:
    pipeline = await _pipeline(world)
    asked = accounting()
    packet = octets(asked)
    pending = pipeline.receive(packet, HERE, NOW_US)
    assert isinstance(pending, Pending)
    assert pending.record.datagram == packet
    assert pipeline.receive(packet, HERE, NOW_US) is None, "a retransmit while the disk works is dropped"
    answer = pipeline.settle(pending, committed=True)
    assert reply_to(asked, answer).code == ACCOUNTING_RESPONSE
    assert pipeline.receive(packet, HERE, NOW_US) == answer
    assert (pipeline.counters.accounting, pipeline.counters.duplicates) == (1, 1)


async def test_what_was_not_committed_is_not_answered_and_may_be_sent_again(world: World) -> None:
    pipeline = await _pipeline(world)
    packet = octets(accounting())
    pending = pipeline.receive(packet, HERE, NOW_US)
    assert isinstance(pending, Pending)
    assert pipeline.settle(pending, committed=False) is None
    assert pipeline.counters.journal_failures == 1
    assert isinstance(pipeline.receive(packet, HERE, NOW_US), Pending)


async def test_accounting_with_the_wrong_secret_or_signature_is_silence(world: World) -> None:
    pipeline = await _pipeline(world)
    assert pipeline.receive(octets(accounting(secret="another secret entirely")), HERE, NOW_US) is None
    signed = accounting()
    signed.message_authenticator = True
    packet = octets(signed)
    assert isinstance(pipeline.receive(packet, HERE, NOW_US), Pending), (
        "a signature is checked when there is one"
    )
    at = packet.index(b"\x50\x12") + 2
    forged = packet[:at] + bytes(16) + packet[at + 16 :]
    digest = hashlib.md5(forged[:4] + bytes(16) + forged[20:] + SECRET.encode()).digest()
    assert pipeline.receive(forged[:4] + digest + forged[20:], HERE, NOW_US) is None
    assert pipeline.receive(packet, ("192.0.2.7", 1), NOW_US) is None
    assert (pipeline.counters.wrong_signature, pipeline.counters.unknown_source) == (2, 1)


async def test_accounting_status_server_and_proxy_state(world: World) -> None:
    pipeline = await _pipeline(world)
    asked = status()
    assert reply_to(asked, pipeline.receive(octets(asked), HERE, NOW_US)).code == ACCOUNTING_RESPONSE  # type: ignore[arg-type]
    proxied = accounting()
    proxied[33] = [b"one", b"two"]
    pending = pipeline.receive(octets(proxied), HERE, NOW_US)
    assert isinstance(pending, Pending)
    assert reply_to(proxied, pending.reply)[33] == [b"one", b"two"]


async def test_hostile_accounting_raises_nothing(world: World) -> None:
    pipeline = await _pipeline(world)
    good = octets(accounting())
    chance = random.Random(7)
    for _ in range(5_000):
        mutated = bytearray(good)
        for _ in range(chance.randint(1, 5)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        packet = (
            bytes(mutated[: chance.randint(0, len(mutated))]) if chance.random() < 0.3 else bytes(mutated)
        )
        outcome = pipeline.receive(packet, HERE, NOW_US)
        assert outcome is None or packet == good


async def test_records_are_on_disk_when_they_are_answered(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite", asyncio.get_running_loop(), JournalLimits(10, 0.001), print)
    answers: list[tuple[int, bool, int]] = []
    reader = JournalReader(tmp_path / "j.sqlite")
    done = asyncio.Event()

    def answer(number: int) -> None:
        assert journal.append(_record(number), lambda committed: answered(number, committed))

    def answered(number: int, committed: bool) -> None:
        answers.append((number, committed, reader.count_after(0)))
        if len(answers) == 1_000:
            done.set()

    for number in range(1_000):
        answer(number)
    await asyncio.wait_for(done.wait(), 20)
    assert [number for number, _, _ in answers] == list(range(1_000))
    assert all(committed and number < count for number, committed, count in answers)
    stored = reader.after(0, 2_000)
    assert [record.datagram for record in stored] == [_record(number).datagram for number in range(1_000)]
    assert (reader.id, stored[5].nas_id, stored[5].received_us) == (journal.id, "nas_1", 5)
    reader.close()
    await journal.close()


async def test_a_failing_disk_answers_no_and_a_working_one_yes_again(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    troubles: list[str | None] = []
    journal = Journal(path, asyncio.get_running_loop(), JournalLimits(1, 0.001), troubles.append)
    outcomes: asyncio.Queue[bool] = asyncio.Queue()
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count={pages}")  # as full as a disk can be
    for number in range(200):
        journal.append(_record(number), outcomes.put_nowait)
    got = [await asyncio.wait_for(outcomes.get(), 10) for _ in range(200)]
    assert False in got
    assert troubles[0] is not None and "full" in troubles[0]
    journal._connection.execute("PRAGMA max_page_count=1000000")
    journal.append(_record(999), outcomes.put_nowait)
    assert await asyncio.wait_for(outcomes.get(), 10) is True
    assert troubles[-1] is None, "it says when it works again"
    reader = JournalReader(path)
    assert reader.count_after(0) == got.count(True) + 1, "nothing is kept that was answered with no"
    reader.close()
    await journal.close()


async def test_the_backlog_is_bounded(tmp_path: Path) -> None:
    journal = Journal(
        tmp_path / "j.sqlite", asyncio.get_running_loop(), JournalLimits(1_000, 60.0, 100), print
    )
    taken = [journal.append(_record(number), lambda committed: None) for number in range(150)]
    assert taken == [True] * 100 + [False] * 50
    await journal.close()


async def test_trimmed_numbers_are_never_used_again(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    for round_ in range(2):
        journal = Journal(path, asyncio.get_running_loop(), JournalLimits(1, 0.001), print)
        done: asyncio.Queue[bool] = asyncio.Queue()
        for number in range(5):
            journal.append(_record(number), done.put_nowait)
        for _ in range(5):
            await asyncio.wait_for(done.get(), 10)
        journal.trim(5 * (round_ + 1))
        await journal.close()
    reader = JournalReader(path)
    assert reader.after(0, 10) == []
    reader.close()
    again = Journal(path, asyncio.get_running_loop(), JournalLimits(1, 0.001), print)
    done = asyncio.Queue()
    again.append(_record(1), done.put_nowait)
    await asyncio.wait_for(done.get(), 10)
    await again.close()
    assert sqlite3.connect(path).execute("SELECT seq FROM record").fetchall() == [(11,)]


_SERVER = """
import asyncio, sys
from pathlib import Path
from core.clock import SystemClock
from core.database import Database
from core.ids import UlidSource
from core.secrets import Sealer
from core.work import Workplace
from radius.config import RadiusSettings
from radius.serving.role import run_radius

async def main(url, journal, port):
    clock = SystemClock()
    workplace = Workplace(Database(url), clock, UlidSource(clock))
    settings = RadiusSettings(
        auth_listen=[], accounting_listen=[f"127.0.0.1:{port}"], journal_commit_rows=20, journal_commit_ms=1
    )
    ready = asyncio.Event()
    role = asyncio.create_task(
        run_radius(settings, workplace, Sealer({"k1": bytes(range(32))}), Path(journal), asyncio.Event(), ready)
    )
    await ready.wait()
    print("ready", flush=True)
    await role

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.mark.parametrize("seed", [1, 2])
async def test_kill_9_in_the_middle_of_accounting_loses_nothing_acknowledged(
    world: World, tmp_path: Path, seed: int
) -> None:
    """A real process is killed at a random moment under load, three times over one journal."""
    await world.nas()
    journal = tmp_path / "journal" / "radius.sqlite"
    chance = random.Random(seed)
    acknowledged: set[bytes] = set()
    sent = 0
    for _ in range(3):
        sent, more = await asyncio.to_thread(
            _one_life, world.workplace.database.url, journal, chance.uniform(0.05, 0.4), sent
        )
        acknowledged |= more
    reader = JournalReader(journal)
    stored = [record.datagram for record in reader.after(0, 1_000_000)]
    reader.close()
    assert len(acknowledged) > 50, "the server answered before it was killed"
    assert acknowledged - {b""} <= set(stored)
    check = sqlite3.connect(journal).execute("PRAGMA integrity_check").fetchone()
    assert check == ("ok",)


def _one_life(url: str, journal: Path, life_s: float, number: int) -> tuple[int, set[bytes]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(0.2)
        port = _free_port()
        command = [sys.executable, "-c", _SERVER, url, str(journal), str(port)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        server = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        try:
            assert server.stdout is not None
            while server.stdout.readline() != "ready\n":
                assert server.poll() is None, "the server did not start"
            return _load_until_killed(server, client, ("127.0.0.1", port), life_s, number)
        finally:
            server.kill()
            server.wait()


def _load_until_killed(
    server: subprocess.Popen[str], client: socket.socket, target: tuple[str, int], life_s: float, number: int
) -> tuple[int, set[bytes]]:
    asked: dict[int, bytes] = {}
    acknowledged: set[bytes] = set()
    threading.Timer(life_s, lambda: server.send_signal(signal.SIGKILL)).start()
    while server.poll() is None:
        for _ in range(30):
            number += 1
            packet = octets(accounting(f"{number:08x}", 3, identifier=number % 256))
            asked[number % 256] = packet
            client.sendto(packet, target)
        try:
            for _ in range(30):
                acknowledged.add(_answered(client.recv(4096), asked))
        except OSError:
            continue
    client.settimeout(0.05)
    try:
        while True:
            acknowledged.add(_answered(client.recv(4096), asked))
    except OSError:
        return number, acknowledged


def _answered(answer: bytes, asked: dict[int, bytes]) -> bytes:
    """The request that this answer acknowledges, proved by its authenticator."""
    packet = asked[answer[1]]
    digest = hashlib.md5(answer[:4] + packet[4:20] + answer[20:] + SECRET.encode()).digest()
    return packet if digest == answer[4:20] else b""


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_journal_that_has_no_room_to_be_opened_is_opened_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was filled while nothing ran: sign-ins are answered all the same, reports when there is room."""

    def full(_path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("radius.accounting.journal._open", full)
    troubles: list[str | None] = []
    path = tmp_path / "radius.sqlite"
    journal = Journal(path, asyncio.get_running_loop(), JournalLimits(1, 0.001), troubles.append)
    done: asyncio.Queue[bool] = asyncio.Queue()
    journal.append(_record(1), done.put_nowait)
    assert not await asyncio.wait_for(done.get(), 10)
    assert troubles[0] == "radius.sqlite cannot be opened: database or disk is full"
    assert journal.id == ""
    monkeypatch.undo()
    journal.append(_record(2), done.put_nowait)
    assert await asyncio.wait_for(done.get(), 10)
    assert troubles[-1] is None
    await journal.close()
    reader = JournalReader(path)
    assert reader.id == journal.id != ""
    assert len(reader.after(0, 10)) == 1
    reader.close()


async def test_the_writer_outlives_what_is_no_fault_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(_size: int) -> str:
        monkeypatch.undo()
        raise MemoryError

    monkeypatch.setattr("radius.accounting.journal._insert", no_memory)
    troubles: list[str | None] = []
    journal = Journal(
        tmp_path / "radius.sqlite", asyncio.get_running_loop(), JournalLimits(1, 0.001), troubles.append
    )
    done: asyncio.Queue[bool] = asyncio.Queue()
    for wanted in (False, True):
        journal.append(_record(1), done.put_nowait)
        assert await asyncio.wait_for(done.get(), 10) is wanted
    await journal.close()
    assert troubles == ["MemoryError: ", None]


async def test_a_damaged_journal_is_put_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    """Each time it happens: what was put aside before stays too."""
    path = tmp_path / "radius.sqlite"
    for number, name in enumerate(("radius.damaged", "radius.damaged1")):
        path.write_bytes(b"no database %d" % number * 500)
        troubles: list[str | None] = []
        journal = Journal(path, asyncio.get_running_loop(), JournalLimits(1, 0.001), troubles.append)
        done: asyncio.Queue[bool] = asyncio.Queue()
        journal.append(_record(1), done.put_nowait)
        assert await asyncio.wait_for(done.get(), 10)
        await journal.close()
        assert str(troubles[0]).endswith(f"put aside as {name}")
        assert (tmp_path / name).read_bytes().startswith(b"no database %d" % number)
    assert damaged_journals(tmp_path) == ["radius.damaged", "radius.damaged1"]
