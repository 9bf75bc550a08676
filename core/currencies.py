"""Which currencies there are (ISO 4217, as CLDR keeps the list), told without loading babel at start."""

from __future__ import annotations

import re
from functools import cache

from core.refusal import Refusal

_CODE = re.compile(r"[A-Z]{3}")


def check_currency(code: str) -> str:
    """The code of a currency that is money somewhere today. Raises ``ValueError`` for any other.

    Units of account and metals (CLF and UYW with their four decimals, XAU) are no money anybody pays with,
    and former currencies are none any more.
    """
    if not _CODE.fullmatch(code):
        raise ValueError(f"{code[:20]!r} is not an ISO 4217 code such as USD")
    if code != "USD" and code not in currencies():  # the default costs nobody the list
        raise ValueError(f"{code} is no currency that is in use (ISO 4217); write it like USD")
    return code


@cache
def currencies() -> frozenset[str]:
    """The codes that are legal tender in some country today."""
    from babel.core import get_global

    territories = get_global("territory_currencies").values()
    return frozenset(
        code for uses in territories for code, _, until, tender in uses if tender and until is None
    )


def refuse_currency(code: str, field: str = "currency") -> Refusal | None:
    """Why this is no currency to be paid in."""
    try:
        check_currency(code)
    except ValueError as trouble:
        return Refusal("bad_currency", str(trouble), field)
    return None
