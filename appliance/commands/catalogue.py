"""Commands for plans."""

from __future__ import annotations

import json
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.commands.running import (
    actor,
    currency_or_house,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    say,
    show,
)
from appliance.lookup import find, newest_plan_version, profile_name
from appliance.wiring import House
from billing.store.plan_rows import plan_versions
from core.money import format_money, minor_digits, parse_amount
from core.quantities import GB, format_octets
from core.refusal import Refusal
from core.work import Work

plans = typer.Typer(help="What is sold.", no_args_is_help=True)


def _amount(text: str, currency: str, option: str) -> int:
    try:
        return parse_amount(text, currency)
    except ValueError as trouble:
        fail(f"{option}: {trouble}", 2)


def _tier(text: str, currency: str) -> dict[str, Any]:
    """``50:0.20`` is: the first 50 GB of overage at 0.20 a GB; ``:0.10`` is: all that follows."""
    size, colon, price = text.partition(":")
    try:
        up_to = None if size == "" else int(Decimal(size) * GB)
        unit_price = Decimal(price)
    except (InvalidOperation, ValueError, OverflowError):
        colon, up_to, unit_price = "", None, Decimal(0)
    if not colon or not unit_price.is_finite() or unit_price < 0:
        fail(f"--tier {text!r}: write it GB:PRICE, such as 50:0.20, and :0.10 for all that follows", 2)
    return {"up_to_octets": up_to, "minor_per_gb": str(unit_price.scaleb(minor_digits(currency)))}


@plans.command("add")
def plan_add(
    code: Annotated[str, typer.Argument(help="Short code; a known one gets its next version.")],
    name: Annotated[str, typer.Argument(help="As it stands on invoices.")],
    price: Annotated[str, typer.Option(help="A cycle of the account, net of tax, such as 49.00.")],
    profile: Annotated[str, typer.Option(help="Service profile name or id.")],
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code; else the house's.")] = None,
    allowance_gb: Annotated[int | None, typer.Option(help="Included usage in GB; none: unlimited.")] = None,
    tier: Annotated[list[str] | None, typer.Option(help="Overage tier GB:PRICE; may be repeated.")] = None,
    metered: Annotated[str, typer.Option(help="What counts: sum, down or up.")] = "sum",
    tax_class: Annotated[str, typer.Option(help="What is taxed so.")] = "internet",
) -> None:
    """Define a plan, or its next version when the code is known."""
    from billing.set_up import define_plan_version

    currency = currency_or_house(currency)
    price_minor = _amount(price, currency, "--price")
    tiers = [_tier(one, currency) for one in tier or []]

    async def define(work: Work, _: House) -> str | Refusal:
        made = await define_plan_version(
            work, code=code, name=name, price_minor=price_minor, currency=currency,
            allowance_octets=None if allowance_gb is None else allowance_gb * GB, overage_tiers=tiers,
            metered=metered, tax_class=tax_class,
            service_profile_id=await find(work.connection, "profile", profile),
        )  # fmt: skip
        if isinstance(made, Refusal) and made.code == "bad_tiers":
            words = "sizes must rise and the last tier has none: --tier 50:0.20 --tier :0.10"
            return Refusal(made.code, words, "--tier")
        return made

    version_id = in_transaction(define)
    included = "unlimited" if allowance_gb is None else f"{allowance_gb} GB included"
    say(f"plan {code} ({format_money(price_minor, currency)} a cycle, {included}): {version_id}")


@plans.command("define")
def plan_define(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON: code, name, currency, items; kind, profile, contract, offered_from, offered_until."
        ),
    ],
) -> None:
    """Define a plan, add-on or bundle, or its next version, from a file with all its items.

    `hilltop plan show CODE` writes such a file.
    """
    from billing.catalogue.offer_file import read_offer
    from billing.set_up import define_offer

    described = _read_json(file)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            offer = outcome_or_fail(read_offer(described))
            profile = described.get("profile")
            version_id = outcome_or_fail(
                await define_offer(
                    work,
                    **offer,
                    service_profile_id=(
                        None if profile is None else await find(work.connection, "profile", str(profile))
                    ),
                )
            )
        say(f"{offer['kind']} {offer['code']}: {version_id}")

    in_house(body)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except OSError as trouble:
        fail(f"{file} cannot be read: {trouble.strerror}", 2)
    except ValueError as trouble:
        fail(f"{file} is not JSON: {trouble}", 2)
    if not isinstance(found, dict):
        fail(f"{file} must hold one JSON object; see: hilltop plan show", 2)
    return found


@plans.command("show")
def plan_show(
    plan: Annotated[str, typer.Argument(help="Plan code (its newest version) or version id.")],
) -> None:
    """A plan version with all its items, as a file that `hilltop plan define` reads."""
    from billing.catalogue.offer_file import offer_as_json

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            version_id = await newest_plan_version(connection, plan)
            version = (await plan_versions(connection, [version_id]))[version_id]
            profile = await profile_name(connection, version.service_profile_id)
        say(json.dumps({**offer_as_json(version), "profile": profile}, indent=2))

    in_house(body)


@plans.command("list")
def plan_list() -> None:
    """All plans with their versions."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = list((await plan_versions(connection)).values())
        show(
            "Plans",
            ["code", "version", "name", "kind", "price", "allowance", "items", "id"],
            [
                [
                    r.code,
                    r.version,
                    r.name,
                    r.kind,
                    format_money(r.price_minor, r.currency),
                    "unlimited" if r.allowance_octets is None else format_octets(r.allowance_octets),
                    ", ".join(item.code for item in r.items),
                    r.id,
                ]
                for r in rows
            ],
        )

    in_house(body)
