"""A town whose accounts pay by card: the town of ``billing_story``, a sandbox gateway, and what runs beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from billing_story import Town
from gateway_lab import VISA, Counterpart, counterpart
from sqlalchemy import select

from billing.config import BillingSettings
from billing.domain.gateway_charges import ChargeState
from billing.payments.gateways.charge_method import begin_charge, send_charge
from billing.payments.gateways.hosted_pages import open_hosted_page
from billing.payments.gateways.keep_gateway import keep_gateway
from billing.payments.gateways.look_after_charges import GatewayKeeper
from billing.payments.gateways.open_gateways import Gateways
from billing.payments.gateways.plan_autopay import plan_autopay
from billing.payments.gateways.set_autopay import set_autopay
from billing.payments.gateways.take_event import take_event
from billing.store import gateway_rows
from billing.store.gateway_rows import accounts_with_payment_in_flight
from billing.store.tables import gateway_charge, hosted_page, payment, payment_method, reversal
from core.refusal import Refusal, granted
from core.secrets import Sealer

DEBT = 3000


@dataclass
class Till:
    """What a test of payments does."""

    town: Town
    other: Counterpart
    sealer: Sealer
    gateways: Gateways
    settings: BillingSettings = field(default_factory=BillingSettings)

    @property
    def keeper(self) -> GatewayKeeper:
        """A worker that has just been started."""
        return GatewayKeeper(self.town.workplace, self.gateways, self.sealer, self.settings)

    async def debtor(self, number: str = VISA, name: str = "Ann") -> str:
        """An account that owes 30.00 and has saved a card or bank account."""
        account_id = await self.town.customer(name, "2026-03-10", anchor_day=10)
        self.town.travel("2026-03-10", 12)
        await self.town.bill()
        await self.save(account_id, number)
        return account_id

    async def save(self, account_id: str, number: str = VISA) -> str:
        """The account's owner saves a card at the gateway's page; returns our id of it."""
        page = granted(await self.open_page(account_id, "save"))
        self.other.sandbox.type_card(page.reference or page.fields["token"], number)
        assert await self.settle_pages() == [True]
        self.other.sandbox.world.hooks.clear()
        rows = await self.rows(payment_method, payment_method.c.account_id == account_id)
        return str(max(rows, key=lambda one: (one.added_at, one.id)).id)

    async def settle_pages(self) -> list[bool]:
        """The customers have come back from their pages."""
        rows = await self.rows(hosted_page, hosted_page.c.state == "open")
        return [await self.keeper.settle(row.id, "customer") for row in rows]

    async def open_page(self, account_id: str, purpose: str, **other: Any) -> Any:
        return await open_hosted_page(
            self.town.workplace, self.gateways, account_id=account_id, purpose=purpose, actor="customer",
            back_url="https://isp.example/back", **other,
        )  # fmt: skip

    async def begin(self, account_id: str, amount: int = DEBT, **other: Any) -> str | Refusal:
        async with self.town.workplace.work("operator:test") as work:
            return await begin_charge(
                work, account_id=account_id, amount_minor=amount, cause="operator", **other
            )

    async def send(self, charge_id: str) -> ChargeState:
        return await send_charge(self.town.workplace, self.gateways, self.sealer, charge_id, self.settings)

    async def charge(self, account_id: str, amount: int = DEBT) -> tuple[str, ChargeState]:
        """Charge now, as an operator does."""
        charge_id = granted(await self.begin(account_id, amount))
        return charge_id, await self.send(charge_id)

    async def turn(self, **later: float) -> int:
        """The worker's turn, so much later."""
        self.town.clock.advance(timedelta(**later))
        return await self.keeper.turn()

    async def autopay(self, account_id: str, **terms: Any) -> None:
        async with self.town.workplace.work("operator:test") as work:
            refused = await set_autopay(
                work, account_id=account_id, settings=self.settings, enabled=True, **terms
            )
            assert refused is None, refused

    async def autopay_day(self, day: str, hour: int = 12) -> int:
        """What automatic payment begins on a day; it is sent at once."""
        self.town.travel(day, hour)
        begun = await plan_autopay(self.town.workplace, self.settings)
        assert await plan_autopay(self.town.workplace, self.settings) == 0, "twice on a day"
        await self.turn()
        return begun

    async def deliver(self, copies: int = 1, order: str = "as_made", kind: str = "") -> list[str]:
        """The webhooks that wait, given to the use case as the panel would."""
        world = self.other.sandbox.world
        waiting = [hook for hook in world.hooks if kind in hook.kind]
        outcomes: list[str] = []
        for hook in reversed(waiting) if order == "reversed" else waiting:
            outcomes += [await self.take(hook) for _ in range(copies)]
            if hook in world.hooks:
                world.hooks.remove(hook)
        return outcomes

    async def take(self, hook: Any) -> str:
        """One webhook, given to the use case."""
        return await take_event(
            self.town.workplace, self.gateways, name=self.other.name, body=hook.body, headers=hook.headers,
            settings=self.settings,
        )  # fmt: skip

    async def rows(self, table: Any, *where: Any) -> list[Any]:
        async with self.town.workplace.reading() as connection:
            return list(await connection.execute(select(table).where(*where)))

    async def state(self, charge_id: str) -> str:
        """How far a charge has come."""
        (row,) = await self.rows(gateway_charge, gateway_charge.c.id == charge_id)
        return str(row.state)

    async def steps(self, charge_id: str) -> list[str]:
        async with self.town.workplace.reading() as connection:
            return [one.state for one in (await gateway_rows.steps_of(connection, [charge_id]))[charge_id]]

    async def payments(self) -> list[int]:
        """What stands of every payment, in the order they came."""
        rows, taken = await self.rows(payment), await self.rows(reversal)
        left = {one.id: one.amount_minor for one in sorted(rows, key=lambda one: one.id)}
        for one in taken:
            left[one.payment_id] -= one.amount_minor
        return [amount for amount in left.values() if amount]

    async def open_minor(self) -> int:
        """What all invoices together still want."""
        return sum(one.open_minor for one in await self.town.invoices())

    async def in_flight(self, account_id: str) -> bool:
        async with self.town.workplace.reading() as connection:
            return await accounts_with_payment_in_flight(connection, [account_id]) == {account_id}

    async def paid_once(self) -> None:
        """The debt was paid by one payment, and the gateway has charged once."""
        assert (await self.payments(), await self.open_minor()) == ([DEBT], 0)
        assert len(self.other.charges()) == 1
        await self.town.prove_books()


@asynccontextmanager
async def till(town: Town, name: str, sealer: Sealer) -> AsyncIterator[Till]:
    """The town with that gateway set up."""
    async with counterpart(name, town.clock) as other:
        async with town.workplace.work("operator:test") as work:
            access = other.access
            refused = await keep_gateway(
                work, sealer, name=name, login=access.login, key=access.key, webhook_key=access.webhook_key,
                base_url=access.base_url,
            )  # fmt: skip
            assert refused is None, refused
        gateways = Gateways(town.workplace, sealer)
        try:
            yield Till(town, other, sealer, gateways)
        finally:
            await gateways.close()
