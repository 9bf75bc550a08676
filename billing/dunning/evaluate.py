"""Dunning: evaluate the ladder by date, relieve it at once when money comes in, decide anew on other facts.

Each step is recorded as an event of its day; one fact tells the whole move, others the words to send.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock_doubt import check_clock, find_clock_doubt
from billing.config import BillingSettings
from billing.domain.dunning import decide_promise, overdue_on
from billing.domain.dunning_policy import Policy
from billing.dunning.debtors import Case, load_cases
from billing.dunning.record_outcomes import FEE_REVENUE, StageChange, record_outcomes
from billing.dunning.settle import CAPPED, Outcome, settle, settle_relief
from billing.invoicing.add_charge import add_charge
from billing.store import dunning_policy_rows, dunning_rows, exception_rows
from core.garbage import collected_after
from core.health import HealthIssue, close_issue, open_issue
from core.periods import local_date
from core.refusal import Refusal, granted
from core.work import Work, Workplace

__all__ = ["StageChange", "evaluate_dunning", "reconsider_dunning", "relieve_dunning"]

AT_ONCE = 1_000
"""Accounts decided in one transaction: few statements for many, and no writer waits long for it."""
CAP_ISSUE = "billing.dunning_capped:"


async def evaluate_dunning(
    workplace: Workplace,
    *,
    actor: str = "system:dunning",
    settings: BillingSettings | None = None,
    trust_clock: bool = False,
) -> list[StageChange] | Refusal:
    """Bring every account to the stage of its own local today, missed days in order, the worst debts first.

    An account is decided once a day; a cut that waits for its hour is looked at again when it strikes. What
    exceeds a policy's cap waits for the next night. Refused on a doubtful clock; with ``trust_clock`` the
    actor has looked at it and vouches for it.
    """
    settings = settings or BillingSettings()
    doubt = await check_clock(workplace, settings, actor, vouched=trust_clock)
    if doubt is not None:
        return doubt
    async with workplace.reading() as connection:
        now = workplace.clock.now()
        in_question = await dunning_rows.accounts_in_question(connection, tomorrow(now))
    # One evaluation a day: what else moves an account (payment, reversal, promise) is decided as it happens.
    account_ids = [
        one.account_id
        for one in in_question
        if one.evaluated_on != local_date(now, one.time_zone)
        or (one.look_again_at is not None and one.look_again_at <= now)
    ]
    changes: list[StageChange] = []
    cuts = Cuts()
    for start in range(0, len(account_ids), AT_ONCE):
        with collected_after():
            async with workplace.work(actor) as work:
                doubt = await find_clock_doubt(work.connection, work.now, settings)
                if doubt is not None:  # it stepped since
                    return doubt
                changes += await _evaluate_block(work, account_ids[start : start + AT_ONCE], cuts)
    if account_ids:
        await _tell_of_caps(workplace, actor, cuts)
    return changes


def tomorrow(now: datetime) -> date:
    """A day that has begun nowhere yet, or just somewhere."""
    return now.astimezone(UTC).date() + timedelta(days=1)


@dataclass(slots=True)
class Cuts:
    """How many may still be cut by each policy in each local night, and how many must wait."""

    _bases: dict[str, int] | None = None
    _left: dict[tuple[str, date], int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    caps: dict[str, int] = field(default_factory=dict)

    async def left(self, connection: AsyncConnection, case: Case) -> int | None:
        """For the account's policy in its night; None: nothing bounds it."""
        policy, policy_id = case.policy, case.state.policy_id
        if policy.cap is None:
            return None
        key = (policy_id, case.today)
        if key not in self._left:
            if self._bases is None:
                self._bases = await dunning_policy_rows.bases(connection)
            allowed = policy.cap.allows(self._bases.get(policy_id, 0))
            used = await dunning_rows.cuts_of_night(connection, policy_id, case.today)
            self._left[key] = max(0, allowed - used)
            self.caps[policy_id] = allowed
        return self._left[key]

    def count(self, case: Case) -> None:
        """One more is cut."""
        key = (case.state.policy_id, case.today)
        if key in self._left:
            self._left[key] -= 1

    def exhausted(self, policy_id: str) -> bool:
        """Whether some night of the policy has nothing left."""
        return any(left == 0 for (found, _), left in self._left.items() if found == policy_id)


async def settle_within(
    connection: AsyncConnection, case: Case, now: datetime, cuts: Cuts, *, any_hour: bool = False
) -> Outcome:
    """The account's outcome, its cut put off when the night has had enough of them."""
    outcome = settle(case, now, any_hour=any_hour)
    if not outcome.is_cut:
        return outcome
    left = await cuts.left(connection, case)
    if left is None or left > 0:
        cuts.count(case)
        return outcome
    outcome = settle(case, now, may_cut=False, any_hour=any_hour)
    if outcome.last.deferred is not None and outcome.last.deferred.code == CAPPED.code:
        cuts.waiting[case.state.policy_id] = cuts.waiting.get(case.state.policy_id, 0) + 1
    return outcome


