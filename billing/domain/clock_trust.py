"""Whether the wall clock may be billed by: small boxes have no battery clock and wake up in the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

BUILD_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""No instant before this can be the present: the code did not exist."""


def decide_clock_doubt(
    now: datetime, latest_record: datetime | None, tolerance_s: int, leap_days: int
) -> str | None:
    """Why the clock is not to be trusted, or None; ``latest_record`` is the newest instant believed."""
    if now < BUILD_EPOCH:
        return f"the clock says {now:%Y-%m-%d %H:%M} UTC, which is before this software was made"
    if latest_record is None:
        return None
    if now < latest_record - timedelta(seconds=tolerance_s):
        return (
            f"the clock says {now:%Y-%m-%d %H:%M} UTC, but something was already recorded "
            f"at {latest_record:%Y-%m-%d %H:%M} UTC"
        )
    if now > latest_record + timedelta(days=leap_days):
        return (
            f"the clock says {now:%Y-%m-%d %H:%M} UTC, more than {leap_days} days after it was last known "
            f"to be right ({latest_record:%Y-%m-%d %H:%M} UTC)"
        )
    return None
