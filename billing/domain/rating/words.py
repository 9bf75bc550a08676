"""Quantities in words, for holds and invoices. Pure."""

from __future__ import annotations

from billing.domain.rating.unit import Unit
from core.quantities import format_octets, format_rate


def quantity_text(quantity: int, unit: Unit) -> str:
    """``12.50 GB``, ``3.5 minutes``."""
    if unit.of == "octets":
        return format_octets(quantity)
    if unit.of == "bps":
        return format_rate(quantity)
    whole = f"{quantity / unit.size:.6g}"
    return f"{whole} {unit.name}" + ("" if whole == "1" else "s")
