"""The SNMP collector's slice of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SnmpSettings(BaseModel):
    """Section ``[snmp]``. Seconds are real time: devices do not live on the lab's clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout_s: float = Field(2.0, gt=0)
    retries: int = Field(1, ge=0)
    bulk_repetitions: int = Field(10, ge=1, le=50)
    """Rows asked for at once in a walk of names; a device that falls silent at it is asked row by row."""
    pause_s: float = Field(0.02, ge=0)
    """Between two requests to one device: small radios fall over when they are hurried."""
    concurrent_targets: int = Field(8, ge=1)
    narrow_poll_interval_s: int = Field(60, ge=10)
    """How often devices with only 32-bit counters are polled: at 343 s a counter turns over at 100 Mbit/s."""
    shortest_poll_interval_s: int = Field(15, ge=1)
    longest_backoff_s: int = Field(1800, ge=1)
    issue_after_failures: int = Field(3, ge=1)
    refresh_s: float = Field(5.0, gt=0)
    """How soon a target that was added or changed is noticed."""
