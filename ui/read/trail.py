"""The audit trail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.store.tables import audit
from ui.read.rows import PAGE


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Who did what to whom."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


async def list_audit(
    connection: AsyncConnection, *, subject: str = "", before: int | None = None, limit: int = PAGE
) -> list[AuditRow]:
    """The trail, newest first; ``before`` is the number to go on after."""
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if subject:
        query = query.where(audit.c.subject == subject)
    if before is not None:
        query = query.where(audit.c.seq < before)
    return [
        AuditRow(row.seq, row.at, row.actor, row.action, row.subject, row.detail)
        for row in await connection.execute(query)
    ]
