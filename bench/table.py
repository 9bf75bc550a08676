"""Rows of measurements, and how they are shown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. ``less_is_better`` turns the ratio round, so that more is always better for us."""

    name: str
    ours: float
    theirs: float
    unit: str
    note: str
    less_is_better: bool = False

    @property
    def ratio(self) -> float:
        """How many times better ours is; 0 when one side has no figure."""
        better, worse = (self.theirs, self.ours) if self.less_is_better else (self.ours, self.theirs)
        return better / worse if worse else 0.0

    def as_json(self) -> str:
        """The row as one line of JSON."""
        return json.dumps(
            {
                "name": self.name,
                "ours": round(self.ours, 3),
                "theirs": round(self.theirs, 3),
                "ratio": round(self.ratio, 3),
                "unit": self.unit,
                "note": self.note,
            }
        )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def as_text(rows: Sequence[Row], ours: str, theirs: str) -> str:
    """A table for people, with the notes below it."""
    heads = ("row", ours, theirs, "ratio", "unit")
    cells = [(row.name, _figure(row.ours), _figure(row.theirs), f"{row.ratio:.2f}", row.unit) for row in rows]
    widths = [max(len(line[column]) for line in (heads, *cells)) for column in range(len(heads))]

    def line(values: Sequence[str]) -> str:
        first, *numbers, unit = values
        middle = (value.rjust(width) for value, width in zip(numbers, widths[1:-1], strict=True))
        return "  ".join((first.ljust(widths[0]), *middle, unit)).rstrip()

    lines = [line(heads), "  ".join("-" * width for width in widths), *(line(values) for values in cells), ""]
    for row in rows:
        lines += textwrap.wrap(f"{row.name}: {row.note}", 110, subsequent_indent="    ")
    return "\n".join(lines)
