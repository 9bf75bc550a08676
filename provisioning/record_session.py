"""Writing down what came of a session: tasks, proof, transcripts, the device's health. One transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from core.health import close_issue, open_issue
from core.work import Work
from provisioning.claim import ClaimedTask
from provisioning.config import ProvisioningSettings
from provisioning.desired import Desired, read_desired
from provisioning.domain.backoff import backoff_s
from provisioning.domain.plan import Add, Change, Observation, mark_of
from provisioning.domain.verify import Verdict, judge, proof_of
from provisioning.facts import EnforcementVerified
from provisioning.issues import device_issue, device_key, foreign_issue, foreign_key, place_taken_issue
from provisioning.ports import NO_SESSION, Exchange, Target
from provisioning.reconcile import SessionReport, kind_of_complaint
from provisioning.store import repositories


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes sessions down for one worker. ``chance`` (0 to 1) is this session's share of jitter."""

    settings: ProvisioningSettings
    worker: str
    chance: float

    async def record_tasks(
        self, work: Work, target: Target, tasks: Sequence[ClaimedTask], report: SessionReport
    ) -> None:
        """Each task verified or put back; the device's breaker and issue follow from all of them."""
        still_ours = await repositories.tasks_still_claimed(
            work.connection, [task.id for task in tasks], self.worker
        )
        report.present = await _desired_now(work, report)
        failures: list[tuple[str, str]] = []
        verified = 0
        for task in tasks:
            outcome, failure = await self._record_task(work, target, task, report, task.id in still_ours)
            verified += outcome == "verified"
            failures += [failure] if failure else []
        await self.record_device(work, target, report, failures, any_success=verified > 0)
        if report.after is not None:
            await self.record_observation(work, target, report, ())

    async def _record_task(
        self, work: Work, target: Target, task: ClaimedTask, report: SessionReport, ours: bool
    ) -> tuple[str, tuple[str, str] | None]:
        """(outcome, the failure that counts against the device as (kind, text))."""
        verdict = _verdict(task.service_id, report, report.desired)
        outcome, error, failure = _judgement(task.service_id, report, verdict)
        if outcome == "verified":
            verdict = _verdict(task.service_id, report, report.present)
            if verdict is None or not verdict.agrees:
                outcome, error = "untouched", "what is wanted changed while the device was spoken to"
        await self._keep_transcript(work, target.device_id, task, outcome, report)
        if not ours:
            return outcome, failure
        if verdict is not None and outcome == "verified":
            await self._finish(work, target.device_id, task, report, verdict)
        elif outcome == "untouched":
            await self.give_back(work, task, error)
        else:
            await self.postpone(work, task, error)
        await self._tell_of_foreign(work, target, task.service_id, verdict)
        return outcome, failure

    async def _finish(
        self, work: Work, device_id: str, task: ClaimedTask, report: SessionReport, verdict: Verdict
    ) -> None:
        addresses = report.present.addresses[task.service_id] if report.present else frozenset()
        proof = proof_of(verdict, task.service_id, addresses) | {
            "device": device_id, "version": report.facts.get("version", ""),
            "read_back_at": work.now.isoformat(),
        }  # fmt: skip
        await finish_verified(work, task, self.worker, proof)

    async def postpone(self, work: Work, task: ClaimedTask, error: str) -> None:
        """Put the task back with a growing pause."""
        pause = backoff_s(
            task.attempts,
            first_s=self.settings.backoff_first_s,
            longest_s=self.settings.backoff_longest_s,
            jitter=self.settings.backoff_jitter,
            chance=self.chance,
        )
        await repositories.postpone_task(
            work.connection, task.id, self.worker, work.now + timedelta(seconds=pause), error[:500]
        )

    async def give_back(self, work: Work, task: ClaimedTask, why: str) -> None:
        """Put the task back as if it had not been tried, to be looked at soon."""
        await repositories.unclaim_tasks(work.connection, [task.id], self.worker)
        until = work.now + timedelta(seconds=self.settings.settle_s)
        await repositories.defer_tasks(work.connection, [task.id], until, why)

    async def record_device(
        self,
        work: Work,
        target: Target,
        report: SessionReport,
        failures: Sequence[tuple[str, str]],
        *,
        any_success: bool,
    ) -> None:
        """Facts and first host key; breaker and the device's one issue; the lease given back."""
        values: dict[str, Any] = {}
        if report.facts:
            values |= {"facts": report.facts, "last_contact_at": work.now}
        if report.host_key and target.host_key is None and report.trouble_kind not in NO_SESSION:
            await _pin(work, target, report.host_key)
        if failures:
            values |= await self._count_failure(work, target, failures[0], any_success)
        else:
            values |= {"failures_in_row": 0, "breaker_open_until": None}
            if not await repositories.has_failing_tasks(work.connection, target.device_id):
                await close_issue(work, device_key(target.device_id))
        await repositories.update_device(work.connection, target.device_id, **values)
        await repositories.release_device(work.connection, target.device_id, self.worker)

    async def _count_failure(
        self, work: Work, target: Target, failure: tuple[str, str], any_success: bool
    ) -> dict[str, Any]:
        row = await repositories.device_row(work.connection, target.device_id)
        in_row = 0 if any_success or row is None else row.failures_in_row + 1
        opens = in_row >= self.settings.breaker_failures
        severity = "critical" if opens or failure[0] in {"host_key", "lied"} else "warning"
        await open_issue(work, device_issue(target.device_id, target.name, *failure, severity))
        until = work.now + timedelta(seconds=self.settings.breaker_open_s) if opens else None
        return {"failures_in_row": in_row, "breaker_open_until": until}

    async def record_observation(
        self, work: Work, target: Target, report: SessionReport, drift: Iterable[Change]
    ) -> None:
        """Keep what the device said of our entries, and what of it was not as wanted."""
        seen = report.before if drift else report.after
        if seen is None:
            return
        entries = [{"mark": mark_of(e.service_id), "address": e.address} for e in sorted(seen.owned)]
        values = {
            "device_id": target.device_id, "at": work.now, "entries": entries,
            "drift": [_drift_words(change) for change in drift],
        }  # fmt: skip
        await repositories.insert_observation(work.connection, values, self.settings.observations_kept)

    async def _keep_transcript(
        self, work: Work, device_id: str, task: ClaimedTask, outcome: str, report: SessionReport
    ) -> None:
        about = [e for e in report.exchanges if e.service_id in (None, task.service_id)]
        await keep_transcript(
            work, self.settings, device_id=device_id, task_id=task.id, service_id=task.service_id,
            purpose="enforce", outcome=outcome, report=report, exchanges=about,
        )  # fmt: skip

    async def _tell_of_foreign(
        self, work: Work, target: Target, service_id: str, verdict: Verdict | None
    ) -> None:
        if verdict is None:
            return
        if verdict.only_foreign:
            place = target.device_id, target.name, service_id
            issue = (
                place_taken_issue(*place, list(verdict.place_taken))
                if verdict.place_taken
                else foreign_issue(*place, list(verdict.foreign))
            )
            await open_issue(work, issue)
        else:
            await close_issue(work, foreign_key(target.device_id, service_id))


