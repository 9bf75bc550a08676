"""Equipment at a customer's place: a rental is owed while any of it is out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from billing.domain.phases import FOREVER
from core.periods import Period


def idle_spans(loans: Iterable[tuple[date, date | None]]) -> tuple[Period, ...]:
    """The days since the first loan on which nothing was out; loans are ``(lent on, returned on or None)``.

    The day of the return is idle, the day of the loan is not. Without a loan nothing is known of equipment,
    and no day is idle: a rental runs with its subscription.
    """
    spans = []
    back: date | None = None
    for lent_on, returned_on in sorted(loans, key=lambda one: one[0]):
        if back is not None and lent_on > back:
            spans.append(Period(back, lent_on))
        until = returned_on or FOREVER
        back = until if back is None else max(back, until)
    if back is not None and back < FOREVER:
        spans.append(Period(back, FOREVER))
    return tuple(spans)


def without(part: Period, spans: Sequence[Period]) -> list[Period]:
    """The days of ``part`` that lie in none of ``spans``, which are in order and apart."""
    left, start = [], part.start
    for span in spans:
        if span.start >= part.end:
            break
        if span.start > start:
            left.append(Period(start, span.start))
        start = max(start, span.end)
    if start < part.end:
        left.append(Period(start, part.end))
    return left
