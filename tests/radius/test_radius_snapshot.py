"""The snapshot of the directory: whole, sealed, refused when it is not ours; and what profiles say without the database."""

from __future__ import annotations

import asyncio
import os
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from radius_world import World, bench_over, octets, pap, reply_to
from sqlalchemy import select

from aaa.define_profile import redefine_profile
from aaa.directory import Directory
from aaa.domain.effect import Effect
from aaa.domain.profile import AccessPolicy
from aaa.gear_logins import give_gear_login
from aaa.rotate_secret import rotate_secret
from aaa.set_up import set_password
from aaa.stale_directory import due_actions, under_age
from core.clock import FakeClock
from core.memory_database import MemoryDatabase
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.store.tables import health_issue
from core.work import Workplace
from radius.directory.keep_snapshot import SnapshotKeeper, take_image
from radius.directory.snapshot import (
    MAGIC,
    SnapshotHeader,
    SnapshotRefused,
    read_snapshot,
    snapshot_path,
    write_snapshot,
)
from radius.directory.source import DirectorySource, directory_of_snapshot
from radius.explaining.explain import explain

POLICY = AccessPolicy()


async def _valley(world: World) -> dict[str, str]:
    nas_id = await world.nas()
    async with world.workplace.work("test") as work:
        granted(await rotate_secret(work, world.sealer, nas_id))
    async with world.workplace.work("test") as work:
        granted(await give_gear_login(work, world.sealer, operator_id="opr_1", name="ana", level="full"))
    ids = {name: await world.service(name, f"{name}'s word") for name in ("alice", "bob")}
    ids["carol"] = await world.service("carol", mac="00:e1:0c:38:c8:f8", framed_ip="100.64.0.9")
    await world.hold(ids["bob"], Effect.WALLED_GARDEN)
    return ids


def _seen(directory: Directory) -> dict[str, Any]:
    """Everything of a directory that can be compared."""

    def plain(value: Any) -> Any:
        slots = [one.name for one in fields(value)] if hasattr(value, "__dataclass_fields__") else None
        return {name: plain(getattr(value, name)) for name in slots} if slots else value

    logins = {name: plain(login) for name, login in directory.logins.items()}
    return {
        "logins": logins, "nases": directory.nases, "profiles": directory.profiles, "seq": directory.seq,
        "usernames": directory.usernames_of, "templates": directory.templates, "troubles": directory.troubles,
        "gear": directory.gear,
    }  # fmt: skip


async def _snapshot(world: World, folder: Path) -> Path:
    path = snapshot_path(folder)
    header, image = await take_image(world.workplace)
    write_snapshot(path, world.sealer, header, image)
    return path


async def test_a_snapshot_gives_the_very_directory_of_the_database(any_world: World, tmp_path: Path) -> None:
    await _valley(any_world)
    path = await _snapshot(any_world, tmp_path)
    directory, taken_at = await directory_of_snapshot(path, any_world.sealer, POLICY)
    assert _seen(directory) == _seen(await any_world.directory())
    assert taken_at == any_world.workplace.clock.now()
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    assert b"alice" not in content
    assert b"SQLite" not in content


