"""Define service profiles: the technical half of a plan."""

from __future__ import annotations

from collections.abc import Mapping

from aaa.domain import checks
from aaa.store import repositories
from core.refusal import Refusal
from core.work import Work

MIN_INTERIM_S = 60  # RFC 2869 section 5.16


async def define_profile(
    work: Work,
    *,
    name: str,
    rate_down_bps: int,
    rate_up_bps: int,
    burst_down_bps: int | None = None,
    burst_up_bps: int | None = None,
    burst_seconds: int | None = None,
    pool: str | None = None,
    interim_interval_s: int = 300,
    session_timeout_s: int | None = None,
    idle_timeout_s: int | None = None,
) -> str | Refusal:
    """Define the technical half of a plan; returns the profile's id."""
    await repositories.take_directory_lane(work.connection)
    checked_name = checks.check_text(name, "name", 80)
    if isinstance(checked_name, Refusal):
        return checked_name
    values = {
        "rate_down_bps": rate_down_bps, "rate_up_bps": rate_up_bps, "burst_down_bps": burst_down_bps,
        "burst_up_bps": burst_up_bps, "burst_seconds": burst_seconds, "session_timeout_s": session_timeout_s,
        "idle_timeout_s": idle_timeout_s,
    }  # fmt: skip
    refusal = (
        checks.check_positive(values.items())
        or _check_profile(values, interim_interval_s)
        or await _check_name_free(work, checked_name)
    )
    if refusal is not None:
        return refusal
    profile_id = work.ids.new("prf")
    row = values | {
        "id": profile_id, "name": checked_name, "pool": pool, "interim_interval_s": interim_interval_s,
        "created_at": work.now,
    }  # fmt: skip
    await repositories.insert_profile(work.connection, row)
    await repositories.append_directory_change(work.connection, "profile", profile_id, work.now)
    await work.audit("profile.define", profile_id, name=checked_name, down=rate_down_bps, up=rate_up_bps)
    return profile_id


async def _check_name_free(work: Work, name: str) -> Refusal | None:
    if await repositories.profile_named(work.connection, name) is None:
        return None
    return Refusal("profile.name_taken", f"there is a profile {name}; choose another name", "name")


def _check_profile(values: Mapping[str, int | None], interim_interval_s: int) -> Refusal | None:
    if interim_interval_s < MIN_INTERIM_S:
        return Refusal(
            "interim_interval_s.range",
            f"an interim update every {interim_interval_s} s is too often; RFC 2869 asks for at least "
            f"{MIN_INTERIM_S}, 300 is usual",
            "interim_interval_s",
        )
    bursts = [values["burst_down_bps"], values["burst_up_bps"], values["burst_seconds"]]
    if any(bursts) and not all(bursts):
        return Refusal(
            "burst.incomplete",
            "a burst needs both rates and its seconds; give all three or none",
            "burst_seconds",
        )
    for way in ("down", "up"):
        burst, rate = values[f"burst_{way}_bps"], values[f"rate_{way}_bps"]
        if burst is not None and rate is not None and burst < rate:
            return Refusal(
                f"burst_{way}_bps.range", f"the burst rate {way} is below the rate {rate}; raise it",
                f"burst_{way}_bps",
            )  # fmt: skip
    return None
