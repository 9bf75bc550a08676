"""Closing a month, previews, dunning and documents for a hundred thousand subscribers, on both databases.

Every figure is of the product's own use cases over a database that was migrated as at a customer's: SQLite
with ``synchronous=FULL``, PostgreSQL with durable commits. What was written is checked before a figure is
shown. Beside the bill run stands a program that inserts the very rows it wrote and does nothing else.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Select, func, select, update

from aaa.store.tables import usage_close
from bench import raw_insert
from bench.billing_world import MEASURED, Built, build
from bench.cpu import memory_mib
from bench.options import Measured, Options, say
from bench.postgresql import Cluster
from bench.raw_insert import Before, Inserted
from bench.table import Row
from billing.config import BillingSettings
from billing.ledger.verify import verify_ledger
from billing.store.tables import invoice, invoice_line, rated_charge
from core.database import Database, sqlite_url
from core.store.tables import fact

OURS = "Hilltop"
THEIRS = "wanted or raw"

_FULL = 100_000
_CLOSE_S = {"sqlite": 30.0, "postgresql": 45.0}
_PEAK_MIB, _TIMES_SLOWER = 1024.0, 3.0
_RATE_S, _DUNNING_S, _PREVIEW_MS, _PDFS = 10.0, 10.0, 50.0, 50.0
_LATE_OF = 5
"""One account of so many leaves its last invoice open."""
_LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    accounts: int
    records: int
    previews: int
    pdfs: int

    @property
    def share(self) -> float:
        """Of what the wanted times are for."""
        return self.accounts / _FULL


FULL = Size(_FULL, 1_000_000, 400, 400)
QUICK = Size(2_000, 60_000, 60, 40)
ROWS = (
    "close_month_sqlite", "invoices_vs_raw_insert", "dunning_100k", "preview_one", "pdf",
    "close_month_postgresql", "invoices_vs_raw_insert_postgresql", "dunning_100k_postgresql",
    "preview_one_postgresql", "rate_million_records",
)  # fmt: skip


def measure(options: Options) -> Iterator[Measured]:
    """A row for each figure; unsound when what was written is not whole, or a full run slower than wanted."""
    unknown = sorted(set(options.only) - set(ROWS))
    if unknown:
        raise LookupError(f"there is no row {unknown[0]}; the rows are {', '.join(ROWS)}")
    size = QUICK if options.quick else FULL
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hilltop-bench-")))
        for kind in ("sqlite", "postgresql"):
            place: _Place = _File(folder) if kind == "sqlite" else _Server()
            names = [name for name in ROWS if options.wants(name) and place.measures(name)]
            if names:
                stack.callback(place.stop)
                yield from _on(place, names, size, strict=not options.quick)
        if options.wants("rate_million_records"):
            yield _rate(size, strict=not options.quick)


class _File:
    """SQLite: a file, and a copy of it."""

    kind = "sqlite"
    suffix = ""

    def __init__(self, folder: Path) -> None:
        self._ours, self._theirs = folder / "ours.sqlite", folder / "theirs.sqlite"
        self.url, self.copy_url = sqlite_url(self._ours), sqlite_url(self._theirs)

    def measures(self, name: str) -> bool:
        """Is the row of this database?"""
        return "postgresql" not in name and name != "rate_million_records"

    def start(self) -> None:
        """Nothing to start."""

    def copy(self) -> None:
        """The database as it is, for the other program; nobody has it open."""
        shutil.copyfile(self._ours, self._theirs)

    def stop(self) -> None:
        """Nothing to stop; the folder is somebody else's."""


class _Server:
    """PostgreSQL: a cluster of its own."""

    kind = "postgresql"
    suffix = "_postgresql"

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self.url = self.copy_url = ""

    def measures(self, name: str) -> bool:
        """Is the row of this database?"""
        return name.endswith("postgresql")

    def start(self) -> None:
        """Start the cluster; raises ``RuntimeError`` where there is no server."""
        self._cluster = Cluster()
        self._cluster.start()
        self._cluster.create("ours")
        self.url, self.copy_url = self._cluster.url("ours"), self._cluster.url("theirs")

    def copy(self) -> None:
        """The database as it is, for the other program; nobody has it open."""
        if self._cluster is not None:
            self._cluster.query("postgres", "CREATE DATABASE theirs TEMPLATE ours")

    def stop(self) -> None:
        """Stop the cluster."""
        if self._cluster is not None:
            self._cluster.stop()


_Place = _File | _Server


