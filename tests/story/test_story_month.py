"""The story of a month as a scenario, through ``hilltop run`` and the command line, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.story.play import Telling, play


@pytest.mark.slow
@pytest.mark.namespaces
async def test_a_month_on_sqlite_with_the_real_tower_where_one_can_stand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passed = await play(Telling(folder=tmp_path / "story"))
    assert passed == 0, capsys.readouterr().out[-6000:]


@pytest.mark.slow
@pytest.mark.postgresql
async def test_a_month_on_postgresql(
    tmp_path: Path, postgresql_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    telling = Telling(folder=tmp_path / "story", database_url=postgresql_url, simulated_only=True)
    assert await play(telling) == 0, capsys.readouterr().out[-6000:]
