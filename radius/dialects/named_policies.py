"""Names of the policies that a router must have, where RADIUS can only name a policy: one for each rate."""

from __future__ import annotations

from aaa.domain.profile import SessionTerms


def policy_names(terms: SessionTerms) -> tuple[str, str]:
    """(from the subscriber, to the subscriber): ``hilltop-up-5M``, ``hilltop-down-25M``.

    Named by rate, so that a throttled session has a policy of its own and a plan that changes needs no new
    word.
    """
    return f"hilltop-up-{_short(terms.rate_up_bps)}", f"hilltop-down-{_short(terms.rate_down_bps)}"


def _short(bps: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if bps % size == 0:
            return f"{bps // size}{unit}"
    return str(bps)


def remark(terms: SessionTerms) -> str:
    """What the operator has to do."""
    up, down = policy_names(terms)
    return f"the router must have the policies {up} and {down}: RADIUS can only name them"
