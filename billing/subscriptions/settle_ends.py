"""After a subscription's end: what never came back is charged, and the deposit is given back."""

from __future__ import annotations

from datetime import UTC, date, timedelta

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.domain.catalogue import Account, Subscription
from billing.invoicing.add_charge import add_charge
from billing.payments.deposits import release_deposit
from billing.payments.refund import order_refund
from billing.store import (
    account_rows,
    charge_rows,
    equipment_rows,
    money_out_rows,
    payment_rows,
    subscription_rows,
)
from billing.store.equipment_rows import Loan, loan_source
from billing.store.money_out_rows import HeldDeposit
from core.periods import local_date
from core.refusal import granted
from core.work import Work, Workplace

EQUIPMENT = "equipment"
"""Kind, tax class and ledger name of the charge for what never came back."""


async def settle_ends(
    workplace: Workplace, settings: BillingSettings | None = None, *, actor: str = "system:ends"
) -> int:
    """Charge lost equipment and release deposits, each once; returns how many. None by a doubted clock.

    A deposit waits for the subscription's last invoice and for its equipment (or the charge for that); then
    it pays what is open, and what is left is refunded by ``billing.deposit_refund_by``, or stays as credit
    without one or while the account has another subscription.
    """
    settings = settings or BillingSettings()
    now = workplace.clock.now()
    async with workplace.reading() as connection:
        if await find_clock_doubt(connection, now, settings):
            return 0
        latest = now.astimezone(UTC).date() + timedelta(days=1)
        lost = await equipment_rows.overdue(
            connection, latest - timedelta(days=settings.equipment_return_days)
        )
        holding = []
        if settings.release_deposits:
            holding = await money_out_rows.holders_of_ended(connection, latest)
    done = 0
    for loan in lost:
        async with workplace.work(actor) as work:
            done += await _charge_lost(work, loan, settings)
    for account_id in holding:
        async with workplace.work(actor) as work:
            done += await _release(work, account_id, settings)
    return done


async def _charge_lost(work: Work, loan: Loan, settings: BillingSettings) -> int:
    account = await account_rows.lock_account(work.connection, loan.account_id)
    one = await subscription_rows.find_subscription(work.connection, loan.subscription_id)
    still_out = await equipment_rows.loans(work.connection, loan_id=loan.id, out=True)
    if account is None or one is None or one.ends_on is None or not still_out:
        return 0
    today = local_date(work.now, account.time_zone)
    if one.ends_on + timedelta(days=settings.equipment_return_days) > today:
        return 0
    granted(
        await add_charge(
            work, account_id=account.id, subscription_id=one.id, kind=EQUIPMENT, tax_class=EQUIPMENT,
            revenue=EQUIPMENT, description=f"{loan.name} {loan.serial}"[:150] + ": not given back",
            amount_minor=loan.value_minor, source=loan_source(loan.id),
            explanation={
                "loan": loan.id, "serial": loan.serial, "lent_on": loan.lent_on.isoformat(),
                "ended_on": one.ends_on.isoformat(), "return_days": settings.equipment_return_days,
            },
        )
    )  # fmt: skip
    return 1


async def _release(work: Work, account_id: str, settings: BillingSettings) -> int:
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return 0
    today = local_date(work.now, account.time_zone)
    done = 0
    for held in await money_out_rows.deposits_of(work.connection, account_id):
        if held.held_minor > 0 and await _is_settled(work, account, held, today):
            given = granted(
                await release_deposit(
                    work, deposit_id=held.id, reason="the subscription has ended",
                    idempotency_key=f"end:{held.id}",
                )
            )  # fmt: skip
            await _refund_rest(work, account, given.payment_id, today, settings)
            done += 1
    return done


async def _is_settled(work: Work, account: Account, held: HeldDeposit, today: date) -> bool:
    """Whether its subscription is over, billed to the last day, and nothing of it is out or waits."""
    if held.subscription_id is None:
        return False
    one = await subscription_rows.find_subscription(work.connection, held.subscription_id)
    if one is None or one.ends_on is None or one.ends_on > today:
        return False
    last = account.cycle_containing(one.ends_on)
    turn = last.start if last.start == one.ends_on else last.end
    if account.next_cycle_on is not None and account.next_cycle_on <= turn:
        return False
    waiting = await charge_rows.waiting_charges(work.connection, [one.account_id], today)
    if any(each.subscription_id == one.id for each in waiting.get(one.account_id, [])):
        return False
    return not await _is_out(work, one)


async def _is_out(work: Work, one: Subscription) -> bool:
    """Equipment that is out and was not charged."""
    for loan in await equipment_rows.loans(work.connection, subscription_id=one.id, out=True):
        charged = await charge_rows.charge_of_source(work.connection, loan_source(loan.id))
        if charged is None or charged.withdrawn_at is not None:
            return True
    return False


async def _refund_rest(
    work: Work, account: Account, payment_id: str, today: date, settings: BillingSettings
) -> None:
    own = (await subscription_rows.subscriptions_of(work.connection, [account.id]))[account.id]
    payment = await payment_rows.find_payment(work.connection, payment_id)
    if not settings.deposit_refund_by or payment is None or payment.unallocated_minor <= 0:
        return
    if any(one.ends_on is None or one.ends_on > today for one in own):
        return
    granted(
        await order_refund(
            work, account_id=account.id, amount_minor=payment.unallocated_minor,
            method=settings.deposit_refund_by, reason="what is left of the deposit",
            idempotency_key=f"rest:{payment_id}", payment_id=payment_id,
        )
    )  # fmt: skip
