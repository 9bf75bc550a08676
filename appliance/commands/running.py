"""How a command enters the house and leaves it: settings, errors in words, exit codes.

0: done. 1: refused, or it did not work. 2: wrong usage or wrong settings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NoReturn, TypeVar

import typer

from appliance.whereabouts import settings_path
from core.refusal import Refusal, Refused, granted
from core.secrets import Secret

if TYPE_CHECKING:
    from appliance.settings import Settings
    from appliance.wiring import House
    from billing.invoicing.bill_run import RunProgress
    from core.work import Work

T = TypeVar("T")
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="How many.")]
_LARGEST_SECRET = 64 * 1024
_WIDTH_OF_FILES = 200  # a table in a file or pipe is not folded
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
    from appliance.settings import SettingsError, load_settings

    try:
        return load_settings(config_path())
    except SettingsError as trouble:
        fail(str(trouble), 2)


def in_house(body: Callable[[House], Awaitable[T]], *, first_time: bool = False) -> T:
    """Run ``body`` in the opened house; refusals and operating trouble end in one line and a non-zero exit.

    ``first_time`` allows the sealing key to be made.
    """
    import asyncio

    from appliance.wiring import open_house
    from core.log import configure_logging

    chosen = settings()
    configure_logging("cli", "warning")

    async def visit() -> T:
        async with open_house(chosen, may_make_key=first_time) as house:
            await _put_on_record(house)
            return await body(house)

    return in_words_or_fail(lambda: asyncio.run(visit()), chosen)


def in_transaction(act: Callable[[Work, House], Awaitable[T | Refusal]]) -> T:
    """What one use case does in one transaction, in the name of who sits here; a refusal ends the command."""

    async def body(house: House) -> T:
        async def once(work: Work) -> T:
            return granted(await act(work, house))

        return await house.workplace.carry_out(actor(), once)

    return in_house(body)


async def _put_on_record(house: House) -> None:
    """What an owner types at the appliance's console, which shows who may do it by its actor."""
    if (who := actor()).startswith("console:"):
        async with house.workplace.work(who) as work:
            await work.audit("console.command", "console", words=" ".join(sys.argv[1:])[:500])


def in_words_or_fail(act: Callable[[], T], chosen: Settings) -> T:
    """What ``act`` returns; refusals and operating trouble end in one line and a non-zero exit."""
    from appliance.settings import SettingsError
    from appliance.trouble import in_words

    try:
        return act()
    except Refused as refused:
        fail(f"refused: {refused.refusal}")
    except SettingsError as trouble:
        fail(f"{config_path()}: {trouble}", 2)
    except Exception as trouble:
        words = in_words(trouble, chosen)
        if words is None:
            raise
        fail(words)


def outcome_or_fail(outcome: T | Refusal) -> T:
    """The outcome, or exit 1 with the refusal in words."""
    if isinstance(outcome, Refusal):
        fail(f"refused: {outcome}")
    return outcome


def currency_or_house(code: str | None) -> str:
    """What an option says, else the house's currency."""
    return (code or settings().billing.currency).strip().upper()


def actor() -> str:
    """Who acts at this terminal, for the audit trail; the console tells whom it let in."""
    import getpass

    if told := os.environ.get("HILLTOP_ACTOR"):
        return told[:80]
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name
        return f"cli:{os.getuid()}"


def day(given: datetime | None, option: str) -> date | None:
    """The date of an option; dates that no bill can have are refused before anything reckons with them."""
    if given is None:
        return None
    if not 2000 <= given.year <= 2200:
        fail(f"{option} {given:%Y-%m-%d}: choose a day from 2000 to 2200", 2)
    return given.date()


def read_secret(label: str, file: Path | None, *, lines: bool = False, again: bool = True) -> Secret:
    """A secret from ``file`` (``-``: standard input), else typed unseen; never from the command line.

    ``lines`` allows more than one (keys); ``again`` has it typed twice.
    """
    if file is None:
        if not sys.stdin.isatty():
            fail(f"no {label}: give a file with it, or - to read it from standard input", 2)
        return Secret(typer.prompt(label, hide_input=True, confirmation_prompt=again))
    text = _secret_text(label, file, lines=lines).strip("\r\n")
    if not text.strip():
        fail(f"the {label} in {file} is empty", 2)
    if not lines and ("\n" in text or "\0" in text):
        fail(f"the {label} in {file} has more than one line; keep it in a file of its own", 2)
    return Secret(text)


