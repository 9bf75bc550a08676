"""What a charge through a gateway is and becomes, and when automatic payment tries: values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum


class ChargeState(StrEnum):
    """How far a charge has come.

    begun: written down, nothing sent. sent: on its way. unknown: the answer got lost. in_flight: the gateway
    has it and does not know the end (a bank debit). succeeded: there is a payment. failed: declined.
    abandoned: it never reached the gateway. charged_back: the payment was taken back by bank or customer.
    """

    BEGUN = "begun"
    SENT = "sent"
    UNKNOWN = "unknown"
    IN_FLIGHT = "in_flight"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABANDONED = "abandoned"
    CHARGED_BACK = "charged_back"

    @property
    def is_over(self) -> bool:
        """True when only the bank can still change it."""
        return _RANK[self] >= _OVER


_OVER = 4
_RANK = {
    ChargeState.BEGUN: 0, ChargeState.SENT: 1, ChargeState.UNKNOWN: 2, ChargeState.IN_FLIGHT: 3,
    ChargeState.FAILED: 4, ChargeState.ABANDONED: 4, ChargeState.SUCCEEDED: 5, ChargeState.CHARGED_BACK: 6,
}  # fmt: skip


def advance(now: ChargeState, told: ChargeState) -> bool:
    """Whether what was told is news: states only go forward, so the order of tellings does not matter.

    A success comes through after a failure (the same charge was tried again), a failure never after a
    success: what takes money back comes by a way of its own.
    """
    return _RANK[told] > _RANK[now]


class DeclineKind(StrEnum):
    """soft: another day may go better. hard: this card or account will not pay, trying again only costs."""

    SOFT = "soft"
    HARD = "hard"


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a charge was declined: the gateway's own code and its meaning for people."""

    kind: DeclineKind
    code: str
    said: str


@dataclass(frozen=True, slots=True)
class ChargeAnswer:
    """What a gateway says of one charge. ``amount_minor``: None is the amount that was asked for."""

    state: ChargeState
    reference: str | None = None
    decline: Decline | None = None
    amount_minor: int | None = None


@dataclass(frozen=True, slots=True)
class AutopayDay:
    """When automatic payment first tries an invoice: so many days after its issue, or before it is due."""

    rule: str  # after_issue, before_due
    days: int

    def of(self, issued_on: date, due_on: date) -> date:
        """The day of the first try; never before the invoice was issued."""
        if self.rule == "after_issue":
            return issued_on + timedelta(days=self.days)
        return max(issued_on, due_on - timedelta(days=self.days))


@dataclass(frozen=True, slots=True)
class Try:
    """One earlier try of automatic payment for an invoice."""

    on: date
    state: ChargeState
    decline: DeclineKind | None


def next_try(first_on: date, tries: Sequence[Try], retry_days: Sequence[int]) -> date | None:
    """When automatic payment tries next; None: not by itself any more, or not while one is under way.

    ``retry_days`` count from the first try: 1, 3 and 5 days after it. A hard decline ends it. What never
    reached the gateway, or was charged back, is no try (``tries`` are in their order).
    """
    counted = [one for one in tries if one.state not in (ChargeState.ABANDONED, ChargeState.CHARGED_BACK)]
    if not counted:
        return first_on
    if any(one.state is not ChargeState.FAILED for one in counted):
        return None
    if counted[-1].decline is DeclineKind.HARD or len(counted) > len(retry_days):
        return None
    return counted[0].on + timedelta(days=retry_days[len(counted) - 1])


_FIRST_LOOK = timedelta(seconds=90)
_LONGEST_PAUSE = timedelta(hours=6)
NEVER_ARRIVED_AFTER = timedelta(minutes=15)
"""A charge that its gateway does not know so long after it was sent has not reached it and never will."""


def look_again_at(now: datetime, looks: int) -> datetime:
    """When a charge without an end is looked up again: in growing pauses, up to six hours."""
    return now + min(_FIRST_LOOK * (1 << min(looks, 20)), _LONGEST_PAUSE)
