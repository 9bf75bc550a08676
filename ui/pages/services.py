"""One service: its holds, its usage, its tables as files, and transcripts of device sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.close_usage import usage_by_day
from aaa.domain.effect import Effect
from aaa.domain.session_filter import SessionFilter
from aaa.entitlements import entitlement_of
from aaa.place_hold import lift_hold, place_hold
from aaa.sessions import SessionView, list_sessions
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work
from provisioning.request_enforcement import request_enforcement
from ui.pages.subscriber import subscriber_page
from ui.permissions import Permission
from ui.read import services, transcripts
from ui.read.rows import EXPORT
from ui.read.subscriber import account_heading, time_zone_of
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

_HOLD_EFFECTS = ("throttle", "walled_garden", "block")
_DAYS = 31


@dataclass(frozen=True, slots=True)
class UsageDay:
    """Octets of one local day."""

    day: date
    octets_down: int
    octets_up: int


@routes.post("/services/{service_id}/hold", Permission.SUBSCRIBERS)
async def place(visit: Visit) -> web.StreamResponse:
    """Place the operator's own hold."""
    service_id, account_id = await _service_and_account(visit)
    form = await visit.form()
    effect = form.choice("effect", _HOLD_EFFECTS)
    reason = form.text("reason", longest=300)
    if not form.ok:
        return await subscriber_page(visit, account_id, form, status=422)
    outcome = await visit.attempt(
        form,
        lambda work: place_hold(
            work, service_id=service_id, holder="operator", effect=Effect(effect), reason=reason
        ),
    )
    if isinstance(outcome, Refusal):
        return await subscriber_page(visit, account_id, form, status=422)
    return visit.see(f"/subscribers/{account_id}", "hold")


@routes.post("/services/{service_id}/lift", Permission.SUBSCRIBERS)
async def lift(visit: Visit) -> web.StreamResponse:
    """Lift the operator's own hold, and no other."""
    service_id, account_id = await _service_and_account(visit)
    form = await visit.form()
    outcome = await visit.attempt(
        form,
        lambda work: lift_hold(work, service_id=service_id, holder="operator", reason="lifted at the panel"),
    )
    if isinstance(outcome, Refusal):
        return await subscriber_page(visit, account_id, form, status=422)
    return visit.see(f"/subscribers/{account_id}", "lifted")


@routes.post("/services/{service_id}/enforce", Permission.SUBSCRIBERS)
async def enforce_again(visit: Visit) -> web.StreamResponse:
    """Make the entitlement true once more, even where it was proven; asked twice, done once."""
    service_id, account_id = await _service_and_account(visit)

    async def ask(work: Work) -> Refusal | None:
        stands = await entitlement_of(work.connection, service_id)
        if stands is None:
            return Refusal("no_entitlement", "the service has no entitlement to enforce")
        tasks = await request_enforcement(
            work, service_id=service_id, generation=stands.generation, effect=str(stands.effect),
            cause=f"asked for by {visit.operator.name}", again=True,
        )  # fmt: skip
        await work.audit("provisioning.enforced_again", service_id, generation=stands.generation)
        if not tasks:
            return Refusal("no_points", "the service has no enforcement point: add a device that enforces it")
        return None

    form = Form()
    if isinstance(await visit.attempt(form, ask), Refusal):
        return await subscriber_page(visit, account_id, form, status=422)
    return visit.see(f"/subscribers/{account_id}", "enforce")


async def _service_and_account(visit: Visit) -> tuple[str, str]:
    service_id = visit.path("service_id")
    async with visit.reading() as connection:
        found = await services.service_view(connection, service_id)
    if found is None:
        raise missing()
    return service_id, found.account_id


async def _usage_days(visit: Visit, connection: AsyncConnection) -> list[UsageDay]:
    found = await services.service_view(connection, visit.path("service_id"))
    if found is None:
        raise missing()
    zone = await time_zone_of(connection, found.account_id) or visit.panel.settings.time_zone
    until = local_date(visit.panel.workplace.clock.now(), zone) + timedelta(days=1)
    start = until - timedelta(days=_DAYS)
    counted = await usage_by_day(connection, found.id, start, until, zone)
    by_day = {day: (octets_in, octets_out) for day, octets_in, octets_out in counted}
    days = [start + timedelta(days=number) for number in range(_DAYS)]
    return [UsageDay(day, by_day.get(day, (0, 0))[1], by_day.get(day, (0, 0))[0]) for day in days]


@routes.get("/services/{service_id}/usage.json", Permission.LOOK)
async def usage_json(visit: Visit) -> web.StreamResponse:
    """Octets by day for the chart: days (ISO), down, up."""
    async with visit.reading() as connection:
        days = await _usage_days(visit, connection)
    return web.json_response(
        {
            "days": [one.day.isoformat() for one in days],
            "down": [one.octets_down for one in days],
            "up": [one.octets_up for one in days],
        }
    )


@routes.get("/services/{service_id}/usage", Permission.LOOK)
async def usage_table(visit: Visit) -> web.StreamResponse:
    """The chart's days as a table, with their sums."""
    async with visit.reading() as connection:
        found = await services.service_view(connection, visit.path("service_id"))
        account = await account_heading(connection, found.account_id) if found else None
        if found is None or account is None:
            raise missing()
        days = await _usage_days(visit, connection)
    return visit.page("usage.html", service=found, account=account, days=days[::-1])


@routes.get("/services/{service_id}/{table}.csv", Permission.LOOK)
async def table_csv(visit: Visit) -> web.StreamResponse:
    """A table of the service as a file: sessions, usage, holds, enforcement, rejects."""
    table, service_id = visit.path("table"), visit.path("service_id")
    async with visit.reading() as connection:
        match table:
            case "usage":
                return csv_file("usage", UsageDay, await _usage_days(visit, connection))
            case "sessions":
                page = await list_sessions(connection, SessionFilter(service_ids=(service_id,)), limit=EXPORT)
                return csv_file("sessions", SessionView, page.rows)
            case "holds":
                return csv_file(
                    "holds", services.HoldRow, await services.holds_of(connection, service_id, EXPORT)
                )
            case "enforcement":
                tasks = await services.tasks_of(connection, service_id, limit=2_000)
                return csv_file("enforcement", services.TaskRow, tasks)
            case "rejects":
                rejects = await services.rejects_of(connection, service_id, EXPORT)
                return csv_file("rejects", services.RejectRow, rejects)
            case _:
                raise missing()


@routes.get("/transcripts/{transcript_id}", Permission.LOOK)
async def transcript(visit: Visit) -> web.StreamResponse:
    """One session with a device, word for word."""
    async with visit.reading() as connection:
        view = await transcripts.transcript_view(connection, visit.path("transcript_id"))
    if view is None:
        raise missing()
    return visit.page("transcript.html", transcript=view)
