"""Open a gateway by its name: its driver is loaded then, and no earlier."""

from __future__ import annotations

from typing import Any

from billing.payments.gateways.keep_gateway import KEY, WEBHOOK_KEY
from billing.payments.gateways.port import Gateway, GatewayAccess, GatewayLockedError
from billing.store import gateway_rows
from core.secrets import Sealer, SealError
from core.work import Workplace


class Gateways:
    """The gateways of one process; each is opened once and anew when its keys have changed."""

    def __init__(self, workplace: Workplace, sealer: Sealer) -> None:
        self._workplace = workplace
        self._sealer = sealer
        self._opened: dict[str, tuple[object, Gateway]] = {}

    async def of(self, name: str, *, also_disabled: bool = False) -> Gateway:
        """The gateway of that name. Raises ``GatewayLockedError`` when it is not set up or switched off."""
        async with self._workplace.reading() as connection:
            row = await gateway_rows.find_gateway(connection, name)
        if row is None or not (row.enabled or also_disabled):
            raise GatewayLockedError(f"the gateway {name} is not set up, or switched off")
        stands = self._opened.get(name)
        if stands is not None and stands[0] == row:
            return stands[1]
        if stands is not None:
            await stands[1].close()
        try:
            made = _open(self._access(row))
        except SealError as trouble:
            raise GatewayLockedError(str(trouble)) from None
        self._opened[name] = (row, made)
        return made

    def _access(self, row: Any) -> GatewayAccess:
        hook = row.webhook_key_sealed
        return GatewayAccess(
            row.name, self._sealer.open(row.key_sealed, KEY), row.login,
            None if hook is None else self._sealer.open(hook, WEBHOOK_KEY), row.base_url,
        )  # fmt: skip

    async def close(self) -> None:
        """End every connection."""
        for _, opened in self._opened.values():
            await opened.close()
        self._opened.clear()


def _open(access: GatewayAccess) -> Gateway:
    if access.name == "stripe":
        from billing.payments.gateways.stripe_driver import StripeGateway

        return StripeGateway(access)
    from billing.payments.gateways.authorizenet_driver import AuthorizeNetGateway

    return AuthorizeNetGateway(access)
