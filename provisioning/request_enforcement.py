"""Turn a change of entitlement into tasks: one intent for each point where it must become true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aaa.domain.effect import Effect
from aaa.entitlements import entitlement_of
from core.work import Work
from provisioning.desired import present_addresses, spared_addresses
from provisioning.store import repositories
from provisioning.store.repositories import AnyRow


async def request_enforcement(
    work: Work, *, service_id: str, generation: int, effect: str, cause: str, again: bool = False
) -> list[str]:
    """Ask that every enforcement point of the service reach ``generation``; returns the open tasks' ids.

    A service that was sold without any device gets its live-session point here. Newer generations supersede
    open tasks of older ones; an older generation than one already asked for or proven changes nothing. Asking
    twice for the same thing gives the same task, or none when it is already proven for the service's present
    addresses. ``again`` asks even then, and makes a waiting task due now (an operator's "enforce again").
    """
    await ensure_live_session_point(work, service_id)
    place = None if again else await _place(work, service_id, Effect(effect))
    task_ids = []
    for point in await repositories.points_of_service(work.connection, service_id):
        task_id = await _request_at_point(
            work, point, generation=generation, effect=effect, cause=cause, place=place
        )
        if task_id is not None:
            task_ids.append(task_id)
    if again:
        await repositories.hasten_tasks(work.connection, [service_id], work.now)
    return task_ids


async def _place(work: Work, service_id: str, effect: Effect) -> dict[str, list[str]]:
    """Where the service is now, in the words of a proof."""
    addresses = await present_addresses(work.connection, service_id)
    spared = await spared_addresses(work.connection, service_id, addresses) if effect.cuts_off else ()
    return {"addresses": sorted(addresses), "spared": sorted(spared)}


async def ensure_live_session_point(work: Work, service_id: str) -> None:
    """Every service has live sessions, whether a device enforces it or not. An unknown service has none."""
    points = await repositories.points_of_service(work.connection, service_id)
    if any(point.mechanism == "live_session" for point in points):
        return
    if await entitlement_of(work.connection, service_id) is not None:
        values = {"id": work.ids.new("point"), "service_id": service_id, "mechanism": "live_session"}
        await repositories.insert_point(work.connection, values)


async def request_at_point(
    work: Work, point: AnyRow, *, generation: int, effect: str, cause: str
) -> str | None:
    """Ask this one point, whatever is proven there; None when something newer is asked for already."""
    return await _request_at_point(work, point, generation=generation, effect=effect, cause=cause, place=None)


async def _request_at_point(
    work: Work, point: AnyRow, *, generation: int, effect: str, cause: str, place: Mapping[str, Any] | None
) -> str | None:
    standing = await repositories.open_task_of_point(work.connection, point.id)
    proven = await repositories.last_verified_task_of_point(work.connection, point.id)
    if standing is not None and standing.generation >= generation:
        return str(standing.id) if standing.generation == generation else None
    if proven is not None and standing is None and _says_nothing_new(proven, generation, place):
        return None
    if standing is not None:
        why = f"generation {generation} ({effect}) was asked for before this was proven"
        await repositories.supersede_task(work.connection, standing.id, why)
    cut_off_before = proven is not None and Effect(proven.effect).cuts_off
    task_id = work.ids.new("task")
    inserted = await repositories.insert_task(
        work.connection,
        {
            "id": task_id, "point_id": point.id, "service_id": point.service_id, "generation": generation,
            "effect": str(effect), "cause": cause, "status": "waiting", "attempts": 0,
            "next_attempt_at": work.now, "created_at": work.now,
            "suspends": Effect(effect).cuts_off and not cut_off_before,
        },
    )  # fmt: skip
    if not inserted:  # another transaction asked at the same moment: what it asked for stands now
        return await _request_at_point(
            work, point, generation=generation, effect=effect, cause=cause, place=place
        )
    return task_id


def _says_nothing_new(proven: AnyRow, generation: int, place: Mapping[str, Any] | None) -> bool:
    """True when the proof on record covers the request: a later generation, or this one at this place."""
    if proven.generation > generation:
        return True
    if proven.generation != generation or place is None:
        return False
    proof = proven.proof or {}
    same_addresses = bool(proof.get("addresses") == place["addresses"])
    return same_addresses and proof.get("spared", place["spared"]) == place["spared"]  # none in a session's
