"""Whose the waiting lines may be, with what is known now: numbers, learnt payers, amounts, names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.bank_matching import Register, Suggestion
from billing.domain.bank_statement import StatementLine
from billing.store import bank_rows


async def suggest_accounts(
    connection: AsyncConnection, lines: Sequence[Row[Any]]
) -> dict[str, tuple[Suggestion, ...]]:
    """Suggestions by line id, likeliest first."""
    registers: dict[str, Register] = {}
    found = {}
    for row in lines:
        if row.currency not in registers:
            registers[row.currency] = Register.of(
                await bank_rows.known_accounts(connection, row.currency),
                await bank_rows.known_invoices(connection, row.currency),
                await bank_rows.payer_accounts(connection),
            )
        line = StatementLine(
            0, row.booked_on, row.value_on, row.amount_minor, row.currency, row.reversal, row.bank_reference,
            row.end_to_end_id, row.remittance, row.payer_name,
        )  # fmt: skip
        match = registers[row.currency].match(line, row.payer_mark)
        found[row.id] = (match.certain,) if match.certain is not None else match.suggestions
    return found
