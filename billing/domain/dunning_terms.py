"""A dunning policy's terms as JSON and back: what is stored, what the panel edits, what the API answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from typing import Any

from billing.domain.dunning_policy import (
    Approving,
    Cap,
    ClosedDays,
    CutHours,
    LateFee,
    Policy,
    RestoreBy,
    Restoring,
    Stage,
    ladder_as_json,
    notices_as_json,
    parse_ladder,
    parse_notices,
)
from core.currencies import check_currency

_LARGEST = 10**12
_DAYS_A_YEAR = 366
_PPM = 1_000_000
_KNOWN = (
    "ladder", "currency", "minimum_balance_minor", "skip_weekends", "weekdays", "closed_days", "skip_eves",
    "hours", "restoring", "cap", "approving", "late_fee", "reconnect_fee_minor", "fee_tax_class",
    "longest_promise_days", "broken_promises", "write_off_days", "on_restored", "on_promise_broken",
)  # fmt: skip


class BadTerms(ValueError):  # noqa: N818 - the words of a refusal
    """What is wrong with the terms; ``field`` names where."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


def terms_as_json(policy: Policy) -> dict[str, Any]:
    """Everything that was defined; not the resolved holidays."""
    return {
        "ladder": ladder_as_json(policy.ladder),
        "currency": policy.currency,
        "minimum_balance_minor": policy.minimum_balance_minor,
        "skip_weekends": policy.skip_weekends,
        "weekdays": {str(stage): sorted(days) for stage, days in policy.weekdays.items()},
        "closed_days": {
            "country": policy.closed.country, "subdivision": policy.closed.subdivision,
            "own": [day.isoformat() for day in policy.closed.own],
        },
        "skip_eves": policy.skip_eves,
        "hours": {
            "not_before": _hour_as_text(policy.hours.not_before),
            "not_after": _hour_as_text(policy.hours.not_after),
        },
        "restoring": {
            "by": str(policy.restoring.by), "percent": policy.restoring.percent,
            "respite_days": policy.restoring.respite_days,
        },
        "cap": None if policy.cap is None else {
            "accounts": policy.cap.accounts, "percent": policy.cap.percent
        },
        "approving": None if policy.approving is None else {
            "stages": sorted(policy.approving.stages, key=lambda stage: stage.rank),
            "days": policy.approving.days,
        },
        "late_fee": None if policy.late_fee is None else {
            name: getattr(policy.late_fee, name) for name in _FEE_FIELDS
        },
        "reconnect_fee_minor": policy.reconnect_fee_minor,
        "fee_tax_class": policy.fee_tax_class,
        "longest_promise_days": policy.longest_promise_days,
        "broken_promises": policy.broken_promises,
        "write_off_days": policy.write_off_days,
        "on_restored": notices_as_json(policy.on_restored),
        "on_promise_broken": notices_as_json(policy.on_promise_broken),
    }  # fmt: skip


_FEE_FIELDS = (
    "flat_minor", "percent_ppm", "minimum_minor", "maximum_minor", "grace_days", "monthly", "most_times"
)  # fmt: skip


def _hour_as_text(hour: time | None) -> str | None:
    return None if hour is None else f"{hour:%H:%M}"


def terms_from_json(described: Mapping[str, Any]) -> Policy:
    """The policy that the terms describe; what they leave out is as in ``Policy``.

    Raises ``BadTerms`` naming the field.
    """
    unknown = sorted(set(described) - set(_KNOWN))
    if unknown:
        raise BadTerms(unknown[0], f"there is no such term; there are {', '.join(_KNOWN)}")
    given = _Given(described)
    return Policy(
        ladder=given.read("ladder", _ladder, ()),
        minimum_balance_minor=given.whole("minimum_balance_minor", 0, _LARGEST, 0),
        skip_weekends=given.yes("skip_weekends", default=True),
        weekdays=given.read("weekdays", _weekdays, {}),
        closed=given.read("closed_days", _closed_days, ClosedDays()),
        skip_eves=given.yes("skip_eves", default=False),
        hours=given.read("hours", _hours, CutHours()),
        restoring=given.read("restoring", _restoring, Restoring()),
        cap=given.read("cap", _cap, None),
        approving=given.read("approving", _approving, None),
        late_fee=given.read("late_fee", _late_fee, None),
        reconnect_fee_minor=given.whole("reconnect_fee_minor", 0, _LARGEST, 0),
        fee_tax_class=given.read("fee_tax_class", _tax_class, "fee"),
        longest_promise_days=given.optional_whole("longest_promise_days", 1, _DAYS_A_YEAR),
        broken_promises=given.optional_whole("broken_promises", 1, 100),
        write_off_days=given.optional_whole("write_off_days", 1, 3_660),
        on_restored=given.read("on_restored", parse_notices, ()),
        on_promise_broken=given.read("on_promise_broken", parse_notices, ()),
        currency=given.read("currency", check_currency, None),
    )


