"""The command line of ``hilltop``, as typer sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from appliance.commands.running import choose_config, say
from appliance.doors import Doors

app = typer.Typer(
    name="hilltop",
    cls=Doors,
    help="A wireless internet provider's back office in one box.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(asked: bool) -> None:
    if not asked:
        return
    from core.release import image, version

    found = image()
    say(f"hilltop {version()}" + (f" (image {found['name']} {found['version']})" if found else ""))
    raise typer.Exit


@app.callback()
def begin(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Settings file (else $HILLTOP_CONFIG, else /etc/hilltop/hilltop.toml)."
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="The version, and no more."),
    ] = False,
) -> None:
    """A wireless internet provider's back office in one box."""
    choose_config(config)
