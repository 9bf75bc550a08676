"""Health issues: findings with a remedy, opened once, seen again, closed when the cause is gone."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert, select, update

from core.store.tables import health_issue
from core.work import Work


@dataclass(frozen=True, slots=True)
class HealthIssue:
    """``key`` is the cause (``provisioning.device_unreachable:dev_…``); ``remedy`` says what to do."""

    key: str
    severity: str  # "warning" or "critical"
    title: str
    remedy: str


ROLE_ISSUE = "appliance.role:"
"""Begins the key of what says that a role cannot run."""


async def open_issue(work: Work, issue: HealthIssue) -> None:
    """Open the issue, or count one more sighting of it."""
    row = (
        await work.connection.execute(select(health_issue).where(health_issue.c.key == issue.key))
    ).one_or_none()
    if row is None:
        await work.connection.execute(
            insert(health_issue).values(
                key=issue.key,
                severity=issue.severity,
                title=issue.title,
                remedy=issue.remedy,
                opened_at=work.now,
                last_seen_at=work.now,
                occurrences=1,
            )
        )
        return
    await work.connection.execute(
        update(health_issue)
        .where(health_issue.c.key == issue.key)
        .values(
            severity=issue.severity,
            title=issue.title,
            remedy=issue.remedy,
            last_seen_at=work.now,
            closed_at=None,
            opened_at=work.now if row.closed_at else row.opened_at,
            occurrences=row.occurrences + 1,
        )
    )


async def close_issue(work: Work, key: str) -> None:
    """Close the issue if it is open."""
    await work.connection.execute(
        update(health_issue)
        .where(health_issue.c.key == key, health_issue.c.closed_at.is_(None))
        .values(closed_at=work.now)
    )
