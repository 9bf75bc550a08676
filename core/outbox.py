"""The outbox: facts are delivered after their transaction committed, in order per subject, exactly once.

A reaction runs in the same transaction that marks its fact dispatched, so a crash repeats neither. A
reaction that fails is tried again with growing pauses; later facts of the same subject wait behind it,
those of other subjects do not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial

from core.facts import RecordedFact
from core.health import HealthIssue, close_issue, open_issue
from core.log import logger
from core.store import outbox_rows
from core.work import Work, Workplace

Reaction = Callable[[Work, RecordedFact], Awaitable[None]]

_PATIENCE = 5
_LONGEST_PAUSE = timedelta(minutes=5)
_log = logger("core")


async def dispatch_due(workplace: Workplace, reactions: Mapping[str, Reaction], limit: int = 200) -> int:
    """Deliver up to ``limit`` waiting facts; returns how many were delivered."""
    delivered = 0
    held_up: set[str] = set()
    async with workplace.reading() as connection:
        now = workplace.clock.now()
        waiting = await outbox_rows.due(connection, now, now + _LONGEST_PAUSE, limit)
    for recorded in waiting:
        if recorded.subject in held_up:
            continue
        try:
            delivered += await workplace.carry_out(
                "system:outbox", partial(_deliver, reactions=reactions, recorded=recorded)
            )
        except Exception as trouble:  # noqa: BLE001 - the boundary of one fact
            held_up.add(recorded.subject)
            await _postpone(workplace, recorded, trouble)
    return delivered


async def _deliver(work: Work, reactions: Mapping[str, Reaction], recorded: RecordedFact) -> int:
    if not await outbox_rows.mark_dispatched(work.connection, recorded.seq, work.now):
        return 0  # another worker was faster
    reaction = reactions.get(recorded.kind)
    if reaction is not None:
        await reaction(work, recorded)
    if recorded.attempts:
        await close_issue(work, _issue_key(recorded))
    return 1


async def _postpone(workplace: Workplace, recorded: RecordedFact, trouble: Exception) -> None:
    attempts = recorded.attempts + 1
    pause = min(timedelta(seconds=2**attempts), _LONGEST_PAUSE)
    _log.error(
        "fact_not_delivered",
        kind=recorded.kind,
        seq=recorded.seq,
        attempts=attempts,
        error=f"{type(trouble).__name__}: {trouble}",
    )
    async with workplace.work("system:outbox") as work:
        await outbox_rows.postpone(
            work.connection, recorded.seq, attempts, work.now + pause, f"{type(trouble).__name__}: {trouble}"
        )
        if attempts >= _PATIENCE:
            await open_issue(
                work,
                HealthIssue(
                    key=_issue_key(recorded),
                    severity="critical",
                    title=f"The fact {recorded.kind} of {recorded.subject} cannot be acted on",
                    remedy="Read the worker's log for the error; the fact is tried again by itself.",
                ),
            )


def _issue_key(recorded: RecordedFact) -> str:
    return f"core.outbox:{recorded.seq}"
