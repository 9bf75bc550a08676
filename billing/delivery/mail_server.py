"""The server that takes the mail, of the house or of a brand. Its password is sealed and never shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.delivery.queue import KINDS, usable_address
from billing.store import mail_rows
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work

SECURITY = {"starttls": "STARTTLS", "tls": "TLS from the first octet", "none": "None: nothing is kept secret"}
PASSWORD_PURPOSE = "mail_server.password"  # noqa: S105 - what it is sealed for
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_STALE = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class MailServer:
    """A server as it may be shown."""

    brand: str
    host: str
    port: int
    security: str
    username: str | None
    has_password: bool
    from_address: str
    from_name: str
    reply_to: str | None
    bounce_address: str | None
    per_minute: int
    kinds: tuple[str, ...]


async def find_mail_server(connection: AsyncConnection, brand: str = "") -> MailServer | None:
    """The server of exactly this brand."""
    row = await mail_rows.own_server(connection, brand)
    if row is None:
        return None
    return MailServer(
        row.brand, row.host, row.port, row.security, row.username, row.password_sealed is not None,
        row.from_address, row.from_name, row.reply_to, row.bounce_address, row.per_minute, tuple(row.kinds),
    )  # fmt: skip


async def set_mail_server(
    work: Work,
    sealer: Sealer,
    *,
    host: str,
    port: int = 587,
    security: str = "starttls",
    username: str | None = None,
    password: Secret | None = None,
    from_address: str,
    from_name: str,
    reply_to: str | None = None,
    bounce_address: str | None = None,
    per_minute: int = 60,
    kinds: Sequence[str] = tuple(KINDS),
    brand: str = "",
) -> int | Refusal:
    """Send mail through this server from now on; without ``password`` the stored one stays for its user.

    Mail that waited for more than three days is given up: who never had a server would else flood his
    customers with old news. Returns how many messages that were.
    """
    refusal = _refuse(
        host, port, security, from_address, from_name, reply_to, bounce_address, per_minute, kinds
    )
    if refusal is not None:
        return refusal
    before = await mail_rows.own_server(work.connection, brand)
    sealed = sealer.seal(password, PASSWORD_PURPOSE) if password is not None else None
    if sealed is None and before is not None and username and username == before.username:
        if before.host != host:
            return Refusal(
                "mail.password", "give the password again: it was meant for another server", "password"
            )
        sealed = before.password_sealed
    if username and sealed is None:
        return Refusal("mail.password", "is missing: who signs in needs one", "password")
    if username and security == "none":
        return Refusal(
            "mail.security", "a password must not travel in the clear: choose STARTTLS or TLS", "security"
        )
    values: dict[str, Any] = {
        "brand": brand, "host": host, "port": port, "security": security, "username": username or None,
        "password_sealed": sealed if username else None, "from_address": from_address, "from_name": from_name,
        "reply_to": reply_to or None, "bounce_address": bounce_address or None, "per_minute": per_minute,
        "kinds": list(kinds), "changed_at": work.now,
    }  # fmt: skip
    await mail_rows.replace_server(work.connection, values)
    stale = await mail_rows.cancel_older(
        work.connection, brand, work.now - _STALE, work.now, "older than three days when mail was set up"
    ) if before is None else 0  # fmt: skip
    await mail_rows.wake(work.connection, brand, work.now)
    await work.audit(
        "mail.server_set", brand or "house", host=host, port=port, security=security, username=username,
        sender=from_address, kinds=list(kinds),
    )  # fmt: skip
    return stale


def _refuse(  # noqa: PLR0911, PLR0917 - the form, field by field
    host: str, port: int, security: str, from_address: str, from_name: str, reply_to: str | None,
    bounce_address: str | None, per_minute: int, kinds: Sequence[str],
) -> Refusal | None:  # fmt: skip
    if not _HOST.fullmatch(host):
        return Refusal("mail.host", "is no host: write it like smtp.example.net", "host")
    if not 0 < port < 65_536:
        return Refusal("mail.port", "must be from 1 to 65535", "port")
    if security not in SECURITY:
        return Refusal("mail.security", f"must be one of {', '.join(SECURITY)}", "security")
    for name, address in (
        ("from_address", from_address),
        ("reply_to", reply_to),
        ("bounce_address", bounce_address),
    ):
        if (address or name == "from_address") and not usable_address(address):
            return Refusal("mail.address", "is no e-mail address: write it like billing@example.net", name)
    if bounce_address and ("+" in bounce_address or len(bounce_address.partition("@")[0]) > 20):
        return Refusal("mail.bounce", "needs a local part of at most 20 letters without +", "bounce_address")
    if not from_name.strip() or len(from_name) > 120 or not from_name.isprintable():
        return Refusal("mail.name", "is missing: it is whom the mail comes from", "from_name")
    if not 1 <= per_minute <= 10_000:
        return Refusal("mail.rate", "must be from 1 to 10000", "per_minute")
    if not set(kinds) <= KINDS.keys():
        return Refusal("mail.kinds", f"there are {', '.join(KINDS)}", "kinds")
    return None


async def remove_mail_server(work: Work, brand: str = "") -> bool:
    """Send nothing any more; whatever is queued waits."""
    removed = await mail_rows.remove_server(work.connection, brand)
    if removed:
        await work.audit("mail.server_removed", brand or "house")
    return removed
