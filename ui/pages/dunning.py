"""Who would be reminded, suspended or restored at a date, and what the devices would be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.effect import Effect
from billing.dunning.preview import WouldChange, preview_dunning
from core.periods import local_date, start_of_day
from provisioning.preview import PreviewedChange, preview_enforcement
from ui.permissions import Permission
from ui.read.money import Named, names_of_accounts, names_of_services
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit

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
        changes = await preview_dunning(connection, at)
        rows = await _rows(connection, changes)
        if visit.wants_csv:
            return csv_file("dunning-preview", DunningRow, rows)
        commands = await _commands(connection, visit.panel.effect_of_stage, changes[:_SHOWN])
    return visit.page(
        "dunning.html", rows=rows[:_SHOWN], hidden=max(0, len(rows) - _SHOWN), commands=commands, form=form
    )


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
