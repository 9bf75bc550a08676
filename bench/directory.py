"""The directory of a radius worker: how long it takes to load, what it weighs, how soon a change is seen.

The worker is the real radius role over a database of its own; a change is a subscriber's new password, set by
the use case behind the panel, and it is seen when a sign-in with it is accepted over UDP.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from aaa.set_up import set_password
from bench.cpu import pss_mib, used_s, with_descendants
from bench.hilltop import Hilltop
from bench.options import Measured, Options, say
from bench.packets import Subscriber, access_requests, make_subscribers
from bench.ports import free_udp_ports
from bench.postgresql import Cluster
from bench.table import Row
from core.clock import SystemClock
from core.database import Database, sqlite_url
from core.ids import UlidSource
from core.secrets import Secret, load_or_create_sealer
from core.work import Workplace

OURS = "Hilltop"
THEIRS = "wanted"

_SECRET = "a-secret-for-the-bench"
_LOAD_S, _MEMORY_MIB, _CHANGE_S = 10.0, 400.0, 1.0
_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class _Found:
    load_s: float
    load_cpu_s: float
    mib: float
    changes_s: list[float]


def measure(options: Options) -> Iterator[Measured]:
    """A row for each figure on each database; unsound when it is worse than what is wanted."""
    services, changes = (5_000, 5) if options.quick else (100_000, 40)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hilltop-bench-")))
        for database in ("sqlite", "postgresql"):
            names = [f"{what}_{database}" for what in ("load", "memory", "change")]
            if not any(options.wants(name) for name in names):
                continue
            if database == "sqlite":
                url = sqlite_url(folder / "hilltop.sqlite")
            else:
                cluster = Cluster()
                stack.callback(cluster.stop)
                cluster.start()
                cluster.create("hilltop")
                url = cluster.url("hilltop")
            say(f"{services:,} services on {database}")
            found = _look(folder / f"on-{database}", url, services, changes)
            for name, row in zip(names, _rows(database, services, found), strict=True):
                if options.wants(name):
                    yield Measured(row, sound=row.ours <= row.theirs)


def _rows(database: str, services: int, found: _Found) -> list[Row]:
    slowest = max(found.changes_s)
    return [
        Row(
            f"load_{database}", found.load_s, _LOAD_S, "s",
            f"from the start of the process until it answers, {services:,} services with a sealed password; "
            f"{found.load_cpu_s:.1f} s of that on a processor of ours",
            less_is_better=True,
        ),
        Row(
            f"memory_{database}", found.mib, _MEMORY_MIB, "MiB",
            "proportional set size of the radius role's largest process after loading and answering",
            less_is_better=True,
        ),
        Row(
            f"change_{database}", statistics.median(found.changes_s), _CHANGE_S, "s",
            f"from the commit of a password to the first accept with it, median of {len(found.changes_s)}; "
            f"the slowest {slowest:.3f} s",
            less_is_better=True,
        ),
    ]  # fmt: skip


def _look(folder: Path, url: str, services: int, changes: int) -> _Found:
    people = make_subscribers(services)
    auth_port, accounting_port = free_udp_ports(2)
    server = Hilltop(folder, url, (auth_port, accounting_port))
    server.fill(people, _SECRET)
    try:
        began = time.perf_counter()
        server.start()
        load_s, load_cpu_s = time.perf_counter() - began, used_s(server.pids)
        changes_s = asyncio.run(_change(folder, url, auth_port, people[:changes]))
        mib = max(pss_mib(pid) for pid in with_descendants(server.pids))
    finally:
        server.stop()
    return _Found(load_s, load_cpu_s, mib, changes_s)


async def _change(folder: Path, url: str, port: int, people: list[Subscriber]) -> list[float]:
    clock = SystemClock()
    database = Database(url)
    workplace = Workplace(database, clock, UlidSource(clock))
    sealer = load_or_create_sealer(folder / "keys" / "sealing.key")
    found = []
    try:
        for number, person in enumerate(people):
            new = Subscriber(person.username, f"changed-{number:05d}", person.address, person.mac, b"")
            async with workplace.work("operator:bench") as work:
                await set_password(work, sealer, username=person.username, password=Secret(new.password))
            began = time.perf_counter()
            await asyncio.to_thread(_until_accepted, port, new, began)
            found.append(time.perf_counter() - began)
            await asyncio.sleep(0.03 * (number % 9))  # not in step with the worker's turns
    finally:
        await database.close()
    return found


def _until_accepted(port: int, person: Subscriber, began: float) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        client.settimeout(0.02)  # a reject waits its second: it is not waited for
        for turn in count():
            if time.perf_counter() - began > _PATIENCE_S:
                break
            ((request,),) = access_requests([person], _SECRET.encode(), "pap", 1, 1, seed=turn)
            client.send(request.octets)
            try:
                if client.recv(4096)[0] == 2:
                    return
            except TimeoutError:
                continue
    raise RuntimeError(f"a new password was not accepted within {_PATIENCE_S:g} s")
