"""Rows of the provisioning room: towers, devices, points, tasks and their evidence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, Table, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from aaa.domain.effect import Effect
from core.database import insert_for
from core.store.tables import health_issue
from provisioning.domain.verify import PLACE_TAKEN, STILL_BLOCKED
from provisioning.store.tables import device, enforcement_point, observation, site, task, transcript

AnyRow = Row[*tuple[Any, ...]]
OPEN_STATUSES = ("waiting", "claimed", "parked")
CUTTING_OFF = tuple(str(effect) for effect in Effect if effect.cuts_off)
PRESENT = ("device", "live_session")  # mechanisms that enforce; the others are on their way out or history


def _arrived(
    column: ColumnElement[datetime | None], now: datetime, longest: timedelta
) -> ColumnElement[bool]:
    """True when the instant is reached, absent, or so far ahead that only a clock set back explains it."""
    return or_(column.is_(None), column <= now, column > now + longest)


async def _insert_if_absent(connection: AsyncConnection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert the row; False when a unique key of it exists (the database decides: two at once are safe)."""
    statement = insert_for(connection, table).values(values).on_conflict_do_nothing()
    return (await connection.execute(statement)).rowcount == 1


# --- towers and devices


async def insert_site(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    await connection.execute(insert(site).values(values))


async def site_row(connection: AsyncConnection, site_id: str) -> AnyRow | None:
    return (await connection.execute(select(site).where(site.c.id == site_id))).one_or_none()


async def site_named(connection: AsyncConnection, name: str) -> AnyRow | None:
    return (await connection.execute(select(site).where(site.c.name == name))).one_or_none()


async def set_site_outage(connection: AsyncConnection, site_id: str, outage: bool) -> None:
    await connection.execute(update(site).where(site.c.id == site_id).values(known_outage=outage))


async def insert_device(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    await connection.execute(insert(device).values(values))


async def device_row(connection: AsyncConnection, device_id: str) -> AnyRow | None:
    return (await connection.execute(select(device).where(device.c.id == device_id))).one_or_none()


async def device_named(connection: AsyncConnection, name: str) -> AnyRow | None:
    return (await connection.execute(select(device).where(device.c.name == name))).one_or_none()


async def update_device(connection: AsyncConnection, device_id: str, **values: Any) -> None:
    await connection.execute(update(device).where(device.c.id == device_id).values(**values))


async def pin_host_key(connection: AsyncConnection, device_id: str, host_key: str) -> bool:
    """Record the first host key seen; False when one is pinned already."""
    result = await connection.execute(
        update(device)
        .where(device.c.id == device_id, device.c.host_key.is_(None))
        .values(host_key=host_key)
    )  # fmt: skip
    return result.rowcount == 1


async def lease_device(
    connection: AsyncConnection, device_id: str, worker: str, now: datetime, lease: timedelta
) -> bool:
    """Take the device for one session; False when another worker has it."""
    result = await connection.execute(
        update(device)
        .where(device.c.id == device_id, device.c.enabled, _arrived(device.c.leased_until, now, lease))
        .values(leased_by=worker, leased_until=now + lease)
    )
    return result.rowcount == 1


async def release_device(connection: AsyncConnection, device_id: str, worker: str) -> None:
    await connection.execute(
        update(device)
        .where(device.c.id == device_id, device.c.leased_by == worker)
        .values(leased_by=None, leased_until=None)
    )


async def devices_due_for_check(
    connection: AsyncConnection, now: datetime, longest: timedelta
) -> list[AnyRow]:
    """Enabled devices whose timetable and breaker allow a drift check, in order of waiting."""
    rows = await connection.execute(
        select(device)
        .where(
            device.c.enabled,
            _arrived(device.c.next_check_at, now, longest),
            _arrived(device.c.breaker_open_until, now, longest),
        )
        .order_by(device.c.next_check_at.nulls_first(), device.c.id)
    )
    return list(rows)


# --- enforcement points


async def insert_point(connection: AsyncConnection, values: Mapping[str, Any]) -> bool:
    """False when the service has that point already."""
    return await _insert_if_absent(connection, enforcement_point, values)


async def points_of_service(connection: AsyncConnection, service_id: str) -> list[AnyRow]:
    """Where the service is enforced now."""
    rows = await connection.execute(
        select(enforcement_point)
        .where(enforcement_point.c.service_id == service_id, enforcement_point.c.mechanism.in_(PRESENT))
        .order_by(enforcement_point.c.mechanism, enforcement_point.c.id)
    )
    return list(rows)


async def point_on_device(connection: AsyncConnection, service_id: str, device_id: str) -> AnyRow | None:
    """The service's point on that device, one that is leaving or of the past included."""
    return (
        await connection.execute(
            select(enforcement_point).where(
                enforcement_point.c.service_id == service_id, enforcement_point.c.device_id == device_id
            )
        )
    ).one_or_none()


async def set_mechanism(connection: AsyncConnection, point_id: str, mechanism: str) -> None:
    await connection.execute(
        update(enforcement_point).where(enforcement_point.c.id == point_id).values(mechanism=mechanism)
    )


async def services_on_device(connection: AsyncConnection, device_id: str) -> list[str]:
    """Services enforced on the device, those that are leaving it included."""
    rows = await connection.execute(
        select(enforcement_point.c.service_id)
        .where(enforcement_point.c.device_id == device_id, enforcement_point.c.mechanism != "former")
        .order_by(enforcement_point.c.service_id)
    )
    return list(rows.scalars())


async def services_leaving(connection: AsyncConnection, device_id: str) -> frozenset[str]:
    """Services that are no longer to be enforced on the device, whose entries are still to be taken away."""
    rows = await connection.execute(
        select(enforcement_point.c.service_id).where(
            enforcement_point.c.device_id == device_id, enforcement_point.c.mechanism == "leaving"
        )
    )
    return frozenset(rows.scalars())


async def device_points_of(connection: AsyncConnection, service_ids: Collection[str]) -> list[AnyRow]:
    """(service_id, device_id) pairs, by device then service."""
    rows = await connection.execute(
        select(enforcement_point.c.service_id, enforcement_point.c.device_id)
        .where(
            enforcement_point.c.service_id.in_(list(service_ids)),
            enforcement_point.c.mechanism == "device",
        )
        .order_by(enforcement_point.c.device_id, enforcement_point.c.service_id)
    )
    return list(rows)


async def sites_of_services(connection: AsyncConnection, service_ids: Collection[str]) -> dict[str, str]:
    """The tower of each service: that of its first device. Services without a device are absent."""
    rows = await connection.execute(
        select(enforcement_point.c.service_id, func.min(device.c.site_id).label("site_id"))
        .join(device, device.c.id == enforcement_point.c.device_id)
        .where(
            enforcement_point.c.service_id.in_(list(service_ids)),
            enforcement_point.c.mechanism == "device",
        )
        .group_by(enforcement_point.c.service_id)
    )
    return {row.service_id: row.site_id for row in rows}


# --- tasks


async def insert_task(connection: AsyncConnection, values: Mapping[str, Any]) -> bool:
    """False when another transaction gave the point an open task meanwhile."""
    return await _insert_if_absent(connection, task, values)


async def point_was_tried(connection: AsyncConnection, point_id: str) -> bool:
    """True when a session may have put something of ours there: proven, or attempted at least."""
    rows = await connection.execute(
        select(task.c.id)
        .where(task.c.point_id == point_id, or_(task.c.attempts > 0, task.c.verified_at.is_not(None)))
        .limit(1)
    )
    return rows.first() is not None


async def renew_claims(
    connection: AsyncConnection, task_ids: Iterable[str], device_id: str, worker: str, until: datetime
) -> bool:
    """Prolong the claims on tasks and device; False when another worker has taken the device meanwhile."""
    await connection.execute(
        update(task)
        .where(task.c.id.in_(list(task_ids)), task.c.status == "claimed", task.c.claimed_by == worker)
        .values(claim_until=until)
    )
    result = await connection.execute(
        update(device)
        .where(device.c.id == device_id, device.c.leased_by == worker)
        .values(leased_until=until)
    )
    return result.rowcount == 1


async def open_task_of_point(connection: AsyncConnection, point_id: str) -> AnyRow | None:
    return (
        await connection.execute(
            select(task).where(task.c.point_id == point_id, task.c.status.in_(OPEN_STATUSES))
        )
    ).one_or_none()


async def last_verified_task_of_point(connection: AsyncConnection, point_id: str) -> AnyRow | None:
    return (
        await connection.execute(
            select(task)
            .where(task.c.point_id == point_id, task.c.status == "verified")
            .order_by(task.c.verified_at.desc(), task.c.generation.desc(), task.c.id.desc())
            .limit(1)
        )
    ).one_or_none()


async def supersede_task(connection: AsyncConnection, task_id: str, why: str) -> None:
    await connection.execute(
        update(task)
        .where(task.c.id == task_id, task.c.status.in_(OPEN_STATUSES))
        .values(status="superseded", last_error=why, claimed_by=None, claim_until=None)
    )


_TASK = (
    task.c.id, task.c.point_id, task.c.service_id, task.c.generation, task.c.effect, task.c.cause,
    task.c.suspends, task.c.attempts, task.c.created_at, enforcement_point.c.mechanism,
    enforcement_point.c.device_id,
)  # fmt: skip


def _due_tasks(now: datetime, lease: timedelta, longest_wait: timedelta) -> Select[Any]:
    due = or_(
        and_(task.c.status == "waiting", _arrived(task.c.next_attempt_at, now, longest_wait)),
        and_(task.c.status == "claimed", _arrived(task.c.claim_until, now, lease)),
    )
    reachable = or_(
        device.c.id.is_(None),
        and_(
            device.c.enabled,
            _arrived(device.c.breaker_open_until, now, longest_wait),
            _arrived(device.c.leased_until, now, lease),
        ),
    )
    return (
        select(*_TASK)
        .join(enforcement_point, enforcement_point.c.id == task.c.point_id)
        .outerjoin(device, device.c.id == enforcement_point.c.device_id)
        .where(due, reachable)
    )


async def claim_due_tasks(
    connection: AsyncConnection,
    *,
    worker: str,
    now: datetime,
    lease: timedelta,
    longest_wait: timedelta,
    limit: int,
) -> list[AnyRow]:
    """Claim due tasks and the devices they need, restorations first.

    A claim that outlived its lease belongs to a crashed worker and is due again. Tasks whose device another
    worker holds stay where they are. On PostgreSQL rows that another worker is claiming are skipped.
    """
    restorations_first = case((task.c.effect.in_(CUTTING_OFF), 1), else_=0)
    query = _due_tasks(now, lease, longest_wait)
    query = query.order_by(restorations_first, task.c.created_at, task.c.id).limit(limit)
    rows = list(await connection.execute(query.with_for_update(skip_locked=True, of=task)))
    held = {
        device_id: await lease_device(connection, device_id, worker, now, lease)
        for device_id in sorted({row.device_id for row in rows if row.device_id})
    }
    ours = [row for row in rows if row.device_id is None or held[row.device_id]]
    if ours:
        await connection.execute(
            update(task)
            .where(task.c.id.in_([row.id for row in ours]))
            .values(
                status="claimed", claimed_by=worker, claim_until=now + lease, attempts=task.c.attempts + 1
            )
        )
    return ours


async def anything_due(
    connection: AsyncConnection, now: datetime, lease: timedelta, longest_wait: timedelta
) -> bool:
    """True when a look for tasks would find some."""
    rows = await connection.execute(_due_tasks(now, lease, longest_wait).limit(1))
    return rows.first() is not None


async def has_failing_tasks(connection: AsyncConnection, device_id: str) -> bool:
    """True when a task of this device waits for another attempt after a failure."""
    rows = await connection.execute(
        select(task.c.id)
        .join(enforcement_point, enforcement_point.c.id == task.c.point_id)
        .where(
            enforcement_point.c.device_id == device_id,
            task.c.status.in_(["waiting", "claimed"]),
            task.c.attempts > 0,
            task.c.last_error.is_not(None),
            task.c.last_error.not_like(f"{STILL_BLOCKED}%"),  # these have an issue of their own
            task.c.last_error.not_like(f"{PLACE_TAKEN}%"),
        )
        .limit(1)
    )
    return rows.first() is not None


async def tasks_waiting_for_disabled(connection: AsyncConnection) -> list[AnyRow]:
    """(id, name, tasks) of disabled devices with open tasks."""
    rows = await connection.execute(
        select(device.c.id, device.c.name, func.count().label("tasks"))
        .join(enforcement_point, enforcement_point.c.device_id == device.c.id)
        .join(task, task.c.point_id == enforcement_point.c.id)
        .where(device.c.enabled.is_(False), task.c.status.in_(OPEN_STATUSES))
        .group_by(device.c.id, device.c.name)
        .order_by(device.c.name)
    )
    return list(rows)


async def tasks_still_claimed(connection: AsyncConnection, task_ids: Iterable[str], worker: str) -> set[str]:
    """Of these tasks, the ones this worker still holds and nothing newer has replaced."""
    rows = await connection.execute(
        select(task.c.id).where(
            task.c.id.in_(list(task_ids)), task.c.status == "claimed", task.c.claimed_by == worker
        )
    )
    return set(rows.scalars())


async def finish_task(
    connection: AsyncConnection, task_id: str, worker: str, now: datetime, proof: dict[str, Any]
) -> bool:
    """Mark verified; False when the task was superseded or claimed by another meanwhile."""
    result = await connection.execute(
        update(task)
        .where(task.c.id == task_id, task.c.status == "claimed", task.c.claimed_by == worker)
        .values(
            status="verified", verified_at=now, proof=proof, claimed_by=None, claim_until=None,
            next_attempt_at=None, last_error=None,
        )
    )  # fmt: skip
    return result.rowcount == 1


async def postpone_task(
    connection: AsyncConnection, task_id: str, worker: str, next_attempt_at: datetime, error: str
) -> None:
    """Give the claimed task back to wait for its next attempt."""
    await connection.execute(
        update(task)
        .where(task.c.id == task_id, task.c.status == "claimed", task.c.claimed_by == worker)
        .values(
            status="waiting", next_attempt_at=next_attempt_at, last_error=error,
            claimed_by=None, claim_until=None,
        )
    )  # fmt: skip


async def unclaim_tasks(connection: AsyncConnection, task_ids: Iterable[str], worker: str) -> None:
    """Give tasks back as if they had not been claimed."""
    await connection.execute(
        update(task)
        .where(task.c.id.in_(list(task_ids)), task.c.status == "claimed", task.c.claimed_by == worker)
        .values(status="waiting", claimed_by=None, claim_until=None, attempts=task.c.attempts - 1)
    )


async def newest_tasks_on(
    connection: AsyncConnection, service_ids: Collection[str], device_id: str
) -> dict[str, AnyRow]:
    """Per service: the newest task of its point on this device, whatever its status."""
    rows = await connection.execute(
        select(task.c.service_id, task.c.status, task.c.generation, task.c.effect)
        .join(enforcement_point, enforcement_point.c.id == task.c.point_id)
        .where(enforcement_point.c.device_id == device_id, task.c.service_id.in_(list(service_ids)))
        .order_by(task.c.created_at, task.c.generation, task.c.id)
    )
    return {row.service_id: row for row in rows}


# --- blast radius


async def suspensions_pending(connection: AsyncConnection) -> list[AnyRow]:
    """New suspensions that are neither parked nor carried out, oldest first, with the device's tower.

    Those of disabled devices are left out: they cannot be carried out, and must not use up the caps.
    """
    rows = await connection.execute(
        select(
            task.c.id,
            task.c.service_id,
            task.c.status,
            task.c.attempts,
            task.c.approved_by,
            task.c.created_at,
            device.c.site_id,
        )
        .join(enforcement_point, enforcement_point.c.id == task.c.point_id)
        .outerjoin(device, device.c.id == enforcement_point.c.device_id)
        .where(
            task.c.suspends,
            task.c.status.in_(["waiting", "claimed"]),
            or_(device.c.id.is_(None), device.c.enabled),
        )
        .order_by(task.c.created_at, task.c.id)
    )
    return list(rows)


async def services_suspended_since(connection: AsyncConnection, since: datetime) -> set[str]:
    """Services newly suspended (verified, unapproved) after ``since``."""
    rows = await connection.execute(
        select(task.c.service_id)
        .where(
            task.c.suspends,
            task.c.approved_by.is_(None),
            task.c.status == "verified",
            task.c.verified_at > since,
        )
        .distinct()
    )
    return set(rows.scalars())


async def sites_in_outage(connection: AsyncConnection) -> set[str]:
    return set((await connection.execute(select(site.c.id).where(site.c.known_outage))).scalars())


async def device_in_outage(connection: AsyncConnection, device_id: str) -> bool:
    """True while the device's tower is known to be down."""
    rows = await connection.execute(
        select(site.c.known_outage)
        .join(device, device.c.site_id == site.c.id)
        .where(device.c.id == device_id)
    )
    return bool(rows.scalar_one_or_none())


async def park_task(connection: AsyncConnection, task_id: str, why: str) -> None:
    await connection.execute(
        update(task)
        .where(task.c.id == task_id, task.c.status == "waiting")
        .values(status="parked", last_error=why)
    )


async def open_issue_keys(connection: AsyncConnection, prefix: str) -> list[str]:
    """Keys of open health issues that begin with ``prefix``."""
    rows = await connection.execute(
        select(health_issue.c.key).where(
            health_issue.c.closed_at.is_(None), health_issue.c.key.startswith(prefix, autoescape=True)
        )
    )
    return list(rows.scalars())


async def defer_tasks(
    connection: AsyncConnection, task_ids: Iterable[str], until: datetime, why: str
) -> None:
    await connection.execute(
        update(task)
        .where(task.c.id.in_(list(task_ids)), task.c.status == "waiting")
        .values(next_attempt_at=until, last_error=why)
    )


async def parked_tasks(connection: AsyncConnection) -> list[AnyRow]:
    rows = await connection.execute(
        select(task.c.id, task.c.service_id).where(task.c.status == "parked").order_by(task.c.created_at)
    )
    return list(rows)


async def release_parked(
    connection: AsyncConnection, task_ids: Collection[str], approved_by: str, now: datetime
) -> None:
    await connection.execute(
        update(task)
        .where(task.c.id.in_(list(task_ids)), task.c.status == "parked")
        .values(status="waiting", approved_by=approved_by, next_attempt_at=now, last_error=None)
    )


async def hasten_tasks(connection: AsyncConnection, service_ids: Collection[str], now: datetime) -> None:
    """Waiting tasks of these services become due now."""
    await connection.execute(
        update(task)
        .where(task.c.service_id.in_(list(service_ids)), task.c.status == "waiting")
        .values(next_attempt_at=now)
    )


async def services_of_site(connection: AsyncConnection, site_id: str) -> list[str]:
    rows = await connection.execute(
        select(enforcement_point.c.service_id)
        .join(device, device.c.id == enforcement_point.c.device_id)
        .where(device.c.site_id == site_id)
        .distinct()
    )
    return list(rows.scalars())


# --- evidence


async def insert_transcript(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    await connection.execute(insert(transcript).values(values))


async def trim_transcripts(
    connection: AsyncConnection, *, device_id: str | None, task_id: str | None, keep: int
) -> None:
    """Keep the newest transcripts of one task (of the device's drift checks when ``task_id`` is None)."""
    same = and_(
        transcript.c.device_id.is_not_distinct_from(device_id),
        transcript.c.task_id.is_not_distinct_from(task_id),
    )
    newest = (
        select(transcript.c.id)
        .where(same)
        .order_by(transcript.c.started_at.desc(), transcript.c.id.desc())
        .limit(keep)
    )
    kept = list((await connection.execute(newest)).scalars())
    await connection.execute(delete(transcript).where(same, transcript.c.id.not_in(kept)))


async def insert_observation(connection: AsyncConnection, values: Mapping[str, Any], keep: int) -> None:
    """Record what a device said, and forget all but the newest ``keep`` sayings of it."""
    await connection.execute(insert(observation).values(values))
    mine = observation.c.device_id == values["device_id"]
    newest = (
        select(observation.c.seq).where(mine).order_by(observation.c.seq.desc()).offset(keep - 1).limit(1)
    )
    oldest_kept = (await connection.execute(newest)).scalar_one_or_none()
    if oldest_kept is not None:
        await connection.execute(delete(observation).where(mine, observation.c.seq < oldest_kept))


async def last_observation(connection: AsyncConnection, device_id: str) -> AnyRow | None:
    return (
        await connection.execute(
            select(observation)
            .where(observation.c.device_id == device_id)
            .order_by(observation.c.seq.desc())
            .limit(1)
        )
    ).one_or_none()


async def history_of_service(connection: AsyncConnection, service_id: str, limit: int) -> Sequence[AnyRow]:
    """Newest tasks of a service with their point and device names, for screens."""
    rows = await connection.execute(
        select(task, enforcement_point.c.mechanism, device.c.name.label("device_name"))
        .join(enforcement_point, enforcement_point.c.id == task.c.point_id)
        .outerjoin(device, device.c.id == enforcement_point.c.device_id)
        .where(task.c.service_id == service_id)
        .order_by(task.c.created_at.desc(), task.c.id.desc())
        .limit(limit)
    )
    return list(rows)


async def transcripts_of_service(
    connection: AsyncConnection, service_id: str, limit: int
) -> Sequence[AnyRow]:
    rows = await connection.execute(
        select(transcript)
        .where(transcript.c.service_id == service_id)
        .order_by(transcript.c.started_at.desc(), transcript.c.id.desc())
        .limit(limit)
    )
    return list(rows)
