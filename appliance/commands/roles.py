"""Running Hilltop: all of it, or one role."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from appliance.commands.running import config_path, fail, in_house, settings


def run() -> None:
    """Run everything on this machine: RADIUS, collector, worker, web."""
    from appliance.migrate import upgrade
    from appliance.roles import ROLES
    from appliance.supervisor import Supervisor
    from core.log import configure_logging

    chosen = settings()
    in_house(lambda house: upgrade(house.workplace.database))
    configure_logging("run", chosen.log.level)
    asyncio.run(Supervisor(config_path(), list(ROLES)).run())


def role(name: Annotated[str, typer.Argument(help="radius, collector, worker or web")]) -> None:
    """Run one role in this process, as a service unit does."""
    from appliance.roles import ROLES, run_role

    if name not in ROLES:
        fail(f"there is no role {name!r}; the roles are {', '.join(ROLES)}", 2)
    chosen = settings()
    raise typer.Exit(asyncio.run(run_role(name, chosen)))
