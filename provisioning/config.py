"""Settings of the provisioning room, section ``[provisioning]``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ProvisioningSettings(BaseModel):
    """How enforcement behaves. Durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    poll_interval_s: float = Field(
        default=1.0, gt=0, le=86_400, description="pause between looks for due tasks"
    )
    device_sessions: int = Field(default=4, ge=1, le=64, description="devices spoken to at the same time")

    # Blast radius: NEW suspensions only; restorations are never held back.
    new_suspensions_per_run: int = Field(default=200, ge=1, le=10_000_000)
    new_suspensions_per_site_per_hour: int = Field(default=50, ge=1, le=10_000_000)
    outage_recheck_s: float = Field(default=60.0, gt=0, le=86_400)

    claim_lease_s: float = Field(
        default=180.0, gt=0, le=86_400, description="a worker silent for so long has crashed"
    )
    backoff_first_s: float = Field(default=2.0, gt=0, le=86_400)
    backoff_longest_s: float = Field(default=900.0, gt=0, le=86_400)
    backoff_jitter: float = Field(default=0.2, ge=0, le=1, description="share of the pause that is random")
    breaker_failures: int = Field(
        default=5, ge=1, le=10_000_000, description="failures in a row that open the breaker"
    )
    breaker_open_s: float = Field(default=300.0, gt=0, le=86_400)
    settle_s: float = Field(default=2.0, gt=0, le=86_400, description="wait for the Stop after a Disconnect")

    connect_timeout_s: float = Field(default=10.0, gt=0, le=86_400)
    login_timeout_s: float = Field(default=15.0, gt=0, le=86_400)
    command_timeout_s: float = Field(default=20.0, gt=0, le=86_400)

    drift_interval_s: float = Field(default=3600.0, gt=0, le=86_400)
    observations_kept: int = Field(default=50, ge=1, le=10_000_000, description="per device")
    transcripts_kept: int = Field(
        default=20, ge=1, le=10_000_000, description="per task; for drift, per device"
    )
    reply_kept_characters: int = Field(
        default=8000, ge=200, le=10_000_000, description="of each reply in a transcript"
    )
