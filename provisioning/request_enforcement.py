"""Turn a change of entitlement into tasks: one intent for each point where it must become true."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from aaa.domain.effect import Effect
from aaa.entitlements import addresses_of
from core.work import Work
from provisioning.store import repositories


async def request_enforcement(
    work: Work, *, service_id: str, generation: int, effect: str, cause: str, again: bool = False
) -> list[str]:
    """Ask that every enforcement point of the service reach ``generation``; returns the open tasks' ids.

    Newer generations supersede open tasks of older ones; an older generation than one already asked for or
    proven changes nothing. Asking twice for the same thing gives the same task, or none when it is already
    proven for the service's present addresses. ``again`` asks even then (an operator's "enforce again").
    A service that no device enforces still has its live sessions moved.
    """
    await ensure_live_session_point(work, service_id)
    addresses = sorted(await addresses_of(work.connection, service_id))
    task_ids = []
    for point in await repositories.points_of_service(work.connection, service_id):
        task_id = await _request_at_point(
            work, point, generation=generation, effect=effect, cause=cause,
            addresses=None if again else addresses,
        )  # fmt: skip
        if task_id is not None:
            task_ids.append(task_id)
    return task_ids


async def ensure_live_session_point(work: Work, service_id: str) -> None:
    """Every service is enforced at its live sessions, whatever devices it has."""
    points = await repositories.points_of_service(work.connection, service_id)
    if any(point.mechanism == "live_session" for point in points):
        return
    await repositories.insert_point(
        work.connection,
        {
            "id": work.ids.new("point"), "service_id": service_id, "mechanism": "live_session",
            "device_id": None,
        },
    )  # fmt: skip


async def _request_at_point(
    work: Work, point: Row[Any], *, generation: int, effect: str, cause: str, addresses: list[str] | None
) -> str | None:
    standing = await repositories.open_task_of_point(work.connection, point.id)
    proven = await repositories.last_verified_task_of_point(work.connection, point.id)
    if standing is not None and standing.generation >= generation:
        return str(standing.id) if standing.generation == generation else None
    if proven is not None and standing is None and _says_nothing_new(proven, generation, addresses):
        return None
    if standing is not None:
        why = f"generation {generation} ({effect}) was asked for before this was proven"
        await repositories.supersede_task(work.connection, standing.id, why)
    cut_off_before = proven is not None and Effect(proven.effect).cuts_off
    task_id = work.ids.new("task")
    await repositories.insert_task(
        work.connection,
        {
            "id": task_id, "point_id": point.id, "service_id": point.service_id, "generation": generation,
            "effect": str(effect), "cause": cause, "status": "waiting", "attempts": 0,
            "next_attempt_at": work.now, "created_at": work.now,
            "suspends": Effect(effect).cuts_off and not cut_off_before,
        },
    )  # fmt: skip
    return task_id


def _says_nothing_new(proven: Row[Any], generation: int, addresses: list[str] | None) -> bool:
    """True when the proof on record covers the request: a later generation, or this one, these addresses."""
    if proven.generation > generation:
        return True
    same = bool(proven.generation == generation)
    return same and addresses is not None and (proven.proof or {}).get("addresses") == addresses
