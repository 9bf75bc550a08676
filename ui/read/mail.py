"""Messages to subscribers, as the panel lists them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store import mail_rows, sms_rows


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message. ``what`` is its subject once it was sent, else the name of its template."""

    id: str
    created_at: datetime
    channel: str
    template: str
    what: str
    number: str
    account_id: str = field(metadata={"csv": False})
    account_number: str
    account_name: str
    to_address: str
    state: str
    attempts: int
    next_try_at: datetime | None
    reason: str
    ended_at: datetime | None


async def list_messages(
    connection: AsyncConnection, *, state: str = "", channel: str = "", account_id: str = "",
    before: str = "", limit: int = 50,
) -> list[MessageRow]:  # fmt: skip
    """Messages, newest first; ``before`` is the id to go on after."""
    rows = await mail_rows.list_messages(
        connection, state=state, channel=channel, account_id=account_id, before=before, limit=limit
    )
    return [
        MessageRow(
            row.id, row.created_at, row.channel, row.template, row.subject or row.template,
            str(row.params.get("number") or ""), row.account_id or "",
            row.account_number or "", row.account_name or "", row.to_address, row.state, row.attempts,
            row.next_try_at, row.reason or "", row.ended_at,
        )
        for row in rows
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class TextRow:
    """One text message. ``text`` is what the phone shows."""

    id: str
    created_at: datetime
    template: str
    account_id: str = field(metadata={"csv": False})
    account_number: str
    account_name: str
    to_number: str
    text: str
    state: str
    attempts: int
    next_try_at: datetime | None
    reason: str
    ended_at: datetime | None


async def list_texts(
    connection: AsyncConnection, *, state: str = "", account_id: str = "", before: str = "", limit: int = 50
) -> list[TextRow]:
    """Text messages, newest first; ``before`` is the id to go on after."""
    rows = await sms_rows.list_messages(
        connection, state=state, account_id=account_id, before=before, limit=limit
    )
    return [
        TextRow(
            row.id, row.created_at, row.template, row.account_id, row.account_number, row.account_name,
            row.to_number, row.text, row.state, row.attempts, row.next_try_at, row.reason or "", row.ended_at,
        )
        for row in rows
    ]  # fmt: skip
