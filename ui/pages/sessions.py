"""Sessions: who is online now, what was, and one session with its reports."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.close_cause import CAUSES
from aaa.domain.order_proof import OrderProof, SessionSince, proof_of
from aaa.domain.session_filter import SessionFilter, read_filter
from aaa.sessions import (
    Exchange,
    SessionDetail,
    SessionPage,
    SessionView,
    every_session,
    list_sessions,
    read_mark,
    session_detail,
)
from aaa.store.session_search import causes_known, online_count
from core.refusal import Refusal
from ui.permissions import Permission
from ui.ports import OrderSession
from ui.read import sessions as reading
from ui.read.subscriber import account_heading
from ui.web.csv_files import csv_stream
from ui.web.visit import Routes, Visit, missing

routes = Routes()

STATES = {"online": "Online now", "closed": "Closed", "": "All"}
_WATCHED = timedelta(minutes=10)
"""So long after an order the page looks for what it did."""
_DONE = {"disconnected": "disconnected", "moved": "moved", "nothing_live": "session_gone"}
_ASKED = ("who", "mac", "address", "nas", "tower", "why", "from", "until")


@dataclass(frozen=True, slots=True)
class _Asked:
    """The filters as typed."""

    texts: dict[str, str]
    state: str

    @property
    def query(self) -> dict[str, str]:
        """As the query of a link to the same list."""
        return {name: text for name, text in self.texts.items() if text} | {"state": self.state or "all"}


def _asked(visit: Visit) -> _Asked:
    state = visit.query("state", "online")
    return _Asked({name: visit.query(name) for name in _ASKED}, state if state in STATES else "")


async def _wanted(visit: Visit, connection: AsyncConnection, asked: _Asked) -> SessionFilter | Refusal:
    found = read_filter(asked.texts | {"state": asked.state}, visit.panel.settings.time_zone)
    if isinstance(found, Refusal):
        return found
    who, nas_id, tower = asked.texts["who"], asked.texts["nas"], asked.texts["tower"]
    return await reading.narrowed(connection, found, who=who, nas_id=nas_id, tower=tower)


@routes.get("/sessions", Permission.LOOK)
async def sessions(visit: Visit) -> web.StreamResponse:
    """Sessions newest first, narrowed as asked; online now unless asked otherwise."""
    return await _list(visit)


@routes.get("/sessions/rows", Permission.LOOK, keeps_awake=False)
async def session_rows(visit: Visit) -> web.StreamResponse:
    """The rows alone, for the list's own refresh."""
    return await _list(visit, "sessions_rows.html")


async def _list(visit: Visit, template: str = "sessions.html") -> web.StreamResponse:
    asked, refusal, page = _asked(visit), None, SessionPage([], None)
    names: dict[str, str] = {}
    async with visit.reading() as connection:
        wanted, after = await _wanted(visit, connection, asked), read_mark(visit.query("after"))
        for one in (wanted, after):
            refusal = refusal or (one if isinstance(one, Refusal) else None)
        if not isinstance(wanted, Refusal) and not isinstance(after, Refusal) and not visit.wants_csv:
            page = await list_sessions(connection, wanted, after=after)
            names = await reading.accounts_of(connection, page.rows)
        offered = await reading.choices(connection)
        online = await online_count(connection)
        causes = await causes_known(connection)
    if visit.wants_csv and not isinstance(wanted, Refusal):
        pages = every_session(visit.panel.workplace, wanted)
        return await csv_stream(visit.request, "sessions", SessionView, pages)
    query = urlencode(asked.query)
    links = {state: urlencode(asked.query | {"state": state or "all"}) for state in STATES}
    return visit.page(
        template, page=page, asked=asked.texts, state=asked.state, states=STATES, names=names,
        offered=offered, online=online, causes={one: CAUSES.get(one, one) for one in causes}, refusal=refusal,
        query=query, links=links, is_narrowed=any(asked.texts.values()), first_page=not visit.query("after"),
        next_page=f"/sessions?{query}&after={page.next_after}" if page.next_after else None,
        now=visit.panel.workplace.clock.now(), status=422 if refusal else 200,
    )  # fmt: skip


@routes.get("/sessions/{session_id}", Permission.LOOK)
async def session(visit: Visit) -> web.StreamResponse:
    """Everything that is known of one session."""
    return await session_page(visit)


async def session_page(visit: Visit, *, status: int = 200, fault: str = "") -> web.Response:
    """The page; ``fault`` is what an order to its NAS could not do."""
    async with visit.reading() as connection:
        detail = await session_detail(connection, visit.path("session_id"))
        if detail is None:
            raise missing()
        account_id = detail.session.account_id
        account = await account_heading(connection, account_id) if account_id else None
    now = visit.panel.workplace.clock.now()
    orders = _orders(detail)
    is_waiting = any(proof.state == "waiting" and now - one.at < _WATCHED for one, proof in orders)
    return visit.page(
        "session.html", detail=detail, session=detail.session, account=account, now=now, fault=fault,
        orders=orders, is_waiting=is_waiting, status=status,
    )  # fmt: skip


def _orders(detail: SessionDetail) -> list[tuple[Exchange, OrderProof]]:
    view = detail.session
    since = SessionSince(view.last_event_at, view.last_received_at, view.stopped_at, view.close_inferred)
    return [(one, proof_of(one.request, one.answer, one.at, since)) for one in detail.exchanges]


@routes.get("/sessions/{session_id}/orders", Permission.LOOK, keeps_awake=False)
async def orders(visit: Visit) -> web.StreamResponse:
    """The orders alone, for their own refresh."""
    async with visit.reading() as connection:
        detail = await session_detail(connection, visit.path("session_id"))
    if detail is None:
        raise missing()
    return visit.page("session_orders.html", orders=_orders(detail))


@routes.post("/sessions/{session_id}/disconnect", Permission.SUBSCRIBERS)
async def disconnect(visit: Visit) -> web.StreamResponse:
    """Order the NAS to end the session."""
    return await _order(visit, visit.panel.acts.disconnect_session)


@routes.post("/sessions/{session_id}/reapply", Permission.SUBSCRIBERS)
async def reapply(visit: Visit) -> web.StreamResponse:
    """Order the NAS to bring the session to its service's present terms."""
    return await _order(visit, visit.panel.acts.reapply_session)


async def _order(visit: Visit, order: OrderSession) -> web.StreamResponse:
    """Give the order; what came of it is on the session's page, also when it is not what was wanted."""
    session_id = visit.path("session_id")
    outcome = await order(visit.panel.workplace, session_id, f"operator:{visit.operator.name}")
    if isinstance(outcome, Refusal):
        return await session_page(visit, status=422, fault=outcome.message)
    if outcome.outcome in _DONE:
        return visit.see(f"/sessions/{session_id}", _DONE[outcome.outcome])
    return await session_page(visit, status=502, fault=outcome.detail)
