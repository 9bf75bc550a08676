"""Commands for RADIUS: explain a sign-in, ask a server, look at our own."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.commands.reply_templates import preview_reply
from appliance.commands.running import (
    actor,
    config_path,
    fail,
    in_house,
    one_from_stdin,
    outcome_or_fail,
    read_secret,
    say,
    settings,
    show,
)
from appliance.lookup import find
from appliance.wiring import House

if TYPE_CHECKING:
    from radius.dictionary.attributes import AttributeDictionary
    from radius.watching.filter import WatchFilter

radius = typer.Typer(help="RADIUS: explain, preview, test, status.", no_args_is_help=True)
radius.command("preview")(preview_reply)


@radius.command("explain")
def radius_explain(
    username: str,
    nas: Annotated[str | None, typer.Option(help="As seen from this NAS.")] = None,
    cpe: Annotated[str | None, typer.Option(help="As dialled from the CPE with this MAC.")] = None,
    port: Annotated[str | None, typer.Option(help="As dialled at this port (NAS-Port-Id).")] = None,
    output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Why USER is accepted, walled or rejected, and with which attributes."""
    from aaa.apply_rules import rules_speaker
    from appliance.billing_turns import billing_turns
    from radius.explaining.conditions import Whence
    from radius.explaining.explain import explain, format_explanation

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            if nas is not None:
                await find(connection, "nas", nas)
            try:
                explanation = await explain(
                    connection,
                    house.sealer,
                    username,
                    nas_name=nas,
                    policy=house.settings.radius.policy,
                    whence=Whence(house.workplace.clock.now(), cpe, port),
                    dictionary_files=house.settings.radius.dictionary_files,
                    rules=rules_speaker(house.workplace, house.settings.ui.time_zone, billing_turns),
                )
            except LookupError as trouble:
                fail(f"--nas: {trouble}")
        if output:
            typer.echo(json.dumps(asdict(explanation), indent=2, default=str))
        else:
            say(format_explanation(explanation))

    in_house(body)


@radius.command("test")
def radius_test(
    server: Annotated[str, typer.Argument(help="HOST or HOST:PORT; [ADDRESS]:PORT for IPv6.")],
    username: Annotated[str, typer.Argument(help="User-Name, where the method wants one.")] = "",
    secret_file: Annotated[
        Path | None, typer.Option(help="File with the RADIUS secret (-: standard input); else typed unseen.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password (-: standard input); else typed unseen.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="pap, chap, mschap, mschapv2, mac, eap-md5; start, interim, stop, accounting-on, "
            "accounting-off; coa, disconnect; status"
        ),
    ] = "pap",
    attribute: Annotated[
        list[str] | None, typer.Option(help="Name=value to send as well, or instead of ours; repeatable.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Ask from this address of the machine.")] = None,
    timeout: Annotated[float, typer.Option(min=0.05, max=60, help="Seconds to wait for each try.")] = 3.0,
    tries: Annotated[int, typer.Option(min=1, max=20, help="How often to send it.")] = 3,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Without Message-Authenticator, as old gear asks.")
    ] = False,
    output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Ask once, as a NAS would (coa, disconnect: order a NAS), and show the answer.

    Exit 0: accepted. 1: rejected. 2: wrong usage. 3: no answer. 4: an answer that cannot be trusted.
    """
    from radius.probing.probe import METHODS, ProbeOrder, ProbeTarget, carry_out, parsed_attributes
    from radius.probing.requests import NAMELESS, PASSWORDLESS

    if method not in METHODS:
        fail(f"--method {method!r}: use one of {', '.join(METHODS)}", 2)
    if not username and method not in NAMELESS:
        fail(f"USERNAME: the method {method} wants one", 2)
    host, port = _server(server, method)
    one_from_stdin(secret_file, password_file)
    book = _dictionary_or_fail()
    secret = read_secret("RADIUS secret", secret_file, again=False)
    asked = method not in PASSWORDLESS or (method == "mac" and password_file is not None)
    password = read_secret("password", password_file, again=False) if asked else None
    try:
        order = ProbeOrder(
            method, username, password, parsed_attributes(attribute or []), signed=not unsigned
        )
        target = ProbeTarget(host, port, secret, source)
        answer = asyncio.run(carry_out(target, order, timeout_s=timeout, tries=tries, book=book))
    except ValueError as trouble:
        fail(f"--attribute: {trouble}", 2)
    say(json.dumps(answer.as_json(), indent=2) if output else str(answer))
    raise typer.Exit(answer.exit_code)


_BRACKETED = re.compile(r"\[([^\]]+)\](?::(.*))?")
_PORTS = {"coa": 3799, "disconnect": 3799} | dict.fromkeys(
    ("start", "interim", "stop", "accounting-on", "accounting-off"), 1813
)


def _server(text: str, method: str) -> tuple[str, int]:
    """The host and the port, or the method's own port; an IPv6 address without brackets has no port."""
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed is not None:
        host, port = bracketed[1], bracketed[2]
    elif text.count(":") > 1:
        host, port = text, None
    else:
        host, _, port = text.partition(":")
    port = str(_PORTS.get(method, 1812)) if port is None or host == text else port
    if not host or "[" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        fail(f"{text!r} is not host:port, such as 127.0.0.1:1812 or [2001:db8::1]:1812", 2)
    return host, int(port)


def _dictionary_or_fail() -> AttributeDictionary:
    """The dictionary; with the operator's own files where this machine has settings."""
    from radius.dictionary.attributes import attribute_dictionary

    files = settings().radius.dictionary_files if config_path().exists() else []
    try:
        return attribute_dictionary(files)
    except ValueError as trouble:
        fail(f"radius.dictionary_files: {trouble}")


