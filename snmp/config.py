"""The SNMP collector's slice of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from core.bounds import Count, Seconds


class SnmpSettings(BaseModel):
    """Section ``[snmp]``. Seconds are real time: devices do not live on the lab's clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout_s: Seconds = 2.0
    """How long one request waits before it is sent again."""
    retries: int = Field(2, ge=0, le=10)
    poll_deadline_s: Seconds = 60.0
    """A poll that is not done by then has failed, whatever the device still sends."""
    bulk_repetitions: int = Field(10, ge=1, le=50)
    """Names asked for at once in a walk; a device that falls silent at it is asked one by one."""
    rows_per_request: int = Field(8, ge=1, le=30)
    """Interfaces read in one request; a device that cannot bear it is asked for one at a time."""
    pause_s: float = Field(0.02, ge=0, le=86_400)
    """Between two requests to one device: small radios fall over when they are hurried."""
    concurrent_targets: Count = 16
    concurrent_failing_targets: Count = 8
    """Targets that failed last time wait for places of their own, so that they never delay the others."""
    shortest_poll_interval_s: float = Field(5.0, ge=1, le=86_400)
    """Devices with 32-bit counters are polled as often as their lines demand, but not more often."""
    longest_backoff_s: float = Field(900.0, ge=1, le=86_400)
    issue_after_failures: Count = 3
    refresh_s: Seconds = 2.0
    """How soon a target that was added, changed or disabled is noticed."""
