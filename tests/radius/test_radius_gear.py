"""Operators at the prompt of network gear: who is let in, what the device hears, and that it is all on record."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from radius_live import Live, live_server, needs_radclient
from radius_world import World, mschapv2, octets, pap, reply_to
from sqlalchemy import func, select, update

from aaa.gear_logins import GearSignIn, follow_operator, gear_sign_ins, give_gear_login, take_gear_login
from aaa.store.repositories import append_directory_change
from aaa.store.tables import gear_sign_in, nas
from core.refusal import Refusal, granted
from core.work import Work, Workplace
from radius.gear.login import prompt_attributes
from radius.gear.record import GearRecord, gear_record_path, take_over_left

FROM = 'Calling-Station-Id = "192.0.2.77"'
SIGNED = "Message-Authenticator = 0x00"


async def _give(world: World, name: str = "ana", level: str = "full") -> str:
    async with world.workplace.work("test") as work:
        made = await give_gear_login(work, world.sealer, operator_id=f"opr_{name}", name=name, level=level)
        return granted(made).reveal()


async def _ask(
    live: Live, name: str, secret: str, *more: str, method: str = "User-Password", kind: str = "Login-User"
) -> str:
    return await live.radclient(
        "auth", f'User-Name = "{name}"', f'{method} = "{secret}"', f"Service-Type = {kind}", FROM, SIGNED, *more
    )  # fmt: skip


async def _on_record(world: World, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        while True:
            async with world.workplace.reading() as connection:
                found = await gear_sign_ins(connection, 50)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


@needs_radclient
async def test_operators_sign_in_to_gear_and_it_is_on_record(world: World, tmp_path: Path) -> None:
    """One server: every method, every refusal, hold-back, the operator kept out; each told and recorded."""
    await world.nas(admin_logins=True)
    await world.service("alice", "alice's word")
    password = await _give(world)
    async with live_server(world, tmp_path, reject_delay_s=0.0) as live:
        unsigned = (
            "User-Name = ana",
            f'User-Password = "{password}"',
            "Service-Type = NAS-Prompt-User",
            FROM,
        )
        assert "Received Access-Reject" in await live.radclient("auth", *unsigned), (
            "its answer could be forged"
        )
        for method in ("User-Password", "CHAP-Password"):
            said = await _ask(live, "ana", password, method=method)
            assert "Received Access-Accept" in said, method
            assert 'Mikrotik-Group = "full"' in said
            assert "Service-Type = Administrative-User" in said
            assert "Framed" not in said
            assert "Class" not in said
        answer = await _mschapv2(live, "ana", password)
        assert answer.code == 2
        assert any(value[:4] == b"\0\0\1\x37" and value[4] == 26 for value in answer[26]), "MS-CHAP2-Success"
        refused = {
            "a wrong password": await _ask(live, "ana", "guess"),
            "nobody": await _ask(live, "mallory", "guess"),
            "a subscriber": await _ask(live, "alice", "alice's word"),
            "a subscriber, administrative": await _ask(live, "alice", "alice's word", kind="Administrative-User"),
        }  # fmt: skip
        for what, said in refused.items():
            assert "Received Access-Accept" not in said, what
        line = await live.radclient(
            "auth", "User-Name = ana", f'User-Password = "{password}"', "Service-Type = Framed-User", SIGNED
        )
        assert "Received Access-Reject" in line, "an operator's login is no subscriber's"
        hotspot = ("NAS-Port-Type = Wireless-802.11", 'Called-Station-Id = "hotspot1"')
        assert "Received Access-Accept" in await _ask(live, "alice", "alice's word", *hotspot)
        assert "Received Access-Accept" not in await _ask(live, "ana", password, *hotspot)

        lines = await _on_record(world, 7)
        assert [one.granted for one in lines].count(True) == 3
        assert {(one.name, one.nas, one.nas_address, one.from_address) for one in lines if one.granted} == {
            ("ana", "tower", "127.0.0.1", "192.0.2.77")
        }
        assert {one.name for one in lines if not one.granted} == {"ana", "mallory", "alice"}
        assert password not in str(lines)

        for _ in range(6):
            await live.radclient(
                "auth", "User-Name = ana", "User-Password = guess", "Service-Type = Login-User", SIGNED,
                'Calling-Station-Id = "198.51.100.9"',
            )  # fmt: skip
        async with world.workplace.work("test") as work:
            await follow_operator(work, "opr_ana", enabled=False)
        await live.caught_up()
        assert "Received Access-Reject" in await _ask(live, "ana", password), "kept out, he loses it at once"
        async with world.workplace.work("test") as work:
            await follow_operator(work, "opr_ana", enabled=True)
        await live.caught_up()
        assert "Received Access-Accept" in await _ask(live, "ana", password)
        other = await _give(world, level="read")
        await live.caught_up()
        assert "Received Access-Reject" in await _ask(live, "ana", password)
        said = await _ask(live, "ana", other)
        assert 'Mikrotik-Group = "read"' in said
        assert "Service-Type = NAS-Prompt-User" in said
        async with world.workplace.work("test") as work:
            await work.connection.execute(update(nas).values(admin_logins=False))
            await append_directory_change(work.connection, "nas", "any", work.now)
        await live.caught_up()
        assert "Received Access-Accept" not in await _ask(live, "ana", other, kind="Administrative-User")


async def _mschapv2(live: Live, name: str, password: str) -> Any:
    packet = mschapv2(name, password)
    packet[6] = [b"\0\0\0\1"]
    packet[31] = [b"192.0.2.77"]
    with live.client() as client:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, octets(packet))
        return reply_to(packet, await asyncio.wait_for(loop.sock_recv(client, 4096), 5))


async def _silence(live: Live, password: str) -> bool:
    packet = pap("ana", password)
    packet[6] = [b"\0\0\0\1"]
    with live.client() as client:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, octets(packet))
        async with asyncio.timeout(10):
            while not live.server.counters.gear_not_recorded:
                await asyncio.sleep(0.01)
        try:
            client.recv(4096)
        except BlockingIOError:
            return True
    return False


@needs_radclient
async def test_guessing_at_gear_is_slowed_down_where_it_comes_from(world: World, tmp_path: Path) -> None:
    await world.nas(admin_logins=True)
    password = await _give(world)
    async with live_server(world, tmp_path, reject_delay_s=0.0) as live:
        for _ in range(6):
            await _ask(live, "ana", "guess")
        assert "Received Access-Reject" in await _ask(live, "ana", password)
        line = ("User-Name = ana", f'User-Password = "{password}"', "Service-Type = Login-User", SIGNED)
        elsewhere = await live.radclient("auth", *line, 'Calling-Station-Id = "192.0.2.78"')
        assert "Received Access-Accept" in elsewhere
        assert live.server.counters.held_back >= 1
        lines = await _on_record(world, 8)
        assert any("looked at in" in one.reason for one in lines)


@needs_radclient
async def test_what_cannot_be_recorded_is_not_let_in(world: World, tmp_path: Path) -> None:
    await world.nas(admin_logins=True)
    password = await _give(world)
    async with live_server(world, tmp_path, reject_delay_s=0.0) as live:
        path = gear_record_path(live.journal)
        path.mkdir()  # nothing can be written there now
        assert await _silence(live, password)
        assert live.server.counters.gear_not_recorded >= 1
        path.rmdir()
        assert "Received Access-Accept" in await _ask(live, "ana", password)
        assert [one.granted for one in await _on_record(world, 1)] == [True]


def _sign_in(key: str, **more: Any) -> GearSignIn:
    fields = {
        "key": key, "at": datetime(2026, 3, 10, 12, tzinfo=UTC), "name": "ana", "operator_id": "opr_ana",
        "nas_id": "nas_1", "nas_address": "10.0.0.1", "from_address": "192.0.2.77", "service_type": 1,
        "granted": True, "level": "full", "reason": "let in",
    }  # fmt: skip
    return GearSignIn(**fields | more)


async def test_lines_come_into_the_database_once_whatever_is_cut(any_world: World, tmp_path: Path) -> None:
    workplace, path = any_world.workplace, tmp_path / "radius.gear.jsonl"
    record, told = GearRecord(path), []
    for number in range(5):
        assert record.note(_sign_in(f"k{number}", name="a\0na"), told.append)
    await record.close()
    assert told == [True] * 5
    whole = path.read_bytes()
    await record.turn(workplace)
    assert path.read_bytes() == b""
    path.write_bytes(whole[: len(whole) // 2] + b"\n\xff\xfe not json\n" + whole + whole[:30])
    await GearRecord(path).turn(workplace)
    assert path.read_bytes() == whole[:30], "a torn end waits for its rest"
    later = GearRecord(path)
    assert later.note(_sign_in("k9"), told.append)
    await later.close()
    await later.turn(workplace)
    assert await _count(workplace) == 6
    assert path.read_bytes() == b""


async def test_a_process_and_its_successor_keep_each_others_lines(world: World, tmp_path: Path) -> None:
    """While RADIUS is reloaded both bring the same lines in, and the successor's next one comes in between."""
    path, told = tmp_path / "radius.gear.jsonl", list[bool]()
    old, successor = GearRecord(path), GearRecord(path)
    old.note(_sign_in("first"), told.append)
    await old.close()

    class Meanwhile:
        @asynccontextmanager
        async def work(self, actor: str) -> AsyncIterator[Work]:
            await old.turn(world.workplace)
            successor.note(_sign_in("second, of another length"), told.append)
            await successor.close()
            async with world.workplace.work(actor) as work:
                yield work

    await successor.turn(cast("Workplace", Meanwhile()))
    assert told == [True, True]
    assert json.loads(path.read_text())["key"] == "second, of another length"
    await successor.turn(world.workplace)
    assert await _count(world.workplace) == 2


