"""Commands that bring an appliance to life: init, database, operators, health."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from appliance.commands.running import (
    actor,
    config_path,
    console,
    fail,
    in_house,
    outcome_or_fail,
    show,
)
from appliance.wiring import House
from core.store.tables import audit, health_issue

_TEMPLATE = """\
# Hilltop's settings. Every key has a default; `hilltop settings` prints them all.

[state]
directory = "{state}"          # database, journals and keys live here

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
    state: Annotated[Path, typer.Option(help="State directory.")] = Path("/var/lib/hilltop"),
    operator: Annotated[str, typer.Option(help="Name of the first operator.")] = "owner",
) -> None:
    """Write a settings file, make the database and the first operator, print the one-time password."""
    from appliance.migrate import upgrade
    from ui.operators import create_operator

    path = config_path()
    if path.exists():
        typer.echo(f"{path} is there already and stays as it is")
    else:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_TEMPLATE.format(state=state))
        except OSError as trouble:
            fail(f"{path} cannot be written: {trouble}; choose another place with --config")
        typer.echo(f"wrote {path}")

    async def body(house: House) -> None:
        await upgrade(house.workplace.database)
        async with house.workplace.work(actor()) as work:
            password = outcome_or_fail(await create_operator(work, operator, "owner"))
        console.print(f"operator {operator}, one-time password: {password.reveal()}")

    in_house(body)


def show_settings() -> None:
    """Every setting in force, as TOML."""
    from appliance.commands.running import settings

    for name, section in settings().model_dump(mode="json").items():
        typer.echo(f"[{name}]")
        for key, value in section.items():
            typer.echo(f"# {key} is not set" if value is None else f"{key} = {json.dumps(value)}")
        typer.echo()


database = typer.Typer(help="The database schema.", no_args_is_help=True)


@database.command("migrate")
def migrate() -> None:
    """Bring the database to this release's schema."""
    from appliance.migrate import current_revision, upgrade

    async def body(house: House) -> None:
        before = await current_revision(house.workplace.database)
        await upgrade(house.workplace.database)
        after = await current_revision(house.workplace.database)
        console.print(f"{before or 'empty'} → {after}" if before != after else f"already at {after}")

    in_house(body)


operators = typer.Typer(help="Staff who sign in at the panel.", no_args_is_help=True)


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
    from appliance.commands.running import read_secret
    from ui.operators import create_operator

    given = None if password_file is None else read_secret("one-time password", password_file)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            password = outcome_or_fail(await create_operator(work, name, role, given))
        if given is None:
            console.print(f"operator {name}, one-time password: {password.reveal()}")
        else:
            console.print(f"operator {name}, one-time password as given")

    in_house(body)


@operators.command("reset")
def operator_reset(name: str) -> None:
    """Give an operator a new one-time password."""
    from ui.operators import reset_password

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            password = outcome_or_fail(await reset_password(work, name))
        console.print(f"operator {name}, one-time password: {password.reveal()}")

    in_house(body)


def health() -> None:
    """Open health issues with their remedies; exit 1 when there is a critical one."""

    async def body(house: House) -> bool:
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(select(health_issue).where(health_issue.c.closed_at.is_(None)))
            ).all()
        if not rows:
            console.print("no open health issue")
        else:
            show(
                "Open health issues",
                ["severity", "what", "remedy", "since"],
                [[r.severity, r.title, r.remedy, f"{r.opened_at:%Y-%m-%d %H:%M}"] for r in rows],
            )
        return any(row.severity == "critical" for row in rows)

    if in_house(body):
        raise typer.Exit(1)


def audit_trail(limit: int = 50) -> None:
    """Who did what, newest first."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (await connection.execute(select(audit).order_by(audit.c.seq.desc()).limit(limit))).all()
        show(
            "Audit",
            ["at", "actor", "action", "subject", "detail"],
            [[f"{r.at:%Y-%m-%d %H:%M:%S}", r.actor, r.action, r.subject, r.detail] for r in rows],
        )

    in_house(body)


def attach(app: typer.Typer) -> None:
    """Put these commands on ``app``."""
    app.command("init")(init)
    app.command("settings")(show_settings)
    app.command("health")(health)
    app.command("audit")(audit_trail)
    app.add_typer(database, name="database")
    app.add_typer(operators, name="operator")
