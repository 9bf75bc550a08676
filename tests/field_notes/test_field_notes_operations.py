"""Operations: no secret leaves its seal, and the daily work never reads a table from end to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hillside import Hillside
from sqlalchemy import event, select

from aaa.set_up import register_nas
from aaa.store import tables as aaa
from billing.store import tables as billing
from core.refusal import granted
from core.secrets import Secret
from core.store import tables as core
from provisioning.store import tables as provisioning

IP = "100.64.1.7"
SECRETS = ("opensesame", "pw-of-ann", "radius-secret-of-the-hill", "seven-sealed-words")
GROWING = (
    "aaa_session", "aaa_meter", "aaa_meter_reading", "aaa_usage_record", "aaa_entitlement_change",
    "aaa_directory_change", "aaa_hold", "core_fact", "core_audit", "provisioning_task",
    "provisioning_transcript", "provisioning_observation", "billing_invoice", "billing_invoice_line",
    "billing_posting", "billing_ledger_entry", "billing_payment", "billing_allocation", "billing_rated_charge",
    "billing_dunning_event",
)  # fmt: skip


async def _a_rough_month(world: Hillside) -> None:
    """Suspended at a tower that refuses the login, hangs and lies; paid; restored."""
    async with world.workplace.work("operator:ann") as work:
        granted(
            await register_nas(
                work, world.sealer, name="ridge", network="192.0.2.9", secret=Secret(SECRETS[2])
            )
        )
    device = await world.tower("Red")
    ann = await world.customer("ann", device)
    await world.dial(ann, IP)
    await world.live_until("2026-04-08")
    world.towers.by_device[device].faults = ["login", "hang", "garbled", "lie", "refuse", "half"]
    await world.live_until("2026-04-12", drift=True)
    await world.pay_all(ann)
    await world.live_until("2026-04-14", drift=True)
    assert world.reaches_internet(ann.service_id)


async def test_no_secret_is_in_any_table_or_log_line(
    any_hillside: Hillside, capfd: pytest.CaptureFixture[str]
) -> None:
    """Device, subscriber and NAS passwords: sealed where they are kept, and nowhere else."""
    world = any_hillside
    await _a_rough_month(world)
    seen = 0
    for room in (core, aaa, billing, provisioning):
        for table in room.metadata.sorted_tables:
            for row in await world.rows(select(table)):
                words = str(tuple(row))
                seen += 1
                assert not [secret for secret in SECRETS if secret in words], table.name
    assert seen > 150
    said = "".join(capfd.readouterr())
    assert not [secret for secret in SECRETS if secret in said]


@contextmanager
def _listening(world: Hillside) -> Iterator[list[tuple[str, Any]]]:
    """Every statement that runs meanwhile, with its parameters."""
    heard: list[tuple[str, Any]] = []
    database = world.workplace.database
    engines = [database._writer.sync_engine, database._reader.sync_engine]

    def hear(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        heard.append((statement, parameters[0] if many else parameters))

    for engine in engines:
        event.listen(engine, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", hear)


async def test_the_daily_work_reads_no_growing_table_from_end_to_end(hillside: Hillside) -> None:
    """Eighty million rows stop a dashboard: whatever the roles ask every day goes by an index."""
    world = hillside
    with _listening(world) as heard:
        await _a_rough_month(world)
    statements = dict(heard)
    assert len(statements) > 60
    assert set(GROWING) <= {
        name for room in (core, aaa, billing, provisioning) for name in room.metadata.tables
    }
    partial = {  # the open, waiting, standing rows alone: they do not grow with time
        str(index.name)
        for room in (core, aaa, billing, provisioning)
        for table in room.metadata.sorted_tables
        for index in table.indexes
        if index.dialect_options["sqlite"]["where"] is not None
    }
    scans = set()
    async with world.workplace.database.read() as connection:
        for statement, parameters in statements.items():
            if statement.lstrip().split()[0] not in ("SELECT", "UPDATE", "DELETE"):
                continue
            plan = (await connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters)).all()
            stops_early = "LIMIT" in statement and not any("TEMP B-TREE" in row.detail for row in plan)
            for row in plan:
                words = row.detail.split()
                reads_all = words[0] == "SCAN" and words[1] in GROWING and not partial & set(words)
                if reads_all and not stops_early:
                    scans.add((words[1], row.detail, " ".join(statement.split())[:400]))
    assert not scans, "\n".join(": ".join(found) for found in sorted(scans))
