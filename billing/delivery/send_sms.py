"""Queue text messages, and send what is due: at least once, twice only after a crash at the worst moment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Row

from billing.config import BillingSettings
from billing.delivery.http_sms import PATIENCE_S, HttpSms
from billing.delivery.sms_gateway import AUTH_PURPOSE
from billing.ports import SmsCarrier, SmsFate
from billing.store import sms_rows
from core.health import HealthIssue, close_issue, open_issue
from core.secrets import Sealer, SealError
from core.work import Work, Workplace

AT_ONCE = 20
PAUSES = tuple(timedelta(minutes=one) for one in (2, 10, 60, 240))
"""After each try that may go better later; then the message is given up: old news is no news."""
_LEASE = timedelta(seconds=3 * PATIENCE_S)
_NUMBER = re.compile(r"\+?\d{6,15}")  # E.164 has up to 15 digits
_ISSUE = "billing.sms_gateway"
NO_GATEWAY = "no SMS gateway is set up"


def dialled(phone: str | None) -> str | None:
    """The number without what people write between its digits; None when it is none."""
    number = re.sub(r"[\s()./-]", "", phone or "")
    return number if _NUMBER.fullmatch(number) else None


async def queue_sms(
    work: Work,
    *,
    source: str,
    account_id: str,
    template: str,
    context: Mapping[str, Any],
    settings: BillingSettings | None = None,
) -> str | None:
    """Queue a text message to an account; None when it was queued before or nothing can be sent.

    Without a gateway nothing is kept: who sets one up next year does not want to send last year's reminders.
    """
    gateway = await sms_rows.find_gateway(work.connection)
    reader = await sms_rows.phone_of(work.connection, account_id)
    if gateway is None or reader is None:
        return None
    number = dialled(reader.phone)
    locale = reader.locale or await _house_locale(work, settings or BillingSettings())
    from billing.delivery.sms_texts import compose_sms  # brings babel: a worker at rest has no use for it

    text = compose_sms(template, context, locale, gateway.texts)
    if number is None or text is None:
        return None
    message_id = work.ids.new("sms")
    queued = await sms_rows.insert_message(
        work.connection,
        {
            "id": message_id, "source": source[:160], "account_id": account_id, "template": template,
            "to_number": number, "text": text, "state": "queued", "attempts": 0, "next_try_at": work.now,
            "reason": None, "created_at": work.now, "ended_at": None,
        },
    )  # fmt: skip
    return message_id if queued else None


async def _house_locale(work: Work, settings: BillingSettings) -> str:
    from billing.documents.keep_look import (
        find_look,  # the same reason: only who sends anything has a use for it
    )

    return (await find_look(work.connection, settings)).locale


class SmsSender:
    """Sends for one worker."""

    def __init__(self, workplace: Workplace, sealer: Sealer) -> None:
        self._workplace = workplace
        self._sealer = sealer

    async def send_due(self) -> int:
        """Try what is due now, each message once; how many were tried."""
        async with self._workplace.reading() as connection:
            due = await sms_rows.due_messages(connection, self._workplace.clock.now(), AT_ONCE)
            gateway = await sms_rows.find_gateway(connection) if due else None
        if gateway is None:
            return 0
        try:
            carrier = self._carrier(gateway)
        except SealError as trouble:
            await self._complain(f"{trouble}: give its secret again")
            return 0
        tried = 0
        for message in due:
            tried += await self._send_one(carrier, message)
        return tried

    def _carrier(self, gateway: Row[Any]) -> SmsCarrier:
        sealed = gateway.auth_sealed
        auth = None if sealed is None else self._sealer.open(sealed, AUTH_PURPOSE)
        return HttpSms(gateway.url, gateway.body_kind, gateway.body, gateway.auth_header, auth)

    async def _send_one(self, carrier: SmsCarrier, message: Row[Any]) -> int:
        async with self._workplace.work("system:sms") as work:
            if not await sms_rows.claim(work.connection, message.id, work.now, work.now + _LEASE):
                return 0
        fate = await carrier.send(message.id, message.to_number, message.text)
        await self._write(message, fate)
        return 1

    async def _write(self, message: Row[Any], fate: SmsFate) -> None:
        over = fate.taken or fate.final or message.attempts >= len(PAUSES)
        async with self._workplace.work("system:sms") as work:
            # Cancelled meanwhile: one that was taken is out all the same, any other is not tried again.
            await sms_rows.change_message(
                work.connection, message.id, ["queued", "cancelled"] if fate.taken else ["queued"],
                state="sent" if fate.taken else "failed" if over else "queued", reason=fate.reason,
                ended_at=work.now if over else None,
                next_try_at=None if over else work.now + PAUSES[message.attempts],
            )  # fmt: skip
            if fate.taken:
                await close_issue(work, _ISSUE)
        if not fate.taken:
            await self._complain(fate.reason or "refused")

    async def _complain(self, why: str) -> None:
        async with self._workplace.work("system:sms") as work:
            await open_issue(
                work,
                HealthIssue(
                    _ISSUE, "warning", f"Text messages are not taken: {why}",
                    "Check address, fields and secret of the SMS gateway: hilltop sms gateway.",
                ),
            )  # fmt: skip
