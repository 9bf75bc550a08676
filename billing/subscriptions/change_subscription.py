"""Change a subscription: plan, quantity, pause, resume, end; today, in future or back-dated.

Each change is a row that is never edited. What it makes of periods that are invoiced already comes as
adjustments with the next invoice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from billing.clock_doubt import refuse_impossible_clock
from billing.domain.catalogue import Account, Subscription
from billing.domain.contract import early_end_of
from billing.domain.phases import FOREVER, Change, Phase, fold_phases, phase_on, standing
from billing.facts import SubscriptionTurned
from billing.invoicing.add_charge import add_charge, take_charge_back
from billing.store import account_rows, charge_rows, plan_rows, subscription_rows
from billing.subscriptions.next_cycle import plan_next_cycle
from billing.subscriptions.subscribe import MOST_OF_ONE, refuse_offer, refuse_second_meter
from core.periods import local_date
from core.refusal import Refusal, granted
from core.work import Work

FURTHEST_BACK_DAYS = 400
"""No change reaches further back: corrections are looked for over about as many cycles."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change that is asked for. ``effective_on`` None: the account's today."""

    kind: str
    effective_on: date | None = None
    plan_version_id: str | None = None
    quantity: int | None = None
    withdraws_id: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """A subscription with everything that a change of it depends on, its account locked."""

    subscription: Subscription
    account: Account
    changes: list[Change]
    today: date

    @property
    def phases(self) -> tuple[Phase, ...]:
        """As the changes make it."""
        return fold_phases(self.changes)

    @property
    def ends_on(self) -> date | None:
        """The first day on which it no longer runs."""
        return min((one.effective_on for one in standing(self.changes) if one.kind == "end"), default=None)


async def change_plan(
    work: Work,
    *,
    subscription_id: str,
    plan_version_id: str,
    effective_on: date | None = None,
    reason: str = "",
) -> date | Refusal:
    """Another plan version from ``effective_on`` on; returns that day."""
    wanted = Wanted("plan", effective_on, plan_version_id=plan_version_id, reason=reason)
    return await record_changes(work, subscription_id, [wanted])


async def change_quantity(
    work: Work, *, subscription_id: str, quantity: int, effective_on: date | None = None, reason: str = ""
) -> date | Refusal:
    """So many of it from ``effective_on`` on; returns that day."""
    wanted = Wanted("quantity", effective_on, quantity=quantity, reason=reason)
    return await record_changes(work, subscription_id, [wanted])


async def pause_subscription(
    work: Work,
    *,
    subscription_id: str,
    from_on: date | None = None,
    resume_on: date | None = None,
    reason: str = "",
) -> date | Refusal:
    """A vacation: only what is charged while paused is owed until ``resume_on`` (None: until resumed)."""
    wanted = [Wanted("pause", from_on, reason=reason)]
    if resume_on is not None:
        if from_on is not None and resume_on <= from_on:
            message = f"it resumes on {resume_on}, before the pause begins on {from_on}"
            return Refusal("bad_resume", message, "resume_on")
        wanted.append(Wanted("resume", resume_on, reason=reason))
    return await record_changes(work, subscription_id, wanted)


async def resume_subscription(
    work: Work, *, subscription_id: str, on: date | None = None, reason: str = ""
) -> date | Refusal:
    """The pause ends on ``on``; returns that day."""
    return await record_changes(work, subscription_id, [Wanted("resume", on, reason=reason)])


async def end_subscription(
    work: Work,
    *,
    subscription_id: str,
    ends_on: date | None = None,
    reason: str = "",
    waive_early_end: bool = False,
) -> date | Refusal:
    """End on ``ends_on`` (exclusive; the account's today without one); returns that day.

    Days already invoiced in advance come back as a credit on the next invoice, which also closes the usage.
    Ending on the day of the start means that it never ran; it must not end before its start. A contract that
    binds longer costs its fee, unless waived; the fee of a later end that stood is taken back. Its add-ons
    end with it.
    """
    found = await find_standing(work, subscription_id)
    if isinstance(found, Refusal):
        return found
    impossible = refuse_impossible_clock(work.now)  # ended before its start, it would be credited whole
    if impossible is not None:
        return impossible
    ends_on = ends_on or max(found.today, found.subscription.starts_on)
    ended = await record_changes(work, subscription_id, [Wanted("end", ends_on, reason=reason)])
    if isinstance(ended, Refusal):
        return ended
    for former in found.changes:
        if former.kind == "end":
            await _take_fee_back(work, found, former.id, reason or "the end is earlier")
    if not waive_early_end:
        await _charge_early_end(work, found, ends_on)
    for addon in await subscription_rows.addons_of(work.connection, subscription_id):
        if addon.ends_on is None or addon.ends_on > ends_on:
            granted(
                await end_subscription(
                    work,
                    subscription_id=addon.id,
                    ends_on=max(ends_on, addon.starts_on),
                    reason=reason,
                    waive_early_end=waive_early_end,
                )
            )
    return ended


