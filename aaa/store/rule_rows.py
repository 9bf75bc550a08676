"""Rows of the rules of profiles, and of the holds they place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, delete, exists, func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.effect import Effect
from aaa.domain.profile_rule import DAYS, HoursRule, QuotaRule, Rule
from aaa.store.tables import hold, profile_rule, service, service_profile


async def rule_rows(connection: AsyncConnection, profile_id: str | None = None) -> Sequence[Row[Any]]:
    """The rules of a profile, or of all, by name."""
    statement = select(profile_rule).order_by(profile_rule.c.profile_id, profile_rule.c.name)
    if profile_id is not None:
        statement = statement.where(profile_rule.c.profile_id == profile_id)
    return (await connection.execute(statement)).all()


async def rules_by_profile(connection: AsyncConnection) -> dict[str, list[Rule]]:
    """Every rule, by its profile."""
    found: dict[str, list[Rule]] = {}
    for row in await rule_rows(connection):
        found.setdefault(row.profile_id, []).append(as_rule(row))
    return found


def as_rule(row: Any) -> Rule:
    """The rule of a row."""
    if row.kind == "quota":
        return QuotaRule(row.name, Effect(row.effect), row.octets, row.period, row.direction)
    days = frozenset(DAYS.index(day) for day in row.days.split(","))
    return HoursRule(row.name, Effect(row.effect), days, row.from_minute, row.until_minute)


def as_values(rule: Rule) -> dict[str, Any]:
    """The columns of a rule."""
    values: dict[str, Any] = {"name": rule.name, "effect": rule.effect.value}
    if isinstance(rule, QuotaRule):
        return values | {
            "kind": "quota", "octets": rule.octets, "period": rule.period, "direction": rule.direction,
            "days": None, "from_minute": None, "until_minute": None,
        }  # fmt: skip
    return values | {
        "kind": "hours", "days": ",".join(DAYS[day] for day in sorted(rule.days)),
        "from_minute": rule.from_minute, "until_minute": rule.until_minute,
        "octets": None, "period": None, "direction": None,
    }  # fmt: skip


async def insert_rule(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new rule."""
    await connection.execute(insert(profile_rule).values(**values))


async def update_rule(connection: AsyncConnection, rule_id: str, values: Mapping[str, Any]) -> None:
    """Change a rule."""
    await connection.execute(update(profile_rule).where(profile_rule.c.id == rule_id).values(**values))


async def delete_rule(connection: AsyncConnection, rule_id: str) -> None:
    """Take a rule away."""
    await connection.execute(delete(profile_rule).where(profile_rule.c.id == rule_id))


def _standing(holder: str) -> Any:
    return and_(hold.c.service_id == service.c.id, hold.c.holder == holder, hold.c.lifted_at.is_(None))


async def services_without_hold(
    connection: AsyncConnection, profile_id: str, wanted: tuple[str, str, str], limit: int
) -> list[str]:
    """Active services of the profile without exactly the hold that is ``wanted``: holder, effect, reason."""
    holder, effect, reason = wanted
    has_it = exists().where(_standing(holder), hold.c.effect == effect, hold.c.reason == reason)
    statement = select(service.c.id).where(
        service.c.profile_id == profile_id, service.c.lifecycle == "active", ~has_it
    )
    return list((await connection.execute(statement.order_by(service.c.id).limit(limit))).scalars())


async def services_held_elsewhere(
    connection: AsyncConnection, holder: str, profile_ids: Iterable[str], limit: int
) -> list[str]:
    """Services held by ``holder`` that are under none of these profiles."""
    statement = (
        select(service.c.id)
        .join(hold, _standing(holder))
        .where(service.c.profile_id.not_in(list(profile_ids)), service.c.lifecycle != "ended")
    )
    return list((await connection.execute(statement.order_by(service.c.id).limit(limit))).scalars())


async def services_of_profiles(connection: AsyncConnection, profile_ids: Iterable[str]) -> Sequence[Row[Any]]:
    """``(id, account_id, profile_id, down_bps, up_bps)`` of active services: the fastest they may ever be."""
    fastest = [
        func.coalesce(burst, rate).label(name)
        for name, burst, rate in (
            ("down_bps", service_profile.c.burst_down_bps, service_profile.c.rate_down_bps),
            ("up_bps", service_profile.c.burst_up_bps, service_profile.c.rate_up_bps),
        )
    ]
    statement = (
        select(service.c.id, service.c.account_id, service.c.profile_id, *fastest)
        .join(service_profile, service_profile.c.id == service.c.profile_id)
        .where(service.c.profile_id.in_(list(profile_ids)), service.c.lifecycle == "active")
    )
    return (await connection.execute(statement.order_by(service.c.id))).all()


async def holds_of(connection: AsyncConnection, holder: str) -> dict[str, tuple[str, str]]:
    """(effect, reason) of the standing holds of ``holder``, by service."""
    statement = select(hold.c.service_id, hold.c.effect, hold.c.reason)
    rows = await connection.execute(statement.where(hold.c.holder == holder, hold.c.lifted_at.is_(None)))
    return {row.service_id: (row.effect, row.reason) for row in rows}
