"""The gateway that takes text messages: any that takes an HTTP POST. Its secret is sealed and never shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from billing.store import sms_rows
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work

AUTH_PURPOSE = "sms_gateway.auth"
BODY_KINDS = ("json", "form")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,80}")


async def set_sms_gateway(
    work: Work,
    sealer: Sealer,
    *,
    url: str,
    body: Mapping[str, str],
    body_kind: str = "json",
    auth_header: str = "Authorization",
    auth: Secret | None = None,
    texts: Mapping[str, str] | None = None,
) -> Refusal | None:
    """Hand text messages to this address from now on.

    ``body`` maps the gateway's field names to texts in which ``{to}``, ``{text}`` and ``{id}`` are put in;
    ``auth`` is the whole value of ``auth_header`` (``Bearer …``, ``Basic …``): without one the stored one
    stays while the host stays. ``texts`` are the operator's own words by template.
    """
    parts = urlsplit(url)
    refusal = _refuse(url, body, body_kind, auth_header) or _refuse_texts(texts or {})
    if refusal is not None:
        return refusal
    before = await sms_rows.find_gateway(work.connection)
    sealed = None if auth is None else sealer.seal(auth, AUTH_PURPOSE)
    if sealed is None and before is not None and before.auth_sealed is not None:
        if urlsplit(before.url).netloc != parts.netloc:
            return Refusal("sms.auth", "give the secret again: it was meant for another host", "auth")
        sealed = before.auth_sealed
    if sealed is not None and parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1"}:
        return Refusal("sms.url", "a secret must not travel in the clear: use https", "url")
    await sms_rows.replace_gateway(
        work.connection,
        {
            "url": url, "body_kind": body_kind, "body": dict(body), "auth_header": auth_header,
            "auth_sealed": sealed, "texts": dict(texts or {}), "changed_at": work.now,
        },
    )  # fmt: skip
    await work.audit("sms.gateway_set", "house", host=parts.netloc, fields=sorted(body))
    return None


async def remove_sms_gateway(work: Work) -> None:
    """Send no text messages any more; those that wait stay where they are."""
    await sms_rows.replace_gateway(work.connection, None)
    await work.audit("sms.gateway_removed", "house")


def _refuse(url: str, body: Mapping[str, str], body_kind: str, auth_header: str) -> Refusal | None:
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname or not url.isascii() or len(url) > 500:
        return Refusal("sms.url", "is no address: write it like https://sms.example.net/send", "url")
    if parts.username or parts.password:
        return Refusal("sms.url", "a secret belongs into the sealed header, not into the address", "url")
    if body_kind not in BODY_KINDS:
        return Refusal("sms.body_kind", f"must be one of {', '.join(BODY_KINDS)}", "body_kind")
    whole = " ".join(body.values())
    if "{to}" not in whole or "{text}" not in whole or len(body) > 20:
        return Refusal("sms.body", "needs a field with {to} and one with {text}", "body")
    if not _HEADER.fullmatch(auth_header):
        return Refusal("sms.auth_header", "is no header: write it like Authorization", "auth_header")
    return None


def _refuse_texts(texts: Mapping[str, str]) -> Refusal | None:
    from billing.delivery.sms_texts import fault_of  # brings babel: a worker at rest has no use for it

    for template, text in texts.items():
        fault = fault_of(text) if template.isidentifier() else "name templates like reminder_1"
        if fault is not None:
            return Refusal("sms.texts", f"{template}: {fault}", "texts")
    return None
