"""Allocate by hand: give a payment's rest to an invoice, take it back, move it, and say whose turn it is.

Each is a row of its own; a payment that an operator touched keeps its rest in hand until he lets the rule
have it again, else the next payment would undo what he did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Row

from billing.clock_doubt import find_clock_doubt
from billing.config import BillingSettings
from billing.domain.allocation import Allocated, AllocationRule
from billing.domain.catalogue import Account
from billing.dunning.evaluate import StageChange, reconsider_dunning
from billing.payments.allocate_credit import allocate_credit, open_claims, record_allocations
from billing.store import account_rows, invoice_rows, payment_rows
from core.money import format_money
from core.refusal import answering, granted, refuse
from core.work import Work

SCOPES = ("house", "class", "account")


@dataclass(frozen=True, slots=True)
class HandAllocation:
    """What an order changed. ``outcome`` is done, or exists when the same order was carried out before."""

    payment_id: str
    outcome: str
    amount_minor: int
    stage_change: StageChange | None = None


@answering
async def allocate_by_hand(
    work: Work, *, payment_id: str, invoice: str, amount_minor: int | None = None, key: str | None = None,
    settings: BillingSettings | None = None,
) -> HandAllocation:  # fmt: skip
    """Give ``amount_minor`` (None: as much as possible) of the payment's rest to an invoice (id or number).

    ``key``: the caller's own id of this order; the same again changes nothing.
    """
    found = await _locked(work, payment_id, key)
    if isinstance(found, HandAllocation):
        return found
    account, payment = found
    target = await _open_invoice(work, account, invoice)
    invoice_id, number, asks = target
    most = min(payment.unallocated_minor, asks)
    _refuse_amount(amount_minor, most, account.currency, f"invoice {number}")
    amount = most if amount_minor is None else amount_minor
    await record_allocations(work, account, [Allocated(payment_id, invoice_id, amount)], [_source(key)])
    return await _finish(work, account, payment_id, amount, settings, what="given", invoice=number)


@answering
async def take_back_allocation(
    work: Work, *, payment_id: str, invoice: str, reason: str, amount_minor: int | None = None,
    key: str | None = None, settings: BillingSettings | None = None,
) -> HandAllocation:  # fmt: skip
    """Take ``amount_minor`` (None: all) of the payment off an invoice; it stays in hand, paying nothing."""
    if not reason.strip():
        refuse("reason_missing", "say why it is taken back", "reason")
    await _refuse_doubted_clock(work, settings)
    found = await _locked(work, payment_id, key)
    if isinstance(found, HandAllocation):
        return found
    account, _ = found
    given = await _given(work, payment_id, invoice)
    invoice_id, number, has = given
    _refuse_amount(amount_minor, has, account.currency, f"invoice {number}")
    amount = has if amount_minor is None else amount_minor
    await record_allocations(work, account, [Allocated(payment_id, invoice_id, -amount)], [_source(key)])
    await payment_rows.keep_by_hand(work.connection, payment_id, True)
    return await _finish(
        work, account, payment_id, amount, settings, what="taken_back", invoice=number, reason=reason.strip()
    )


@answering
async def move_allocation(
    work: Work, *, payment_id: str, from_invoice: str, to_invoice: str, reason: str,
    amount_minor: int | None = None, key: str | None = None, settings: BillingSettings | None = None,
) -> HandAllocation:  # fmt: skip
    """Move money of the payment from one invoice to another of the same account (None: as much as fits)."""
    if not reason.strip():
        refuse("reason_missing", "say why it is moved", "reason")
    await _refuse_doubted_clock(work, settings)
    found = await _locked(work, payment_id, key)
    if isinstance(found, HandAllocation):
        return found
    account, _ = found
    given = await _given(work, payment_id, from_invoice)
    target = await _open_invoice(work, account, to_invoice)
    if target[0] == given[0]:
        refuse("same_invoice", "it pays that invoice already", "to_invoice")
    most = min(given[2], target[2])
    _refuse_amount(amount_minor, most, account.currency, f"invoice {target[1]}")
    amount = most if amount_minor is None else amount_minor
    moved = [Allocated(payment_id, given[0], -amount), Allocated(payment_id, target[0], amount)]
    await record_allocations(work, account, moved, [_source(key), f"{_source(key)}:to" if key else None])
    return await _finish(
        work, account, payment_id, amount, settings, what="moved", invoice=given[1], to=target[1],
        reason=reason.strip(),
    )  # fmt: skip


@answering
async def let_rule_decide(
    work: Work, *, payment_id: str, settings: BillingSettings | None = None
) -> HandAllocation:
    """The payment's rest follows the account's rule again, at once."""
    found = await _locked(work, payment_id, None)
    if isinstance(found, HandAllocation):
        return found
    account, payment = found
    await payment_rows.keep_by_hand(work.connection, payment_id, False)
    allocated = await allocate_credit(work, account)
    given = sum(one.amount_minor for one in allocated if one.payment_id == payment.id)
    return await _finish(work, account, payment_id, given, settings, what="by_rule")


@answering
async def set_allocation_rule(
    work: Work, *, scope: str, scope_id: str = "", rule: str | None
) -> AllocationRule | None:
    """Whose turn it is, for the house, a class of accounts or one account; None: the wider scope decides.

    What is allocated stays; the rule is asked at the next payment, invoice or credit.
    """
    if scope not in SCOPES:
        refuse("bad_scope", f"{scope!r} is not one of {', '.join(SCOPES)}", "scope")
    if rule is not None and rule not in list(AllocationRule):
        refuse("bad_rule", f"{rule!r} is not one of {', '.join(AllocationRule)}", "rule")
    if (scope == "house") != (scope_id == "") or len(scope_id) > 40:
        refuse("bad_scope", "name the class or the account; the house has no name", "scope_id")
    if scope == "account" and await account_rows.lock_account(work.connection, scope_id) is None:
        refuse("unknown_account", f"there is no account {scope_id}", "scope_id")
    await payment_rows.insert_rule(
        work.connection,
        {
            "scope": scope, "scope_id": scope_id, "rule": rule, "recorded_at": work.now,
            "recorded_by": work.actor,
        },
    )  # fmt: skip
    await work.audit("billing.allocation_rule_set", scope_id or scope, scope=scope, rule=rule)
    return None if rule is None else AllocationRule(rule)


def _source(key: str | None) -> str | None:
    return None if key is None else f"hand:{key}"


async def _locked(work: Work, payment_id: str, key: str | None) -> tuple[Account, Row[Any]] | HandAllocation:
    if key is not None and not 1 <= len(key.strip()) <= 100:
        refuse("bad_key", "give the order an id of yours, 1 to 100 characters", "key")
    found = await payment_rows.find_payment(work.connection, payment_id)
    if found is None:
        refuse("unknown_payment", f"there is no payment {payment_id}", "payment_id")
    account = await account_rows.lock_account(work.connection, found.account_id)
    found = await payment_rows.find_payment(work.connection, payment_id)
    if account is None or found is None:
        raise RuntimeError(f"payment {payment_id} has no account")
    done = await payment_rows.allocations_of_source(work.connection, f"hand:{key}") if key else []
    if done:
        return HandAllocation(payment_id, "exists", max(row.amount_minor for row in done))
    return account, found


async def _open_invoice(work: Work, account: Account, invoice: str) -> tuple[str, str, int]:
    claims = await open_claims(work, account.id)
    claim = next((one for one in claims if invoice in {one.id, one.number}), None)
    if claim is None:
        message = f"account {account.number} has no open invoice {invoice}"
        refuse("unknown_invoice", message, "invoice")
    return claim.id, claim.number, claim.open_minor


async def _given(work: Work, payment_id: str, invoice: str) -> tuple[str, str, int]:
    parts = await payment_rows.allocated_of(work.connection, payment_id)
    given = next((one for one in parts if invoice in one[:2]), None)
    if given is None:
        refuse("nothing_given", f"the payment gives nothing to invoice {invoice}", "invoice")
    found = await invoice_rows.find_invoice(work.connection, given[0])
    if found is not None and found.status not in {"finalised", "paid"}:
        message = f"invoice {given[1]} is {found.status}; what it was paid stays with it"
        refuse("invoice_closed", message, "invoice")
    return given


def _refuse_amount(amount_minor: int | None, most: int, currency: str, where: str) -> None:
    if most <= 0:
        refuse("nothing_left", f"there is nothing to move between the payment and {where}", "amount_minor")
    if amount_minor is not None and not 0 < amount_minor <= most:
        message = f"between the payment and {where} at most {format_money(most, currency)} can move"
        refuse("bad_amount", message, "amount_minor")


async def _refuse_doubted_clock(work: Work, settings: BillingSettings | None) -> None:
    """By a wrong clock the days on which the money was held would be wrong for good."""
    doubt = await find_clock_doubt(work.connection, work.now, settings or BillingSettings())
    if doubt is not None:
        granted(doubt)


async def _finish(
    work: Work, account: Account, payment_id: str, amount: int, settings: BillingSettings | None, *,
    what: str, **detail: str,
) -> HandAllocation:  # fmt: skip
    await work.audit(
        f"billing.allocation_{what}", account.id, payment=payment_id,
        amount=format_money(amount, account.currency), **detail,
    )  # fmt: skip
    doubt = await find_clock_doubt(work.connection, work.now, settings or BillingSettings())
    change = await reconsider_dunning(work, account.id, clock_doubted=doubt is not None)
    return HandAllocation(payment_id, "done", amount, change)