async def _evaluate_block(work: Work, account_ids: Sequence[str], cuts: Cuts) -> list[StageChange]:
    await dunning_rows.lock_debtors(work.connection, account_ids)
    cases = {one.state.account_id: one for one in await load_cases(work.connection, account_ids, work.now)}
    outcomes: list[Outcome] = []
    early: dict[str, date] = {}
    for account_id in account_ids:  # in the order of the evaluation: the worst first
        case = cases[account_id]
        if case.today < case.state.evaluated_on:
            # A day to come was noted by a wrong clock: it is taken back, else nothing is decided till then.
            early[account_id] = case.today
        else:
            outcomes.append(await settle_within(work.connection, case, work.now, cuts))
    await dunning_rows.take_back_days(work.connection, early)
    broken = await _end_promises(work, [one.case for one in outcomes])
    return await record_outcomes(work, outcomes, broken=broken)


async def _end_promises(work: Work, cases: Sequence[Case]) -> set[str]:
    """Tell kept promises from broken ones; those that are over defer no more. Returns the broken accounts."""
    concerned = {one.state.account_id: one for one in cases if one.state.promise_until is not None}
    if not concerned:
        return set()
    promises = await exception_rows.open_promises(work.connection, concerned)
    paid = await exception_rows.paid_since(work.connection, {one.account_id: one.made_at for one in promises})
    ended, broken = [], set()
    for promise in promises:
        case = concerned[promise.account_id]
        state = decide_promise(
            promise.until, promise.promised_minor, paid[promise.account_id],
            overdue_on(case.debtor, case.today), case.today,
        )  # fmt: skip
        if state != "open":
            ended.append((promise.id, state))
        if state == "broken":
            broken.add(promise.account_id)
    await exception_rows.end_promises(work.connection, ended, work.now)
    over: dict[str, date | None] = {
        account_id: None
        for account_id, case in concerned.items()
        if case.state.promise_until is not None and case.state.promise_until < case.today
    }
    await exception_rows.set_promise_until(work.connection, over)
    return broken


async def _tell_of_caps(workplace: Workplace, actor: str, cuts: Cuts) -> None:
    if not cuts.caps:
        return
    async with workplace.work(actor) as work:
        names = await dunning_policy_rows.names(work.connection)
        for policy_id, cap in cuts.caps.items():
            waiting = cuts.waiting.get(policy_id, 0)
            if waiting:
                title = f"{waiting} accounts wait to be cut: {names[policy_id]} allows {cap} in one night"
                remedy = (
                    "Look at the dunning preview: is everybody on it rightly? If so, do nothing, the rest "
                    "follows in the next nights; or raise the cap of the policy."
                )
                await open_issue(work, HealthIssue(f"{CAP_ISSUE}{policy_id}", "warning", title, remedy))
            elif not cuts.exhausted(policy_id):
                await close_issue(work, f"{CAP_ISSUE}{policy_id}")


async def relieve_dunning(work: Work, account_id: str, *, paid: bool = True) -> StageChange | None:
    """After money came in: move the account to the milder stage it deserves now; it never gets worse here.

    The account must be locked by this transaction. ``paid``: it was the subscriber's money, which also keeps
    his promise, and whose reconnection may cost a fee.
    """
    [case] = await load_cases(work.connection, [account_id], work.now, for_relief=True)
    if paid:
        await _end_promises(work, [case] if case.state.promise_until is not None else [])
    outcome = settle_relief(case)
    if not outcome.steps and not case.approvals:
        return None
    return await _record_one(work, outcome, paid=paid)


async def reconsider_dunning(work: Work, account_id: str, *, clock_doubted: bool) -> StageChange | None:
    """Decide anew, for better or worse, missed days in order: a payment was taken back, an exception was set.

    While the clock is doubted, or stands before a day already decided, only for better: what is worse is left
    to the evaluation that follows when the clock is right.
    """
    [case] = await load_cases(work.connection, [account_id], work.now)
    if clock_doubted or case.today < case.state.evaluated_on:
        outcome = settle_relief(case)
        return await _record_one(work, outcome, paid=False) if outcome.steps else None
    outcome = await settle_within(work.connection, case, work.now, Cuts())
    return await _record_one(work, outcome, paid=False)


async def _record_one(work: Work, outcome: Outcome, *, paid: bool) -> StageChange | None:
    changes = await record_outcomes(work, [outcome])
    before, policy = outcome.case.state.stage, outcome.case.policy
    if paid and policy.reconnect_fee_minor and _is_reconnected(outcome):
        await _charge_reconnection(work, outcome, policy)
    if not changes:
        return None
    [change] = changes
    return change if change.to_stage is not before else None


def _is_reconnected(outcome: Outcome) -> bool:
    """Out of the walled garden or a block: back from a throttle nobody is reconnected."""
    suspended, now = outcome.case.state.stage, outcome.stage
    return suspended in _DISCONNECTED and now not in _DISCONNECTED


_DISCONNECTED = ("suspended", "ended")


async def _charge_reconnection(work: Work, outcome: Outcome, policy: Policy) -> None:
    state = outcome.case.state
    granted(
        await add_charge(
            work, account_id=state.account_id, kind="reconnect_fee", description="Reconnection fee",
            amount_minor=policy.reconnect_fee_minor, tax_class=policy.fee_tax_class, revenue=FEE_REVENUE,
            source=f"reconnect_fee:{state.account_id}:{int(state.since.timestamp())}",
            explanation={
                "suspended_at": state.since.isoformat(), "restored_at": work.now.isoformat(),
                "policy_version": policy.version_id,
            },
            happened_on=outcome.case.today,
        )
    )  # fmt: skip
