"""Commands for realms: whose sign-ins another RADIUS server answers, and which one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from aaa.define_realm import (
    change_home_server,
    change_realm,
    define_realm,
    register_home_server,
    remove_home_server,
    remove_realm,
)
from aaa.domain.realm import PASSED
from aaa.list_realms import list_home_servers, list_realms
from appliance.commands.running import (
    actor,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    read_secret,
    say,
    show,
)
from appliance.lookup import find
from appliance.wiring import House

home_servers = typer.Typer(help="RADIUS servers that sign-ins are forwarded to.", no_args_is_help=True)
realms = typer.Typer(
    help="Realms: whose sign-ins another server answers, and which are ours.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
SecretFile = Annotated[
    Path | None, typer.Option(help="File with the secret (-: standard input); else typed unseen.")
]
_NO_PORT = "0: it takes none."


@home_servers.command("add")
def home_server_add(
    name: str,
    address: Annotated[str, typer.Argument(help="Its IP address.")],
    secret_file: SecretFile = None,
    auth_port: Annotated[int, typer.Option(help=f"Port for sign-ins. {_NO_PORT}")] = 1812,
    accounting_port: Annotated[int, typer.Option(help=f"Port for reports. {_NO_PORT}")] = 1813,
    signs_replies: Annotated[
        bool, typer.Option(help="Believe only replies with a Message-Authenticator (CVE-2024-3596).")
    ] = True,
    status_check: Annotated[bool, typer.Option(help="It answers Status-Server (RFC 5997).")] = True,
    timeout_ms: Annotated[int, typer.Option(help="Until a request is sent again.")] = 2_000,
    tries: Annotated[int, typer.Option(help="How often; then the next server is asked.")] = 2,
    dead_s: Annotated[int, typer.Option(help="How long a silent one is left, without Status-Server.")] = 30,
) -> None:
    """Make another RADIUS server known; its secret is sealed."""
    secret = read_secret("RADIUS secret", secret_file)

    made = in_transaction(
        lambda work, house: register_home_server(
            work,
            house.sealer,
            name=name,
            address=address,
            secret=secret,
            auth_port=auth_port or None,
            accounting_port=accounting_port or None,
            signs_replies=signs_replies,
            status_check=status_check,
            timeout_ms=timeout_ms,
            tries=tries,
            dead_s=dead_s,
        )
    )
    say(f"home server {name}: {made}")


@home_servers.command("change")
def home_server_change(
    server: Annotated[str, typer.Argument(help="Its name or id.")],
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    address: Annotated[str | None, typer.Option(help="Its IP address.")] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="File with the new secret (-: standard input).")
    ] = None,
    auth_port: Annotated[int | None, typer.Option(help=f"Port for sign-ins. {_NO_PORT}")] = None,
    accounting_port: Annotated[int | None, typer.Option(help=f"Port for reports. {_NO_PORT}")] = None,
    signs_replies: Annotated[
        bool | None, typer.Option("--signs-replies/--no-signs-replies", help="Believe only signed replies.")
    ] = None,
    status_check: Annotated[
        bool | None, typer.Option("--status-check/--no-status-check", help="It answers Status-Server.")
    ] = None,
    timeout_ms: Annotated[int | None, typer.Option(help="Until a request is sent again.")] = None,
    tries: Annotated[int | None, typer.Option(help="How often.")] = None,
    dead_s: Annotated[int | None, typer.Option(help="How long a silent one is left.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Ask it, or not.")] = None,
) -> None:
    """Change what is said of a home server; in force within a second."""
    given: dict[str, Any] = {
        "name": name, "address": address, "signs_replies": signs_replies, "status_check": status_check,
        "timeout_ms": timeout_ms, "tries": tries, "dead_s": dead_s, "enabled": enabled,
        "secret": None if secret_file is None else read_secret("RADIUS secret", secret_file),
    }  # fmt: skip
    fields = {field: value for field, value in given.items() if value is not None}
    fields |= {
        field: port or None
        for field, port in (("auth_port", auth_port), ("accounting_port", accounting_port))
        if port is not None
    }

    in_transaction(
        lambda work, house: change_home_server(work, house.sealer, server=server, **_something(fields))
    )
    say(f"home server {server}: changed {', '.join(sorted(fields))}")


@home_servers.command("remove")
def home_server_remove(server: Annotated[str, typer.Argument(help="Its name or id.")]) -> None:
    """Forget a home server that no realm asks."""

    in_transaction(lambda work, _: remove_home_server(work, server=server))
    say(f"home server {server}: removed")


@home_servers.command("list")
def home_server_list(output: AsJson = False) -> None:
    """All home servers."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = await list_home_servers(connection)
        if output:
            _say_json(found)
            return
        show(
            "Home servers",
            ["name", "address", "sign-ins", "reports", "signs", "realms", "enabled", "id"],
            [
                [one.name, one.address, one.auth_port, one.accounting_port, one.signs_replies,
                 ", ".join(one.realms), one.enabled, one.id]
                for one in found
            ],
        )  # fmt: skip

    in_house(body)


