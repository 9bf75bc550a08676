"""Credit for referrals: once the customer who was brought has paid his first invoice, while that stands."""

from __future__ import annotations

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.invoicing.add_charge import add_charge
from billing.store import promotion_rows
from billing.store.promotion_rows import Referral, referral_source
from core.refusal import granted
from core.work import Work, Workplace

REFERRAL = "referral"
"""Kind, tax class and ledger name of the credit: no tax rule is asked unless one is made for it."""


async def credit_referrals(
    workplace: Workplace, settings: BillingSettings | None = None, *, actor: str = "system:referrals"
) -> int:
    """Give what is due and take back what a reversed payment undid; returns of how many referrals.

    Each is a line of the account's next invoice; a credit that is more than the invoice stays as credit. Paid
    again, it is given again. None by a doubted clock.
    """
    async with workplace.reading() as connection:
        if await find_clock_doubt(connection, workplace.clock.now(), settings or BillingSettings()):
            return 0
        due = await promotion_rows.referrals_due(connection)
    for one in due:
        async with workplace.work(actor) as work:
            await _settle(work, one)
    return len(due)


async def _settle(work: Work, one: Referral) -> None:
    words = {
        "by": (f"You brought us account {one.brought.account_number}: thank you", one.brought),
        "brought": (f"Account {one.by.account_number} brought you to us: welcome", one.by),
    }
    for side in sorted((one.by, one.brought), key=lambda each: each.account_id):  # locks in one order
        gives = one.is_paid and side.gift_minor > 0 and side.times % 2 == 0
        takes = not one.is_paid and side.standing_minor < 0
        if not (gives or takes):
            continue
        given, other = words[side.name]
        back = f"Credit for a referral taken back: account {other.account_number}, first payment reversed"
        granted(
            await add_charge(
                work, account_id=side.account_id, kind=REFERRAL, description=given if gives else back,
                amount_minor=-side.gift_minor if gives else -side.standing_minor, tax_class=REFERRAL,
                revenue=REFERRAL, source=referral_source(one.use_id, side.name, side.times),
                explanation={
                    "promotion": one.code, "use": one.use_id, "brought": one.brought.account_number,
                    "by": one.by.account_number, "first_invoice": "paid" if gives else "open again",
                },
            )
        )  # fmt: skip
