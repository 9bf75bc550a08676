"""A role as a process of its own: what a service unit starts."""

from __future__ import annotations

import gc
import sys
from pathlib import Path


def role_process(name: str, config: Path | None) -> int:
    """Run the role until it is told to stop; the exit code: 2 for wrong usage or wrong settings."""
    if name == "radius":
        from appliance.radius_processes import RadiusProcesses
        from appliance.whereabouts import settings_path

        return RadiusProcesses(settings_path(config)).run()
    gc.disable()  # what is imported stays: looking through it for garbage is a sixth of the start
    import asyncio

    from appliance.without_orm import leave_out_orm

    leave_out_orm()
    from appliance.roles import ROLES, run_role
    from appliance.settings import SettingsError, load_settings
    from appliance.whereabouts import settings_path

    if name not in ROLES:
        return _cannot(f"there is no role {name!r}; the roles are {', '.join(ROLES)}")
    try:
        settings = load_settings(settings_path(config))
    except SettingsError as trouble:
        return _cannot(str(trouble))
    return asyncio.run(run_role(name, settings))


def _cannot(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 2
