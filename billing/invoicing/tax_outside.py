"""Drafts without taxes get them from the engine outside, all of a block in a few requests.

The engine is asked while no transaction is open, for it may be slow and a transaction keeps others waiting:
a block drafts, finds that an answer is lacking and gives way; then it is asked, and the block drafts again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from billing.domain.invoicing import CHARGES, InvoiceDraft, complete_invoice, taxable_lines
from billing.domain.taxes.book import TaxBook
from billing.domain.taxes.decide import TaxDecision
from billing.domain.taxes.rule import Exemption
from billing.taxes.engine import TaxDocument, TaxEngine, TaxTrouble
from core.refusal import Refusal, Refused

NO_RULES = TaxBook(())
"""Our own rules while an engine says the taxes: silent."""
_OFTEN_ENOUGH = 3


class TaxesUnasked(Exception):  # noqa: N818 - no error: the block comes again when they are known
    """The engine has to be asked about these documents first."""

    def __init__(self, outside: OutsideTaxes, documents: Sequence[TaxDocument]) -> None:
        super().__init__(f"{len(documents)} documents have no taxes yet")
        self._outside = outside
        self._documents = documents

    async def ask(self) -> None:
        """Ask now, with no transaction open."""
        await self._outside.ask(self._documents)


class OutsideTaxes:
    """What the engine said to each document of a run; what it was not asked yet is asked in between."""

    def __init__(self, engine: TaxEngine, *, record: bool = True) -> None:
        self._engine = engine
        self._record = record
        self._said: dict[str, tuple[TaxDocument, TaxDecision | TaxTrouble]] = {}
        self._asked: dict[str, int] = {}

    async def ask(self, documents: Sequence[TaxDocument]) -> None:
        """Ask about all of them, and keep the answers."""
        answers = await self._engine.taxes_of(documents)
        for one in documents:
            self._asked[one.code] = self._asked.get(one.code, 0) + 1
            self._said[one.code] = one, answers[one.code]

    def forget(self) -> None:
        """A block is done: its answers are on its lines."""
        self._said.clear()
        self._asked.clear()

    def complete(
        self, drafts: Sequence[InvoiceDraft], exemptions: Mapping[str, Sequence[Exemption]]
    ) -> list[InvoiceDraft]:
        """The drafts with their taxes.

        Raises ``TaxesUnasked`` when an answer lacks, ``Refused`` when there are no taxes for one of them: it
        must not be billed. What was answered about other lines than it has now is no answer.
        """
        taxed: list[InvoiceDraft] = []
        unasked: list[TaxDocument] = []
        for draft in drafts:
            document = self._document(draft, exemptions)
            asked, answer = self._said.get(document.code, (None, None))
            if not document.lines:
                answer = TaxDecision((), ())
            elif answer is None or asked != document:
                if self._asked.get(document.code, 0) >= _OFTEN_ENOUGH:
                    message = "its lines changed each time the tax engine had answered; try again"
                    raise Refused(Refusal("no_taxes", message))
                unasked.append(document)
                continue
            if isinstance(answer, TaxTrouble):
                raise Refused(Refusal("no_taxes", answer.reason))
            taxed.append(
                complete_invoice(
                    draft.account, draft.cycle, draft.issued_on, list(draft.lines), answer, outside=True
                )
            )
        if unasked:
            raise TaxesUnasked(self, unasked)
        return taxed

    def _document(self, draft: InvoiceDraft, exemptions: Mapping[str, Sequence[Exemption]]) -> TaxDocument:
        """The code is the account and the cycle: a run that was killed says the same again.

        Invoices between the cycles may be several on a day: theirs names their first charge.
        """
        account = draft.account
        first = next((f":{one.charge_id}" for one in draft.lines if draft.kind == CHARGES), "")
        return TaxDocument(
            f"bill:{account.id}:{draft.cycle.start}{first}", account.id, account.currency, draft.issued_on,
            taxable_lines(account, draft.lines), tuple(exemptions.get(account.id, ())), self._record,
        )  # fmt: skip


async def tax_outside(
    engine: TaxEngine, draft: InvoiceDraft, exemptions: Mapping[str, Sequence[Exemption]]
) -> InvoiceDraft | Refusal:
    """One draft with its taxes, for a preview: the engine keeps nothing of it."""
    taxes = OutsideTaxes(engine, record=False)
    try:
        [taxed] = taxes.complete([draft], exemptions)
    except TaxesUnasked as unasked:
        await unasked.ask()
        try:
            [taxed] = taxes.complete([draft], exemptions)
        except Refused as refused:
            return refused.refusal
    return taxed
