"""Instants as people write them: with their offset, or on the wall clock of a named zone."""

from __future__ import annotations

from datetime import UTC, datetime

from core.periods import zone

_EXAMPLE = "write it like 2026-03-10T14:05:00-06:00, or 2026-03-10 20:05Z"


def read_instant(text: str, zone_name: str | None = None) -> datetime:
    """The instant in UTC. Raises ``ValueError`` naming the remedy.

    A text without an offset is a time on the wall in ``zone_name``; without a zone it is refused, and so is a
    time that a change of the clocks skipped, or that came twice.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no time; {_EXAMPLE}") from None
    if not 1990 <= found.year <= 2200:
        raise ValueError(f"{text[:40]!r} is out of range: choose a year from 1990 to 2200")
    if found.tzinfo is not None:
        return found.astimezone(UTC)
    if zone_name is None:
        raise ValueError(f"{text[:40]!r} says no time zone; {_EXAMPLE}")
    return _on_the_wall(found, zone_name)


def _on_the_wall(found: datetime, zone_name: str) -> datetime:
    first = found.replace(tzinfo=zone(zone_name), fold=0)
    second = first.replace(fold=1)
    instant = first.astimezone(UTC)
    if instant.astimezone(first.tzinfo).replace(tzinfo=None) != found:
        raise ValueError(f"{found:%Y-%m-%d %H:%M} did not happen in {zone_name}: the clocks were put forward")
    if second.utcoffset() != first.utcoffset():
        offsets = " or ".join(f"{found.isoformat()}{one:%z}" for one in (first, second))
        raise ValueError(f"{found:%Y-%m-%d %H:%M} happened twice in {zone_name}; write {offsets}")
    return instant
