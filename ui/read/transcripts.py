"""Sessions with devices, word for word."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import service
from provisioning.store.tables import device, site, transcript


@dataclass(frozen=True, slots=True)
class TranscriptView:
    """One session with a device, word for word, secrets removed before it was stored."""

    id: str
    device: str
    site_id: str | None
    site: str | None
    service_id: str | None
    account_id: str | None
    purpose: str
    outcome: str
    started_at: datetime
    duration_ms: int
    exchanges: list[dict[str, Any]]


async def transcript_view(connection: AsyncConnection, transcript_id: str) -> TranscriptView | None:
    """The transcript with that id."""
    query = (
        select(
            transcript, device.c.name.label("device_name"), device.c.site_id, site.c.name.label("site_name"),
            service.c.account_id,
        )
        .outerjoin(device, device.c.id == transcript.c.device_id)
        .outerjoin(site, site.c.id == device.c.site_id)
        .outerjoin(service, service.c.id == transcript.c.service_id)
        .where(transcript.c.id == transcript_id)
    )  # fmt: skip
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return TranscriptView(
        row.id, row.device_name or "", row.site_id, row.site_name, row.service_id,
        row.account_id, row.purpose, row.outcome, row.started_at, row.duration_ms, row.exchanges,
    )  # fmt: skip
