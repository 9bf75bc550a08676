"""Hilltop as its users run it: settings in a TOML file, the radius role, and the ingestion beside it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Table, func, insert, select

from aaa.set_up import NewCredential, create_service, define_profile, register_nas
from aaa.store.tables import credential, entitlement, entitlement_change, journal_cursor, service, session
from appliance.migrate import upgrade
from bench.compiled import ROOT, compiled
from bench.packets import INTERIM_INTERVAL_S, Subscriber
from core.clock import SystemClock
from core.database import Database
from core.ids import UlidSource
from core.refusal import Refusal
from core.secrets import Sealer, Secret, load_or_create_sealer
from core.work import Work, Workplace
from radius.accounting.journal import JournalReader

_SETTINGS = """\
[state]
directory = "{folder}"

[database]
url = "{url}"

[radius]
auth_listen = ["127.0.0.1:{auth_port}"]
accounting_listen = ["127.0.0.1:{accounting_port}"]
workers = {workers}
requests_per_s_of_source = 0
requests_per_s_of_nas = 0
"""


class Hilltop:
    """One running Hilltop: the radius role, and the ingestion of its journal while accounting is measured."""

    name = "Hilltop"

    def __init__(
        self,
        folder: Path,
        url: str,
        ports: tuple[int, int],
        more_settings: str = "",
        *,
        workers: int = 1,
    ) -> None:
        """``ports``: for authentication and for accounting. ``workers``: how many processes answer."""
        self.folder = folder
        self.url = url
        self.auth_port, self.accounting_port = ports
        self.workers = workers
        own = _SETTINGS.format(
            folder=folder, url=url, auth_port=ports[0], accounting_port=ports[1], workers=workers
        )
        self.settings = own + more_settings
        self._packages = compiled()
        """The packages as they are shipped: with the modules on the way of a request compiled."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def fill(self, people: Sequence[Subscriber], secret: str) -> None:
        """Write the settings and fill the database: one NAS, one profile, a service for each subscriber."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "journal").mkdir(parents=True)
        (self.folder / "hilltop.toml").write_text(self.settings)
        asyncio.run(_fill(self.url, self.folder, people, Secret(secret)))

    def start(self) -> None:
        """Start the radius role; returns when it answers."""
        self._launch(
            "radius", "appliance.cli", "--config", str(self.folder / "hilltop.toml"), "role", "radius"
        )

    def start_ingestion(self) -> None:
        """Start bringing the journal into the database."""
        self._launch("ingest", "bench.hilltop_ingest", str(self.folder / "hilltop.toml"))

    def _launch(self, role: str, *command: str) -> None:
        announcement = self.folder / f"{role}.ready"
        announcement.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.bind(str(announcement))
            channel.settimeout(0.5)
            log = (self.folder / f"{role}.log").open("wb")
            self._processes[role] = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self._packages,
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": str(announcement),
                    "PYTHONPATH": f"{self._packages}{os.pathsep}{ROOT}",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            log.close()
            self._await_readiness(role, channel)

    def _await_readiness(self, role: str, channel: socket.socket) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if b"READY=1" in channel.recv(4096):
                    return
            except TimeoutError:
                if self._processes[role].poll() is not None:
                    break
        said = (self.folder / f"{role}.log").read_text(errors="replace")
        raise RuntimeError(f"Hilltop's {role} was not ready: {said[-3000:].strip()}")

    @property
    def pids(self) -> list[int]:
        """The radius role's first process; those that answer are its children."""
        return [self._processes["radius"].pid] if "radius" in self._processes else []

    @property
    def ingestion_pids(self) -> list[int]:
        """The ingestion's process."""
        return [self._processes["ingest"].pid] if "ingest" in self._processes else []

    def ingested(self) -> tuple[int, int]:
        """(journal rows that have come into the database, sessions in it)."""
        return asyncio.run(_ingested(self.url))

    def kept(self) -> int:
        """How many records have come into the database, or wait for it in the journals."""
        taken = asyncio.run(_positions(self.url))
        kept = sum(taken.values())
        for path in (self.folder / "journal").glob("radius*.sqlite"):
            reader = JournalReader(path)
            try:
                kept += reader.count_after(taken.get(reader.id, 0))
            finally:
                reader.close()
        return kept

    def stop(self) -> None:
        """End every process; safe to call twice."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()


async def _fill(url: str, folder: Path, people: Sequence[Subscriber], secret: Secret) -> None:
    clock = SystemClock()
    database = Database(url)
    workplace = Workplace(database, clock, UlidSource(clock))
    sealer = load_or_create_sealer(folder / "keys" / "sealing.key")
    try:
        await upgrade(database)
        async with workplace.work("operator:bench") as work:
            first = await _set_up(work, sealer, people[0], secret)
            await _multiply(work, sealer, first, people[1:])
    finally:
        await database.close()


async def _set_up(work: Work, sealer: Sealer, person: Subscriber, secret: Secret) -> str:
    """A NAS, a profile and one service, the way an operator makes them; the service's id."""
    _sure(
        await register_nas(
            work,
            sealer,
            name="bench-nas",
            network="127.0.0.1",
            secret=secret,
            message_authenticator="require",
        )
    )
    profile = _sure(
        await define_profile(
            work,
            name="bench",
            rate_down_bps=100_000_000,
            rate_up_bps=20_000_000,
            interim_interval_s=INTERIM_INTERVAL_S,
        )
    )
    return _sure(
        await create_service(
            work,
            sealer,
            account_id=work.ids.new("acc"),
            label=person.username,
            profile_id=profile,
            credentials=[NewCredential("pppoe", person.username, Secret(person.password))],
            framed_ip=person.address,
        )
    )


