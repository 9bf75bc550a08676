"""Take a webhook: read only when the gateway signed it, kept once, acted on at once where that needs no call.

What needs a call to the gateway is left to the worker, so that the gateway has its answer quickly. A webhook
says that something has happened; whether that is news, ``record_answer`` knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from billing.config import BillingSettings
from billing.payments.gateways.hosted_pages import expire_page, record_page_payment
from billing.payments.gateways.open_gateways import Gateways
from billing.payments.gateways.port import GatewayEvent, event_content, event_from
from billing.payments.gateways.record_answer import give_back, record_answer, take_back
from billing.store import account_rows, gateway_rows
from core.health import HealthIssue, close_issue, open_issue
from core.money import format_money
from core.refusal import Refused
from core.work import Work, Workplace

ACTOR = "system:gateways"
_PAUSE = timedelta(minutes=2)
_MOST_TRIES = 200
_NEEDS_CALL = "needs a call to the gateway"


async def take_event(
    workplace: Workplace, gateways: Gateways, *, name: str, body: bytes, headers: Mapping[str, str],
    settings: BillingSettings,
) -> str:  # fmt: skip
    """Keep a webhook and act on it; returns what came of it, ``again`` for one that is known.

    Raises ``BadSignatureError`` and, for a gateway that is not set up, ``GatewayLockedError``.
    """
    gateway = await gateways.of(name, also_disabled=True)
    event = gateway.read_event(body, headers, workplace.clock.now())

    async def keep_and_act(work: Work) -> str:
        if not await _keep(work, name, event):
            return "again"
        row = await gateway_rows.find_event(work.connection, name, event.event_id)
        return await act_on(work, row, settings)

    async def only_keep(work: Work) -> str:
        return "waits" if await _keep(work, name, event) else "again"

    try:
        return await workplace.carry_out(ACTOR, keep_and_act)
    except Refused:
        return await workplace.carry_out(ACTOR, only_keep)


async def _keep(work: Work, name: str, event: GatewayEvent) -> bool:
    return await gateway_rows.insert_event(work.connection, {
        "gateway": name, "event_id": event.event_id, "kind": event.kind, "content": event_content(event),
        "received_at": work.now, "tries": 0, "try_at": work.now,
    })  # fmt: skip


async def act_on(work: Work, row: Any, settings: BillingSettings) -> str:
    """Do what a kept webhook says, unless that needs a call; returns what came of it.

    Raises ``Refused`` when it has to wait: a clock that is doubted, a dispute before its charge.
    """
    event = event_from(row.event_id, row.kind, row.content)
    outcome = await _act(work, row.gateway, event, settings)
    if outcome != _NEEDS_CALL:
        await handled(work, row.seq, outcome)
    return outcome


async def handled(work: Work, seq: int, outcome: str) -> None:
    """The webhook has been acted on."""
    values = {"handled_at": work.now, "try_at": None, "outcome": outcome}
    await gateway_rows.change_event(work.connection, seq, values)


async def put_off(work: Work, row: Any, reason: str) -> None:
    """The webhook waits, and why; after many tries it is left for people to look at."""
    tries = row.tries + 1
    pause = None if tries >= _MOST_TRIES else work.now + min(_PAUSE * tries, timedelta(hours=6))
    values = {"tries": tries, "try_at": pause, "outcome": f"waits: {reason}"[:500]}
    await gateway_rows.change_event(work.connection, row.seq, values)


async def _act(work: Work, name: str, event: GatewayEvent, settings: BillingSettings) -> str:
    if event.what in ("look", "methods"):
        return _NEEDS_CALL
    if event.what == "expired":
        page = await gateway_rows.find_page(work.connection, key=event.key)
        if page is not None:
            await expire_page(work, page)
        return "page expired" if page is not None else "not ours"
    if event.what == "nothing":
        return "does not concern us"
    charge = await gateway_rows.charge_told(work.connection, name, event.key, event.reference)
    if event.what == "charge":
        return await _charge(work, charge, event, settings)
    return "not ours" if charge is None else await _case(work, charge, event, settings)


async def _charge(work: Work, charge: Any, event: GatewayEvent, settings: BillingSettings) -> str:
    told_by = f"event:{event.event_id}"
    if charge is not None:
        news = await record_answer(work, charge.id, event.answer, told_by=told_by, settings=settings)
        return f"{charge.id} {event.state}" if news else "no news"
    page = await gateway_rows.find_page(work.connection, key=event.key)
    if page is None:
        return "not ours"
    await record_page_payment(work, page.id, event.answer, told_by=told_by, settings=settings)
    return f"page {page.id} {event.state}"


async def _tell_refund_failed(work: Work, charge: Any, event: GatewayEvent) -> str:
    """A refund of ours was paid out and came back days later: the books say paid, a person must help."""
    amount = format_money(event.amount_minor or 0, charge.currency)
    await open_issue(
        work,
        HealthIssue(
            f"billing.refund_failed:{event.case}", "warning",
            f"A refund of {amount} could not be paid out: {charge.gateway} {event.case}",
            "The money is at the gateway. Pay the customer another way and note it with his account.",
        ),
    )  # fmt: skip
    return f"{charge.id} refund failed"


async def _tell_dispute(work: Work, charge: Any, event: GatewayEvent) -> str:
    """Somebody has to send the bank evidence; when it has decided, nobody has to."""
    key = f"billing.dispute:{event.case}"
    if event.what == "decided":
        await close_issue(work, key)
        return f"{charge.id} {event.said}"
    if await gateway_rows.was_decided(work.connection, charge.gateway, event.case or ""):
        return "decided before"
    account = await account_rows.find_account(work.connection, charge.account_id)
    amount = format_money(event.amount_minor or charge.amount_minor, charge.currency)
    number = account.number if account else charge.account_id
    await open_issue(
        work,
        HealthIssue(
            key, "warning", f"Account {number} disputes {amount} with its bank: {event.said}",
            f"Send evidence for {event.reference} at {charge.gateway}'s own site, or let it go.",
        ),
    )  # fmt: skip
    return f"{charge.id} disputed"


async def _case(work: Work, charge: Any, event: GatewayEvent, settings: BillingSettings) -> str:
    case, amount = event.case or event.event_id, event.amount_minor or charge.amount_minor
    reason = event.said or event.kind
    if event.what == "refunded" and event.key:
        return "our own refund"
    if event.what == "given_back" and event.key:
        return await _tell_refund_failed(work, charge, event)
    if event.what in ("disputed", "decided"):
        return await _tell_dispute(work, charge, event)
    if event.what == "given_back":
        news = await give_back(work, charge.id, case=case, reason=reason)
    else:
        news = await take_back(
            work, charge.id, case=case, amount_minor=amount, reason=reason, settings=settings
        )
    return f"{charge.id} {event.what}" if news else "no news"