async def test_what_is_not_a_sound_snapshot_of_ours_is_refused(world: World, tmp_path: Path) -> None:
    await _valley(world)
    path = await _snapshot(world, tmp_path)
    sound = path.read_bytes()
    other = Sealer({"k1": bytes(32)})
    with pytest.raises(SnapshotRefused, match="another key"):
        read_snapshot(path, other)
    first, second, _ = sound.split(b"\n", 2)
    damages = {
        "torn": sound[: len(sound) // 2],
        "one bit": sound[:-9] + bytes((sound[-9] ^ 1,)) + sound[-8:],
        "header": sound.replace(b'"seq": ', b'"seq": 1', 1),
        "layout": sound.replace(second[12:20], b"00000000", 1),
        "no header": MAGIC + b"x" * 5_000,
        "other": b"hilltop-directory 2\n" + sound[len(first) + 1 :],
        "empty": b"",
        "no json": MAGIC + b"[1]\n",
    }
    for name, content in damages.items():
        path.write_bytes(content)
        with pytest.raises(SnapshotRefused):
            read_snapshot(path, world.sealer)
            pytest.fail(name)
    header = read_snapshot_header(sound)
    write_snapshot(path, world.sealer, header, b"this is no database" * 100)
    with pytest.raises(SnapshotRefused, match="whole directory"):
        await directory_of_snapshot(path, world.sealer, POLICY)


def read_snapshot_header(content: bytes) -> SnapshotHeader:
    import json

    return SnapshotHeader(**json.loads(content.split(b"\n")[1]))


async def test_a_table_that_is_missing_is_told(world: World, tmp_path: Path) -> None:
    header, _ = await take_image(world.workplace)
    memory = MemoryDatabase()
    async with memory.work() as connection:
        await connection.exec_driver_sql("CREATE TABLE something (id INTEGER)")
    path = snapshot_path(tmp_path)
    write_snapshot(path, world.sealer, header, await memory.image())
    await memory.close()
    with pytest.raises(SnapshotRefused, match="no such table"):
        await directory_of_snapshot(path, world.sealer, POLICY)


async def test_it_is_written_when_something_changed_and_not_too_often(world: World, tmp_path: Path) -> None:
    ids = await _valley(world)
    clock = world.workplace.clock
    assert isinstance(clock, FakeClock)
    keeper = SnapshotKeeper(tmp_path, world.workplace, world.sealer, 300.0)
    assert await keeper.turn()
    assert not await keeper.turn()
    await world.hold(ids["alice"], Effect.BLOCK)
    assert not await keeper.turn(), "not sooner than every five minutes"
    clock.advance(timedelta(seconds=301))
    assert await keeper.turn()
    clock.advance(timedelta(seconds=301))
    assert not await keeper.turn(), "nothing has changed"
    assert not await SnapshotKeeper(tmp_path, world.workplace, world.sealer, 300.0).turn(), (
        "nor for a new process"
    )


async def test_a_write_that_fails_leaves_the_old_one_and_is_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await _valley(world)
    keeper = SnapshotKeeper(tmp_path, world.workplace, world.sealer, 0.0)
    assert await keeper.turn()
    before = snapshot_path(tmp_path).read_bytes()
    await world.hold(ids["alice"], Effect.BLOCK)
    fsync = os.fsync

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.files.os.fsync", full)
    assert not await keeper.turn()
    assert snapshot_path(tmp_path).read_bytes() == before
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert await _issue(world) == "open"
    monkeypatch.setattr("core.files.os.fsync", fsync)
    assert await keeper.turn()
    assert await _issue(world) == "closed"


async def _issue(world: World) -> str:
    async with world.workplace.reading() as connection:
        query = select(health_issue).where(health_issue.c.key == "radius.snapshot")
        row = (await connection.execute(query)).one()
    return "open" if row.closed_at is None else "closed"


class Away:
    """A workplace whose database can be away."""

    def __init__(self, workplace: Workplace) -> None:
        self._workplace = workplace
        self.clock = workplace.clock
        self.away = True

    def reading(self) -> Any:
        if self.away:
            raise ConnectionRefusedError("the database is away")
        return self._workplace.reading()


async def test_the_source_begins_with_the_snapshot_and_the_database_supersedes_it(
    world: World, tmp_path: Path
) -> None:
    await _valley(world)
    path = await _snapshot(world, tmp_path)
    clock = world.workplace.clock
    assert isinstance(clock, FakeClock)
    clock.advance(timedelta(hours=2))
    async with world.workplace.work("test") as work:
        await set_password(work, world.sealer, username="alice", password=Secret("a later word"))
    away = Away(world.workplace)
    source = DirectorySource(away, world.sealer, POLICY, path, 3.0)  # type: ignore[arg-type]
    with pytest.raises(ConnectionRefusedError):
        await source.turn()
    assert source.from_snapshot
    assert source.age_s == pytest.approx(7_200)
    assert source.answering is not None
    assert source.answering.logins[b"alice"].credential.password == b"alice's word"
    away.away = False
    await source.turn()
    assert not source.from_snapshot
    assert source.age_s == 0
    assert source.answering.logins[b"alice"].credential.password == b"a later word"


async def test_a_refused_snapshot_is_told_and_the_database_waited_for(world: World, tmp_path: Path) -> None:
    await _valley(world)
    path = snapshot_path(tmp_path)
    path.write_bytes(b"something else")
    away = Away(world.workplace)
    source = DirectorySource(away, world.sealer, POLICY, path, 3.0)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            await source.turn()
    assert source.answering is None
    assert [one.key for one in source.issues()] == ["radius.snapshot_refused"]
    away.away = False
    await source.turn()
    assert source.answering is not None


async def test_profiles_say_what_is_done_when_the_database_is_away_for_long(
    world: World, tmp_path: Path
) -> None:
    await world.nas()
    for number, action in enumerate((None, "walled_garden", "reject", "silent")):
        await world.profile(
            f"p{number}", **({} if action is None else {"stale_after_h": 4, "stale_action": action})
        )
        await world.service(f"user{number}", profile=f"p{number}")
    source = DirectorySource(world.workplace, world.sealer, POLICY, snapshot_path(tmp_path), 3.0)
    await source.turn()
    clock = world.workplace.clock
    assert isinstance(clock, FakeClock)

    async with world.workplace.reading() as connection:
        told = await explain(connection, world.sealer, "user1")
        assert (await explain(connection, world.sealer, "user0")).when_stale == ""
    assert "after 4 h without the database: the walled garden" in str(told)

    def answers() -> list[str]:
        assert source.answering is not None
        bench = bench_over(source.answering)
        found = []
        for number in range(4):
            asked = pap(f"user{number}")
            answer = bench.ask(octets(asked), ("127.0.0.1", number))
            reply = None if answer is None else reply_to(asked, answer)
            word = "silence" if reply is None else {2: "accept", 3: "reject"}[reply.code]
            found.append("walled" if bench.counters.walled and word == "accept" and number == 1 else word)
        if found[2] == "reject":
            assert bench.rejections[0].reject.rule == "directory_stale"
            assert "database" in bench.rejections[0].reject.explanation
            assert bench.counters.stale_silent == 1
        return found

    away = Away(world.workplace)
    source._workplace = away  # type: ignore[assignment]
    clock.advance(timedelta(hours=3, minutes=59))
    with pytest.raises(ConnectionRefusedError):
        await source.turn()
    assert answers() == ["accept"] * 4
    before = source.answering
    clock.advance(timedelta(minutes=2))
    with pytest.raises(ConnectionRefusedError):
        await source.turn()
    assert answers() == ["accept", "walled", "reject", "silence"]
    assert [one.key for one in source.issues()] == ["radius.directory_stale"]
    changed = source.answering
    assert changed is not before
    with pytest.raises(ConnectionRefusedError):
        await source.turn()
    assert source.answering is changed, "worked out once, not every turn"
    away.away = False
    await source.turn()
    assert answers() == ["accept"] * 4
    assert source.issues() == []


async def test_the_hours_and_the_action_belong_together(world: World) -> None:
    profile_id = await world.profile()
    async with world.workplace.work("test") as work:
        alone = await redefine_profile(work, profile_id, stale_after_h=4)
        wrong = await redefine_profile(work, profile_id, stale_after_h=4, stale_action="explode")
    assert isinstance(alone, Refusal)
    assert isinstance(wrong, Refusal)
    assert (alone.field, wrong.field) == ("stale_action", "stale_action")


async def test_a_stale_directory_changes_no_other_and_lets_the_loop_breathe(world: World) -> None:
    await world.nas()
    await world.profile("p", stale_after_h=1, stale_action="reject")
    await world.service("alice", profile="p", mac="00:e1:0c:38:c8:f8")
    directory = await world.directory()
    due = due_actions(directory, 3_600.0)
    assert due_actions(directory, 3_599.0) == {}
    stale = await asyncio.wait_for(under_age(directory, due), 5)
    assert directory.logins[b"alice"].service.admitted
    assert not stale.logins[b"alice"].service.admitted
    assert stale.logins[b"alice"].service is stale.logins[b"00e10c38c8f8"].service
