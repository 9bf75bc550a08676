"""``hilltop radius watch``: what is seen of a running process, what never is, and what watching costs it."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from radius_world import SECRET, World, accounting, chap, mschapv2, octets, pap, status
from typer.testing import CliRunner

from appliance.command_line import app
from core.clock import SystemClock
from radius.config import RadiusSettings
from radius.dictionary.attributes import attribute_dictionary
from radius.nas.table import NasTable
from radius.serving.counters import Counters
from radius.serving.endpoint import Endpoint
from radius.serving.role import RadiusServer
from radius.watching.client import Connected, NobodyServes, WatchedExchange, watch
from radius.watching.filter import WatchFilter, code_of
from radius.watching.watch import SILENCES, WatchDoor, reachable, watch_path

PASSWORD = "open sesame"
ANY = ("127.0.0.1", 0)


@dataclass
class Serving:
    server: RadiusServer
    folder: Path
    stop: asyncio.Event
    running: asyncio.Task[None]

    async def send(self, *datagrams: bytes, to: str = "auth", source: str = "127.0.0.1") -> socket.socket:
        """From one socket, which may be kept to read what comes back."""
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.setblocking(False)
        line.bind((source, 0))
        port = self.server.ports[0 if to == "auth" else 1]
        for one in datagrams:
            await asyncio.get_running_loop().sock_sendto(line, one, ("127.0.0.1", port))
        return line

    @property
    def endpoints(self) -> list[Endpoint]:
        return self.server._doors.endpoints

    async def end(self) -> None:
        self.stop.set()
        await self.running


async def started(world: World, journal: Path, **more: Any) -> Serving:
    listen = {"auth_listen": ["127.0.0.1:0"], "accounting_listen": ["127.0.0.1:0"], "reject_delay_s": 0.2}
    settings = RadiusSettings(**{**listen, **more})
    server = RadiusServer(settings, world.workplace, world.sealer, journal)
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(server.run(stop, ready))
    await asyncio.wait_for(ready.wait(), 20)
    async with asyncio.timeout(10):
        while not watch_path(journal).exists():
            await asyncio.sleep(0.005)
    return Serving(server, journal.parent, stop, running)


@pytest.fixture
async def serving(world: World, tmp_path: Path) -> AsyncIterator[Serving]:
    world.workplace.clock = SystemClock()
    await world.nas("tower", "127.0.0.1")
    await world.nas("hill", "127.0.0.3")
    await world.service("alice", PASSWORD)
    (tmp_path / "journal").mkdir()
    found = await started(world, tmp_path / "journal" / "radius.sqlite3")
    yield found
    await found.end()


@asynccontextmanager
async def watched(serving: Serving, processes: int = 1, **wants: Any) -> AsyncIterator[AsyncIterator[Any]]:
    """What is told after every process has said that it tells."""
    async with aclosing(watch(serving.folder, WatchFilter(**wants), attribute_dictionary())) as told:
        for _ in range(processes):
            assert isinstance(await asyncio.wait_for(anext(told), 10), Connected)
        yield told


async def upcoming(told: AsyncIterator[Any]) -> WatchedExchange:
    found = await asyncio.wait_for(anext(told), 10)
    assert isinstance(found, WatchedExchange), found
    return found


async def test_requests_answers_reasons_and_latency(serving: Serving) -> None:
    async with watched(serving) as told:
        with await serving.send(octets(pap("alice", PASSWORD))):
            accepted = await upcoming(told)
        assert (accepted.nas, accepted.request, accepted.answer) == (
            "tower",
            "Access-Request",
            "Access-Accept",
        )
        assert "User-Name = alice" in map(str, accepted.attributes)
        assert "User-Password = (hidden)" in map(str, accepted.attributes)
        assert "Mikrotik-Rate-Limit = 5M/25M" in map(str, accepted.answer_attributes)
        assert 0 < accepted.ms < 10_000
        with await serving.send(octets(pap("alice", "wrong"))):
            refused = await upcoming(told)
        assert refused.answer == "Access-Reject"
        assert refused.why.startswith("wrong_password: ")
        assert refused.ms >= 199, "the reject was delayed"
        with await serving.send(octets(accounting("s-1")), to="acct"):
            accounted = await upcoming(told)
        assert (accounted.request, accounted.answer) == ("Accounting-Request", "Accounting-Response")
        assert "Acct-Status-Type = Start" in map(str, accounted.attributes)
        with await serving.send(octets(status())):
            assert (await upcoming(told)).answer == "Access-Accept"


async def test_silence_says_why(serving: Serving) -> None:
    unsigned = octets(pap("alice", PASSWORD, signed=False))
    cases = [
        (octets(pap("alice", PASSWORD, secret="another")), "auth", "127.0.0.1", "signed with another secret"),
        (octets(pap("alice", PASSWORD))[:30], "auth", "127.0.0.1", "not a well-formed packet: cut off"),
        (b"\x01", "auth", "127.0.0.1", "shorter than a header"),
        (octets(accounting("s-9")), "auth", "127.0.0.1", "does not belong on this port"),
        (octets(accounting("s-9", secret="another")), "acct", "127.0.0.1", "signed with another secret"),
        (octets(pap("alice", PASSWORD)), "auth", "127.0.0.9", "this address is no registered NAS"),
        (octets(pap("alice", PASSWORD)), "auth", "127.0.0.1", ""),
        (unsigned, "auth", "127.0.0.1", "this NAS must sign"),
    ]
    async with watched(serving) as told:
        for datagram, to, source, why in cases:
            with await serving.send(datagram, to=to, source=source):
                found = await upcoming(told)
            assert why in found.why, (found, why)
            assert (found.answer == "") == bool(why)
            assert found.nas == ("" if source == "127.0.0.9" else "tower")
            assert ("no answer" in str(found)) == bool(why)


async def test_a_retransmit_and_another_question_are_told_apart(serving: Serving) -> None:
    first, second = octets(pap("alice", "wrong", identifier=9)), octets(pap("alice", PASSWORD, identifier=9))
    async with watched(serving) as told:
        with await serving.send(first, first, second, second):
            found = [await upcoming(told) for _ in range(4)]
        assert [one.why.partition(":")[0] for one in found] == [
            "a retransmit of a request that is being worked on",
            "the NAS asked something else under the same identifier",
            "",
            "again, from memory",
        ]
        assert [one.answer for one in found] == ["", "", "Access-Accept", "Access-Accept"]


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"user": "AL*"}, ["alice pap", "alice wrong", "alice hill"]),
    ({"nas": "hill"}, ["alice hill"]),
    ({"nas": "127.0.0.3"}, ["alice hill"]),
    ({"station": "aabb.cc00.1122"}, ["alice pap", "alice wrong", "bob", "alice hill"]),
    ({"codes": [4]}, ["accounting"]),
    ({"codes": [3]}, ["alice wrong", "bob"]),
    ({"rejects": True}, ["alice wrong", "bob", "stranger"]),
    ({"rejects": True, "user": "bob"}, ["bob"]),
]


async def test_filters(serving: Serving) -> None:
    requests: dict[str, tuple[bytes, dict[str, str]]] = {
        "alice pap": (octets(pap("alice", PASSWORD)), {}),
        "alice wrong": (octets(pap("alice", "wrong")), {}),
        "bob": (octets(pap("bob", PASSWORD)), {}),
        "alice hill": (octets(pap("alice", PASSWORD)), {"source": "127.0.0.3"}),
        "stranger": (octets(status()), {"source": "127.0.0.9"}),
        "accounting": (octets(accounting("s-2", username="carol")), {"to": "acct"}),
    }
    async with AsyncExitStack() as stack:
        half = len(FILTERS) // 2  # eight may watch, and we are one more
        for cases in (FILTERS[:half], FILTERS[half:]):
            watchers = [await stack.enter_async_context(watched(serving, **wants)) for wants, _ in cases]
            lines = {name: await serving.send(one, **more) for name, (one, more) in requests.items()}
            for told, (wants, sees) in zip(watchers, cases, strict=True):
                seen = sorted([(one.source, one.port) for one in [await upcoming(told) for _ in sees]])
                assert seen == sorted(lines[name].getsockname() for name in sees), wants
            for told, (wants, _) in zip(watchers, cases, strict=True):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(told), 0.02)
                    pytest.fail(f"{wants} lets more through")
            await stack.aclose()
            for one in lines.values():
                one.close()


async def test_nothing_secret_is_shown(serving: Serving) -> None:
    async with watched(serving) as told:
        for packet in (pap("alice", PASSWORD), chap("alice", PASSWORD), mschapv2("alice", PASSWORD)):
            datagram = octets(packet)
            with await serving.send(datagram):
                found = await upcoming(told)
            said = str(found) + json.dumps(found.as_json()) + repr(found)
            assert PASSWORD not in said and SECRET not in said
            for secret in [
                *packet.get(2, []),
                *packet.get(3, []),
                *(one[-24:] for one in packet.get(26, [])),
            ]:
                assert secret.hex() not in said
            assert "MS-MPPE-Send-Key = (hidden)" in said or packet.get(26) is None


async def test_only_its_own_user_may_open_it_and_nothing_is_tapped_while_nobody_watches(
    serving: Serving,
) -> None:
    path = watch_path(serving.folder / "radius.sqlite3")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    plain = [(one.handle, one.send) for one in serving.endpoints]
    async with watched(serving) as told:
        async with watched(serving):
            tapped = [(one.handle, one.send) for one in serving.endpoints]
            assert not set(plain) & set(tapped)
        with await serving.send(octets(status())):
            await upcoming(told)
        assert [(one.handle, one.send) for one in serving.endpoints] == tapped, "one still watches"
    async with asyncio.timeout(10):
        while [(one.handle, one.send) for one in serving.endpoints] != plain:
            await asyncio.sleep(0.005)
    assert serving.server._rejects.listener is None


async def test_a_slow_watcher_misses_and_is_told_how_many(serving: Serving) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lazy:
        lazy.setblocking(False)
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        with reachable(watch_path(serving.folder / "radius.sqlite3")) as name:
            lazy.connect(name)
        await loop.sock_sendall(lazy, WatchFilter().as_json())
        assert b"watching" in await asyncio.wait_for(loop.sock_recv(lazy, 100), 10)
        with await serving.send(b"") as line:
            long = octets(status())[:2] + (4000).to_bytes(2, "big") + bytes(3996)  # shown whole: 8 kB a line
            for _ in range(6):
                for _ in range(60):
                    await loop.sock_sendto(line, long, ("127.0.0.1", serving.server.ports[0]))
                await asyncio.sleep(0.01)
            with await serving.send(octets(pap("alice", PASSWORD))) as asking:
                assert (await asyncio.wait_for(loop.sock_recv(asking, 4_096), 10))[0] == 2, "it serves on"
        read = b""
        while read.count(b"missed") < 1:
            chunk = await asyncio.wait_for(loop.sock_recv(lazy, 1 << 20), 10)
            assert chunk
            read += chunk
            with await serving.send(octets(status())):
                pass
    assert len(read) < 3 << 20, "what waited was bounded"
    missed = [json.loads(line)["missed"] for line in read.splitlines() if line.startswith(b'{"missed"')]
    assert missed and missed[0] > 0


async def test_who_says_no_filter_is_sent_away(serving: Serving) -> None:
    for said in (b"", b"nonsense\n", b"[]\n", b'{"user": 7}\n', b'{"other": 1}\n', b"x" * 100_000):
        with reachable(watch_path(serving.folder / "radius.sqlite3")) as name:
            reader, writer = await asyncio.open_unix_connection(name)
        writer.write(said)
        if not said:
            writer.write_eof()
        with suppress(ConnectionError):  # it hung up before it read all of a long one
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_several_processes_are_one_and_a_replaced_one_is_found(
    serving: Serving, world: World, tmp_path: Path
) -> None:
    second = await started(world, serving.folder / "radius-2.sqlite3")
    try:
        async with watched(serving, processes=2) as told:
            for one in (serving, second):
                with await one.send(octets(pap("alice", PASSWORD))) as line:
                    assert (await upcoming(told)).port == line.getsockname()[1]
            await second.end()
            second = await started(world, serving.folder / "radius-2.sqlite3")
            assert isinstance(await asyncio.wait_for(anext(told), 10), Connected)
            with await second.send(octets(pap("alice", PASSWORD))) as line:
                assert (await upcoming(told)).port == line.getsockname()[1]
    finally:
        await second.end()
    assert not watch_path(serving.folder / "radius-2.sqlite3").exists()


async def test_nobody_to_watch_is_said(tmp_path: Path) -> None:
    with pytest.raises(NobodyServes):
        await anext(watch(tmp_path, WatchFilter(), attribute_dictionary()))


async def test_a_ninth_watcher_is_told_why_not(serving: Serving) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(watched(serving))
        with pytest.raises(NobodyServes, match="8 watch this process already"):
            await asyncio.wait_for(anext(watch(serving.folder, WatchFilter(), attribute_dictionary())), 10)


async def test_the_name_of_a_successors_socket_stays(serving: Serving, world: World) -> None:
    journal = serving.folder / "radius-2.sqlite3"
    first = await started(world, journal)
    before = watch_path(journal).stat().st_ino
    second = WatchDoor(
        journal, world.workplace.clock, first.server.counters, NasTable(), first.server._rejects
    )
    stop = asyncio.Event()
    following = asyncio.create_task(second.run([], first.server._radsec, stop))
    async with asyncio.timeout(10):
        while not watch_path(journal).exists() or watch_path(journal).stat().st_ino == before:
            await asyncio.sleep(0.005)
    await first.end()
    assert watch_path(journal).exists()
    stop.set()
    await following
    assert not watch_path(journal).exists()


async def test_a_folder_however_deep_can_be_watched(world: World, tmp_path: Path) -> None:
    world.workplace.clock = SystemClock()
    await world.nas()
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    serving = await started(world, deep / "radius.sqlite3")
    try:
        async with watched(serving) as told:
            with await serving.send(octets(status())):
                assert (await upcoming(told)).answer == "Access-Accept"
    finally:
        await serving.end()


async def test_the_command(serving: Serving, tmp_path: Path) -> None:
    config = tmp_path / "hilltop.toml"
    config.write_text(f'[state]\ndirectory = "{tmp_path}"\n')
    words = [
        "-c",
        str(config),
        "radius",
        "watch",
        "--count",
        "2",
        "--rejects",
        "--code",
        "access-reject",
        "--json",
    ]
    command = asyncio.create_task(asyncio.to_thread(CliRunner().invoke, app, words))
    while not command.done():
        for name in ("alice", "bob"):
            with await serving.send(octets(pap(name, "wrong"))):
                await asyncio.sleep(0.05)
    result = await command
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert [one["answer"] for one in lines if "answer" in one] == ["Access-Reject"] * 2
    refused = CliRunner().invoke(app, ["-c", str(config), "radius", "watch", "--code", "nonsense"])
    assert (refused.exit_code, "Access-Accept" in refused.output) == (2, True)
    config.write_text(f'[state]\ndirectory = "{tmp_path / "empty"}"\n')
    nobody = await asyncio.to_thread(CliRunner().invoke, app, ["-c", str(config), "radius", "watch"])
    assert (nobody.exit_code, "hilltop run" in nobody.output) == (1, True)


def test_codes_by_name_or_number() -> None:
    assert (code_of("access-reject"), code_of("3"), code_of("CoA-NAK")) == (3, 3, 45)
    with pytest.raises(ValueError, match="use a number or one of Access-Request"):
        code_of("256")


def test_each_reason_of_a_silence_is_a_counter() -> None:
    assert {one.name for one in fields(Counters)} >= set(SILENCES)
