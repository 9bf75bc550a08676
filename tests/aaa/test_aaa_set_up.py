"""Setting up: what is refused, by which field and with which remedy; what is told to the directories."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from aaa.domain.effect import Effect
from aaa.entitlements import addresses_of, services_at
from aaa.place_hold import place_hold
from aaa.set_up import (
    NewCredential,
    add_credential,
    change_nas,
    change_profile,
    create_service,
    define_profile,
    end_service,
    register_nas,
    set_password,
    set_static_address,
)
from aaa.store.tables import credential, directory_change, nas
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.store.tables import fact, health_issue
from core.work import Workplace

NAS: dict[str, Any] = {"name": "tower", "network": "10.0.0.1", "secret": Secret("0123456789abcdef")}
PROFILE: dict[str, Any] = {"name": "25", "rate_down_bps": 25_000_000, "rate_up_bps": 5_000_000}
PPPOE = NewCredential("pppoe", "ann", Secret("pw"))


async def _nas(workplace: Workplace, sealer: Sealer, **fields: Any) -> str | Refusal:
    async with workplace.work("operator:ann") as work:
        return await register_nas(work, sealer, **(NAS | fields))


async def _profile(workplace: Workplace, **fields: Any) -> str | Refusal:
    async with workplace.work("operator:ann") as work:
        return await define_profile(work, **(PROFILE | fields))


async def _service(
    workplace: Workplace, sealer: Sealer, *credentials: NewCredential, **fields: Any
) -> str | Refusal:
    async with workplace.work("operator:ann") as work:
        values = {"account_id": "acc_1", "label": "home", "credentials": credentials or [PPPOE]} | fields
        return await create_service(work, sealer, **values)


@pytest.fixture
async def profile_id(workplace: Workplace) -> str:
    return granted(await _profile(workplace))


def _refused(outcome: object, field: str, *words: str) -> None:
    assert isinstance(outcome, Refusal), outcome
    assert outcome.field == field
    for word in words:
        assert word in outcome.message


@pytest.mark.parametrize(
    ("fields", "field", "word"),
    [
        ({"name": "  "}, "name", "give one"),
        ({"name": "x" * 81}, "name", "80"),
        ({"network": "10.0.0.300"}, "network", "10.0.0.0/24"),
        ({"network": "10.0.0.7/24"}, "network", "10.0.0.0/24"),
        ({"network": "0.0.0.0/0"}, "network", "address"),
        ({"secret": Secret("short")}, "secret", "16"),
        ({"dialect": "semaphore"}, "dialect", "mikrotik"),
        ({"message_authenticator": "yes"}, "message_authenticator", "require"),
        ({"mac_format": "odd"}, "mac_format", "mikrotik"),
        ({"dynauth_port": 70_000}, "dynauth_port", "65535"),
    ],
)
async def test_a_nas_is_refused_by_field_with_the_remedy(
    workplace: Workplace, sealer: Sealer, fields: dict[str, Any], field: str, word: str
) -> None:
    _refused(await _nas(workplace, sealer, **fields), field, word)


async def test_equal_networks_are_refused_and_overlapping_ones_taken(
    workplace: Workplace, sealer: Sealer
) -> None:
    granted(await _nas(workplace, sealer))
    _refused(await _nas(workplace, sealer, name="other", network="10.0.0.1/32"), "network", "tower")
    _refused(await _nas(workplace, sealer, network="10.0.0.2"), "name", "another")
    granted(await _nas(workplace, sealer, name="wide", network="10.0.0.0/24"))


async def test_the_secret_is_sealed_and_a_short_one_is_a_health_issue(
    workplace: Workplace, sealer: Sealer
) -> None:
    nas_id = granted(await _nas(workplace, sealer, secret=Secret("12345678")))
    async with workplace.reading() as connection:
        row = (await connection.execute(select(nas))).one()
        issue = (await connection.execute(select(health_issue))).one()
    assert "12345678" not in row.secret_sealed
    assert sealer.open(row.secret_sealed, "nas.secret") == Secret("12345678")
    assert (issue.key, issue.closed_at) == (f"aaa.weak_nas_secret:{nas_id}", None)
    async with workplace.work("operator:ann") as work:
        assert await change_nas(work, sealer, nas_id, secret=Secret("x" * 16)) is None
    async with workplace.reading() as connection:
        assert (await connection.execute(select(health_issue.c.closed_at))).scalar_one() is not None


async def test_changing_a_nas_checks_the_same_and_tells_the_directories(
    workplace: Workplace, sealer: Sealer
) -> None:
    nas_id = granted(await _nas(workplace, sealer))
    async with workplace.work("operator:ann") as work:
        assert await change_nas(work, sealer, nas_id, network="10.0.0.1", octets_reversed=True) is None
        _refused(await change_nas(work, sealer, nas_id, network="nowhere"), "network")
        _refused(await change_nas(work, sealer, nas_id, colour="red"), "colour", "dialect")
        _refused(await change_nas(work, sealer, "nas_x", name="a"), "nas_id")
    assert await _told(workplace) == [("nas", nas_id), ("nas", nas_id)]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"rate_down_bps": 0}, "rate_down_bps"),
        ({"rate_up_bps": -1}, "rate_up_bps"),
        ({"interim_interval_s": 30}, "interim_interval_s"),
        ({"burst_down_bps": 50_000_000}, "burst_seconds"),
        ({"burst_down_bps": 1, "burst_up_bps": 9_000_000, "burst_seconds": 8}, "burst_down_bps"),
        ({"name": ""}, "name"),
        ({"idle_timeout_s": 0}, "idle_timeout_s"),
    ],
)
async def test_a_profile_is_refused_by_field(
    workplace: Workplace, fields: dict[str, Any], field: str
) -> None:
    _refused(await _profile(workplace, **fields), field)


async def test_a_profile_name_is_given_once(workplace: Workplace, profile_id: str) -> None:
    _refused(await _profile(workplace), "name", "another")


async def test_a_user_name_signs_in_to_one_service(
    workplace: Workplace, sealer: Sealer, profile_id: str
) -> None:
    granted(await _service(workplace, sealer, profile_id=profile_id, label="Ann's home"))
    _refused(await _service(workplace, sealer, profile_id=profile_id), "username", "Ann's home")
    _refused(await _service(workplace, sealer, NewCredential("pppoe", "b", Secret("x")), NewCredential("pppoe", "b", Secret("x")), profile_id=profile_id), "username")  # fmt: skip


@pytest.mark.parametrize(
    "spelled", ["00-E1-0C-38-C8-F8", "00e1.0c38.c8f8", "1:0:e1:c:38:c8:f8", "00E10C38C8F8"]
)
async def test_a_mac_spelled_anyhow_is_one_mac(
    workplace: Workplace, sealer: Sealer, profile_id: str, spelled: str
) -> None:
    granted(await _service(workplace, sealer, NewCredential("mac", spelled), profile_id=profile_id))
    _refused(
        await _service(workplace, sealer, NewCredential("mac", "00:e1:0c:38:c8:f8"), profile_id=profile_id),
        "username",
    )
    async with workplace.reading() as connection:
        assert (await connection.execute(select(credential.c.username))).scalars().all() == ["00e10c38c8f8"]


@pytest.mark.parametrize(
    ("one", "field"),
    [
        (NewCredential("mac", "00:e1:0c:38:c8"), "username"),
        (NewCredential("pppoe", "ann", None), "password"),
        (NewCredential("pppoe", "ann", Secret("")), "password"),
        (NewCredential("pppoe", " ", Secret("x")), "username"),
        (NewCredential("voucher", "x", None), "kind"),
    ],
)
async def test_a_credential_is_refused_by_field(
    workplace: Workplace, sealer: Sealer, profile_id: str, one: NewCredential, field: str
) -> None:
    _refused(await _service(workplace, sealer, one, profile_id=profile_id), field)


@pytest.mark.parametrize(
    "address", ["10.0.0.256", "2001:db8::1", "127.0.0.1", "255.255.255.254", "0.0.0.0", "224.0.0.1"]
)
async def test_an_address_no_subscriber_can_have_is_refused(
    workplace: Workplace, sealer: Sealer, profile_id: str, address: str
) -> None:
    _refused(await _service(workplace, sealer, profile_id=profile_id, framed_ip=address), "framed_ip")


async def test_a_static_address_is_given_once(workplace: Workplace, sealer: Sealer, profile_id: str) -> None:
    first = granted(
        await _service(workplace, sealer, profile_id=profile_id, framed_ip="10.1.1.1", label="Ann")
    )
    bob = NewCredential("pppoe", "bob", Secret("x"))
    _refused(
        await _service(workplace, sealer, bob, profile_id=profile_id, framed_ip="10.1.1.1"),
        "framed_ip",
        "Ann",
    )
    async with workplace.reading() as connection:
        assert await services_at(connection, "10.1.1.1") == [first]


async def test_what_an_ended_service_had_is_taken_over(
    workplace: Workplace, sealer: Sealer, profile_id: str
) -> None:
    old = granted(await _service(workplace, sealer, profile_id=profile_id, framed_ip="10.1.1.1"))
    async with workplace.work("operator:ann") as work:
        granted(await end_service(work, old, "moved"))
    new = granted(await _service(workplace, sealer, profile_id=profile_id, framed_ip="10.1.1.1"))
    async with workplace.reading() as connection:
        assert await services_at(connection, "10.1.1.1") == [new]
        assert (await connection.execute(select(credential.c.service_id))).scalars().all() == [new]
        payload = (
            await connection.execute(select(fact.c.payload).where(fact.c.kind == "aaa.address_changed"))
        ).scalar_one()
    assert payload == {"service_id": old, "generation": 2, "effect": "ended", "addresses": []}


async def test_unknown_profile_and_missing_credentials_are_refused(
    workplace: Workplace, sealer: Sealer, profile_id: str
) -> None:
    _refused(await _service(workplace, sealer, profile_id="prf_x"), "profile_id", "define")
    _refused(await _service(workplace, sealer, profile_id=profile_id, credentials=[]), "credentials")
    _refused(await _service(workplace, sealer, profile_id=profile_id, label=""), "label")


async def test_a_new_profile_is_a_new_generation_and_the_same_one_is_not(
    workplace: Workplace, sealer: Sealer, profile_id: str
) -> None:
    service_id = granted(await _service(workplace, sealer, profile_id=profile_id))
    other = granted(await _profile(workplace, name="50"))
    async with workplace.work("operator:ann") as work:
        assert await change_profile(work, service_id, other) == 2
        assert await change_profile(work, service_id, other) == 2
        _refused(await change_profile(work, service_id, "prf_x"), "profile_id")
        _refused(await change_profile(work, "svc_x", other), "service_id")


async def test_an_ended_service_is_not_changed_any_more(
    workplace: Workplace, sealer: Sealer, profile_id: str
) -> None:
    service_id = granted(await _service(workplace, sealer, profile_id=profile_id))
    async with workplace.work("operator:ann") as work:
        granted(await end_service(work, service_id, ""))
        _refused(await change_profile(work, service_id, profile_id), "service_id", "ended")
        _refused(await set_static_address(work, service_id, "10.1.1.1"), "service_id")
        _refused(
            await place_hold(work, service_id=service_id, holder="dunning", effect=Effect.BLOCK, reason="x"),
            "service_id",
        )


async def test_moving_the_static_address_of_a_held_service_is_told(
    workplace: Workplace, sealer: Sealer, profile_id: str
) -> None:
    service_id = granted(await _service(workplace, sealer, profile_id=profile_id, framed_ip="10.1.1.1"))
    async with workplace.work("operator:ann") as work:
        granted(
            await place_hold(work, service_id=service_id, holder="dunning", effect=Effect.BLOCK, reason="x")
        )
        assert await set_static_address(work, service_id, "10.1.1.2") is None
        assert await addresses_of(work.connection, service_id) == {"10.1.1.2"}
        assert await set_static_address(work, service_id, None) is None
    async with workplace.reading() as connection:
        rows = await connection.execute(
            select(fact.c.payload).where(fact.c.kind == "aaa.address_changed").order_by(fact.c.seq)
        )
        assert [row.payload["addresses"] for row in rows] == [["10.1.1.2"], []]


async def test_credentials_are_added_and_passwords_changed(
    workplace: Workplace, sealer: Sealer, profile_id: str
) -> None:
    service_id = granted(await _service(workplace, sealer, profile_id=profile_id))
    async with workplace.work("operator:ann") as work:
        assert (
            await add_credential(
                work, sealer, service_id=service_id, credential=NewCredential("mac", "00:e1:0c:38:c8:f8")
            )
            is None
        )
        assert await set_password(work, sealer, username="ann", password=Secret("new")) is None
        _refused(await set_password(work, sealer, username="bob", password=Secret("new")), "username")
        _refused(await set_password(work, sealer, username="ann", password=Secret("")), "password")
        _refused(await add_credential(work, sealer, service_id=service_id, credential=PPPOE), "username")
    async with workplace.reading() as connection:
        row = (await connection.execute(select(credential).where(credential.c.username == "ann"))).one()
    assert sealer.open(row.password_sealed, "credential.password") == Secret("new")


async def _told(workplace: Workplace) -> list[tuple[str, str]]:
    async with workplace.reading() as connection:
        rows = await connection.execute(select(directory_change).order_by(directory_change.c.seq))
        return [(row.entity, row.entity_id) for row in rows]
