"""Record a line of a statement, or a part of it, as a payment of one account."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from billing.payments.receive_payment import receive_payment
from billing.store import account_rows
from core.periods import local_date
from core.refusal import granted, refuse
from core.work import Work


async def record_part(
    work: Work, *, line_id: str, attempt: int, number: int, account_id: str, amount_minor: int,
    currency: str, booked_on: date, reference: str, first: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """The part as it is kept with the decision. Raises ``Refused`` when the account cannot take it.

    ``attempt`` counts the decisions about the line before: what was undone is recorded under another key.
    """
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        refuse("unknown_account", f"there is no account {account_id}", "account_id")
    today = local_date(work.now, account.time_zone)
    receipt = granted(
        await receive_payment(
            work, account_id=account_id, amount_minor=amount_minor, currency=currency, method="transfer",
            idempotency_key=f"bank:{line_id}:{attempt}:{number}", received_on=min(booked_on, today),
            reference=reference[:140] or None, first=first,
        )
    )  # fmt: skip
    return {"account_id": account_id, "payment_id": receipt.payment_id, "amount_minor": amount_minor}
