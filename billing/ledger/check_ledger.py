"""Proving the books on a timetable: a contradiction becomes a health issue at once."""

from __future__ import annotations

from datetime import UTC, timedelta

from billing.ledger.verify import verify_ledger
from core.health import HealthIssue, close_issue, open_issue
from core.work import Workplace

LEDGER_ISSUE = "billing.ledger_unsound"
_SHOWN = 3
_LOOK_BACK = timedelta(days=40)
"""On the timetable digests and hashes are reckoned anew from so long ago on: a month and some days."""


async def check_ledger(workplace: Workplace) -> int:
    """Run every proof; returns the number of contradictions, which stay open as one critical issue."""
    since = workplace.clock.now().astimezone(UTC).date() - _LOOK_BACK
    async with workplace.reading() as connection:
        faults = await verify_ledger(connection, since)
    async with workplace.work("system:billing") as work:
        if not faults:
            await close_issue(work, LEDGER_ISSUE)
            return 0
        shown = "; ".join(str(one) for one in faults[:_SHOWN])
        await open_issue(
            work,
            HealthIssue(
                LEDGER_ISSUE,
                "critical",
                f"The ledger contradicts itself in {len(faults)} places: {shown}",
                "Run hilltop ledger verify for all of them; bill nothing more until they are mended.",
            ),
        )
    return len(faults)
