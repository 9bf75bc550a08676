"""The ledger for programs: balances, entries, the chain of closed days, and the books as files."""

from __future__ import annotations

from collections.abc import AsyncIterator

from billing.ledger.exports import EXPORTS, prepare_export
from core.refusal import Refusal, Refused, granted
from ui.api import shapes
from ui.api.declare import Answer, Ask, Download, Kind, Operations, Parameter
from ui.read import ledger

operations = Operations()
_LIMIT = Parameter("limit", "How many at most.", Kind.COUNT, default=50, at_least=1)
_FROM = Parameter("from", "The first day.", Kind.DAY)
_UNTIL = Parameter("until", "The last day.", Kind.DAY)
_CURRENCY = Parameter("currency", "One currency alone, such as USD.")


@operations.get(
    "/ledger/trial-balance", "Every ledger account with its balance in minor units, now or at a day's end.",
    shapes.record(balances=shapes.listed(shapes.of(ledger.BalanceRow))),
    Parameter("on", "The day; else now.", Kind.DAY),
)  # fmt: skip
async def trial_balance(ask: Ask) -> Answer:
    """Debits and credits."""
    async with ask.panel.workplace.reading() as connection:
        return {"balances": await ledger.balance_rows(connection, ask.day("on"))}


@operations.get(
    "/ledger/entries", "Postings of entries, the newest day first; next_after is the mark of the next page.",
    shapes.record(
        postings=shapes.listed(shapes.of(ledger.JournalRow)), next_after=shapes.maybe(shapes.TEXT)
    ),
    _FROM, _UNTIL, _CURRENCY, Parameter("account", "A ledger account, or a heading such as tax."),
    Parameter("customer", "Number or id of an account."), Parameter("kind", "Of source: invoice, payment …"),
    Parameter("after", "The mark of the page."), _LIMIT,
)  # fmt: skip
async def ledger_entries(ask: Ask) -> Answer:
    """One page of whole entries."""
    limit = ask.count("limit")
    async with ask.panel.workplace.reading() as connection:
        found = await ledger.journal(
            connection, first=ask.day("from"), last=ask.day("until"), currency=ask.text("currency").upper(),
            ledger_account=ask.text("account"), customer=ask.text("customer"), source_kind=ask.text("kind"),
            before=ask.text("after"), limit=limit,
        )  # fmt: skip
    if found is None:
        words = "there is no such account; use its number or id"
        raise Refused(Refusal("customer.unknown", words, "customer"))
    mark = f"{found[-1].booked_on},{found[-1].id}" if len(found) == limit else None
    return {"postings": ledger.journal_lines(found), "next_after": mark}


@operations.get(
    "/ledger/closes", "Closed days, locks and reopenings with their hashes, newest first.",
    shapes.record(acts=shapes.listed(shapes.of(ledger.ActRow))), _LIMIT,
)  # fmt: skip
async def ledger_closes(ask: Ask) -> Answer:
    """The chain."""
    async with ask.panel.workplace.reading() as connection:
        return {"acts": await ledger.closing_acts(connection, ask.count("limit"))}


@operations.download(
    "/ledger/export/{format}", "The books for another program; the same period gives the same file.",
    Parameter("format", "Which program.", in_path=True, required=True, choices=tuple(EXPORTS)),
    _FROM, _UNTIL, _CURRENCY, Parameter("entity", "Id of a legal entity; house: the house's own."),
    Parameter("by_customer", "yes: accounts for each customer.", choices=("yes", "no")),
    Parameter("opening", "yes: begin with what was before the first day.", choices=("yes", "no")),
)  # fmt: skip
async def ledger_export(ask: Ask) -> Answer:
    """Checked here, written while it is sent."""
    workplace = ask.panel.workplace
    async with workplace.reading() as connection:
        prepared = granted(
            await prepare_export(
                connection, ask.text("format"), first=ask.day("from"), last=ask.day("until"),
                currency=ask.text("currency"), entity=ask.text("entity"),
                by_customer=ask.text("by_customer") == "yes", opening=ask.text("opening") == "yes",
            )
        )  # fmt: skip

    async def parts() -> AsyncIterator[str]:
        async with workplace.reading() as connection:
            async for part in prepared.write(connection):
                yield part

    return Download(prepared.file_name, prepared.export.content_type, parts)