class _Given:
    """The described terms, read one by one; a fault is raised under the name of its term."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self._described = described

    def read(self, name: str, parse: Callable[[Any], Any], default: Any) -> Any:
        value = self._described.get(name)
        if value is None:
            return default
        try:
            return parse(value)
        except BadTerms as trouble:
            raise BadTerms(name, f"{trouble.field}: {trouble}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as trouble:
            raise BadTerms(name, str(trouble) or "cannot be read") from None

    def whole(self, name: str, least: int, most: int, default: int) -> int:
        found = self.optional_whole(name, least, most)
        return default if found is None else found

    def optional_whole(self, name: str, least: int, most: int) -> int | None:
        value = self._described.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise BadTerms(name, f"must be a whole number from {least} to {most}")
        return value

    def yes(self, name: str, *, default: bool) -> bool:
        value = self._described.get(name, default)
        if not isinstance(value, bool):
            raise BadTerms(name, "must be true or false")
        return value


def _parts(described: Any, *names: str) -> _Given:
    if not isinstance(described, Mapping):
        raise TypeError(f"must be an object with {', '.join(names)}")
    unknown = sorted(set(described) - set(names))
    if unknown:
        raise ValueError(f"there is no {unknown[0]}; there are {', '.join(names)}")
    return _Given(described)


def _ladder(described: Any) -> Any:
    if not isinstance(described, Sequence) or len(described) > 20:
        raise ValueError("a ladder is a list of at most 20 rungs")
    return parse_ladder(described)


def _weekdays(described: Mapping[str, Any]) -> dict[Stage, frozenset[int]]:
    found = {}
    for stage, days in described.items():
        if stage not in list(Stage)[1:]:
            raise ValueError(f"{stage!r} is not reminded, restricted, suspended or ended")
        if not days or not all(
            isinstance(day, int) and not isinstance(day, bool) and 0 <= day <= 6 for day in days
        ):
            raise ValueError(f"{stage}: at least one weekday, 0 (Monday) to 6 (Sunday)")
        found[Stage(stage)] = frozenset(days)
    return found


def _closed_days(described: Any) -> ClosedDays:
    _parts(described, "country", "subdivision", "own")
    country, subdivision = described.get("country"), described.get("subdivision")
    if subdivision and not country:
        raise ValueError("a subdivision needs its country")
    return ClosedDays(
        country or None, subdivision or None,
        tuple(sorted({date.fromisoformat(day) for day in described.get("own") or ()})),
    )  # fmt: skip


def _hours(described: Any) -> CutHours:
    _parts(described, "not_before", "not_after")
    hours = CutHours(_hour(described.get("not_before")), _hour(described.get("not_after")))
    if hours.not_before is not None and hours.not_after is not None and hours.not_before >= hours.not_after:
        raise ValueError("not_before must be earlier than not_after")
    return hours


def _hour(text: str | None) -> time | None:
    if not text:
        return None
    try:
        hour = time.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an hour; write it like 09:00") from None
    return hour.replace(second=0, microsecond=0, tzinfo=None)


def _restoring(described: Any) -> Restoring:
    given = _parts(described, "by", "percent", "respite_days")
    by = described.get("by", RestoreBy.RUNG)
    if by not in list(RestoreBy):
        raise ValueError(f"{by!r} is not one of {', '.join(RestoreBy)}")
    return Restoring(
        RestoreBy(by), given.whole("percent", 1, 100, 100), given.whole("respite_days", 0, 90, 7)
    )


def _cap(described: Any) -> Cap | None:
    given = _parts(described, "accounts", "percent")
    cap = Cap(given.optional_whole("accounts", 1, 10**7), given.optional_whole("percent", 1, 100))
    return None if cap == Cap() else cap


def _approving(described: Any) -> Approving | None:
    given = _parts(described, "stages", "days")
    stages = described.get("stages") or ()
    for stage in stages:
        if stage not in list(Stage)[1:]:
            raise ValueError(f"{stage!r} is not reminded, restricted, suspended or ended")
    days = given.whole("days", 1, 90, 14)
    return Approving(frozenset(Stage(stage) for stage in stages), days) if stages else None


def _late_fee(described: Any) -> LateFee | None:
    given = _parts(described, *_FEE_FIELDS)
    fee = LateFee(
        given.whole("flat_minor", 0, _LARGEST, 0), given.whole("percent_ppm", 0, _PPM, 0),
        given.whole("minimum_minor", 0, _LARGEST, 0), given.optional_whole("maximum_minor", 1, _LARGEST),
        given.whole("grace_days", 0, _DAYS_A_YEAR, 0), given.yes("monthly", default=False),
        given.whole("most_times", 1, 120, 12),
    )  # fmt: skip
    if not (fee.flat_minor or fee.percent_ppm or fee.minimum_minor):
        raise ValueError("says no amount: give flat_minor, percent_ppm or minimum_minor")
    if fee.maximum_minor is not None and fee.maximum_minor < fee.minimum_minor:
        raise ValueError("maximum_minor is below minimum_minor")
    return fee


def _tax_class(text: Any) -> str:
    if not isinstance(text, str) or not text.strip() or len(text) > 40:
        raise ValueError("must be a tax class of 1 to 40 characters")
    return text.strip()
