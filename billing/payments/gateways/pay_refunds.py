"""Pay refunds that were ordered by the way their payment came."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.payments.gateways.charge_method import ACTOR
from billing.payments.gateways.open_gateways import Gateways
from billing.payments.gateways.port import GatewayLockedError, GatewayRefusedError, Refund
from billing.payments.refund import end_refund
from billing.store import gateway_rows
from core.refusal import granted
from core.work import Workplace


async def refunds_due(connection: AsyncConnection) -> list[Row[Any]]:
    """Refunds by gateway that were ordered and have not ended, oldest first."""
    return await gateway_rows.refunds_due(connection)


async def pay_refund(workplace: Workplace, gateways: Gateways, row: Any) -> None:
    """Have the gateway give the money back, and say how the refund ended.

    Raises ``GatewayError`` when that is not known yet, or not possible yet.
    """
    async with workplace.reading() as connection:
        charge = await gateway_rows.charge_of_payment(connection, row.payment_id)
    outcome, reference, told = "failed", None, "this payment did not come through a gateway"
    if charge is not None and charge.reference is not None:
        asked = Refund(row.id[-16:], charge.reference, row.amount_minor, row.currency)
        try:
            reference = await (await gateways.of(charge.gateway, also_disabled=True)).refund(asked)
            outcome, told = "paid", charge.gateway
        except GatewayLockedError:
            raise
        except GatewayRefusedError as trouble:
            told = str(trouble)
    async with workplace.work(ACTOR) as work:
        granted(
            await end_refund(work, refund_id=row.id, outcome=outcome, reference=reference, told=told[:300])
        )
