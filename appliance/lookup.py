"""Finding things by the names people type: a name, a number or an id."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, Table, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store import tables as aaa
from billing.store import tables as billing
from core.refusal import Refusal, Refused
from provisioning.store import tables as provisioning
from snmp.store import tables as snmp


@dataclass(frozen=True, slots=True)
class _Kind:
    word: str
    table: Table
    name: Column[str]


KINDS = {
    "site": _Kind("site", provisioning.site, provisioning.site.c.name),
    "device": _Kind("device", provisioning.device, provisioning.device.c.name),
    "nas": _Kind("NAS", aaa.nas, aaa.nas.c.name),
    "profile": _Kind("service profile", aaa.service_profile, aaa.service_profile.c.name),
    "service": _Kind("service", aaa.service, aaa.service.c.label),
    "plan": _Kind("plan", billing.plan, billing.plan.c.code),
    "account": _Kind("account", billing.account, billing.account.c.number),
    "target": _Kind("SNMP target", snmp.target, snmp.target.c.name),
    "invoice": _Kind("invoice", billing.invoice, billing.invoice.c.number),
}


async def find(connection: AsyncConnection, kind: str, text: str) -> str:
    """The id of the one thing of ``kind`` with this id or name. Raises ``Refused`` for none or several."""
    wanted = KINDS[kind]
    rows = (
        await connection.execute(
            select(wanted.table.c.id).where(or_(wanted.table.c.id == text, wanted.name == text)).limit(2)
        )
    ).all()
    if len(rows) == 1:
        return str(rows[0].id)
    if kind == "service" and not rows:
        found = await service_of_username(connection, text)
        if found is not None:
            return found
    trouble = "several" if rows else "no"
    raise Refused(
        Refusal(
            f"{trouble}_{kind}", f"there is {trouble} {wanted.word} {text!r}; use its id to be exact", kind
        )
    )


async def service_of_username(connection: AsyncConnection, username: str) -> str | None:
    """The service that signs in with ``username``."""
    row = await connection.scalar(
        select(aaa.credential.c.service_id).where(aaa.credential.c.username == username)
    )
    return None if row is None else str(row)


async def newest_plan_version(connection: AsyncConnection, code: str) -> str:
    """The latest version of the plan ``code``. Raises ``Refused`` when there is none."""
    version = await connection.scalar(
        select(billing.plan_version.c.id)
        .join(billing.plan, billing.plan.c.id == billing.plan_version.c.plan_id)
        .where(or_(billing.plan.c.code == code, billing.plan_version.c.id == code))
        .order_by(billing.plan_version.c.version.desc())
        .limit(1)
    )
    if version is None:
        raise Refused(Refusal("no_plan", f"there is no plan {code!r}; see: hilltop plan list", "plan"))
    return str(version)


async def currency_of_plan(connection: AsyncConnection, code: str) -> str:
    """What the latest version of the plan is paid in. Raises ``Refused`` when there is none."""
    version_id = await newest_plan_version(connection, code)
    query = select(billing.plan_version.c.currency).where(billing.plan_version.c.id == version_id)
    return str(await connection.scalar(query))


async def subscription_named(connection: AsyncConnection, text: str) -> str:
    """The subscription with that id, or the newest of a plan that the line of that name has.

    Raises ``Refused`` when there is none.
    """
    table = billing.subscription
    if await connection.scalar(select(table.c.id).where(table.c.id == text)):
        return text
    service_id = await find(connection, "service", text)
    found = await connection.scalar(
        select(table.c.id)
        .join(billing.plan_version, billing.plan_version.c.id == table.c.plan_version_id)
        .join(billing.plan, billing.plan.c.id == billing.plan_version.c.plan_id)
        .where(table.c.service_id == service_id, billing.plan.c.kind == "plan")
        .order_by(table.c.starts_on.desc(), table.c.created_at.desc())
        .limit(1)
    )
    if found is None:
        raise Refused(Refusal("not_subscribed", f"line {text!r} has no plan", "subscription"))
    return str(found)


async def profile_of_plan_version(connection: AsyncConnection, plan_version_id: str) -> str:
    """The service profile that a plan version sells."""
    return str(
        await connection.scalar(
            select(billing.plan_version.c.service_profile_id).where(
                billing.plan_version.c.id == plan_version_id
            )
        )
    )


async def profile_name(connection: AsyncConnection, profile_id: str | None) -> str | None:
    """What a service profile is called."""
    profile = aaa.service_profile
    return await connection.scalar(select(profile.c.name).where(profile.c.id == profile_id))


async def services_of_account(connection: AsyncConnection, account_id: str) -> list[str]:
    """Every service of the account."""
    rows = await connection.execute(select(aaa.service.c.id).where(aaa.service.c.account_id == account_id))
    return [str(row.id) for row in rows]
