"""Subscriptions as the panel shows them: how one runs, what it charges, every change of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import service
from billing.domain.catalogue import PlanVersion
from billing.domain.phases import FOREVER, Phase, fold_phases, phase_on, standing
from billing.store import plan_rows, subscription_rows
from billing.store.tables import plan, plan_version, subscription, subscription_change
from core.periods import local_date
from ui.read.subscriber import AccountHeading, account_heading


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """Days over which nothing changes; ``until`` None: for good."""

    start: date
    until: date | None
    plan: str
    version: int
    quantity: int
    paused: bool


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One recorded change. ``stands``: neither withdrawn nor a withdrawal."""

    id: str
    effective_on: date
    kind: str
    plan: str
    quantity: int | None
    reason: str
    recorded_at: datetime
    recorded_by: str
    stands: bool


@dataclass(frozen=True, slots=True)
class AddonRow:
    """What goes with a subscription."""

    id: str
    name: str
    quantity: int
    price_minor: int
    starts_on: date
    ends_on: date | None


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    """One subscription's own page."""

    id: str
    account: AccountHeading
    service_id: str | None
    service_label: str | None
    parent_id: str | None
    offer: PlanVersion
    quantity: int
    starts_on: date
    ends_on: date | None
    contract_until: date | None
    paused: bool
    today: date
    phases: list[PhaseRow]
    changes: list[ChangeRow]
    addons: list[AddonRow]

    @property
    def is_over(self) -> bool:
        """True once its last day has gone."""
        return self.ends_on is not None and self.ends_on <= self.today


async def subscription_view(
    connection: AsyncConnection, subscription_id: str, now: datetime
) -> SubscriptionView | None:
    """The subscription as of ``now``, by its account's calendar; None for an unknown one."""
    found = await subscription_rows.find_subscription(connection, subscription_id)
    account = None if found is None else await account_heading(connection, found.account_id)
    if found is None or account is None:
        return None
    today = local_date(now, account.time_zone)
    changes = (await subscription_rows.changes_of(connection, [found.id])).get(found.id, [])
    phases = fold_phases(changes)
    versions = await plan_rows.plan_versions(connection)
    present = phase_on(phases, today)
    label = await connection.scalar(select(service.c.label).where(service.c.id == found.service_id))
    return SubscriptionView(
        found.id, account, found.service_id, label, found.parent_id, versions[found.plan_version_id],
        found.quantity, found.starts_on, found.ends_on, found.contract_until,
        present is not None and present.paused, today, [_phase(one, versions) for one in phases],
        await _changes(connection, found.id, {one.id for one in standing(changes)}, versions),
        [
            AddonRow(
                one.id, offer.name, one.quantity, offer.price_minor * one.quantity, one.starts_on, one.ends_on
            )
            for one in await subscription_rows.addons_of(connection, found.id)
            for offer in [versions[one.plan_version_id]]
        ],
    )  # fmt: skip


def _phase(one: Phase, versions: dict[str, PlanVersion]) -> PhaseRow:
    offer = versions[one.plan_version_id]
    until = None if one.end == FOREVER else one.end
    return PhaseRow(one.start, until, offer.name, offer.version, one.quantity, one.paused)


async def _changes(
    connection: AsyncConnection, subscription_id: str, stands: set[str], versions: dict[str, PlanVersion]
) -> list[ChangeRow]:
    query = (
        select(subscription_change)
        .where(subscription_change.c.subscription_id == subscription_id)
        .order_by(subscription_change.c.recorded_at.desc(), subscription_change.c.id.desc())
    )
    rows = []
    for one in await connection.execute(query):
        offer = versions.get(one.plan_version_id or "")
        named = "" if offer is None else f"{offer.name} v{offer.version}"
        rows.append(
            ChangeRow(
                one.id, one.effective_on, one.kind, named, one.quantity, one.reason or "", one.recorded_at,
                one.recorded_by, one.id in stands,
            )
        )  # fmt: skip
    return rows


async def newest_offers(
    connection: AsyncConnection, currency: str, kind: str, today: date
) -> list[tuple[str, str]]:
    """``(version id, name)`` of the newest version of each plan of the kind that is offered today."""
    query = (
        select(plan_version.c.id)
        .join(plan, plan.c.id == plan_version.c.plan_id)
        .where(plan.c.kind == kind, plan_version.c.currency == currency)
        .order_by(plan.c.code, plan_version.c.version.desc())
    )
    ids = [row.id for row in await connection.execute(query)]
    versions = await plan_rows.plan_versions(connection, ids)
    newest: dict[str, PlanVersion] = {}
    for version_id in ids:
        newest.setdefault(versions[version_id].code, versions[version_id])
    return [(one.id, f"{one.name} v{one.version}") for one in newest.values() if _offered(one, today)]


def _offered(one: PlanVersion, today: date) -> bool:
    late = one.offered_until is not None and today >= one.offered_until
    return not late and (one.offered_from is None or one.offered_from <= today)


async def parents_of(connection: AsyncConnection, account_id: str, today: date) -> list[tuple[str, str]]:
    """``(id, words)`` of the account's running subscriptions that an add-on can go with."""
    query = (
        select(
            subscription.c.id, subscription.c.ends_on, plan.c.name, service.c.label,
        )
        .join(plan_version, plan_version.c.id == subscription.c.plan_version_id)
        .join(plan, plan.c.id == plan_version.c.plan_id)
        .join(service, service.c.id == subscription.c.service_id, isouter=True)
        .where(subscription.c.account_id == account_id, plan.c.kind != "addon")
        .order_by(subscription.c.starts_on, subscription.c.id)
    )  # fmt: skip
    return [
        (one.id, f"{one.name}, {one.label}" if one.label else one.name)
        for one in await connection.execute(query)
        if one.ends_on is None or one.ends_on > today
    ]
