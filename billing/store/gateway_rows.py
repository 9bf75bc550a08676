"""Payments through gateways in the database: access, methods, charges, pages, events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store.rows import insert_if_absent
from billing.store.schema.gateways import IN_FLIGHT
from billing.store.tables import (
    gateway,
    gateway_charge,
    gateway_charge_step,
    gateway_customer,
    gateway_event,
    hosted_page,
    payment_method,
    refund,
    refund_outcome,
)

_AT_ONCE = 500  # bounded number of parameters in one statement


async def accounts_with_payment_in_flight(
    connection: AsyncConnection, account_ids: Collection[str]
) -> set[str]:
    """Which of the accounts have a charge of which nobody knows yet whether money comes.

    That is one just begun, one whose answer got lost, and a bank debit that takes days. Dunning waits for it.
    """
    found: set[str] = set()
    wanted = list(dict.fromkeys(account_ids))
    for start in range(0, len(wanted), _AT_ONCE):
        query = (
            select(gateway_charge.c.account_id)
            .where(gateway_charge.c.state.in_(IN_FLIGHT))
            .where(gateway_charge.c.account_id.in_(wanted[start : start + _AT_ONCE]))
            .distinct()
        )
        found |= {row.account_id for row in await connection.execute(query)}
    return found


# Access.


async def all_gateways(connection: AsyncConnection) -> list[Row[Any]]:
    """Every gateway that was set up, by name."""
    return list(await connection.execute(select(gateway).order_by(gateway.c.name)))


async def find_gateway(connection: AsyncConnection, name: str) -> Row[Any] | None:
    """The gateway of that name."""
    return (await connection.execute(select(gateway).where(gateway.c.name == name))).one_or_none()


async def keep_gateway(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Write the access to a gateway, over what was there."""
    if not await insert_if_absent(connection, gateway, values):
        await connection.execute(update(gateway).where(gateway.c.name == values["name"]).values(values))


