"""Realms of our own: NT domains and mail-like names whose users are looked up without them."""

from __future__ import annotations

from radius_world import CLASS_KEY, SECRET, World, bench_over, chap, mschapv2, octets, pap
from sqlalchemy import select

from aaa.define_realm import change_realm, define_realm, register_home_server
from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.realm import without_own_realm
from aaa.record_accounting import record_accounting
from aaa.store import realm_rows, tables
from core.refusal import Refusal, granted
from core.secrets import Secret
from radius.explaining.explain import explain

ACCEPT, REJECT = 2, 3


async def realm(world: World, name: str, *servers: str) -> str:
    async with world.workplace.work("test") as work:
        return granted(await define_realm(work, name=name, servers=list(servers) or None))


async def partner(world: World) -> None:
    async with world.workplace.work("test") as work:
        made = await register_home_server(
            work, world.sealer, name="partner-1", address="192.0.2.11", secret=Secret(SECRET)
        )
        granted(made)


async def test_users_of_our_own_realms_sign_in_by_every_method(world: World) -> None:
    await world.nas()
    await world.service("alice")
    exact = await world.service("bob@valley.example", "his own")
    await world.service("bob", "another bob")
    assert {bench_over(await world.directory()).ask(octets(pap("EXAMPLE\\alice")))[0]} == {REJECT}  # type: ignore[index]
    await realm(world, "EXAMPLE")
    await realm(world, "valley.example")
    bench = bench_over(await world.directory())

    def code(packet: object) -> int:
        answer = bench.ask(octets(packet))  # type: ignore[arg-type]
        assert answer is not None
        return answer[0]

    for name in ("EXAMPLE\\alice", "example\\alice", "alice@Valley.example", "alice"):
        for number, way in enumerate((pap, chap, mschapv2)):
            assert code(way(name, identifier=10 + number)) == ACCEPT, (name, way)
    assert code(pap("bob@valley.example", "his own")) == ACCEPT, "a name that is a login's own comes first"
    assert code(pap("bob@valley.example", "another bob")) == REJECT
    for name in ("OTHER\\alice", "alice@valley.example.other", "EXAMPLE\\", "@valley.example"):
        assert code(pap(name)) == REJECT, name
    assert bench.rejections[-1].reject.rule == "unknown_user"
    assert code(pap("EXAMPLE\\alice", "wrong")) == REJECT
    assert bench.rejections[-1].reject.identity == "alice", "whoever guesses is counted at the login"
    async with world.workplace.reading() as connection:
        told = await explain(connection, world.sealer, "EXAMPLE\\alice")
        mine = await explain(connection, world.sealer, "bob@valley.example")
    assert (told.verdict, told.username) == ("accept", "EXAMPLE\\alice")
    assert "the realm is ours, so alice is looked up" in told.explanation
    assert mine.service_id == exact


async def test_all_realms_may_be_ours_but_those_of_others(world: World) -> None:
    await world.nas()
    await world.service("alice")
    await partner(world)
    await realm(world, "partner.example", "partner-1")
    await realm(world, "*")
    directory = await world.directory()
    assert directory.realms is not None
    bench = bench_over(directory)
    assert (bench.ask(octets(pap("alice@any.example"))) or b"\0")[0] == ACCEPT
    assert directory.realms.own_name(b"alice@partner.example", directory.logins) == b"alice@partner.example"
    found = directory.realms.of(b"alice@partner.example", directory.logins)
    assert found is not None
    assert [one.name for one in found.servers] == ["partner-1"]
    async with world.workplace.work("test") as work:
        assert await change_realm(work, realm_name="partner.example", enabled=False) is None
        refused = await define_realm(work, name="x.example", servers=[])
        assert isinstance(refused, Refusal), "ours is said, not left out"
        assert await change_realm(work, realm_name="*", accounting=True) is None
        assert await realm_rows.realms_with_reports(work.connection) == {}, "there is nobody to send them to"


async def test_reports_without_our_class_find_their_service(world: World) -> None:
    nas_id = await world.nas()
    service_id = await world.service("alice")
    await realm(world, "EXAMPLE")
    now = world.workplace.clock.now()
    events = [
        AccountingEvent(
            nas_id=nas_id, kind=AccountingKind.START, acct_session_id=f"s{number}", username=name,
            class_token=b"", occurred_at=now, received_at=now, calling_station=f"00:00:5e:00:53:0{number}",
        )
        for number, name in enumerate(("EXAMPLE\\alice", "OTHER\\alice"))
    ]  # fmt: skip
    async with world.workplace.work("test") as work:
        await record_accounting(work, events, CLASS_KEY)
    async with world.workplace.reading() as connection:
        found = await connection.execute(select(tables.session.c.username, tables.session.c.service_id))
        assert {row.username: row.service_id for row in found} == {
            "EXAMPLE\\alice": service_id,
            "OTHER\\alice": None,
        }


def test_names_without_their_realm() -> None:
    for name, own, foreign, wanted in (
        (b"alice", {"*"}, {}, b"alice"), (b"a\\b@c", {"c"}, {}, b"a\\b"), (b"@c", {"*"}, {}, b"@c"),
        (b"a@b", {"*"}, {"b"}, b"a@b"), (b"a@\xff", {"*"}, {}, b"a@\xff"), (b"X\\a", {"x"}, {"*"}, b"a"),
    ):  # fmt: skip
        assert without_own_realm(name, own, foreign) == wanted, name
