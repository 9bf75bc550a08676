"""Commands for Hilltop's own pools of addresses and prefixes."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.define_pool import change_pool, define_pool, delete_pool
from aaa.list_pools import leases_of_pool, list_pools, past_leases
from aaa.store import tables as aaa
from appliance.commands.running import actor, fail, in_house, in_transaction, outcome_or_fail, say, show
from appliance.lookup import find
from appliance.wiring import House

pools = typer.Typer(
    help="Pools of addresses and prefixes that Hilltop hands out itself.", no_args_is_help=True
)
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Pool = Annotated[str, typer.Argument(help="Name or id.")]
Excluded = Annotated[
    list[str] | None, typer.Option("--exclude", help="An address, network or range; may be repeated.")
]
Netmask = Annotated[int | None, typer.Option(help="Bits of the netmask sent with an IPv4 address.")]
Keep = Annotated[
    float | None,
    typer.Option(help="Hours an unused address stays its service's; without it until it is needed."),
]
Rest = Annotated[
    int | None, typer.Option(help="Seconds out of use before an address is another's: two interim intervals.")
]
WhenFull = Annotated[str | None, typer.Option(help="reject, or nas_pool: send the pool's name to the NAS.")]


@pools.command("list")
def pool_list(output: Json = False) -> None:
    """Every pool: its ranges and how full it is."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = await list_pools(connection)
        if output:
            told = [asdict(one) | {"percent": one.percent, "free": one.free} for one in found]
            typer.echo(json.dumps(told, indent=2))
            return
        show(
            "Pools",
            ["name", "kind", "ranges", "size", "online", "kept", "set aside", "resting", "free", "when full"],
            [
                [one.name + (" (drains)" if one.draining else ""), one.kind, ", ".join(one.ranges), one.size,
                 f"{one.online} ({one.percent} %)", one.kept, one.set_aside, one.resting, one.free,
                 one.when_full]
                for one in found
            ],
        )  # fmt: skip

    in_house(body)


@pools.command("define")
def pool_define(
    name: str,
    ranges: Annotated[list[str], typer.Argument(help="Networks, or FIRST-LAST.")],
    kind: Annotated[str, typer.Option(help="ipv4, ipv6_prefix (of links) or delegated_prefix.")] = "ipv4",
    length: Annotated[
        int | None, typer.Option(help="Prefix length handed out; 64 for links, 56 for delegated ones.")
    ] = None,
    exclude: Excluded = None,
    netmask: Netmask = None,
    keep_hours: Keep = None,
    rest: Rest = None,
    when_full: WhenFull = None,
) -> None:
    """Define a pool. Profiles that name it (pool, ipv6-pool, delegated-pool) get addresses from it."""
    given: dict[str, Any] = {"rest_s": rest, "when_full": when_full}
    more = {field: value for field, value in given.items() if value is not None}

    made = in_transaction(
        lambda work, _: define_pool(
            work,
            name=name,
            kind=kind,
            ranges=ranges,
            length=length,
            excluded=exclude or (),
            netmask_bits=netmask,
            keep_s=_seconds(keep_hours),
            **more,
        )
    )
    say(f"pool {name}: {made}")


@pools.command("change")
def pool_change(
    pool: Pool,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    range_: Annotated[
        list[str] | None, typer.Option("--range", help="All its ranges anew; may be repeated.")
    ] = None,
    exclude: Excluded = None,
    exclude_nothing: Annotated[
        bool, typer.Option("--exclude-nothing", help="Hand out every address.")
    ] = False,
    netmask: Netmask = None,
    keep_hours: Keep = None,
    keep_until_needed: Annotated[bool, typer.Option("--keep-until-needed", help="No limit.")] = False,
    rest: Rest = None,
    when_full: WhenFull = None,
    draining: Annotated[bool | None, typer.Option("--drain/--fill", help="Give nothing new.")] = None,
) -> None:
    """Change a pool; what is not given stays. Ranges without an address that is in use are refused."""
    if exclude and exclude_nothing:
        fail("--exclude and --exclude-nothing: choose one", 2)
    if keep_hours is not None and keep_until_needed:
        fail("--keep-hours and --keep-until-needed: choose one", 2)
    asked: dict[str, Any] = {
        "name": name, "ranges": range_, "excluded": exclude, "netmask_bits": netmask,
        "keep_s": _seconds(keep_hours), "rest_s": rest, "when_full": when_full, "draining": draining,
    }  # fmt: skip
    changes = {field: value for field, value in asked.items() if value is not None}
    if exclude_nothing:
        changes["excluded"] = []
    if keep_until_needed:
        changes["keep_s"] = None

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            pool_id = await _pool_id(work.connection, pool)
            changed = outcome_or_fail(await change_pool(work, pool_id, **changes))
        say(f"pool {pool}: {', '.join(changed) or 'nothing'} changed")

    in_house(body)


@pools.command("delete")
def pool_delete(pool: Pool) -> None:
    """Delete a pool nobody is online with. Profiles that name it send its name to the NAS again."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(await delete_pool(work, await _pool_id(work.connection, pool)))
        say(f"pool {pool} is deleted")

    in_house(body)


@pools.command("leases")
def pool_leases(
    pool: Pool,
    online: Annotated[bool, typer.Option("--online", help="Only those in use.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 1_000,
    output: Json = False,
) -> None:
    """Who has what of a pool."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            pool_id = await _pool_id(connection, pool)
            found = await leases_of_pool(connection, pool_id, live=online, limit=limit)
        if output:
            typer.echo(json.dumps([asdict(one) for one in found], indent=2, default=_text))
            return
        show(
            "Leases",
            ["network", "service", "device", "NAS", "given", "offline since"],
            [
                [one.network, one.service, one.station, one.nas, one.granted_at, one.idle_since]
                for one in found
            ],
        )

    in_house(body)


@pools.command("history")
def pool_history(
    network: Annotated[str | None, typer.Argument(help="An address or prefix.")] = None,
    service: Annotated[str | None, typer.Option(help="Of this service.")] = None,
    output: Json = False,
) -> None:
    """Who had an address or prefix of a pool, or what a service had; newest first."""
    if (network is None) is (service is None):
        fail("name an address or --service: one of them", 2)

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            service_id = "" if service is None else await find(connection, "service", service)
            found = await past_leases(connection, network=network or "", service_id=service_id)
        if output:
            typer.echo(json.dumps([asdict(one) for one in found], indent=2, default=_text))
            return
        show(
            "History",
            ["network", "pool", "service", "device", "from", "until", "because"],
            [
                [one.network, one.pool, one.service, one.station, one.from_at, one.until_at, one.because]
                for one in found
            ],
        )

    in_house(body)


def _seconds(hours: float | None) -> int | None:
    return None if hours is None else round(hours * 3_600)


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


async def _pool_id(connection: AsyncConnection, text: str) -> str:
    table = aaa.ip_pool
    found = await connection.scalar(select(table.c.id).where(or_(table.c.id == text, table.c.name == text)))
    return text if found is None else str(found)
