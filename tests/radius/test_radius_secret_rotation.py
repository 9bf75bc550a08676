"""A NAS with two valid secrets for a while: every way a secret shows, the end of the old one, and who is told."""
# ruff: noqa: F811 - the fixture is imported

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from radius_world import SECRET, World, accounting, bench_over, chap, octets, pap, reply_to, request, status
from sqlalchemy import select, update
from test_radius_role import Serving, _issue_is, needs_radclient, serving  # noqa: F401 - a fixture

from aaa.domain.effect import Effect
from aaa.rotate_secret import (
    Ended,
    Rotation,
    SecretUse,
    note_secret_uses,
    retire_expired_secrets,
    retire_old_secret,
    rotate_secret,
    rotation_of,
)
from aaa.store.directory_rows import newest_change
from aaa.store.repositories import append_directory_change
from aaa.store.tables import nas, nas_secret_use, session
from core.refusal import Refusal, granted
from core.secrets import Secret
from lab.nas import LabNas, LabSession
from lab.radius_wire import RadiusServer as LabServer
from radius.accounting.ingest import ingest_once
from radius.accounting.pipeline import AccountingPipeline, Pending
from radius.config import RadiusSettings
from radius.dynauth.live_session import LiveSessions

NEW = "a new secret for the tower"


async def _rotate(world: World, nas_id: str, secret: str | None = NEW, **more: Any) -> Secret:
    async with world.workplace.work("test") as work:
        chosen = None if secret is None else Secret(secret)
        return granted(await rotate_secret(work, world.sealer, nas_id, secret=chosen, **more))


async def _rotation(world: World, nas_id: str) -> Rotation | None:
    async with world.workplace.reading() as connection:
        return await rotation_of(connection, nas_id)


async def _note(world: World, nas_id: str, *, is_old: bool, address: str = "127.0.0.1") -> None:
    async with world.workplace.work("test") as work:
        await note_secret_uses(work, [SecretUse(nas_id, address, is_old)])


async def test_both_secrets_are_right_in_every_kind_of_request(world: World) -> None:
    nas_id = await world.nas()
    await world.service("alice")
    await _rotate(world, nas_id)
    bench = bench_over(await world.directory())
    books = AccountingPipeline(bench.nases, bench.counters)
    number = 0
    for secret in (SECRET, NEW, NEW, SECRET):
        for asked in (pap(secret=secret), chap(secret=secret), status(secret=secret)):
            number += 1
            reply = reply_to(asked, bench.ask(octets(asked), source=("127.0.0.1", number)))
            assert reply.code == 2, secret
        report = accounting(secret=secret)
        taken = books.receive(octets(report), ("127.0.0.1", number), 0)
        assert isinstance(taken, Pending)
        reply_to(report, taken.reply)
    assert bench.counters.wrong_signature == 0
    other = pap(secret="some other secret here")
    assert bench.ask(octets(other), source=("127.0.0.1", 900)) is None
    assert bench.counters.wrong_signature == 1


async def test_an_unsigned_password_tells_by_itself_which_secret_hid_it(world: World) -> None:
    nas_id = await world.nas(message_authenticator="off")
    await world.service("alice", mac="00:e1:0c:38:c8:f8")
    await _rotate(world, nas_id)
    bench = bench_over(await world.directory())
    state = bench.nases.at("127.0.0.1")
    assert state is not None
    assert state.on_old, "until it is heard with the new one, a NAS has what it had"
    turns = ((SECRET, True), (NEW, False), (NEW, False), (SECRET, True))
    for port, (secret, on_old) in enumerate(turns):
        asked = pap(secret=secret, signed=False)
        assert reply_to(asked, bench.ask(octets(asked), source=("127.0.0.1", port))).code == 2
        assert (state.on_old, state.proved) == (on_old, True)
        wrong = pap(password="wrong but readable", secret=secret, signed=False)
        assert reply_to(wrong, bench.ask(octets(wrong), source=("127.0.0.1", 100 + port))).code == 3
        state.proved = False
    empty = request("00:E1:0C:38:C8:F8", secret=SECRET, signed=False)
    empty[2], empty[31] = [b""], [b"00:E1:0C:38:C8:F8"]
    assert reply_to(empty, bench.ask(octets(empty), source=("127.0.0.1", 300))).code == 2
    assert not state.proved, "an empty password proves nothing"


