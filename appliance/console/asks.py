"""What only the system may do is asked for with a file; on the appliance somebody watches for it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from appliance.console.places import Places
from appliance.console.terminal import Terminal
from core.files import make_folder, write_durably

_PATIENCE_S = 20.0
_ELSEWHERE = "This belongs to the appliance image; on this machine use its own tools."
_EARLIEST, _LATEST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def ask_system(places: Places, name: str, content: str = "") -> None:
    """Ask for one act. Raises ``OSError``."""
    folder = places.asks
    if folder is None:
        raise FileNotFoundError(2, _ELSEWHERE)
    write_durably(folder / name, content.encode(), 0o640)


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
    """Item 7: the mark is on the disk before the restart is asked for."""
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
    try:
        make_folder(places.state / "machine")
        write_durably(places.state / "machine" / "factory-reset", b"", 0o640)
    except OSError as trouble:
        terminal.say(f"{trouble.filename}: {trouble.strerror}; nothing was done.")
        return
    _send(terminal, places, "reboot")


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
    """Ask and wait until the asking file is gone: the system has seen it."""
    try:
        ask_system(places, name, content)
    except OSError as trouble:
        terminal.say(f"It cannot be asked for: {trouble.filename or ''} {trouble.strerror}")
        return False
    deadline = time.monotonic() + _PATIENCE_S
    while places.asks is not None and (places.asks / name).exists():
        if time.monotonic() > deadline:
            terminal.say("Asked, but the system has not answered yet; look again in a minute.")
            return False
        time.sleep(0.2)
    terminal.say("Done." if name == "set-time" else "The system has taken it over; it takes some seconds.")
    return True
