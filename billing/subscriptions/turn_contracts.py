"""Contracts come to the end of a term: the customer is told before, then it renews, ends or runs on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.clock_doubt import check_clock, find_clock_doubt
from billing.config import BillingSettings
from billing.domain.contract import Signed, contract_in_force, early_end_of
from billing.domain.phases import fold_phases
from billing.facts import NoticeDue
from billing.store import account_rows, contract_rows, plan_rows, subscription_rows
from billing.subscriptions.change_subscription import Standing, Wanted, find_standing, record_changes
from core.periods import local_date
from core.refusal import Refusal, granted
from core.work import Work, Workplace

TEMPLATE = "contract_notice"
_AT_ONCE = 1_000


async def turn_contracts(
    workplace: Workplace, *, actor: str = "system:contracts", settings: BillingSettings | None = None
) -> int | Refusal:
    """Look at the contracts whose day has come; returns how many. Refused on a doubtful clock.

    Run twice, or days late, each term is told of, renewed or ended once.
    """
    settings = settings or BillingSettings()
    doubt = await check_clock(workplace, settings, actor)
    if doubt is not None:
        return doubt
    async with workplace.reading() as connection:
        now = workplace.clock.now()
        furthest = now.astimezone(UTC).date() + timedelta(days=1)  # somewhere it has begun
        waiting = await contract_rows.turning_by(connection, furthest, _AT_ONCE)
    turned = 0
    for subscription_id, day, zone_name in waiting:
        if day > local_date(now, zone_name):
            continue
        async with workplace.work(actor) as work:
            doubt = await find_clock_doubt(work.connection, work.now, settings)
            if doubt is not None:  # it stepped since
                return doubt
            await _turn(work, granted(await find_standing(work, subscription_id)))
            turned += 1
    return turned


async def _turn(work: Work, found: Standing) -> None:
    one, today = found.subscription, found.today
    versions = await plan_rows.plan_versions(
        work.connection, {phase.plan_version_id for phase in found.phases}
    )
    signed = contract_in_force(found.phases, versions, max(today, one.starts_on))
    bound = None if signed is None else signed.bound_on(max(today, one.starts_on))
    over = found.ends_on is not None and found.ends_on <= today
    turn_on = None
    if signed is not None and not over:
        plan = versions[signed.plan_version_id].name
        if signed.contract.ends and found.ends_on is None and today < signed.first_end:
            await _end_with_term(work, found, signed)
            found = granted(await find_standing(work, one.id))
        await _note_terms(work, found, signed)
        if bound is not None:
            await _tell(work, found, signed, bound, plan)
            notice_on = bound - timedelta(days=signed.contract.notice_days)
            turn_on = notice_on if notice_on > today else bound
    await subscription_rows.update_subscription(
        work.connection, one.id, {"contract_until": bound, "contract_turn_on": turn_on}
    )


async def _end_with_term(work: Work, found: Standing, signed: Signed) -> None:
    """Once a term: when an operator takes that end back, the subscription runs on."""
    one = found.subscription
    if await _note(work, one.id, "ends", signed.first_end, None):
        granted(
            await record_changes(
                work, one.id, [Wanted("end", signed.first_end, reason="the contract ends with its term")]
            )
        )


async def _note_terms(work: Work, found: Standing, signed: Signed) -> None:
    """Each term that is over: renewed up to another day, or free from then on."""
    one, end = found.subscription, signed.first_end
    while end <= found.today:
        bound = signed.bound_on(end)
        kind = "runs_on" if bound is None else "renewed"
        if await _note(work, one.id, kind, end, bound):
            await work.audit(
                f"billing.contract_{kind}", found.account.id, subscription=one.id, term_end=str(end),
                bound_until=None if bound is None else str(bound),
            )  # fmt: skip
        if bound is None:
            return
        end = bound


async def _tell(work: Work, found: Standing, signed: Signed, bound: date, plan: str) -> None:
    """Once for each term, unless the customer leaves by its end anyway."""
    one, contract = found.subscription, signed.contract
    if contract.notice_days == 0 or found.today < bound - timedelta(days=contract.notice_days):
        return
    ends_with_term = contract.ends and found.ends_on == bound
    if found.ends_on is not None and found.ends_on <= bound and not ends_with_term:
        return
    if not await _note(work, one.id, "noticed", bound, bound):
        return
    await work.publish(
        NoticeDue(
            found.account.id, "email", TEMPLATE, f"contract:{one.id}:{bound}",
            {
                "plan": plan, "bound_until": bound.isoformat(), "renews_months": contract.renews_months,
                "after": "runs_on" if contract.ends and not ends_with_term else contract.after,
                "currency": found.account.currency,
            },
        )
    )  # fmt: skip
    await work.audit("billing.contract_noticed", found.account.id, subscription=one.id, term_end=str(bound))


async def _note(work: Work, subscription_id: str, kind: str, term_end: date, bound: date | None) -> bool:
    values = {
        "subscription_id": subscription_id, "kind": kind, "term_end": term_end, "bound_until": bound,
        "recorded_at": work.now,
    }  # fmt: skip
    return await contract_rows.insert_event(work.connection, values)


@dataclass(frozen=True, slots=True)
class ContractEvent:
    """What became of the term that ended (or ends) on ``term_end``: noticed, renewed, ends, runs_on."""

    kind: str
    term_end: date
    bound_until: date | None


@dataclass(frozen=True, slots=True)
class ContractView:
    """How a customer is bound today. ``fee_minor``: what ending ``today`` costs, net of tax.

    ``after``: what follows the term: renews (by ``renews_months``), ends or runs_on. ``bound_until`` None:
    the term is over and he is free.
    """

    subscription_id: str
    plan: str
    signed_on: date
    bound_until: date | None
    after: str
    renews_months: int | None
    months_left: int
    fee_minor: int
    currency: str
    ends_on: date | None
    events: tuple[ContractEvent, ...]


async def contracts_of(connection: AsyncConnection, account_id: str, today: date) -> list[ContractView]:
    """The contracts of an account's running subscriptions."""
    account = await account_rows.find_account(connection, account_id)
    own = (await subscription_rows.subscriptions_of(connection, [account_id]))[account_id]
    running = [one for one in own if one.ends_on is None or one.ends_on > today]
    ids = [one.id for one in running]
    changes = await subscription_rows.changes_of(connection, ids)
    versions = await plan_rows.plan_versions(connection)
    events: dict[str, list[ContractEvent]] = {}
    for row in await contract_rows.events_of(connection, ids):
        events.setdefault(row.subscription_id, []).append(
            ContractEvent(row.kind, row.term_end, row.bound_until)
        )
    found = []
    for one in running:
        phases = fold_phases(changes[one.id])
        day = max(today, one.starts_on)
        signed = contract_in_force(phases, versions, day)
        if signed is None or account is None:
            continue
        fee = early_end_of(phases, versions, day)
        found.append(
            ContractView(
                one.id, versions[signed.plan_version_id].name, signed.signed_on, signed.bound_on(day),
                signed.contract.after, signed.contract.renews_months, 0 if fee is None else fee.months_left,
                0 if fee is None else fee.amount_minor, account.currency, one.ends_on,
                tuple(events.get(one.id, ())),
            )
        )  # fmt: skip
    return found
