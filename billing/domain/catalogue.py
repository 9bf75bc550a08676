"""What is sold and to whom, as values: accounts, plan versions, subscriptions, tax rates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from billing.domain.charge_models import Tier
from core.periods import Period


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays. ``next_cycle_on``: first day of the first cycle not invoiced yet; None: nothing to bill."""

    id: str
    number: str
    name: str
    email: str | None
    phone: str | None
    street: str | None
    city: str | None
    region: str | None
    postal_code: str | None
    country: str
    currency: str
    time_zone: str
    anchor_day: int
    payment_terms_days: int
    dunning_policy_id: str
    next_cycle_on: date | None
    closed_on: date | None


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """One dated offer; it never changes, a new price is a new version.

    ``price_minor`` is for one month in advance, net of tax. ``allowance_octets`` None means unlimited.
    """

    id: str
    code: str
    name: str
    version: int
    currency: str
    price_minor: int
    allowance_octets: int | None
    tiers: tuple[Tier, ...]
    metered: str  # "sum", "down" or "up"
    tax_class: str
    service_profile_id: str

    def metered_octets(self, octets_in: int, octets_out: int) -> int:
        """The octets that count: ``octets_in`` is what the subscriber sent, ``octets_out`` what he got."""
        return {"sum": octets_in + octets_out, "down": octets_out, "up": octets_in}[self.metered]


@dataclass(frozen=True, slots=True)
class Subscription:
    """An account's commitment to a plan version for a service; local dates of the account, end exclusive."""

    id: str
    account_id: str
    service_id: str
    plan_version_id: str
    starts_on: date
    ends_on: date | None

    def within(self, cycle: Period) -> Period | None:
        """The days of ``cycle`` on which the subscription runs."""
        end = cycle.end if self.ends_on is None else min(cycle.end, self.ends_on)
        start = max(cycle.start, self.starts_on)
        return Period(start, end) if start < end else None


@dataclass(frozen=True, slots=True)
class TaxRate:
    """A dated exclusive rate of one authority; ``region`` None means the whole country. Parts per million."""

    id: str
    name: str
    tax_class: str
    country: str
    region: str | None
    rate_ppm: int
    valid_from: date
    valid_until: date | None  # exclusive

    def applies(self, tax_class: str, country: str, region: str | None, on: date) -> bool:
        """Whether this rate taxes a line of ``tax_class`` at that address on that day."""
        place = self.country == country and self.region in (None, region)
        valid = self.valid_from <= on and (self.valid_until is None or on < self.valid_until)
        return place and valid and self.tax_class == tax_class

    @property
    def jurisdiction(self) -> str:
        """``US-NM``, or ``US`` for a national rate."""
        return f"{self.country}-{self.region}" if self.region else self.country