async def finish_verified(work: Work, task: ClaimedTask, worker: str, proof: dict[str, Any]) -> None:
    """Mark the task verified and tell the world, unless it was superseded meanwhile."""
    if not await repositories.finish_task(work.connection, task.id, worker, work.now, proof):
        return
    if task.leaving:
        await repositories.set_mechanism(work.connection, task.point_id, "former")
        await work.audit("provisioning.enforcement_point_removed", task.service_id, device_id=task.device_id)
    else:
        await work.publish(
            EnforcementVerified(task.service_id, task.id, task.point_id, task.generation, task.effect)
        )


async def keep_transcript(
    work: Work,
    settings: ProvisioningSettings,
    *,
    device_id: str | None,
    task_id: str | None,
    service_id: str | None,
    purpose: str,
    outcome: str,
    report: SessionReport,
    exchanges: Sequence[Exchange],
) -> None:
    """Keep one transcript, and only the newest few of the same task."""
    await repositories.insert_transcript(
        work.connection,
        {
            "id": work.ids.new("tr"), "device_id": device_id, "task_id": task_id, "service_id": service_id,
            "purpose": purpose, "outcome": outcome, "started_at": report.started_at,
            "duration_ms": report.duration_ms, "exchanges": _as_json(exchanges, report),
        },
    )  # fmt: skip
    await repositories.trim_transcripts(
        work.connection, device_id=device_id, task_id=task_id, keep=settings.transcripts_kept
    )


def _as_json(exchanges: Sequence[Exchange], report: SessionReport) -> list[dict[str, Any]]:
    kept = [{key: value for key, value in asdict(e).items() if key != "service_id"} for e in exchanges]
    if report.trouble_kind is not None:
        kept.append({"sent": "", "received": f"({report.trouble_kind}: {report.trouble})", "ms": 0})
    return kept


async def _desired_now(work: Work, report: SessionReport) -> Desired | None:
    """What is wanted now of the services that the session was about: addresses move while devices talk."""
    if report.desired is None or report.after is None:
        return None
    scope, leaving = report.desired.wanted.scope, report.desired.leaving
    theirs = frozenset(entry for entry in report.after.owned if entry.service_id in scope)
    return await read_desired(work.connection, scope, Observation(theirs), leaving)


def _verdict(service_id: str, report: SessionReport, desired: Desired | None) -> Verdict | None:
    """The read-back's word on a service; None when the session did not get so far, or left it out."""
    if report.trouble_kind is not None or desired is None or report.after is None:
        return None
    if service_id not in desired.wanted.scope:
        return None
    return judge(
        service_id,
        cut_off=desired.cuts_off(service_id),
        addresses=desired.addresses[service_id],
        wanted=desired.wanted,
        observed=report.after,
    )


def _judgement(
    service_id: str, report: SessionReport, verdict: Verdict | None
) -> tuple[str, str, tuple[str, str] | None]:
    """(outcome, error text, failure of the device if it is one)."""
    if report.trouble_kind is not None:
        outcome = "unreachable" if report.trouble_kind in NO_SESSION else "failed"
        return outcome, report.trouble, (report.trouble_kind, report.trouble)
    if verdict is None:
        return "untouched", "not touched: it no longer applied when the device was ready", None
    if verdict.agrees:
        return "verified", "", None
    if verdict.only_foreign:
        return "failed", verdict.in_words(), None
    complaint = report.complaints.get(service_id)
    if complaint:
        text = f"the device refused: {complaint}"
        return "failed", text, (kind_of_complaint(complaint), text)
    text = f"commands were accepted, but {verdict.in_words()}"
    return "lied", text, ("lied", text)


async def _pin(work: Work, target: Target, host_key: str) -> None:
    if await repositories.pin_host_key(work.connection, target.device_id, host_key):
        await work.audit("provisioning.host_key_pinned", target.device_id, host_key=host_key)


def _drift_words(change: Change) -> dict[str, str]:
    what = "missing" if isinstance(change, Add) else "stale"
    return {"what": what, "mark": mark_of(change.service_id), "address": change.address}