async def test_what_a_process_left_that_runs_no_more_is_taken_over(world: World, tmp_path: Path) -> None:
    told: list[bool] = []
    for name in ("radius", "radius-1", "radius-2"):
        record = GearRecord(tmp_path / f"{name}.gear.jsonl")
        assert record.note(_sign_in(name), told.append)
        await record.close()
    await take_over_left(tmp_path, ["radius.sqlite", "radius-1.sqlite"], world.workplace)
    assert await _count(world.workplace) == 1
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.jsonl")}
    assert [name for name, size in sizes.items() if not size] == ["radius-2.gear.jsonl"]


async def test_lines_wait_for_the_database_and_are_bounded(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "radius.gear.jsonl"
    record, told = GearRecord(path), []
    monkeypatch.setattr("radius.gear.record._LARGEST_OCTETS", 1_000)
    for number in range(10):
        record.note(_sign_in(f"k{number}"), told.append)
        await record.close()
    assert told.count(True) == len(path.read_text().splitlines()) < 10
    assert record.trouble == "too many wait for the database"
    await record.turn(world.workplace)
    record.note(_sign_in("later"), told.append)
    await record.close()
    assert record.trouble is None
    assert told[-1]
    assert json.loads(path.read_text())["key"] == "later"
    assert path.stat().st_mode & 0o077 == 0
    for number in range(2_000):
        record.note(_sign_in(f"m{number}"), told.append)
    assert len(record._waiting) == 1_000
    await record.close()


async def _count(workplace: Workplace) -> int:
    async with workplace.reading() as connection:
        return int((await connection.execute(select(func.count()).select_from(gear_sign_in))).scalar_one())


async def test_who_may_not_have_a_login_is_told_why(world: World) -> None:
    await world.service("alice")
    async with world.workplace.work("test") as work:
        level = await give_gear_login(work, world.sealer, operator_id="o", name="ana", level="god")
        taken = await give_gear_login(work, world.sealer, operator_id="o", name="alice", level="read")
        none = await take_gear_login(work, "o")
    assert [one.field for one in (level, taken, none) if isinstance(one, Refusal)] == [
        "level",
        "name",
        "operator",
    ]


@pytest.mark.parametrize(
    ("dialect", "full", "read"),
    [
        ("mikrotik", "1a0c0000 3a8c 0306 66756c6c", "1a0c0000 3a8c 0306 72656164"),
        ("cisco", "1a19 00000009 0113 7368656c6c3a707269762d6c766c3d3135", "1a18 00000009 0112 7368656c6c3a707269762d6c766c3d31"),
        ("cambium_epmp", "1a0c 00004531 3206 00000003", "1a0c 00004531 3206 00000005"),
        ("cambium_pmp450", "1a0c 000000a1 3206 00000003", "1a0c 000000a1 3206 00000001"),
        ("juniper", "1a14 00000a4c 010e 68696c6c746f702d66756c6c", "1a14 00000a4c 010e 68696c6c746f702d72656164"),
        ("ubiquiti", "", ""),
    ],
)  # fmt: skip
def test_each_vendor_hears_its_own_word(dialect: str, full: str, read: str) -> None:
    assert prompt_attributes(dialect, "full") == bytes.fromhex("060600000006" + full)
    assert prompt_attributes(dialect, "read") == bytes.fromhex("060600000007" + read)
