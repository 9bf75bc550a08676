"""Structured logs on standard error: one event a line, readable on a terminal, JSON elsewhere.

Written out here because every process carries it: the libraries for it bring a terminal renderer along,
six megabytes of each role.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_COLOURS = {"debug": "36", "info": "32", "warning": "33", "error": "31"}


@dataclass(slots=True)
class _Setup:
    """How this process logs."""

    role: str | None = None
    threshold: int = logging.INFO


_setup = _Setup()


def configure_logging(role: str, level: str = "info") -> None:
    """Set up logging for this process; ``role`` is on every line."""
    _setup.role, _setup.threshold = role, logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # its own errors reach us as exceptions
    logging.getLogger("asyncssh").setLevel(logging.ERROR)


class Log:
    """The log of one room: an event's name, and what belongs to it as key-values."""

    def __init__(self, room: str) -> None:
        self._room = room

    def debug(self, event: str, **told: Any) -> None:
        """For whoever looks for a fault."""
        self._tell(logging.DEBUG, event, told)

    def info(self, event: str, **told: Any) -> None:
        """The ordinary course of things."""
        self._tell(logging.INFO, event, told)

    def warning(self, event: str, **told: Any) -> None:
        """It goes on, but not as it should."""
        self._tell(logging.WARNING, event, told)

    def error(self, event: str, **told: Any) -> None:
        """Something was not done. ``exc_info``: an exception, or True for the present one."""
        self._tell(logging.ERROR, event, told)

    def exception(self, event: str, **told: Any) -> None:
        """An error with the present exception's traceback."""
        self._tell(logging.ERROR, event, {"exc_info": True, **told})

    def _tell(self, level: int, event: str, told: dict[str, Any]) -> None:
        if level < _setup.threshold:
            return
        trouble = told.pop("exc_info", None)
        line: dict[str, Any] = {"room": self._room, **told}
        line["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line |= {"level": logging.getLevelName(level).lower(), "event": event}
        if _setup.role is not None:
            line["role"] = _setup.role
        if trouble:
            shown = trouble if isinstance(trouble, BaseException) else sys.exception()
            line["exception"] = "".join(traceback.format_exception(shown)).rstrip() if shown else "none"
        stream = sys.stderr  # as it is now: whoever replaced it for a while may have closed what it was
        shape = _for_people if stream.isatty() else _for_machines
        stream.write(shape(line) + "\n")
        stream.flush()


def _for_machines(line: dict[str, Any]) -> str:
    return json.dumps(line, default=repr)


def _for_people(line: dict[str, Any]) -> str:
    level, event, trouble = line.pop("level"), line.pop("event"), line.pop("exception", None)
    begin = f"{line.pop('timestamp')} \x1b[{_COLOURS[level]}m{level:7}\x1b[0m \x1b[1m"
    told = " ".join(f"{key}={value}" for key, value in line.items())
    return f"{begin}{event}\x1b[0m {told}" + (f"\n{trouble}" if trouble else "")


def logger(room: str) -> Log:
    """The logger of one room (package), to be called with an event name and key-values."""
    return Log(room)
