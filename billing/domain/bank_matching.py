"""Whose money a line of a bank statement is: certain by what the payer wrote or by who he is, else a guess.

Certain is only what somebody said: the number of an invoice or account, or a rule that an operator let the
house learn. An amount or a name that fits is a suggestion, because two customers may owe the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from billing.domain.bank_statement import StatementLine, plain

SHORTEST_NUMBER = 5
"""Letters and digits that a number needs to be looked for: shorter ones stand in every text."""
_MOST_JOINED = 4
_SIMILAR = 0.72
_MOST_SUGGESTIONS = 5
_LEARNT = "this payer was assigned to the account before"


@dataclass(frozen=True, slots=True)
class KnownInvoice:
    """An invoice that somebody may pay."""

    id: str
    number: str
    account_id: str
    open_minor: int


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """An account that somebody may pay into."""

    id: str
    number: str
    name: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An account to ask about. ``score`` orders them, 100 is certain; ``because`` is for people."""

    account_id: str
    score: int
    because: str
    invoice_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """``certain``: the one account whose money it is, or None; else what may be."""

    certain: Suggestion | None
    suggestions: tuple[Suggestion, ...]


@dataclass(slots=True)
class Register:
    """Who and what is known, by what it is found by. ``payers``: account id by the payer's mark."""

    accounts: dict[str, KnownAccount]
    payers: Mapping[str, str]
    _invoices: dict[str, list[KnownInvoice]] = field(default_factory=dict)
    _numbers: dict[str, list[str]] = field(default_factory=dict)
    _amounts: dict[int, list[KnownInvoice]] = field(default_factory=dict)
    _names: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, accounts: Iterable[KnownAccount], invoices: Iterable[KnownInvoice], payers: Mapping[str, str]
    ) -> Register:
        """A register of them."""
        register = cls({one.id: one for one in accounts}, payers)
        for account in register.accounts.values():
            if _is_number(account.number):
                register._numbers.setdefault(plain(account.number), []).append(account.id)
            for word in _words(account.name):
                register._names.setdefault(word, set()).add(account.id)
        for invoice in invoices:
            if _is_number(invoice.number):
                register._invoices.setdefault(plain(invoice.number), []).append(invoice)
            if invoice.open_minor > 0:
                register._amounts.setdefault(invoice.open_minor, []).append(invoice)
        return register

    def match(self, line: StatementLine, payer_mark: str | None) -> Match:
        """Whose the line's money is."""
        said = self._said(line)
        accounts = {one.account_id for one in said}
        learnt = self.accounts.get(self.payers.get(payer_mark or "", ""))
        if line.amount_minor > 0 and len(accounts) == 1:
            ids = tuple(dict.fromkeys(one for each in said for one in each.invoice_ids))
            because = "; ".join(dict.fromkeys(one.because for one in said))
            return Match(Suggestion(accounts.pop(), 100, because, ids), ())
        if line.amount_minor > 0 and not accounts and learnt is not None:
            return Match(Suggestion(learnt.id, 100, _LEARNT), ())
        guesses = [*said, *self._guessed(line)]
        if learnt is not None:
            guesses.append(Suggestion(learnt.id, 90, _LEARNT))
        best: dict[str, Suggestion] = {}
        for one in sorted(guesses, key=lambda one: (-one.score, one.account_id)):
            best.setdefault(one.account_id, one)
        return Match(None, tuple(best.values())[:_MOST_SUGGESTIONS])

    def _said(self, line: StatementLine) -> list[Suggestion]:
        """Accounts whose own number, or an invoice's, the payer wrote."""
        found = []
        for text in (line.end_to_end_id, line.remittance):
            for token in tokens(text):
                found += [
                    Suggestion(one.account_id, 95, f"invoice {one.number} is named", (one.id,))
                    for one in self._invoices.get(token, ())
                ]
                found += [
                    Suggestion(account_id, 95, f"account {self.accounts[account_id].number} is named")
                    for account_id in self._numbers.get(token, ())
                ]
        return [one for one in found if one.account_id in self.accounts]

    def _guessed(self, line: StatementLine) -> list[Suggestion]:
        guesses = []
        names = self._similar(line.payer_name)
        for invoice in self._amounts.get(abs(line.amount_minor), ())[:50]:
            alike = names.get(invoice.account_id, 0.0)
            words = f"invoice {invoice.number} asks exactly this" + (
                ", and the name is alike" if alike else ""
            )
            guesses.append(Suggestion(invoice.account_id, 85 if alike else 60, words, (invoice.id,)))
        guesses += [
            Suggestion(account_id, round(50 * alike), f"the name is like {self.accounts[account_id].name}")
            for account_id, alike in names.items()
        ]
        return guesses

    def _similar(self, name: str) -> dict[str, float]:
        """Accounts with a similar name: a word in common, then the likeness of the whole."""
        words = _words(name)
        candidates = {
            one for word in words for one in self._names.get(word, ()) if len(self._names[word]) < 500
        }
        whole = " ".join(sorted(words))
        found = {}
        for account_id in candidates:
            other = " ".join(sorted(_words(self.accounts[account_id].name)))
            alike = SequenceMatcher(None, whole, other, autojunk=False).ratio()
            if alike >= _SIMILAR:
                found[account_id] = alike
        return found


def tokens(text: str) -> list[str]:
    """Every run of letters and digits, and up to four neighbours joined: banks break and strip references."""
    runs = re.findall(r"[0-9A-Z]+", text.upper())[:200]
    joined: dict[str, None] = {}
    for start in range(len(runs)):
        for end in range(start + 1, min(start + _MOST_JOINED, len(runs)) + 1):
            joined["".join(runs[start:end])] = None
    return [one for one in joined if len(one) >= SHORTEST_NUMBER]


def _is_number(text: str) -> bool:
    bare = plain(text)
    return len(bare) >= SHORTEST_NUMBER and any(one.isdigit() for one in bare)


def _words(text: str) -> set[str]:
    return {one for one in re.findall(r"\w+", text.casefold()) if len(one) > 2}


def check_split(amount_minor: int, parts: Sequence[int]) -> bool:
    """Whether the parts are the whole of it."""
    return bool(parts) and all(part > 0 for part in parts) and sum(parts) == amount_minor
