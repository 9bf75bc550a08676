"""A queued message made into mail or into a letter: words, documents, headers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.delivery import message_text
from billing.delivery.message_text import MessageError, MessageTemplate, MessageText, fill_in
from billing.delivery.signed_names import document_link, mark_of
from billing.documents.bulk import file_name
from billing.documents.invoice_view import as_issued, invoice_view, usable_locale
from billing.documents.keep_look import find_look
from billing.documents.letter import open_account_of, print_letter
from billing.documents.look import Look
from billing.documents.payment_code import pay_target
from billing.documents.printed import print_invoice
from billing.documents.receipt import print_receipt, receipt_of
from billing.documents.render import printed_pdf
from billing.documents.statement import print_statement, statement_of
from billing.documents.words import Words
from billing.payments.gateways.pay_link import pay_path
from billing.ports import DailyUsageSource
from billing.store import mail_rows
from core.refusal import Refusal
from core.secrets import Sealer

Printed = tuple[str, Look, dict[str, Any]]
"""File name, look and content of a document that is not typeset yet."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A message with its documents. ``to`` is as it was queued."""

    id: str
    to: str
    text: MessageText
    documents: tuple[Printed, ...]


async def template_in_force(connection: AsyncConnection, name: str, language: str) -> MessageTemplate | None:
    """The operator's own words, else the built-in ones, else the operator's own in English."""
    own = await mail_rows.find_template(connection, name, language)
    if own is None:
        found = message_text.built_in(language).get(name)
        if found is not None:
            return found
        own = await mail_rows.find_template(connection, name, "en")
    return None if own is None else MessageTemplate(own.subject, own.body, own.html)


async def compose(
    connection: AsyncConnection,
    message: Row[Any],
    settings: BillingSettings,
    usage: DailyUsageSource | None,
    sealer: Sealer,
) -> Composed:
    """The message with its words, reading what its documents are made of. Raises ``MessageError``."""
    look = await find_look(connection, settings, brand=message.brand)
    words = Words(usable_locale(message.locale, look.locale), str(message.params.get("currency") or "USD"))
    template = await template_in_force(connection, message.template, words.language)
    if template is None:
        raise MessageError(f"there is no template {message.template}: write it, or take it out of the ladder")
    reader = None
    if message.account_id:
        reader = await mail_rows.reader(connection, message.account_id)
    values = _values(message, look, sealer, reader)
    documents = [await _document(connection, one, settings, usage, sealer) for one in message.attachments]
    return Composed(
        message.id, message.to_address, fill_in(template, look, words, values),
        tuple(one for one in documents if one is not None),
    )  # fmt: skip


def _values(message: Row[Any], look: Look, sealer: Sealer, reader: Row[Any] | None) -> dict[str, Any]:
    params: Mapping[str, Any] = message.params
    number = str(params.get("number") or params.get("invoice") or (reader.number if reader else ""))
    invoice_id = params.get("invoice_id")
    return {
        "name": reader.name if reader else "",
        "account_number": reader.number if reader else "",
        "pay_url": pay_target(
            look.terms.pay_url, number, pay_path(sealer, str(invoice_id)) if invoice_id else None
        ),
        "document_url": document_link(sealer, look.terms.documents_url, invoice_id) if invoice_id else None,
        **params,
    }


async def _document(
    connection: AsyncConnection,
    asked: Mapping[str, Any],
    settings: BillingSettings,
    usage: DailyUsageSource | None,
    sealer: Sealer,
) -> Printed | None:
    if asked["kind"] == "invoice":
        invoice = await invoice_view(connection, asked["id"], settings, usage, sealer)
        if isinstance(invoice, Refusal):
            raise MessageError(invoice.message)
        return file_name(invoice.number), invoice.look, print_invoice(as_issued(invoice))
    if asked["kind"] == "receipt":
        receipt = await receipt_of(connection, asked["id"], settings)
        if isinstance(receipt, Refusal):
            raise MessageError(receipt.message)
        return "receipt.pdf", receipt.look, print_receipt(receipt)
    days = date.fromisoformat(asked["from_on"]), date.fromisoformat(asked["until_on"])
    statement = await statement_of(connection, asked["id"], *days, settings)
    if isinstance(statement, Refusal):
        raise MessageError(statement.message)
    return "statement.pdf", statement.look, print_statement(statement)


async def to_mail(composed: Composed, server: Row[Any], sealer: Sealer, now: datetime) -> tuple[str, bytes]:
    """``(envelope sender, octets)``: text and HTML beside each other, PDFs behind them.

    The message id is the same at each try, so that a receiver who has it already may drop the second.
    """
    mail = EmailMessage(policy=SMTP)
    mark = mark_of(sealer, composed.id)
    local, _, domain = server.from_address.partition("@")
    mail["From"] = Address(server.from_name, local, domain)
    mail["To"] = composed.to
    mail["Subject"] = composed.text.subject
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{mark}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    if server.reply_to:
        mail["Reply-To"] = server.reply_to
    mail.set_content(composed.text.text)
    mail.add_alternative(composed.text.html, subtype="html")
    for name, look, printed in composed.documents:
        pdf = await asyncio.to_thread(printed_pdf, look, [printed])
        mail.add_attachment(pdf, maintype="application", subtype="pdf", filename=name)
    sender = server.from_address
    if server.bounce_address:
        bounces, _, at = server.bounce_address.partition("@")
        sender = f"{bounces}+{mark}@{at}"
    return sender, mail.as_bytes()


async def letter_of(
    connection: AsyncConnection, message: Row[Any], composed: Composed, settings: BillingSettings, today: date
) -> list[Printed]:
    """A letter is its document; one without is its words, with the table of what is open."""
    if composed.documents:
        return list(composed.documents)
    found = await open_account_of(connection, message.account_id, today, settings)
    if isinstance(found, Refusal):
        raise MessageError(found.message)
    printed = print_letter(found, composed.text.subject, composed.text.paragraphs)
    return [(f"letter-{message.id}.pdf", found.look, printed)]
