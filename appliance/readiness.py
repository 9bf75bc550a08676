"""Telling the service manager (or our own supervisor) that a role is ready: the sd_notify(3) protocol."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Send ``state`` (``READY=1``, ``WATCHDOG=1``) to ``$NOTIFY_SOCKET``; silent where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.connect(address)
        channel.sendall(state.encode())


def watchdog_period_s() -> float | None:
    """Half the watchdog time that the service manager asks for, or None."""
    microseconds = os.environ.get("WATCHDOG_USEC")
    return int(microseconds) / 2_000_000 if microseconds else None
