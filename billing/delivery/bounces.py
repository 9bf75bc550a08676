"""Bounces: a delivery report (RFC 3464) that came back for a message of ours.

The mail server gives what arrives at the bounce address to ``hilltop mail bounce``. Which message it is about
is told by the mark in the address it came to, else by the message id in the returned headers. Both are
signed, so nobody can have an address marked dead with a report of his own making.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import policy
from email.message import Message
from email.parser import BytesParser
from typing import Any

from sqlalchemy.engine import Row

from billing.delivery.signed_names import message_of
from billing.store import mail_rows
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Work

LARGEST_BOUNCE = 2 * 2**20
_MARK = re.compile(r"\+([a-z0-9]{10,40}-[a-z2-7]{10,40})@", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<([a-z0-9]{10,40}-[a-z2-7]{10,40})@", re.IGNORECASE)
_TO = ("Delivered-To", "X-Original-To", "Envelope-To", "To")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_FULL = "5.2.2"  # mailbox full: passes


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says of the first recipient it says anything of."""

    action: str
    status: str
    diagnosis: str


@dataclass(frozen=True, slots=True)
class Bounced:
    """What came of a report. ``address_dead``: nothing more is sent there."""

    message_id: str
    action: str
    status: str
    address_dead: bool


async def note_bounce(work: Work, sealer: Sealer, raw: bytes, recipient: str = "") -> Bounced | Refusal:
    """Write down what a report says; the same report twice changes nothing.

    ``recipient`` is the address that it came to, where the mail server tells. Failed for good (5.x.x, other
    than a full mailbox) marks the address; a delay is noted beside the message and changes no state.
    """
    if len(raw) > LARGEST_BOUNCE:
        return Refusal("bounce.large", f"is larger than {LARGEST_BOUNCE >> 20} MiB", "message")
    mail = BytesParser(policy=policy.compat32).parsebytes(raw)
    message_id, report = _subject_of(mail, sealer, recipient), _report_of(mail)
    message = message_id and await mail_rows.find_message(work.connection, message_id)
    if not message_id or not message:
        return Refusal("bounce.unknown", "is about no message of ours", "message")
    if report is None:
        return Refusal("bounce.no_report", "is no delivery report (RFC 3464)", "message")
    return await _note(work, message, report)


async def _note(work: Work, message: Row[Any], report: Report) -> Bounced:
    message_id = str(message.id)
    reason = f"{report.status} {report.diagnosis}".strip()[:500]
    if report.action == "delayed":
        await mail_rows.change_message(work.connection, message_id, ["sent"], reason=f"delayed: {reason}")
        return Bounced(message_id, report.action, report.status, address_dead=False)
    if report.action != "failed":
        return Bounced(message_id, report.action, report.status, address_dead=False)
    changed = await mail_rows.change_message(
        work.connection, message_id, ["sent", "queued"], state="bounced", reason=reason, ended_at=work.now,
        next_try_at=None,
    )  # fmt: skip
    is_dead = report.status.startswith("5.") and report.status != _FULL
    if changed and is_dead:
        await mail_rows.insert_dead_address(
            work.connection,
            {
                "address": message.to_address.lower(), "since": work.now, "reason": reason,
                "message_id": message_id,
            },
        )  # fmt: skip
    if changed:
        await work.audit("mail.bounced", message.account_id or message_id, message=message_id, reason=reason)
    return Bounced(message_id, report.action, report.status, address_dead=is_dead)


def _subject_of(mail: Message, sealer: Sealer, recipient: str) -> str | None:
    texts = [recipient, *(str(one) for name in _TO for one in mail.get_all(name, []))]
    for text in texts:
        for mark in _MARK.findall(text[:1000]):
            found = message_of(sealer, mark)
            if found is not None:
                return found
    for part in mail.walk():
        if part.get_content_type() in {"message/rfc822", "text/rfc822-headers", "message/rfc822-headers"}:
            for mark in _MESSAGE_ID.findall(_text_of(part)[:20_000]):
                found = message_of(sealer, mark)
                if found is not None:
                    return found
    return None


def _text_of(part: Message) -> str:
    payload = part.get_payload()
    if isinstance(payload, list):
        return "".join(
            f"{name}: {value}\n" for one in payload if isinstance(one, Message) for name, value in one.items()
        )
    return str(payload)


def _report_of(mail: Message) -> Report | None:
    for part in mail.walk():
        if part.get_content_type() in {"message/delivery-status", "message/global-delivery-status"}:
            for block in _blocks(part):
                action = str(block.get("Action", "")).strip().lower()
                status = _STATUS.search(str(block.get("Status", "")))
                if action and status:
                    diagnosis = str(block.get("Diagnostic-Code", "")).partition(";")[2] or "no reason given"
                    return Report(action, status[0], " ".join(diagnosis.split()))
    return None


def _blocks(part: Message) -> Iterator[Message]:
    payload = part.get_payload()
    if isinstance(payload, list):
        yield from (one for one in payload if isinstance(one, Message))
