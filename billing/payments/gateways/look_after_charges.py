"""What the worker does for gateways, turn by turn: webhooks that wait, charges to send or look up, pages.

Everything is found by the time at which it is due, so a crash anywhere is only a turn that comes later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from billing.config import BillingSettings
from billing.domain.gateway_charges import (
    NEVER_ARRIVED_AFTER,
    ChargeAnswer,
    ChargeState,
    Decline,
    DeclineKind,
    look_again_at,
)
from billing.payments.gateways.charge_method import ACTOR, send_charge
from billing.payments.gateways.hosted_pages import (
    look_later,
    record_page_payment,
    settle_page,
    settle_saved_pages,
)
from billing.payments.gateways.open_gateways import Gateways
from billing.payments.gateways.pay_refunds import pay_refund, refunds_due
from billing.payments.gateways.port import ChargeQuestion, GatewayError, GatewayEvent, event_from
from billing.payments.gateways.record_answer import issue_key, record_answer
from billing.payments.gateways.saved_methods import sync_methods
from billing.payments.gateways.take_event import act_on, handled, put_off
from billing.store import gateway_rows
from core.health import HealthIssue, open_issue
from core.log import logger
from core.refusal import Refused
from core.secrets import Sealer, SealError
from core.work import Workplace

_EVENTS_AT_ONCE, _AT_ONCE, _CALLS_AT_ONCE = 50, 12, 6
"""A turn in which no call is answered ends within a minute or two, so that the worker can stop."""
_WORRY_AFTER_LOOKS = 8
"""After so many look-ups without an end, some three hours, people are told."""
_REFUND_PAUSE = NEVER_ARRIVED_AFTER
_log = logger("billing")


class GatewayKeeper:
    """Looks after what is under way at gateways; one for each process that does."""

    def __init__(
        self, workplace: Workplace, gateways: Gateways, sealer: Sealer, settings: BillingSettings
    ) -> None:
        self._workplace = workplace
        self._gateways = gateways
        self._sealer = sealer
        self._settings = settings
        self._refund_after: dict[str, datetime] = {}

    async def turn(self) -> int:
        """Everything that is due; returns how much that was."""
        async with self._workplace.reading() as connection:
            now = self._workplace.clock.now()
            events = await gateway_rows.events_due(connection, now, _EVENTS_AT_ONCE)
            charges = await gateway_rows.charges_due(connection, now, _AT_ONCE)
            pages = await gateway_rows.pages_due(connection, now, _AT_ONCE)
            refunds = [one for one in await refunds_due(connection) if self._may_refund(one.id, now)]
        for event in events:  # in the order they came
            await self._guard(self._event, event, self._put_event_off)
        await self._several(self._charge, charges, self._put_charge_off)
        await self._several(self._page, pages, self._put_page_off)
        await self._several(self._refund, refunds, self._put_refund_off)
        return len(events) + len(charges) + len(pages) + len(refunds)

    async def settle(self, page_id: str, actor: str) -> bool:
        """Ask about one page now, because its customer has come back; True when it was used."""
        async with self._workplace.reading() as connection:
            page = await gateway_rows.find_page(connection, page_id=page_id)
        if page is None or page.state != "open":
            return page is not None and page.state == "done"
        try:
            return await settle_page(
                self._workplace, self._gateways, self._sealer, page, settings=self._settings, actor=actor
            )
        except (GatewayError, Refused) as trouble:
            _log.warning("page_not_settled", page=page.id, error=type(trouble).__name__)
            return False

    async def _several(
        self,
        act: Callable[[Any], Awaitable[None]],
        rows: Sequence[Any],
        put_off: Callable[[Any, str], Awaitable[None]],
    ) -> None:
        """A few calls at a time: a slow gateway, or the day on which everybody pays, takes no hours."""
        lanes = asyncio.Semaphore(_CALLS_AT_ONCE)

        async def one(row: Any) -> None:
            async with lanes:
                await self._guard(act, row, put_off)

        await asyncio.gather(*(one(row) for row in rows))

    async def _guard(
        self,
        act: Callable[[Any], Awaitable[None]],
        row: Any,
        put_off: Callable[[Any, str], Awaitable[None]],
    ) -> None:
        """One thing that fails holds up no other, and is tried again later."""
        try:
            await act(row)
        except (GatewayError, Refused, SealError) as trouble:
            await put_off(row, str(trouble))
        except Exception as trouble:  # noqa: BLE001 - the boundary of one charge
            _log.error(
                "gateway_turn_failed", subject=act.__name__, error=f"{type(trouble).__name__}: {trouble}"
            )
            await put_off(row, type(trouble).__name__)

    # Webhooks.

    async def _event(self, row: Any) -> None:
        event = event_from(row.event_id, row.kind, row.content)
        told = ""
        if event.what == "methods":
            told = await self._methods(row.gateway, event)
        elif event.what == "look":
            told = await self._look(row.gateway, event)
        async with self._workplace.work(ACTOR) as work:
            found = await gateway_rows.find_event(work.connection, row.gateway, row.event_id)
            if found is None or found.handled_at is not None:
                return
            if told:
                await handled(work, row.seq, told)
            else:
                await act_on(work, found, self._settings)

    async def _methods(self, name: str, event: GatewayEvent) -> str:
        async with self._workplace.reading() as connection:
            account_id = await gateway_rows.account_of_customer(connection, name, event.customer or "")
        if account_id is None:
            return "not ours"
        added = await sync_methods(
            self._workplace, self._gateways, self._sealer, name=name, account_id=account_id, actor=ACTOR
        )
        async with self._workplace.work(ACTOR) as work:
            await settle_saved_pages(work, name, account_id, self._settings)
        return f"{len(added)} methods saved"

    async def _look(self, name: str, event: GatewayEvent) -> str:
        async with self._workplace.reading() as connection:
            charge = await gateway_rows.charge_told(connection, name, event.key, event.reference)
            page = None if charge else await gateway_rows.find_page(connection, key=event.key)
        if charge is not None:
            question = await self._question(charge, event.reference)
        elif page is not None:
            async with self._workplace.reading() as connection:
                customer = await gateway_rows.customer_of(connection, name, page.account_id)
            question = ChargeQuestion(page.key, customer, event.reference, page.currency, page.opened_at)
        else:
            return "not ours"
        answer = await (await self._gateways.of(name, also_disabled=True)).look_up(question)
        if answer is None:
            return "the gateway does not know it"
        told_by = f"event:{event.event_id}"
        async with self._workplace.work(ACTOR) as work:
            if charge is not None:
                news = await record_answer(work, charge.id, answer, told_by=told_by, settings=self._settings)
                return f"{charge.id} {answer.state}" if news else "no news"
            await record_page_payment(work, page.id, answer, told_by=told_by, settings=self._settings)  # type: ignore[union-attr]
            return f"page {page.id} {answer.state}"  # type: ignore[union-attr]

    async def _put_event_off(self, row: Any, reason: str) -> None:
        async with self._workplace.work(ACTOR) as work:
            await put_off(work, row, reason)

    # Charges.

    async def _charge(self, row: Any) -> None:
        if row.state == "begun":
            await send_charge(self._workplace, self._gateways, self._sealer, row.id, self._settings)
            return
        question = await self._question(row, row.reference)
        answer = await (await self._gateways.of(row.gateway, also_disabled=True)).look_up(question)
        now = self._workplace.clock.now()
        if answer is None and now >= row.state_at + NEVER_ARRIVED_AFTER:
            words = "The gateway never heard of it; nothing was charged."
            answer = ChargeAnswer(ChargeState.ABANDONED, None, Decline(DeclineKind.SOFT, "never_sent", words))
        if answer is not None:
            async with self._workplace.work(ACTOR) as work:
                if await record_answer(work, row.id, answer, told_by="look_up", settings=self._settings):
                    return
        await self._put_charge_off(row, "the gateway says nothing new")

    async def _question(self, charge: Any, reference: str | None) -> ChargeQuestion:
        async with self._workplace.reading() as connection:
            customer = await gateway_rows.customer_of(connection, charge.gateway, charge.account_id)
        return ChargeQuestion(
            charge.key, customer, charge.reference or reference, charge.currency, charge.begun_at
        )

    async def _put_charge_off(self, row: Any, reason: str) -> None:
        looks = row.looks + 1
        async with self._workplace.work(ACTOR) as work:
            found = await gateway_rows.find_charge(work.connection, row.id)
            if found is None or found.state != row.state or found.look_at is None:
                return  # more is known of it by now
            values = {"looks": looks, "look_at": look_again_at(work.now, looks)}
            await gateway_rows.change_charge(work.connection, row.id, values)
            if looks >= _WORRY_AFTER_LOOKS and row.state in ("sent", "unknown"):
                await open_issue(
                    work,
                    HealthIssue(
                        issue_key(row.id), "warning",
                        f"{row.gateway} does not say what became of the charge {row.key}: {reason}",
                        "Look for this key at the gateway's own site; Hilltop goes on asking by itself.",
                    ),
                )  # fmt: skip

    # Refunds.

    def _may_refund(self, refund_id: str, now: datetime) -> bool:
        """Nothing is asked again at once; what a new process asks again goes back once all the same."""
        return now >= self._refund_after.get(refund_id, now)

    async def _refund(self, row: Any) -> None:
        await pay_refund(self._workplace, self._gateways, row)
        self._refund_after.pop(row.id, None)

    async def _put_refund_off(self, row: Any, reason: str) -> None:
        self._refund_after[row.id] = self._workplace.clock.now() + _REFUND_PAUSE
        _log.warning("refund_waits", refund=row.id, reason=reason)

    # Pages.

    async def _page(self, row: Any) -> None:
        used = await settle_page(
            self._workplace, self._gateways, self._sealer, row, settings=self._settings, actor=ACTOR
        )
        if not used:
            await self._put_page_off(row, "")

    async def _put_page_off(self, row: Any, reason: str) -> None:
        if reason:
            _log.warning("page_not_settled", page=row.id, reason=reason)
        async with self._workplace.work(ACTOR) as work:
            found = await gateway_rows.find_page(work.connection, page_id=row.id)
            if found is not None and found.state == "open":
                await look_later(work, found)
