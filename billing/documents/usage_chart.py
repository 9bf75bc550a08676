"""Daily usage of the billed period as bars: geometry that Typst and SVG both draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from billing.documents.words import Words

_STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
_MOST_DAYS = 92
_WIDTH, _HEIGHT = 640.0, 110.0


@dataclass(frozen=True, slots=True)
class UsageOfDay:
    """What one service moved on one local day: ``octets_in`` from the subscriber, ``octets_out`` to him."""

    day: date
    octets_in: int
    octets_out: int


def usage_chart(title: str, days: Sequence[UsageOfDay], words: Words) -> dict[str, Any] | None:
    """The chart as shares of its height; None when nothing was used or there are too many days to draw."""
    most = max((one.octets_in + one.octets_out for one in days), default=0)
    if most == 0 or len(days) > _MOST_DAYS:
        return None
    top = _round_up(most)
    down, up = sum(one.octets_out for one in days), sum(one.octets_in for one in days)
    every = max(1, math.ceil(len(days) / 5))
    return {
        "title": title,
        "top": words.octets(top),
        "down_words": words.say("Download {octets}", octets=words.octets(down)),
        "up_words": words.say("Upload {octets}", octets=words.octets(up)),
        "days": [
            {
                "down": _share(one.octets_out, top), "up": _share(one.octets_in, top),
                "label": words.day_and_month(one.day) if number % every == 0 else "",
            }
            for number, one in enumerate(days)
        ],
    }  # fmt: skip


def _round_up(octets: int) -> int:
    """The next figure that looks round on an axis."""
    scale = 10 ** (len(str(octets)) - 1)
    return next(int(step * scale) for step in _STEPS if step * scale >= octets)


def _share(octets: int, top: int) -> float:
    return round(octets / top, 4)


def chart_svg(chart: dict[str, Any], accent: str) -> str:
    """The chart for a page; numbers and colours of our own, and labels without markup in them."""
    step = _WIDTH / len(chart["days"])
    wide = step * 0.7
    marks: list[str] = []
    for number, one in enumerate(chart["days"]):
        left = number * step + (step - wide) / 2
        down, up = one["down"] * _HEIGHT, one["up"] * _HEIGHT
        marks.append(_rect(left, _HEIGHT - down, wide, down, fill=accent))
        marks.append(_rect(left, _HEIGHT - down - up, wide, up, fill=accent, opacity="0.45"))
        if one["label"]:
            marks.append(f'<text x="{left:.1f}" y="{_HEIGHT + 15:.0f}">{_plain(one["label"])}</text>')
    return (
        f'<svg viewBox="0 -14 {_WIDTH:.0f} {_HEIGHT + 34:.0f}" class="invoice-bars" role="img"'
        f' font-size="11" fill="#66736f"><path d="M0 0H{_WIDTH:.0f}M0 {_HEIGHT / 2}H{_WIDTH:.0f}"'
        ' stroke="#e4eae8" stroke-width="1"/>'
        f'<path d="M0 {_HEIGHT}H{_WIDTH:.0f}" stroke="#9aa6a2" stroke-width="1"/>'
        f'<text x="0" y="-4">{_plain(chart["top"])}</text>{"".join(marks)}</svg>'
    )


def _rect(left: float, top: float, wide: float, high: float, *, fill: str, opacity: str = "1") -> str:
    if high < 0.05:
        return ""
    return (
        f'<rect x="{left:.1f}" y="{top:.2f}" width="{wide:.1f}" height="{high:.2f}" fill="{fill}"'
        f' opacity="{opacity}"/>'
    )


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
