"""Octets and rates, with the words people read."""

from __future__ import annotations

GB = 10**9
GIB = 2**30


def format_octets(octets: int) -> str:
    """``1.50 GB``: decimal multiples, as plans are sold."""
    value = float(octets)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 1000 or unit == "TB":
            return f"{int(value)} B" if unit == "B" else f"{value:.2f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def format_rate(bps: int) -> str:
    """``25 Mbit/s``."""
    value = float(bps)
    for unit in ("bit/s", "kbit/s", "Mbit/s", "Gbit/s"):
        if value < 1000 or unit == "Gbit/s":
            return f"{value:g} {unit}"
        value /= 1000
    raise AssertionError("unreachable")
