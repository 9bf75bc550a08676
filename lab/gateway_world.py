"""What both simulated gateways share: cards and bank accounts with their habits, and webhooks on their way.

What a card does follows Stripe's published test cards (docs.stripe.com/testing); what a gateway does with it
is in ``gateway_stripe`` and ``gateway_authorizenet``, each in its own words, as their documentation has it.
"""

from __future__ import annotations

import asyncio
import html
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from core.clock import Clock
from core.log import logger

_log = logger("lab")


@dataclass(frozen=True, slots=True)
class Habit:
    """What a card or bank account does when it is charged: ``verdict`` is approve, or Stripe's decline code.

    A bank account's verdict comes days later.
    """

    number: str
    kind: str
    brand: str
    verdict: str = "approve"
    expires: tuple[int, int] = (2031, 12)
    routing: str = "110000000"

    @property
    def last4(self) -> str:
        return self.number[-4:]


HABITS = {
    one.number: one
    for one in (
        Habit("4242424242424242", "card", "visa"),
        Habit("5555555555554444", "card", "mastercard"),
        Habit("4000000000000002", "card", "visa", "generic_decline"),
        Habit("4000000000009995", "card", "visa", "insufficient_funds"),
        Habit("4000000000000119", "card", "visa", "do_not_honor"),
        Habit("4000000000009987", "card", "visa", "lost_card"),
        Habit("4000000000000069", "card", "visa", "expired_card", (2024, 1)),
        Habit("4000002500003155", "card", "visa", "authentication_required"),
        Habit("000123456789", "bank", "STRIPE TEST BANK"),
        Habit("000222222227", "bank", "STRIPE TEST BANK", "insufficient_funds"),
        Habit("000333333335", "bank", "STRIPE TEST BANK", "debit_not_authorized"),
    )
}


@dataclass(frozen=True, slots=True)
class Mishap:
    """What happens to the next request that charges, once.

    ``wire``: drop_before and drop_after (the line is cut before or after the charge was made), hang_before
    and hang_after (no answer ever), error_before and error_after (HTTP 500), busy (HTTP 429), gate (the
    answer waits for the world's ``gate``). ``hook_first``: the webhooks arrive before the answer. ``verdict``
    overrides the card's habit.
    """

    wire: str = ""
    hook_first: bool = False
    verdict: str = ""

    def strikes(self, when: str) -> str:
        """What of the wire happens ``before`` or ``after`` the charge."""
        name, _, moment = self.wire.partition("_")
        return name if (moment or "before") == when and name != "gate" else ""


@dataclass(slots=True)
class Hook:
    """A webhook on its way: the body as signed, and the headers."""

    event_id: str
    kind: str
    body: bytes
    headers: dict[str, str]
    delivered: int = 0


@dataclass(slots=True)
class GatewayWorld:
    """The clock, the mishaps to come, and the webhooks of one simulated gateway."""

    clock: Clock
    hook_url: str = ""
    mishaps: list[Mishap] = field(default_factory=list)
    hooks: list[Hook] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    delivers_itself: bool = False
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def number(self) -> int:
        """The next number of this world."""
        return next(self._numbers)

    def now_s(self) -> int:
        """Seconds since 1970 of its clock."""
        return int(self.clock.now().timestamp())

    def next_mishap(self) -> Mishap:
        """What happens to this request."""
        return self.mishaps.pop(0) if self.mishaps else Mishap()

    async def strike(self, request: web.Request, what: str) -> web.Response | None:
        """Cut the line, keep silent or fail; None: the request goes its way."""
        if what == "drop" and request.transport is not None:
            request.transport.abort()
            raise ConnectionResetError("the line was cut on purpose")
        if what == "hang":
            await asyncio.sleep(3600)
        return None

    async def deliver(self, copies: int = 1, order: str = "as_made", only: str = "") -> list[int]:
        """Send webhooks that were not sent yet, or ``only`` of one kind again; returns the HTTP states.

        ``order``: as_made or reversed. ``copies`` of each are sent one right after another.
        """
        waiting = [hook for hook in self.hooks if (hook.kind == only if only else not hook.delivered)]
        states = []
        async with aiohttp.ClientSession() as session:
            for hook in reversed(waiting) if order == "reversed" else waiting:
                for _ in range(copies):
                    hook.delivered += 1
                    async with session.post(self.hook_url, data=hook.body, headers=hook.headers) as response:
                        states.append(response.status)
        return states

    async def deliver_by_itself(self) -> None:
        """What a real gateway does: try once, and again later when it was not taken."""
        try:
            await self.deliver()
        except aiohttp.ClientError as trouble:
            _log.warning("hook_not_delivered", error=type(trouble).__name__)


@dataclass(slots=True)
class Served:
    """A simulated gateway that listens."""

    runner: web.AppRunner
    url: str

    async def close(self) -> None:
        """Stop listening."""
        await self.runner.cleanup()


async def serve(app: web.Application, host: str = "127.0.0.1", port: int = 0) -> Served:
    """Listen; port 0 takes a free one."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    bound = runner.addresses[0]
    return Served(runner, f"http://{bound[0]}:{bound[1]}")


def page_of_cards(action: str, hidden: Mapping[str, str]) -> str:
    """A page on which one of the test cards is chosen."""
    cards = "".join(
        f'<option value="{one.number}">{one.brand} {one.number}: {one.verdict}</option>'
        for one in HABITS.values()
    )
    kept = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in hidden.items()
    )
    return (
        "<!doctype html><title>Sandbox gateway</title><h1>Sandbox gateway</h1>"
        f'<form method="post" action="{html.escape(action)}">{kept}<select name="number">{cards}</select> '
        "<button>Pay or save</button></form>"
    )