async def withdraw_change(work: Work, *, subscription_id: str, change_id: str, reason: str) -> date | Refusal:
    """A change was a mistake, or is not wanted after all: as if it had never been; returns its day.

    With an end the ends of the add-ons that it took along are withdrawn, and a later end stands again with
    its fee. With a pause the resume goes that was ordered with it. Refused when the line was sold anew.
    """
    if not reason.strip():
        return Refusal("reason_missing", "say why the change is withdrawn", "reason")
    found = await find_standing(work, subscription_id)
    if isinstance(found, Refusal):
        return found
    wanted = [Wanted("withdraw", withdraws_id=change_id, reason=reason)]
    wanted += [Wanted("withdraw", withdraws_id=one, reason=reason) for one in _resumes_of(found, change_id)]
    done = await record_changes(work, subscription_id, wanted)
    if isinstance(done, Refusal):
        return done
    withdrawn = next(one for one in found.changes if one.id == change_id)
    if withdrawn.kind == "end":
        await _undo_end(work, found, withdrawn, reason)
    return done


def _resumes_of(found: Standing, change_id: str) -> list[str]:
    """The resume that was written with a pause: left standing it would end the next pause."""
    written = {one.recorded_at for one in found.changes if one.id == change_id and one.kind == "pause"}
    return [one.id for one in standing(found.changes) if one.kind == "resume" and one.recorded_at in written]


async def _undo_end(work: Work, found: Standing, end: Change, reason: str) -> None:
    """``found``: as it stood before the end was withdrawn."""
    one = found.subscription
    await _take_fee_back(work, found, end.id, reason)
    later = [each for each in standing(found.changes) if each.kind == "end" and each.id != end.id]
    if later and found.ends_on == end.effective_on < later[0].effective_on:
        charged = await charge_rows.charge_of_source(work.connection, _fee_source(one.id, later[0].id))
        if charged is not None:  # else it was waived, or nothing was bound
            now = granted(await find_standing(work, one.id))
            again = next(each.id for each in now.changes if each.withdraws_id == end.id)
            await _charge_early_end(work, now, later[0].effective_on, again=again)
    addons = [addon.id for addon in await subscription_rows.addons_of(work.connection, one.id)]
    changes = await subscription_rows.changes_of(work.connection, addons)
    for addon in addons:
        for each in standing(changes.get(addon, [])):
            if each.kind == "end" and each.recorded_at == end.recorded_at:  # written with it
                granted(await withdraw_change(work, subscription_id=addon, change_id=each.id, reason=reason))


async def record_changes(work: Work, subscription_id: str, wanted: Sequence[Wanted]) -> date | Refusal:
    """Write the changes, in their order, and what follows; returns the day of the first."""
    found = await find_standing(work, subscription_id)
    if isinstance(found, Refusal):
        return found
    rows: list[Change] = []
    for one in wanted:
        row = await prepare_change(work, found, one)
        if isinstance(row, Refusal):
            return row
        found.changes.append(row)
        rows.append(row)
    first = min(row.effective_on for row in rows)
    for row, one in zip(rows, wanted, strict=True):
        await _insert(work, row, one.reason)
        await work.audit(
            "billing.subscription_ended" if row.kind == "end" else "billing.subscription_changed",
            found.account.id, subscription=subscription_id, kind=row.kind,
            effective_on=str(row.effective_on), plan_version=row.plan_version_id, quantity=row.quantity,
            withdraws=row.withdraws_id, reason=one.reason,
        )  # fmt: skip
    before = found.subscription.recalculate_from
    await turn_subscription(work, found, first if before is None else min(first, before))
    await plan_next_cycle(work, found.account, first)
    return rows[0].effective_on


async def find_standing(work: Work, subscription_id: str) -> Standing | Refusal:
    """The subscription as it stands, its account locked."""
    found = await subscription_rows.find_subscription(work.connection, subscription_id)
    if found is None:
        message = f"there is no subscription {subscription_id}"
        return Refusal("unknown_subscription", message, "subscription_id")
    account = await account_rows.lock_account(work.connection, found.account_id)
    found = await subscription_rows.find_subscription(work.connection, subscription_id)  # now locked
    if account is None or found is None:
        raise RuntimeError(f"subscription {subscription_id} has no account")
    changes = await subscription_rows.changes_of(work.connection, [subscription_id])
    today = local_date(work.now, account.time_zone)
    return Standing(found, account, changes.get(subscription_id, []), today)


