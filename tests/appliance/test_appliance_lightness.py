"""What a role has loaded when it has started and nobody has asked it for anything: memory and seconds of power-on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from appliance_running import free_port

_ROLE = """
import json, sys, threading
sys.argv = ["hilltop", *json.loads(sys.argv[1])]
from appliance.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)))
    assert threading.active_count() == 1 or sys.argv[-1] != "radius", "a fork would copy one thread of several"
"""
_WORKER = """
import asyncio, json, pathlib, sys
config = json.loads(sys.argv[1])[1]
from appliance.without_orm import leave_out_orm
leave_out_orm()
from appliance.roles import run_role
from appliance.settings import load_settings
try:
    asyncio.run(run_role("radius", load_settings(pathlib.Path(config))))
finally:
    print(json.dumps(sorted(sys.modules)))
"""
"""One of the processes that answer RADIUS, as the head of its family forks it."""
NEVER = {
    "alembic", "asyncssh", "click", "lab", "mako", "rich", "scapy", "sqlalchemy.dialects.postgresql",
    "sqlalchemy.orm", "stripe", "structlog", "typer", "typst._typst",
    "billing.payments.gateways.authorizenet_driver",
}  # fmt: skip
WIRES = {"netmiko", "paramiko", "pysnmp", "textfsm", "yaml"}  # each comes with the first device it is for
SCREENS = {"aiohttp", "argon2", "babel", "jinja2", "ui.app"}
MONEY = {"apscheduler", "billing.invoicing.bill_run", "billing.store.repositories", "provisioning.enforce"}
IDLE = {
    "radius": NEVER | WIRES | SCREENS | MONEY | {"aaa.close_usage", "radius.accounting.ingest", "snmp.poll"},
    "collector": NEVER | WIRES | SCREENS | MONEY | {"pyrad", "radius.serving.role"},
    "worker": NEVER | WIRES | SCREENS | {"radius.serving.role"},
    "web": NEVER | WIRES | {"apscheduler", "provisioning.enforce", "radius.serving.role"},
}
AT_ONCE = {
    "radius": {
        "aaa.domain.mschap",
        "radius.accounting.pipeline",
        "radius.accounting.journal",
        "radius.sign_in.pipeline",
    },
    "collector": {"radius.accounting.ingest"},
    "worker": {"appliance.reactions", "billing.invoicing.bill_run", "billing.dunning.evaluate"},
    "web": {"babel.dates", "jinja2", "ui.app"},
}
"""Nobody waits for a library in the middle of an answer: it is there when the role says that it is ready."""


def _settings(folder: Path) -> Path:
    config = folder / "hilltop.toml"
    command = [sys.executable, "-m", "appliance.cli", "--config", str(config)]
    subprocess.run([*command, "init", "--state", str(folder / "state")], check=True, capture_output=True)
    udp, tcp = socket.SOCK_DGRAM, socket.SOCK_STREAM
    ports = {":1812": free_port(udp), ":1813": free_port(udp), ":8080": free_port(tcp)}
    text = config.read_text()
    for usual, free in ports.items():
        text = text.replace(usual, f":{free}")
    config.write_text(text)
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _settings(tmp_path_factory.mktemp("light"))


def _loaded_by(role: str, config: Path, folder: Path, program: str = _ROLE) -> set[str]:
    """Everything that is loaded when the role is told to stop, right after it said that it is ready."""
    channel_path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(channel_path))
        channel.settimeout(60)
        process = subprocess.Popen(
            [sys.executable, "-c", program, json.dumps(["--config", str(config), "role", role])],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "NOTIFY_SOCKET": str(channel_path)},
        )  # fmt: skip
        try:
            while b"READY=1" not in channel.recv(4096):
                continue
        finally:
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return set(json.loads(said.splitlines()[-1]))


@pytest.mark.parametrize("role", IDLE)
def test_a_role_loads_what_it_needs_at_once_and_nothing_heavy_beyond(
    role: str, config: Path, tmp_path: Path
) -> None:
    loaded = _loaded_by(role, config, tmp_path, _WORKER if role == "radius" else _ROLE)
    assert IDLE[role] & loaded == set()
    assert AT_ONCE[role] - loaded == set()


HEAVY = {"asyncio", "sqlalchemy", "pydantic", "cryptography", "appliance.settings", "radius.sign_in.pipeline"}


@pytest.mark.parametrize(("workers", "loads"), [(1, False), (2, True)])
def test_the_head_of_the_radius_processes_loads_what_several_share_and_nothing_for_one(
    config: Path, tmp_path: Path, workers: int, loads: bool
) -> None:
    own = tmp_path / "hilltop.toml"
    own.write_text(config.read_text().replace("[radius]", f"[radius]\nworkers = {workers}"))
    loaded = _loaded_by("radius", own, tmp_path)
    assert IDLE["radius"] & loaded == set()
    assert HEAVY & loaded == (HEAVY if loads else set())
    assert not loads or AT_ONCE["radius"] <= loaded


def test_who_asks_for_more_of_sqlalchemys_asyncio_than_the_engine_gets_it() -> None:
    asked = """
from appliance.without_orm import leave_out_orm
leave_out_orm()
import sys
from sqlalchemy.ext.asyncio import AsyncConnection
assert "sqlalchemy.orm" not in sys.modules
from sqlalchemy.ext.asyncio import AsyncConnection as again, AsyncSession, engine
import sqlalchemy.ext.asyncio as package
assert again is AsyncConnection is engine.AsyncConnection and AsyncSession.__module__ == package.__name__ + ".session"
assert not hasattr(package, "nothing") and "sqlalchemy.orm" in sys.modules
"""
    subprocess.run([sys.executable, "-c", asked], check=True)


def test_the_supervisor_is_its_own_small_program() -> None:
    asked = "import sys, appliance.supervisor; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    heavy = NEVER | WIRES | SCREENS | {"sqlalchemy", "pydantic", "cryptography", "appliance.settings"}
    assert heavy & set(run.stdout.split()) == set()