@radius.command("watch")
def radius_watch(
    user: Annotated[str | None, typer.Option(help="User-Name; * and ? fit anything.")] = None,
    nas: Annotated[str | None, typer.Option(help="A NAS's name or address; * and ? fit anything.")] = None,
    station: Annotated[
        str | None, typer.Option(help="Calling-Station-Id; a MAC in whatever spelling.")
    ] = None,
    code: Annotated[
        list[str] | None,
        typer.Option(help="Of the request or its answer, such as Access-Reject; repeatable."),
    ] = None,
    rejects: Annotated[
        bool, typer.Option("--rejects", help="Only rejects, and requests that got no answer.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=1, help="Leave after so many.")] = None,
    output: Annotated[bool, typer.Option("--json", help="As JSON, one exchange a line.")] = False,
) -> None:
    """What the radius role is asked and answers, as it happens, with why a request got no answer."""
    from radius.watching.client import NobodyServes
    from radius.watching.filter import WatchFilter, code_of

    try:
        codes = [code_of(one) for one in code or []]
    except ValueError as trouble:
        fail(f"--code: {trouble}", 2)
    wants = WatchFilter(user, nas, station, codes, rejects)
    try:
        asyncio.run(_watch(settings().journal_directory, wants, count, as_json=output))
    except NobodyServes as trouble:
        fail(str(trouble))
    except KeyboardInterrupt:
        return


async def _watch(folder: Path, wants: WatchFilter, count: int | None, *, as_json: bool) -> None:
    from contextlib import aclosing

    from radius.watching.client import WatchedExchange, watch

    left = count
    async with aclosing(watch(folder, wants, _dictionary_or_fail())) as told:
        async for one in told:
            if as_json:
                typer.echo(json.dumps(one.as_json()))
            else:
                say(str(one))
            if isinstance(one, WatchedExchange) and left is not None:
                left -= 1
                if left == 0:
                    return


@radius.command("attributes")
def radius_attributes(
    part: Annotated[str, typer.Argument(help="A name, or a part of one.")],
    output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """The attributes by name: number, type and words; radius.dictionary_files holds your own."""
    from radius.dictionary.described import described_attributes

    try:
        found = described_attributes(part, settings().radius.dictionary_files)
    except ValueError as trouble:
        fail(f"radius.dictionary_files: {trouble}")
    if not found:
        fail(f"no attribute has {part!r} in its name; others are written Attr-N or Vendor-V-Attr-N")
    if output:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    rows = [[one.name, one.number, one.kind, one.words] for one in found]
    show("attributes", ["name", "number", "type", "words"], rows)


@radius.command("reload")
def radius_reload() -> None:
    """Serve with the settings as they are now; no request is lost. Exit 1 when they are refused."""
    from appliance.radius_reload import ReloadError, reload_radius

    try:
        workers = reload_radius(settings())
    except ReloadError as trouble:
        fail(str(trouble))
    say(f"reloaded: {workers} process{'' if workers == 1 else 'es'}")


@radius.command("status")
def radius_status() -> None:
    """What the radius processes of this machine say of themselves; exit 1 when none does."""
    from radius.serving.status import read_statuses

    found = read_statuses(settings().journal_directory)
    for one in found:
        say(f"process {one.pid} ({one.worker}), at {one.at}")
        say(f"  directory  {one.directory_logins} logins, {one.directory_nases} NASes, change"
            f" {one.directory_seq}; the database was last seen {one.directory_age_s} s before")  # fmt: skip
        if one.directory_from_snapshot:
            say("  directory  is that of the snapshot: the database has been away since the start")
        if one.stale_profiles:
            say(f"  stale      {one.stale_profiles} profiles are answered as they say for a long absence")
        say(f"  journal    {one.journal_trouble or 'sound'}, {one.journal_backlog} records not on disk yet")
        for trouble in one.troubles:
            say(f"  trouble    {trouble}")
        for nas, connections in one.radsec.items():
            say(f"  radsec     {nas}: {connections} connections")
        for address, why in one.radsec_refused.items():
            say(f"  refused    {address} by RadSec: {why}")
        for nas in one.unsigned_nases:
            say(f"  unsigned   {nas} sends requests without Message-Authenticator")
        show("  counters", ["what", "count"], [[name, n] for name, n in one.counters.items() if n])
    if not found:
        fail("no radius process has run here; start it with: hilltop run")


@radius.command("held")
def radius_held(output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Logins that are held back after wrong passwords, and for how long."""
    from aaa.lockouts import held_back

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = await held_back(connection, house.clock.now())
        if output:
            typer.echo(json.dumps([asdict(one) for one in found], indent=2, default=str))
            return
        show(
            "Held back after wrong passwords",
            ["login", "device", "NAS", "wrong passwords", "looked at again"],
            [[one.identity, one.device, one.nas, one.failures, one.until] for one in found],
        )

    in_house(body)


@radius.command("let-go")
def radius_let_go(
    username: Annotated[str, typer.Argument(help="A login that is held back.")],
    nas: Annotated[str | None, typer.Option(help="At this NAS only.")] = None,
) -> None:
    """Look at the next password of a login again at once."""
    from aaa.lockouts import let_go

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            nas_id = None if nas is None else await find(work.connection, "nas", nas)
            outcome_or_fail(await let_go(work, username, nas_id))
        say(f"{username}: the next password is looked at again within a second")

    in_house(body)