@realms.command("add")
def realm_add(
    name: Annotated[str, typer.Argument(help="Like example.net, or * for every one without an entry.")],
    server: Annotated[
        list[str] | None, typer.Option(help="Home server, by name or id; repeat in order.")
    ] = None,
    own: Annotated[bool, typer.Option("--own", help="Its users are ours: look USER up without it.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Forward names without the realm.")] = False,
    accounting: Annotated[bool, typer.Option(help="Forward reports too; they are kept here anyway.")] = True,
    passes: Annotated[
        list[str] | None, typer.Option("--pass", help="Attribute that an accept may bring; *: all.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Service profile whose attributes are added to an accept.")
    ] = None,
) -> None:
    """Forward the sign-ins of USER@NAME and NAME\\\\USER to home servers, or look USER up here."""
    if own == bool(server):
        fail("give --server, or --own alone", 2)

    async def body(house: House) -> None:
        allowed = PASSED if passes is None else _attributes(house, passes)
        async with house.workplace.work(actor()) as work:
            profile_id = None if profile is None else await find(work.connection, "profile", profile)
            made = outcome_or_fail(
                await define_realm(
                    work, name=name, servers=server or None, strip=strip, accounting=accounting,
                    passes=allowed, profile_id=profile_id,
                )
            )  # fmt: skip
        say(f"realm {name}: {made}")

    in_house(body)


@realms.command("change")
def realm_change(
    name: Annotated[str, typer.Argument(help="The realm: its name or id.")],
    server: Annotated[list[str] | None, typer.Option(help="Home servers from now on, in order.")] = None,
    own: Annotated[bool, typer.Option("--own", help="From now on its users are ours.")] = False,
    strip: Annotated[bool | None, typer.Option("--strip/--no-strip", help="Names without the realm.")] = None,
    accounting: Annotated[
        bool | None, typer.Option("--accounting/--no-accounting", help="Forward reports too.")
    ] = None,
    passes: Annotated[
        list[str] | None, typer.Option("--pass", help="Attributes that an accept may bring from now on.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Service profile, '' for none.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Forward, or not.")] = None,
) -> None:
    """Change a realm; in force within a second."""
    given = {"servers": server, "strip": strip, "accounting": accounting, "enabled": enabled}
    fields: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    if own and server:
        fail("give --server or --own, one of them", 2)
    if own:
        fields["servers"] = None

    async def body(house: House) -> None:
        if passes is not None:
            fields["passes"] = _attributes(house, passes)
        async with house.workplace.work(actor()) as work:
            if profile is not None:
                fields["profile_id"] = await find(work.connection, "profile", profile) if profile else None
            outcome_or_fail(await change_realm(work, realm_name=name, **_something(fields)))
        say(f"realm {name}: changed {', '.join(sorted(fields))}")

    in_house(body)


@realms.command("remove")
def realm_remove(name: Annotated[str, typer.Argument(help="The realm: its name or id.")]) -> None:
    """Forget a realm: its users are looked for among our own services again. Waiting reports are dropped."""

    in_transaction(lambda work, _: remove_realm(work, realm_name=name))
    say(f"realm {name}: removed")


@realms.command("list")
def realm_list(output: AsJson = False) -> None:
    """All realms, with the reports that wait for their home servers."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = await list_realms(connection)
        if output:
            _say_json(found)
            return
        show(
            "Realms",
            ["realm", "servers", "strips", "reports", "waiting", "accept may bring", "adds", "enabled"],
            [
                [one.name, ", ".join(one.servers) or "our own", one.strip, one.accounting,
                 one.reports_waiting, ", ".join(one.passes), one.profile, one.enabled]
                for one in found
            ],
        )  # fmt: skip

    in_house(body)


def _attributes(house: House, names: Sequence[str]) -> list[str]:
    """The attributes by the names the dictionary has, or exit 2 naming the one that is unknown."""
    from radius.dictionary.attributes import attribute_dictionary

    known = attribute_dictionary(house.settings.radius.dictionary_files)
    found = []
    for name in names:
        definition = None if name in {"*", ""} else known.find(name)
        if definition is None and name not in {"*", ""}:
            fail(f"--pass {name}: no attribute has this name; see: hilltop radius attributes", 2)
        found.append(name if definition is None else definition.name)
    return [name for name in found if name]


def _something(fields: dict[str, Any]) -> dict[str, Any]:
    return fields or fail("nothing is to be changed; give an option, see --help", 2)


def _say_json(found: Sequence[Any]) -> None:
    typer.echo(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False, default=str))
