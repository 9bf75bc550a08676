"""What operators do with one text message: try it again, or do not send it."""

from __future__ import annotations

from billing.delivery.send_sms import NO_GATEWAY, dialled
from billing.store import sms_rows
from core.refusal import Refusal
from core.work import Work


async def try_again(work: Work, message_id: str) -> str | Refusal:
    """Queue a text message that is over once more, or try a waiting one at once; returns its id.

    It goes to the account's number of today, with the words it was written with.
    """
    message = await sms_rows.find_message(work.connection, message_id)
    if message is None:
        return _unknown(message_id)
    reader = await sms_rows.phone_of(work.connection, message.account_id)
    number = dialled(reader.phone) if reader is not None else None
    gateway = await sms_rows.find_gateway(work.connection)
    await sms_rows.change_message(
        work.connection, message_id, ["queued", "sent", "failed", "cancelled"], state="queued", attempts=0,
        next_try_at=work.now, to_number=number or message.to_number, ended_at=None,
        reason=None if gateway else NO_GATEWAY,
    )  # fmt: skip
    await work.audit("sms.try_again", message.account_id, message=message_id)
    return message_id


async def cancel(work: Work, message_id: str) -> str | Refusal:
    """Do not send a text message that waits; returns its id. One that is on its way may still arrive."""
    message = await sms_rows.find_message(work.connection, message_id)
    if message is None:
        return _unknown(message_id)
    cancelled = await sms_rows.change_message(
        work.connection, message_id, ["queued"], state="cancelled", next_try_at=None, ended_at=work.now,
        reason=f"cancelled by {work.actor}",
    )  # fmt: skip
    if not cancelled:
        return Refusal("sms.not_waiting", "this text message does not wait any more", "message")
    await work.audit("sms.cancelled", message.account_id, message=message_id)
    return message_id


def _unknown(message_id: str) -> Refusal:
    return Refusal("unknown_message", f"there is no text message {message_id}", "message")