async def test_the_first_use_of_the_new_secret_begins_the_grace(any_world: World) -> None:
    world = any_world
    nas_id = await world.nas()
    now = world.workplace.clock.now()
    made = await _rotate(world, nas_id, None, keep_old=timedelta(days=2))
    assert len(made.reveal()) >= 24
    assert await _rotation(world, nas_id) == Rotation(now + timedelta(days=2), (), (), unseen=True)
    await _note(world, nas_id, is_old=True)
    assert await _rotation(world, nas_id) == Rotation(
        now + timedelta(days=2), ("127.0.0.1",), (), unseen=False
    )
    before = (await world.directory()).seq
    await _note(world, nas_id, is_old=False)
    directory = await world.directory()
    assert directory.seq == before + 1, "every worker learns it"
    assert directory.nases[0].on_new_secret == {"127.0.0.1"}
    assert await _rotation(world, nas_id) == Rotation(
        now + timedelta(minutes=10), (), ("127.0.0.1",), unseen=False
    )
    world.workplace.clock.advance(timedelta(minutes=11))  # type: ignore[attr-defined]
    async with world.workplace.work("test") as work:
        assert await retire_expired_secrets(work) == [Ended(nas_id, "tower", ())]
        assert await retire_expired_secrets(work) == []
    assert await _rotation(world, nas_id) is None
    assert (await world.directory()).nases[0].old_secret is None


async def test_a_network_of_devices_moves_one_by_one(world: World) -> None:
    nas_id = await world.nas(network="127.0.0.0/8")
    now = world.workplace.clock.now()
    await _rotate(world, nas_id)
    await _note(world, nas_id, is_old=False, address="127.0.0.5")
    await _note(world, nas_id, is_old=True, address="127.0.0.6")
    rotation = await _rotation(world, nas_id)
    assert rotation == Rotation(now + timedelta(hours=24), ("127.0.0.6",), ("127.0.0.5",), unseen=False)
    bench = bench_over(await world.directory())
    states = [bench.nases.at(address) for address in ("127.0.0.5", "127.0.0.6", "127.0.0.7")]
    assert [one.on_old for one in states if one] == [False, True, True]
    async with world.workplace.work("test") as work:
        again = await rotate_secret(work, world.sealer, nas_id)
    assert isinstance(again, Refusal)
    assert "retire" in again.message


async def test_what_cannot_be_rotated_is_refused_in_words(world: World) -> None:
    nas_id = await world.nas()
    async with world.workplace.work("test") as work:
        short = await rotate_secret(work, world.sealer, nas_id, secret=Secret("short"))
        long = await rotate_secret(work, world.sealer, nas_id, keep_old=timedelta(days=31))
        nobody = await rotate_secret(work, world.sealer, "nas_none")
        nothing = await retire_old_secret(work, nas_id)
    assert [one.field for one in (short, long, nobody, nothing) if isinstance(one, Refusal)] == [
        "secret", "keep_old", "nas_id", "nas_id",
    ]  # fmt: skip


async def test_a_second_rotation_keeps_what_the_nas_has(world: World) -> None:
    nas_id = await world.nas()
    await _rotate(world, nas_id, "never entered anywhere")
    await _rotate(world, nas_id)
    (known,) = (await world.directory()).nases
    assert known.old_secret == Secret(SECRET)
    await _note(world, nas_id, is_old=False)
    await _rotate(world, nas_id, "the third of the secrets")
    (known,) = (await world.directory()).nases
    assert known.old_secret == Secret(NEW)


async def _relearned(serving: Serving) -> None:
    async with serving.world.workplace.reading() as connection:
        seq = await newest_change(connection)
    await serving.settled(seq)


