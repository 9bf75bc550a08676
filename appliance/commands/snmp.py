"""Commands for SNMP: targets and whose counters they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from appliance.commands.running import (
    actor,
    fail,
    in_house,
    one_from_stdin,
    outcome_or_fail,
    read_secret,
    say,
    show,
)
from appliance.lookup import find
from appliance.wiring import House
from snmp.store import tables

SecretFile = Annotated[Path | None, typer.Option(help="File with the secret (-: standard input).")]

snmp = typer.Typer(help="SNMP targets and whose counters they hold.", no_args_is_help=True)


@snmp.command("add")
def snmp_add(
    name: str,
    address: str,
    port: Annotated[int, typer.Option(help="UDP port of the agent.")] = 161,
    version: Annotated[str, typer.Option(help="2c or 3")] = "2c",
    username: Annotated[str | None, typer.Option(help="Version 3 user.")] = None,
    community_file: SecretFile = None,
    auth_file: SecretFile = None,
    privacy_file: SecretFile = None,
    poll_interval: Annotated[int, typer.Option(max=86_400, help="Seconds between polls.")] = 300,
    device: Annotated[str | None, typer.Option(help="The device it is, when it is one.")] = None,
) -> None:
    """Register an SNMP agent to poll; its credentials are sealed."""
    from snmp.set_up import register_target

    if version not in {"2c", "3"}:
        fail(f"--version {version!r}: use 2c or 3", 2)
    one_from_stdin(community_file, auth_file, privacy_file)
    community = read_secret("community", community_file) if version == "2c" else None
    auth = None if auth_file is None else read_secret("authentication key", auth_file)
    privacy = None if privacy_file is None else read_secret("privacy key", privacy_file)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            target_id = outcome_or_fail(
                await register_target(
                    work,
                    house.sealer,
                    name=name,
                    address=address,
                    port=port,
                    version=version,
                    community=community,
                    username=username,
                    auth=auth,
                    privacy=privacy,
                    device_id=None if device is None else await find(work.connection, "device", device),
                    poll_interval_s=poll_interval,
                )
            )
        say(f"SNMP target {name}: {target_id}")

    in_house(body)


@snmp.command("bind")
def snmp_bind(
    target: Annotated[str, typer.Argument(help="SNMP target, name or id.")],
    interface: Annotated[
        str, typer.Argument(help="ifName of the counters, for example eth1 or <pppoe-fir>.")
    ],
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")],
    reversed_: Annotated[bool, typer.Option("--reversed", help="The device's 'in' is the download.")] = False,
    check_only: Annotated[
        bool, typer.Option("--check-only", help="Cross-check RADIUS; do not bill from it.")
    ] = False,
    rate_cap: Annotated[
        int | None, typer.Option(max=10**15, help="bit/s above which a delta is quarantined.")
    ] = None,
) -> None:
    """Say whose the counters of an interface are."""
    from snmp.set_up import bind

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(
                await bind(
                    work,
                    target_id=await find(work.connection, "target", target),
                    if_name=interface,
                    service_id=await find(work.connection, "service", service),
                    reversed=reversed_,
                    bills=not check_only,
                    rate_cap_bps=rate_cap,
                )
            )
        say(f"{target} {interface} belongs to {service}")

    in_house(body)


@snmp.command("list")
def snmp_list() -> None:
    """All targets and when they last answered."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (await connection.execute(select(tables.target))).all()
        show(
            "SNMP targets",
            ["name", "address", "version", "enabled", "last answer", "last error"],
            [
                [r.name, f"{r.address}:{r.port}", r.version, r.enabled, r.last_answer_at, r.last_error]
                for r in rows
            ],
        )

    in_house(body)


@snmp.command("unbind")
def snmp_unbind(
    target: Annotated[str, typer.Argument(help="SNMP target, name or id.")],
    interface: Annotated[str, typer.Argument(help="ifName of the counters.")],
) -> None:
    """An interface meters nobody any more; what it metered stays."""
    from snmp.set_up import unbind

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            target_id = await find(work.connection, "target", target)
            outcome_or_fail(await unbind(work, target_id=target_id, if_name=interface))
        say(f"{target} {interface} meters nobody")

    in_house(body)


@snmp.command("enable")
def snmp_enable(target: Annotated[str, typer.Argument(help="SNMP target, name or id.")]) -> None:
    """Poll a target again."""
    from snmp.set_up import enable_target

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(await enable_target(work, await find(work.connection, "target", target)))
        say(f"{target}: polled")

    in_house(body)


@snmp.command("disable")
def snmp_disable(target: Annotated[str, typer.Argument(help="SNMP target, name or id.")]) -> None:
    """Leave a target alone."""
    from snmp.set_up import disable_target

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(await disable_target(work, await find(work.connection, "target", target)))
        say(f"{target}: left alone")

    in_house(body)


@snmp.command("poll")
def snmp_poll(target: Annotated[str, typer.Argument(help="SNMP target, name or id.")]) -> None:
    """Poll a target once now, record what it counts, and print it; exit 1 when it does not answer."""
    from snmp.poll import poll_target

    async def body(house: House) -> bool:
        async with house.workplace.reading() as connection:
            target_id = await find(connection, "target", target)
        outcome = outcome_or_fail(
            await poll_target(house.workplace, house.sealer, target_id, house.settings.snmp)
        )
        say(str(outcome))
        return outcome.trouble is None

    if not in_house(body):
        raise typer.Exit(1)
