"""Codes that customers tried in vain, as the audit trail has them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.refusal import Refusal
from core.store.tables import audit
from core.work import Work

_REFUSED = "billing.promotion_refused"


async def refused_codes(connection: AsyncConnection, account_id: str, since: datetime) -> int:
    """How many codes were refused to the account since then."""
    query = select(func.count()).where(
        audit.c.subject == account_id, audit.c.action == _REFUSED, audit.c.at >= since
    )
    return int((await connection.execute(query)).scalar() or 0)


async def note_refused_code(work: Work, account_id: str, refusal: Refusal) -> None:
    """A code that was not taken; which one it was is nobody's business."""
    await work.audit(_REFUSED, account_id, code=refusal.code)
