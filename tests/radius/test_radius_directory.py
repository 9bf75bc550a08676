"""The directory: what it holds, how it follows the change feed, and what is kept of rejects."""

from __future__ import annotations

from datetime import timedelta

import pytest
from radius_world import CLASS_KEY, SECRET, World
from sqlalchemy import insert, select, update

from aaa.authorize import Accept, Reject, Silent, authorize
from aaa.change_service import end_service
from aaa.directory import Directory
from aaa.domain.authentication import Pap, looks_garbled
from aaa.domain.class_token import MAX_OCTETS, ClassToken, decode_class, encode_class
from aaa.domain.effect import Effect
from aaa.domain.identity import is_locally_administered, mac_login, normalise_mac
from aaa.domain.mac_convention import MacConvention
from aaa.domain.nt_hash import nt_hash
from aaa.domain.profile import AccessPolicy, Profile, interim_interval_s
from aaa.record_rejects import RejectSighting, record_rejects
from aaa.register_nas import change_nas
from aaa.set_password import set_password
from aaa.store import directory_rows
from aaa.store.tables import credential, directory_change, nas, reject, service_profile
from core.secrets import Sealer, Secret


async def _refreshed(world: World, directory: Directory) -> Directory:
    async with world.workplace.reading() as connection:
        return await directory.refreshed(connection, world.sealer)


def _verdict(directory: Directory, username: str = "alice", password: str = "open sesame") -> object:
    return authorize(
        directory, username.encode(), Pap(password.encode()), None, MacConvention("mikrotik"), signed=True
    )


async def test_load_and_follow_every_kind_of_change(any_world: World) -> None:
    world = any_world
    await world.nas("tower", "10.0.0.0/24", dialect="generic")
    service_id = await world.service("alice", mac="00:e1:0c:38:c8:f8", framed_ip="100.64.0.9")
    directory = await world.directory()
    login = directory.logins[b"alice"]
    assert login.credential.nt_hash == nt_hash("open sesame")
    assert "open sesame" not in repr(directory)
    assert login.service is directory.logins[b"00e10c38c8f8"].service
    assert login.service.framed_ip == "100.64.0.9"
    assert await _refreshed(world, directory) is directory, "nothing changed, nothing is read"

    await world.hold(service_id, Effect.WALLED_GARDEN)
    walled = await _refreshed(world, directory)
    assert walled.logins[b"alice"].service.terms.walled
    assert not directory.logins[b"alice"].service.terms.walled, "a snapshot never changes"
    assert walled.logins[b"alice"].service.because == ("dunning: invoice 7 is overdue",)

    async with world.workplace.work("test") as work:
        await set_password(work, world.sealer, username="alice", password=Secret("changed"))
    changed = await _refreshed(world, walled)
    assert isinstance(_verdict(changed, password="changed"), Accept)
    assert isinstance(_verdict(changed), Reject)

    await world.nas("core", "10.0.0.1", dialect="mikrotik")
    both = await _refreshed(world, changed)
    assert [one.name for one in both.nases] == ["core", "tower"], "longest prefix first"
    async with world.workplace.work("test") as work:
        await change_nas(work, world.sealer, both.nases[0].id, enabled=False)
    assert [one.name for one in (await _refreshed(world, both)).nases] == ["tower"]


async def test_a_profile_that_changes_reaches_every_service_under_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aaa.directory._PAGE", 25)
    for number in range(80):
        await world.service(f"user{number}")
    directory = await world.directory()
    async with world.workplace.work("test") as work:
        await work.connection.execute(update(service_profile).values(rate_down_bps=7_000_000))
        await work.connection.execute(
            insert(directory_change).values(entity="profile", entity_id=world.ids["Home 25"], at=work.now)
        )
    after = await _refreshed(world, directory)
    rates = {login.service.terms.rate_down_bps for login in after.logins.values()}
    assert (len(after.logins), rates) == (80, {7_000_000})
    assert len({id(login.service.terms) for login in after.logins.values()}) == 1, "terms are shared"


