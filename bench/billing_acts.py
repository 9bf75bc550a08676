"""What the billing bench measures, each in a process of its own: ``python -m bench.billing_acts NAME JSON``.

The answer is one line of JSON. A process of its own, so that its memory is that of the work alone.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from appliance.wiring import MeteredUsage
from bench.billing_world import DAYS, FIRST_DAY, GB, LAST_EVENING, MEASURED, workplace_at
from billing.config import BillingSettings
from billing.documents.render import invoice_pdf, invoice_view
from billing.domain.rating.calendar import Calendar
from billing.domain.rating.rate import Usage, rate_usage
from billing.domain.rating.terms import parse_usage_terms
from billing.dunning.evaluate import evaluate_dunning
from billing.invoicing.bill_run import bill_run
from billing.invoicing.preview_invoice import preview_invoice
from billing.store.tables import account, invoice
from core.database import Database
from core.periods import Period
from core.refusal import Refusal, granted

Answer = dict[str, Any]


async def close_month(database: Database) -> Answer:
    """One bill run from the due list to the end."""
    workplace = workplace_at(database, MEASURED)
    began = time.perf_counter()
    outcome = granted(await bill_run(workplace, MeteredUsage()))
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds, "invoices": outcome.invoices, "parked": len(outcome.parked),
        "reason": outcome.parked[0].reason if outcome.parked else "", "run_id": outcome.run_id,
        "processor_s": time.process_time(), "peak_mib": peak_mib(),
    }  # fmt: skip


async def preview(database: Database, count: int) -> Answer:
    """The next invoice of ``count`` accounts, one after the other, each with its usage so far."""
    workplace = workplace_at(database, LAST_EVENING)
    async with workplace.reading() as connection:
        ids = list((await connection.execute(select(account.c.id).order_by(account.c.id))).scalars())
    chance = random.Random(1)
    took: list[float] = []
    for number in range(count + 20):
        began = time.perf_counter()
        async with workplace.reading() as connection:
            draft = await preview_invoice(connection, MeteredUsage(), chance.choice(ids), LAST_EVENING)
        if draft is None or isinstance(draft, Refusal) or not draft.lines:
            raise RuntimeError(f"a preview shows no line: {draft}")
        if number >= 20:  # statements are compiled by then
            took.append((time.perf_counter() - began) * 1000)
    took.sort()
    return {"p50_ms": took[len(took) // 2], "p99_ms": took[int(len(took) * 0.99)]}


async def dunning(database: Database) -> Answer:
    """The nightly evaluation of every account."""
    workplace = workplace_at(database, MEASURED)
    began = time.perf_counter()
    changes = granted(await evaluate_dunning(workplace))
    return {"seconds": time.perf_counter() - began, "changes": len(changes), "peak_mib": peak_mib()}


async def print_invoices(database: Database, count: int) -> Answer:
    """PDFs of the newest invoices, by one process."""
    async with workplace_at(database, MEASURED).reading() as connection:
        query = select(invoice.c.id).order_by(invoice.c.number.desc()).limit(count)
        ids = (await connection.execute(query)).scalars().all()
        settings = BillingSettings()
        views = [granted(await invoice_view(connection, one, settings)) for one in ids]
    invoice_pdf(views[0])  # the templates and fonts are read by then
    began, processor = time.perf_counter(), time.process_time()
    octets = sum(len(invoice_pdf(view)) for view in views)
    return {
        "seconds": time.perf_counter() - began, "processor_s": time.process_time() - processor,
        "pdfs": len(views), "octets": octets,
    }  # fmt: skip


async def rate(_database: Database | None, records: int) -> Answer:
    """A month of daily records for each of many services, by terms that ask when octets were used."""
    terms = parse_usage_terms({
        "allowance": {"octets": 100 * GB},
        "model": {
            "kind": "graduated",
            "tiers": [
                {"up_to_octets": 50 * GB, "minor_per_gb": "25"},
                {"up_to_octets": None, "minor_per_gb": "10.5"},
            ],
        },
        "classes": [{"name": "night", "from": "01:00", "until": "06:00", "weight": "0.5"}],
    })  # fmt: skip
    zone = "America/Denver"
    cycle = Period(FIRST_DAY, FIRST_DAY + timedelta(days=DAYS))
    first, _ = cycle.instants(zone)
    calendar = Calendar(cycle, cycle, zone, 31)
    chance = random.Random(1)
    usages = []
    for _ in range(records // DAYS):
        slices = [
            (
                first + timedelta(days=day), first + timedelta(days=day + 1),
                chance.randrange(GB // 2), chance.randrange(8 * GB),
            )
            for day in range(DAYS)
        ]  # fmt: skip
        usages.append(Usage(sum(one[2] for one in slices), sum(one[3] for one in slices), slices))
    began = time.perf_counter()
    total = sum(rate_usage(terms, usage, calendar).amount_minor for usage in usages)
    return {"seconds": time.perf_counter() - began, "records": len(usages) * DAYS, "total_minor": total}


def peak_mib() -> float:
    """The most memory this process has had, since it became this program (VmHWM, proc(5))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


ACTS: dict[str, Callable[..., Awaitable[Answer]]] = {
    "close_month": close_month, "preview": preview, "dunning": dunning, "print_invoices": print_invoices,
    "rate": rate,
}  # fmt: skip


async def act(name: str, url: str | None, **arguments: Any) -> Answer:
    """One of ``ACTS`` over the database at ``url``."""
    if url is None:
        return await ACTS[name](None, **arguments)
    database = Database(url)
    try:
        return await ACTS[name](database, **arguments)
    finally:
        await database.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(act(sys.argv[1], **json.loads(sys.argv[2])))))
