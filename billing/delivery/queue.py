"""Queue what subscribers are to be told: unique by its source, so that a fact twice tells once.

Rendering waits until a message is sent: a queue of bills is rows, not megabytes, and a corrected template is
used by whatever has not left yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from billing.store import document_rows, mail_rows
from core.refusal import Refusal
from core.work import Work

KINDS = {
    "invoice": "Invoices",
    "credit_note": "Credit notes",
    "receipt": "Receipts of payments",
    "statement": "Statements, when you send one",
    "autopay_failed": "Automatic payment was declined",
    "reminder_1": "First reminder",
    "reminder_2": "Second reminder",
    "restriction_notice": "The line is restricted",
    "suspension_notice": "The line is suspended",
    "ended_notice": "The service is ended",
    "promise_broken": "A promise to pay was not kept",
    "service_restored": "The line is back",
    "quota_alert": "Usage came near what is included",
    "contract_notice": "A contract comes to the end of its term",
    "test": "Test message",
}
"""Templates that Hilltop comes with, and what each tells. Operators may write more."""
NO_SERVER = "no mail server is set up"
_PART = r"[^\s@<>\"(),:;\[\]\\]"
_ADDRESS = re.compile(rf"{_PART}{{1,64}}@({_PART}+\.[^\s@<>\"(),:;\[\]\\.]+|localhost)")


def usable_address(text: str | None) -> bool:
    """Whether mail can be sent there: one plain address in ASCII."""
    return bool(text and len(text) <= 254 and text.isascii() and _ADDRESS.fullmatch(text))


async def queue_message(
    work: Work,
    *,
    source: str,
    account_id: str,
    template: str,
    params: Mapping[str, Any],
    attachments: Sequence[Mapping[str, Any]] = (),
    channel: str = "email",
    to_address: str | None = None,
) -> str | None:
    """Queue a message to an account; None when it was queued before, is switched off, or reaches nobody.

    ``params`` are JSON values: amounts end in ``_minor``, days are ISO dates. Who has no address gets a
    letter if paper is how the account is told things.
    """
    reader = await mail_rows.reader(work.connection, account_id)
    if reader is None:
        return None
    server = await mail_rows.find_server(work.connection, reader.entity_id or "")
    if server is not None and template in KINDS and template not in server.kinds:
        return None
    address = to_address or reader.email or ""
    if channel == "email" and not usable_address(address):
        if reader.delivery != "paper":
            return None
        channel = "letter"
    is_letter = channel == "letter"
    message_id = work.ids.new("msg")
    queued = await mail_rows.insert_message(
        work.connection,
        {
            "id": message_id, "source": source[:160], "account_id": reader.id,
            "brand": reader.entity_id or "",
            "template": template, "locale": reader.locale or "", "channel": channel,
            "to_address": "" if is_letter else address, "params": dict(params),
            "attachments": [dict(one) for one in attachments], "subject": None, "state": "queued",
            "attempts": 0, "next_try_at": None if is_letter else work.now,
            "reason": "waits to be printed" if is_letter else None if server else NO_SERVER,
            "created_at": work.now, "ended_at": None,
        },
    )  # fmt: skip
    return message_id if queued else None


async def queue_invoice(work: Work, invoice_id: str, *, again: bool = False) -> str | Refusal | None:
    """Tell an account of its invoice or credit note as its ``delivery`` says; ``again``: by hand, anew."""
    row = await document_rows.invoice_row(work.connection, invoice_id)
    if row is None or row.number is None:
        return Refusal("unknown_invoice", f"there is no invoice {invoice_id}", "invoice")
    reader = await mail_rows.reader(work.connection, row.account_id)
    if reader is None or (reader.delivery == "none" and not again):
        return None
    is_credit = row.kind == "credit_note" or row.total_minor < 0
    message = await queue_message(
        work,
        source=f"invoice:{row.id}" + (f":again:{work.ids.new('try')}" if again else ""),
        account_id=row.account_id,
        template="credit_note" if is_credit else "invoice",
        params={
            "number": row.number, "currency": row.currency, "total_minor": row.total_minor,
            "open_minor": row.open_minor, "issued_on": row.issued_on.isoformat(),
            "due_on": row.due_on.isoformat(), "invoice_id": row.id,
        },
        attachments=[{"kind": "invoice", "id": row.id}],
        channel="letter" if reader.delivery == "paper" else "email",
    )  # fmt: skip
    if again:
        if message is None:
            return Refusal("mail.nobody", "this account has no e-mail address that can be used", "account")
        await work.audit("mail.sent_again", row.account_id, invoice=row.number, message=message)
    return message


async def queue_receipt(work: Work, payment_id: str) -> str | None:
    """Thank for a payment."""
    row = await mail_rows.payment_told(work.connection, payment_id)
    if row is None or row.method == "credit":
        return None
    reader = await mail_rows.reader(work.connection, row.account_id)
    if reader is None or reader.delivery != "email":
        return None
    return await queue_message(
        work,
        source=f"receipt:{row.id}",
        account_id=row.account_id,
        template="receipt",
        params={
            "currency": row.currency, "amount_minor": row.amount_minor, "method": row.method,
            "received_on": row.received_on.isoformat(),
        },
        attachments=[{"kind": "receipt", "id": row.id}],
    )  # fmt: skip


async def queue_statement(work: Work, account: str, from_on: date, until_on: date) -> str | Refusal:
    """Send a statement of account, by hand."""
    if until_on < from_on:
        return Refusal("statement.span", "ends before it begins", "until")
    reader = await mail_rows.reader(work.connection, account)
    if reader is None:
        return Refusal("unknown_account", f"there is no account {account}", "account")
    span = {"from_on": from_on.isoformat(), "until_on": until_on.isoformat()}
    message = await queue_message(
        work,
        source=f"statement:{reader.id}:{work.ids.new('try')}",
        account_id=reader.id,
        template="statement",
        params={**span, "currency": reader.currency},
        attachments=[{"kind": "statement", "id": reader.id, **span}],
        channel="letter" if reader.delivery == "paper" else "email",
    )
    if message is None:
        return Refusal("mail.nobody", "this account has no e-mail address that can be used", "account")
    await work.audit("mail.statement_queued", reader.id, message=message, **span)
    return message
