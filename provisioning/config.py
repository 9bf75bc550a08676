"""Settings of the provisioning room, section ``[provisioning]``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from core.bounds import Count, Seconds


class ProvisioningSettings(BaseModel):
    """How enforcement behaves. Durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    poll_interval_s: Seconds = Field(default=1.0, description="pause between looks for due tasks")
    device_sessions: int = Field(default=4, ge=1, le=64, description="devices spoken to at the same time")

    # Blast radius: NEW suspensions only; restorations are never held back.
    new_suspensions_per_run: Count = 200
    new_suspensions_per_site_per_hour: Count = 50
    outage_recheck_s: Seconds = 60.0

    claim_lease_s: Seconds = Field(default=180.0, description="a worker silent for so long has crashed")
    backoff_first_s: Seconds = 2.0
    backoff_longest_s: Seconds = 900.0
    backoff_jitter: float = Field(default=0.2, ge=0, le=1, description="share of the pause that is random")
    breaker_failures: Count = Field(default=5, description="failures in a row that open the breaker")
    breaker_open_s: Seconds = 300.0
    settle_s: Seconds = Field(default=2.0, description="wait for the Stop after a Disconnect")

    connect_timeout_s: Seconds = 10.0
    login_timeout_s: Seconds = 15.0
    command_timeout_s: Seconds = 20.0

    drift_interval_s: Seconds = 3600.0
    observations_kept: Count = Field(default=50, description="per device")
    transcripts_kept: Count = Field(default=20, description="per task; for drift, per device")
    reply_kept_characters: int = Field(
        default=8000, ge=200, le=10_000_000, description="of each reply in a transcript"
    )
