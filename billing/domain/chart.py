"""The chart of accounts: every ledger account there can be, what kind it is and what it means.

A ledger account is a name, or a name and a detail behind a colon (``tax:US-NM``). What is not in this list is
a fault that ``hilltop ledger verify`` names: a misspelt account would otherwise hide money for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AccountKind(StrEnum):
    """The five kinds of double entry. Assets and expenses grow by debits, the others by credits."""

    ASSET = "asset"
    LIABILITY = "liability"
    EQUITY = "equity"
    INCOME = "income"
    EXPENSE = "expense"


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of the chart. ``detail``: what follows the colon; ``per_account``: kept for each customer."""

    name: str
    kind: AccountKind
    meaning: str
    detail: str = ""
    per_account: bool = False

    @property
    def pattern(self) -> str:
        """As it is written in the documentation: ``cash:<method>``."""
        return f"{self.name}:<{self.detail}>" if self.detail else self.name


_A, _L, _E, _I, _X = (
    AccountKind.ASSET, AccountKind.LIABILITY, AccountKind.EQUITY, AccountKind.INCOME, AccountKind.EXPENSE,
)  # fmt: skip

CHART: tuple[ChartLine, ...] = (
    ChartLine("receivable", _A, "what customers owe on invoices", per_account=True),
    ChartLine("cash", _A, "money received, by the way it came", "method"),
    ChartLine("in_transit", _A, "money that a bank or gateway has announced", "name"),
    ChartLine("customer_credit", _L, "money of customers that pays nothing yet", per_account=True),
    ChartLine("deposits", _L, "money kept as security, to be given back", per_account=True),
    ChartLine("refunds_due", _L, "promised to customers and not paid out yet", per_account=True),
    ChartLine("deferred", _L, "billed in advance and not earned yet, by revenue", "revenue"),
    ChartLine("tax", _L, "tax collected for an authority", "jurisdiction"),
    ChartLine("commission_payable", _L, "what resellers are owed", "reseller"),
    ChartLine("opening", _E, "balances brought along from other books"),
    ChartLine("revenue", _I, "earned, by name", "name"),
    ChartLine("bad_debt_recovered", _I, "written off before and paid after all"),
    ChartLine("bad_debt", _X, "owed and given up"),
    ChartLine("processing_fees", _X, "what gateways and banks keep of payments", "where"),
    ChartLine("commission", _X, "what resellers earn", "reseller"),
)
_BY_NAME = {line.name: line for line in CHART}


def chart_line(ledger_account: str) -> ChartLine | None:
    """The line that ``ledger_account`` belongs to, or None when the chart has no such account."""
    name, colon, detail = ledger_account.partition(":")
    line = _BY_NAME.get(name)
    if line is None or bool(line.detail) != bool(colon and detail):
        return None
    return line


def heading(ledger_account: str) -> str:
    """The name before the colon: ``tax`` of ``tax:US-NM``."""
    return ledger_account.partition(":")[0]
