"""Both simulated gateways and our drivers of them, side by side: what holds for one has to hold for the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from billing.payments.gateways.authorizenet_driver import AuthorizeNetGateway
from billing.payments.gateways.port import ChargeOrder, ChargeQuestion, Gateway, GatewayAccess
from billing.payments.gateways.stripe_driver import StripeGateway
from core.clock import FakeClock
from core.secrets import Secret
from lab.gateway_authorizenet import AuthorizeNetSandbox
from lab.gateway_stripe import StripeSandbox
from lab.gateway_world import serve

VISA, POOR, LOST, EXPIRED, REFUSED = (
    "4242424242424242", "4000000000009995", "4000000000009987", "4000000000000069", "4000000000000119",
)  # fmt: skip
BANK, POOR_BANK = "000123456789", "000222222227"
NAMES = ("stripe", "authorizenet")


@dataclass
class Counterpart:
    """One sandbox that listens, and the access to it."""

    name: str
    sandbox: Any
    access: GatewayAccess
    clock: FakeClock
    drivers: list[Gateway] = field(default_factory=list)

    def driver(self, **other: Any) -> Gateway:
        """Our driver of it; ``other`` replaces parts of the access."""
        values = {name: getattr(self.access, name) for name in GatewayAccess.__slots__} | other
        kind = StripeGateway if self.name == "stripe" else AuthorizeNetGateway
        made: Gateway = kind(GatewayAccess(**values))
        self.drivers.append(made)
        return made

    def charges(self) -> list[Any]:
        """What the sandbox has charged with success."""
        if self.name == "stripe":
            return [
                one for one in self.sandbox.intents.values() if one["status"] in ("succeeded", "processing")
            ]
        return [one for one in self.sandbox.transactions.values() if one["responseCode"] == 1]

    def order(self, customer: str, token: str, key: str = "key1", **other: Any) -> ChargeOrder:
        """30.00 from a card."""
        values: dict[str, Any] = {
            "key": key, "customer": customer, "token": Secret(token), "kind": "card", "amount_minor": 3000,
            "currency": "USD", "description": "Account A-1",
        }  # fmt: skip
        return ChargeOrder(**values | other)

    def question(self, customer: str, key: str = "key1", reference: str | None = None) -> ChargeQuestion:
        """What became of it?"""
        return ChargeQuestion(key, customer, reference, "USD", self.clock.now())


@asynccontextmanager
async def counterpart(name: str, clock: FakeClock) -> AsyncIterator[Counterpart]:
    """The sandbox of that name, listening on this machine."""
    sandbox = StripeSandbox(clock) if name == "stripe" else AuthorizeNetSandbox(clock)
    listening = await serve(sandbox.app())
    hook_key = sandbox.signing_secret if isinstance(sandbox, StripeSandbox) else sandbox.signature_key
    login = None if isinstance(sandbox, StripeSandbox) else sandbox.login
    access = GatewayAccess(name, Secret(sandbox.key), login, Secret(hook_key), listening.url)
    found = Counterpart(name, sandbox, access, clock)
    try:
        yield found
    finally:
        for driver in found.drivers:
            await driver.close()
        await listening.close()
