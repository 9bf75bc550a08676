"""Commands that look at money again: replay of what was issued, and what another plan would have cost."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from appliance.commands.running import currency_or_house, day, fail, in_house, outcome_or_fail, say, show
from appliance.lookup import newest_plan_version
from appliance.wiring import House
from billing.domain.catalogue import PlanVersion
from billing.domain.items import parse_items
from billing.store.plan_rows import plan_versions
from core.money import format_money
from core.quantities import format_octets
from core.refusal import Refusal

billing = typer.Typer(help="Issued periods again, and what if.", no_args_is_help=True)

Day = typer.Option(formats=["%Y-%m-%d"])


@billing.command("replay")
def replay(
    from_on: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day of issue.")],
    to_on: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day of issue.")],
    lines: Annotated[bool, typer.Option("--lines", help="Print every line as it comes out.")] = False,
) -> None:
    """Draft issued invoices again from what was known then; tells every line that differs, and why."""
    from billing.invoicing.replay import replay_invoices

    first, last = day(from_on, "--from"), day(to_on, "--to")
    if first is None or last is None or last < first:
        fail("--to: the last day is before the first", 2)

    async def body(house: House) -> bool:
        count = same = 0
        async with house.workplace.reading() as connection:
            async for one in replay_invoices(connection, house.usage, first, last, house.settings.billing):
                count += 1
                same += one.is_same
                for text in one.lines if lines else ():
                    say(f"{one.number} {text}")
                for difference in one.differences:
                    say(f"{one.number} line {difference.position}: {difference.cause}")
                    say(f"  issued    {difference.issued or '(none)'}")
                    say(f"  replayed  {difference.replayed or '(none)'}")
        say(f"{count} invoices drafted again, {same} of them octet for octet the same")
        return count == same

    if not in_house(body):
        raise typer.Exit(1)


@billing.command("what-if")
def what_if_plan(
    plan: Annotated[str, typer.Option(help="Code of a plan, or a file with its items as JSON.")],
    from_on: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day; else a quarter ago.")
    ] = None,
    to_on: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="End, not included; else today.")
    ] = None,
    of: Annotated[list[str] | None, typer.Option(help="Only those on this plan; may be repeated.")] = None,
    currency: Annotated[str | None, typer.Option(help="Of a plan from a file; else the house's.")] = None,
) -> None:
    """Price the real usage of a past quarter under another plan; lists who would pay more."""
    from billing.rating.what_if import what_if

    first, last = day(from_on, "--from"), day(to_on, "--to")
    from_file = None
    if Path(plan).is_file():
        from_file = outcome_or_fail(_plan_of_file(Path(plan), currency_or_house(currency)))

    async def body(house: House) -> None:
        end = last or house.clock.now().date()
        begin = first or end - timedelta(days=92)
        if end <= begin:
            fail("--to: the end is not after the first day", 2)
        async with house.workplace.reading() as connection:
            proposed = from_file
            if proposed is None:
                found = await newest_plan_version(connection, plan)
                proposed = (await plan_versions(connection, [found]))[found]
            compared = await what_if(
                connection, house.usage, proposed, from_on=begin, to_on=end, of_plans=of or ()
            )
        show(
            f"{proposed.name}, usage of {begin} up to {end}",
            ["account", "name", "periods", "used", "paid", "would pay", "more"],
            [
                [
                    one.account_number, one.account_name, one.parts, format_octets(one.octets),
                    format_money(one.before_minor, one.currency), format_money(one.after_minor, one.currency),
                    format_money(one.more_minor, one.currency),
                ]
                for one in compared
            ],
        )  # fmt: skip
        more = [one for one in compared if one.more_minor > 0]
        less = [one for one in compared if one.more_minor < 0]
        total = sum(one.more_minor for one in compared)
        say(
            f"{len(compared)} subscriptions: {len(more)} would pay more, {len(less)} less; "
            f"together {format_money(total, proposed.currency)} more"
        )

    in_house(body)


def _plan_of_file(path: Path, currency: str) -> PlanVersion | Refusal:
    try:
        items = parse_items(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, AttributeError, TypeError) as trouble:
        return Refusal("bad_items", f"{path.name}: {trouble}", "plan")
    return PlanVersion("proposed", path.stem, path.stem, 0, currency, items)
