"""Have the running RADIUS role take up the settings as they are now, and wait until it has."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from appliance.settings import Settings
from radius.serving.status import RadiusStatus, read_statuses

_PATIENCE_S = 120.0
"""Beside the status interval: a large directory is loaded first."""
_TICK_S = 2 / os.sysconf("SC_CLK_TCK")
"""How exactly the kernel tells when a process began, and a little more."""


class ReloadError(Exception):
    """Why it was not reloaded; for the operator."""


def reload_radius(settings: Settings) -> int:
    """Returns how many processes answer with these settings. Raises ``ReloadError``."""
    before = read_statuses(settings.journal_directory)
    head = next((pid for one in before if (pid := _head_of(one)) is not None), None)
    if head is None:
        raise ReloadError("no radius role runs here; start it with: systemctl start hilltop-radius")
    asked_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        os.kill(head, signal.SIGHUP)
    except PermissionError:
        raise ReloadError("the radius role runs as another user; try again with sudo") from None
    deadline = time.monotonic() + _PATIENCE_S + settings.radius.status_interval_s
    while time.monotonic() < deadline:
        time.sleep(0.1)
        now = read_statuses(settings.journal_directory)
        new = [one for one in now if _head_of(one) == head and _began_s(one) >= asked_s - _TICK_S]
        old_serve = any(_head_of(one) == head for one in before)
        if len(new) == settings.radius.worker_count and not old_serve:
            return len(new)
    raise ReloadError(
        "it still answers with the settings it had; its log says why (journalctl -u hilltop-radius)"
    )


def _began_s(status: RadiusStatus) -> float:
    """When the process that wrote this status began, in seconds since the machine did; -inf if it is gone.

    One that was there before we asked, for another reload that was under way, has the settings of then.
    """
    try:
        return int(_told_by_kernel(status.pid)[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return float("-inf")


def _told_by_kernel(pid: int) -> list[str]:
    """/proc/PID/stat behind the name, from the state on (proc(5)). Raises ``OSError``."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _head_of(status: RadiusStatus) -> int | None:
    """The process that started the one that wrote this status, if both are alive and what they should be."""
    try:
        head = int(_told_by_kernel(status.pid)[1])
        command = Path(f"/proc/{head}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, IndexError):
        return None
    return head if command[-3:-1] == [b"role", b"radius"] else None
