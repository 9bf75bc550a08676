"""A plan version as one JSON object, for files and programs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from billing.domain.catalogue import PlanVersion
from core.refusal import Refusal

FIELDS = (
    "code", "name", "kind", "currency", "items", "contract", "offered_from", "offered_until", "profile",
)  # fmt: skip


def offer_as_json(version: PlanVersion) -> dict[str, Any]:
    """All that ``read_offer`` takes; the service profile is the caller's to name."""
    return {
        "code": version.code, "name": version.name, "kind": version.kind, "currency": version.currency,
        "items": [item.as_json() for item in version.items],
        "contract": None if version.contract is None else dict(version.contract),
        "offered_from": _day(version.offered_from), "offered_until": _day(version.offered_until),
    }  # fmt: skip


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def read_offer(described: Mapping[str, Any]) -> dict[str, Any] | Refusal:
    """The arguments of ``define_offer`` but the profile, or the field that is wrong."""
    unknown = sorted(set(described) - set(FIELDS))
    if unknown:
        message = f"there is no such field; there are {', '.join(FIELDS)}"
        return Refusal("unknown_field", message, unknown[0][:60])
    for field in ("code", "name", "currency"):
        if not isinstance(described.get(field), str):
            return Refusal(f"{field}_missing", "is missing: give a text", field)
    items, contract = described.get("items"), described.get("contract")
    if not isinstance(items, list) or not all(isinstance(one, Mapping) for one in items):
        return Refusal("items_missing", "give a list of items, each an object", "items")
    if contract is not None and not isinstance(contract, Mapping):
        return Refusal("bad_contract", "a contract is an object, or null", "contract")
    days: dict[str, date | None] = {}
    for field in ("offered_from", "offered_until"):
        given = described.get(field)
        try:
            days[field] = None if given is None else date.fromisoformat(given)
        except (TypeError, ValueError):
            return Refusal("bad_day", f"{given!r} is not a date; write it like 2026-03-31", field)
    return {
        "code": described["code"], "name": described["name"], "currency": described["currency"].upper(),
        "kind": str(described.get("kind", "plan")), "items": items, "contract": contract, **days,
    }  # fmt: skip
