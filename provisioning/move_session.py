"""The live-session half of enforcement: RADIUS moves the session, the sessions on record prove it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aaa.entitlements import open_sessions_of
from core.health import close_issue, open_issue
from core.log import logger
from core.work import Work, Workplace
from provisioning.claim import ClaimedTask, replace_if_behind
from provisioning.desired import present_addresses
from provisioning.domain.redaction import redact
from provisioning.issues import INTERNAL, live_session_issue, live_session_key
from provisioning.ports import Exchange, LiveSessionMover, LiveSessionOutcome
from provisioning.reconcile import SessionReport
from provisioning.record_session import Recorder, finish_verified, keep_transcript
from provisioning.store import repositories

_log = logger("provisioning")
_PATIENCE = 5  # looks for the Stop after a Disconnect before it counts as a failure


async def move_session(
    workplace: Workplace, mover: LiveSessionMover, recorder: Recorder, task: ClaimedTask, actor: str
) -> None:
    """Move the service's live sessions under its present entitlement, and verify that none is left behind."""
    async with workplace.work(actor) as work:
        ours = await repositories.tasks_still_claimed(work.connection, [task.id], recorder.worker)
        if not ours or await replace_if_behind(work, task):
            return
    report = SessionReport(workplace.clock.now())
    started = workplace.clock.monotonic_s()
    outcome = await _move(mover, task, report)
    report.duration_ms = round((workplace.clock.monotonic_s() - started) * 1000)

    async def write_down(work: Work) -> None:
        await _record(work, recorder, task, outcome, report)
        await replace_if_behind(work, task)

    await workplace.carry_out(actor, write_down)


async def _move(
    mover: LiveSessionMover, task: ClaimedTask, report: SessionReport
) -> LiveSessionOutcome | None:
    try:
        outcome = await mover.move(task.service_id, task.generation, task.effect)
    except Exception:  # noqa: BLE001 - the boundary: one live session
        _log.error("live_session_failed", service=task.service_id, exc_info=True)
        report.fail("internal", INTERNAL)
        return None
    report.exchanges = [
        Exchange(redact(str(e["sent"])), redact(str(e["received"])), round(e["ms"]))
        for e in outcome.exchanges
    ]
    return outcome


async def _record(
    work: Work,
    recorder: Recorder,
    task: ClaimedTask,
    outcome: LiveSessionOutcome | None,
    report: SessionReport,
) -> None:
    name, detail = (outcome.outcome, outcome.detail) if outcome else ("failed", report.trouble)
    behind = await _sessions_behind(work, task)
    if name == "nothing_live" or (name in {"moved", "disconnected"} and not behind):
        await finish_verified(work, task, recorder.worker, await _proof(work, task, name, detail))
        await close_issue(work, live_session_key(task.service_id))
        word = "verified"
    elif name in {"moved", "disconnected"} and task.attempts < _PATIENCE:
        await _wait_for_stop(work, recorder, task, f"{name}; {behind} session(s) not yet seen to follow")
        word = "settling"
    else:
        await recorder.postpone(work, task, f"{name}: {detail}")
        await open_issue(work, live_session_issue(task.service_id, name, detail))
        word = "unreachable" if name == "silent" else "failed"
    await keep_transcript(
        work, recorder.settings, device_id=None, task_id=task.id, service_id=task.service_id,
        purpose="enforce", outcome=word, report=report, exchanges=report.exchanges,
    )  # fmt: skip


async def _sessions_behind(work: Work, task: ClaimedTask) -> int:
    """Open sessions that run under an older entitlement than the task's: an acknowledgement is no proof."""
    sessions = await open_sessions_of(work.connection, task.service_id)
    return sum(1 for one in sessions if one.generation is None or one.generation < task.generation)


async def _wait_for_stop(work: Work, recorder: Recorder, task: ClaimedTask, why: str) -> None:
    until = work.now + timedelta(seconds=recorder.settings.settle_s)
    await repositories.postpone_task(work.connection, task.id, recorder.worker, until, why)


async def _proof(work: Work, task: ClaimedTask, name: str, detail: str) -> dict[str, Any]:
    return {
        "addresses": sorted(await present_addresses(work.connection, task.service_id)),
        "entries": [],
        "note": f"{name}: {detail}" if detail else name,
        "read_back_at": work.now.isoformat(),
    }
