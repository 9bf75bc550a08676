"""The command ``hilltop``.

A role goes its own way in: it runs for months and never again needs what the command line is made of. So does
the console, which has to show itself on a slow machine at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def main() -> None:
    """Entry point of the console command."""
    console = _asked_console(sys.argv[1:])
    if console is not None:
        from appliance.console.menu import console as menu

        sys.exit(menu(console))
    role = _asked_role(sys.argv[1:])
    if role is None:
        from appliance.command_line import app

        app()
        return
    from appliance.role_process import role_process

    config, name = role
    sys.exit(role_process(name, config))


def _asked_console(words: Sequence[str]) -> list[str] | None:
    """The words for the console, which shows its first screen before typer could be loaded; else None."""
    match words:
        case ["console", *rest] if "--help" not in rest:
            return rest
        case ["--config" | "-c", file, "console", *rest] if "--help" not in rest:
            return ["--config", file, *rest]
    return None


def _asked_role(words: Sequence[str]) -> tuple[Path | None, str] | None:
    """Settings file and name in ``[--config FILE] role NAME``; None for all else, ``--help`` too."""
    match words:
        case ["role", name] if not name.startswith("-"):
            return None, name
        case ["--config" | "-c", file, "role", name] if not name.startswith("-"):
            return Path(file), name
    return None


if __name__ == "__main__":
    main()
