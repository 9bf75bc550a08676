"""Top-ups on the portal: whoever sits behind a line that is held for its cap may buy more for it.

The line is known by its address, as everything on the portal is. What is offered is only what the plan says
may be sold there, an account with unpaid invoices buys nothing, and how often is limited. An offer carries a
seal over address, line, price and time, which no other site can read or make: a form of another site that is
posted from the subscriber's browser buys nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.entitlement import Holder
from aaa.entitlements import entitlement_of, services_at
from billing.config import BillingSettings
from billing.ports import WatchedUsage
from billing.rating.buy_top_up import TopUpReceipt
from billing.rating.top_up_now import top_up_now
from billing.rating.usage_standing import OfferedTopUp, UsageStanding, usage_standings
from billing.store import usage_item_rows
from core.refusal import Refusal, Refused, granted
from core.secrets import Sealer
from core.work import Workplace

OFFER_LASTS_S = 1800
_STALE = Refusal("stale", "this offer is out of date: open the page again", "seal")


@dataclass(frozen=True, slots=True)
class PortalOffer:
    """One top-up on the page; ``stamp`` and ``seal`` come back with the order."""

    standing: UsageStanding
    top_up: OfferedTopUp
    stamp: str
    seal: str


@dataclass(frozen=True, slots=True)
class PortalTopUps:
    """Offers and sells for one provider."""

    workplace: Workplace
    usage: WatchedUsage
    sealer: Sealer
    billing: BillingSettings

    async def offers(self, connection: AsyncConnection, address: str) -> list[PortalOffer]:
        """What may be bought at this address now: nothing unless its one line is held for a cap."""
        found = []
        now_s = int(self.workplace.clock.now().timestamp())
        for standing, top_up in await self._on_sale(connection, address):
            stamp = f"{now_s}.{secrets.token_hex(8)}"
            found.append(PortalOffer(standing, top_up, stamp, self._seal(address, standing, top_up, stamp)))
        return found

    async def buy(self, address: str, order: Mapping[str, str]) -> TopUpReceipt | Refusal:
        """Buy the offer of an order from this address; the same order again buys nothing more."""
        stamp, seal = order.get("stamp", "")[:60], order.get("seal", "")[:80]
        made_s = stamp.partition(".")[0]
        age_s = int(self.workplace.clock.now().timestamp()) - (int(made_s) if made_s.isdigit() else 0)
        if not 0 <= age_s <= OFFER_LASTS_S:
            return _STALE
        async with self.workplace.reading() as connection:
            on_sale = await self._on_sale(connection, address, held=False)
        for standing, top_up in on_sale:
            if hmac.compare_digest(self._seal(address, standing, top_up, stamp), seal):
                return await self._buy(standing, top_up, stamp)
        return _STALE

    async def _buy(self, standing: UsageStanding, top_up: OfferedTopUp, stamp: str) -> TopUpReceipt | Refusal:
        source = "portal:" + hashlib.sha256(f"{standing.subscription_id}|{stamp}".encode()).hexdigest()
        try:
            async with self.workplace.work("portal") as work:
                return granted(
                    await top_up_now(
                        work, self.usage, subscription_id=standing.subscription_id, code=top_up.code,
                        source=source, how="portal", settings=self.billing,
                    )
                )  # fmt: skip
        except Refused as refused:
            return refused.refusal

    async def _on_sale(
        self, connection: AsyncConnection, address: str, *, held: bool = True
    ) -> Sequence[tuple[UsageStanding, OfferedTopUp]]:
        """``held``: only while the cap holds the line; an order that is sent twice may find it free again."""
        service_ids = await services_at(connection, address)
        if len(service_ids) != 1:  # nobody knows who asks
            return []
        entitlement = await entitlement_of(connection, service_ids[0])
        holders = [] if entitlement is None else [one["holder"] for one in entitlement.because]
        if held and Holder.CAP not in holders:
            return []
        now = self.workplace.clock.now()
        found = []
        for account_id in await usage_item_rows.accounts_of_service(connection, service_ids[0]):
            for one in await usage_standings(connection, self.usage, account_id, now):
                if one.service_id == service_ids[0] and (one.is_capped or not held):
                    found += [(one, offer) for offer in one.offers if offer.portal]
        return found

    def _seal(self, address: str, standing: UsageStanding, top_up: OfferedTopUp, stamp: str) -> str:
        key = self.sealer.derive_key("portal-top-up")
        what = (address, standing.subscription_id, top_up.code, str(top_up.price_minor), stamp)
        return hmac.new(key, "|".join(what).encode(), "sha256").hexdigest()
