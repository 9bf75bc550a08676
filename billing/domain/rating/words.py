"""Quantities and rated usage in words, for holds, messages, the command line and screens. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.domain.rating.unit import Unit, parse_unit
from core.quantities import format_octets, format_rate


def quantity_text(quantity: int, unit: Unit) -> str:
    """``12.50 GB``, ``3.5 minutes``."""
    if unit.of == "octets":
        return format_octets(quantity)
    if unit.of == "bps":
        return format_rate(quantity)
    whole = f"{quantity / unit.size:.6g}"
    return f"{whole} {unit.name}" + ("" if whole == "1" else "s")


def unit_of(why: Mapping[str, Any]) -> Unit:
    """The unit of a stored explanation."""
    return parse_unit(why.get("unit", "GB"))


def steps_of(why: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The steps of a stored explanation; those of charges before there were other models are tiers."""
    return list(why.get("steps", why.get("tiers", ())))
