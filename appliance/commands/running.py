"""How a command enters the house and leaves it: settings, errors in words, exit codes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import OperationalError, ProgrammingError

from appliance.settings import Settings, SettingsError, load_settings, settings_path
from appliance.wiring import House, open_house
from core.refusal import Refusal, Refused
from core.secrets import SealError, Secret

T = TypeVar("T")
console = Console(highlight=False, soft_wrap=True)
_chosen: dict[str, Path | None] = {"config": None}


def choose_config(path: Path | None) -> None:
    """Remember ``--config`` for the command that follows it."""
    _chosen["config"] = path


def config_path() -> Path:
    """The settings file of this invocation."""
    return settings_path(_chosen["config"])


def fail(message: str, code: int = 1) -> NoReturn:
    """Say why on standard error and leave."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def settings() -> Settings:
    """The checked settings, or exit 2 with each fault on a line."""
    try:
        return load_settings(config_path())
    except SettingsError as trouble:
        fail(str(trouble), 2)


def in_house(body: Callable[[House], Awaitable[T]]) -> T:
    """Run ``body`` in the opened house; refusals and operating errors end in one line and a non-zero exit."""
    from core.log import configure_logging

    chosen = settings()
    configure_logging("cli", "warning")

    async def visit() -> T:
        async with open_house(chosen) as house:
            return await body(house)

    try:
        return asyncio.run(visit())
    except Refused as refused:
        fail(f"refused: {refused.refusal}")
    except SealError as trouble:
        fail(f"{trouble}; is {chosen.sealing_key} the right key file?")
    except (OperationalError, ProgrammingError) as trouble:
        fail(f"the database does not answer as it should: {trouble.orig}; try: hilltop database migrate")


def outcome_or_fail(outcome: T | Refusal) -> T:
    """The outcome, or exit 1 with the refusal in words."""
    if isinstance(outcome, Refusal):
        fail(f"refused: {outcome}")
    return outcome


def actor() -> str:
    """Who acts at this terminal, for the audit trail."""
    import getpass

    return f"cli:{getpass.getuser()}"


def read_secret(label: str, file: Path | None) -> Secret:
    """A secret from ``file`` (``-``: standard input), else typed unseen; never from the command line."""
    if file is None:
        if not sys.stdin.isatty():
            fail(f"no {label}: give a file with it, or - to read it from standard input")
        return Secret(typer.prompt(label, hide_input=True, confirmation_prompt=True))
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as trouble:
        fail(f"the {label} cannot be read from {file}: {trouble}")
    if not text.strip():
        fail(f"the {label} in {file} is empty")
    return Secret(text.strip("\r\n"))


def show(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table on the terminal."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)
