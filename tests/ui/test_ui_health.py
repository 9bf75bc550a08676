"""What a watcher without a sign-in is told of the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from ui_client import Panels, open_panel
from ui_world import make_operators

import core.release
from core.clock import FakeClock
from core.health import HealthIssue, close_issue, open_issue
from core.release import version
from core.secrets import Sealer
from core.work import Workplace

RADIUS = HealthIssue(
    "appliance.role:radius", "critical", "The radius role cannot run: secret words", "Read it."
)


async def test_a_watcher_learns_version_schema_and_image(
    any_workplace: Workplace,
    sealer: Sealer,
    wrist_watch: FakeClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await make_operators(any_workplace)
    async with any_workplace.work("test") as work:
        await work.connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        await work.connection.execute(text("INSERT INTO alembic_version VALUES ('0042')"))
    told = {"status": "ok", "version": version(), "database": "reachable", "schema": "0042"}
    async with open_panel(any_workplace, sealer, wrist_watch) as browser:
        answer = await browser.get("/healthz")
        assert (answer.status, json.loads(answer.body)) == (200, told)
        file = tmp_path / "image.json"
        monkeypatch.setattr(core.release, "IMAGE_FILE", file)
        for broken in ("", "[]", "{}", '{"name": "x"}', "\x00"):
            file.write_text(broken)
            assert "image" not in json.loads((await browser.get("/healthz")).body)
        file.write_text('{"name": "hilltop-appliance", "version": "0.1.0", "packages": ["not told"]}')
        answer = await browser.get("/healthz")
        assert json.loads(answer.body)["image"] == {"name": "hilltop-appliance", "version": "0.1.0"}


async def test_a_role_that_cannot_run_is_named_and_nothing_else(panel: Panels) -> None:
    async with panel.workplace.work("test") as work:
        await open_issue(work, RADIUS)
        await open_issue(work, HealthIssue("billing.clock_untrusted", "critical", "Billing waits", "Look."))
    answer = await panel.base.get("/healthz")
    told = json.loads(answer.body)
    assert (answer.status, told["status"], told["roles"]) == (503, "failing", ["radius"])
    assert "secret words" not in answer.text and "clock" not in answer.text
    async with panel.workplace.work("test") as work:
        await close_issue(work, RADIUS.key)
    assert (await panel.base.get("/healthz")).status == 200
