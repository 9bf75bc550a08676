"""Entitlement: the fold of a service's holds and its lifecycle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aaa.domain.effect import Effect


class Holder(StrEnum):
    """Who may place a hold. Each owns its own and no other.

    ``quota`` is the profile's rules, ``cap`` what the plan includes: two keepers, so two holders.
    """

    DUNNING = "dunning"
    OPERATOR = "operator"
    QUOTA = "quota"
    CAP = "cap"
    SCHEDULE = "schedule"
    CONTRACT = "contract"
    ABUSE = "abuse"


@dataclass(frozen=True, slots=True)
class StandingHold:
    """One holder's reason against a service, not lifted yet."""

    holder: str
    effect: Effect
    reason: str


@dataclass(frozen=True, slots=True)
class Fold:
    """The strongest effect, and every reason that stands, strongest first."""

    effect: Effect
    because: list[dict[str, Any]]


def fold_entitlement(lifecycle: str, holds: Iterable[StandingHold]) -> Fold:
    """What a service may do: the strongest standing hold, unless its lifecycle already says no.

    An ended service is ``ended`` whatever is held; one still pending is blocked.
    """
    reasons = [_reason(hold.holder, hold.effect, hold.reason) for hold in holds]
    if lifecycle == "ended":
        reasons.append(_reason("lifecycle", Effect.ENDED, "the service has ended"))
    elif lifecycle == "pending":
        reasons.append(_reason("lifecycle", Effect.BLOCK, "the service has not started yet"))
    reasons.sort(key=lambda reason: (-Effect(reason["effect"]).rank, reason["holder"]))
    strongest = Effect(reasons[0]["effect"]) if reasons else Effect.NONE
    return Fold(strongest, reasons)


def _reason(holder: str, effect: Effect, text: str) -> dict[str, Any]:
    return {"holder": holder, "effect": effect.value, "reason": text}
