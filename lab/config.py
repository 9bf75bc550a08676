"""Settings of ``hilltop lab serve``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class LabSubscriber(BaseModel):
    """Somebody who dials in at the lab tower. ``password`` empty: one is made up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    username: str
    password: str = ""
    mac: str = "02:00:00:00:00:01"
    down_bps: int = Field(4_000_000, ge=0)
    up_bps: int = Field(400_000, ge=0)


class LabSettings(BaseModel):
    """Where the towers listen, and where their RADIUS server is.

    ``directory`` receives the generated secrets as files of mode 0600; None: a temporary one that is removed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    ssh_port: int = Field(2222, ge=0, le=65535)
    snmp_port: int = Field(1161, ge=0, le=65535)
    nas_address: str = "127.0.0.51"
    coa_port: int = Field(3799, ge=0, le=65535)
    radius_host: str = "127.0.0.1"
    auth_port: int = Field(1812, ge=1, le=65535)
    accounting_port: int = Field(1813, ge=1, le=65535)
    version: str = "7.16"
    linux_tower: bool = True
    redial_s: float = Field(10.0, gt=0)
    directory: Path | None = None
    subscribers: tuple[LabSubscriber, ...] = (
        LabSubscriber(username="alder", mac="02:00:00:00:0A:01"),
        LabSubscriber(username="birch", mac="02:00:00:00:0A:02", down_bps=20_000_000, up_bps=2_000_000),
    )
