"""A month that is to be billed: real usage records, and accounts paid in advance, in part, late, paused, ended."""

from __future__ import annotations

from sqlalchemy import select

from bench.billing_world import LAST_EVENING, build, workplace_at
from billing.payments.receive_payment import receive_payment
from billing.store.tables import account, subscription
from billing.subscriptions.change_subscription import end_subscription, pause_subscription
from core.database import Database
from core.refusal import granted


async def make_month(url: str, accounts: int) -> None:
    """Fill the empty database at ``url``: it is the evening before the run that ``bench`` measures."""
    await build(url, accounts)
    database = Database(url)
    workplace = workplace_at(database, LAST_EVENING)
    async with workplace.reading() as connection:
        ids = list((await connection.execute(select(account.c.id).order_by(account.c.id))).scalars())
        sold = list(
            (await connection.execute(select(subscription.c.id).order_by(subscription.c.id))).scalars()
        )
    for number, account_id in enumerate(ids):
        if number % 3:
            amount = 1_234 if number % 3 == 1 else 14_000
            async with workplace.work("operator:test") as work:
                granted(
                    await receive_payment(
                        work, account_id=account_id, amount_minor=amount, currency="USD", method="transfer",
                        idempotency_key=f"key-{number}",
                    )
                )  # fmt: skip
    for number, subscription_id in enumerate(sold):
        async with workplace.work("operator:test") as work:
            if number % 7 == 3:
                granted(await end_subscription(work, subscription_id=subscription_id))
            if number % 7 == 5:
                granted(await pause_subscription(work, subscription_id=subscription_id))
    await database.close()