def _on(place: _Place, names: list[str], size: Size, *, strict: bool) -> Iterator[Measured]:
    place.start()
    say(f"{size.accounts:,} accounts on {place.kind}: building")
    built = asyncio.run(build(place.url, size.accounts))
    wanted = {name.removesuffix("_postgresql").removesuffix("_sqlite") for name in names}
    if "preview_one" in wanted:
        yield _preview(place, size, strict=strict)
    if wanted & {"close_month", "invoices_vs_raw_insert", "pdf"}:
        for measured in _month(place, built, size, strict=strict, raw="invoices_vs_raw_insert" in wanted):
            if measured.row.name in names:
                yield measured
    if "pdf" in wanted:
        yield _pdf(place, size, strict=strict)
    if "dunning_100k" in wanted:
        yield _dunning(place, size, strict=strict)


def _month(place: _Place, built: Built, size: Size, *, strict: bool, raw: bool) -> Iterator[Measured]:
    if raw:
        place.copy()
    before = asyncio.run(_before(place.url))
    say(f"closing the month of {built.accounts:,} accounts on {place.kind}")
    answer, seen_mib = _act("close_month", place.url)
    seconds, peak_mib = answer["seconds"], max(seen_mib, answer["peak_mib"])
    faults = asyncio.run(_faults(place.url, built, answer))
    per_second = answer["invoices"] / seconds
    wanted_s = _CLOSE_S[place.kind] * size.share
    note = (
        f"{answer['invoices']:,} invoices, {built.usage_records:,} usage records closed and rated, taxed and "
        f"booked: {per_second:,.0f} invoices/s, {answer['processor_s']:.1f} s of it on a processor of ours, "
        f"peak memory {peak_mib:,.0f} MiB of {_PEAK_MIB:,.0f}; "
        f"{faults[0] if faults else 'the books are whole'}"
    )
    fast = seconds <= wanted_s and peak_mib <= _PEAK_MIB
    yield Measured(
        Row(f"close_month_{place.kind}", seconds, wanted_s, "s", note, less_is_better=True),
        sound=not faults and (fast or not strict),
    )
    if raw:
        yield _raw(place, before, built, per_second, strict=strict)


