"""The house stands as drawn: floors, doors, names, no cycles."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ["core", "aaa", "radius", "snmp", "provisioning", "billing", "ui", "appliance", "lab"]


def python_files(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def test_imports_go_down_and_never_sideways() -> None:
    run = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("library", "door"),
    [
        ("netmiko", r"provisioning/transport"),
        ("apscheduler", r"appliance/schedule\.py"),
        (
            "aiohttp",
            r"(ui|lab|appliance/story)/|billing/(delivery/http_sms|taxes/http_engine|payments/gateways/)",
        ),
        ("scapy", r"(provisioning/discovery|lab/)"),
        ("pysnmp", r"(snmp|lab)/"),
        ("pyrad", r"(radius|lab)/"),
        ("alembic", r"appliance/(migrate|new_migration)\.py|appliance/migrations/"),
        ("asyncssh", r"lab/"),
    ],
)
def test_each_heavy_library_has_one_door(library: str, door: str) -> None:
    pattern = re.compile(rf"^\s*(?:from|import) {library}\b", re.MULTILINE)
    users = [str(p.relative_to(ROOT)) for p in python_files(*ROOMS) if pattern.search(p.read_text())]
    assert users, f"{library} does no work in the product"
    assert [user for user in users if not re.match(door, user)] == []


def test_sql_is_written_in_stores_alone() -> None:
    rooms = ["aaa", "radius", "snmp", "provisioning", "billing"]
    pattern = re.compile(r"^\s*from sqlalchemy import|^\s*import sqlalchemy\b", re.MULTILINE)
    outside = [
        str(path.relative_to(ROOT))
        for path in python_files(*rooms)
        if "/store/" not in str(path) and pattern.search(path.read_text())
    ]
    assert outside == []


def test_time_comes_from_the_clock_alone() -> None:
    pattern = re.compile(r"datetime\.now\(|datetime\.utcnow\(|\btime\.time\(")
    users = [
        str(path.relative_to(ROOT))
        for path in python_files("aaa", "radius", "snmp", "provisioning", "billing", "ui")
        if pattern.search(path.read_text())
    ]
    assert users == []


def test_package_inits_are_empty() -> None:
    assert [p for p in python_files(*ROOMS) if p.name == "__init__.py" and p.read_text().strip()] == []


def test_no_name_says_nothing() -> None:
    empty_words = re.compile(r"(manager|helper|utils?|common|misc)\b", re.IGNORECASE)
    assert [str(p) for p in python_files(*ROOMS) if empty_words.search(p.stem)] == []
