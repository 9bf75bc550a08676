"""What programs may ask of money that moves: unallocated payments, refunds, the bank's inbox, ACH."""

from __future__ import annotations

from typing import Any

from billing.payments.bank.decide_line import assign_line, ignore_line
from billing.payments.receive_payment import METHODS, receive_payment
from billing.payments.refund import METHODS as REFUND_METHODS
from billing.payments.refund import end_refund, order_refund
from billing.store import ach_rows, bank_rows
from core.refusal import granted
from core.work import Work
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.api.named import account_and_currency, account_named, minor_units
from ui.read import money_moves

operations = Operations()
_LIMIT = Parameter("limit", "How many at most.", Kind.COUNT, default=50, at_least=1)
_ACCOUNT = Parameter("account", "Number or id of the account.", required=True)
_KEY = Parameter("key", "Your id of this: the same again changes nothing.", required=True)
_AMOUNT = Parameter("amount", "Like 49.00, in the account's currency.", required=True)
_LINE = Parameter("line_id", "The line's id (bln_…).", in_path=True, required=True)
_OUTCOME = shapes.record(id=shapes.TEXT, outcome=shapes.TEXT)


@operations.post(
    "/payments", "Record money received; what it settles is restored at once.",
    shapes.record(id=shapes.TEXT, outcome=shapes.TEXT, unallocated_minor=shapes.WHOLE),
    _ACCOUNT, _AMOUNT, _KEY, Parameter("method", "How it came.", required=True, choices=METHODS),
    Parameter("reference", "Number of a cheque or transfer."),
    Parameter("note", "For people who look later."),
)  # fmt: skip
async def record_payment(ask: Ask) -> Answer:
    """Once for each key."""

    async def act(work: Work) -> Any:
        account_id, currency = await account_and_currency(work.connection, ask.text("account"))
        return granted(
            await receive_payment(
                work, account_id=account_id, amount_minor=minor_units(ask.text("amount"), currency),
                currency=currency, method=ask.text("method"), idempotency_key=f"api:{ask.text('key')}"[:120],
                reference=ask.text("reference") or None, note=ask.text("note") or None,
            )
        )  # fmt: skip

    done = await ask.panel.workplace.carry_out(ask.actor, act)
    return {"id": done.payment_id, "outcome": done.outcome, "unallocated_minor": done.unallocated_minor}


@operations.get(
    "/payments/unallocated", "Payments with a rest that pays nothing yet, largest first.",
    shapes.record(payments=shapes.listed(shapes.of(money_moves.UnallocatedRow))), _LIMIT,
)  # fmt: skip
async def unallocated_payments(ask: Ask) -> Answer:
    """Credit, and what an operator keeps in hand."""
    async with ask.panel.workplace.reading() as connection:
        return {"payments": await money_moves.unallocated(connection, limit=ask.count("limit"))}


@operations.get(
    "/refunds", "Refunds, newest first; due ones wait for whoever pays them.",
    shapes.record(refunds=shapes.listed(shapes.of(money_moves.RefundRow))),
    Parameter("due", "Due ones alone: yes.", choices=("yes",)), _LIMIT,
)  # fmt: skip
async def refunds(ask: Ask) -> Answer:
    """A page of them."""
    async with ask.panel.workplace.reading() as connection:
        due = ask.text("due") == "yes"
        return {"refunds": await money_moves.list_refunds(connection, due_only=due, limit=ask.count("limit"))}


@operations.post(
    "/refunds", "Order a refund of an account's credit, or of one payment's rest.", _OUTCOME,
    _ACCOUNT, _AMOUNT, _KEY,
    Parameter("method", "How it is paid.", required=True, choices=REFUND_METHODS),
    Parameter("reason", "Why.", required=True), Parameter("payment", "Id of the payment it is of."),
)  # fmt: skip
async def order_a_refund(ask: Ask) -> Answer:
    """Once for each key."""

    async def act(work: Work) -> Any:
        account_id, currency = await account_and_currency(work.connection, ask.text("account"))
        return granted(
            await order_refund(
                work, account_id=account_id, amount_minor=minor_units(ask.text("amount"), currency),
                method=ask.text("method"), reason=ask.text("reason"), payment_id=ask.text("payment") or None,
                idempotency_key=f"api:{ask.text('key')}"[:120],
            )
        )  # fmt: skip

    done = await ask.panel.workplace.carry_out(ask.actor, act)
    return {"id": done.refund_id, "outcome": done.outcome}


