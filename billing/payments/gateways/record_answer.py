"""Write down what a gateway says of a charge, whoever brings it: the answer, a look-up, a webhook, a page.

What is told twice or out of order changes nothing. Money that came is a payment in the same transaction.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.gateway_charges import (
    ChargeAnswer,
    ChargeState,
    Decline,
    DeclineKind,
    Try,
    advance,
    look_again_at,
    next_try,
)
from billing.facts import AutopayFailed
from billing.payments.gateways.port import TELLS_NO_RETURNS
from billing.payments.receive_payment import receive_payment
from billing.payments.reverse_payment import reverse_payment, win_dispute
from billing.store import account_rows, autopay_rows, gateway_rows, money_out_rows
from core.health import close_issue
from core.money import format_money
from core.periods import local_date
from core.refusal import Refusal, Refused, granted
from core.work import Work

_LATE_RETURNS = timedelta(days=65)
"""A consumer may give an unauthorised debit back for 60 days after his statement (Nacha rules, R10)."""
_DAILY = timedelta(days=1)
_METHOD_OF = {"card": "card", "bank": "ach"}


async def record_answer(
    work: Work, charge_id: str, answer: ChargeAnswer, *, told_by: str, settings: BillingSettings
) -> bool:
    """Record one answer; False when it was no news. Raises ``Refused`` when it cannot be booked now."""
    charge = await _locked(work, charge_id)
    if answer.state is ChargeState.CHARGED_BACK:
        return await _came_back(work, charge, answer, told_by, settings)
    if not advance(ChargeState(charge.state), answer.state):
        return False
    values = await _record_step(work, charge, answer, told_by)
    if answer.state is ChargeState.SUCCEEDED:
        values["payment_id"] = await _receive(work, charge, answer)
    await gateway_rows.change_charge(work.connection, charge_id, values)
    if ChargeState(answer.state).is_over:
        await close_issue(work, issue_key(charge_id))
    if answer.state is ChargeState.FAILED and charge.cause == "autopay":
        await _tell_failure(work, charge, answer, settings)
    return True


async def take_back(
    work: Work, charge_id: str, *, case: str, amount_minor: int, reason: str, settings: BillingSettings
) -> bool:
    """The bank took money of a charge back, under a case of the gateway's; the same case does so once.

    Raises ``Refused`` while the charge is no payment yet, or the clock is doubted.
    """
    charge = await _locked(work, charge_id)
    if charge.payment_id is None:
        raise Refused(Refusal("no_payment", "the charge is no payment yet", "charge"))
    kind = "ach_return" if await _kind_of(work, charge) == "bank" else "chargeback"
    reversal = await reverse_payment(
        work, payment_id=charge.payment_id, reason=f"{charge.gateway}: {reason}"[:300], settings=settings,
        kind=kind, amount_minor=amount_minor, source=_source(charge, case),
    )  # fmt: skip
    if isinstance(reversal, Refusal):
        if reversal.code != "already_reversed":  # by hand, before the gateway told of it
            raise Refused(reversal)
        return False
    if reversal.outcome == "exists":
        return False
    await _note(work, charge, ChargeState.CHARGED_BACK, f"case:{case}", reason)
    return True


async def give_back(work: Work, charge_id: str, *, case: str, reason: str) -> bool:
    """What was taken back under a case has come again: a dispute was won.

    Raises ``Refused`` while we have not heard that it was taken.
    """
    charge = await _locked(work, charge_id)
    taken = await money_out_rows.reversal_of_source(work.connection, _source(charge, case))
    if taken is None:
        raise Refused(Refusal("not_taken", f"nothing was taken back under {case} yet", "case"))
    won = granted(await win_dispute(work, reversal_id=taken.id, reason=f"{charge.gateway}: {reason}"[:300]))
    if won.outcome == "exists":
        return False
    await _note(work, charge, ChargeState.SUCCEEDED, f"case:{case}", reason)
    return True


def _source(charge: Any, case: str) -> str:
    return f"{charge.gateway}:{case}"[:120]


def issue_key(charge_id: str) -> str:
    """The health issue of a charge without an end."""
    return f"billing.gateway_charge:{charge_id}"


async def _locked(work: Work, charge_id: str) -> Any:
    """The charge as it is while its account is held: an answer and a webhook come one after the other."""
    found = await gateway_rows.find_charge(work.connection, charge_id)
    if found is None:
        raise LookupError(f"there is no charge {charge_id}")
    await account_rows.lock_account(work.connection, found.account_id)
    return await gateway_rows.find_charge(work.connection, charge_id)


async def _record_step(work: Work, charge: Any, answer: ChargeAnswer, told_by: str) -> dict[str, Any]:
    decline = answer.decline
    code, said = (decline.code, decline.said) if decline else (None, None)
    await gateway_rows.insert_step(work.connection, {
        "charge_id": charge.id, "state": str(answer.state), "at": work.now, "told_by": told_by[:120],
        "reference": answer.reference, "decline_code": code, "said": said,
    })  # fmt: skip
    return {
        "state": str(answer.state), "state_at": work.now, "reference": answer.reference or charge.reference,
        "decline_kind": str(decline.kind) if decline else None, "decline_code": code, "said": said,
        "looks": 0, "look_at": await _next_look(work, charge, answer.state),
    }  # fmt: skip


async def _next_look(work: Work, charge: Any, state: ChargeState) -> Any:
    if not state.is_over:
        return look_again_at(work.now, 0)
    if state is ChargeState.SUCCEEDED and charge.gateway in TELLS_NO_RETURNS:
        is_late = work.now > charge.begun_at + _LATE_RETURNS
        return work.now + _DAILY if not is_late and await _kind_of(work, charge) == "bank" else None
    return None


async def _kind_of(work: Work, charge: Any) -> str:
    if charge.method_id is None:  # typed at a hosted page: a card has its end at once
        steps = (await gateway_rows.steps_of(work.connection, [charge.id]))[charge.id]
        return "bank" if any(step.state == ChargeState.IN_FLIGHT for step in steps) else "card"
    method = await gateway_rows.find_method(work.connection, charge.method_id)
    return "card" if method is None else str(method.kind)


async def _receive(work: Work, charge: Any, answer: ChargeAnswer) -> str:
    receipt = granted(
        await receive_payment(
            work, account_id=charge.account_id, amount_minor=answer.amount_minor or charge.amount_minor,
            currency=charge.currency, method=_METHOD_OF[await _kind_of(work, charge)],
            idempotency_key=f"{charge.gateway}:{charge.key}",
            reference=answer.reference or charge.reference, note=charge.gateway,
        )
    )  # fmt: skip
    return receipt.payment_id


async def _came_back(
    work: Work, charge: Any, answer: ChargeAnswer, told_by: str, settings: BillingSettings
) -> bool:
    """A bank debit that came back: a decline before it was money, afterwards the payment is taken back."""
    decline = answer.decline or Decline(DeclineKind.HARD, "returned", "The bank gave the debit back.")
    if charge.payment_id is None:
        failed = ChargeAnswer(ChargeState.FAILED, answer.reference, decline)
        return await record_answer(work, charge.id, failed, told_by=told_by, settings=settings)
    return await take_back(
        work, charge.id, case=f"return:{charge.key}", amount_minor=charge.amount_minor,
        reason=f"{decline.code} {decline.said}", settings=settings,
    )  # fmt: skip


async def _note(work: Work, charge: Any, state: ChargeState, told_by: str, said: str) -> None:
    step = {"charge_id": charge.id, "state": str(state), "at": work.now, "told_by": told_by, "said": said}
    await gateway_rows.insert_step(work.connection, step)
    await gateway_rows.change_charge(
        work.connection, charge.id, {"state": str(state), "state_at": work.now, "said": said, "look_at": None}
    )


async def _tell_failure(work: Work, charge: Any, answer: ChargeAnswer, settings: BillingSettings) -> None:
    decline = answer.decline or Decline(DeclineKind.SOFT, "declined", "Declined.")
    account = await account_rows.find_account(work.connection, charge.account_id)
    if account is None or charge.invoice_id is None:
        raise RuntimeError(f"charge {charge.id} pays nothing")
    tries = await tries_of(work.connection, account.id, charge.invoice_id, account.time_zone)
    today = local_date(charge.begun_at, account.time_zone)
    following = next_try(today, tries, settings.autopay.retry_days)
    await work.publish(
        AutopayFailed(
            charge.id, charge.account_id, charge.invoice_id, charge.amount_minor, charge.currency,
            str(decline.kind), decline.code, decline.said, following.isoformat() if following else None,
        )
    )  # fmt: skip
    await work.audit(
        "billing.autopay_failed", charge.account_id, charge=charge.id, code=decline.code,
        amount=format_money(charge.amount_minor, charge.currency),
        next_try=following.isoformat() if following else None,
    )  # fmt: skip


async def tries_of(
    connection: AsyncConnection, account_id: str, invoice_id: str, time_zone: str
) -> list[Try]:
    """What automatic payment has tried for the invoice, in order, on local dates.

    What was tried before it was set anew, or before the account had this card, counts no more.
    """
    since = await autopay_rows.counts_since(connection, account_id)
    rows = await autopay_rows.tries_for(connection, invoice_id)
    rows = [row for row in rows if since is None or row.begun_at >= since]
    return [
        Try(
            local_date(row.begun_at, time_zone), ChargeState(row.state),
            DeclineKind(row.decline_kind) if row.decline_kind else None,
        )
        for row in rows
    ]  # fmt: skip
