"""Cards and bank accounts that a gateway keeps for an account: ours is the token, sealed."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

from billing.payments.gateways.open_gateways import Gateways
from billing.payments.gateways.port import GatewayError, GatewayLockedError, SavedMethod
from billing.store import account_rows, gateway_rows
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work, Workplace

TOKEN = "payment_method.token"  # noqa: S105 - the purpose of sealing, no token


async def sync_methods(
    workplace: Workplace, gateways: Gateways, sealer: Sealer, *, name: str, account_id: str, actor: str
) -> list[str]:
    """Make what we know of an account's methods what the gateway says; returns the ids of new ones.

    Raises ``GatewayError``.
    """
    async with workplace.reading() as connection:
        customer = await gateway_rows.customer_of(connection, name, account_id)
    if customer is None:
        return []
    kept = await (await gateways.of(name)).methods_of(customer)
    async with workplace.work(actor) as work:
        return await _record(work, sealer, name, account_id, kept)


async def _record(
    work: Work, sealer: Sealer, name: str, account_id: str, kept: Sequence[SavedMethod]
) -> list[str]:
    await account_rows.lock_account(work.connection, account_id)
    rows = await gateway_rows.methods_of(work.connection, account_id, name=name, removed=True)
    known = {row.token_digest: row for row in rows}
    added, seen = [], set()
    for method in kept:
        digest = _digest(sealer, name, account_id, method.token)
        seen.add(digest)
        shown = {"brand": method.brand, "last4": method.last4, "expires_on": method.expires_on}
        if digest in known:
            await gateway_rows.change_method(work.connection, known[digest].id, shown)
            continue
        method_id = work.ids.new("pmt")
        await gateway_rows.insert_method(work.connection, {
            "id": method_id, "account_id": account_id, "gateway": name, "kind": method.kind, **shown,
            "token_sealed": sealer.seal(method.token, TOKEN), "token_digest": digest, "is_default": False,
            "added_at": work.now, "added_by": work.actor,
        })  # fmt: skip
        await work.audit("billing.method_saved", account_id, method=method_id, last4=method.last4)
        added.append(method_id)
    for digest, row in known.items():
        if digest not in seen and row.removed_at is None:
            await _mark_removed(work, row)
    await _keep_a_default(work, account_id)
    return added


async def remove_method(
    workplace: Workplace, gateways: Gateways, sealer: Sealer, *, method_id: str, actor: str
) -> Refusal | None:
    """Forget a card or bank account, at the gateway first; one that is not set up any more is not asked."""
    async with workplace.reading() as connection:
        row = await gateway_rows.find_method(connection, method_id)
        customer = row and await gateway_rows.customer_of(connection, row.gateway, row.account_id)
    if row is None or row.removed_at is not None:
        return Refusal("unknown_method", f"there is no payment method {method_id}", "method_id")
    try:
        gateway = await gateways.of(row.gateway, also_disabled=True)
        await gateway.forget_method(customer or "", token_of(sealer, row))
    except GatewayLockedError:
        pass  # we cannot charge it any more, and nobody else may
    except GatewayError as trouble:
        return Refusal("gateway_failed", f"{trouble}; try again in a while", "method_id")
    async with workplace.work(actor) as work:
        await account_rows.lock_account(work.connection, row.account_id)
        await _mark_removed(work, row)
        await _keep_a_default(work, row.account_id)
    return None


async def choose_default(work: Work, *, method_id: str) -> Refusal | None:
    """What the account is charged when nothing else is said."""
    row = await gateway_rows.find_method(work.connection, method_id)
    if row is None or row.removed_at is not None:
        return Refusal("unknown_method", f"there is no payment method {method_id}", "method_id")
    await account_rows.lock_account(work.connection, row.account_id)
    await gateway_rows.clear_default(work.connection, row.account_id)
    await gateway_rows.change_method(work.connection, method_id, {"is_default": True})
    await work.audit("billing.method_default", row.account_id, method=method_id, last4=row.last4)
    return None


def token_of(sealer: Sealer, row: Any) -> Secret:
    """The gateway's token of a method's row. Raises ``SealError``."""
    return sealer.open(row.token_sealed, TOKEN)


def _digest(sealer: Sealer, name: str, account_id: str, token: Secret) -> str:
    text = f"{name}\n{account_id}\n{token.reveal()}".encode()
    return hmac.new(sealer.derive_key(TOKEN), text, "sha256").hexdigest()


async def _mark_removed(work: Work, row: Any) -> None:
    gone = {"removed_at": work.now, "removed_by": work.actor, "is_default": False}
    await gateway_rows.change_method(work.connection, row.id, gone)
    await work.audit("billing.method_removed", row.account_id, method=row.id, last4=row.last4)


async def _keep_a_default(work: Work, account_id: str) -> None:
    left = await gateway_rows.methods_of(work.connection, account_id)
    if left and not left[0].is_default:
        await gateway_rows.change_method(work.connection, left[0].id, {"is_default": True})
