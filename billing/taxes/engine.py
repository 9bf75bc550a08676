"""The port for a tax engine outside: documents of lines in, taxes out; without one our own rules decide.

A document has a code of its own, made of what it bills. The same code sent again replaces what was said under
it before, so a run that was killed and runs again leaves nothing twice at the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from billing.domain.taxes.book import TaxBook
from billing.domain.taxes.decide import TaxableLine, TaxDecision, decide_taxes
from billing.domain.taxes.rule import Exemption


@dataclass(frozen=True, slots=True)
class TaxDocument:
    """An invoice to be, as far as taxes ask.

    ``code``: the same for the same account and cycle, run after run. ``record``: the engine shall keep it for
    its returns; a preview is not recorded.
    """

    code: str
    account_id: str
    currency: str
    issued_on: date
    lines: Sequence[TaxableLine]
    exemptions: Sequence[Exemption] = ()
    record: bool = False


@dataclass(frozen=True, slots=True)
class TaxTrouble:
    """Why a document has no taxes: its account is parked with these words, never billed without tax."""

    reason: str


TaxAnswers = Mapping[str, TaxDecision | TaxTrouble]
"""By document code."""


class TaxEngine(Protocol):
    """Somebody who knows taxes."""

    async def taxes_of(self, documents: Sequence[TaxDocument]) -> TaxAnswers:
        """An answer for every document: the trouble too, as when the engine is away. Never raises."""


class OwnRules:
    """The engine of the house: the rules in the book."""

    def __init__(self, book: TaxBook) -> None:
        self._book = book

    async def taxes_of(self, documents: Sequence[TaxDocument]) -> TaxAnswers:
        """At once, from memory."""
        return {one.code: self._decide(one) for one in documents}

    def _decide(self, document: TaxDocument) -> TaxDecision | TaxTrouble:
        try:
            return decide_taxes(document.lines, self._book, document.exemptions, document.currency)
        except ValueError as trouble:
            return TaxTrouble(str(trouble))
