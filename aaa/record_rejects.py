"""Keep what was rejected and why: one row for each (NAS, identity, rule), counted, never piled up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aaa.store import directory_rows
from core.work import Work

KEPT_OF_A_NAS = 2_000


@dataclass(frozen=True, slots=True)
class RejectSighting:
    """Rejects of one identity under one rule, ``count`` of them between ``first_at`` and ``last_at``."""

    nas_id: str
    identity: str
    rule: str
    explanation: str
    remedy: str
    calling_station: str | None
    service_id: str | None
    first_at: datetime
    last_at: datetime
    count: int


async def record_rejects(work: Work, sightings: Sequence[RejectSighting]) -> None:
    """Add the sightings to the record. Texts from the wire are cut to what fits."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in sorted(sightings, key=lambda one: one.last_at):
        values = _row(one)
        key = (one.nas_id, values["identity"], one.rule)  # two names on the wire may be one as they are kept
        if key in rows:
            values |= {"first_at": rows[key]["first_at"], "count": one.count + rows[key]["count"]}
        rows[key] = values
    await directory_rows.count_rejects(work.connection, [rows[key] for key in sorted(rows)])


async def prune_rejects(work: Work, nas_id: str) -> None:
    """Forget all but the newest rejects at a NAS: whoever is in its network can make up identities."""
    await directory_rows.keep_newest_rejects(work.connection, nas_id, KEPT_OF_A_NAS)


def _row(one: RejectSighting) -> dict[str, Any]:
    return {
        "nas_id": one.nas_id, "identity": _fitting(one.identity, 253), "rule": one.rule,
        "explanation": _fitting(one.explanation, 1000), "remedy": one.remedy,
        "calling_station": None if one.calling_station is None else _fitting(one.calling_station, 64),
        "service_id": one.service_id, "first_at": one.first_at, "last_at": one.last_at, "count": one.count,
    }  # fmt: skip


def _fitting(text: str, longest: int) -> str:
    """PostgreSQL takes no NUL in a text."""
    return text.replace("\0", "\ufffd")[:longest]
