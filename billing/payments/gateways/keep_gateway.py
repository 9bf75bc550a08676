"""Set a gateway up: its keys are sealed and are never shown again."""

from __future__ import annotations

from urllib.parse import urlsplit

from billing.payments.gateways.port import GATEWAYS
from billing.store import gateway_rows
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work

KEY, WEBHOOK_KEY = "gateway.key", "gateway.webhook_key"
"""Purposes of sealing."""
_LONGEST_KEY = 500


async def keep_gateway(
    work: Work,
    sealer: Sealer,
    *,
    name: str,
    enabled: bool = True,
    login: str | None = None,
    key: Secret | None = None,
    webhook_key: Secret | None = None,
    base_url: str | None = None,
) -> Refusal | None:
    """Set a gateway up, or change it: a key that is left out stays as it was.

    ``base_url`` leads to a sandbox that speaks like the gateway; None is the gateway itself. Refusals name
    gateway, login, key, webhook_key or base_url.
    """
    stands = await gateway_rows.find_gateway(work.connection, name)
    refusal = _refusal(name, login, {"key": key, "webhook_key": webhook_key}, base_url)
    if refusal is not None:
        return refusal
    if key is None and stands is None:
        return Refusal("key_missing", "give the secret key of your account there", "key")
    values = {
        "name": name, "enabled": enabled, "login": login, "base_url": base_url, "changed_at": work.now,
        "changed_by": work.actor,
        "key_sealed": sealer.seal(key, KEY) if key else stands.key_sealed if stands else "",
        "webhook_key_sealed": sealer.seal(webhook_key, WEBHOOK_KEY) if webhook_key
        else stands.webhook_key_sealed if stands else None,
    }  # fmt: skip
    await gateway_rows.keep_gateway(work.connection, values)
    told = [what for what, one in (("key", key), ("webhook key", webhook_key)) if one is not None]
    await work.audit("billing.gateway_kept", name, enabled=enabled, login=login, base_url=base_url, new=told)
    return None


def _refusal(
    name: str, login: str | None, keys: dict[str, Secret | None], base_url: str | None
) -> Refusal | None:
    if name not in GATEWAYS:
        return Refusal("unknown_gateway", f"{name!r} is not one of {', '.join(GATEWAYS)}", "gateway")
    if name == "authorizenet" and not login:
        return Refusal("login_missing", "Authorize.net wants its API login id too", "login")
    for field, key in keys.items():
        text = key.reveal() if key else "x"
        if not (0 < len(text) <= _LONGEST_KEY and text.isascii() and text.isprintable() and " " not in text):
            return Refusal("bad_key", "a key is one word as the gateway shows it", field)
    if base_url is not None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or "@" in parts.netloc:
            message = "write it like http://127.0.0.1:8450, or leave it out for the gateway itself"
            return Refusal("bad_base_url", message, "base_url")
    return None
