"""The days on which nobody is cut: public holidays by the ``holidays`` library, and the provider's own."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from datetime import date
from functools import lru_cache

from billing.domain.dunning_policy import ClosedDays

OWN = "closed by the provider"


def holidays_of(closed: ClosedDays) -> Mapping[date, str]:
    """Names by day; public ones are looked up year by year as they are asked for.

    Raises ``ValueError`` for a country or part of it that the library does not know.
    """
    own = dict.fromkeys(closed.own, OWN)
    if closed.country is None:
        return own
    return ChainMap(own, _public(closed.country, closed.subdivision))


@lru_cache(maxsize=64)
def _public(country: str, subdivision: str | None) -> dict[date, str]:
    import holidays  # only a policy that names a country needs the library

    try:
        found: dict[date, str] = holidays.country_holidays(country, subdiv=subdivision)
    except NotImplementedError:
        where = f"{country}, {subdivision}" if subdivision else country
        raise ValueError(f"no holidays are known for {where}; use ISO codes such as US and NM") from None
    return found
