"""Write a service's entitlement: a new generation when the fold changed, with its history and its fact."""

from __future__ import annotations

from aaa.domain.effect import Effect
from aaa.domain.entitlement import Fold, StandingHold, fold_entitlement
from aaa.facts import EntitlementChanged
from aaa.store import repositories
from core.work import Work


async def entitle_first(work: Work, service_id: str, lifecycle: str) -> None:
    """The first generation of a new service. Nobody acts on it, so no fact is published."""
    fold = fold_entitlement(lifecycle, [])
    await repositories.insert_entitlement(work.connection, _values(work, service_id, 1, fold))
    await _remember(work, service_id, 1, fold)


async def entitle_anew(work: Work, service_id: str, cause: str, *, force: bool = False) -> int:
    """Fold holds and lifecycle again; returns the generation.

    A change of effect (or ``force``: the profile changed) makes a new generation and publishes it. A change
    of the reasons alone is written down without one, because nothing has to be enforced.
    """
    row = await repositories.entitlement_row(work.connection, service_id)
    if row is None:
        raise LookupError(f"service {service_id} has no entitlement")
    fold = await _fold(work, service_id)
    if fold.effect.value == row.effect and not force:
        if fold.because != row.because:
            await _tell(work, service_id, {"because": fold.because})
        return int(row.generation)
    generation = int(row.generation) + 1
    await _tell(work, service_id, _values(work, service_id, generation, fold))
    await _remember(work, service_id, generation, fold)
    await work.publish(EntitlementChanged(service_id, generation, fold.effect.value, cause))
    return generation


async def _fold(work: Work, service_id: str) -> Fold:
    service = await repositories.service_row(work.connection, service_id)
    if service is None:
        raise LookupError(f"there is no service {service_id}")
    rows = await repositories.standing_hold_rows(work.connection, service_id)
    return fold_entitlement(
        service.lifecycle, [StandingHold(row.holder, Effect(row.effect), row.reason) for row in rows]
    )


def _values(work: Work, service_id: str, generation: int, fold: Fold) -> dict[str, object]:
    return {
        "service_id": service_id, "generation": generation, "effect": fold.effect.value,
        "because": fold.because, "changed_at": work.now,
    }  # fmt: skip


async def _tell(work: Work, service_id: str, values: dict[str, object]) -> None:
    await repositories.update_entitlement(work.connection, service_id, values)
    await repositories.append_directory_change(work.connection, "service", service_id, work.now)


async def _remember(work: Work, service_id: str, generation: int, fold: Fold) -> None:
    values = _values(work, service_id, generation, fold) | {"changed_by": work.actor}
    await repositories.insert_entitlement_change(work.connection, values)