def _raw(place: _Place, before: Before, built: Built, per_second: float, *, strict: bool) -> Measured:
    say(f"inserting the same rows on {place.kind}")
    blocks = -(-built.accounts // BillingSettings().block_size)
    inserted = asyncio.run(_insert_again(place, before, blocks))
    theirs = built.accounts / inserted.seconds
    note = (
        f"the other side inserts the {inserted.rows:,} rows of {inserted.tables} tables that the bill run "
        f"wrote ({inserted.rows / built.accounts:.1f} an invoice) into a copy of the database, by "
        f"executemany, in {inserted.transactions} transactions and {inserted.seconds:.1f} s"
    )
    row = Row(f"invoices_vs_raw_insert{place.suffix}", per_second, theirs, "invoices/s", note)
    return Measured(row, sound=row.ratio * _TIMES_SLOWER >= 1 or not strict)


async def _insert_again(place: _Place, before: Before, blocks: int) -> Inserted:
    ours, theirs = Database(place.url), Database(place.copy_url)
    try:
        return await raw_insert.insert_again(ours, before, theirs, blocks)
    finally:
        await ours.close()
        await theirs.close()


async def _before(url: str) -> Before:
    database = Database(url)
    try:
        return await raw_insert.look(database)
    finally:
        await database.close()


async def _faults(url: str, built: Built, answer: dict[str, Any]) -> list[str]:
    """What is not as it must be after the run, in words."""
    counts = {"accounts parked": (answer["parked"], 0)}
    database = Database(url)
    try:
        async with database.read() as connection:
            for what, (query, right) in _expected(built, answer["run_id"]).items():
                counts[what] = (int((await connection.execute(query)).scalar_one() or 0), right)
            faults = [
                f"{what}: {found:,} instead of {right:,}"
                for what, (found, right) in counts.items()
                if found != right
            ]
            faults += [answer["reason"]] if answer["reason"] else []
            faults += [str(fault) for fault in await verify_ledger(connection)]
    finally:
        await database.close()
    return [f"NOT WHOLE: {fault}" for fault in faults]


def _expected(built: Built, run_id: str) -> dict[str, tuple[Select[Any], int]]:
    """What to count after the run, and how many there must be."""
    accounts, mine, closed = (
        built.accounts,
        invoice.c.bill_run_id == run_id,
        usage_close.c.closed_at == MEASURED,
    )
    line, close, count = invoice_line.c, usage_close.c, func.count()
    invoices = select(count).select_from(invoice).where(mine)
    lines = select(line.invoice_id).join(invoice, invoice.c.id == line.invoice_id).where(mine)
    short = lines.group_by(line.invoice_id).having(count < 4).subquery()
    rated = (
        select(count).select_from(rated_charge).join(usage_close, rated_charge.c.usage_close_id == close.id)
    )
    told = fact.c.kind == "billing.invoice_finalised"
    return {
        "invoices": (invoices, accounts),
        "invoices that do not add up": (
            invoices.where(invoice.c.net_minor + invoice.c.tax_minor != invoice.c.total_minor), 0
        ),
        "invoices without price, rental, usage and tax": (select(count).select_from(short), 0),
        "invoices told of": (
            select(count).select_from(fact).where(told, fact.c.occurred_at == MEASURED), accounts
        ),
        "closes": (select(count).select_from(usage_close).where(closed), accounts),
        "records closed": (select(func.sum(close.records)).where(closed), built.usage_records),
        "octets closed": (select(func.sum(close.octets_in + close.octets_out)).where(closed), built.octets),
        "usage charges": (rated.where(closed), accounts),
    }  # fmt: skip


def _preview(place: _Place, size: Size, *, strict: bool) -> Measured:
    answer, _ = _act("preview", place.url, count=size.previews)
    note = (
        f"the next invoice of one account of {size.accounts:,} with its usage so far, without the page "
        f"around it: half of {size.previews} took less; 99 % took less than {answer['p99_ms']:.1f} ms"
    )
    row = Row(f"preview_one{place.suffix}", answer["p50_ms"], _PREVIEW_MS, "ms", note, less_is_better=True)
    return Measured(row, sound=answer["p99_ms"] <= _PREVIEW_MS or not strict)


def _pdf(place: _Place, size: Size, *, strict: bool) -> Measured:
    answer, _ = _act("print_invoices", place.url, count=size.pdfs)
    per_core = answer["pdfs"] / answer["processor_s"]
    note = (
        f"{answer['pdfs']} invoices by one process, {answer['octets'] // answer['pdfs']:,} octets each, "
        f"{answer['seconds']:.2f} s by the clock"
    )
    row = Row("pdf", per_core, _PDFS, "PDFs/s and core", note)
    return Measured(row, sound=row.ratio >= 1 or not strict)


def _dunning(place: _Place, size: Size, *, strict: bool) -> Measured:
    late = asyncio.run(_settle_most(place.url))
    say(f"dunning with {late:,} accounts late on {place.kind}")
    answer, seen_mib = _act("dunning", place.url)
    note = (
        f"the nightly evaluation of {size.accounts:,} accounts, {late:,} of them 16 days late; "
        f"{answer['changes']:,} changed their stage; peak memory {max(seen_mib, answer['peak_mib']):,.0f} MiB"
    )
    row = Row(
        f"dunning_100k{place.suffix}",
        answer["seconds"],
        _DUNNING_S * size.share,
        "s",
        note,
        less_is_better=True,
    )
    return Measured(row, sound=answer["changes"] == late and (row.ratio >= 1 or not strict))


async def _settle_most(url: str) -> int:
    """Leave the invoices of every fifth account open; returns how many accounts that are."""
    database = Database(url)
    try:
        async with database.write() as connection:
            ids = list((await connection.execute(select(invoice.c.account_id).distinct())).scalars())
            late = set(sorted(ids)[::_LATE_OF])
            paid = [one for one in ids if one not in late]
            for start in range(0, len(paid), 500):
                await connection.execute(
                    update(invoice)
                    .where(invoice.c.account_id.in_(paid[start : start + 500]))
                    .values(open_minor=0, status="paid")
                )
    finally:
        await database.close()
    return len(late)


def _rate(size: Size, *, strict: bool) -> Measured:
    answer, _ = _act("rate", None, records=size.records)
    wanted_s = _RATE_S * size.records / 1_000_000
    note = (
        f"{answer['records']:,} daily records by one process: an allowance, graduated overage, and hours of "
        f"the night that count half, so that each record is shared among the hours; "
        f"{answer['records'] / answer['seconds']:,.0f} records/s"
    )
    row = Row("rate_million_records", answer["seconds"], wanted_s, "s", note, less_is_better=True)
    return Measured(row, sound=row.ratio >= 1 or not strict)


def _act(name: str, url: str | None, **arguments: Any) -> tuple[dict[str, Any], float]:
    """What the act answers, and the most memory its process and its children were seen to have, MiB."""
    given = json.dumps({"url": url, **arguments})
    command = [sys.executable, "-m", "bench.billing_acts", name, given]
    seen_mib = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            seen_mib = max(seen_mib, memory_mib([process.pid]))
            time.sleep(_LOOK_S)
        said = process.stdout.read() if process.stdout is not None else ""
    if process.returncode:
        raise RuntimeError(f"{name} failed, see above")
    answer: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return answer, seen_mib
