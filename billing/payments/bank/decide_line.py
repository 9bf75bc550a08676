"""The unmatched inbox: assign a line, split it, ignore it, take a payment back for it, and undo that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Row

from billing.config import BillingSettings
from billing.domain.bank_matching import check_split
from billing.payments.bank.record_part import record_part
from billing.payments.reverse_payment import reverse_payment, win_dispute
from billing.store import account_rows, bank_rows
from core.money import format_money
from core.refusal import answering, granted, refuse
from core.work import Work

MOST_PARTS = 100
_STATE_AFTER = {"ignored": "ignored", "undone": "open"}


@answering
async def assign_line(
    work: Work, *, line_id: str, parts: Sequence[tuple[str, int]], remember: bool = False,
    invoices: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Record an open line as payments: ``parts`` are ``(account id, minor units)`` and sum to its amount.

    ``remember``: from now on this payer's money goes to the account (one part only). ``invoices``: ids that
    are paid first. Returns the payments' ids; the same again while it stands returns those that are there.
    """
    line = await _line(work, line_id)
    if line.amount_minor <= 0:
        refuse("money_went_out", "this money went out; take a payment back for it, or ignore it", "line_id")
    if not check_split(line.amount_minor, [amount for _, amount in parts]) or len(parts) > MOST_PARTS:
        whole = format_money(line.amount_minor, line.currency)
        refuse("bad_split", f"the parts must be more than nothing and sum to {whole}", "parts")
    if remember and (len(parts) > 1 or line.payer_mark is None):
        refuse("cannot_remember", "a payer is remembered for one account, and must be told", "remember")
    made = await bank_rows.decisions_of(work.connection, line_id)
    if line.state == "assigned":
        if [(one["account_id"], one["amount_minor"]) for one in made[-1].parts] == list(parts):
            return [one["payment_id"] for one in made[-1].parts]
        refuse("decided", "the line was assigned otherwise; undo that first", "line_id")
    if line.state != "open":
        refuse("decided", f"the line is {line.state}; undo that first", "line_id")
    await account_rows.lock_accounts(work.connection, sorted({account_id for account_id, _ in parts}))
    recorded = [
        await record_part(
            work, line_id=line_id, attempt=len(made), number=number, account_id=account_id,
            amount_minor=amount, currency=line.currency, booked_on=line.booked_on,
            reference=line.bank_reference or line.end_to_end_id, first=invoices,
        )
        for number, (account_id, amount) in enumerate(parts, start=1)
    ]  # fmt: skip
    await _decide(work, line, "assigned", "an operator said so", recorded)
    if remember:
        await _remember(work, line, parts[0][0])
    return [one["payment_id"] for one in recorded]


@answering
async def reverse_by_line(
    work: Work, *, line_id: str, payment_id: str, settings: BillingSettings | None = None,
    fee_minor: int | None = None,
) -> str:  # fmt: skip
    """Money that went out again takes back so much of a payment, as a returned payment with its fee."""
    line = await _line(work, line_id)
    if line.amount_minor >= 0:
        refuse("money_came_in", "this money came in; assign it", "line_id")
    if line.state != "open":
        refuse("decided", f"the line is {line.state}; undo that first", "line_id")
    made = await bank_rows.decisions_of(work.connection, line_id)
    words = line.remittance[:200] or "taken back by the bank"
    done = granted(
        await reverse_payment(
            work, payment_id=payment_id, reason=words, kind="nsf", amount_minor=-line.amount_minor,
            source=f"bank:{line_id}:{len(made)}", happened_on=line.booked_on, settings=settings,
            fee_minor=fee_minor,
        )
    )  # fmt: skip
    part = {
        "payment_id": payment_id, "reversal_id": done.reversal_id, "amount_minor": line.amount_minor,
        "account_id": "",
    }  # fmt: skip
    await _decide(work, line, "reversed", words, [part])
    return done.reversal_id


@answering
async def ignore_line(work: Work, *, line_id: str, reason: str) -> None:
    """The line is no customer's payment: a fee, a transfer of the house's own."""
    if not 1 <= len(reason.strip()) <= 300:
        refuse("reason_missing", "say why, in 1 to 300 characters", "reason")
    line = await _line(work, line_id)
    if line.state == "ignored":
        return
    if line.state != "open":
        refuse("decided", f"the line is {line.state}; undo that first", "line_id")
    await _decide(work, line, "ignored", reason.strip(), [])


@answering
async def undo_line(
    work: Work, *, line_id: str, reason: str, settings: BillingSettings | None = None
) -> None:
    """Open the line again: its payments are taken back whole, what it took back is there again."""
    if not 1 <= len(reason.strip()) <= 300:
        refuse("reason_missing", "say why, in 1 to 300 characters", "reason")
    line = await _line(work, line_id)
    if line.state == "open":
        return
    last = (await bank_rows.decisions_of(work.connection, line_id))[-1]
    for one in last.parts:
        if last.kind == "reversed":
            granted(await win_dispute(work, reversal_id=one["reversal_id"], reason=reason))
        else:
            outcome = await reverse_payment(
                work, payment_id=one["payment_id"], reason=f"bank line undone: {reason.strip()}",
                amount_minor=one["amount_minor"], settings=settings, fee_minor=0,
            )  # fmt: skip
            granted(outcome)
    await _decide(work, line, "undone", reason.strip(), [])


@answering
async def withdraw_payer_rule(work: Work, *, rule_id: str) -> None:
    """Forget whose money a payer's is; what was recorded by the rule stays."""
    if not await bank_rows.withdraw_rules(work.connection, work.now, work.actor, rule_id=rule_id):
        refuse("unknown_rule", f"no rule {rule_id} stands", "rule_id")
    await work.audit("billing.payer_rule_withdrawn", rule_id)


async def _line(work: Work, line_id: str) -> Row[Any]:
    line = await bank_rows.lock_line(work.connection, line_id)
    if line is None:
        refuse("unknown_line", f"there is no line {line_id}", "line_id")
    return line


async def _decide(work: Work, line: Row[Any], kind: str, because: str, parts: list[dict[str, Any]]) -> None:
    state = _STATE_AFTER.get(kind, "assigned")
    await bank_rows.set_line_state(work.connection, line.id, state)
    await bank_rows.insert_decision(
        work.connection,
        {
            "line_id": line.id, "kind": kind, "because": because, "parts": parts, "at": work.now,
            "by": work.actor,
        },
    )  # fmt: skip
    await work.audit(
        f"billing.bank_line_{kind}", line.id, amount=format_money(line.amount_minor, line.currency),
        because=because, parts=parts,
    )  # fmt: skip


async def _remember(work: Work, line: Row[Any], account_id: str) -> None:
    await bank_rows.withdraw_rules(work.connection, work.now, work.actor, payer_mark=line.payer_mark)
    await bank_rows.insert_rule(
        work.connection,
        {
            "id": work.ids.new("pyr"), "payer_mark": line.payer_mark, "payer_name": line.payer_name,
            "payer_shown": line.payer_shown, "account_id": account_id, "line_id": line.id,
            "learnt_at": work.now, "learnt_by": work.actor,
        },
    )  # fmt: skip
