"""What programs may ask: why a sign-in is answered so, sessions, addresses, NASes, rejects, services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, Table, or_, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.checks import DIALECTS
from aaa.domain.effect import Effect
from aaa.domain.order_proof import OrderProof, SessionSince, proof_of
from aaa.domain.session_filter import SessionFilter, read_filter
from aaa.find_holder import LONGEST_TOLERANCE_S, HolderQuestion
from aaa.list_pools import LeaseLine, PoolLine, leases_of_pool, list_pools
from aaa.live_scope import LiveScope, Reapplied
from aaa.sessions import AddressSpan, Exchange, Reading, SessionDetail, SessionView, list_sessions, read_mark
from aaa.sessions import session_detail as read_detail
from aaa.store.tables import ip_pool, service_profile
from aaa.store.tables import nas as nas_table
from core.refusal import Refusal, Refused, granted
from provisioning.store.tables import site
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.ports import (
    OrderOutcome,
    OrderSession,
    ReapplyQuestion,
    ReplyPreview,
    ReplyQuestion,
    SignInQuestion,
)
from ui.read import network, services
from ui.read.address_report import address_report, report_data
from ui.read.profiles import ProfileView, profile_views
from ui.read.sessions import latest_of, narrowed

operations = Operations()
_LIMIT = Parameter("limit", "How many at most.", Kind.COUNT, default=50, at_least=1)
_SESSION = Parameter("session_id", "The session's id (ses_…).", in_path=True, required=True)
_NAS = Parameter("nas", "Name or id of a NAS.")
_SESSION_SHAPE = shapes.of(SessionView)
_OUTCOME = shapes.record(outcome=shapes.TEXT, detail=shapes.TEXT)


@operations.get(
    "/explain", "Why a user name or MAC is accepted, walled or rejected now, and with which attributes.",
    shapes.ANYTHING,
    Parameter("user", "The user name or MAC that signs in.", required=True), _NAS,
    Parameter("cpe", "MAC of the CPE it comes from; else one it may come from."),
    Parameter("port", "NAS-Port-Id it comes in at; else one it may come in at."),
)  # fmt: skip
async def explain(ask: Ask) -> Answer:
    """The decision that RADIUS would take."""
    async with ask.panel.workplace.reading() as connection:
        nas = await _named(connection, nas_table, ask.text("nas"), "nas")
        name = nas.name if nas else None
        now = ask.panel.workplace.clock.now()
        cpe, port = ask.text("cpe") or None, ask.text("port") or None
        asked = SignInQuestion(ask.text("user"), now, name, cpe, port)
        return granted(await ask.panel.acts.explain(connection, asked))


@operations.get(
    "/sessions", "Sessions, newest first; next_after is the mark of the next page.",
    shapes.record(sessions=shapes.listed(_SESSION_SHAPE), next_after=shapes.maybe(shapes.TEXT)),
    Parameter("state", "Online or closed ones alone.", choices=("online", "closed")),
    Parameter("who", "Name or number of an account, label or id of a service, or a user name."),
    Parameter("user", "Exactly this user name."), Parameter("mac", "MAC of the CPE, in any spelling."),
    Parameter("address", "IPv4 or IPv6 address, or a prefix; one inside a delegated prefix too."), _NAS,
    Parameter("tower", "Name or id of a tower."),
    Parameter("why", "Why it ended: Lost-Carrier, lost_stop …"),
    Parameter("from", "Started then or later (ISO 8601 with offset)."),
    Parameter("until", "Started before then (ISO 8601 with offset)."),
    Parameter("after", "The mark of the page."), _LIMIT,
)  # fmt: skip
async def sessions(ask: Ask) -> Answer:
    """One page."""
    names = ("state", "mac", "address", "why", "from", "until")
    texts = {name: ask.text(name) for name in names} | {"username": ask.text("user")}
    wanted = granted(read_filter(texts, None))
    after = granted(read_mark(ask.text("after")))
    async with ask.panel.workplace.reading() as connection:
        wanted = await _narrowed(connection, ask, wanted)
        page = await list_sessions(connection, wanted, after=after, limit=ask.count("limit"))
    return {"sessions": page.rows, "next_after": page.next_after}


async def _narrowed(connection: AsyncConnection, ask: Ask, wanted: SessionFilter) -> SessionFilter:
    nas_id = await _id_of(connection, nas_table, ask.text("nas"), "nas")
    tower = await _id_of(connection, site, ask.text("tower"), "tower")
    return granted(await narrowed(connection, wanted, who=ask.text("who"), nas_id=nas_id, tower=tower))


async def _id_of(connection: AsyncConnection, table: Table, text: str, field: str) -> str:
    """The id of what has that name or id; nothing for nothing."""
    found = await _named(connection, table, text, field)
    return str(found.id) if found else ""


async def _named(connection: AsyncConnection, table: Table, text: str, field: str) -> Row[Any] | None:
    if not text:
        return None
    query: Select[Any] = select(table.c.id, table.c.name).where(or_(table.c.id == text, table.c.name == text))
    found: Row[Any] | None = (await connection.execute(query)).one_or_none()
    if found is None:
        words = f"there is no {field} {text!r}; use its name or id"
        raise Refused(Refusal(f"{field}.unknown", words, field))
    return found


@operations.get(
    "/sessions/{session_id}", "One session: reports with decisions, addresses over time, orders to its NAS.",
    shapes.record(
        session=_SESSION_SHAPE, addresses=shapes.listed(shapes.of(AddressSpan)),
        reports=shapes.listed(shapes.of(Reading)), report_count=shapes.WHOLE,
        orders=shapes.listed(
            shapes.record(order=shapes.of(Exchange), proof=shapes.of(OrderProof))
        ),
    ),
    _SESSION,
)  # fmt: skip
async def session(ask: Ask) -> Answer:
    """Everything that is known of it; ``proof`` is what accounting showed after an order."""
    detail = await _detail(ask)
    view = detail.session
    since = SessionSince(view.last_event_at, view.last_received_at, view.stopped_at, view.close_inferred)
    return {
        "session": view, "addresses": detail.spans, "reports": detail.readings,
        "report_count": detail.reading_count,
        "orders": [
            {"order": one, "proof": proof_of(one.request, one.answer, one.at, since)}
            for one in detail.exchanges
        ],
    }  # fmt: skip


async def _detail(ask: Ask) -> SessionDetail:
    session_id = ask.text("session_id")
    async with ask.panel.workplace.reading() as connection:
        detail = await read_detail(connection, session_id)
    if detail is None:
        words = f"there is no session {session_id[:60]}; list them first"
        raise Refused(Refusal("session.unknown_id", words, "session_id"))
    return detail


@operations.get(
    "/address-at-time", "Who had an address at a time, with evidence and doubts. Each lookup is on record.",
    shapes.ANYTHING,
    Parameter("address", "IPv4 or IPv6 address; one inside a delegated prefix too.", required=True),
    Parameter("at", "The time, ISO 8601 with offset.", Kind.INSTANT, required=True),
    Parameter("reason", "Why it is asked: a case number, a letter.", required=True),
    Parameter(
        "tolerance_s", "Seconds that the asker's clock may be off.", Kind.COUNT, default=60,
        at_most=LONGEST_TOLERANCE_S,
    ),
    _NAS,
)  # fmt: skip
async def address_at_time(ask: Ask) -> Answer:
    """The report as data."""
    async with ask.panel.workplace.work(ask.actor) as work:
        nas_id = await _id_of(work.connection, nas_table, ask.text("nas"), "nas")
        question = HolderQuestion(
            ask.text("address"), ask.values["at"], ask.text("reason"), ask.count("tolerance_s"),
            nas_id or None,
        )  # fmt: skip
        return report_data(granted(await address_report(work, question)))


@operations.post(
    "/sessions/{session_id}/disconnect", "End a live session; the CPE may dial again at once.",
    _OUTCOME, _SESSION,
)  # fmt: skip
async def disconnect(ask: Ask) -> Answer:
    """Send a Disconnect-Request."""
    return await _order(ask, ask.panel.acts.disconnect_session)


@operations.post(
    "/sessions/{session_id}/reapply", "Bring a live session to its service's present terms by CoA.",
    _OUTCOME, _SESSION,
)  # fmt: skip
async def reapply(ask: Ask) -> Answer:
    """Send a CoA-Request."""
    return await _order(ask, ask.panel.acts.reapply_session)


@operations.post(
    "/sessions/reapply",
    "Bring live sessions of a profile, NAS or dialect to their present terms by CoA, a page at a time.",
    shapes.record(
        sessions=shapes.listed(shapes.of(Reapplied)), next_after=shapes.maybe(shapes.TEXT), left=shapes.WHOLE
    ),
    Parameter("profile", "Name or id of a profile."), _NAS,
    Parameter("dialect", "NASes of this dialect.", choices=tuple(DIALECTS)),
    Parameter("everywhere", "Every live session, instead of the three: yes.", choices=("yes",)),
    Parameter("after", "next_after of the page before."),
    Parameter("limit", "How many at most.", Kind.COUNT, default=100, at_least=1, at_most=200),
)  # fmt: skip
async def reapply_many(ask: Ask) -> Answer:
    """As after a change of a reply template; nobody is disconnected."""
    async with ask.panel.workplace.reading() as connection:
        scope = LiveScope(
            await _id_of(connection, service_profile, ask.text("profile"), "profile") or None,
            await _id_of(connection, nas_table, ask.text("nas"), "nas") or None,
            ask.text("dialect") or None,
        )
    if (scope == LiveScope()) != (ask.text("everywhere") == "yes"):
        words = "give profile, nas or dialect, or everywhere=yes alone"
        raise Refused(Refusal("scope.missing", words, "profile"))
    question = ReapplyQuestion(scope, ask.actor, ask.text("after"), ask.count("limit"))
    page = await ask.panel.acts.reapply_sessions(ask.panel.workplace, question)
    return {"sessions": page.sessions, "next_after": page.next_after, "left": page.left}


async def _order(ask: Ask, order: OrderSession) -> Mapping[str, Any]:
    await _detail(ask)
    outcome: OrderOutcome = granted(await order(ask.panel.workplace, ask.text("session_id"), ask.actor))
    return {"outcome": outcome.outcome, "detail": outcome.detail}


@operations.get(
    "/nases", "Every NAS with the number of sessions on it.",
    shapes.record(nases=shapes.listed(shapes.of(network.NasRow))),
)  # fmt: skip
async def nases(ask: Ask) -> Answer:
    """By name."""
    async with ask.panel.workplace.reading() as connection:
        return {"nases": await network.list_nases(connection)}


@operations.get(
    "/rejects", "Refused sign-ins, the latest first: which rule, why, and the remedy.",
    shapes.record(rejects=shapes.listed(shapes.of(services.RejectRow))), _LIMIT,
)  # fmt: skip
async def rejects(ask: Ask) -> Answer:
    """Repeated ones are counted."""
    async with ask.panel.workplace.reading() as connection:
        return {"rejects": await services.recent_rejects(connection, ask.count("limit"))}


@operations.get(
    "/services/{user}", "The service that a user name, MAC, static address or service id means.",
    shapes.record(
        service=shapes.of(services.ServiceView), holds=shapes.listed(shapes.of(services.HoldRow)),
        sessions=shapes.listed(_SESSION_SHAPE), rejects=shapes.listed(shapes.of(services.RejectRow)),
    ),
    Parameter("user", "User name, MAC, static address or id.", in_path=True, required=True),
)  # fmt: skip
async def service(ask: Ask) -> Answer:
    """What it may do, what holds it, where it is."""
    user = ask.text("user")
    async with ask.panel.workplace.reading() as connection:
        service_id = await services.find_service(connection, user)
        view = None if service_id is None else await services.service_view(connection, service_id)
        if view is None:
            words = f"no service signs in as {user[:60]!r} or has it as id or address"
            raise Refused(Refusal("service.unknown_id", words, "user"))
        return {
            "service": view, "holds": await services.holds_of(connection, view.id),
            "sessions": await latest_of(connection, view.id, limit=10),
            "rejects": await services.rejects_of(connection, view.id),
        }  # fmt: skip


@operations.get(
    "/pools", "Hilltop's own pools of addresses and prefixes, and how full they are.",
    shapes.record(pools=shapes.listed(shapes.of(PoolLine))),
)  # fmt: skip
async def pools(ask: Ask) -> Answer:
    """By name."""
    async with ask.panel.workplace.reading() as connection:
        return {"pools": await list_pools(connection)}


@operations.get(
    "/pools/{pool}/leases", "Who has what of a pool, in the order of addresses.",
    shapes.record(leases=shapes.listed(shapes.of(LeaseLine)), next_after=shapes.maybe(shapes.TEXT)),
    Parameter("pool", "Name or id of the pool.", in_path=True, required=True), _LIMIT,
    Parameter("after", "The mark of the next page: next_after of the page before."),
    Parameter("online", "Those in use alone: yes.", choices=("yes",)),
)  # fmt: skip
async def pool_leases(ask: Ask) -> Answer:
    """A page at a time."""
    limit = ask.count("limit")
    async with ask.panel.workplace.reading() as connection:
        pool_id = await _id_of(connection, ip_pool, ask.text("pool"), "pool")
        leases = await leases_of_pool(
            connection, pool_id, after=ask.text("after"), live=ask.text("online") == "yes", limit=limit
        )
    return {"leases": leases, "next_after": leases[-1].first if len(leases) == limit else None}


@operations.get(
    "/profiles", "Every service profile: what it says, its rules, its reply lines.",
    shapes.record(profiles=shapes.listed(shapes.of(ProfileView))),
)  # fmt: skip
async def profiles(ask: Ask) -> Answer:
    """By name."""
    async with ask.panel.workplace.reading() as connection:
        return {"profiles": await profile_views(connection)}


@operations.get(
    "/preview", "Exactly what an Accept and a CoA would carry, with where each attribute comes from.",
    shapes.record(preview=shapes.of(ReplyPreview)),
    Parameter("nas", "Name or id of the NAS that would be told.", required=True),
    Parameter("profile", "Name or id of a profile."),
    Parameter("user", "A user name, MAC, static address or service id instead."),
    Parameter("effect", "Under this effect instead of the service's own.", choices=tuple(Effect)),
)  # fmt: skip
async def preview(ask: Ask) -> Answer:
    """As the server renders it."""
    async with ask.panel.workplace.reading() as connection:
        user = ask.text("user")
        service_id = await services.find_service(connection, user) if user else None
        if user and service_id is None:
            words = f"no service signs in as {user[:60]!r} or has it as id or address"
            raise Refused(Refusal("service.unknown_id", words, "user"))
        profile_id = await _id_of(connection, service_profile, ask.text("profile"), "profile")
        if service_id is None and not profile_id:
            raise Refused(Refusal("profile.missing", "profile is missing: give one, or a user", "profile"))
        question = ReplyQuestion(
            nas_id=await _id_of(connection, nas_table, ask.text("nas"), "nas"),
            profile_id=None if service_id else profile_id, service_id=service_id, effect=ask.text("effect"),
        )  # fmt: skip
        return {"preview": granted(await ask.panel.acts.preview_reply(connection, question))}
