"""The command ``hilltop``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from appliance.commands import billing, lab, network, setup, subscribers
from appliance.commands.running import choose_config, config_path, settings

app = typer.Typer(
    name="hilltop",
    help="A wireless internet provider's back office in one box.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def begin(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Settings file (else $HILLTOP_CONFIG, else /etc/hilltop/hilltop.toml)."
        ),
    ] = None,
) -> None:
    """A wireless internet provider's back office in one box."""
    choose_config(config)


@app.command()
def run() -> None:
    """Run everything on this machine: RADIUS, collector, worker, web."""
    from appliance.commands.running import in_house
    from appliance.migrate import upgrade
    from appliance.roles import ROLES
    from appliance.supervisor import Supervisor
    from core.log import configure_logging

    chosen = settings()
    in_house(lambda house: upgrade(house.workplace.database))
    configure_logging("run", chosen.log.level)
    asyncio.run(Supervisor(config_path(), list(ROLES)).run())


@app.command()
def role(
    name: Annotated[str, typer.Argument(help="radius, collector, worker or web")],
) -> None:
    """Run one role in this process, as a service unit does."""
    from appliance.commands.running import fail
    from appliance.roles import ROLES, run_role

    if name not in ROLES:
        fail(f"there is no role {name!r}; the roles are {', '.join(ROLES)}", 2)
    asyncio.run(run_role(name, settings()))


setup.attach(app)
network.attach(app)
subscribers.attach(app)
billing.attach(app)
lab.attach(app)


def main() -> None:
    """Entry point of the console command."""
    app()


if __name__ == "__main__":
    main()
