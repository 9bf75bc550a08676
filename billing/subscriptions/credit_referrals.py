"""Credit for referrals: once the customer who was brought has paid his first invoice."""

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
    """Give what is due, each credit once; returns how many referrals were credited. None by a doubted clock.

    The credit is a line of the account's next invoice; one that is more than the invoice stays as credit.
    """
    async with workplace.reading() as connection:
        if await find_clock_doubt(connection, workplace.clock.now(), settings or BillingSettings()):
            return 0
        due = await promotion_rows.referrals_due(connection)
    for one in due:
        async with workplace.work(actor) as work:
            await _credit(work, one)
    return len(due)


async def _credit(work: Work, one: Referral) -> None:
    sides = (
        ("by", one.by_id, one.by_minor, f"You brought us account {one.brought_number}: thank you"),
        ("brought", one.brought_id, one.brought_minor, f"Account {one.by_number} brought you to us: welcome"),
    )
    for side, account_id, minor, words in sorted(sides, key=lambda each: each[1]):  # locks in one order
        if minor:
            granted(
                await add_charge(
                    work, account_id=account_id, kind=REFERRAL, description=words, amount_minor=-minor,
                    tax_class=REFERRAL, revenue=REFERRAL, source=referral_source(one.use_id, side),
                    explanation={
                        "promotion": one.code, "use": one.use_id, "brought": one.brought_number,
                        "by": one.by_number,
                    },
                )
            )  # fmt: skip
