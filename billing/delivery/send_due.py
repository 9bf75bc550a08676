"""Send what is due: one connection for a turn, at the pace of the server's settings.

A message is taken before it is sent and its fate is written after. Between the two a crash, or a connection
that is lost after the last octet, leaves unknown whether it arrived: it is sent again with the same message
id. So a message arrives at least once, and twice only in that gap.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Row

from billing.config import BillingSettings
from billing.delivery.mail_server import PASSWORD_PURPOSE
from billing.delivery.queue import NO_SERVER
from billing.ports import DailyUsageSource
from billing.store import mail_rows
from core.health import HealthIssue, close_issue, open_issue
from core.log import logger
from core.secrets import Sealer, SealError
from core.work import Workplace

if TYPE_CHECKING:
    from aiosmtplib import SMTP

AT_ONCE = 50
PAUSES = tuple(timedelta(minutes=one) for one in (5, 15, 60, 240, 720, 1440, 1440))
"""After each try that may go better later; then the message is given up."""
_LEASE = timedelta(minutes=15)
_SERVER_PAUSE = timedelta(minutes=2)
_PATIENCE_S = 60.0
_FAREWELL_S = 2.0
_ISSUE = "billing.mail_server:"
_log = logger("billing")


@dataclass(frozen=True, slots=True)
class _Fate:
    """What became of one try. ``dead``: the address itself is refused for good."""

    state: str
    reason: str | None
    dead: bool = False


class _ServerTrouble(Exception):  # noqa: N818 - it is caught here and never an error
    """The server, not the message: everything of this turn waits."""


class MailSender:
    """Sends for one worker. ``tls`` is for servers that are not known to the machine's authorities."""

    def __init__(
        self,
        workplace: Workplace,
        sealer: Sealer,
        settings: BillingSettings,
        usage: DailyUsageSource | None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._workplace = workplace
        self._sealer = sealer
        self._settings = settings
        self._usage = usage
        self._tls = tls

    async def send_due(self) -> int:
        """Try what is due now, each message once; how many were tried."""
        now = self._workplace.clock.now()
        async with self._workplace.reading() as connection:
            due = await mail_rows.due_messages(connection, now, AT_ONCE)
        tried = 0
        for brand in dict.fromkeys(one.brand for one in due):
            tried += await self._send_brand(brand, [one for one in due if one.brand == brand], now)
        return tried

    async def _send_brand(self, brand: str, due: list[Row[Any]], now: datetime) -> int:
        async with self._workplace.reading() as connection:
            server = await mail_rows.find_server(connection, brand)
            if server is None:
                room = 0
            else:
                gone = await mail_rows.sent_since(connection, brand, now - timedelta(minutes=1))
                room = max(0, server.per_minute - gone)
        if server is None:
            await self._say_why(due, NO_SERVER)
            return 0
        if not room:
            return 0
        try:
            return await self._send_through(server, due[:room])
        except _ServerTrouble as trouble:
            await self._hold(server, due, str(trouble))
            return 0

    async def _say_why(self, due: list[Row[Any]], reason: str) -> None:
        silent = [one.id for one in due if one.reason != reason]
        if silent:
            async with self._workplace.work("system:mail") as work:
                for message_id in silent:
                    await mail_rows.change_message(work.connection, message_id, ["queued"], reason=reason)

    async def _hold(self, server: Row[Any], due: list[Row[Any]], why: str) -> None:
        """The server cannot be used: nobody's message pays for that with a try."""
        _log.warning("mail_server_trouble", host=server.host, error=why)
        async with self._workplace.work("system:mail") as work:
            for one in due:
                await mail_rows.change_message(
                    work.connection,
                    one.id,
                    ["queued"],
                    reason=why[:500],
                    next_try_at=work.now + _SERVER_PAUSE,
                )
            await open_issue(
                work,
                HealthIssue(
                    f"{_ISSUE}{server.brand}", "warning",
                    f"The mail server {server.host} cannot be used: {why[:200]}",
                    "Check host, port, security and sign-in at Mail, Server; mail that waits goes out then.",
                ),
            )  # fmt: skip

    async def _send_through(self, server: Row[Any], due: list[Row[Any]]) -> int:
        client = await self._connect(server)
        tried = 0
        try:
            for one in due:
                if not client.is_connected:
                    client = await self._connect(server)
                tried += await self._send_one(client, server, one.id)
        finally:
            await _leave(client)
        async with self._workplace.work("system:mail") as work:
            await close_issue(work, f"{_ISSUE}{server.brand}")
        return tried

    async def _connect(self, server: Row[Any]) -> SMTP:
        from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPException

        try:
            password = (
                server.password_sealed
                and self._sealer.open(server.password_sealed, PASSWORD_PURPOSE).reveal()
            )
        except SealError as trouble:
            raise _ServerTrouble(f"{trouble}: give its password again") from None
        client = SMTP(
            hostname=server.host, port=server.port, use_tls=server.security == "tls",
            start_tls=server.security == "starttls", timeout=_PATIENCE_S,
            tls_context=self._tls if server.security != "none" else None,
        )  # fmt: skip
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:
                await client.ehlo()
            if server.username:
                await client.login(server.username, password or "")
        except SMTPAuthenticationError as trouble:
            client.close()
            raise _ServerTrouble(f"it refuses our sign-in ({trouble.code})") from None
        except (SMTPException, OSError, ValueError) as trouble:
            client.close()
            raise _ServerTrouble(_words(trouble)) from None
        return client

    async def _send_one(self, client: SMTP, server: Row[Any], message_id: str) -> int:
        from billing.delivery.compose import compose, to_mail  # templates and locales: for who has mail
        from billing.delivery.message_text import MessageError

        async with self._workplace.work("system:mail") as work:
            if not await mail_rows.claim(work.connection, message_id, work.now, work.now + _LEASE):
                return 0
            message = await mail_rows.find_message(work.connection, message_id)
            dead = message and await mail_rows.dead_address(work.connection, message.to_address)
        if message is None:
            return 0
        subject = None
        if dead:
            fate = _Fate("failed", f"the address bounced: {dead.reason}. Change it, or let it go again")
        else:
            try:
                async with self._workplace.reading() as connection:
                    composed = await compose(connection, message, self._settings, self._usage, self._sealer)
                subject = composed.text.subject
                sender, octets = await to_mail(composed, server, self._sealer, self._workplace.clock.now())
                fate = await _hand_over(client, sender, message.to_address, octets)
            except MessageError as trouble:
                fate = _Fate("failed", str(trouble))
        await self._write(message, fate, subject)
        return 1

    async def _write(self, message: Row[Any], fate: _Fate, subject: str | None) -> None:
        state, reason = fate.state, fate.reason
        if state == "queued" and message.attempts > len(PAUSES):
            state, reason = "failed", f"given up after {message.attempts} tries: {reason}"
        async with self._workplace.work("system:mail") as work:
            is_over = state != "queued"
            await mail_rows.change_message(
                work.connection, message.id, ["queued"], state=state, reason=reason and reason[:500],
                subject=subject, ended_at=work.now if is_over else None,
                next_try_at=None if is_over else work.now + PAUSES[message.attempts - 1],
            )  # fmt: skip
            if fate.dead:
                await mail_rows.insert_dead_address(
                    work.connection,
                    {
                        "address": message.to_address.lower(), "since": work.now,
                        "reason": (reason or "")[:500], "message_id": message.id,
                    },
                )  # fmt: skip


async def _leave(client: SMTP) -> None:
    from aiosmtplib import SMTPException

    with suppress(SMTPException, OSError):
        await client.quit(timeout=_FAREWELL_S)
    client.close()


async def _hand_over(client: SMTP, sender: str, to: str, octets: bytes) -> _Fate:
    from aiosmtplib import (
        SMTPException,
        SMTPRecipientsRefused,
        SMTPResponseException,
        SMTPServerDisconnected,
        SMTPTimeoutError,
    )

    most = client.esmtp_extensions.get("size", "")
    if most.isdigit() and 0 < int(most) < len(octets):
        return _Fate(
            "failed", f"it has {len(octets) / 1e6:.1f} MB, the mail server takes {int(most) / 1e6:.1f}"
        )
    try:
        await client.sendmail(sender, to, octets)
    except SMTPRecipientsRefused as trouble:
        refused = trouble.recipients[0]
        return _of_code(refused.code, refused.message, of_recipient=True)
    except SMTPResponseException as trouble:
        return _of_code(trouble.code, trouble.message)
    except (SMTPServerDisconnected, SMTPTimeoutError, OSError) as trouble:
        client.close()
        return _Fate(
            "queued", f"the connection was lost while it was sent ({_words(trouble)}); it may have arrived"
        )
    except (SMTPException, UnicodeError, ValueError) as trouble:
        return _Fate("failed", _words(trouble))
    return _Fate("sent", None)


def _of_code(code: int, said: str, *, of_recipient: bool = False) -> _Fate:
    """4xx may go better later, 5xx not (RFC 5321, 4.2.1); 5.1.x is about the address (RFC 3463, 3.2)."""
    reason = f"{code} {' '.join(said.split())}"
    if 400 <= code < 500:
        return _Fate("queued", reason)
    return _Fate("failed", reason, dead=of_recipient and said.lstrip().startswith("5.1."))


def _words(trouble: Exception) -> str:
    text = " ".join(str(trouble).split())
    return text or type(trouble).__name__
