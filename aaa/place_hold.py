"""Place and lift holds: the only way a service's entitlement falls or rises."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Row

from aaa.domain.effect import Effect
from aaa.domain.entitlement import Holder, StandingHold
from aaa.entitle import entitle_anew
from aaa.store import repositories
from core.refusal import Refusal
from core.work import Work


async def place_hold(
    work: Work, *, service_id: str, holder: str, effect: Effect, reason: str
) -> int | Refusal:
    """Place ``holder``'s hold on a service, or change the one it has there; returns the generation.

    The same hold again changes nothing and returns the generation that stands.
    """
    await repositories.take_directory_lane(work.connection)
    refusal = _check(holder, effect, reason) or await _check_service(work, service_id)
    if refusal is not None:
        return refusal
    standing = await _standing(work, service_id, holder)
    if standing is None or (standing.effect, standing.reason) != (effect.value, reason):
        await _replace(work, service_id, standing, StandingHold(holder, effect, reason))
    return await entitle_anew(work, service_id, f"{holder} holds: {reason}")


async def lift_hold(work: Work, *, service_id: str, holder: str, reason: str = "") -> int | Refusal:
    """Lift ``holder``'s own hold, and no other's; returns the generation (unchanged if it held nothing)."""
    await repositories.take_directory_lane(work.connection)
    if holder not in list(Holder):
        return _unknown_holder(holder)
    if await repositories.service_row(work.connection, service_id) is None:
        return _unknown_service(service_id)
    standing = await _standing(work, service_id, holder)
    if standing is not None:
        await repositories.lift_hold_row(work.connection, standing.id, work.now, work.actor)
        await work.audit("hold.lift", service_id, holder=holder, effect=standing.effect, reason=reason)
    return await entitle_anew(
        work, service_id, f"{holder} lifted its hold" + (f": {reason}" if reason else "")
    )


async def _standing(work: Work, service_id: str, holder: str) -> Row[Any] | None:
    rows = await repositories.standing_hold_rows(work.connection, service_id)
    return next((row for row in rows if row.holder == holder), None)


async def _replace(work: Work, service_id: str, standing: Row[Any] | None, new: StandingHold) -> None:
    if standing is not None:
        await repositories.lift_hold_row(work.connection, standing.id, work.now, work.actor)
    await repositories.insert_hold(
        work.connection,
        {
            "id": work.ids.new("hld"), "service_id": service_id, "holder": new.holder,
            "effect": new.effect.value, "reason": new.reason, "placed_at": work.now, "placed_by": work.actor,
        },
    )  # fmt: skip
    await work.audit(
        "hold.place", service_id, holder=new.holder, effect=new.effect.value, reason=new.reason,
        instead_of=None if standing is None else standing.effect,
    )  # fmt: skip


def _check(holder: str, effect: Effect, reason: str) -> Refusal | None:
    if holder not in list(Holder):
        return _unknown_holder(holder)
    if effect in (Effect.NONE, Effect.ENDED):
        return Refusal(
            "hold.effect",
            f"a hold cannot have the effect {effect.value}; use throttle, walled_garden or block, "
            "lift the hold, or end the service",
            "effect",
        )
    if not reason.strip():
        return Refusal(
            "hold.reason", "say why the service is held; the subscriber and the audit ask", "reason"
        )
    return None


async def _check_service(work: Work, service_id: str) -> Refusal | None:
    row = await repositories.service_row(work.connection, service_id)
    if row is None:
        return _unknown_service(service_id)
    if row.lifecycle == "ended":
        return Refusal(
            "service.ended", f"{service_id} has ended; there is nothing left to hold", "service_id"
        )
    return None


def _unknown_holder(holder: str) -> Refusal:
    return Refusal("hold.holder", f"{holder!r} is no holder; use one of {', '.join(Holder)}", "holder")


def _unknown_service(service_id: str) -> Refusal:
    return Refusal(
        "service.unknown", f"there is no service {service_id}; look it up by its account", "service_id"
    )
