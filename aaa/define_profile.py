"""Define service profiles, the technical half of a plan, and change them."""

from __future__ import annotations

from typing import Any, Unpack

from aaa.domain import profile_terms as terms
from aaa.domain.profile_terms import MoreTerms, ProfileChanges
from aaa.facts import ProfileRedefined
from aaa.store import repositories
from core.refusal import Refusal
from core.work import Work

_ONLY_FOR_SIGN_INS = {
    "name", "stale_after_h", "stale_action", *terms.LONGEST, "vlan", "outer_vlan", "interim_interval_s",
    "session_timeout_s", "idle_timeout_s",
} - {"filter_id"}  # fmt: skip
"""What changes nothing of a session that is up: no NAS takes another pool or VLAN for it."""


async def define_profile(
    work: Work, *, name: str, rate_down_bps: int, rate_up_bps: int, **more: Unpack[MoreTerms]
) -> str | Refusal:
    """Define the technical half of a plan; returns the profile's id."""
    await repositories.take_directory_lane(work.connection)
    asked: dict[str, Any] = {"interim_interval_s": 300} | dict(more)
    asked |= {"name": name, "rate_down_bps": rate_down_bps, "rate_up_bps": rate_up_bps}
    checked = terms.check_fields(asked)
    if isinstance(checked, Refusal):
        return checked
    values = dict.fromkeys(terms.FIELDS) | checked
    refusal = terms.check_agreement(values) or await _check_name_free(work, str(values["name"]))
    if refusal is not None:
        return refusal
    profile_id = work.ids.new("prf")
    row = values | {"id": profile_id, "created_at": work.now}
    await repositories.insert_profile(work.connection, row)
    await repositories.append_directory_change(work.connection, "profile", profile_id, work.now)
    await work.audit("profile.define", profile_id, name=values["name"], down=rate_down_bps, up=rate_up_bps)
    return profile_id


async def redefine_profile(
    work: Work, profile_id: str, **changes: Unpack[ProfileChanges]
) -> list[str] | Refusal:
    """Give fields of a profile other values; returns the names of those that changed.

    New sign-ins get them within a second, and the live sessions of its services are moved: a fact asks for
    that, because there may be ten thousand.
    """
    await repositories.take_directory_lane(work.connection)
    row = await repositories.profile_row(work.connection, profile_id)
    if row is None:
        return Refusal(
            "profile.unknown", f"there is no profile {profile_id}; look it up by its name", "profile_id"
        )
    checked = terms.check_fields(changes)
    if isinstance(checked, Refusal):
        return checked
    stands = {field: getattr(row, field) for field in terms.FIELDS}
    new = {field: value for field, value in checked.items() if value != stands[field]}
    refusal = terms.check_agreement(stands | new)
    if refusal is None and "name" in new:
        refusal = await _check_name_free(work, new["name"])
    if refusal is not None:
        return refusal
    if new:
        await _write(work, profile_id, stands, new)
    return sorted(new)


async def _write(work: Work, profile_id: str, stands: dict[str, Any], new: dict[str, Any]) -> None:
    await repositories.update_profile(work.connection, profile_id, new)
    await repositories.append_directory_change(work.connection, "profile", profile_id, work.now)
    before = {field: stands[field] for field in new}
    await work.audit("profile.redefine", profile_id, before=before, after=new)
    if set(new) - _ONLY_FOR_SIGN_INS:
        await work.publish(ProfileRedefined(profile_id, "", f"the profile {stands['name']} was redefined"))


async def _check_name_free(work: Work, name: str) -> Refusal | None:
    if await repositories.profile_named(work.connection, name) is None:
        return None
    return Refusal("profile.name_taken", f"there is a profile {name}; choose another name", "name")
