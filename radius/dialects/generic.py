"""Any NAS that knows the RFCs: no word for a speed, Filter-Id for a filter."""

from __future__ import annotations

from aaa.domain.profile import SessionTerms
from radius.dialects.dialect import Dialect, nothing
from radius.dialects.standard import filter_id
from radius.dialects.wispr import session


def remarks(_terms: SessionTerms) -> list[str]:
    """The RFCs have no rates."""
    return ["the RFCs have no word for a rate: choose the NAS's dialect, or name a rate in a reply template"]


DIALECT = Dialect("generic", nothing, filter_id, session, remarks=remarks)
