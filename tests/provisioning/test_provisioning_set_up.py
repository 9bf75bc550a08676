"""Setting up towers, devices and points; asking for enforcement."""

from __future__ import annotations

from typing import Any

from provisioning_world import World
from sqlalchemy import select

from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.work import Workplace
from provisioning.request_enforcement import request_enforcement
from provisioning.set_up import add_enforcement_point, change_device, register_device, register_site
from provisioning.store.tables import device, task


async def test_a_device_keeps_its_credentials_sealed(workplace: Workplace, sealer: Sealer) -> None:
    async with workplace.work("operator:ann") as work:
        site_id = await register_site(work, name="Red Hill", latitude=39.5, longitude=-105.2)
        assert isinstance(site_id, str)
        device_id = await register_device(
            work, sealer, site_id=site_id, name="rb-red", driver="routeros", address="192.0.2.1",
            username="hilltop", password=Secret("opensesame"),
        )  # fmt: skip
        row = (await work.connection.execute(select(device).where(device.c.id == device_id))).one()
    assert "opensesame" not in str(row)
    assert sealer.open(row.password_sealed, "device.password").reveal() == "opensesame"


async def test_refusals_name_the_field(workplace: Workplace, sealer: Sealer) -> None:
    good: dict[str, Any] = {
        "name": "rb", "driver": "routeros", "address": "192.0.2.1", "username": "h", "password": Secret("x")
    }  # fmt: skip
    cases: list[tuple[dict[str, Any], str]] = [
        ({"name": " "}, "name"),
        ({"driver": "winbox"}, "driver"),
        ({"options": {"lisst": "x"}}, "options"),
        ({"options": {"list": "x; /system reboot"}}, "options"),
        ({"driver": "linux_nftables", "options": {"table": "a b"}}, "options"),
        ({"address": "not an address"}, "address"),
        ({"address": "10.0.0.300"}, "address"),
        ({"port": 0}, "port"),
        ({"username": "a b"}, "username"),
        ({"password": None}, "password"),
        ({"private_key": Secret("nonsense")}, "private_key"),
        ({"host_key": "ssh-ed25519 !!"}, "host_key"),
        ({"host_key": "ssh-ed25519 AAAAB3NzaC1yc2EAAAAD"}, "host_key"),
        ({"site_id": "site_none"}, "site_id"),
    ]
    async with workplace.work("operator:ann") as work:
        site_id = granted(await register_site(work, name="Red Hill"))
        for fields, field in cases:
            refused = await register_device(work, sealer, **{"site_id": site_id, **good, **fields})
            assert isinstance(refused, Refusal), fields
            assert refused.field == field, fields
        assert isinstance(await register_device(work, sealer, site_id=site_id, **good), str)
        twin = await register_device(work, sealer, site_id=site_id, **good)
        assert isinstance(twin, Refusal)
        assert twin.code == "duplicate"


async def test_tower_names_are_unique_and_places_are_on_the_globe(workplace: Workplace) -> None:
    async with workplace.work("operator:ann") as work:
        assert isinstance(await register_site(work, name="Red Hill"), str)
        assert isinstance(await register_site(work, name="Red Hill"), Refusal)
        assert isinstance(await register_site(work, name="Far", latitude=91.0, longitude=0.0), Refusal)


async def test_a_change_gives_the_device_a_fresh_start(world: World) -> None:
    async with world.workplace.work("operator:ann") as work:
        refused = await change_device(work, world.sealer, world.device_id, port=70000)
        assert isinstance(refused, Refusal)
        assert await change_device(work, world.sealer, world.device_id, address="192.0.2.9") is None
        unknown = await change_device(work, world.sealer, world.device_id, colour="red")
        assert isinstance(unknown, Refusal)
    row = await world.device()
    assert row.address == "192.0.2.9"
    assert row.password_sealed is not None


async def test_a_point_is_made_once_and_brings_the_live_session_point(world: World) -> None:
    service_id = await world.service("ann")
    async with world.workplace.work("operator:ann") as work:
        first = await add_enforcement_point(work, service_id=service_id, device_id=world.device_id)
        again = await add_enforcement_point(work, service_id=service_id, device_id=world.device_id)
        nobody = await add_enforcement_point(work, service_id="svc_none", device_id=world.device_id)
    assert first == again
    assert isinstance(nobody, Refusal)
    assert [point.mechanism for point in await world.points(service_id)] == ["device", "live_session"]


async def test_asking_twice_gives_the_same_tasks_and_newer_generations_win(world: World) -> None:
    service_id = await world.enforced_service("ann")
    async with world.workplace.work("system:reactions") as work:
        first = await request_enforcement(
            work, service_id=service_id, generation=2, effect="block", cause="overdue"
        )
        again = await request_enforcement(
            work, service_id=service_id, generation=2, effect="block", cause="overdue"
        )
        newer = await request_enforcement(
            work, service_id=service_id, generation=3, effect="none", cause="paid"
        )
        late = await request_enforcement(
            work, service_id=service_id, generation=2, effect="block", cause="late news"
        )
        rows = (await work.connection.execute(select(task.c.id, task.c.status))).all()
    assert first == again
    assert len(first) == 2  # device and live session
    assert late == []
    statuses = {row.id: row.status for row in rows}
    assert {statuses[task_id] for task_id in first} == {"superseded"}
    assert {statuses[task_id] for task_id in newer} == {"waiting"}