async def _multiply(work: Work, sealer: Sealer, first: str, people: Sequence[Subscriber]) -> None:
    """The other subscribers, in rows like those of the ``first`` service: one by one it takes a minute."""
    services = [work.ids.new("svc") for _ in people]
    own: dict[Table, list[dict[str, object]]] = {
        service: [
            {
                "id": one,
                "account_id": work.ids.new("acc"),
                "label": person.username,
                "framed_ip": person.address,
            }
            for one, person in zip(services, people, strict=True)
        ],
        credential: [
            {
                "id": work.ids.new("crd"),
                "service_id": one,
                "username": person.username,
                "password_sealed": sealer.seal(Secret(person.password), "credential.password"),
            }
            for one, person in zip(services, people, strict=True)
        ],
        entitlement: [{"service_id": one} for one in services],
        entitlement_change: [{"service_id": one} for one in services],
    }
    for table, rows in own.items():
        key = table.c.id if table is service else table.c.service_id
        pattern = (await work.connection.execute(select(table).where(key == first))).mappings().one()
        if rows:
            await work.connection.execute(insert(table), [{**pattern, **row} for row in rows])


def _sure(outcome: str | Refusal) -> str:
    """The id; raises ``RuntimeError`` on a refusal, which a measurement does not expect."""
    if isinstance(outcome, Refusal):
        raise RuntimeError(f"Hilltop refused: {outcome.message}")  # noqa: TRY004 - it is no type fault
    return outcome


async def _positions(url: str) -> dict[str, int]:
    database = Database(url)
    try:
        async with database.read() as connection:
            rows = await connection.execute(select(journal_cursor.c.journal_id, journal_cursor.c.seq))
            return {row.journal_id: row.seq for row in rows}
    finally:
        await database.close()


async def _ingested(url: str) -> tuple[int, int]:
    database = Database(url)
    try:
        async with database.read() as connection:
            rows = await connection.scalar(select(func.coalesce(func.sum(journal_cursor.c.seq), 0)))
            sessions = await connection.scalar(select(func.count()).select_from(session))
            return int(rows or 0), int(sessions or 0)
    finally:
        await database.close()
