"""The service units: one for each role, and systemd itself reads them without complaint."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.roles import ROLES

UNITS = Path(__file__).resolve().parents[2] / "systemd"


def test_each_role_has_a_unit_that_runs_it() -> None:
    for role in ROLES:
        text = (UNITS / f"hilltop-{role}.service").read_text()
        assert f"ExecStart=/opt/hilltop/bin/hilltop role {role}\n" in text
        assert f"hilltop-{role}.service" in (UNITS / "hilltop.target").read_text()


def test_systemd_reads_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    for unit in UNITS.glob("hilltop*.service"):
        text = unit.read_text().replace("/opt/hilltop/bin/hilltop", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.glob("*.service")))],
        capture_output=True, text=True,
    )  # fmt: skip
    complaints = [line for line in checked.stderr.splitlines() if "hilltop" in line]
    assert complaints == []
