"""Service profiles with their rules, and the reply lines of every scope."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.profile_terms import FIELDS
from aaa.domain.reply_template import ReplyTemplate
from aaa.store import rule_rows
from aaa.store.tables import nas, reply_template, service, service_profile


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule in words."""

    name: str
    kind: str
    effect: str
    says: str


@dataclass(frozen=True, slots=True)
class TemplateRow:
    """The reply lines of one scope; an empty name is any. In the order of application."""

    scope: str
    profile_id: str = field(metadata={"csv": False})
    profile: str
    nas_id: str = field(metadata={"csv": False})
    nas: str
    dialect: str
    lines: str
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True, slots=True)
class ProfileView:
    """One profile with everything that belongs to it."""

    id: str
    name: str
    fields: dict[str, Any]
    services: int
    rules: list[RuleLine]
    templates: list[TemplateRow]


async def profile_view(connection: AsyncConnection, profile_id: str) -> ProfileView | None:
    """The profile with that id."""
    row = (
        await connection.execute(select(service_profile).where(service_profile.c.id == profile_id))
    ).one_or_none()
    if row is None:
        return None
    return await _view(connection, row, await list_templates(connection))


async def _view(connection: AsyncConnection, row: Any, templates: list[TemplateRow]) -> ProfileView:
    profile_id = row.id
    counted = select(func.count()).where(service.c.profile_id == profile_id, service.c.lifecycle != "ended")
    rules = [
        RuleLine(one.name, one.kind, one.effect, str(rule_rows.as_rule(one)))
        for one in await rule_rows.rule_rows(connection, profile_id)
    ]
    own = [one for one in templates if one.profile_id == profile_id]
    return ProfileView(
        row.id, row.name, {name: getattr(row, name) for name in FIELDS},
        int((await connection.execute(counted)).scalar_one()), rules, own,
    )  # fmt: skip


async def profile_views(connection: AsyncConnection) -> list[ProfileView]:
    """All profiles by name."""
    rows = await connection.execute(select(service_profile).order_by(service_profile.c.name))
    templates = await list_templates(connection)
    return [await _view(connection, row, templates) for row in rows.all()]


async def list_templates(connection: AsyncConnection) -> list[TemplateRow]:
    """All reply lines, in the order in which they are applied."""
    statement = (
        select(reply_template, service_profile.c.name.label("profile"), nas.c.name.label("nas"))
        .outerjoin(service_profile, service_profile.c.id == reply_template.c.profile_id)
        .outerjoin(nas, nas.c.id == reply_template.c.nas_id)
    )
    rows = (await connection.execute(statement)).all()
    ordered = sorted(
        rows,
        key=lambda row: (
            ReplyTemplate(row.id, row.profile_id, row.nas_id, row.dialect, "").rank, row.scope
        ),
    )  # fmt: skip
    return [
        TemplateRow(
            row.scope, row.profile_id or "", row.profile or "", row.nas_id or "", row.nas or "",
            row.dialect or "", row.lines, row.changed_at, row.changed_by,
        )
        for row in ordered
    ]  # fmt: skip
