"""Messages to subscribers, their templates, servers and dead addresses in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.rows import insert_if_absent
from billing.store.tables import (
    account,
    mail_dead_address,
    mail_message,
    mail_server,
    mail_template,
    payment,
)

# Servers


async def find_server(connection: AsyncConnection, brand: str) -> Row[Any] | None:
    """The server of a brand, else the house's."""
    query = (
        select(mail_server)
        .where(mail_server.c.brand.in_({brand, ""}))
        .order_by(mail_server.c.brand.desc())
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none()


async def own_server(connection: AsyncConnection, brand: str) -> Row[Any] | None:
    """The server of exactly this brand."""
    return (await connection.execute(select(mail_server).where(mail_server.c.brand == brand))).one_or_none()


async def replace_server(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Set the server of a brand."""
    await connection.execute(delete(mail_server).where(mail_server.c.brand == values["brand"]))
    await connection.execute(insert(mail_server).values(values))


async def remove_server(connection: AsyncConnection, brand: str) -> bool:
    """Take the server of a brand away."""
    return bool((await connection.execute(delete(mail_server).where(mail_server.c.brand == brand))).rowcount)


# Templates


async def find_template(connection: AsyncConnection, name: str, language: str) -> Row[Any] | None:
    """The operator's own words."""
    query = select(mail_template).where(mail_template.c.name == name, mail_template.c.language == language)
    return (await connection.execute(query)).one_or_none()


async def templates(connection: AsyncConnection) -> list[Row[Any]]:
    """All of the operator's own words."""
    query = select(mail_template).order_by(mail_template.c.name, mail_template.c.language)
    return list(await connection.execute(query))


async def replace_template(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Set the words for a name and language."""
    await remove_template(connection, values["name"], values["language"])
    await connection.execute(insert(mail_template).values(values))


async def remove_template(connection: AsyncConnection, name: str, language: str) -> bool:
    """Take the operator's words away; whether there were any."""
    statement = delete(mail_template).where(
        mail_template.c.name == name, mail_template.c.language == language
    )
    return bool((await connection.execute(statement)).rowcount)


# Messages


async def insert_message(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new message; False when its source was told of before."""
    return await insert_if_absent(connection, mail_message, values)


async def find_message(connection: AsyncConnection, message_id: str) -> Row[Any] | None:
    """The message with that id."""
    query = select(mail_message).where(mail_message.c.id == message_id)
    return (await connection.execute(query)).one_or_none()


async def due_messages(connection: AsyncConnection, now: datetime, limit: int) -> list[Row[Any]]:
    """Mail that is to be tried now, the oldest first."""
    query = (
        select(mail_message)
        .where(
            mail_message.c.state == "queued",
            mail_message.c.channel == "email",
            mail_message.c.next_try_at <= now,
        )
        .order_by(mail_message.c.next_try_at, mail_message.c.id)
        .limit(limit)
    )
    return list(await connection.execute(query))


async def claim(connection: AsyncConnection, message_id: str, now: datetime, until: datetime) -> bool:
    """Take a due message for this worker until an instant; False when another has it."""
    statement = (
        update(mail_message)
        .where(
            mail_message.c.id == message_id,
            mail_message.c.state == "queued",
            mail_message.c.next_try_at <= now,
        )
        .values(next_try_at=until, attempts=mail_message.c.attempts + 1)
    )
    return bool((await connection.execute(statement)).rowcount)


async def change_message(
    connection: AsyncConnection, message_id: str, from_states: Sequence[str], **values: Any
) -> bool:
    """Write what became of a message that is in one of the states; False when it is in none."""
    statement = (
        update(mail_message)
        .where(mail_message.c.id == message_id, mail_message.c.state.in_(from_states))
        .values(values)
    )
    return bool((await connection.execute(statement)).rowcount)


async def sent_since(connection: AsyncConnection, brand: str, since: datetime) -> int:
    """How many messages of a brand went out."""
    query = select(func.count()).where(
        mail_message.c.ended_at > since, mail_message.c.state == "sent", mail_message.c.brand == brand,
        mail_message.c.channel == "email",
    )  # fmt: skip
    return int((await connection.execute(query)).scalar_one())


async def cancel_older(
    connection: AsyncConnection, brand: str, before: datetime, now: datetime, why: str
) -> int:
    """Give up mail that waited since before an instant; how many that were."""
    statement = (
        update(mail_message)
        .where(
            mail_message.c.state == "queued", mail_message.c.channel == "email",
            mail_message.c.brand == brand, mail_message.c.created_at < before,
        )
        .values(state="cancelled", reason=why, ended_at=now, next_try_at=None)
    )  # fmt: skip
    return int((await connection.execute(statement)).rowcount)


async def wake(connection: AsyncConnection, brand: str, now: datetime) -> int:
    """Try waiting mail of a brand at once."""
    statement = (
        update(mail_message)
        .where(
            mail_message.c.state == "queued", mail_message.c.channel == "email", mail_message.c.brand == brand
        )
        .values(next_try_at=now, reason=None)
    )
    return int((await connection.execute(statement)).rowcount)


async def list_messages(
    connection: AsyncConnection, *, state: str = "", account_id: str = "", channel: str = "",
    before: str = "", limit: int = 50,
) -> list[Row[Any]]:  # fmt: skip
    """Messages, newest first, with number and name of their accounts; ``before`` is the id to go on after."""
    query = (
        select(mail_message, account.c.number.label("account_number"), account.c.name.label("account_name"))
        .outerjoin(account, account.c.id == mail_message.c.account_id)
        .order_by(mail_message.c.id.desc())
        .limit(limit)
    )
    if state:
        query = query.where(mail_message.c.state == state)
    if account_id:
        query = query.where(mail_message.c.account_id == account_id)
    if channel:
        query = query.where(mail_message.c.channel == channel)
    if before:
        query = query.where(mail_message.c.id < before)
    return list(await connection.execute(query))


async def counts(connection: AsyncConnection) -> dict[tuple[str, str], int]:
    """How many messages are in each channel and state."""
    query = select(mail_message.c.channel, mail_message.c.state, func.count()).group_by(
        mail_message.c.channel, mail_message.c.state
    )
    return {(row[0], row[1]): int(row[2]) for row in await connection.execute(query)}


async def letters(connection: AsyncConnection, limit: int) -> list[Row[Any]]:
    """Letters that wait to be printed, the oldest first."""
    query = (
        select(mail_message)
        .where(mail_message.c.state == "queued", mail_message.c.channel == "letter")
        .order_by(mail_message.c.id)
        .limit(limit)
    )
    return list(await connection.execute(query))


# Dead addresses


async def dead_address(connection: AsyncConnection, address: str) -> Row[Any] | None:
    """Why nothing is sent to an address; None when it is alive."""
    query = select(mail_dead_address).where(mail_dead_address.c.address == address.lower())
    return (await connection.execute(query)).one_or_none()


async def dead_addresses(connection: AsyncConnection, limit: int = 500) -> list[Row[Any]]:
    """Dead addresses, the latest first, with the account that has each."""
    query = (
        select(mail_dead_address, account.c.id.label("account_id"), account.c.number, account.c.name)
        .outerjoin(account, func.lower(account.c.email) == mail_dead_address.c.address)
        .order_by(mail_dead_address.c.since.desc())
        .limit(limit)
    )
    return list(await connection.execute(query))


async def insert_dead_address(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """Note a dead address; False when it is on record."""
    return await insert_if_absent(connection, mail_dead_address, values)


async def remove_dead_address(connection: AsyncConnection, address: str) -> bool:
    """Mail there again; whether it was on record."""
    statement = delete(mail_dead_address).where(mail_dead_address.c.address == address.lower())
    return bool((await connection.execute(statement)).rowcount)


# Whom to tell


async def reader(connection: AsyncConnection, account_id: str) -> Any:
    """How an account is told: address, way, language, brand; None for an unknown one."""
    query = select(
        account.c.id, account.c.number, account.c.name, account.c.email, account.c.delivery, account.c.locale,
        account.c.entity_id, account.c.currency,
    ).where(or_(account.c.id == account_id, account.c.number == account_id))  # fmt: skip
    return (await connection.execute(query)).one_or_none()


async def payment_told(connection: AsyncConnection, payment_id: str) -> Any:
    """What a receipt says of a payment; None for an unknown one."""
    columns = (payment.c.id, payment.c.account_id, payment.c.amount_minor, payment.c.currency)
    query = select(*columns, payment.c.received_on, payment.c.method).where(payment.c.id == payment_id)
    return (await connection.execute(query)).one_or_none()