async def customer_of(connection: AsyncConnection, name: str, account_id: str) -> str | None:
    """What the gateway calls the account."""
    query = select(gateway_customer.c.reference).where(
        gateway_customer.c.gateway == name, gateway_customer.c.account_id == account_id
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def account_of_customer(connection: AsyncConnection, name: str, reference: str) -> str | None:
    """Whom the gateway means by that customer."""
    query = select(gateway_customer.c.account_id).where(
        gateway_customer.c.gateway == name, gateway_customer.c.reference == reference
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def insert_customer(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A customer at a gateway; False when the account has one."""
    return await insert_if_absent(connection, gateway_customer, values)


# Methods.


async def methods_of(
    connection: AsyncConnection, account_id: str, *, name: str | None = None, removed: bool = False
) -> list[Row[Any]]:
    """An account's cards and bank accounts, the default first; ``removed`` ones only when asked for."""
    query = (
        select(payment_method)
        .where(payment_method.c.account_id == account_id)
        .order_by(payment_method.c.is_default.desc(), payment_method.c.added_at.desc(), payment_method.c.id)
    )
    if name is not None:
        query = query.where(payment_method.c.gateway == name)
    if not removed:
        query = query.where(payment_method.c.removed_at.is_(None))
    return list(await connection.execute(query))


async def find_method(connection: AsyncConnection, method_id: str) -> Row[Any] | None:
    """The method with that id, removed or not."""
    query = select(payment_method).where(payment_method.c.id == method_id)
    return (await connection.execute(query)).one_or_none()


async def insert_method(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new method; False when its token is known."""
    return await insert_if_absent(connection, payment_method, values)


async def change_method(connection: AsyncConnection, method_id: str, values: dict[str, Any]) -> None:
    """What the gateway says of a card now, or that it is the default, or gone."""
    await connection.execute(update(payment_method).where(payment_method.c.id == method_id).values(values))


async def clear_default(connection: AsyncConnection, account_id: str) -> None:
    """No method of the account is the default."""
    await connection.execute(
        update(payment_method).where(payment_method.c.account_id == account_id).values(is_default=False)
    )


# Charges.


async def insert_charge(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new charge; False when what asked for it has asked before."""
    return await insert_if_absent(connection, gateway_charge, values)


async def insert_step(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """One more step of a charge."""
    await connection.execute(insert(gateway_charge_step).values(values))


async def find_charge(connection: AsyncConnection, charge_id: str) -> Row[Any] | None:
    """The charge with that id."""
    query = select(gateway_charge).where(gateway_charge.c.id == charge_id)
    return (await connection.execute(query)).one_or_none()


async def charge_with_source(connection: AsyncConnection, source_key: str) -> Row[Any] | None:
    """What was charged for that source."""
    query = select(gateway_charge).where(gateway_charge.c.source_key == source_key)
    return (await connection.execute(query)).one_or_none()


async def charge_of_payment(connection: AsyncConnection, payment_id: str) -> Row[Any] | None:
    """The charge that brought the payment."""
    query = select(gateway_charge).where(gateway_charge.c.payment_id == payment_id).limit(1)
    return (await connection.execute(query)).one_or_none()


async def refunds_due(connection: AsyncConnection) -> list[Row[Any]]:
    """Refunds by gateway without an outcome, oldest first."""
    query = (
        select(refund)
        .outerjoin(refund_outcome, refund_outcome.c.refund_id == refund.c.id)
        .where(refund.c.method == "gateway", refund_outcome.c.refund_id.is_(None))
        .order_by(refund.c.recorded_at, refund.c.id)
        .limit(_AT_ONCE)
    )
    return list(await connection.execute(query))


async def charge_told(
    connection: AsyncConnection, name: str, key: str | None, reference: str | None
) -> Row[Any] | None:
    """The charge that a gateway speaks of: by our key, else by its id of it."""
    ways = []
    if key:
        ways.append(gateway_charge.c.key == key)
    if reference:
        ways.append(gateway_charge.c.reference == reference)
    if not ways:
        return None
    query = select(gateway_charge).where(gateway_charge.c.gateway == name, or_(*ways)).limit(1)
    return (await connection.execute(query)).one_or_none()


async def claim_charge(connection: AsyncConnection, charge_id: str, at: datetime, look_at: datetime) -> bool:
    """Take a charge that was begun, to send it; False when somebody else has: it is sent once."""
    taken = await connection.execute(
        update(gateway_charge)
        .where(gateway_charge.c.id == charge_id, gateway_charge.c.state == "begun")
        .values(state="sent", state_at=at, look_at=look_at)
    )
    return bool(taken.rowcount)


async def put_back(
    connection: AsyncConnection, charge_id: str, at: datetime, again_at: datetime, said: str
) -> bool:
    """A charge that was sent and not taken waits for its next turn; False when more is known of it."""
    done = await connection.execute(
        update(gateway_charge)
        .where(gateway_charge.c.id == charge_id, gateway_charge.c.state == "sent")
        .values(state="begun", state_at=at, look_at=again_at, said=said)
    )
    return bool(done.rowcount)


async def change_charge(connection: AsyncConnection, charge_id: str, values: dict[str, Any]) -> None:
    """The newest step of a charge, on the charge itself."""
    await connection.execute(update(gateway_charge).where(gateway_charge.c.id == charge_id).values(values))


async def charges_due(connection: AsyncConnection, now: datetime, limit: int) -> list[Row[Any]]:
    """Charges to be sent or looked up by now, longest due first."""
    query = (
        select(gateway_charge)
        .where(gateway_charge.c.look_at <= now)
        .order_by(gateway_charge.c.look_at, gateway_charge.c.id)
        .limit(limit)
    )
    return list(await connection.execute(query))


async def charge_in_flight(connection: AsyncConnection, account_id: str) -> Row[Any] | None:
    """A charge of the account whose end is not known."""
    query = (
        select(gateway_charge)
        .where(gateway_charge.c.account_id == account_id, gateway_charge.c.state.in_(IN_FLIGHT))
        .order_by(gateway_charge.c.begun_at)
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none()


async def charges_of(connection: AsyncConnection, account_id: str, limit: int) -> list[Row[Any]]:
    """The account's charges, newest first."""
    query = (
        select(gateway_charge)
        .where(gateway_charge.c.account_id == account_id)
        .order_by(gateway_charge.c.begun_at.desc(), gateway_charge.c.id.desc())
        .limit(limit)
    )
    return list(await connection.execute(query))


async def steps_of(connection: AsyncConnection, charge_ids: Sequence[str]) -> dict[str, list[Row[Any]]]:
    """The steps of charges, in order."""
    found: dict[str, list[Row[Any]]] = {one: [] for one in charge_ids}
    query = (
        select(gateway_charge_step)
        .where(gateway_charge_step.c.charge_id.in_(charge_ids))
        .order_by(gateway_charge_step.c.seq)
    )
    for row in await connection.execute(query):
        found[row.charge_id].append(row)
    return found


# Pages.


async def insert_page(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A page that a customer is sent to."""
    await connection.execute(insert(hosted_page).values(values))


async def find_page(
    connection: AsyncConnection, *, page_id: str | None = None, key: str | None = None
) -> Row[Any] | None:
    """The page with that id, or with that key."""
    if page_id is not None:
        found = hosted_page.c.id == page_id
    elif key is not None:
        found = hosted_page.c.key == key
    else:
        return None
    return (await connection.execute(select(hosted_page).where(found))).one_or_none()


async def open_pages_of(connection: AsyncConnection, name: str, account_id: str) -> list[Row[Any]]:
    """Pages of the account that were not used yet."""
    query = select(hosted_page).where(
        hosted_page.c.gateway == name, hosted_page.c.account_id == account_id, hosted_page.c.state == "open"
    )
    return list(await connection.execute(query))


async def count_pages(
    connection: AsyncConnection, account_id: str, invoice_id: str | None, since: datetime
) -> int:
    """How many pages were opened for it lately."""
    same = (
        hosted_page.c.invoice_id.is_(None) if invoice_id is None else hosted_page.c.invoice_id == invoice_id
    )
    query = select(func.count()).where(
        hosted_page.c.account_id == account_id, same, hosted_page.c.opened_at >= since
    )
    return int((await connection.execute(query)).scalar_one())


async def change_page(connection: AsyncConnection, page_id: str, values: dict[str, Any]) -> None:
    """What became of a page."""
    await connection.execute(update(hosted_page).where(hosted_page.c.id == page_id).values(values))


async def pages_due(connection: AsyncConnection, now: datetime, limit: int) -> list[Row[Any]]:
    """Open pages to be looked after by now."""
    query = (
        select(hosted_page)
        .where(hosted_page.c.look_at <= now)
        .order_by(hosted_page.c.look_at, hosted_page.c.id)
        .limit(limit)
    )
    return list(await connection.execute(query))


# Events.


async def insert_event(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A webhook; False when it came before."""
    return await insert_if_absent(connection, gateway_event, values)


async def find_event(connection: AsyncConnection, name: str, event_id: str) -> Row[Any] | None:
    """The webhook with that id, held against other workers until this transaction ends."""
    query = select(gateway_event).where(gateway_event.c.gateway == name, gateway_event.c.event_id == event_id)
    return (await connection.execute(query.with_for_update())).one_or_none()


async def events_due(connection: AsyncConnection, now: datetime, limit: int) -> list[Row[Any]]:
    """Webhooks that wait, in the order they came."""
    query = (
        select(gateway_event).where(gateway_event.c.try_at <= now).order_by(gateway_event.c.seq).limit(limit)
    )
    return list(await connection.execute(query))


async def was_decided(connection: AsyncConnection, name: str, case: str) -> bool:
    """Whether the end of a dispute came before its beginning: webhooks keep no order."""
    query = select(gateway_event.c.content).where(
        gateway_event.c.gateway == name, gateway_event.c.kind == "charge.dispute.closed"
    )
    return any(row.content.get("case") == case for row in await connection.execute(query))


async def change_event(connection: AsyncConnection, seq: int, values: dict[str, Any]) -> None:
    """What became of a webhook."""
    await connection.execute(update(gateway_event).where(gateway_event.c.seq == seq).values(values))


async def latest_events(connection: AsyncConnection, limit: int) -> list[Row[Any]]:
    """Webhooks, newest first."""
    query = select(gateway_event).order_by(gateway_event.c.seq.desc()).limit(limit)
    return list(await connection.execute(query))
