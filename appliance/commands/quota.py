"""Commands for what plans include: how much is used, who is capped, top-ups."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from appliance.commands.running import Limit, actor, day, fail, in_house, outcome_or_fail, say, show
from appliance.lookup import find
from appliance.wiring import House
from core.money import format_money
from core.periods import cycle_containing
from core.quantities import GB, format_octets

quota = typer.Typer(help="What plans include: used, capped, topped up.", no_args_is_help=True)


@quota.command("show")
def quota_show(account: Annotated[str, typer.Argument(help="Account number or id.")]) -> None:
    """What an account has used of what its plans include, and the top-ups they offer."""
    from billing.rating.usage_standing import usage_standings

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account)
            found = await usage_standings(connection, house.usage, account_id, house.clock.now())
        show(
            f"Usage of {account}",
            ["plan", "service", "from", "until", "used", "included", "%", "capped"],
            [
                [one.name, one.service_id, one.window_start, one.window_end, format_octets(one.used_octets),
                 "unlimited" if one.included_octets is None else format_octets(one.included_octets),
                 one.percent, one.cap_effect if one.is_capped else None]
                for one in found
            ],
        )  # fmt: skip
        for one in found:
            for lot in one.lots:
                kind = "rolled over" if lot.kind == "rolled" else "top-up"
                say(f"{one.service_id}: {kind}, {format_octets(lot.octets)} left, until {lot.closes_on}")
            for offer in one.offers:
                lasts = "until the cycle ends" if offer.days is None else f"for {offer.days} days"
                price = format_money(offer.price_minor, one.currency)
                say(f"{one.service_id}: offers {offer.code}, {format_octets(offer.octets)} {lasts}, {price}")

    in_house(body)


@quota.command("capped")
def quota_capped(limit: Limit = 50) -> None:
    """Buckets whose cap is reached now."""
    from billing.store import quota_rows

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await quota_rows.capped_states(connection, limit)
        show(
            "Caps reached",
            ["account", "effect", "used", "until", "services", "looked at"],
            [
                [number, one.effect, format_octets(one.used), one.window_end, ", ".join(sorted(one.held)),
                 one.looked_at]
                for number, one in rows
            ],
        )  # fmt: skip

    in_house(body)


@quota.command("top-up")
def quota_top_up(
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")],
    code: Annotated[str, typer.Argument(help="The offer's code; see: hilltop quota show ACCOUNT.")],
    key: Annotated[
        str | None,
        typer.Option(help="Your id of this purchase (receipt number): the same again buys nothing more."),
    ] = None,
) -> None:
    """Buy a top-up for a subscriber; its price comes with the next invoice, what it frees is free at once."""
    from billing.rating.running_items import subscription_of_service
    from billing.rating.top_up_now import top_up_now

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            service_id = await find(work.connection, "service", service)
            subscription_id = await subscription_of_service(work.connection, service_id, code, work.now)
            if subscription_id is None:
                fail(f"refused: no plan of {service} offers a top-up {code!r}")
            receipt = outcome_or_fail(
                await top_up_now(
                    work, house.usage, subscription_id=subscription_id, code=code,
                    source=work.ids.new("key") if key is None else key, settings=house.settings.billing,
                )
            )  # fmt: skip
        say(
            f"{receipt.outcome}: {receipt.name}, {format_octets(receipt.amount)} until {receipt.closes_on}, "
            f"{format_money(receipt.price_minor, receipt.currency)}"
        )

    in_house(body)


@quota.command("look")
def quota_look() -> None:
    """Look at every bucket that is due now, as the worker does each minute."""
    from billing.rating.watch_quota import QuotaWatch

    async def body(house: House) -> None:
        watch = QuotaWatch(house.workplace, house.usage, house.settings.billing)
        turn = outcome_or_fail(await watch.turn())
        say(
            f"looked at {turn.looked_at}; {turn.alerts} alerts, {turn.held} held, {turn.freed} freed, "
            f"{turn.topped_up} topped up"
        )

    in_house(body)


@quota.command("try")
def quota_try(
    file: Annotated[Path, typer.Argument(help="JSON file with usage terms; see the operator's guide.")],
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day of a monthly cycle.")],
    down_gb: Annotated[float, typer.Option(help="GB to the subscriber, evenly over the days.")] = 0,
    up_gb: Annotated[float, typer.Option(help="GB from the subscriber, evenly over the days.")] = 0,
    zone: Annotated[str, typer.Option(help="Time zone of the account.")] = "America/Denver",
) -> None:
    """What usage terms would charge for so much usage, and why; nothing is read or written."""
    import json

    from billing.domain.rating.calendar import Calendar
    from billing.domain.rating.rate import Usage, rate_usage
    from billing.domain.rating.terms import parse_usage_terms
    from billing.rating.public_holidays import with_holidays

    first = day(start, "--start") or start.date()
    try:
        cycle = cycle_containing(first, first.day)
        begin, end = cycle.instants(zone)
        octets_in, octets_out = round(up_gb * GB), round(down_gb * GB)
        terms = parse_usage_terms(json.loads(file.read_bytes()))
        calendar = with_holidays(Calendar(cycle, cycle, zone, first.day), terms)
        usage = Usage(octets_in, octets_out, [(begin, end, octets_in, octets_out)])
        rated = rate_usage(terms, usage, calendar)
    except (OSError, ValueError) as trouble:
        fail(f"{file}: {trouble}", 2)
    say(json.dumps(rated.explanation, indent=2))
