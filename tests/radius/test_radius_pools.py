"""Addresses of Hilltop's own pools, as NASes get them: radclient and pyrad ask, the database is the witness."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import bcrypt
from radius_live import Live, live_server, needs_radclient
from radius_world import World

from aaa.define_pool import change_pool, define_pool
from aaa.domain.effect import Effect
from aaa.domain.profile import AccessPolicy
from aaa.lease_addresses import Grant, record_grants
from aaa.set_up import NewCredential, create_service
from aaa.store import pool_rows
from core.refusal import granted
from core.secrets import Secret
from radius.accounting.ingest import ingest_once
from radius.explaining.explain import explain
from radius.explaining.preview import Preview, PreviewQuestion, format_preview, preview

PASSWORD = 'User-Password = "open sesame"'


async def pool(world: World, name: str = "homes", kind: str = "ipv4", **fields: Any) -> str:
    ranges = fields.pop("ranges", ["10.20.0.0/24"])
    async with world.workplace.work("test") as work:
        return granted(await define_pool(work, name=name, kind=kind, ranges=ranges, **fields))


async def leases(world: World) -> dict[str, Any]:
    async with world.workplace.reading() as connection:
        return {row.network: row for row in await pool_rows.held_leases(connection, "", 10_000)}


async def eventually(found: Callable[[], Awaitable[Any]]) -> Any:
    """What ``found`` says, once it says something."""
    async with asyncio.timeout(15):
        while not (what := await found()):
            await asyncio.sleep(0.02)
        return what


async def dial(live: Live, username: str, *more: str) -> dict[str, list[str]]:
    """The attributes of the Accept; of a reject or of silence none."""
    said = await live.radclient(
        "auth", f'User-Name = "{username}"', PASSWORD, "Message-Authenticator = 0x00", *more
    )
    received = said.partition("Received Access-Accept")[2]
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^\t([A-Za-z0-9-]+) = (.*)$", received, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


async def account(live: Live, kind: str, session: str, address: str, username: str, *more: str) -> None:
    said = await live.radclient(
        "acct", f"Acct-Status-Type = {kind}", f'Acct-Session-Id = "{session}"', f'User-Name = "{username}"',
        f"Framed-IP-Address = {address}", *more,
    )  # fmt: skip
    assert "Received Accounting-Response" in said
    await ingest(live)


async def ingest(live: Live) -> None:
    while await ingest_once(live.journal, live.world.workplace, live.world.sealer):
        pass


@needs_radclient
async def test_an_accept_carries_what_the_pools_give_and_the_same_again(
    any_world: World, tmp_path: Path
) -> None:
    world = any_world
    await pool(world, netmask_bits=24, excluded=["10.20.0.1"])
    await pool(world, "links", "ipv6_prefix", ranges=["2001:db8:1::/48"])
    await pool(world, "behind", "delegated_prefix", ranges=["2001:db8:100::/40"])
    await world.nas()
    await world.profile(pool="homes", ipv6_pool="links", delegated_pool="behind")
    alice, _ = await world.service("alice"), await world.service("bob")
    async with live_server(world, tmp_path) as live:
        first = await dial(live, "alice")
        assert first["Framed-IP-Address"] == ["10.20.0.2"]
        assert first["Framed-IP-Netmask"] == ["255.255.255.0"]
        assert first["Framed-IPv6-Prefix"] == ["2001:db8:1::/64"]
        assert first["Delegated-IPv6-Prefix"] == ["2001:db8:100::/56"]
        assert not {"Framed-Pool", "Framed-IPv6-Pool", "Delegated-IPv6-Prefix-Pool"} & set(first)
        assert (await dial(live, "bob"))["Framed-IP-Address"] == ["10.20.0.3"]
        again = await dial(live, "alice")
        given = [name for name in first if name.startswith(("Framed", "Delegated"))]
        assert len(given) == 4
        assert [again[name] for name in given] == [first[name] for name in given]
        await ingest(live)
        row = (await leases(world))["10.20.0.2"]
        assert (row.service_id, row.started) == (alice, False)
        await account(live, "Start", "81", "10.20.0.2", "alice")
        row = (await leases(world))["10.20.0.2"]
        assert (row.idle_since, row.started) == (None, True)
        await account(live, "Stop", "81", "10.20.0.2", "alice", "Acct-Session-Time = 60")
        assert (await leases(world))["10.20.0.2"].idle_since is not None
        assert live.server.status().counters["leases_written"] == 3
    async with live_server(world, tmp_path, reject_delay_s=0) as live:  # another process, another stock
        assert (await dial(live, "alice"))["Framed-IP-Address"] == ["10.20.0.2"]


@needs_radclient
async def test_an_exhausted_pool_rejects_with_its_rule_or_sends_its_name(
    world: World, tmp_path: Path
) -> None:
    pool_id = await pool(world, ranges=["10.20.0.8-10.20.0.9"])
    await world.nas()
    await world.profile(pool="homes")
    for name in ("alice", "bob", "carol"):
        await world.service(name)
    async with live_server(world, tmp_path) as live:
        got = {name: (await dial(live, name)).get("Framed-IP-Address") for name in ("alice", "bob")}
        assert sorted(got.values()) == [["10.20.0.8"], ["10.20.0.9"]]
        assert await dial(live, "carol") == {}
        assert await live.rules("carol", "pool_exhausted") == ["pool_exhausted"]
        async with world.workplace.work("test") as work:
            assert await change_pool(work, pool_id, when_full="nas_pool") == ["when_full"]
        await live.caught_up()
        assert (await dial(live, "carol"))["Framed-Pool"] == ['"homes"']
        async with world.workplace.work("test") as work:
            await change_pool(work, pool_id, ranges=["10.20.0.8-10.20.0.12"])

        async def address() -> list[str] | None:
            return (await dial(live, "carol")).get("Framed-IP-Address")

        assert await eventually(address) == ["10.20.0.10"]


@needs_radclient
async def test_without_the_database_it_goes_on_from_what_was_set_aside(
    world: World, tmp_path: Path, monkeypatch: Any
) -> None:
    await pool(world)
    await world.nas()
    await world.profile(pool="homes")
    for name in ("alice", "bob", "carol"):
        await world.service(name)
    async with live_server(world, tmp_path) as live:
        assert (await dial(live, "alice"))["Framed-IP-Address"] == ["10.20.0.1"]

        def away(*_: Any) -> Any:
            raise OSError("the database is away")

        with monkeypatch.context() as patch:
            patch.setattr(world.workplace.database, "read", away)
            patch.setattr(world.workplace.database, "write", away)
            patch.setattr(world.workplace.database, "commit_mark", away)
            assert (await dial(live, "bob"))["Framed-IP-Address"] == ["10.20.0.2"]
            assert (await dial(live, "alice"))["Framed-IP-Address"] == ["10.20.0.1"]
        await ingest(live)
        assert sorted(await leases(world)) == ["10.20.0.1", "10.20.0.2"]


@needs_radclient
async def test_devices_static_addresses_and_the_walled_garden(world: World, tmp_path: Path) -> None:
    """Each device of a service gets its own; a static address is nobody else's; the garden has its own pool."""
    await pool(world)
    await pool(world, "garden", ranges=["10.99.0.0/24"])
    await world.nas()
    await world.profile(pool="homes", devices=2)
    await world.service("fixed", framed_ip="10.20.0.1")
    alice, _ = await world.service("alice"), await world.service("late")
    async with live_server(world, tmp_path, walled_pool="garden") as live:
        assert (await dial(live, "fixed"))["Framed-IP-Address"] == ["10.20.0.1"]
        stations = [f'Calling-Station-Id = "AA:BB:CC:00:11:0{number}"' for number in range(3)]
        got = [(await dial(live, "alice", one))["Framed-IP-Address"] for one in stations[:2]]
        assert got == [["10.20.0.2"], ["10.20.0.3"]]
        assert (await dial(live, "alice", stations[1]))["Framed-IP-Address"] == got[1]
        third = (await dial(live, "alice", stations[2]))["Framed-IP-Address"]
        assert third in got  # it may have two: the third device takes the place of one
        await world.hold(alice, Effect.WALLED_GARDEN)
        await live.caught_up()
        assert (await dial(live, "alice"))["Framed-IP-Address"] == ["10.99.0.1"]
        assert (await dial(live, "late"))["Framed-IP-Address"] == ["10.20.0.4"]


