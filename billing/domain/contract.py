"""A plan version's contract: how long the customer is bound, what ending early costs, how it goes on.

The fee for ending early is ``flat``, or ``remaining`` (a share of the price of the months left), or
``declining`` (the flat fee, less an equal part for each month served). After its term a contract renews for
so many months each time, or ends the subscription, or lets it run on from month to month.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from billing.domain.catalogue import PlanVersion
from billing.domain.items import PERIODIC
from billing.domain.phases import Phase
from core.periods import add_months

FEES = ("none", "flat", "remaining", "declining")
_MILLION = 1_000_000
_FIELDS = {
    "term_months", "fee", "fee_minor", "share_ppm", "renews_months", "tax_class", "ends", "notice_days",
}  # fmt: skip
_NOTICE_DAYS = 30


@dataclass(frozen=True, slots=True)
class Contract:
    """``term_months`` from its signing; then it renews by ``renews_months`` each time, or runs on if None.

    ``ends``: the subscription ends with the term instead. ``notice_days``: so long before the end of a term
    the customer is told; 0: never.
    """

    term_months: int
    fee: str = "none"
    fee_minor: int = 0
    share_ppm: int = _MILLION
    renews_months: int | None = None
    tax_class: str = "fee"
    ends: bool = False
    notice_days: int = _NOTICE_DAYS

    @property
    def after(self) -> str:
        """What follows its term: renews, ends or runs_on."""
        return "ends" if self.ends else "runs_on" if self.renews_months is None else "renews"

    def as_json(self) -> dict[str, Any]:
        """The form stored in ``plan_version.contract``."""
        return {
            "term_months": self.term_months, "fee": self.fee, "fee_minor": self.fee_minor,
            "share_ppm": self.share_ppm, "renews_months": self.renews_months, "tax_class": self.tax_class,
            "ends": self.ends, "notice_days": self.notice_days,
        }  # fmt: skip

    def binds_until(self, signed_on: date) -> date:
        """The first day after the first term."""
        return add_months(signed_on, self.term_months, signed_on.day)


@dataclass(frozen=True, slots=True)
class EarlyEnd:
    """What ending a contract early costs, and how that comes about."""

    amount_minor: int
    months_left: int
    explanation: dict[str, Any]


def parse_contract(described: Mapping[str, Any]) -> Contract:
    """Raises ``ValueError`` naming the field."""
    unknown = sorted(set(described) - _FIELDS)
    if unknown:
        raise ValueError(f"contract: {', '.join(unknown)} is no field of a contract")
    fee = described.get("fee", "none")
    if fee not in FEES:
        raise ValueError(f"contract: fee {fee!r} is not one of {', '.join(FEES)}")
    renews, ends = described.get("renews_months"), described.get("ends", False)
    if not isinstance(ends, bool):
        raise ValueError("contract: ends must be true or false")  # noqa: TRY004
    if ends and renews is not None:
        raise ValueError("contract: it either ends or renews_months; leave one out")
    return Contract(
        _number("term_months", described.get("term_months"), 1, 120),
        str(fee),
        _number("fee_minor", described.get("fee_minor", 0), 0, 10**12),
        _number("share_ppm", described.get("share_ppm", _MILLION), 0, _MILLION),
        None if renews is None else _number("renews_months", renews, 1, 120),
        str(described.get("tax_class", "fee")),
        ends,
        _number("notice_days", described.get("notice_days", _NOTICE_DAYS), 0, 366),
    )


def _number(field: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"contract: {field} must be a whole number from {least} to {most}")
    return value


def bound_until(contract: Contract, first_end: date, on: date) -> date | None:
    """The day up to which the customer is bound as of ``on``; None: he is free, the term is over."""
    if on < first_end:
        return first_end
    if contract.renews_months is None:
        return None
    months, end = 0, first_end
    while end <= on:
        months += contract.renews_months
        end = add_months(first_end, months, first_end.day)
    return end


def decide_early_end(
    contract: Contract, monthly_minor: int, bound: date | None, ends_on: date
) -> EarlyEnd | None:
    """The fee for ending on ``ends_on`` while bound up to ``bound``; None: nothing is owed.

    Started months count as months left.
    """
    if bound is None or ends_on >= bound or contract.fee == "none":
        return None
    left = 0
    while add_months(bound, -left, bound.day) > ends_on:
        left += 1
    if contract.fee == "flat":
        amount = contract.fee_minor
    elif contract.fee == "declining":
        amount = (2 * contract.fee_minor * min(left, contract.term_months) + contract.term_months) // (
            2 * contract.term_months
        )
    else:
        amount = (2 * monthly_minor * left * contract.share_ppm + _MILLION) // (2 * _MILLION)
    explanation = {
        **contract.as_json(), "bound_until": bound.isoformat(), "ends_on": ends_on.isoformat(),
        "months_left": left, "monthly_minor": monthly_minor, "amount_minor": amount,
    }  # fmt: skip
    return EarlyEnd(amount, left, explanation) if amount else None


@dataclass(frozen=True, slots=True)
class Signed:
    """A contract in force: with which plan version it was signed, when, and the end of its first term."""

    contract: Contract
    plan_version_id: str
    signed_on: date
    first_end: date

    def bound_on(self, day: date) -> date | None:
        """The day up to which the customer is bound as of ``day``; None: he is free."""
        return bound_until(self.contract, self.first_end, day)


def contract_in_force(
    phases: Iterable[Phase], versions: Mapping[str, PlanVersion], on: date
) -> Signed | None:
    """What the newest plan up to ``on`` signed. None: no contract, or none binds.

    Another plan with a contract signs a new term, which never ends before the one before it. One without
    does not free a customer who is bound: the older contract stays in force until its term is over. A newer
    version of the same plan signs nothing.
    """
    found: Signed | None = None
    code = ""
    for phase in phases:
        if phase.start > on:
            break
        version = versions[phase.plan_version_id]
        if version.code == code:
            continue
        code = version.code
        bound = None if found is None else found.bound_on(phase.start)
        if version.contract is not None:
            contract = parse_contract(version.contract)
            first_end = contract.binds_until(phase.start)
            if bound is not None:
                first_end = max(first_end, bound)
            found = Signed(contract, version.id, phase.start, first_end)
        elif bound is None:
            found = None
    return found


def early_end_of(
    phases: Iterable[Phase], versions: Mapping[str, PlanVersion], ends_on: date
) -> EarlyEnd | None:
    """What ending a subscription on ``ends_on`` (exclusive) costs; None: nothing.

    It is bound as of its last day: who ends on the day on which a term ends is not bound by the next one, and
    what never ran binds nobody. The price is that of the plan of the last day.
    """
    every = list(phases)
    last_day = ends_on - timedelta(days=1)
    signed = contract_in_force(every, versions, last_day)
    running = next((one for one in reversed(every) if one.start <= last_day), None)
    if signed is None or running is None:
        return None
    monthly = sum(
        item.price_minor for item in versions[running.plan_version_id].items
        if item.kind in PERIODIC and (item.cadence is None or item.cadence.months == 1)
    )  # fmt: skip
    bound = signed.bound_on(last_day)
    return decide_early_end(signed.contract, monthly * running.quantity, bound, ends_on)
