"""What an order for a subscription would do to the invoice of its cycle, before it is given.

The order is carried out for good and all but the commit: what is told is what would be written, with the fee
of a contract, the end of add-ons and each refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.invoicing import InvoiceDraft
from billing.domain.taxes.rule import Exemption
from billing.invoicing.preview_invoice import draft_next
from billing.invoicing.tax_outside import tax_outside
from billing.ports import LiveUsageSource
from billing.store import account_rows, subscription_rows
from billing.subscriptions.order_change import Order, carry_out
from billing.taxes.engine import TaxEngine
from core.refusal import Refusal
from core.work import Workplace


@dataclass(frozen=True, slots=True)
class Consequence:
    """The invoice of the cycle of ``from_on``, or the next one if that is issued, without and with the order.

    None: there would be none.
    """

    from_on: date
    without: InvoiceDraft | None
    with_change: InvoiceDraft | None

    @property
    def difference_minor(self) -> int:
        """What it would be more, with tax."""
        before = 0 if self.without is None else self.without.total_minor
        return (0 if self.with_change is None else self.with_change.total_minor) - before


class _UndoneError(Exception):
    """Thrown so that nothing is kept."""


@dataclass
class _Found:
    """One draft, whose taxes may still have to be asked for."""

    draft: InvoiceDraft | None
    exemptions: Mapping[str, list[Exemption]]

    async def taxed(self, engine: TaxEngine | None) -> InvoiceDraft | Refusal | None:
        """With the taxes of the engine outside, asked while nothing is locked."""
        if engine is None or self.draft is None:
            return self.draft
        return await tax_outside(engine, self.draft, self.exemptions)


async def preview_order(
    workplace: Workplace,
    usage: LiveUsageSource,
    subscription_id: str,
    order: Order,
    settings: BillingSettings | None = None,
    *,
    engine: TaxEngine | None = None,
) -> Consequence | Refusal:
    """Draft the payer's invoice without and with the order; nothing is written.

    ``engine`` is asked for the taxes instead of our rules.
    """
    settings, outside = settings or BillingSettings(), engine is not None
    outcome: date | Refusal
    try:
        async with workplace.work("system:preview") as work:
            outcome = await carry_out(work, subscription_id, order)
            if isinstance(outcome, Refusal):
                raise _UndoneError  # noqa: TRY301 - what was locked or written goes back
            changed = await _draft(
                work.connection, usage, subscription_id, work.now, settings, outside=outside, on=outcome
            )
            raise _UndoneError  # noqa: TRY301 - this is the point of it
    except _UndoneError:
        pass
    if isinstance(outcome, Refusal):
        return outcome
    async with workplace.reading() as connection:
        now = workplace.clock.now()
        without = await _draft(connection, usage, subscription_id, now, settings, outside=outside, on=outcome)
    before, after = await without.taxed(engine), await changed.taxed(engine)
    if isinstance(before, Refusal):
        return before
    if isinstance(after, Refusal):
        return after
    return Consequence(outcome, before, after)


async def _draft(
    connection: AsyncConnection,
    usage: LiveUsageSource,
    subscription_id: str,
    now: datetime,
    settings: BillingSettings,
    *,
    outside: bool,
    on: date,
) -> _Found:
    found = await subscription_rows.find_subscription(connection, subscription_id)
    account = None if found is None else await account_rows.find_account(connection, found.account_id)
    payer = None if account is None else await account_rows.find_account(connection, account.payer_id)
    if payer is None:
        raise RuntimeError(f"subscription {subscription_id} has no payer")
    return _Found(*await draft_next(connection, usage, payer, now, settings, outside=outside, at_least=on))
