"""Whose sessions people mean, and what a list of sessions shows beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.identity import normalise_mac
from aaa.domain.session_filter import SessionFilter
from aaa.sessions import SessionView, list_sessions
from aaa.store.session_search import nas_ids_of_site
from aaa.store.tables import credential, nas, service
from billing.store.tables import account
from core.refusal import Refusal
from provisioning.store.tables import site
from ui.read.rows import contains

_MOST_SERVICES = 40


@dataclass(frozen=True, slots=True)
class Choices:
    """What the filters offer: NASes and towers, each as id and name."""

    nases: list[tuple[str, str]]
    towers: list[tuple[str, str]]


async def choices(connection: AsyncConnection) -> Choices:
    """Every NAS and tower."""
    nases = (await connection.execute(select(nas.c.id, nas.c.name).order_by(nas.c.name))).all()
    towers = (await connection.execute(select(site.c.id, site.c.name).order_by(site.c.name))).all()
    return Choices([(row.id, row.name) for row in nases], [(row.id, row.name) for row in towers])


async def narrowed(
    connection: AsyncConnection, wanted: SessionFilter, *, who: str = "", nas_id: str = "", tower: str = ""
) -> SessionFilter | Refusal:
    """``wanted`` for the subscriber (name, number, service, user name), NAS and tower that are named."""
    if who:
        found = await _services_meant(connection, who)
        if isinstance(found, Refusal):
            return found
        wanted = replace(wanted, service_ids=tuple(found), username=wanted.username or who)
    nas_ids = None
    if tower:
        nas_ids = await nas_ids_of_site(connection, tower)
    if nas_id:
        nas_ids = [nas_id] if nas_ids is None or nas_id in nas_ids else []
    return wanted if nas_ids is None else replace(wanted, nas_ids=tuple(nas_ids))


async def _services_meant(connection: AsyncConnection, who: str) -> list[str] | Refusal:
    login = select(credential.c.service_id).where(credential.c.username.in_([who, normalise_mac(who) or who]))
    exact = select(service.c.id).outerjoin(account, account.c.id == service.c.account_id)
    exact = exact.where(or_(service.c.id == who, service.c.account_id == who, account.c.number == who))
    found = set((await connection.execute(login.union(exact))).scalars())
    if found:
        return sorted(found)
    named = select(service.c.id).outerjoin(account, account.c.id == service.c.account_id)
    named = named.where(or_(contains(account.c.name, who), contains(service.c.label, who)))
    several = list((await connection.execute(named.limit(_MOST_SERVICES + 1))).scalars())
    if len(several) > _MOST_SERVICES:
        return Refusal(
            "who.many", f"more than {_MOST_SERVICES} services match {who!r}; write more of the name", "who"
        )
    return several


async def latest_of(connection: AsyncConnection, service_id: str, limit: int) -> list[SessionView]:
    """The sessions of a service: those online first, then the newest closed."""
    rows: list[SessionView] = []
    for state in ("online", "closed"):
        wanted = SessionFilter(state=state, service_ids=(service_id,))
        if len(rows) < limit:
            rows += (await list_sessions(connection, wanted, limit=limit - len(rows))).rows
    return rows


async def accounts_of(connection: AsyncConnection, views: Sequence[SessionView]) -> dict[str, str]:
    """The names of the accounts behind sessions, by account id."""
    ids = {view.account_id for view in views if view.account_id}
    query = select(account.c.id, account.c.name).where(account.c.id.in_(ids))
    return {row.id: row.name for row in await connection.execute(query)}
