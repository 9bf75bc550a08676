"""The billing bench on a few accounts: what it measures is done and checked, and what is not whole is told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from bench import billing, raw_insert
from bench.__main__ import main
from bench.billing_acts import act, peak_mib
from bench.billing_world import DAYS, build
from bench.postgresql import Cluster
from bench.raw_insert import look
from billing.store.tables import invoice_line, rated_charge
from core.database import Database, sqlite_url

TINY = billing.Size(accounts=20, records=60, previews=3, pdfs=2)


def _in_this_process(name: str, url: str | None, **arguments: Any) -> tuple[dict[str, Any], float]:
    return asyncio.run(act(name, url, **arguments)), 1.0


def test_every_figure_on_sqlite_with_a_run_that_is_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(billing, "QUICK", TINY)
    monkeypatch.setattr(billing, "_act", _in_this_process)
    rows = [name for name in billing.ROWS if "postgresql" not in name]
    assert main(["billing", "--quick", "--json", *(f"--only={name}" for name in rows)]) == 0
    shown = {one["name"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert sorted(shown) == sorted(rows)
    assert all(one["ours"] > 0 and one["theirs"] > 0 for one in shown.values())
    assert "20 invoices, 600 usage records" in shown["close_month_sqlite"]["note"]
    assert "the books are whole" in shown["close_month_sqlite"]["note"]
    assert "4 of them 16 days late; 4 changed" in shown["dunning_100k"]["note"]


async def test_the_other_program_inserts_what_the_run_wrote_and_a_missing_line_is_told(
    tmp_path: Path,
) -> None:
    url = sqlite_url(tmp_path / "ours.sqlite")
    built = await build(url, 9)
    assert (built.accounts, built.usage_records) == (9, 9 * DAYS)
    (tmp_path / "theirs.sqlite").write_bytes((tmp_path / "ours.sqlite").read_bytes())
    ours, theirs = Database(url), Database(sqlite_url(tmp_path / "theirs.sqlite"))
    before = await look(ours)
    answer = await act("close_month", url)
    assert (answer["invoices"], answer["parked"]) == (9, 0)
    inserted = await raw_insert.insert_again(ours, before, theirs, 4)
    assert inserted.transactions >= 4
    counts = (await look(ours)).counts
    assert (await look(theirs)).counts == counts
    gained = {name: counts[name] - before.counts[name] for name in counts}
    assert inserted.rows == sum(gained.values())
    assert inserted.rows >= 9 * 14
    assert await billing._faults(url, built, answer) == []
    async with ours.write() as connection:
        await connection.execute(delete(rated_charge))
        await connection.execute(delete(invoice_line).where(invoice_line.c.kind == "tax"))
    told = await billing._faults(url, built, answer)
    assert "NOT WHOLE: usage charges: 0 instead of 9" in told
    assert any("price, rental, usage and tax: 9 instead of 0" in one for one in told)
    await ours.close()
    await theirs.close()


@pytest.mark.postgresql
async def test_the_rows_of_a_run_are_told_from_older_ones_on_postgresql() -> None:
    cluster = Cluster()
    cluster.start()
    try:
        cluster.create("ours")
        built = await build(cluster.url("ours"), 8)
        cluster.query("postgres", "CREATE DATABASE theirs TEMPLATE ours")
        ours, theirs = Database(cluster.url("ours")), Database(cluster.url("theirs"))
        before = await look(ours)
        answer = await act("close_month", cluster.url("ours"))
        assert await billing._faults(cluster.url("ours"), built, answer) == []
        await raw_insert.insert_again(ours, before, theirs, 2)
        assert (await look(ours)).counts == (await look(theirs)).counts
        await ours.close()
        await theirs.close()
    finally:
        cluster.stop()


def test_an_act_in_a_process_of_its_own_answers_with_its_memory() -> None:
    answer, seen_mib = billing._act("rate", None, records=60)
    assert answer["records"] == 60
    assert answer["total_minor"] > 0
    assert seen_mib > 5
    assert peak_mib() > 5
    with pytest.raises(RuntimeError, match="nothing failed"):
        billing._act("nothing", None)


def test_a_row_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["billing", "--only", "closing"]) == 2
    assert "the rows are close_month_sqlite" in capsys.readouterr().err
