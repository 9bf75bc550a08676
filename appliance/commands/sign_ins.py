"""Commands for the ways to sign in to a service: lines, CPEs, ports, devices online, and swaps of CPEs."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from aaa.bind_cpe import cpes_of_service
from aaa.domain.line import NotALine, line_name
from aaa.set_up import (
    NewCredential,
    add_credential,
    bind_cpe,
    bind_port,
    close_replacement,
    limit_devices,
    open_replacement,
    release_cpe,
    set_binding,
)
from aaa.store import tables
from appliance.commands.running import (
    actor,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    read_secret,
    say,
    show,
    span,
)
from appliance.lookup import find
from appliance.wiring import House
from core.refusal import Refusal
from core.secrets import Secret, random_password
from core.work import Work

Service = Annotated[str, typer.Argument(help="Service label, id or user name.")]
Login = Annotated[str, typer.Argument(help="User name that signs in, or the name of a line.")]
Mac = Annotated[str, typer.Argument(help="MAC address of the CPE, in any spelling.")]
Circuit = Annotated[str | None, typer.Option(help="Circuit id of option 82, as text or as 0x and hex.")]
Remote = Annotated[str | None, typer.Option(help="Remote id of option 82, likewise; beside or without it.")]
LinePort = Annotated[
    str | None, typer.Option(help="NAS and its port with VLANs: 'north-ridge ether3:200.30'.")
]


def line_credentials(circuit_id: str | None, remote_id: str | None, port: str | None) -> list[NewCredential]:
    """The logins by line and by port that the options ask for."""
    found = []
    if circuit_id is not None or remote_id is not None:
        try:
            found.append(NewCredential("circuit", line_name(circuit_id, remote_id)))
        except NotALine as trouble:
            fail(f"--circuit-id: {trouble}", 2)
    if port is not None:
        found.append(NewCredential("port", port))
    return found


def add_login(
    service: Service,
    pppoe: Annotated[str | None, typer.Option(help="PPPoE user name.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the PPPoE password (-: standard input); else a random one.")
    ] = None,
    mac: Annotated[str | None, typer.Option(help="MAC address for MAC logins.")] = None,
    circuit_id: Circuit = None,
    remote_id: Remote = None,
    port: LinePort = None,
) -> None:
    """Give a service one more way to sign in: a PPPoE user, a MAC, a line (option 82) or a port."""
    credentials = line_credentials(circuit_id, remote_id, port)
    invented: Secret | None = None
    if pppoe is not None:
        invented = Secret(random_password(3)) if password_file is None else None
        given = invented or read_secret("PPPoE password", password_file)
        credentials.append(NewCredential("pppoe", pppoe, given))
    if mac is not None:
        credentials.append(NewCredential("mac", mac))
    if not credentials:
        fail("give --pppoe, --mac, --circuit-id, --remote-id or --port", 2)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            service_id = await find(work.connection, "service", service)
            for one in credentials:
                outcome_or_fail(
                    await add_credential(work, house.sealer, service_id=service_id, credential=one)
                )
        say(f"{service}: signs in by {', '.join(one.kind for one in credentials)} too")
        if invented is not None:
            say(f"PPPoE password, shown once: {invented.reveal()}")

    in_house(body)


def cpe_binding(
    username: Login,
    binding: Annotated[
        str, typer.Argument(help="learn (the first CPE seen), list, off, or usual (radius.cpe_binding).")
    ],
) -> None:
    """Bind a login to its CPE: to the first one seen, to those listed, or not."""
    chosen = None if binding == "usual" else binding
    _act(lambda work: set_binding(work, username, chosen), f"{username}: CPE binding is {binding}")


def bind(username: Login, mac: Mac) -> None:
    """Add a CPE to those a login is bound to."""
    _act(lambda work: bind_cpe(work, username, mac), f"{username}: bound to {mac}")


def release(
    username: Login,
    mac: Annotated[str | None, typer.Argument(help="MAC address of the CPE; else every one.")] = None,
) -> None:
    """Release a CPE, or all; under learn the next one seen is bound."""
    _act(lambda work: release_cpe(work, username, mac), f"{username}: released {mac or 'every CPE'}")


def replace_cpe(
    username: Login,
    for_how_long: Annotated[
        str, typer.Option("--for", help="How long the swap may take: 30m, 2h, 1d.")
    ] = "2h",
    old: Annotated[str | None, typer.Option(help="MAC of the CPE that goes, when several are bound.")] = None,
    close: Annotated[bool, typer.Option("--close", help="The swap is off: close the window.")] = False,
) -> None:
    """Swap a CPE: the next other one that signs in is bound in place of the old one, once."""
    if close:
        _act(lambda work: close_replacement(work, username), f"{username}: only the bound CPE again")
        return
    lasts = span("--for", for_how_long)

    until = in_transaction(lambda work, _: open_replacement(work, username, lasts, old))
    say(f"{username}: until {until:%Y-%m-%d %H:%M}Z the next other CPE takes the place of the old one")


def cpes(service: Service, output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """The CPEs that the logins of a service are and were bound to."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = await cpes_of_service(connection, await find(connection, "service", service))
            nases = {
                row.id: row.name
                for row in await connection.execute(select(tables.nas.c.id, tables.nas.c.name))
            }
        if output:
            typer.echo(json.dumps([asdict(one) for one in found], indent=2, default=str))
            return
        show(
            "CPEs",
            ["login", "MAC", "from", "first seen on", "since", "until", "why"],
            [
                [
                    one.username,
                    one.label,
                    one.source,
                    nases.get(one.nas_id or "", one.nas_id),
                    one.since,
                    one.retired_at,
                    one.retired_because,
                ]
                for one in found
            ],
            none="none",
        )

    in_house(body)


def bind_to_port(
    username: Login,
    nas: Annotated[str | None, typer.Option(help="Only on this NAS; its name or id.")] = None,
    port: Annotated[
        str | None, typer.Option(help="Only at this port: ether3, ether3:200, ether3:200.30, *:200.30.")
    ] = None,
) -> None:
    """Bind a login to a NAS, to a port with its VLANs, or to both; without options, to neither."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            nas_id = None if nas is None else await find(work.connection, "nas", nas)
            outcome_or_fail(await bind_port(work, username, nas_id=nas_id, port=port))
        say(f"{username}: {' '.join(one for one in (nas, port) if one) or 'any NAS and port'}")

    in_house(body)


def devices_online(
    service: Service,
    devices: Annotated[int | None, typer.Argument(help="How many at once; else as the profile says.")] = None,
    when_crowded: Annotated[
        str | None,
        typer.Option(help="newest stays, oldest stays, unlimited; else as the profile says."),
    ] = None,
) -> None:
    """How many devices of a service may be online at once, and what becomes of one more."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            service_id = await find(work.connection, "service", service)
            outcome_or_fail(await limit_devices(work, service_id, devices=devices, when_crowded=when_crowded))
        say(f"{service}: {devices or 'usual'} devices online, {when_crowded or 'usual'}")

    in_house(body)


def _act(act: Callable[[Work], Awaitable[Refusal | None]], done: str) -> None:
    in_transaction(lambda work, _: act(work))
    say(done)
