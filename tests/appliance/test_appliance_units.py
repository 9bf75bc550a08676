"""The service units: one for each role, systemd reads them without complaint and finds little they could do harm with."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.roles import ROLES
from appliance.settings import load_settings

UNITS = Path(__file__).resolve().parents[2] / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
WORST_SCORE = 2.0


def _lines(unit: str) -> list[str]:
    return [line for line in (UNITS / unit).read_text().splitlines() if line and not line.startswith("#")]


@pytest.fixture
def readable_units(tmp_path: Path) -> Path:
    """The units as they are, but for programs that are on this machine: systemd looks for them."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.target")]:
        text = re.sub(r"(/opt/hilltop/bin|/usr/lib/hilltop)/[a-z-]+", "/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_a_unit_that_runs_it(role: str) -> None:
    text = (UNITS / f"hilltop-{role}.service").read_text()
    assert f"ExecStart=/opt/hilltop/bin/hilltop role {role}\n" in text
    assert f"hilltop-{role}.service" in (UNITS / "hilltop.target").read_text()


def test_systemd_reads_the_units(readable_units: Path) -> None:
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(readable_units.iterdir()))],
        capture_output=True, text=True,
    )  # fmt: skip
    complaints = [line for line in checked.stderr.splitlines() if "hilltop" in line]
    assert complaints == []


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_can_do_little_harm(unit: str, readable_units: Path) -> None:
    judged = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", str(readable_units / unit)],
        capture_output=True, text=True,
    )  # fmt: skip
    score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert score is not None, judged.stderr
    assert float(score[1]) <= WORST_SCORE, f"{unit} scores {score[1]}:\n{judged.stdout}"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_meets_no_older_schema_and_comes_back(role: str) -> None:
    lines = _lines(f"hilltop-{role}.service")
    assert "ExecCondition=/usr/bin/test -e /run/hilltop/ready" in lines
    assert {"Type=notify", "WatchdogSec=30", "Restart=always", "StartLimitIntervalSec=0"} <= set(lines)
    assert "After=network.target hilltop-firstboot.service" in lines
    assert not any(line.startswith("Requires=") for line in lines)  # the database may come later
    starts_them = next(
        line for line in _lines("hilltop-firstboot.service") if line.startswith("ExecStartPost=")
    )
    assert "systemctl --no-block start hilltop.target" in starts_them


def test_all_services_of_hilltops_user_stand_behind_the_same_walls() -> None:
    def walls(unit: str) -> set[str]:
        lines = _lines(unit)
        return set(lines[lines.index("UMask=0027") :])

    differing = {unit: walls(unit) for unit in SERVICES if "User=hilltop" in _lines(unit)}
    assert len(differing) == len(ROLES) + 1
    common = set.intersection(*differing.values())
    clock = {"hilltop-worker.service", "hilltop-firstboot.service"}
    for unit, found in differing.items():
        assert found - common == (
            {"SystemCallFilter=adjtimex clock_adjtime"} if unit in clock else {"ProtectClock=yes"}
        ), unit


def test_the_settings_that_are_shipped_can_be_used() -> None:
    settings = load_settings(UNITS / "hilltop.toml")
    assert settings.ui.tls_cert == Path("/var/lib/hilltop/keys/panel.crt")
    assert settings.ui.listen == "0.0.0.0:8443"
    assert settings.database_url == "sqlite:////var/lib/hilltop/hilltop.sqlite"
