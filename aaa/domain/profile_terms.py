"""What a service profile may say: every field with its bounds, and which of them must agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from aaa.domain import checks
from aaa.domain.profile import MIN_INTERIM_S, STALE_ACTIONS, WHEN_BLOCKED, WHEN_CROWDED
from core.refusal import Refusal

FASTEST_BPS: Final = 10**12
LONGEST_S: Final = 365 * 86_400
LONGEST_INTERIM_S: Final = 7 * 86_400
LAST_VLAN: Final = 4_094  # IEEE 802.1Q: 0 and 4095 are reserved

BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "rate_down_bps": (1, FASTEST_BPS),
    "rate_up_bps": (1, FASTEST_BPS),
    "burst_down_bps": (1, FASTEST_BPS),
    "burst_up_bps": (1, FASTEST_BPS),
    "burst_seconds": (1, 86_400),
    "interim_interval_s": (MIN_INTERIM_S, LONGEST_INTERIM_S),
    "session_timeout_s": (1, LONGEST_S),
    "idle_timeout_s": (1, LONGEST_S),
    "vlan": (1, LAST_VLAN),
    "outer_vlan": (1, LAST_VLAN),
    "priority": (1, 8),
    "min_down_bps": (1, FASTEST_BPS),
    "min_up_bps": (1, FASTEST_BPS),
    "throttle_down_bps": (1, FASTEST_BPS),
    "throttle_up_bps": (1, FASTEST_BPS),
    "walled_down_bps": (1, FASTEST_BPS),
    "walled_up_bps": (1, FASTEST_BPS),
    "stale_after_h": (1, 8_760),
    "devices": (1, 1_000),
}
"""Least and most of each number."""

LONGEST: Final[Mapping[str, int]] = {
    "pool": 80, "ipv6_pool": 80, "delegated_pool": 80, "filter_id": 128, "router_group": 80,
}  # fmt: skip
"""Characters of each name that the NAS knows."""

REQUIRED: Final = ("name", "rate_down_bps", "rate_up_bps", "interim_interval_s")
FIELDS: Final = ("name", *BOUNDS, *LONGEST, "when_blocked", "stale_action", "when_crowded")
"""Every field of a profile; the columns are called the same."""


class MoreTerms(TypedDict, total=False):
    """What a profile may say beside its name and rates; None: not set. Rates in bit/s."""

    burst_down_bps: int | None
    burst_up_bps: int | None
    burst_seconds: int | None
    pool: str | None
    interim_interval_s: int
    session_timeout_s: int | None
    idle_timeout_s: int | None
    ipv6_pool: str | None
    delegated_pool: str | None
    vlan: int | None
    outer_vlan: int | None
    filter_id: str | None
    router_group: str | None
    priority: int | None
    min_down_bps: int | None
    min_up_bps: int | None
    throttle_down_bps: int | None
    throttle_up_bps: int | None
    walled_down_bps: int | None
    walled_up_bps: int | None
    when_blocked: str | None
    stale_after_h: int | None
    stale_action: str | None
    devices: int | None
    when_crowded: str | None


class ProfileChanges(MoreTerms, total=False):
    """Fields of a profile that get another value."""

    name: str
    rate_down_bps: int
    rate_up_bps: int


def check_fields(given: Mapping[str, Any]) -> dict[str, Any] | Refusal:
    """The fields as they are stored, each within its bounds; the first that is not is refused."""
    values: dict[str, Any] = {}
    for field in given:
        if field not in FIELDS:
            return Refusal("profile.field", f"a profile has no {field}; it has {', '.join(FIELDS)}", field)
    for field in (one for one in FIELDS if one in given):
        value = _check(field, given[field])
        if isinstance(value, Refusal):
            return value
        values[field] = value
    return values


def _check(field: str, value: Any) -> Any:
    if value is None or (field in LONGEST and not value.strip()):
        return (
            Refusal(f"{field}.empty", f"the {field} is missing; give one", field)
            if field in REQUIRED
            else None
        )
    if field in BOUNDS:
        return _check_number(field, value)
    if field == "when_blocked":
        return checks.check_choice(value, field, WHEN_BLOCKED)
    if field == "stale_action":
        return checks.check_choice(value, field, STALE_ACTIONS)
    if field == "when_crowded":
        return checks.check_choice(value, field, WHEN_CROWDED)
    return checks.check_printable(value, field, LONGEST.get(field, 80))


def _check_number(field: str, value: int) -> int | Refusal:
    least, most = BOUNDS[field]
    if least <= value <= most:
        return value
    if field == "interim_interval_s" and value < least:
        return Refusal(
            "interim_interval_s.range",
            f"an interim update every {value} s is too often; RFC 2869 asks for at least {least}, "
            "300 is usual",
            field,
        )
    if value <= 0:
        return Refusal(f"{field}.range", f"the {field} is {value}; it must be more than 0", field)
    return Refusal(f"{field}.range", f"the {field} is {value}; it must be {least} to {most}", field)


def check_agreement(whole: Mapping[str, Any]) -> Refusal | None:
    """Refuses fields of a whole profile that contradict each other."""
    bursts = [whole["burst_down_bps"], whole["burst_up_bps"], whole["burst_seconds"]]
    if any(bursts) and not all(bursts):
        return Refusal(
            "burst.incomplete",
            "a burst needs both rates and its seconds; give all three or none",
            "burst_seconds",
        )
    if whole["outer_vlan"] is not None and whole["vlan"] is None:
        return Refusal("outer_vlan.alone", "an outer VLAN needs the inner one; give the vlan as well", "vlan")
    if (whole["stale_after_h"] is None) != (whole["stale_action"] is None):
        return Refusal(
            "stale.incomplete",
            "what is done without the database needs both the hours and the action; give both or none",
            "stale_action" if whole["stale_action"] is None else "stale_after_h",
        )
    for way in ("down", "up"):
        refusal = _check_way(whole, way)
        if refusal is not None:
            return refusal
    return None


def _check_way(whole: Mapping[str, Any], way: str) -> Refusal | None:
    rate, other = whole[f"rate_{way}_bps"], "up" if way == "down" else "down"
    burst, least = whole[f"burst_{way}_bps"], whole[f"min_{way}_bps"]
    if burst is not None and burst < rate:
        return Refusal(
            f"burst_{way}_bps.range", f"the burst rate {way} is below the rate {rate}; raise it",
            f"burst_{way}_bps",
        )  # fmt: skip
    if least is not None and least > rate:
        return Refusal(
            f"min_{way}_bps.range", f"the committed rate {way} is above the rate {rate}; lower it",
            f"min_{way}_bps",
        )  # fmt: skip
    for kind in ("min", "throttle", "walled"):
        if whole[f"{kind}_{way}_bps"] is None and whole[f"{kind}_{other}_bps"] is not None:
            return Refusal(
                f"{kind}_{way}_bps.empty",
                f"{kind}_{other}_bps needs {kind}_{way}_bps beside it; give both or none",
                f"{kind}_{way}_bps",
            )
    return None
