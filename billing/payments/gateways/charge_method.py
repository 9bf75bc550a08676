"""Charge a saved card or bank account: written down first, sent once, and never charged twice.

Begun is committed before anything is sent; whoever turns begun into sent is the one who sends. What happens
after that is the gateway's to say: a lost answer, or a crash at any point, is resolved by looking it up.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from billing.config import BillingSettings
from billing.domain.gateway_charges import ChargeAnswer, ChargeState, Decline, DeclineKind, look_again_at
from billing.payments.gateways.open_gateways import Gateways
from billing.payments.gateways.port import (
    ChargeOrder,
    GatewayBusyError,
    GatewayLockedError,
    GatewayRefusedError,
    GatewaySilentError,
)
from billing.payments.gateways.record_answer import record_answer
from billing.payments.gateways.saved_methods import token_of
from billing.store import account_rows, gateway_rows
from billing.store.in_flight_rows import accounts_with_debit_in_flight
from core.health import HealthIssue, close_issue, open_issue
from core.money import format_money
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Work, Workplace

_BUSY_PAUSE = timedelta(seconds=30)
ACTOR = "system:gateways"


async def begin_charge(
    work: Work,
    *,
    account_id: str,
    amount_minor: int,
    cause: str,
    method_id: str | None = None,
    source_key: str | None = None,
    invoice_id: str | None = None,
) -> str | Refusal:
    """Write a charge down; returns its id. It is sent by ``send_charge``, at the latest by the worker.

    ``method_id`` None: the account's default. The same ``source_key`` gives the same charge. Refusals:
    unknown account, amount, method, gateway, and another charge under way, for two at once would pay twice.
    """
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    if source_key is not None:
        before = await gateway_rows.charge_with_source(work.connection, source_key)
        if before is not None:
            return str(before.id)
    if isinstance(amount_minor, bool) or not 0 < amount_minor < 10**12:
        return Refusal("bad_amount", "a charge must be more than nothing, in minor units", "amount_minor")
    method = await _method(work, account_id, method_id)
    if isinstance(method, Refusal):
        return method
    under_way = await _under_way(work, account_id)
    if under_way:
        return Refusal("in_flight", f"{under_way}; wait for its end", "amount_minor")
    charge_id = work.ids.new("chg")
    await gateway_rows.insert_charge(work.connection, {
        "id": charge_id, "key": new_key(work), "account_id": account_id, "gateway": method.gateway,
        "method_id": method.id, "invoice_id": invoice_id, "cause": cause, "source_key": source_key,
        "amount_minor": amount_minor, "currency": account.currency, "begun_at": work.now,
        "begun_by": work.actor, "state": "begun", "state_at": work.now, "look_at": work.now, "looks": 0,
    })  # fmt: skip
    await _step(work, charge_id, "begun", work.actor)
    await work.audit(
        "billing.charge_begun", account_id, charge=charge_id, method=method.id, cause=cause,
        amount=format_money(amount_minor, account.currency),
    )  # fmt: skip
    return charge_id


def new_key(work: Work) -> str:
    """Our key of a charge or page: 80 random bits in 16 characters; Authorize.net takes no more than 20."""
    return work.ids.new("key")[-16:]


async def send_charge(
    workplace: Workplace, gateways: Gateways, sealer: Sealer, charge_id: str, settings: BillingSettings
) -> ChargeState:
    """Send a charge that was begun and record the answer; returns how far it has come.

    Called twice, or by two at once, it is sent once.
    """
    async with workplace.reading() as connection:
        charge = await gateway_rows.find_charge(connection, charge_id)
        if charge is None or charge.state != "begun":
            return ChargeState(charge.state) if charge else ChargeState.ABANDONED
        method = await gateway_rows.find_method(connection, charge.method_id)
        customer = await gateway_rows.customer_of(connection, charge.gateway, charge.account_id)
        account = await account_rows.find_account(connection, charge.account_id)
    if method is None or customer is None or account is None:
        raise RuntimeError(f"charge {charge_id} has no method")
    order = ChargeOrder(
        charge.key, customer, token_of(sealer, method), method.kind, charge.amount_minor, charge.currency,
        f"Account {account.number}",
    )  # fmt: skip
    async with workplace.work(ACTOR) as work:
        if not await gateway_rows.claim_charge(
            work.connection, charge_id, work.now, look_again_at(work.now, 0)
        ):
            return ChargeState.SENT
        await _step(work, charge_id, "sent", work.actor)
    return await _ask(workplace, gateways, charge, order, settings)


async def _ask(
    workplace: Workplace, gateways: Gateways, charge: Any, order: ChargeOrder, settings: BillingSettings
) -> ChargeState:
    try:
        answer = await (await gateways.of(charge.gateway)).charge(order)
    except GatewayBusyError as trouble:
        return await _put_back(workplace, charge.id, str(trouble))
    except GatewayLockedError as trouble:
        answer = ChargeAnswer(ChargeState.ABANDONED, None, Decline(DeclineKind.SOFT, "keys", str(trouble)))
    except GatewayRefusedError as trouble:
        answer = ChargeAnswer(ChargeState.FAILED, None, Decline(DeclineKind.HARD, "refused", str(trouble)))
    except GatewaySilentError as trouble:
        answer = ChargeAnswer(ChargeState.UNKNOWN, None, Decline(DeclineKind.SOFT, "silent", str(trouble)))
    async with workplace.work(ACTOR) as work:
        await record_answer(work, charge.id, answer, told_by="answer", settings=settings)
        await _tell_keys(work, charge.gateway, answer)
        found = await gateway_rows.find_charge(work.connection, charge.id)
    return ChargeState(found.state) if found else answer.state


async def _put_back(workplace: Workplace, charge_id: str, said: str) -> ChargeState:
    """The gateway did nothing and may be asked again: the charge is as it was before."""
    async with workplace.work(ACTOR) as work:
        again_at = work.now + _BUSY_PAUSE
        if await gateway_rows.put_back(work.connection, charge_id, work.now, again_at, said):
            await _step(work, charge_id, "begun", "answer", said)
    return ChargeState.BEGUN


async def _tell_keys(work: Work, name: str, answer: ChargeAnswer) -> None:
    if answer.state is not ChargeState.ABANDONED:
        if answer.state is not ChargeState.UNKNOWN:
            await close_issue(work, keys_issue(name))
        return
    said = answer.decline.said if answer.decline else ""
    await open_issue(
        work,
        HealthIssue(
            keys_issue(name), "critical", f"Nobody can be charged through {name}: {said}",
            f"Enter the keys again: hilltop gateway set {name}; then: hilltop gateway check {name}.",
        ),
    )  # fmt: skip


def keys_issue(name: str) -> str:
    """The health issue of keys that a gateway does not take."""
    return f"billing.gateway_keys:{name}"


async def _under_way(work: Work, account_id: str) -> str:
    """Money of the account that may still come, in words."""
    if await accounts_with_debit_in_flight(work.connection, [account_id]):
        return "an ACH debit of the account is under way"
    found = await gateway_rows.charge_in_flight(work.connection, account_id)
    if found is None:
        return ""
    return f"a charge of {format_money(found.amount_minor, found.currency)} is under way ({found.state})"


async def _method(work: Work, account_id: str, method_id: str | None) -> Any | Refusal:
    if method_id is None:
        found = next(iter(await gateway_rows.methods_of(work.connection, account_id)), None)
    else:
        found = await gateway_rows.find_method(work.connection, method_id)
    if found is None or found.account_id != account_id or found.removed_at is not None:
        return Refusal("no_method", "the account has no such card or bank account", "method_id")
    gateway = await gateway_rows.find_gateway(work.connection, found.gateway)
    if gateway is None or not gateway.enabled:
        return Refusal("gateway_off", f"the gateway {found.gateway} is switched off", "method_id")
    return found


async def _step(work: Work, charge_id: str, state: str, told_by: str, said: str | None = None) -> None:
    await gateway_rows.insert_step(
        work.connection,
        {"charge_id": charge_id, "state": state, "at": work.now, "told_by": told_by[:120], "said": said},
    )
