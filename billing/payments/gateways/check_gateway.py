"""Ask a gateway whether it takes our keys."""

from __future__ import annotations

from billing.payments.gateways.charge_method import ACTOR, keys_issue
from billing.payments.gateways.open_gateways import Gateways
from billing.payments.gateways.port import GatewayError
from core.health import close_issue
from core.refusal import Refusal
from core.work import Workplace


async def check_gateway(workplace: Workplace, gateways: Gateways, *, name: str) -> str | Refusal:
    """What the keys open, in a few words; right ones close the health issue of wrong ones."""
    try:
        told = await (await gateways.of(name, also_disabled=True)).check()
    except GatewayError as trouble:
        return Refusal("gateway_failed", str(trouble), "key")
    async with workplace.work(ACTOR) as work:
        await close_issue(work, keys_issue(name))
    return told
