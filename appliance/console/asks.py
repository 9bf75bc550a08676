"""What only the system may do is asked for with a file; on the appliance somebody watches for it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from appliance.console.places import Places
from appliance.console.terminal import Terminal
from core.files import write_durably

_PATIENCE_S = 20.0
_LOOK_EVERY_S = 0.1
_ELSEWHERE = "This belongs to the appliance image; on this machine use its own tools."
_EARLIEST, _LATEST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class AskError(Exception):
    """What was asked for is not done, or not yet; the message says why and where to look."""


def ask_and_wait(places: Places, name: str, content: str = "") -> None:
    """Ask for one act and wait until the asking file is gone: the system has seen it. Raises ``AskError``."""
    folder = places.asks
    if folder is None:
        raise AskError(_ELSEWHERE)
    asked, failed = folder / name, folder / f"{name}.failed"
    try:
        failed.unlink(missing_ok=True)
        write_durably(asked, content.encode(), 0o640)
    except OSError as trouble:
        raise AskError(
            f"It cannot be asked for: {trouble.filename or asked}: {trouble.strerror}; do it as user hilltop"
        ) from None
    deadline = time.monotonic() + _PATIENCE_S
    while asked.exists():
        if time.monotonic() > deadline:
            raise AskError("Asked, but the system has not answered yet; look again in a minute.")
        time.sleep(_LOOK_EVERY_S)
    if failed.exists():  # the asking file became it
        raise AskError("The system could not do it; why stands in this machine's journal and on its screen.")


def restart(terminal: Terminal, places: Places) -> None:
    """Item 5."""
    _ask_for(terminal, places, "reboot", "Restart the machine. RADIUS is silent for a minute or two.")


def power_off(terminal: Terminal, places: Places) -> None:
    """Item 6."""
    told = "Power off. RADIUS answers nobody until somebody switches the machine on again."
    _ask_for(terminal, places, "power-off", told)


def _ask_for(terminal: Terminal, places: Places, name: str, told: str) -> None:
    if not _is_appliance(terminal, places):
        return
    terminal.say(told)
    if terminal.ask("Type yes to do it: ").lower() != "yes":
        terminal.say("Nothing was done.")
        return
    _send(terminal, places, name)


def factory_reset(terminal: Terminal, places: Places) -> None:
    """Item 7: the system marks the disk itself, so that a data partition that is lost can be wiped too."""
    if not _is_appliance(terminal, places):
        return
    for line in (
        "Factory reset. The data partition is wiped and the machine begins anew:",
        "  subscribers, plans, invoices, payments and the whole ledger are lost;",
        "  accounting that was answered and not yet read is lost;",
        "  operators, the sealing key, the panel's certificate and network settings are lost.",
        "Towers keep enforcing what they were told last. There is no way back without a backup.",
    ):
        terminal.say(line)
    if terminal.ask("Type erase everything to do it: ") != "erase everything":
        terminal.say("Nothing was done.")
        return
    _send(terminal, places, "factory-reset")


def set_time(terminal: Terminal, places: Places) -> None:
    """Item 3, the setting."""
    if not _is_appliance(terminal, places):
        return
    text = terminal.ask("The time now in UTC, like 2026-04-30 13:45 (Enter: leave it): ")
    if not text:
        return
    try:
        wanted = datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    except ValueError:
        terminal.say(f"Time: {text} is not a date and time; write it like 2026-04-30 13:45")
        return
    if not _EARLIEST <= wanted < _LATEST:
        terminal.say("Time: that is not a present time; look at year and month")
        return
    if _send(terminal, places, "set-time", str(int(wanted.timestamp()))):
        terminal.say(f"The clock says {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC.")


def _is_appliance(terminal: Terminal, places: Places) -> bool:
    if places.asks is None:
        terminal.say(_ELSEWHERE)
    return places.asks is not None


def _send(terminal: Terminal, places: Places, name: str, content: str = "") -> bool:
    try:
        ask_and_wait(places, name, content)
    except AskError as trouble:
        terminal.say(str(trouble))
        return False
    terminal.say("Done." if name == "set-time" else "The system has taken it over; it takes some seconds.")
    return True
