"""Text messages and who carries them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.rows import insert_if_absent
from billing.store.tables import account, sms_gateway, sms_message

ONLY = "default"


async def find_gateway(connection: AsyncConnection) -> Row[Any] | None:
    """The gateway in use."""
    return (await connection.execute(select(sms_gateway).where(sms_gateway.c.name == ONLY))).one_or_none()


async def replace_gateway(connection: AsyncConnection, values: dict[str, Any] | None) -> None:
    """Set the gateway, or (None) do without one."""
    await connection.execute(delete(sms_gateway).where(sms_gateway.c.name == ONLY))
    if values is not None:
        await connection.execute(insert(sms_gateway).values(name=ONLY, **values))


async def phone_of(connection: AsyncConnection, account_id: str) -> Any:
    """Phone and locale of the account; None for an unknown one."""
    query = select(account.c.phone, account.c.locale).where(account.c.id == account_id)
    return (await connection.execute(query)).one_or_none()


async def insert_message(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new message; False when its source was told of before."""
    return await insert_if_absent(connection, sms_message, values)


async def due_messages(connection: AsyncConnection, now: datetime, limit: int) -> list[Row[Any]]:
    """What is to be tried now, the oldest first."""
    query = (
        select(sms_message)
        .where(sms_message.c.state == "queued", sms_message.c.next_try_at <= now)
        .order_by(sms_message.c.next_try_at, sms_message.c.id)
        .limit(limit)
    )
    return list(await connection.execute(query))


async def claim(connection: AsyncConnection, message_id: str, now: datetime, until: datetime) -> bool:
    """Take a due message for this worker until an instant; False when another has it."""
    statement = (
        update(sms_message)
        .where(
            sms_message.c.id == message_id,
            sms_message.c.state == "queued",
            sms_message.c.next_try_at <= now,
        )
        .values(next_try_at=until, attempts=sms_message.c.attempts + 1)
    )
    return (await connection.execute(statement)).rowcount == 1


async def find_message(connection: AsyncConnection, message_id: str) -> Row[Any] | None:
    """The message with that id."""
    query = select(sms_message).where(sms_message.c.id == message_id)
    return (await connection.execute(query)).one_or_none()


async def change_message(
    connection: AsyncConnection, message_id: str, from_states: Sequence[str], **values: Any
) -> bool:
    """Write what became of a message that is in one of the states; False when it is in none."""
    statement = (
        update(sms_message)
        .where(sms_message.c.id == message_id, sms_message.c.state.in_(from_states))
        .values(values)
    )
    return (await connection.execute(statement)).rowcount == 1


async def list_messages(
    connection: AsyncConnection, *, state: str = "", account_id: str = "", before: str = "", limit: int = 50
) -> list[Row[Any]]:
    """Messages, newest first, with number and name of their accounts; ``before`` is the id to go on after."""
    query = (
        select(sms_message, account.c.number.label("account_number"), account.c.name.label("account_name"))
        .join(account, account.c.id == sms_message.c.account_id)
        .order_by(sms_message.c.id.desc())
        .limit(limit)
    )
    if state:
        query = query.where(sms_message.c.state == state)
    if account_id:
        query = query.where(sms_message.c.account_id == account_id)
    if before:
        query = query.where(sms_message.c.id < before)
    return list(await connection.execute(query))
