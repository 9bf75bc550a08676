"""Who would be reminded, suspended or restored at a date, what devices would be told, what waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.effect import Effect
from billing.dunning.approvals import decide_approval
from billing.dunning.preview import WouldChange, WouldDefer, preview_night
from core.periods import local_date, start_of_day
from core.refusal import Refusal
from provisioning.preview import PreviewedChange, preview_enforcement
from ui.permissions import Permission
from ui.read.dunning import ApprovalRow, approvals
from ui.read.money import Named, names_of_accounts, names_of_services
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

_SHOWN = 200
_FURTHEST = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class DunningRow:
    """One account that would move."""

    account_id: str
    account_number: str
    account_name: str
    from_stage: str
    to_stage: str
    services: list[str]
    because: str


@dataclass(frozen=True, slots=True)
class CommandRow:
    """What one device would be told for one service."""

    service: str
    account_id: str
    account_name: str
    device: str
    addresses: list[str]
    commands: list[str]


@routes.get("/dunning", Permission.LOOK)
async def preview(visit: Visit) -> web.StreamResponse:
    """A dry run: nothing changes, no device is touched."""
    now = visit.panel.workplace.clock.now()
    zone = visit.panel.settings.time_zone
    form = Form({"on": visit.query("on") or local_date(now, zone).isoformat()})
    asked = form.optional_date("on")
    at = now if asked is None or asked <= local_date(now, zone) else _noon(asked, zone)
    if at - now > _FURTHEST:
        form.faults["on"] = "is more than a year ahead: choose an earlier day"
        at = now
    async with visit.reading() as connection:
        night = await preview_night(connection, at)
        changes = night.changes
        rows = await _rows(connection, changes)
        if visit.wants_csv:
            return csv_file("dunning-preview", DunningRow, rows)
        deferred = await _deferred(connection, night.deferred[:_SHOWN])
        commands = await _commands(connection, visit.panel.effect_of_stage, changes[:_SHOWN])
    return visit.page(
        "dunning.html", rows=rows[:_SHOWN], hidden=max(0, len(rows) - _SHOWN), commands=commands, form=form,
        deferred=deferred, deferred_hidden=max(0, len(night.deferred) - _SHOWN), fees=night.fees[:_SHOWN],
        notices=Counter(f"{one.channel}: {one.template}" for one in night.notices),
    )  # fmt: skip


async def _deferred(connection: AsyncConnection, found: Sequence[WouldDefer]) -> list[DunningRow]:
    names = await names_of_accounts(connection, [one.account_id for one in found])
    unknown = Named("", "", "", "")
    return [
        DunningRow(
            one.account_id, names.get(one.account_id, unknown).account_number,
            names.get(one.account_id, unknown).account_name, str(one.stage), str(one.wanted), [], one.because,
        )
        for one in found
    ]  # fmt: skip


def _noon(day: date, zone: str) -> datetime:
    """The middle of a local day, so that every account's own calendar is on it or close."""
    return start_of_day(day, zone).astimezone(UTC) + timedelta(hours=12)


async def _rows(connection: AsyncConnection, changes: Sequence[WouldChange]) -> list[DunningRow]:
    names = await names_of_accounts(connection, [one.account_id for one in changes])
    unknown = Named("", "", "", "")
    return [
        DunningRow(
            one.account_id, names.get(one.account_id, unknown).account_number,
            names.get(one.account_id, unknown).account_name, str(one.from_stage), str(one.to_stage),
            list(one.service_ids), str(one.because),
        )
        for one in changes
    ]  # fmt: skip


async def _commands(
    connection: AsyncConnection, effect_of_stage: Mapping[str, Effect], changes: Sequence[WouldChange]
) -> list[CommandRow]:
    """The exact commands, for accounts whose access would change."""
    by_effect: dict[Effect, list[str]] = {}
    for one in changes:
        before, after = effect_of_stage.get(one.from_stage), effect_of_stage.get(one.to_stage)
        if after is not None and before is not after:
            by_effect.setdefault(after, []).extend(one.service_ids)
    previewed: list[PreviewedChange] = []
    for effect, service_ids in by_effect.items():
        previewed += await preview_enforcement(connection, service_ids, effect)
    names = await names_of_services(connection, [one.service_id for one in previewed])
    unknown = Named("", "", "", "")
    return [
        CommandRow(
            names.get(one.service_id, unknown).label, names.get(one.service_id, unknown).account_id,
            names.get(one.service_id, unknown).account_name, one.device_name, sorted(one.addresses),
            list(one.commands),
        )
        for one in previewed
    ]  # fmt: skip


@routes.get("/dunning/approvals", Permission.LOOK)
async def waiting(visit: Visit) -> web.StreamResponse:
    """Suspensions and write-offs that wait for an operator's word."""
    return await _approvals_page(visit, Form())


async def _approvals_page(visit: Visit, form: Form, status: int = 200) -> web.StreamResponse:
    async with visit.reading() as connection:
        found = await approvals(connection, waiting=True)
        if visit.wants_csv:
            return csv_file("dunning-approvals", ApprovalRow, found)
        decided = await approvals(connection, waiting=False)
    return visit.page("dunning_approvals.html", waiting=found, decided=decided, form=form, status=status)


@routes.post("/dunning/approvals/{approval_id}", Permission.MONEY)
async def decide(visit: Visit) -> web.StreamResponse:
    """Approve or decline; sent twice, it is decided once."""
    form, approval_id = await visit.form(), visit.path("approval_id")
    approve = form.choice("decision", ["approve", "decline"]) == "approve"
    note = form.optional("note", longest=500)
    if form.ok:
        outcome = await visit.attempt(
            form,
            lambda work: decide_approval(
                work, approval_id=approval_id, approve=approve, note=note, settings=visit.panel.billing
            ),
        )
        if isinstance(outcome, Refusal) and outcome.code == "unknown_approval":
            raise missing()
        if not isinstance(outcome, Refusal):
            return visit.see("/dunning/approvals", "saved")
    return await _approvals_page(visit, form, status=422)
