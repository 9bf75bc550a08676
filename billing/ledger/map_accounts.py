"""What the operator's own books call a ledger account: used by the exports, changes nothing in the ledger."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.chart import CHART, chart_line
from billing.store import journal_rows, ledger_code_rows
from core.refusal import Refusal
from core.work import Work

_LONGEST = 120


async def set_account_code(work: Work, *, ledger_account: str, code: str) -> Refusal | None:
    """Give an account (``cash:card``) or all under a heading (``tax``) a code; an empty one takes it away."""
    ledger_account, code = ledger_account.strip(), code.strip()
    if chart_line(ledger_account) is None and ledger_account not in {line.name for line in CHART}:
        message = f"the chart has no account {ledger_account!r}; see hilltop ledger accounts"
        return Refusal("unknown_account", message, "ledger_account")
    if len(code) > _LONGEST or not code.isprintable():
        return Refusal("bad_code", f"use at most {_LONGEST} characters that can be printed", "code")
    await ledger_code_rows.replace(work.connection, ledger_account, code, work.now, work.actor)
    await work.audit("billing.account_code_set", f"ledger:{ledger_account}", code=code)
    return None


async def account_codes(connection: AsyncConnection) -> dict[str, str]:
    """Every code by account or heading."""
    return await journal_rows.codes(connection)
