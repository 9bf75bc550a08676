"""Looking at money again, for programs: replay of what was issued, and past usage under another plan."""

from __future__ import annotations

from datetime import UTC, date, timedelta

from billing.invoicing.replay import LineDifference
from billing.rating.what_if import Compared
from billing.store import plan_rows
from core.refusal import Refusal, Refused
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.read import money
from ui.web.look_backs import replay_span, what_if_span

operations = Operations()


@operations.get(
    "/replay", "Issued invoices drafted again from what was known then; names every line that differs.",
    shapes.record(
        invoices=shapes.WHOLE, same=shapes.WHOLE,
        differing=shapes.listed(shapes.record(
            number=shapes.TEXT, issued_on=shapes.TEXT, differences=shapes.listed(shapes.of(LineDifference)),
        )),
    ),
    Parameter("from", "First day of issue.", Kind.DAY, required=True),
    Parameter("to", "Last day of issue.", Kind.DAY, required=True),
)  # fmt: skip
async def replay(ask: Ask) -> Answer:
    """Answers when all are drafted; of those that differ, the first 200 come with their lines."""
    first, last = ask.day("from") or date.min, ask.day("to") or date.max
    if last < first:
        raise Refused(Refusal("to.range", "is before the first day", "to"))
    panel = ask.panel
    found = await replay_span(panel.workplace, panel.usage, panel.billing, from_on=first, to_on=last)
    return {
        "invoices": found.invoices, "same": found.same,
        "differing": [
            {
                "number": one.number, "issued_on": one.issued_on.isoformat(),
                "differences": list(one.differences),
            }
            for one in found.differing
        ],
    }  # fmt: skip


@operations.get(
    "/what-if", "Past usage under another plan, those who would pay more first; nothing is written.",
    shapes.record(
        plan=shapes.TEXT, currency=shapes.TEXT, more=shapes.WHOLE, less=shapes.WHOLE,
        together_minor=shapes.WHOLE, rows=shapes.listed(shapes.of(Compared)),
    ),
    Parameter("plan", "Code of the plan; its newest version.", required=True),
    Parameter("from", "First day; else a quarter ago.", Kind.DAY),
    Parameter("to", "End, not included; else today.", Kind.DAY),
    Parameter("of", "Only those who have the plan of this code."),
)  # fmt: skip
async def compare(ask: Ask) -> Answer:
    """Both by the same arithmetic: as it is sold, and as it would be."""
    panel = ask.panel
    end = ask.day("to") or panel.workplace.clock.now().astimezone(UTC).date()
    first = ask.day("from") or end - timedelta(days=92)
    if end <= first:
        raise Refused(Refusal("to.range", "is not after the first day", "to"))
    async with panel.workplace.reading() as connection:
        versions = {one.code: one.id for one in await money.list_plans(connection) if one.newest}
        for name in ("plan", "of"):
            if ask.text(name) and ask.text(name) not in versions:
                words = f"there is no plan {ask.text(name)[:60]!r}"
                raise Refused(Refusal("plan.unknown", words, name))
        version_id = versions[ask.text("plan")]
        plan = (await plan_rows.plan_versions(connection, [version_id]))[version_id]
    of = [ask.text("of")] if ask.text("of") else []
    found = await what_if_span(panel.workplace, panel.usage, plan, from_on=first, to_on=end, of=of)
    return {
        "plan": plan.id, "currency": plan.currency, "more": found.more, "less": found.less,
        "together_minor": found.together_minor, "rows": list(found.rows),
    }  # fmt: skip