async def prepare_change(work: Work, found: Standing, wanted: Wanted) -> Change | Refusal:
    """The row that ``wanted`` becomes, not written yet; or why it cannot be."""
    on = wanted.effective_on or max(found.today, found.subscription.starts_on)
    if wanted.kind == "withdraw":
        stands = {one.id: one for one in standing(found.changes) if one.kind != "start"}
        withdrawn = stands.get(wanted.withdraws_id or "")
        if withdrawn is None:
            message = "no such change stands; a start is undone by ending on its day"
            return Refusal("unknown_change", message, "change_id")
        on = withdrawn.effective_on
    row = Change(
        work.ids.new("sch"), found.subscription.id, on, wanted.kind, wanted.plan_version_id, wanted.quantity,
        wanted.withdraws_id, work.now,
    )  # fmt: skip
    return _refuse_day(found, row) or await _refuse_change(work, found, row) or row


def _refuse_day(found: Standing, row: Change) -> Refusal | None:
    one, end = found.subscription, found.ends_on or FOREVER
    field = "ends_on" if row.kind == "end" else "effective_on"
    if row.kind == "end":
        if end <= row.effective_on:
            return Refusal("already_ended", f"the subscription ends on {end} already", "subscription_id")
        if row.effective_on < one.starts_on:
            return Refusal("ends_before_start", f"the subscription starts on {one.starts_on}", field)
    elif row.kind != "withdraw" and not one.starts_on <= row.effective_on < end:
        running = f"from {one.starts_on}" + ("" if end == FOREVER else f" until {end}")
        return Refusal("not_running", f"the subscription runs {running}; take a day within", field)
    if row.effective_on < found.today - timedelta(days=FURTHEST_BACK_DAYS):
        message = f"{row.effective_on} is over {FURTHEST_BACK_DAYS} days ago; correct that by a credit"
        return Refusal("too_far_back", message, field)
    return None


async def _refuse_change(work: Work, found: Standing, row: Change) -> Refusal | None:
    phase = phase_on(found.phases, row.effective_on)
    if row.kind == "withdraw":
        return await _refuse_resold(work, found, row)
    if row.kind == "plan":
        return await _refuse_plan(work, found, row, phase)
    if phase is None:
        return None
    return _refuse_quantity(row, phase) if row.kind == "quantity" else _refuse_pause(row, phase)


def _refuse_pause(row: Change, phase: Phase) -> Refusal | None:
    if row.kind == "pause" and phase.paused:
        return Refusal("already_paused", f"it is paused since {phase.start}", "effective_on")
    if row.kind == "resume" and not phase.paused:
        return Refusal("not_paused", f"it is not paused on {row.effective_on}", "effective_on")
    return None


async def _refuse_resold(work: Work, found: Standing, row: Change) -> Refusal | None:
    """A line has one plan at a time: an end is not withdrawn once the line is another subscription's."""
    one = found.subscription
    until = Standing(one, found.account, [*found.changes, row], found.today).ends_on
    offer = (await plan_rows.plan_versions(work.connection, [one.plan_version_id]))[one.plan_version_id]
    if one.service_id is None or offer.kind != "plan" or until == found.ends_on:
        return None
    other = await subscription_rows.plan_within(
        work.connection, one.service_id, row.effective_on, until, but=one.id
    )
    if other is None:
        return None
    message = f"service {one.service_id} has subscription {other.id} since {other.starts_on}; end that first"
    return Refusal("service_subscribed", message, "change_id")


def _refuse_quantity(row: Change, phase: Phase) -> Refusal | None:
    if row.quantity is None or not 1 <= row.quantity <= MOST_OF_ONE:
        return Refusal("bad_quantity", f"take 1 to {MOST_OF_ONE} of it", "quantity")
    if phase.quantity == row.quantity:
        return Refusal("same_quantity", f"it is {row.quantity} already", "quantity")
    return None


async def _refuse_plan(work: Work, found: Standing, row: Change, phase: Phase | None) -> Refusal | None:
    one, wanted = found.subscription, row.plan_version_id or ""
    versions = await plan_rows.plan_versions(work.connection, [wanted, one.plan_version_id])
    offer, present = versions.get(wanted), versions[one.plan_version_id]
    asked = Subscription(one.id, found.account.id, one.service_id, wanted, row.effective_on, None)
    refusal = refuse_offer(found.account, offer, asked)
    if refusal is not None or offer is None:
        return refusal
    if offer.kind != present.kind:
        message = f"{offer.code} is a {offer.kind}, not a {present.kind}"
        return Refusal("other_kind", message, "plan_version_id")
    if phase is not None and phase.plan_version_id == offer.id:
        message = f"it is on version {offer.version} of {offer.code} already on {row.effective_on}"
        return Refusal("same_plan", message, "plan_version_id")
    return await refuse_second_meter(work, asked, offer)


