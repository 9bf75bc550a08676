"""What a role says of itself in the health issues, which is what watchers are told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest
from appliance_running import set_up, until
from sqlalchemy import select, update

import appliance.roles
from appliance.roles import role_issue, run_role
from appliance.settings import Settings
from appliance.wiring import House, open_house
from core.health import open_issue
from core.store.tables import health_issue
from core.work import Workplace


def settings_in(folder: Path, auth_listen: str = "127.0.0.1:0") -> Settings:
    return Settings.model_validate(
        {
            "state": {"directory": folder / "state"},
            "radius": {"auth_listen": [auth_listen], "accounting_listen": ["127.0.0.1:0"]},
        }
    )


async def titles(house: House) -> list[str]:
    async with house.workplace.reading() as connection:
        rows = await connection.execute(
            select(health_issue.c.title).where(
                health_issue.c.key.like("appliance.role:%"), health_issue.c.closed_at.is_(None)
            )
        )
        return list(rows.scalars())


async def test_an_issue_that_could_not_be_closed_at_once_is_closed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appliance.roles, "_TELL_AGAIN_S", 0.1)
    settings = settings_in(tmp_path)
    work_of, refused = Workplace.work, 0

    def work(self: Workplace, actor: str) -> object:
        nonlocal refused
        if actor == "system:radius" and refused < 3:
            refused += 1
            raise OSError("the database is away")
        return work_of(self, actor)

    async with open_house(settings, may_make_key=True) as house:
        await set_up(house)
        async with house.workplace.work("test") as one:
            await open_issue(one, role_issue("radius", "its port is taken"))
        monkeypatch.setattr(Workplace, "work", work)
        role = asyncio.create_task(run_role("radius", settings))

        async def closed() -> bool:
            return await titles(house) == []

        await until(closed, "the issue to close", 20)
        assert refused == 3
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(role, 20) == 0


async def test_a_role_without_its_key_or_its_schema_is_a_health_issue(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with open_house(settings, may_make_key=True) as house:
        await set_up(house)
        key = settings.sealing_key.read_bytes()
        settings.sealing_key.unlink()
        assert await run_role("radius", settings) == 2
        assert "no sealing key" in (await titles(house))[0]
        settings.sealing_key.write_bytes(key)
        settings.sealing_key.chmod(0o600)
        async with house.workplace.work("test") as work:
            await work.connection.execute(update(health_issue).values(closed_at=work.now))
            await work.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        assert await run_role("worker", settings) == 2
        assert "newer release" in (await titles(house))[0]


async def test_no_database_is_made_to_record_a_refusal(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    assert await run_role("worker", settings) == 2
    assert list((tmp_path / "state").glob("*.sqlite*")) == []


async def test_a_radius_port_that_is_taken_is_called_that(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as squatter:
        squatter.bind(("127.0.0.1", 0))
        port = squatter.getsockname()[1]
        settings = settings_in(tmp_path, f"127.0.0.1:{port}")
        async with open_house(settings, may_make_key=True) as house:
            await set_up(house)
            assert await run_role("radius", settings) == 1
            (told,) = await titles(house)
    assert f"cannot listen: 127.0.0.1 port {port}: Address already in use" in told
    assert "database" not in told