def _typed_unseen(label: str, *, lines: bool) -> bytes:
    """Standard input that is a terminal: one line of it, or all up to ^D, without echo."""
    import termios

    terminal = sys.stdin.fileno()
    modes = termios.tcgetattr(terminal)
    quiet = [*modes[:3], modes[3] & ~termios.ECHO, *modes[4:]]
    termios.tcsetattr(terminal, termios.TCSAFLUSH, quiet)
    try:
        typer.echo(f"{label}{', then ^D' if lines else ''}: ", err=True, nl=False)
        source = sys.stdin.buffer
        return source.read(_LARGEST_SECRET + 1) if lines else source.readline(_LARGEST_SECRET + 1)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, modes)
        typer.echo("", err=True)


def _secret_text(label: str, file: Path, *, lines: bool) -> str:
    try:
        if str(file) == "-" and sys.stdin.isatty():
            octets = _typed_unseen(label, lines=lines)
        elif str(file) == "-":
            octets = sys.stdin.buffer.read(_LARGEST_SECRET + 1)
        else:
            with file.open("rb") as opened:
                octets = opened.read(_LARGEST_SECRET + 1)
        if len(octets) > _LARGEST_SECRET:
            fail(f"the {label} in {file} is over {_LARGEST_SECRET} octets; is it the right file?", 2)
        return octets.decode()
    except OSError as trouble:
        fail(f"the {label} cannot be read from {file}: {trouble.strerror}", 2)
    except UnicodeDecodeError:
        fail(f"the {label} in {file} is not UTF-8 text", 2)


def one_from_stdin(*files: Path | None) -> None:
    """Standard input holds one secret; refuse to look for a second one there."""
    if sum(str(file) == "-" for file in files) > 1:
        fail("only one secret can come from standard input (-); keep the others in files", 2)


def write_file(path: Path, content: bytes) -> None:
    """Write a document where the operator wants it (``-``: standard output), or exit 1 saying why not."""
    if str(path) == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        path.write_bytes(content)
    except OSError as trouble:
        fail(f"{path} cannot be written: {trouble.strerror}; choose another place with --output")
    say(f"wrote {path}")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A large file to be written bit by bit (``-``: standard output), or exit 1 saying why not."""
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    try:
        with path.open("wb") as file:
            yield file
    except OSError as trouble:
        fail(f"{path} cannot be written: {trouble.strerror}; choose another place with --output")


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal, nothing elsewhere; it is told how many are done."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def run_progress(what: str) -> Iterator[Callable[[RunProgress], None]]:
    """A bar for a bill run on the terminal, nothing elsewhere: accounts done, parked, left, and how fast."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("accounts{task.fields[told]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, told="")

        def watch(progress: RunProgress) -> None:
            met = progress.done + progress.parked
            speed = bar.tasks[0].speed
            told = f", {progress.parked} parked" if progress.parked else ""
            told += f", {speed:,.0f}/s" if speed else ""
            bar.update(task, total=progress.accounts, completed=met, told=told)

        yield watch


def say(text: str) -> None:
    """A line of the answer."""
    typer.echo(text)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], none: str = "none") -> None:
    """A table on the terminal, every cell as it is; ``none`` is said instead of an empty one."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        say(f"{title}: {none}")
        return
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH_OF_FILES
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    Console(highlight=False, width=width).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value)


def span(option: str, text: str) -> timedelta:
    """``30m``, ``24h`` or ``7d``."""
    units = {"m": "minutes", "h": "hours", "d": "days"}
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and len(number) < 6 and unit in units):
        fail(f"{option} {text!r}: write a span like 30m, 24h or 7d", 2)
    return timedelta(**{units[unit]: int(number)})
