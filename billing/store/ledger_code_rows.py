"""The operator's own account codes in the database."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.tables import ledger_code


async def replace(
    connection: AsyncConnection, ledger_account: str, code: str, now: datetime, actor: str
) -> None:
    """The code of an account from now on; none when it is empty."""
    await connection.execute(delete(ledger_code).where(ledger_code.c.ledger_account == ledger_account))
    if code:
        values = {"ledger_account": ledger_account, "code": code, "changed_at": now, "changed_by": actor}
        await connection.execute(insert(ledger_code).values(values))