async def _insert(work: Work, row: Change, reason: str) -> None:
    await subscription_rows.insert_change(
        work.connection,
        {
            "id": row.id, "subscription_id": row.subscription_id, "effective_on": row.effective_on,
            "kind": row.kind, "plan_version_id": row.plan_version_id, "quantity": row.quantity,
            "withdraws_id": row.withdraws_id, "reason": reason or None, "recorded_at": row.recorded_at,
            "recorded_by": work.actor,
        },
    )  # fmt: skip


async def turn_subscription(
    work: Work, found: Standing, recalculate_from: date | None, *, due: bool = False
) -> None:
    """Bring the row to the account's today; tell the house what became of the line.

    ``due``: a day that was planned for has come.
    """
    one, phases, end = found.subscription, found.phases, found.ends_on
    present = phase_on(phases, found.today)
    shown = present or (phases[0] if phases and found.today < phases[0].start else None)
    later = [phase.start for phase in phases if phase.start > found.today]
    later += [end] if end is not None and end > found.today else []
    paused_on = present.start if present is not None and present.paused else None
    await subscription_rows.update_subscription(
        work.connection,
        one.id,
        {
            "plan_version_id": one.plan_version_id if shown is None else shown.plan_version_id,
            "quantity": one.quantity if shown is None else shown.quantity,
            "paused_on": paused_on,
            "ends_on": end,
            "next_change_on": min(later, default=None),
            "contract_turn_on": found.today if await _may_bind(work, phases) else None,
            "recalculate_from": recalculate_from,
        },
    )
    ended = end is not None and end <= found.today
    differs = shown is not None and (shown.plan_version_id, shown.paused) != (
        one.plan_version_id, one.paused_on is not None,
    )  # fmt: skip
    if ended or (present is not None and (due or differs or _over(one.ends_on, found.today))):
        await _tell_house(work, found, shown or present, ended=ended)


def _over(ends_on: date | None, today: date) -> bool:
    return ends_on is not None and ends_on <= today


async def _tell_house(work: Work, found: Standing, phase: Phase | None, *, ended: bool) -> None:
    """The line follows its plan, an add-on moves nothing; a line with another plan by now is that one's."""
    one = found.subscription
    version_id = one.plan_version_id if phase is None else phase.plan_version_id
    offer = (await plan_rows.plan_versions(work.connection, [version_id]))[version_id]
    if one.service_id is None or offer.kind != "plan":
        return
    if ended:
        other = await subscription_rows.overlapping_plan(work.connection, one.service_id, found.today)
        if other is not None and other.starts_on <= found.today:
            return
    await work.publish(
        SubscriptionTurned(
            one.id, one.account_id, one.service_id, version_id, offer.service_profile_id,
            phase is not None and phase.paused, ended,
        )
    )  # fmt: skip


async def _may_bind(work: Work, phases: Sequence[Phase]) -> bool:
    """Whether any of its plans has a contract: the worker looks what is in force."""
    offers = await plan_rows.plan_versions(work.connection, {one.plan_version_id for one in phases})
    return any(one.contract is not None for one in offers.values())


def _fee_source(subscription_id: str, change_id: str, again: str = "") -> str:
    return f"early_end:{subscription_id}:{change_id}" + (f":{again}" if again else "")


async def _take_fee_back(work: Work, found: Standing, end_id: str, reason: str) -> None:
    """The fee of that end, and that of each time it stood again because an earlier one was withdrawn."""
    for again in ("", *(one.id for one in found.changes if one.kind == "withdraw")):
        source = _fee_source(found.subscription.id, end_id, again)
        await take_charge_back(work, source=source, reason=reason)


async def _charge_early_end(work: Work, found: Standing, ends_on: date, *, again: str = "") -> None:
    """``found``: as it stood before the end was written. ``again``: what let it stand again, if it does."""
    one = found.subscription
    versions = await plan_rows.plan_versions(
        work.connection, {phase.plan_version_id for phase in found.phases}
    )
    owed = early_end_of(found.phases, versions, ends_on)
    if owed is None:
        return
    changes = (await subscription_rows.changes_of(work.connection, [one.id]))[one.id]
    [end] = [each for each in standing(changes) if each.kind == "end" and each.effective_on == ends_on][-1:]
    plan = versions[one.plan_version_id].name
    months = "1 month" if owed.months_left == 1 else f"{owed.months_left} months"
    granted(
        await add_charge(
            work,
            account_id=one.account_id,
            subscription_id=one.id,
            kind="early_end",
            description=f"{plan}: ended {months} before the contract",
            amount_minor=owed.amount_minor,
            tax_class=str(owed.explanation["tax_class"]),
            revenue="fees",
            source=_fee_source(one.id, end.id, again),
            explanation=owed.explanation,
            happened_on=ends_on,
        )
    )