async def test_a_name_taken_over_from_an_ended_service(world: World) -> None:
    first = await world.service("alice")
    directory = await world.directory()
    async with world.workplace.work("test") as work:
        await end_service(work, first, "moved away")
    ended = await _refreshed(world, directory)
    verdict = _verdict(ended)
    assert isinstance(verdict, Reject) and verdict.rule == "service_ended"
    second = await world.service("alice", "another password")
    after = await _refreshed(world, ended)
    assert after.logins[b"alice"].service.id == second
    assert isinstance(_verdict(after, password="another password"), Accept)


async def test_many_changes_at_once_mean_loading_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.service("alice")
    directory = await world.directory()
    await world.service("bob")
    await world.service("carol")
    monkeypatch.setattr("aaa.directory._CHANGES_AT_ONCE", 2)
    after = await _refreshed(world, directory)
    assert set(after.logins) == {b"alice", b"bob", b"carol"}
    assert await _refreshed(world, after) is after


async def test_rows_that_cannot_be_opened_are_named_and_do_not_stop_the_rest(world: World) -> None:
    await world.nas("good", "10.0.0.1")
    await world.nas("bad", "10.0.0.2")
    await world.service("alice")
    await world.service("bob")
    other = Sealer({"k9": bytes(32)}).seal(Secret("x"), "nas.secret")
    async with world.workplace.work("test") as work:
        await work.connection.execute(update(nas).where(nas.c.name == "bad").values(secret_sealed=other))
        await work.connection.execute(
            update(credential).where(credential.c.username == "bob").values(password_sealed=other)
        )
    directory = await world.directory()
    assert [one.name for one in directory.nases] == ["good"]
    assert len(directory.troubles) == 2
    verdict = _verdict(directory, "bob")
    assert isinstance(verdict, Reject) and verdict.rule == "no_password_set"
    empty = _verdict(directory, "bob", "")
    assert isinstance(empty, Reject), "a lost password is not an empty one"
    assert isinstance(_verdict(directory), Accept)


async def test_pending_services_wait(world: World) -> None:
    service_id = await world.service("alice")
    from aaa.store.tables import service

    async with world.workplace.work("test") as work:
        await work.connection.execute(
            update(service).where(service.c.id == service_id).values(lifecycle="pending")
        )
    verdict = _verdict(await world.directory())
    assert isinstance(verdict, Reject) and verdict.rule == "service_pending"


async def test_rejects_are_counted_and_never_piled_up(any_world: World) -> None:
    now = any_world.workplace.clock.now()

    def sighting(count: int, minutes: int, identity: str = "alice") -> RejectSighting:
        at = now + timedelta(minutes=minutes)
        return RejectSighting(
            "nas_1",
            identity,
            "wrong_password",
            f"seen at {minutes}",
            "set it anew",
            "AA:BB",
            None,
            at,
            at,
            count,
        )

    for batch in ([sighting(3, 0)], [sighting(4, 5), sighting(1, 6, "x" * 300 + "\0")]):
        async with any_world.workplace.work("test") as work:
            await record_rejects(work, batch)
    async with any_world.workplace.reading() as connection:
        rows = (await connection.execute(select(reject).order_by(reject.c.count))).all()
    assert len(rows) == 2
    alice = rows[1]
    assert (alice[-1], alice.first_at, alice.last_at) == (7, now, now + timedelta(minutes=5))
    assert alice.explanation == "seen at 5"
    assert len(rows[0].identity) == 253


