"""What programs may ask of documents and of mail."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from billing.delivery import act_on_texts
from billing.delivery.act_on_messages import cancel, try_again
from billing.delivery.queue import queue_invoice, queue_statement
from billing.delivery.signed_names import document_link
from billing.documents.statement import Movement, statement_of
from billing.store import document_rows
from core.periods import local_date
from core.refusal import Refusal, Refused, granted
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.read import mail as mail_views
from ui.read.mail import MessageRow, TextRow

operations = Operations()

_ACCOUNT = Parameter("account", "Number or id of an account.", in_path=True, required=True)
_INVOICE = Parameter("invoice", "Number or id of an invoice.", in_path=True, required=True)
_MESSAGE = Parameter("message", "Id of a message (msg_…).", in_path=True, required=True)
_TEXT = Parameter("message", "Id of a text message (sms_…).", in_path=True, required=True)
_QUEUED = shapes.record(message=shapes.TEXT)


@operations.get(
    "/mail/messages", "Messages to subscribers, newest first, each with the reason it is where it is.",
    shapes.record(messages=shapes.listed(shapes.of(MessageRow)), next_before=shapes.maybe(shapes.TEXT)),
    Parameter(
        "state", "In this state alone.", choices=("queued", "sent", "failed", "bounced", "cancelled")
    ),
    Parameter("before", "next_before of the page before."),
    Parameter("limit", "How many at most.", Kind.COUNT, default=50, at_least=1),
)  # fmt: skip
async def messages(ask: Ask) -> Answer:
    """A page at a time."""
    limit = ask.count("limit")
    async with ask.panel.workplace.reading() as connection:
        rows = await mail_views.list_messages(
            connection, state=ask.text("state"), before=ask.text("before"), limit=limit
        )
    return {"messages": rows, "next_before": rows[-1].id if len(rows) == limit else None}


@operations.post(
    "/mail/messages/{message}/retry", "Try a message at once, also one that was given up.", _QUEUED, _MESSAGE
)
async def retry_message(ask: Ask) -> Answer:
    """It goes to the account's address of today."""
    async with ask.panel.workplace.work(ask.actor) as work:
        return {"message": granted(await try_again(work, ask.text("message")))}


@operations.post("/mail/messages/{message}/cancel", "Do not send a message that waits.", _QUEUED, _MESSAGE)
async def cancel_message(ask: Ask) -> Answer:
    """Refused for one that does not wait."""
    async with ask.panel.workplace.work(ask.actor) as work:
        return {"message": granted(await cancel(work, ask.text("message")))}


@operations.get(
    "/sms/messages", "Text messages to subscribers, newest first, each with the reason it is where it is.",
    shapes.record(messages=shapes.listed(shapes.of(TextRow)), next_before=shapes.maybe(shapes.TEXT)),
    Parameter("state", "In this state alone.", choices=("queued", "sent", "failed", "cancelled")),
    Parameter("before", "next_before of the page before."),
    Parameter("limit", "How many at most.", Kind.COUNT, default=50, at_least=1),
)  # fmt: skip
async def texts(ask: Ask) -> Answer:
    """A page at a time."""
    limit = ask.count("limit")
    async with ask.panel.workplace.reading() as connection:
        rows = await mail_views.list_texts(
            connection, state=ask.text("state"), before=ask.text("before"), limit=limit
        )
    return {"messages": rows, "next_before": rows[-1].id if len(rows) == limit else None}


@operations.post(
    "/sms/messages/{message}/retry", "Try a text message at once, also one that was given up.", _QUEUED, _TEXT
)
async def retry_text(ask: Ask) -> Answer:
    """It goes to the account's number of today."""
    async with ask.panel.workplace.work(ask.actor) as work:
        return {"message": granted(await act_on_texts.try_again(work, ask.text("message")))}


@operations.post("/sms/messages/{message}/cancel", "Do not send a text message that waits.", _QUEUED, _TEXT)
async def cancel_text(ask: Ask) -> Answer:
    """Refused for one that does not wait."""
    async with ask.panel.workplace.work(ask.actor) as work:
        return {"message": granted(await act_on_texts.cancel(work, ask.text("message")))}


@operations.post("/invoices/{invoice}/send", "Send an invoice to its account once more.", _QUEUED, _INVOICE)
async def send_invoice(ask: Ask) -> Answer:
    """By mail, or as a letter where the account is told things on paper."""
    async with ask.panel.workplace.work(ask.actor) as work:
        return {"message": granted(await queue_invoice(work, ask.text("invoice"), again=True))}


@operations.get(
    "/invoices/{invoice}/document",
    "Signed path of an invoice as PDF, at the panel's or the portal's address; who has it may read it.",
    shapes.record(path=shapes.TEXT), _INVOICE,
)  # fmt: skip
async def invoice_document(ask: Ask) -> Answer:
    """The same path each time, and the same octets behind it."""
    async with ask.panel.workplace.reading() as connection:
        row = await document_rows.invoice_row(connection, ask.text("invoice"))
    if row is None:
        words = f"there is no invoice {ask.text('invoice')[:60]!r}"
        raise Refused(Refusal("invoice.unknown", words, "invoice"))
    return {"path": document_link(ask.panel.sealer, "/document", row.id)}


_SPAN = (
    Parameter("from", "First day (YYYY-MM-DD); else 90 days before the last."),
    Parameter("until", "Last day (YYYY-MM-DD); else today."),
)


@operations.get(
    "/accounts/{account}/statement", "A statement of account as data: what was owed, what moved it, its age.",
    shapes.record(
        account=shapes.TEXT, currency=shapes.TEXT, **{"from": shapes.TEXT}, until=shapes.TEXT,
        opening_minor=shapes.WHOLE, closing_minor=shapes.WHOLE, credit_minor=shapes.WHOLE,
        movements=shapes.listed(shapes.of(Movement)), ages_minor=shapes.listed(shapes.WHOLE),
    ),
    _ACCOUNT, *_SPAN,
)  # fmt: skip
async def account_statement(ask: Ask) -> Answer:
    """Ages: not due, and due for up to 30, 60, 90 and more days."""
    first, last = _span(ask)
    async with ask.panel.workplace.reading() as connection:
        found = granted(await statement_of(connection, ask.text("account"), first, last, ask.panel.billing))
    return {
        "account": found.account_number, "currency": found.currency, "from": first, "until": last,
        "opening_minor": found.opening_minor, "closing_minor": found.closing_minor,
        "credit_minor": found.credit_minor, "movements": found.movements, "ages_minor": found.ages,
    }  # fmt: skip


@operations.post(
    "/accounts/{account}/statement", "Send a statement of account to its account.", _QUEUED, _ACCOUNT, *_SPAN
)
async def send_statement(ask: Ask) -> Answer:
    """By mail, or as a letter."""
    first, last = _span(ask)
    async with ask.panel.workplace.work(ask.actor) as work:
        return {"message": granted(await queue_statement(work, ask.text("account"), first, last))}


def _span(ask: Ask) -> tuple[date, date]:
    today = local_date(ask.panel.workplace.clock.now(), ask.panel.settings.time_zone)
    last = _day(ask, "until", today)
    return _day(ask, "from", last - timedelta(days=89)), last


def _day(ask: Ask, name: str, default: date) -> date:
    text: Any = ask.text(name)
    if not text:
        return default
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused(Refusal(f"{name}.malformed", "is not a date: write it like 2026-03-31", name)) from None
