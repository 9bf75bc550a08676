"""Commands that bring an appliance to life: init, database, operators, health."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.running import (
    Limit,
    actor,
    config_path,
    fail,
    in_house,
    in_transaction,
    in_words_or_fail,
    outcome_or_fail,
    read_secret,
    say,
    settings,
    show,
)
from appliance.whereabouts import USUAL_STATE
from appliance.wiring import House
from core.clock import SystemClock
from core.files import write_durably
from core.store.tables import audit, health_issue
from ui.store.tables import operator as operators_table

_TEMPLATE = """\
# Hilltop's settings. Every key has a default; `hilltop settings` prints them all.

[state]
directory = STATE          # database, journals and keys live here

[database]
url = ""                       # empty: embedded SQLite in the state directory; or postgresql://user@host/name

[radius]
auth_listen = ["0.0.0.0:1812"]
accounting_listen = ["0.0.0.0:1813"]

[ui]
listen = "127.0.0.1:8080"      # the panel; 0.0.0.0:8080 to reach it from outside
time_zone = "UTC"
"""


def init(
    state: Annotated[Path, typer.Option(help="State directory.")] = USUAL_STATE,
    operator: Annotated[str, typer.Option(help="Name of the first operator.")] = "owner",
) -> None:
    """Write a settings file, make the database and the first operator, print the one-time password.

    What is there already stays as it is, so a set-up that was cut off is finished by the same command.
    """
    path = config_path()
    if path.exists():
        say(f"{path} is there already and stays as it is")
    else:
        _write_settings(path, state)
    in_house(lambda house: _prepare(house, operator), first_time=True)


def _write_settings(path: Path, state: Path) -> None:
    quoted = json.dumps(str(state.absolute()), ensure_ascii=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # open to the roles' user, unlike folders of the state
        write_durably(path, _TEMPLATE.replace("STATE", quoted).encode(), 0o644)
    except OSError as trouble:
        fail(
            f"{path} cannot be written: {trouble.strerror}; choose another place: hilltop --config FILE init",
            2,
        )
    say(f"wrote {path}")


async def _prepare(house: House, operator: str) -> None:
    from appliance.first_boot import make_certificate, make_ready
    from ui.operators import create_operator

    make_certificate(house.settings, house.clock.now())
    await make_ready(house)
    async with house.workplace.work(actor()) as work:
        names = (await work.connection.execute(select(operators_table.c.name))).scalars().all()
        if operator in names:
            say(f"operator {operator} is there already; a new password: hilltop operator reset {operator}")
            return
        password = outcome_or_fail(await create_operator(work, operator, "owner"))
    say(f"operator {operator}, one-time password: {password.reveal()}")


def first_boot() -> None:
    """Make what this machine lacks and mark it ready: the service manager runs it before the roles."""
    import asyncio

    from appliance.first_boot import first_boot as make
    from core.log import configure_logging

    configure_logging("first-boot", "warning")
    chosen = settings()
    waits = in_words_or_fail(lambda: asyncio.run(make(chosen)), chosen)
    say(f"ready; a one-time password waits in {chosen.admin_code}" if waits else "ready")


database = typer.Typer(help="The database schema.", no_args_is_help=True)


@database.command("migrate")
def migrate() -> None:
    """Bring the database to this release's schema."""
    from appliance.migrate import upgrade
    from appliance.schema import current_revision

    async def body(house: House) -> None:
        before = await current_revision(house.workplace.database)
        await upgrade(house.workplace.database)
        after = await current_revision(house.workplace.database)
        say(f"{before or 'empty'} → {after}" if before != after else f"already at {after}")

    in_house(body)


operators = typer.Typer(help="Staff who sign in at the panel.", no_args_is_help=True)


@database.command("status")
def status() -> None:
    """Where the database is and whether it has this release's schema; exit 1 when not."""
    from appliance.schema import current_revision, schema_fault
    from appliance.trouble import shown_url

    async def body(house: House) -> str | None:
        present = await current_revision(house.workplace.database)
        say(f"{shown_url(house.settings)} is at {present or 'no schema'}")
        return schema_fault(present)

    if fault := in_house(body):
        fail(fault)


