"""The web role's own life: what it began, it ends."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from all_tables import create_tables

from appliance.panel_acts import panel_acts
from appliance.wiring import MeteredUsage
from core.clock import FakeClock
from core.database import Database, sqlite_url
from core.health import HealthIssue, open_issue
from core.ids import SeededIds
from core.secrets import Sealer
from core.work import Workplace
from ui.config import UiSettings
from ui.role import run_web


@pytest.mark.parametrize("taken", ["panel", "portal"])
async def test_a_port_that_cannot_be_had_leaves_the_database_free_to_record_it(
    tmp_path: Path, clock: FakeClock, sealer: Sealer, taken: str
) -> None:
    first = Database(sqlite_url(tmp_path / "hilltop.sqlite"))
    await create_tables(first)
    await first.close()
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        address = f"127.0.0.1:{squatter.getsockname()[1]}"
        settings = UiSettings(
            listen=address if taken == "panel" else "127.0.0.1:0",
            portal_listen=address if taken == "portal" else "127.0.0.1:0",
            tls_cert=tmp_path / "cert.pem",
            tls_key=tmp_path / "key.pem",
        )
        for _ in range(5):
            workplace = Workplace(Database(sqlite_url(tmp_path / "hilltop.sqlite")), clock, SeededIds())
            with pytest.raises(OSError, match="in use"):
                await run_web(
                    settings, workplace, sealer, MeteredUsage(), asyncio.Event(), acts=panel_acts(sealer)
                )
            async with asyncio.timeout(5), workplace.work("system:web") as work:
                await open_issue(work, HealthIssue("appliance.role:web", "critical", "the port", "free it"))
            await workplace.database.close()


async def test_nothing_of_it_goes_on_when_it_has_ended(
    workplace: Workplace, sealer: Sealer, tmp_path: Path
) -> None:
    settings = UiSettings(listen="127.0.0.1:0", tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    before = asyncio.all_tasks()
    stop, ready = asyncio.Event(), asyncio.Event()
    role = asyncio.create_task(
        run_web(settings, workplace, sealer, MeteredUsage(), stop, ready, acts=panel_acts(sealer))
    )
    await asyncio.wait_for(ready.wait(), 20)
    stop.set()
    await role
    assert asyncio.all_tasks() == before
