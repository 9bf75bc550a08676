"""Choose due invoices for a batch of ACH debits; take entries out; approve or cancel it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy.engine import Row

from billing.domain.ach import CURRENCY, earliest_effective
from billing.domain.banking_days import is_banking_day
from billing.domain.nacha import LARGEST_AMOUNT, LARGEST_SAME_DAY
from billing.payments.ach.define_originator import read_originator
from billing.store import account_rows, ach_rows, dunning_rows
from billing.store.gateway_rows import accounts_with_payment_in_flight
from core.periods import local_date
from core.refusal import answering, refuse
from core.work import Work

MOST_ENTRIES = 50_000
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Draft:
    """A batch as drafted. ``left_out``: account id and why."""

    batch_id: str
    effective_on: date
    entries: int
    total_minor: int
    left_out: tuple[tuple[str, str], ...]


@answering
async def draft_ach_batch(
    work: Work, *, originator: str, effective_on: date | None = None, same_day: bool = False,
    account_ids: Collection[str] | None = None, due_until: date | None = None,
) -> Draft:  # fmt: skip
    """A draft with a debit for each account with ACH autopay whose invoices are due by ``due_until``.

    ``due_until`` is the effective day when not told. ``account_ids``: those accounts and no other, autopay or
    not, all their open invoices. Prenotes that wait go along. Who pays by a gateway, or has a payment on its
    way, is left out, and why is told.
    """
    found = await ach_rows.find_originator(work.connection, originator)
    if found is None:
        refuse("unknown_originator", f"there is no originator {originator}", "originator")
    today = local_date(work.now, read_originator(found.profile).time_zone)
    earliest = earliest_effective(today, same_day=same_day)
    effective_on = effective_on or earliest
    if effective_on < earliest or not is_banking_day(effective_on):
        refuse("bad_effective", f"take a banking day from {earliest} on", "effective_on")
    chosen = sorted(
        set(account_ids)
        if account_ids is not None
        else await ach_rows.debtors_by_bank_account(work.connection, due_until or effective_on)
    )
    if len(chosen) > MOST_ENTRIES:
        refuse("too_many", f"a batch takes {MOST_ENTRIES} accounts; draft several", "account_ids")
    until = None if account_ids is not None else due_until or effective_on
    chooser = _Chooser(work, work.ids.new("ach"), effective_on, until, by_hand=account_ids is not None)
    for start in range(0, len(chosen), _AT_ONCE):
        await chooser.add_debits(chosen[start : start + _AT_ONCE], same_day=same_day)
    await chooser.add_prenotes()
    if not chooser.entries:
        why = "; ".join(sorted({words for _, words in chooser.left_out})[:5])
        refuse("nothing_due", f"there is nothing to debit{': ' + why if why else ''}", "account_ids")
    await ach_rows.insert_batch(
        work.connection,
        {
            "id": chooser.batch_id, "originator_id": found.id, "state": "draft", "effective_on": effective_on,
            "same_day": same_day, "drafted_at": work.now, "drafted_by": work.actor,
        },
        chooser.entries,
    )  # fmt: skip
    total = sum(one["amount_minor"] for one in chooser.entries)
    await work.audit(
        "billing.ach_batch_drafted", chooser.batch_id, entries=len(chooser.entries), total_minor=total
    )
    return Draft(chooser.batch_id, effective_on, len(chooser.entries), total, tuple(chooser.left_out))


class _Chooser:
    """Collects the entries of one draft."""

    def __init__(
        self, work: Work, batch_id: str, effective_on: date, due_until: date | None, *, by_hand: bool
    ) -> None:
        self._work = work
        self.batch_id = batch_id
        self._effective_on = effective_on
        self._due_until = due_until
        self._by_hand = by_hand
        self.entries: list[dict[str, Any]] = []
        self.left_out: list[tuple[str, str]] = []

    async def add_debits(self, account_ids: Sequence[str], *, same_day: bool) -> None:
        connection = self._work.connection
        accounts = await account_rows.lock_accounts(connection, account_ids)
        known = [one.id for one in accounts]
        self.left_out += [(one, "there is no such account") for one in account_ids if one not in known]
        unpaid = await dunning_rows.open_invoices(connection, known)
        reasons = {
            "a debit is drafted or on its way": await ach_rows.accounts_with_live_entry(connection, known),
            "a payment through a gateway is on its way": await accounts_with_payment_in_flight(
                connection, known
            ),
        }
        if not self._by_hand:
            by_gateway = await ach_rows.accounts_paying_by_gateway(connection, known)
            reasons["a gateway collects its invoices"] = by_gateway
        largest = LARGEST_SAME_DAY if same_day else LARGEST_AMOUNT
        for account in accounts:
            mine = [
                one for one in unpaid[account.id] if self._due_until is None or one.due_on <= self._due_until
            ]
            amount = sum(one.open_minor for one in mine)
            bank, why_not = await self._bank_account(account.id)
            why = next((words for words, ids in reasons.items() if account.id in ids), None) or why_not
            if why is None and account.currency != CURRENCY:
                why = f"it pays in {account.currency}"
            if why is None and not 0 < amount <= largest:
                why = "nothing is open" if amount == 0 else "the amount is beyond what one entry may have"
            if why is not None or bank is None:
                self.left_out.append((account.id, why or "it has no bank account"))
                continue
            self._add(account.id, bank, "debit", amount, [one.id for one in mine])

    async def _bank_account(self, account_id: str) -> tuple[Row[Any] | None, str | None]:
        kept = await ach_rows.bank_accounts_of(self._work.connection, account_id)
        bank = next((one for one in kept if one.autopay), kept[0] if kept and self._by_hand else None)
        if bank is None:
            return None, "it has no bank account for debits"
        if bank.usable_from is None or bank.usable_from > self._effective_on:
            return None, "its prenote is still on its way"
        return bank, None

    async def add_prenotes(self) -> None:
        for bank in await ach_rows.awaiting_prenote(self._work.connection):
            self._add(bank.account_id, bank, "prenote", 0, [])

    def _add(self, account_id: str, bank: Row[Any], kind: str, amount: int, invoices: list[str]) -> None:
        self.entries.append({
            "id": self._work.ids.new("ace"), "batch_id": self.batch_id, "account_id": account_id,
            "bank_account_id": bank.id, "kind": kind, "amount_minor": amount, "invoices": invoices,
            "state": "drafted",
        })  # fmt: skip


@answering
async def remove_ach_entry(work: Work, *, batch_id: str, entry_id: str) -> None:
    """Take one entry out of a draft."""
    batch = await ach_rows.lock_batch(work.connection, batch_id)
    if batch is None or batch.state != "draft":
        refuse("not_draft", "entries are taken out of a draft, before it is approved", "batch_id")
    entries = await ach_rows.entries_of(work.connection, batch_id)
    if entry_id not in {one.id for one in entries}:
        refuse("unknown_entry", f"the batch has no entry {entry_id}", "entry_id")
    await ach_rows.set_entry(work.connection, entry_id, state="removed")
    await work.audit("billing.ach_entry_removed", batch_id, entry=entry_id)


@answering
async def approve_ach_batch(work: Work, *, batch_id: str) -> None:
    """Somebody looked at it: from now on its debits count as under way."""
    batch = await ach_rows.lock_batch(work.connection, batch_id)
    if batch is None:
        refuse("unknown_batch", f"there is no batch {batch_id}", "batch_id")
    if batch.state == "approved":
        return
    if batch.state != "draft":
        refuse("not_draft", f"the batch is {batch.state}", "batch_id")
    entries = await ach_rows.entries_of(work.connection, batch_id)
    if not any(one.state == "drafted" for one in entries):
        refuse("empty", "every entry was taken out; cancel the batch", "batch_id")
    await ach_rows.change_batch(
        work.connection, batch_id, state="approved", approved_at=work.now, approved_by=work.actor
    )
    await work.audit("billing.ach_batch_approved", batch_id)


@answering
async def cancel_ach_batch(work: Work, *, batch_id: str, reason: str) -> None:
    """Give up a batch of which no file was made."""
    if not reason.strip():
        refuse("reason_missing", "say why", "reason")
    batch = await ach_rows.lock_batch(work.connection, batch_id)
    if batch is None or batch.state not in {"draft", "approved"}:
        refuse("too_late", "its file was made; what the bank has can only be stopped at the bank", "batch_id")
    await ach_rows.change_batch(work.connection, batch_id, state="cancelled")
    await work.audit("billing.ach_batch_cancelled", batch_id, reason=reason.strip())