@operators.command("list")
def operator_list() -> None:
    """All operators."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (await connection.execute(select(operators_table).order_by(operators_table.c.name))).all()
        show(
            "Operators",
            ["name", "role", "enabled", "must choose a password", "since"],
            [[r.name, r.role, r.enabled, r.must_change_password, r.created_at] for r in rows],
        )

    in_house(body)


@operators.command("disable")
def operator_disable(name: str) -> None:
    """Let an operator in no more, and end his sign-ins."""
    _set_operator(name, enabled=False)


@operators.command("enable")
def operator_enable(name: str) -> None:
    """Let an operator in again."""
    _set_operator(name, enabled=True)


@operators.command("gear-give")
def operator_gear_give(
    name: str, level: Annotated[str, typer.Option(help="read, write or full")] = "read"
) -> None:
    """Let an operator sign in to network gear, and print his password for it; another one if he has one."""
    from ui.operators import give_gear

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            operator_id = await _operator_id(work.connection, name)
            made = outcome_or_fail(await give_gear(work, house.sealer, operator_id, level))
        say(f"operator {name}, password for network gear ({level}): {made.reveal()}")

    in_house(body)


@operators.command("gear-take")
def operator_gear_take(name: str) -> None:
    """Take an operator's login to network gear away."""
    from ui.operators import take_gear

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(await take_gear(work, await _operator_id(work.connection, name)))
        say(f"operator {name}: no login to network gear any more")

    in_house(body)


@operators.command("gear-log")
def operator_gear_log(
    limit: Limit = 50, output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False
) -> None:
    """Who signed in to which device, or tried to, newest first."""
    from aaa.gear_logins import gear_sign_ins

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await gear_sign_ins(connection, limit)
        if output:
            typer.echo(json.dumps([asdict(one) for one in rows], indent=2, default=str))
            return
        show(
            "Sign-ins to network gear",
            ["when", "who", "device", "address", "from", "let in", "why not"],
            [
                [one.at, one.name, one.nas, one.nas_address, one.from_address, one.level or "no",
                 "" if one.granted else one.reason]
                for one in rows
            ],
        )  # fmt: skip

    in_house(body)


async def _operator_id(connection: AsyncConnection, name: str) -> str:
    found = await connection.scalar(select(operators_table.c.id).where(operators_table.c.name == name))
    if found is None:
        fail(f"refused: name: there is no operator {name!r}; see: hilltop operator list")
    return str(found)


def _set_operator(name: str, *, enabled: bool) -> None:
    from ui.operators import set_operator_enabled

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            operator_id = await _operator_id(work.connection, name)
            outcome_or_fail(await set_operator_enabled(work, operator_id, enabled))
        say(f"operator {name}: {'may sign in' if enabled else 'may not sign in'}")

    in_house(body)


@operators.command("add")
def operator_add(
    name: str,
    role: Annotated[str, typer.Option(help="owner, billing, network or viewer")] = "viewer",
    password_file: Annotated[
        Path | None,
        typer.Option(help="One-time password from a file (-: standard input); else a random one."),
    ] = None,
) -> None:
    """Make an operator and print his one-time password."""
    from ui.operators import create_operator

    given = None if password_file is None else read_secret("one-time password", password_file)

    password = in_transaction(lambda work, _: create_operator(work, name, role, given))
    if given is None:
        say(f"operator {name}, one-time password: {password.reveal()}")
    else:
        say(f"operator {name}, one-time password as given")


@operators.command("check", hidden=True)
def operator_check(name: str) -> None:
    """Whether an owner with a password of his own gives the right one on standard input; for the console."""
    import sys

    from ui.operators import prove_owner
    from ui.passwords import Passwords
    from ui.sign_in import SignIns

    password = sys.stdin.readline(4096).rstrip("\n")

    async def body(house: House) -> None:
        sign_ins = SignIns(house.workplace, SystemClock(), Passwords(), house.settings.ui)
        refusal = await prove_owner(sign_ins, house.workplace, name, password)
        if refusal is not None:
            fail(f"refused: {refusal}")

    in_house(body)


@operators.command("reset")
def operator_reset(name: str) -> None:
    """Give an operator a new one-time password."""
    from appliance.first_boot import forget_code
    from ui.operators import reset_password

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            password = outcome_or_fail(await reset_password(work, name))
        forget_code(house.settings, name)
        say(f"operator {name}, one-time password: {password.reveal()}")

    in_house(body)


def health() -> None:
    """Open health issues with their remedies; exit 1 when there is a critical one."""

    async def body(house: House) -> bool:
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(select(health_issue).where(health_issue.c.closed_at.is_(None)))
            ).all()
        show(
            "Open health issues",
            ["severity", "what", "remedy", "since"],
            [[r.severity, r.title, r.remedy, r.opened_at] for r in rows],
        )
        return any(row.severity == "critical" for row in rows)

    if in_house(body):
        raise typer.Exit(1)


def audit_trail(limit: Limit = 50) -> None:
    """Who did what, newest first."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (await connection.execute(select(audit).order_by(audit.c.seq.desc()).limit(limit))).all()
        show(
            "Audit",
            ["at", "actor", "action", "subject", "detail"],
            [[r.at, r.actor, r.action, r.subject, json.dumps(r.detail, ensure_ascii=False)] for r in rows],
        )

    in_house(body)
