"""Targets and bindings: what is refused, by which field; credentials are sealed; nothing is billed twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from snmp_world import OPERATOR, SnmpWorld
from sqlalchemy import select
from test_snmp_radios import _radius_session

from core.clock import FakeClock
from core.refusal import Refusal, granted
from core.secrets import Secret
from core.store.tables import audit
from snmp.set_up import (
    bind,
    change_credentials,
    change_target,
    disable_target,
    enable_target,
    register_target,
    unbind,
)
from snmp.store import target_rows
from snmp.store.tables import target

V3: dict[str, Any] = {
    "version": "3", "community": None, "username": "mon", "auth": Secret("authpassword"),
    "privacy": Secret("privpassword"),
}  # fmt: skip


async def _register(world: SnmpWorld, **fields: Any) -> str | Refusal:
    values: dict[str, Any] = {
        "name": "tower",
        "address": "10.0.0.1",
        "community": Secret("community-word"),
    } | fields
    async with world.workplace.work(OPERATOR) as work:
        return await register_target(work, world.sealer, **values)


async def _bind(world: SnmpWorld, **fields: Any) -> str | Refusal:
    async with world.workplace.work(OPERATOR) as work:
        return await bind(work, **({"if_name": "ether1"} | fields))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": " "}, "name"),
        ({"address": "tower.example"}, "address"),
        ({"port": 0}, "port"),
        ({"port": 65_536}, "port"),
        ({"poll_interval_s": 0}, "poll_interval_s"),
        ({"poll_interval_s": 3_601}, "poll_interval_s"),
        ({"version": "1"}, "version"),
        ({"community": None}, "community"),
        ({"community": Secret("")}, "community"),
        ({"auth": Secret("authpassword")}, "auth"),
        ({"username": "mon"}, "username"),
        (V3 | {"community": Secret("x")}, "community"),
        (V3 | {"username": None}, "username"),
        (V3 | {"username": "m" * 33}, "username"),
        (V3 | {"auth": None, "privacy": None}, "auth"),
        (V3 | {"auth": None}, "auth"),
        (V3 | {"auth": Secret("short")}, "auth"),
        (V3 | {"privacy": Secret("short")}, "privacy"),
    ],
)
async def test_a_target_is_refused_by_field_with_a_remedy(
    world: SnmpWorld, fields: dict[str, Any], field: str
) -> None:
    refusal = await _register(world, **fields)
    assert isinstance(refusal, Refusal)
    assert refusal.field == field
    async with world.workplace.reading() as connection:
        assert (await connection.execute(select(target))).all() == []


@pytest.mark.parametrize(
    "fields", [{}, {"poll_interval_s": 1}, {"poll_interval_s": 3_600}, {"address": "fd00::1"}, V3]
)
async def test_a_target_is_registered(any_world: SnmpWorld, fields: dict[str, Any]) -> None:
    target_id = granted(await _register(any_world, name=" tower ", **fields))
    row = await any_world.row(target_id)
    assert (row.name, row.enabled, row.last_polled_at) == ("tower", True, None)


async def test_credentials_are_sealed_each_for_its_purpose_and_told_nowhere(world: SnmpWorld) -> None:
    first = granted(await _register(world))
    second = granted(await _register(world, name="radio", **V3))
    community, user = await world.row(first), await world.row(second)
    assert world.sealer.open(community.community_sealed, "snmp.community") == Secret("community-word")
    assert world.sealer.open(user.auth_sealed, "snmp.auth") == Secret("authpassword")
    assert world.sealer.open(user.privacy_sealed, "snmp.privacy") == Secret("privpassword")
    async with world.workplace.reading() as connection:
        told = repr([tuple(row) for row in (await connection.execute(select(audit))).all()])
    for secret in ("community-word", "authpassword", "privpassword"):
        assert secret not in f"{tuple(community)}{tuple(user)}{told}"


async def test_a_name_is_given_once(world: SnmpWorld) -> None:
    granted(await _register(world))
    refusal = await _register(world)
    assert isinstance(refusal, Refusal)
    assert refusal.field == "name"


async def test_a_binding_is_refused_by_field(world: SnmpWorld) -> None:
    target_id, service_id = granted(await _register(world)), await world.service()
    asked = {"target_id": target_id, "service_id": service_id}
    granted(await _bind(world, **asked, if_name=" ether1 "))
    for fields, field in (
        ({"if_name": "ether1", "bills": False}, "if_name"),
        ({"if_name": ""}, "if_name"),
        ({"if_name": "e" * 121}, "if_name"),
        ({"if_name": "e2", "service_id": "svc_x"}, "service_id"),
        ({"if_name": "e2", "target_id": "tgt_x"}, "target_id"),
        ({"if_name": "e2", "rate_cap_bps": 0}, "rate_cap_bps"),
    ):
        refusal = await _bind(world, **(asked | fields))
        assert isinstance(refusal, Refusal)
        assert refusal.field == field


async def test_a_service_is_billed_by_one_interface_and_checked_by_others(world: SnmpWorld) -> None:
    target_id, service_id = granted(await _register(world)), await world.service()
    asked = {"target_id": target_id, "service_id": service_id}
    granted(await _bind(world, **asked))
    refusal = await _bind(world, **asked, if_name="wlan1")
    assert isinstance(refusal, Refusal)
    assert (refusal.field, "checking only" in refusal.message) == ("bills", True)
    granted(await _bind(world, **asked, if_name="wlan1", bills=False))
    async with world.workplace.work(OPERATOR) as work:
        assert await unbind(work, target_id=target_id, if_name="ether1") is None
        assert isinstance(await unbind(work, target_id=target_id, if_name="ether1"), Refusal)
    granted(await _bind(world, **asked, if_name="wlan2"))


async def test_beside_radius_an_interface_checks_and_does_not_bill(
    any_world: SnmpWorld, clock: FakeClock
) -> None:
    target_id, service_id = granted(await _register(any_world)), await any_world.service()
    asked = {"target_id": target_id, "service_id": service_id}
    await _radius_session(any_world, clock)
    refusal = await _bind(any_world, **asked)
    assert isinstance(refusal, Refusal)
    assert (refusal.field, "checking only" in refusal.message) == ("bills", True)
    granted(await _bind(any_world, **asked, bills=False))
    async with any_world.workplace.work(OPERATOR) as work:
        await unbind(work, target_id=target_id, if_name="ether1")
    clock.advance(timedelta(days=36))
    granted(await _bind(any_world, **asked))


async def test_a_target_is_disabled_enabled_and_changed(world: SnmpWorld) -> None:
    target_id = granted(await _register(world))
    async with world.workplace.work(OPERATOR) as work:
        assert await disable_target(work, target_id) is None
        assert await target_rows.enabled_targets(work.connection) == []
        assert await enable_target(work, target_id) is None
        assert await change_target(work, target_id, address="10.0.0.2", poll_interval_s=60) is None
        assert await change_credentials(work, world.sealer, target_id, **V3) is None
        for refusal in (
            await enable_target(work, "tgt_x"),
            await change_target(work, "tgt_x"),
            await change_target(work, target_id, port=0),
            await change_credentials(work, world.sealer, target_id, version="2c"),
            await change_credentials(work, world.sealer, "tgt_x", **V3),
        ):
            assert isinstance(refusal, Refusal)
    row = await world.row(target_id)
    assert (row.enabled, row.address, row.port, row.poll_interval_s) == (True, "10.0.0.2", 161, 60)
    assert (row.version, row.community_sealed) == ("3", None)
