"""What was settled becomes rows and facts: trail, stages, fees, requests for approval, notices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from billing.domain.dunning import Decision, counted_of
from billing.domain.dunning_policy import Notice, Stage
from billing.dunning.settle import Outcome
from billing.facts import DunningStageChanged, NoticeDue
from billing.store import approval_rows, charge_rows, dunning_rows
from core.money import format_money
from core.work import Work

FEE_REVENUE = "fees"


@dataclass(frozen=True, slots=True)
class StageChange:
    """An account that moved, after all the days that were made up for."""

    account_id: str
    from_stage: Stage
    to_stage: Stage
    service_ids: tuple[str, ...]
    because: str


async def record_outcomes(
    work: Work, outcomes: Sequence[Outcome], *, broken: Iterable[str] = ()
) -> list[StageChange]:
    """Write them all; ``broken``: accounts whose promise turned out broken. The accounts are locked."""
    await dunning_rows.insert_events(work.connection, [row for one in outcomes for row in _events(work, one)])
    await _save_evaluated(work, [one for one in outcomes if one.steps or one.in_catch_up])
    moved = [one for one in outcomes if one.stage is not one.case.state.stage]
    await dunning_rows.save_stages(
        work.connection,
        [{"account_id": one.case.state.account_id, "stage": one.stage, "since": work.now} for one in moved],
    )
    changes = await _changes(work, moved)
    await charge_rows.insert_charges(work.connection, [row for one in outcomes for row in _fees(work, one)])
    await _follow_approvals(work, outcomes)
    facts: list[DunningStageChanged | NoticeDue] = [*await _stage_facts(work, changes)]
    broken = set(broken)
    for one in outcomes:
        facts += _notices(one, promise_broken=one.case.state.account_id in broken)
    await work.publish(*facts)
    return changes


async def _stage_facts(work: Work, changes: Sequence[StageChange]) -> list[DunningStageChanged]:
    """A service on two ladders, its account's for old debts and its payer's, is held by the harsher one."""
    others = await dunning_rows.stages_beside(work.connection, [one.account_id for one in changes])
    facts = []
    for one in changes:
        held: dict[Stage, list[str]] = {}
        for service_id in one.service_ids:
            beside = others.get((one.account_id, service_id), one.to_stage)
            held.setdefault(max(one.to_stage, beside, key=lambda stage: stage.rank), []).append(service_id)
        facts += [
            DunningStageChanged(one.account_id, services, one.from_stage, stage, one.because)
            for stage, services in (held or {one.to_stage: []}).items()
        ]
    return facts


def _events(work: Work, outcome: Outcome) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    state = outcome.case.state
    stage = state.stage
    for step in outcome.steps:
        cut = step.stage.touches_service and step.stage.rank > stage.rank
        because: dict[str, Any] = {
            "text": step.because, "overdue_minor": step.overdue_minor, "days_overdue": step.days_overdue,
        }  # fmt: skip
        if step.notices:
            told = step is outcome.last or step is outcome.steps[-1]
            words = [f"{one.channel} {one.template}" for one in step.notices]
            because["notices" if told else "notices_overtaken"] = words
        events.append({
            "account_id": state.account_id, "on_date": step.on, "from_stage": stage, "to_stage": step.stage,
            "because": because, "at": work.now, "policy_version_id": step.version_id or None,
            "policy_id": state.policy_id, "cut_on": outcome.case.today if cut else None,
        })  # fmt: skip
        stage = step.stage
    return events


async def _save_evaluated(work: Work, outcomes: Sequence[Outcome]) -> None:
    """Most nights nothing happens to most accounts: their day is noted in one statement."""
    quiet: dict[date, list[str]] = {}
    rows = []
    for one in outcomes:
        state, row = one.case.state, _evaluated(one)
        if one.look_again_at is None and (state.reached, state.cut_minor, state.respite_until) == (
            row["reached"], row["cut_minor"], row["respite_until"],
        ):  # fmt: skip
            quiet.setdefault(row["evaluated_on"], []).append(state.account_id)
        else:
            rows.append(row)
    for on, account_ids in quiet.items():
        await dunning_rows.save_quiet(work.connection, on, account_ids)
    await dunning_rows.save_evaluated(work.connection, rows)


def _evaluated(outcome: Outcome) -> dict[str, Any]:
    state, last = outcome.case.state, outcome.last
    return {
        "account_id": state.account_id, "evaluated_on": max(outcome.case.today, state.evaluated_on),
        "reached": last.reached, "cut_minor": last.cut_minor, "respite_until": last.respite_until,
        "look_again_at": outcome.look_again_at,
    }  # fmt: skip


async def _changes(work: Work, moved: Sequence[Outcome]) -> list[StageChange]:
    days = {one.case.state.account_id: one.case.today for one in moved}
    services = await dunning_rows.services_of(work.connection, days) if days else {}
    changes = []
    for one in moved:
        state = one.case.state
        concerned = list(services[state.account_id])
        if one.stage.rank < state.stage.rank:
            concerned += await dunning_rows.services_left_behind(
                work.connection, state.account_id, one.case.today
            )
        changes.append(
            StageChange(
                state.account_id, state.stage, one.stage, tuple(dict.fromkeys(concerned)), one.because
            )
        )
    return changes


def _fees(work: Work, outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {
            "id": work.ids.new("chg"), "account_id": outcome.case.state.account_id, "subscription_id": None,
            "kind": "late_fee", "description": f"Late fee for invoice {fee.invoice}", "quantity": None,
            "quoted_minor": fee.amount_minor, "tax_included": False,
            "tax_class": outcome.case.ladders.on(fee.on).fee_tax_class, "revenue": FEE_REVENUE,
            "happened_on": fee.on, "bill_from": fee.on, "period_end": None, "source": fee.source,
            "explanation": fee.explanation, "recorded_at": work.now, "recorded_by": work.actor,
            "withdrawn_at": None,
        }
        for fee in outcome.fees
    ]  # fmt: skip


# Requests for an operator's word


async def _follow_approvals(work: Work, outcomes: Sequence[Outcome]) -> None:
    """Ask for what waits, use up what came true, drop what is no longer wanted or was left too long."""
    states: list[tuple[str, str]] = []
    asked: list[dict[str, Any]] = []
    for one in outcomes:
        live = set()
        for request in one.case.approvals:
            state = _fate(request, one)
            if state is None:
                live.add((request.kind, request.subject))
            else:
                states.append((request.id, state))
        asked += [row for row in _wishes(work, one) if (row["kind"], row["subject"]) not in live]
    await approval_rows.set_states(work.connection, states)
    await approval_rows.insert_approvals(work.connection, asked)


def _fate(request: Any, outcome: Outcome) -> str | None:
    """What became of a live request; None: it goes on."""
    if outcome.case.today > request.expires_on:
        return "expired"
    if request.kind == "write_off":
        still_open = any(one.id == request.subject for one in outcome.case.debtor.unpaid)
        return None if still_open else "withdrawn"
    asked_for = Stage(request.subject)
    if request.state == "approved" and outcome.stage.rank >= asked_for.rank:
        return "done"
    if request.state != "declined" and outcome.last.wanted.rank < asked_for.rank:
        return "withdrawn"
    return None


def _wishes(work: Work, outcome: Outcome) -> list[dict[str, Any]]:
    policy, debtor, today = outcome.case.policy, outcome.case.debtor, outcome.case.today
    wishes: list[tuple[str, str, str, int]] = []
    last = outcome.last
    if last.deferred is not None and last.deferred.code == "approval":
        wishes.append(("stage", str(last.wanted), last.because, last.overdue_minor))
    if policy.write_off_days is not None and not debtor.is_immune(today):
        for one, counted in counted_of(debtor, today):
            late_by = one.days_overdue(today)
            if late_by >= policy.write_off_days:
                amount = format_money(counted, debtor.currency)
                words = f"invoice {one.number}, due on {one.due_on}, {late_by} days late: {amount} open"
                wishes.append(("write_off", one.id, words, counted))
    days = policy.approving.days if policy.approving is not None else 14
    return [
        {
            "id": work.ids.new("apr"), "account_id": outcome.case.state.account_id, "kind": kind,
            "subject": subject, "because": because, "overdue_minor": overdue_minor, "asked_on": today,
            "expires_on": today + timedelta(days=days), "state": "waiting", "asked_at": work.now,
        }
        for kind, subject, because, overdue_minor in wishes
    ]  # fmt: skip


# Words to the subscriber


def _notices(outcome: Outcome, *, promise_broken: bool) -> list[NoticeDue]:
    """Of several rungs made up for at once only the last one's words: nobody gets three letters in a day."""
    policy, state = outcome.case.policy, outcome.case.state
    due: list[tuple[Notice, Decision]] = []
    if promise_broken:
        due += [(one, outcome.last) for one in policy.on_promise_broken]
    told = [step for step in outcome.steps if step.notices]
    if told and told[-1] is outcome.steps[-1]:
        due += [(one, told[-1]) for one in told[-1].notices]
    if state.stage.touches_service and not outcome.stage.touches_service:
        due += [(one, outcome.last) for one in policy.on_restored]
    return [
        NoticeDue(
            state.account_id, notice.channel, notice.template,
            f"dunning:{state.account_id}:{step.on}:{notice.template}:{notice.channel}",
            notice_context(outcome, step),
        )
        for notice, step in due
    ]  # fmt: skip


def notice_context(outcome: Outcome, step: Decision) -> dict[str, Any]:
    """What a template may say about the account's debt."""
    state, debtor, today = outcome.case.state, outcome.case.debtor, outcome.case.today
    late = sorted((one for one, _ in counted_of(debtor, today)), key=lambda one: (one.due_on, one.number))
    context: dict[str, Any] = {
        "account_number": state.number, "account_name": state.name, "stage": str(step.stage),
        "currency": state.currency, "overdue_minor": step.overdue_minor, "days_overdue": step.days_overdue,
        "overdue": format_money(step.overdue_minor, state.currency),
        "invoices": [one.number for one in late], "invoice": late[0].number if late else None,
        "due_on": late[0].due_on.isoformat() if late else None, "next_stage": None, "next_on": None,
        "promise_until": None if state.promise_until is None else state.promise_until.isoformat(),
        "on": step.on.isoformat(),
    }  # fmt: skip
    days = max((one.days_overdue(today) for one in late), default=0)
    for rung in outcome.case.policy.ladder:
        if rung.stage.rank > step.stage.rank and rung.days_overdue > days:
            context["next_stage"] = str(rung.stage)
            context["next_on"] = (today + timedelta(days=rung.days_overdue - days)).isoformat()
            break
    return context