async def test_what_a_sign_in_would_get_is_explained_and_shown_beforehand(world: World) -> None:
    pool_id = await pool(world)
    nas_id = await world.nas()
    profile_id = await world.profile(pool="homes")
    alice = await world.service("alice")

    async def told() -> tuple[list[str], list[tuple[str, str, str]]]:
        async with world.workplace.reading() as connection:
            explained = await explain(connection, world.sealer, "alice")
            shown = await preview(
                connection, world.sealer, PreviewQuestion(nas_id, service_id=alice), AccessPolicy()
            )
        assert isinstance(shown, Preview)
        accept = [(one.name, one.value, one.octets) for one in shown.accept if one.origin.startswith("pool")]
        return [one for one in explained.attributes if "Framed" in one], accept

    assert await told() == (
        ["Framed-IP-Address = the next that is free (pool homes)"],
        [("Framed-IP-Address", "the next that is free", "")],
    )
    async with world.workplace.work("test") as work:
        await record_grants(work, [Grant("10.20.0.9", pool_id, alice, None, nas_id, work.now)])
    explained, shown = await told()
    assert explained == ["Framed-IP-Address = 10.20.0.9 (pool homes, kept for it since 2026-03-10 12:00Z)"]
    assert shown == [("Framed-IP-Address", "10.20.0.9", "08060a140009")]
    async with world.workplace.reading() as connection:
        of_profile = await preview(
            connection, world.sealer, PreviewQuestion(nas_id, profile_id=profile_id), AccessPolicy()
        )
    assert isinstance(of_profile, Preview)
    assert "the next that is free" in format_preview(of_profile)


@needs_radclient
async def test_deferred_proofs_get_their_address_too(world: World, tmp_path: Path) -> None:
    """A password that is checked by a thread, and then an address that has to be on disk first."""
    await pool(world)
    await world.nas()
    await world.profile(pool="homes")
    hashed = Secret("$2b$04$" + bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode()[7:])
    async with world.workplace.work("test") as work:
        credential = NewCredential("pppoe", "slow", None, hashed)
        granted(
            await create_service(
                work, world.sealer, account_id="acc_1", label="slow", profile_id=world.ids["Home 25"],
                credentials=[credential],
            )
        )  # fmt: skip
    async with live_server(world, tmp_path) as live:
        assert (await dial(live, "slow"))["Framed-IP-Address"] == ["10.20.0.1"]
        assert live.server.status().counters["slow_proofs"] == 1
