"""Realms and home servers on both databases: what is declared, what directories learn, what waits to be sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from aaa_world import minute

from aaa.define_realm import (
    change_home_server,
    change_realm,
    define_realm,
    register_home_server,
    remove_home_server,
    remove_realm,
)
from aaa.directory import Directory
from aaa.domain.realm import split_realm
from aaa.list_realms import list_home_servers, list_realms
from aaa.set_up import define_profile
from aaa.store import realm_rows
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.work import Workplace

SECRET = Secret("a secret between servers")


async def do(workplace: Workplace, act: Any, *sealed: Sealer, **given: Any) -> Any:
    async with workplace.work("operator:ann") as work:
        return granted(await act(work, *sealed, **given))


async def test_directories_learn_of_realms_and_forget_them(any_workplace: Workplace, sealer: Sealer) -> None:
    async with any_workplace.reading() as connection:
        directory = await Directory.load(connection, sealer)
    assert directory.realms is None

    async def refreshed() -> Directory:
        nonlocal directory
        async with any_workplace.reading() as connection:
            directory = await directory.refreshed(connection, sealer)
        return directory

    for name in ("one", "two"):
        await do(any_workplace, register_home_server, sealer, name=name, address="192.0.2.1", secret=SECRET)
    profile = await do(
        any_workplace, define_profile, name="guests", rate_down_bps=1_000_000, rate_up_bps=1_000_000
    )
    await do(any_workplace, define_realm, name="Other.Example", servers=["two", "one"], profile_id=profile)
    realms = (await refreshed()).realms
    assert realms is not None
    realm = realms.of(b"bob@OTHER.example", {})
    assert realm is not None
    assert ([one.name for one in realm.servers], realm.strip) == (["two", "one"], False)
    assert realm.terms is not None
    assert realm.terms.rate_down_bps == 1_000_000
    assert realm.servers[0].secret == SECRET
    assert "between servers" not in repr(realm)
    assert realms.of(b"bob@nowhere.example", {}) is None
    assert realms.of(b"bob", {}) is None
    await do(any_workplace, define_realm, name="*", servers=["one"])
    realms = (await refreshed()).realms
    assert realms is not None
    assert getattr(realms.of(b"bob@nowhere.example", {}), "name", None) == "*"
    assert realms.of(b"bob@nowhere.example", {b"bob@nowhere.example": 1}) is None
    await do(any_workplace, change_home_server, sealer, server="two", enabled=False)
    await do(any_workplace, change_realm, realm_name="*", enabled=False)
    realms = (await refreshed()).realms
    assert realms is not None
    assert [one.name for one in realms.by_name["other.example"].servers] == ["one"]
    assert "*" not in realms.by_name
    async with any_workplace.reading() as connection:
        assert [one.name for one in await list_realms(connection)] == ["*", "other.example"]
        assert [one.realms for one in await list_home_servers(connection)] == [
            ["*", "other.example"],
            ["other.example"],
        ]
    for name in ("*", "other.example"):
        await do(any_workplace, remove_realm, realm_name=name)
    await do(any_workplace, remove_home_server, server="one")
    assert (await refreshed()).realms is None


async def test_reports_wait_in_the_order_of_their_session(any_workplace: Workplace, sealer: Sealer) -> None:
    await do(any_workplace, register_home_server, sealer, name="one", address="192.0.2.1", secret=SECRET)
    realm_id = await do(any_workplace, define_realm, name="other.example", servers=["one"])
    lanes = ["a", "b", "a", "c", "b"]
    async with any_workplace.work("test") as work:
        assert await realm_rows.realms_with_reports(work.connection) == {"other.example": realm_id}
        now = work.now
        await realm_rows.queue_reports(
            work.connection,
            [
                {"realm_id": realm_id, "lane": lane, "datagram": bytes((at,)), "received_at": minute(at), "due_at": now,
                 "tries": 0}
                for at, lane in enumerate(lanes)
            ],
        )  # fmt: skip
        rows = await realm_rows.due_reports(work.connection, realm_id, now, 100)
        assert [row.datagram for row in rows] == [b"\0", b"\1", b"\2", b"\3", b"\4"]
        await realm_rows.put_off_reports(work.connection, [rows[0].seq], now + timedelta(seconds=30))
        left = await realm_rows.due_reports(work.connection, realm_id, now, 100)
        assert [row.lane for row in left] == ["b", "c", "b"]  # what comes after the first of a waits with it
        assert await realm_rows.waiting_reports(work.connection) == {realm_id: (5, minute(0))}
        await realm_rows.forget_reports(work.connection, [row.seq for row in left])
        later = await realm_rows.due_reports(work.connection, realm_id, now + timedelta(seconds=31), 100)
        assert [(row.lane, row.tries) for row in later] == [("a", 1), ("a", 0)]
        assert await realm_rows.drop_reports_before(work.connection, minute(1)) == 1
    await do(any_workplace, remove_realm, realm_name="other.example")
    async with any_workplace.reading() as connection:
        assert await realm_rows.waiting_reports(connection) == {}


@pytest.mark.parametrize(
    ("username", "parts"),
    [
        (b"bob@other.example", (b"bob", "other.example")),
        (b"bob@a@Other.Example", (b"bob@a", "other.example")),
        (b"OTHER\\bob", (b"bob", "other")),
        (b"bob", None), (b"bob@", None), (b"\\bob", None), (b"@x", (b"", "x")), (b"b@\xff", None),
    ],
)  # fmt: skip
def test_what_the_realm_of_a_name_is(username: bytes, parts: tuple[bytes, str] | None) -> None:
    assert split_realm(username) == parts


async def test_what_cannot_be_is_refused(workplace: Workplace, sealer: Sealer) -> None:
    await do(workplace, register_home_server, sealer, name="one", address="192.0.2.1", secret=SECRET)
    await do(workplace, define_realm, name="other.example", servers=["one"])
    cases: list[tuple[Any, tuple[Sealer, ...], dict[str, Any], str]] = [
        (define_realm, (), {"name": "OTHER.example", "servers": ["one"]}, "name"),
        (define_realm, (), {"name": "x.example", "servers": []}, "servers"),
        (define_realm, (), {"name": "x.example", "servers": ["one"], "profile_id": "prf_9"}, "profile_id"),
        (define_realm, (), {"name": "x.example", "servers": ["one"], "passes": ["x" * 101]}, "passes"),
        (change_realm, (), {"realm_name": "other.example", "colour": "red"}, "colour"),
        (change_realm, (), {"realm_name": "none"}, "realm"),
        (remove_home_server, (), {"server": "one"}, "server"),
        (register_home_server, (sealer,), {"name": "one", "address": "192.0.2.2", "secret": SECRET}, "name"),
        (register_home_server, (sealer,), {"name": "x", "address": "x", "secret": SECRET}, "address"),
        (
            register_home_server,
            (sealer,),
            {"name": "x", "address": "::1", "secret": Secret("short")},
            "secret",
        ),
        (change_home_server, (sealer,), {"server": "one", "timeout_ms": 5}, "timeout_ms"),
    ]
    for act, sealed, given, field in cases:
        async with workplace.work("test") as work:
            refusal = await act(work, *sealed, **given)
        assert isinstance(refusal, Refusal), (act, given)
        assert refusal.field == field
