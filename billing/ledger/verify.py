"""Reading and proving the ledger."""

from __future__ import annotations

from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.chart import chart_line
from billing.domain.ledger import CUSTOMER_CREDIT, RECEIVABLE
from billing.domain.recognition import RevenueKey, earned_by_key
from billing.ledger.fault import LedgerFault
from billing.ledger.verify_chain import chain_faults
from billing.store import ledger_rows, number_rows, recognition_rows


async def trial_balance(connection: AsyncConnection, on: date | None = None) -> list[tuple[str, str, int]]:
    """``(ledger account, currency, minor units)`` at the end of a day, or now; debit positive.

    The sums of each currency are zero.
    """
    return await ledger_rows.balances(connection, on)


async def account_balance(connection: AsyncConnection, account_id: str) -> int:
    """What the account owes in minor units; negative when the house owes it."""
    return await ledger_rows.balance_of(connection, account_id)


async def verify_ledger(connection: AsyncConnection, since: date | None = None) -> list[LedgerFault]:
    """Every proof there is; an empty list means that the books are right. The oldest broken day comes first.

    ``since``: digests and hashes of days before it are taken as proved (the links of the chain are not).
    """
    faults = await chain_faults(connection, since)
    faults += [
        LedgerFault("trial_balance", currency, f"all postings sum to {total}, not 0")
        for currency, total in await ledger_rows.currency_sums(connection)
        if total != 0
    ]
    faults += [
        LedgerFault("account_in_chart", name, "the chart of accounts has no such ledger account")
        for name in await ledger_rows.ledger_accounts(connection)
        if chart_line(name) is None
    ]
    faults += [
        LedgerFault("entry_balances", entry_id, f"the postings sum to {total}, not 0")
        for entry_id, total in await ledger_rows.unbalanced_entries(connection)
    ]
    faults += [
        LedgerFault("posting_has_entry", str(seq), "the posting belongs to no entry")
        for seq in await ledger_rows.stray_postings(connection)
    ]
    faults += [
        LedgerFault("source_booked", source_id, f"this {kind} has no ledger entry")
        for kind, source_id in await ledger_rows.sources_without_entry(connection)
    ]
    faults += await _invoice_faults(connection)
    faults += [
        LedgerFault("invoice_booked_right", one.number, one.words)
        for one in await ledger_rows.invoices_booked_wrong(connection)
    ]
    faults += await _deferred_faults(connection)
    faults += [
        LedgerFault(
            "payment_allocated", row.id,
            f"amount {row.amount_minor}, allocated {row.used}, unallocated {row.unallocated_minor}",
        )
        for row in await ledger_rows.payments_out_of_sum(connection)
    ]  # fmt: skip
    receivable = await ledger_rows.account_sums(connection, RECEIVABLE)
    faults += _differences("receivable_is_open", receivable, await ledger_rows.open_sums(connection))
    credit = {
        account_id: -total
        for account_id, total in (await ledger_rows.account_sums(connection, CUSTOMER_CREDIT)).items()
    }
    faults += _differences("credit_is_unallocated", credit, await ledger_rows.unallocated_sums(connection))
    return faults + await _number_gaps(connection)


async def _deferred_faults(connection: AsyncConnection) -> list[LedgerFault]:
    """Recognised and deferred are what was billed in advance, and recognised is what the lines had earned."""
    billed = await recognition_rows.whole_by_key(connection, date.max, ended=False)
    recognised = await recognition_rows.recognised_by_key(connection)
    balances = await recognition_rows.deferred_balances(connection)
    earned = await _earned_when_last_recognised(connection)
    faults: list[LedgerFault] = []
    for key in sorted(billed.keys() | recognised.keys() | balances.keys(), key=lambda one: one.order):
        name = f"deferred:{key.revenue} {key.currency}" + (f" of {key.entity_id}" if key.entity_id else "")
        left, known, whole = balances.get(key, 0), recognised.get(key, 0), billed.get(key, 0)
        if left + known != whole:
            words = f"billed in advance {whole}, but deferred {left} and recognised {known}"
            faults.append(LedgerFault("deferred_adds_up", name, words))
        if known != earned.get(key, 0):
            words = f"recognised {known}, but the lines had earned {earned.get(key, 0)} by then"
            faults.append(LedgerFault("deferred_as_lines_say", name, words))
    return faults


async def _earned_when_last_recognised(connection: AsyncConnection) -> dict[RevenueKey, int]:
    """What the lines that were there at the last recognition had earned through its day."""
    last = await recognition_rows.last_recognition(connection)
    if last is None:
        return {}
    through, written_at = last
    earned = await recognition_rows.whole_by_key(connection, through, known_at=written_at)
    running = await recognition_rows.running_lines(connection, through, known_at=written_at)
    for key, amount in earned_by_key(running, through).items():
        earned[key] = earned.get(key, 0) + amount
    return earned


async def _invoice_faults(connection: AsyncConnection) -> list[LedgerFault]:
    return [
        LedgerFault(
            "invoice_adds_up", row.number,
            f"net {row.net_minor}, tax {row.tax_minor}, total {row.total_minor}, lines {row.charged}, "
            f"paid {row.paid}, open {row.open_minor}",
        )
        for row in await ledger_rows.invoices_out_of_sum(connection)
    ]  # fmt: skip


def _differences(check: str, ledger: dict[str, int], documents: dict[str, int]) -> list[LedgerFault]:
    return [
        LedgerFault(
            check,
            account_id,
            f"the ledger says {ledger.get(account_id, 0)}, the documents {documents.get(account_id, 0)}",
        )
        for account_id in sorted(set(ledger) | set(documents))
        if ledger.get(account_id, 0) != documents.get(account_id, 0)
    ]


async def _number_gaps(connection: AsyncConnection) -> list[LedgerFault]:
    """Every number that a series of documents gave must be on one, and no other."""
    given = set(await number_rows.document_numbers_given(connection))
    found = set(await ledger_rows.invoice_numbers(connection))
    return [
        LedgerFault("numbers_gapless", number, "given by the series but on no invoice")
        for number in sorted(given - found)
    ] + [
        LedgerFault("numbers_gapless", number, "on an invoice but not given by the series")
        for number in sorted(found - given)
    ]
