"""Reading and proving the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.ledger import CUSTOMER_CREDIT, RECEIVABLE
from billing.store import ledger_rows, number_rows
from billing.store.number_rows import INVOICE_SERIES


@dataclass(frozen=True, slots=True)
class LedgerFault:
    """A contradiction in the books. ``check`` names the proof that failed."""

    check: str
    subject: str
    detail: str


async def trial_balance(connection: AsyncConnection) -> list[tuple[str, str, int]]:
    """``(ledger account, currency, minor units)``; debit positive. The sums of each currency are zero."""
    return await ledger_rows.balances(connection)


async def account_balance(connection: AsyncConnection, account_id: str) -> int:
    """What the account owes in minor units; negative when the house owes it."""
    return await ledger_rows.balance_of(connection, account_id)


async def verify_ledger(connection: AsyncConnection) -> list[LedgerFault]:
    """Every proof there is; an empty list means that the books are right."""
    faults = [
        LedgerFault("entry_balances", entry_id, f"the postings sum to {total}, not 0")
        for entry_id, total in await ledger_rows.unbalanced_entries(connection)
    ]
    faults += [
        LedgerFault("source_booked", source_id, f"this {kind} has no ledger entry")
        for kind, source_id in await ledger_rows.sources_without_entry(connection)
    ]
    faults += await _invoice_faults(connection)
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
    """Every number that the invoice series gave must be on an invoice, and no other."""
    given = set(await number_rows.numbers_given(connection, INVOICE_SERIES))
    found = set(await ledger_rows.invoice_numbers(connection))
    return [
        LedgerFault("numbers_gapless", number, "given by the series but on no invoice")
        for number in sorted(given - found)
    ] + [
        LedgerFault("numbers_gapless", number, "on an invoice but not given by the series")
        for number in sorted(found - given)
    ]
