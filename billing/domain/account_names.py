"""What our ledger accounts are called in plain text accounting, where names have a grammar.

beancount takes ``Assets:Receivable``: one of five roots, then components of ASCII letters, digits and hyphens
that begin with a capital or a digit ("Language Syntax", section Accounts); hledger takes these too. The
translation is one to one: a name that loses something gets six digits of its SHA-256 behind it.
"""

from __future__ import annotations

import hashlib
import re

from billing.domain.chart import AccountKind, chart_line

_ROOTS = {
    AccountKind.ASSET: "Assets", AccountKind.LIABILITY: "Liabilities", AccountKind.EQUITY: "Equity",
    AccountKind.INCOME: "Income", AccountKind.EXPENSE: "Expenses",
}  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*")
_VALID = re.compile(r"(?:Assets|Liabilities|Equity|Income|Expenses)(?::[A-Z0-9][A-Za-z0-9-]*)+")


def component(text: str) -> str:
    """One component of an account name; different texts have different components."""
    if _PLAIN.fullmatch(text) and _is_usual(text):
        plain = text.replace("_", "--")
        return plain[0].upper() + plain[1:]
    kept = "-".join(re.findall(r"[A-Za-z0-9]+", text)) or "X"
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{kept[0].upper()}{kept[1:40]}-{mark}"


def _is_usual(text: str) -> bool:
    """Of two texts that differ in the case of their first letter alone, the one that needs no mark.

    A text that looks like a marked one needs a mark as well.
    """
    if re.search(r"-[0-9a-f]{6}$", text):
        return False
    second_is_capital = len(text) > 1 and text[1].isupper()
    return text[0].isdigit() or text[0].isupper() == second_is_capital


def account_name(ledger_account: str, customer: str | None = None) -> str:
    """``Liabilities:Tax:US-NM`` of ``tax:US-NM``; a customer's number comes below what is kept for each."""
    line = chart_line(ledger_account)
    if line is None:
        return f"Equity:Unknown:{component(ledger_account)}"
    parts = [_ROOTS[line.kind], "-".join(word.capitalize() for word in line.name.split("_"))]
    if line.detail:
        parts.append(component(ledger_account.partition(":")[2]))
    if customer is not None and line.per_account:
        parts.append(component(customer))
    return ":".join(parts)


def is_account_name(text: str) -> bool:
    """Whether beancount takes ``text`` for an account."""
    return _VALID.fullmatch(text) is not None