@operations.post(
    "/refunds/{refund_id}/end", "Say that a refund was paid out, or that it failed.", _OUTCOME,
    Parameter("refund_id", "The refund's id (rfd_…).", in_path=True, required=True),
    Parameter("outcome", "What became of it.", required=True, choices=("paid", "failed")),
    Parameter("reference", "Number of the cheque or transfer."), Parameter("told", "Why it failed."),
)  # fmt: skip
async def end_a_refund(ask: Ask) -> Answer:
    """Once; another outcome after the first is refused."""

    async def act(work: Work) -> Any:
        return granted(
            await end_refund(
                work, refund_id=ask.text("refund_id"), outcome=ask.text("outcome"),
                reference=ask.text("reference") or None, told=ask.text("told"),
            )
        )  # fmt: skip

    done = await ask.panel.workplace.carry_out(ask.actor, act)
    return {"id": done.refund_id, "outcome": done.outcome}


@operations.get(
    "/bank-lines", "Lines of bank statements that nobody was found for, oldest first, with suggestions.",
    shapes.record(lines=shapes.listed(shapes.of(money_moves.InboxLine))), _LIMIT,
)  # fmt: skip
async def bank_lines(ask: Ask) -> Answer:
    """The inbox."""
    async with ask.panel.workplace.reading() as connection:
        return {"lines": await money_moves.inbox(connection, limit=ask.count("limit"))}


@operations.post(
    "/bank-lines/{line_id}/assign", "Say whose a line is; the payment is recorded.",
    shapes.record(payments=shapes.listed(shapes.TEXT)), _LINE, _ACCOUNT,
    Parameter("remember", "This payer's money goes there from now on: yes.", choices=("yes",)),
)  # fmt: skip
async def assign_bank_line(ask: Ask) -> Answer:
    """Whole, to one account."""

    async def act(work: Work) -> list[str]:
        account_id = await account_named(work.connection, ask.text("account"))
        line = await bank_rows.find_line(work.connection, ask.text("line_id"))
        amount = 0 if line is None else line.amount_minor
        return granted(
            await assign_line(
                work, line_id=ask.text("line_id"), parts=[(account_id, amount)],
                remember=ask.text("remember") == "yes",
            )
        )  # fmt: skip

    return {"payments": await ask.panel.workplace.carry_out(ask.actor, act)}


@operations.post(
    "/bank-lines/{line_id}/ignore", "Say that a line is no customer's payment.",
    shapes.record(outcome=shapes.TEXT), _LINE, Parameter("reason", "Why.", required=True),
)  # fmt: skip
async def ignore_bank_line(ask: Ask) -> Answer:
    """It leaves the inbox."""

    async def act(work: Work) -> None:
        granted(await ignore_line(work, line_id=ask.text("line_id"), reason=ask.text("reason")))

    await ask.panel.workplace.carry_out(ask.actor, act)
    return {"outcome": "ignored"}


_BATCH = shapes.record(
    id=shapes.TEXT, state=shapes.TEXT, effective_on=shapes.TEXT, entries=shapes.WHOLE,
    total_minor=shapes.WHOLE, file_name=shapes.TEXT, file_sha256=shapes.TEXT,
)  # fmt: skip
_RETURN = shapes.record(
    sent_on=shapes.TEXT, account_number=shapes.TEXT, code=shapes.TEXT, amount_minor=shapes.WHOLE,
    outcome=shapes.TEXT, told=shapes.TEXT, payment_id=shapes.TEXT,
)  # fmt: skip


@operations.get(
    "/ach/batches", "ACH batches, newest first.", shapes.record(batches=shapes.listed(_BATCH)), _LIMIT
)
async def ach_batches(ask: Ask) -> Answer:
    """Without their files, which hold account numbers."""
    async with ask.panel.workplace.reading() as connection:
        rows = await ach_rows.list_batches(connection, limit=ask.count("limit"))
    return {
        "batches": [
            {
                "id": one.id, "state": one.state, "effective_on": str(one.effective_on),
                "entries": one.entries, "total_minor": int(one.total_minor),
                "file_name": one.file_name or "", "file_sha256": one.file_sha256 or "",
            }
            for one in rows
        ]
    }  # fmt: skip


@operations.get(
    "/ach/returns", "ACH debits that came back and notifications of change, newest first.",
    shapes.record(returns=shapes.listed(_RETURN)), _LIMIT,
)  # fmt: skip
async def ach_returns(ask: Ask) -> Answer:
    """Each with what was made of it."""
    async with ask.panel.workplace.reading() as connection:
        rows = await ach_rows.list_returns(connection, limit=ask.count("limit"))
    return {
        "returns": [
            {
                "sent_on": str(one.sent_on), "account_number": one.account_number or "", "code": one.code,
                "amount_minor": one.amount_minor, "outcome": one.outcome, "told": one.told,
                "payment_id": one.payment_id or "",
            }
            for one in rows
        ]
    }  # fmt: skip