async def test_what_a_nas_taught_is_written_once_and_told(any_world: World) -> None:
    nas_id = await any_world.nas()
    directory = await any_world.directory()
    for _ in range(2):
        async with any_world.workplace.work("test") as work:
            await directory_rows.remember_signing(work.connection, nas_id, work.now)
    after = await _refreshed(any_world, directory)
    assert after.nases[0].signs_requests
    assert after.seq == directory.seq + 1


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("00:E1:0C:38:C8:F8", "00e10c38c8f8"),
        ("1:0:e1:c:38:c8:f8", "00e10c38c8f8"),
        ("01:0:e1:c:38:c8:f8", "00e10c38c8f8"),
        ("0:e1:c:38:c8:f8", "00e10c38c8f8"),
        ("00-E1-0C-38-C8-F8", "00e10c38c8f8"),
        ("00e1.0c38.c8f8", "00e10c38c8f8"),
        ("00E1:0C38:C8F8", "00e10c38c8f8"),
        ("00E10C-38C8F8", "00e10c38c8f8"),
        (" 00e10c38c8f8 ", "00e10c38c8f8"),
        ("2:0:e1:c:38:c8:f8", None),
        ("100:e1:c:38:c8:f8", None),
        ("00:e1:0c:38:c8", None),
        ("10.0.0.1", None),
        ("alice", None),
        ("", None),
    ],
)
def test_macs_are_spelled_one_way(text: str, mac: str | None) -> None:
    assert normalise_mac(text) == mac


def test_mac_logins_follow_the_spelling_of_the_nas() -> None:
    assert mac_login("00e1.0c38.c8f8", "dotted") == "00e10c38c8f8"
    assert mac_login("00e1.0c38.c8f8", "mikrotik") is None
    assert mac_login("00:e1:0c:38:c8:f8", "hyphen") is None
    assert is_locally_administered("02e10c38c8f8")
    assert not is_locally_administered("00e10c38c8f8")


def test_class_token_comes_back_and_a_changed_one_does_not() -> None:
    token = ClassToken("svc_01abc", 12, "f00d1")
    octets = encode_class(token, CLASS_KEY)
    assert len(octets) <= MAX_OCTETS
    assert decode_class(octets, CLASS_KEY) == token
    assert decode_class(octets, bytes(32)) is None
    for at in range(len(octets)):
        assert decode_class(octets[:at] + bytes((octets[at] ^ 1,)) + octets[at + 1 :], CLASS_KEY) is None
    assert decode_class(b"", CLASS_KEY) is None
    assert decode_class(b"h1." + bytes(300), CLASS_KEY) is None
    with pytest.raises(ValueError, match="dot"):
        encode_class(ClassToken("a.b", 1, "x"), CLASS_KEY)


def test_noise_is_told_from_a_wrong_password() -> None:
    assert looks_garbled(bytes.fromhex("8d93d413ce3196e43f782a0aee0dbe70"))
    assert not looks_garbled(b"open sesame")
    assert not looks_garbled("пароль".encode())
    assert not looks_garbled("contraseña".encode("latin-1"))


def test_a_garbled_password_of_an_unsigned_request_is_no_verdict_about_the_user() -> None:
    empty = Directory(0, AccessPolicy(), (), {}, {}, {})
    noise = Pap(bytes.fromhex("8d93d413ce3196e43f782a0aee0dbe70"))
    assert isinstance(
        authorize(empty, b"alice", noise, None, MacConvention("mikrotik"), signed=False), Silent
    )
    assert isinstance(authorize(empty, b"alice", noise, None, MacConvention("mikrotik"), signed=True), Reject)


def test_interim_updates_are_spread_and_never_below_a_minute() -> None:
    profile = Profile("p", "p", 1, 1, interim_interval_s=300)
    spread = {interim_interval_s(profile, f"svc_{number}", AccessPolicy()) for number in range(500)}
    assert min(spread) == 300
    assert max(spread) == 330
    hasty = Profile("p", "p", 1, 1, interim_interval_s=5)
    assert interim_interval_s(hasty, "svc_1", AccessPolicy(interim_jitter_percent=0)) == 60
    assert SECRET
