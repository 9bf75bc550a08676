"""Structured logs on standard error: one event a line, coloured on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog


def configure_logging(role: str, level: str = "info", json: bool | None = None) -> None:
    """Set up logging for this process; ``role`` is on every line."""
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: Any = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=_on_standard_error,
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(role=role)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # its own errors reach us as exceptions
    logging.getLogger("asyncssh").setLevel(logging.ERROR)


def _on_standard_error(*_names: object) -> structlog.PrintLogger:
    """Standard error as it is now: whoever replaced it for a while may have closed what it was."""
    return structlog.PrintLogger(file=sys.stderr)


def logger(room: str) -> Any:
    """The logger of one room (package), to be called with an event name and key-values."""
    return structlog.get_logger(room=room)
