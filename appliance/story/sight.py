"""What the story looks up in the appliance's database to see whether a step came true."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, func, select

from aaa.store import tables as aaa
from appliance.wiring import House
from billing.store import tables as billing
from provisioning.store import tables as provisioning


async def scalar(house: House, query: Any) -> Any:
    """The one value of a query."""
    async with house.workplace.reading() as connection:
        return await connection.scalar(query)


async def rows(house: House, query: Any) -> list[Row[Any]]:
    """All rows of a query."""
    async with house.workplace.reading() as connection:
        return list((await connection.execute(query)).all())


async def service_of(house: House, username: str) -> str:
    """The service that signs in with that name."""
    return str(
        await scalar(house, select(aaa.credential.c.service_id).where(aaa.credential.c.username == username))
    )


async def used(house: House, service_id: str) -> tuple[int, int]:
    """Octets recorded for the service so far: up, down."""
    record = aaa.usage_record
    found = await rows(
        house,
        select(
            func.coalesce(func.sum(record.c.octets_in), 0), func.coalesce(func.sum(record.c.octets_out), 0)
        ).where(record.c.service_id == service_id),
    )
    sums = list(found[0])
    return int(sums[0]), int(sums[1])


async def sessions(house: House, service_id: str) -> list[Row[Any]]:
    """Sessions of the service, oldest first."""
    return await rows(
        house,
        select(aaa.session).where(aaa.session.c.service_id == service_id).order_by(aaa.session.c.started_at),
    )


async def invoices(house: House, number: str) -> list[Row[Any]]:
    """Invoices of the account with that number, oldest first."""
    return await rows(
        house,
        select(billing.invoice)
        .join(billing.account, billing.account.c.id == billing.invoice.c.account_id)
        .where(billing.account.c.number == number)
        .order_by(billing.invoice.c.cycle_start),
    )


async def lines(house: House, invoice_id: str) -> list[Row[Any]]:
    """Lines of an invoice in order."""
    line = billing.invoice_line
    return await rows(house, select(line).where(line.c.invoice_id == invoice_id).order_by(line.c.position))


async def stage(house: House, number: str) -> str:
    """The account's dunning stage."""
    found = await scalar(
        house,
        select(billing.dunning_state.c.stage)
        .join(billing.account, billing.account.c.id == billing.dunning_state.c.account_id)
        .where(billing.account.c.number == number),
    )
    return str(found or "clear")


async def settled(house: House, service_id: str, effect: str) -> list[Row[Any]] | None:
    """The service's newest tasks, when the entitlement has that effect and all of them are verified."""
    entitlement = await rows(house, select(aaa.entitlement).where(aaa.entitlement.c.service_id == service_id))
    if not entitlement or entitlement[0].effect != effect:
        return None
    task = provisioning.task
    newest = await rows(
        house,
        select(task).where(task.c.service_id == service_id, task.c.generation == entitlement[0].generation),
    )
    return newest if newest and all(one.status == "verified" for one in newest) else None


async def transcripts(house: House, service_id: str) -> list[Row[Any]]:
    """What was said to devices about the service, oldest first."""
    table = provisioning.transcript
    return await rows(
        house, select(table).where(table.c.service_id == service_id).order_by(table.c.started_at, table.c.id)
    )
