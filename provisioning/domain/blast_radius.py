"""How many customers one run may newly cut off. Pure.

A wrong date, a bad import or a faulty rule shows as many suspensions at once: what exceeds the caps waits for
a person. Restorations are never counted and never held back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caps:
    """Most services that may be newly suspended."""

    per_run: int
    per_site_per_hour: int


def hold_back(
    waiting: Sequence[str], site_of: Mapping[str, str], under_way: frozenset[str], caps: Caps
) -> dict[str, str]:
    """Services to park, each with the cap that it exceeds.

    ``waiting`` are services to be newly suspended, oldest first; ``under_way`` those let through within the
    last hour. Services without a device share one place of their own.
    """
    used = Counter(site_of.get(service_id) for service_id in under_way)
    parked: dict[str, str] = {}
    let_through = 0
    for service_id in dict.fromkeys(waiting):
        if service_id in under_way:
            continue
        site_id = site_of.get(service_id)
        if used[site_id] >= caps.per_site_per_hour:
            parked[service_id] = f"more than {caps.per_site_per_hour} within an hour at one tower"
        elif let_through >= caps.per_run:
            parked[service_id] = f"more than {caps.per_run} in one run"
        else:
            used[site_id] += 1
            let_through += 1
    return parked
