"""The list of subscribers: search, filters, pages by account number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.effect import Effect
from aaa.store.tables import credential, entitlement, service, session
from billing.store.tables import account, dunning_state, invoice
from core.work import Workplace
from ui.read.rows import PAGE, contains

FILTERS = {
    "": "All", "online": "Online", "offline": "Offline", "none": "Active", "throttle": "Throttled",
    "walled_garden": "Walled garden", "block": "Blocked", "overdue": "Overdue",
}  # fmt: skip
_EXPORT_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class SubscriberRow:
    """One account in the list; ``effect`` is the strongest among its services."""

    id: str
    number: str
    name: str
    city: str
    services: int
    online: int
    effect: str
    stage: str
    open_minor: int
    overdue_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class SubscriberPage:
    """Rows and the number to go on after, if there are more."""

    rows: list[SubscriberRow]
    next_after: str | None


def _service_of_account() -> ColumnElement[bool]:
    return service.c.account_id == account.c.id


def _online() -> ColumnElement[bool]:
    open_session = and_(session.c.service_id == service.c.id, session.c.stopped_at.is_(None))
    return exists().where(_service_of_account(), exists().where(open_session))


def _matches(search: str) -> ColumnElement[bool]:
    of_credential = (
        select(service.c.account_id)
        .join(credential, credential.c.service_id == service.c.id)
        .where(or_(credential.c.username == search, contains(credential.c.username, search)))
    )
    of_address = (
        select(service.c.account_id)
        .join(session, session.c.service_id == service.c.id)
        .where(session.c.framed_ip == search, session.c.stopped_at.is_(None))
    )
    of_static = select(service.c.account_id).where(service.c.framed_ip == search)
    mac = "".join(character for character in search.lower() if character in "0123456789abcdef")
    of_mac = select(service.c.account_id).join(credential).where(credential.c.username == mac)
    return or_(
        contains(account.c.name, search),
        contains(account.c.number, search),
        contains(account.c.email, search),
        contains(account.c.phone, search),
        contains(account.c.city, search),
        account.c.id.in_(of_credential.union(of_address, of_static, *([of_mac] if len(mac) == 12 else []))),
    )


def _filtered(status: str, today: date) -> ColumnElement[bool] | None:
    if status == "online":
        return _online()
    if status == "offline":
        return and_(exists().where(_service_of_account(), service.c.lifecycle == "active"), ~_online())
    if status == "overdue":
        late = and_(invoice.c.status == "finalised", invoice.c.due_on < today, invoice.c.open_minor > 0)
        return account.c.id.in_(select(invoice.c.account_id).where(late))
    if status in FILTERS and status:
        with_effect = and_(entitlement.c.service_id == service.c.id, entitlement.c.effect == status)
        return exists().where(_service_of_account(), exists().where(with_effect))
    return None


async def list_subscribers(
    connection: AsyncConnection, *, search: str, status: str, today: date, after: str = "", limit: int = PAGE
) -> SubscriberPage:
    """One page of accounts in the order of their numbers, beginning after ``after``."""
    query = select(
        account.c.id, account.c.number, account.c.name, account.c.city, account.c.currency
    ).order_by(account.c.number)
    if search:
        query = query.where(_matches(search))
    wanted = _filtered(status, today)
    if wanted is not None:
        query = query.where(wanted)
    if after:
        query = query.where(account.c.number > after)
    found = (await connection.execute(query.limit(limit + 1))).all()
    shown = found[:limit]
    ids = [row.id for row in shown]
    access = await _access_of(connection, ids)
    owed = await _owed_by(connection, ids, today)
    stages = await _stages_of(connection, ids)
    rows = [
        SubscriberRow(
            row.id, row.number, row.name, row.city or "", *access.get(row.id, (0, 0, "none")),
            stages.get(row.id, "clear"), *owed.get(row.id, (0, 0)), row.currency,
        )
        for row in shown
    ]  # fmt: skip
    return SubscriberPage(rows, shown[-1].number if len(found) > limit else None)


async def every_subscriber(
    workplace: Workplace, *, search: str, status: str, today: date
) -> AsyncIterator[Sequence[SubscriberRow]]:
    """Page after page of the whole list, each from a short read, for exports of any size."""
    after: str | None = ""
    while after is not None:
        async with workplace.reading() as connection:
            page = await list_subscribers(
                connection, search=search, status=status, today=today, after=after, limit=_EXPORT_PAGE
            )
        yield page.rows
        after = page.next_after


async def _access_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, tuple[int, int, str]]:
    """For each account: services not ended, of them online, and the strongest effect."""
    online = exists().where(session.c.service_id == service.c.id, session.c.stopped_at.is_(None))
    query = (
        select(service.c.account_id, entitlement.c.effect, online.label("online"))
        .join(entitlement, entitlement.c.service_id == service.c.id)
        .where(service.c.account_id.in_(ids))
    )
    seen: dict[str, tuple[int, int, str]] = {}
    for row in await connection.execute(query):
        count, connected, strongest = seen.get(row.account_id, (0, 0, ""))
        living = row.effect != Effect.ENDED
        stronger = _stronger(strongest, row.effect) if living else strongest
        seen[row.account_id] = (count + living, connected + bool(row.online and living), stronger)
    return {identity: (count, up, effect or "ended") for identity, (count, up, effect) in seen.items()}


def _stronger(one: str, other: str) -> str:
    return other if not one or Effect(other).rank > Effect(one).rank else one


async def _owed_by(
    connection: AsyncConnection, ids: Sequence[str], today: date
) -> dict[str, tuple[int, int]]:
    late = func.sum(invoice.c.open_minor).filter(invoice.c.due_on < today)
    query = (
        select(invoice.c.account_id, func.sum(invoice.c.open_minor), func.coalesce(late, 0))
        .where(
            invoice.c.account_id.in_(ids), invoice.c.open_minor > 0
        )  # no status: its index misleads SQLite
        .group_by(invoice.c.account_id)
    )
    return {row[0]: (int(row[1] or 0), int(row[2])) for row in await connection.execute(query)}


async def _stages_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, str]:
    query = select(dunning_state.c.account_id, dunning_state.c.stage).where(
        dunning_state.c.account_id.in_(ids)
    )
    return {row.account_id: row.stage for row in await connection.execute(query)}
