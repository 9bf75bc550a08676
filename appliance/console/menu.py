"""The console's loop: the first screen, then whatever is chosen, then the first screen again.

The first screen is shown with the standard library alone; what needs the database is done by a ``hilltop``
command in another process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from appliance.console import asks, network, prompt
from appliance.console.places import Places, find_places
from appliance.console.screen import Status, View, view
from appliance.console.terminal import GoneBackError, HangUpError, Terminal

_LOOK_EVERY_S = 3.0
_ASK_EVERY_S = 30.0
_ASK_WAITING_S = 60.0  # while the one-time code may be used any moment
_ASK_SELDOM_S = 900.0
_STAYS_S = 60.0
_PAUSE_S = 1.0


def date_and_time(terminal: Terminal, places: Places) -> None:
    """Item 3."""
    terminal.say(f"Date and time: {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
    terminal.say()
    terminal.say(" 1 How the clock is trusted")
    terminal.say(" 2 Set the clock")
    terminal.say(" 3 The clock is right: trust it, so that billing may begin")
    choice = terminal.ask("Choice (Enter: leave it): ")
    if choice == "1":
        prompt.run_command(terminal, places.command("clock", "status"))
    elif choice == "2":
        asks.set_time(terminal, places)
    elif choice == "3":
        terminal.say(f"The clock says {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC.")
        if terminal.ask("Type yes if that is the time now: ").lower() == "yes":
            terminal.say("A moment ...")
            prompt.run_command(terminal, places.command("clock", "trust"), actor="console")


_ITEMS: dict[str, Callable[[Terminal, Places], None]] = {
    "1": network.set_network,
    "2": prompt.reset_password,
    "3": date_and_time,
    "4": prompt.commands,
    "5": asks.restart,
    "6": asks.power_off,
    "7": asks.factory_reset,
}


class Menu:
    """Never ends by what is typed; only when the line is gone."""

    def __init__(self, terminal: Terminal, places: Places) -> None:
        self._terminal, self._places = terminal, places
        self._status = Status(places)
        self._asked_at: float | None = None  # None: ask at once
        self._looked_at = 0.0
        self._shown: View | None = None

    def run(self) -> None:
        """Until the line hangs up."""
        while True:
            try:
                self._turn()
            except GoneBackError:
                self._terminal.say()
            except HangUpError:
                return
            except Exception as trouble:  # noqa: BLE001 - the console must go on
                sys.stderr.write(f"console: {type(trouble).__name__}: {trouble}\n")
                self._terminal.say(f"That did not work: {type(trouble).__name__}. It is in the log.")
                time.sleep(_PAUSE_S)

    def _turn(self) -> None:
        self._show(view(self._places, self._status.told))
        self._ask_status()
        choice = self._terminal.wait("Choice: ", _STAYS_S, self._changed)
        if choice is None:
            return
        item = _ITEMS.get(choice)
        if item is None:
            self._asked_at = None
            return
        self._terminal.clear()
        item(self._terminal, self._places)
        self._asked_at = None
        self._terminal.ask("Enter: back ")

    def _show(self, found: View) -> None:
        self._shown = found
        self._terminal.settle()
        self._terminal.clear()
        for line in found.lines:
            self._terminal.say(line)

    def _ask_status(self) -> None:
        """Often while something is starting, seldom when nobody looks: each time it is a whole process."""
        now = time.monotonic()
        if not (self._places.runtime / "ready").exists():
            return
        settled = self._shown is not None and self._shown.settled
        waits = (self._places.runtime / "admin-code").exists()
        pause = _ASK_EVERY_S if not settled else _ASK_WAITING_S if waits else _ASK_SELDOM_S
        if self._asked_at is None or now - self._asked_at >= pause:
            self._asked_at = now
            self._status.ask()

    def _changed(self) -> bool:
        """Whether the screen shows something else by now; a settled one is left alone."""
        if self._status.heard():
            return True
        now = time.monotonic()
        if self._shown is None or self._shown.settled or now - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = now
        self._ask_status()
        return view(self._places, self._status.told).lines != self._shown.lines


def console(words: Sequence[str]) -> int:
    """``hilltop console [--network-file FILE]``, with the words that follow the command."""
    config, network_file = None, None
    left = list(words)
    while left:
        match left:
            case ["--network-file", file, *left]:
                network_file = Path(file)
            case ["--config" | "-c", file, *left]:
                config = Path(file)
            case _:
                sys.stderr.write("usage: hilltop [--config FILE] console [--network-file FILE]\n")
                return 2
    if not os.isatty(0) or not os.isatty(1):
        sys.stderr.write("the console needs a terminal\n")
        return 2
    terminal = Terminal()
    terminal.begin()
    Menu(terminal, find_places(config, network_file)).run()
    return 0
