"""The worker's part in payments through gateways: what is due there, and automatic payment on its day."""

from __future__ import annotations

from appliance.wiring import House
from billing.payments.gateways.look_after_charges import GatewayKeeper
from billing.payments.gateways.open_gateways import Gateways
from billing.payments.gateways.plan_autopay import plan_autopay


class GatewayWork:
    """Made once for the worker; drivers are loaded when something is charged."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._gateways = Gateways(house.workplace, house.sealer)
        self._keeper = GatewayKeeper(house.workplace, self._gateways, house.sealer, house.settings.billing)

    async def turn(self) -> int:
        """Webhooks that wait, charges to send or look up, refunds to pay; returns how much that was."""
        return await self._keeper.turn()

    async def plan(self) -> int:
        """Begin the automatic payments of today; returns how many."""
        return await plan_autopay(self._house.workplace, self._house.settings.billing)

    async def close(self) -> None:
        """End the connections."""
        await self._gateways.close()
