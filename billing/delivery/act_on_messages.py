"""What operators do with messages, templates and addresses."""

from __future__ import annotations

from typing import Any

from billing.config import BillingSettings
from billing.delivery.message_text import MessageTemplate, MessageText, check_template
from billing.delivery.queue import KINDS, NO_SERVER, usable_address
from billing.documents.keep_look import find_look
from billing.documents.words import LANGUAGES
from billing.store import mail_rows
from core.refusal import Refusal
from core.work import Work


async def try_again(work: Work, message_id: str) -> str | Refusal:
    """Queue a message that failed, bounced or was cancelled, or try a waiting one at once; returns its id.

    It goes to the account's address of today.
    """
    message = await mail_rows.find_message(work.connection, message_id)
    if message is None:
        return Refusal("unknown_message", f"there is no message {message_id}", "message")
    values: dict[str, Any]
    if message.channel == "letter":
        values = {"state": "queued", "reason": "waits to be printed", "ended_at": None}
    else:
        reader = message.account_id and await mail_rows.reader(work.connection, message.account_id)
        address = reader.email if reader and usable_address(reader.email) else message.to_address
        server = await mail_rows.find_server(work.connection, message.brand)
        values = {
            "state": "queued", "next_try_at": work.now, "attempts": 0, "to_address": address,
            "reason": None if server else NO_SERVER, "ended_at": None,
        }  # fmt: skip
    await mail_rows.change_message(
        work.connection, message_id, ["queued", "failed", "bounced", "cancelled", "sent"], **values
    )
    await work.audit("mail.try_again", message.account_id or message_id, message=message_id)
    return message_id


async def cancel(work: Work, message_id: str) -> str | Refusal:
    """Do not send a message that waits."""
    cancelled = await mail_rows.change_message(
        work.connection, message_id, ["queued"], state="cancelled", next_try_at=None, ended_at=work.now,
        reason=f"cancelled by {work.actor}",
    )  # fmt: skip
    if not cancelled:
        return Refusal("mail.not_waiting", "this message does not wait any more", "message")
    await work.audit("mail.cancelled", message_id)
    return message_id


async def let_address_go(work: Work, address: str) -> str | Refusal:
    """Mail to an address again that had bounced."""
    if not await mail_rows.remove_dead_address(work.connection, address):
        return Refusal("mail.alive", f"{address} has not bounced", "address")
    await work.audit("mail.address_let_go", address.lower())
    return address.lower()


async def set_message_template(
    work: Work, settings: BillingSettings, name: str, language: str, template: MessageTemplate
) -> MessageText | Refusal:
    """Use these words from now on; refused where they cannot be filled in. Returns the sample."""
    refusal = _refuse(name, language)
    if refusal is not None:
        return refusal
    look = await find_look(work.connection, settings)
    sample = check_template(template, look, language)
    if isinstance(sample, Refusal):
        return sample
    await mail_rows.replace_template(
        work.connection,
        {
            "name": name, "language": language, "subject": template.subject, "body": template.body,
            "html": template.html or None, "changed_at": work.now, "changed_by": work.actor,
        },
    )  # fmt: skip
    await work.audit("mail.template_set", f"{name}.{language}")
    return sample


async def reset_message_template(work: Work, name: str, language: str) -> str | Refusal:
    """The built-in words again."""
    if not await mail_rows.remove_template(work.connection, name, language):
        return Refusal("template.unchanged", "these are the built-in words", "name")
    await work.audit("mail.template_reset", f"{name}.{language}")
    return name


def _refuse(name: str, language: str) -> Refusal | None:
    if name not in KINDS and not (name.isascii() and name.isidentifier() and len(name) <= 40):
        return Refusal("template.name", "must be a word like reminder_3", "name")
    if language not in LANGUAGES:
        return Refusal("template.language", f"must be one of {', '.join(LANGUAGES)}", "language")
    return None
