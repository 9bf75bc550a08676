"""Commands for the clients of our own RFC 5176 listener: proxies and scripts that end or change sessions."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.dynauth_clients import change_client, dynauth_clients, forget_client, permit_client
from aaa.store import tables as aaa
from appliance.commands.running import (
    actor,
    fail,
    in_house,
    outcome_or_fail,
    read_secret,
    say,
    show,
)
from appliance.lookup import find
from appliance.wiring import House

dynauth = typer.Typer(
    help="Proxies and scripts that may end or change live sessions (RFC 5176).", no_args_is_help=True
)
SecretFile = Annotated[
    Path | None, typer.Option(help="File with the secret (-: standard input); else typed unseen.")
]
NewSecretFile = Annotated[Path | None, typer.Option(help="File with the new secret (-: standard input).")]
Nases = Annotated[list[str] | None, typer.Option("--nas", help="A NAS it may reach; may be repeated.")]


@dynauth.command("list")
def client_list(output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Every client: from where, what it may do, on which NASes."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = await dynauth_clients(connection)
            rows = await connection.execute(select(aaa.nas.c.id, aaa.nas.c.name))
            names = {row.id: row.name for row in rows}
        if output:
            typer.echo(json.dumps([asdict(one) for one in found], indent=2))
            return
        show(
            "CoA clients",
            ["name", "from", "disconnect", "change", "NASes", "enabled", "id"],
            [
                [one.name, one.network, one.may_disconnect, one.may_change,
                 "all" if one.nas_ids is None else ", ".join(names.get(nas, nas) for nas in one.nas_ids),
                 one.enabled, one.id]
                for one in found
            ],
        )  # fmt: skip
        if not house.settings.radius.dynauth_listen:
            say("nobody is heard: set radius.dynauth_listen, then: hilltop radius reload")

    in_house(body)


@dynauth.command("permit")
def client_permit(
    name: str,
    network: Annotated[str, typer.Argument(help="Its address, or a prefix.")],
    secret_file: SecretFile = None,
    disconnect: Annotated[bool, typer.Option(help="It may end sessions.")] = True,
    change: Annotated[bool, typer.Option(help="It may change sessions.")] = False,
    nas: Nases = None,
) -> None:
    """Permit a client; its secret is sealed. It is heard within seconds."""
    secret = read_secret("client's secret", secret_file)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            made = outcome_or_fail(
                await permit_client(
                    work, house.sealer, name=name, network=network, secret=secret, may_disconnect=disconnect,
                    may_change=change, nas_ids=await _nas_ids(work.connection, nas),
                )
            )  # fmt: skip
        say(f"client {name}: {made}")

    in_house(body)


@dynauth.command("change")
def client_change(
    client: Annotated[str, typer.Argument(help="Name or id.")],
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    network: Annotated[str | None, typer.Option(help="Another address or prefix.")] = None,
    secret_file: NewSecretFile = None,
    disconnect: Annotated[bool | None, typer.Option(help="It may end sessions.")] = None,
    change: Annotated[bool | None, typer.Option(help="It may change sessions.")] = None,
    nas: Nases = None,
    every_nas: Annotated[bool, typer.Option("--every-nas", help="It may reach every NAS.")] = False,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="It is heard.")] = None,
) -> None:
    """Change a client; what is not given stays as it is."""
    if nas and every_nas:
        fail("--nas and --every-nas: choose one", 2)
    asked: dict[str, Any] = {
        "name": name, "network": network, "may_disconnect": disconnect, "may_change": change,
        "enabled": enabled,
        "secret": None if secret_file is None else read_secret("client's secret", secret_file),
    }  # fmt: skip

    async def body(house: House) -> None:
        changes = {field: value for field, value in asked.items() if value is not None}
        async with house.workplace.work(actor()) as work:
            if nas or every_nas:
                changes["nas_ids"] = await _nas_ids(work.connection, nas)
            client_id = await _client_id(work.connection, client)
            changed = outcome_or_fail(await change_client(work, house.sealer, client_id, **changes))
        say(f"client {client}: {', '.join(changed) or 'nothing'} changed")

    in_house(body)


@dynauth.command("forget")
def client_forget(client: Annotated[str, typer.Argument(help="Name or id.")]) -> None:
    """Forget a client: from now on it is a stranger."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(await forget_client(work, await _client_id(work.connection, client)))
        say(f"client {client} is forgotten")

    in_house(body)


async def _nas_ids(connection: AsyncConnection, names: list[str] | None) -> list[str] | None:
    return [await find(connection, "nas", one) for one in names] if names else None


async def _client_id(connection: AsyncConnection, text: str) -> str:
    table = aaa.dynauth_client
    found = await connection.scalar(select(table.c.id).where(or_(table.c.id == text, table.c.name == text)))
    return text if found is None else str(found)