@needs_radclient
async def test_a_rotation_in_the_running_server_seen_by_radclient(serving: Serving) -> None:
    """Old, then new; the record of who uses what; the end of the old one while it is used, and its finding."""
    world = serving.world
    async with world.workplace.reading() as connection:
        nas_id = (await connection.execute(select(nas.c.id))).scalar_one()
    await _rotate(world, nas_id)
    await _relearned(serving)
    line = ("User-Name = alice", 'User-Password = "open sesame"', "Message-Authenticator = 0x00")
    assert "Received Access-Accept" in await serving.radclient("auth", *line)
    await _until_used(serving, nas_id, "on_old", SECRET)
    assert "Received Access-Accept" in await serving.radclient("auth", *line, secret=NEW)
    said = await serving.radclient(
        "acct", "Acct-Status-Type = Start", "Acct-Session-Id = 1", "User-Name = alice", secret=NEW
    )
    assert "Received Accounting-Response" in said
    await _until_used(serving, nas_id, "on_new", NEW)
    assert "Received Access-Accept" in await serving.radclient("auth", *line), "within the grace"
    await _until_used(serving, nas_id, "on_old", SECRET)
    async with world.workplace.work("test") as work:
        await work.connection.execute(update(nas).values(old_secret_until=work.now))
        await append_directory_change(work.connection, "nas", nas_id, work.now)
    await _issue_is(world, f"radius.old_secret:{nas_id}", is_open=True)
    assert await _rotation(world, nas_id) is None
    assert "Received" not in await serving.radclient("auth", *line, tries=1)
    assert "Received Access-Accept" in await serving.radclient("auth", *line, secret=NEW)
    await _issue_is(world, f"radius.old_secret:{nas_id}", is_open=False)


async def _until_used(serving: Serving, nas_id: str, which: str, secret: str) -> None:
    async with asyncio.timeout(10):
        while True:
            assert await serving.ask(octets(pap(secret=secret))) is not None
            rotation = await _rotation(serving.world, nas_id)
            if rotation is not None and getattr(rotation, which) == ("127.0.0.1",):
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("has_new", [False, True])
async def test_coa_is_signed_with_the_secret_last_seen_to_work(serving: Serving, has_new: bool) -> None:
    world = serving.world
    nas_id = await world.nas("lab tower", "127.0.0.31", identifier="lab tower")
    await _rotate(world, nas_id)
    await _relearned(serving)
    tower = LabNas(
        "lab tower", "127.0.0.31", [LabServer("127.0.0.1", serving.auth_port, serving.accounting_port)],
        NEW if has_new else SECRET, clock=world.workplace.clock, coa_port=0, timeout_s=3.0,
    )  # fmt: skip
    await tower.start()
    try:
        async with world.workplace.work("test") as work:
            await work.connection.execute(
                update(nas).where(nas.c.id == nas_id).values(dynauth_port=tower.coa_port)
            )
        line = await tower.dial("alice", "open sesame", "pap", mac="00:e1:0c:38:c8:f8")
        assert isinstance(line, LabSession), line
        await ingest_once(serving.journal, world.workplace, world.sealer)
        async with asyncio.timeout(10):
            while True:
                async with world.workplace.reading() as connection:
                    use = (
                        await connection.execute(
                            select(nas_secret_use).where(nas_secret_use.c.nas_id == nas_id)
                        )
                    ).one_or_none()
                if use is not None:
                    break
                await asyncio.sleep(0.02)
        async with world.workplace.reading() as connection:
            service_id = (await connection.execute(select(session.c.service_id))).scalar_one()
        movers = LiveSessions(
            world.workplace, world.sealer, RadiusSettings(dynauth_tries=1, dynauth_timeout_s=1)
        )
        generation = await world.hold(service_id, Effect.WALLED_GARDEN)
        assert (await movers.move(service_id, generation, Effect.WALLED_GARDEN)).outcome == "moved"
        assert line.address_lists == {"hilltop-walled"}
    finally:
        await tower.stop()
