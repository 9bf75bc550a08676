"""The AAA room's slice of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AaaSettings(BaseModel):
    """Limits of accounting and metering."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reap_after_intervals: int = Field(default=3, ge=2, le=1_000)
    """A session silent for so many interim intervals is closed by inference."""

    line_rate_bps: int = Field(default=10_000_000_000, ge=1_000_000, le=1_000_000_000_000_000)
    """No subscriber's line is faster; a meter that claims more is quarantined for the operator to see."""


DEFAULT_SETTINGS = AaaSettings()
