"""Running Hilltop: all of it, or one role."""

from __future__ import annotations

from typing import Annotated

import typer

from appliance.commands.running import config_path, in_house, settings


def run() -> None:
    """Run everything on this machine: RADIUS, collector, worker, web."""
    from appliance.migrate import upgrade
    from appliance.role_marks import forget_absent_roles
    from appliance.roles import ROLES
    from appliance.supervisor import become_supervisor

    chosen = settings()
    in_house(lambda house: upgrade(house.workplace.database))
    forget_absent_roles(chosen.state.directory)
    become_supervisor(config_path(), chosen.log.level, list(ROLES))


def role(name: Annotated[str, typer.Argument(help="radius, collector, worker or web")]) -> None:
    """Run one role in this process, as a service unit does."""
    from appliance.role_process import role_process

    raise typer.Exit(role_process(name, config_path()))
