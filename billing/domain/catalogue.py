"""Who buys, what is sold, and who bought it, as values: accounts, plan versions, subscriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from billing.domain.cadence import MONTHLY, Cadence, Era, Turns
from billing.domain.items import PERIODIC, Item
from core.periods import Period

_LONG_AGO = date(2000, 1, 1)


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays. ``next_cycle_on``: first day of the first cycle not invoiced yet; None: nothing to bill.

    ``payer_account_id``: the account that pays for this one; None: it pays itself. ``cycle_from``: the day
    from which cycles of days, weeks or several months are counted. ``invoice_offset_days``: its invoice is
    issued so many days after the cycle turns, before if negative. ``former_cycles``: how its cycles turned
    before that was changed, as ``former_cycle`` describes each.
    """

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
    account_class: str = "standard"
    payer_account_id: str | None = None
    entity_id: str | None = None
    cycle_unit: str = "month"
    cycle_count: int = 1
    cycle_from: date | None = None
    invoice_offset_days: int = 0
    locale: str | None = None
    delivery: str = "email"
    former_cycles: Sequence[Mapping[str, Any]] | None = None

    @property
    def payer_id(self) -> str:
        """Whose invoices its charges are on."""
        return self.payer_account_id or self.id

    @property
    def cadence(self) -> Cadence:
        """How often it is invoiced."""
        if self.cycle_unit == "month" and self.cycle_count == 1:
            return MONTHLY
        return Cadence(self.cycle_unit, self.cycle_count)

    @property
    def cycle_origin(self) -> date:
        """The day from which its cycles are counted."""
        return self.cycle_from or _LONG_AGO

    @property
    def longest_cycle_days(self) -> int:
        """No cycle of its is longer."""
        every = [self.cadence, *(era.cadence for era in self.turns.former)]
        return max(one.days + 31 * one.months for one in every)

    @property
    def turns(self) -> Turns:
        """The calendar of its cycles."""
        if not self.former_cycles and self.cycle_unit == "month" and self.cycle_count == 1:
            return _monthly(self.anchor_day)  # nearly everybody, a million times in a bill run
        former = () if not self.former_cycles else tuple(_era(one) for one in self.former_cycles)
        return turns_on(self.cadence, self.cycle_origin, self.anchor_day, former)

    def cycle_containing(self, day: date) -> Period:
        """The billing cycle with ``day`` in it."""
        return self.turns.containing(day)


@lru_cache(maxsize=31)
def _monthly(anchor_day: int) -> Turns:
    return Turns(MONTHLY, _LONG_AGO, anchor_day)


@lru_cache(maxsize=4_096)
def turns_on(cadence: Cadence, origin: date, anchor_day: int, former: tuple[Era, ...] = ()) -> Turns:
    """A calendar; the same one for the same terms."""
    return Turns(cadence, origin, anchor_day, former)


def former_cycle(account: Account, until: date) -> dict[str, Any]:
    """How the account's cycles turn now, for the time when they no longer will: from ``until`` on."""
    return {
        "until": until.isoformat(), "unit": account.cycle_unit, "count": account.cycle_count,
        "origin": account.cycle_origin.isoformat(), "day": account.anchor_day,
    }  # fmt: skip


def _era(described: Mapping[str, Any]) -> Era:
    return Era(
        date.fromisoformat(described["until"]), Cadence(described["unit"], described["count"]),
        date.fromisoformat(described["origin"]), described["day"],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """One dated offer; it never changes, a new price is a new version.

    ``kind``: plan (of a line), addon (goes with a plan) or bundle. ``contract``: its term and what ending it
    early costs (``billing.domain.contract``).
    """

    id: str
    code: str
    name: str
    version: int
    currency: str
    items: tuple[Item, ...]
    service_profile_id: str | None = None
    kind: str = "plan"
    contract: Mapping[str, Any] | None = None
    offered_from: date | None = None
    offered_until: date | None = None

    def item(self, code: str) -> Item | None:
        """The item of that code."""
        return next((one for one in self.items if one.code == code), None)

    @property
    def price_minor(self) -> int:
        """What its periodic items cost together, each for one period."""
        return sum(one.price_minor for one in self.items if one.kind in PERIODIC)

    @property
    def usage_item(self) -> Item | None:
        """The first item priced by meter."""
        return next((one for one in self.items if one.usage is not None), None)

    @property
    def allowance_octets(self) -> int | None:
        """What usage is included; None: it is not counted, or unlimited."""
        found = self.usage_item
        if found is None or found.usage is None or found.usage.allowance is None:
            return None
        return found.usage.allowance.amount

    @property
    def tax_class(self) -> str:
        """How its first item is taxed."""
        return self.items[0].tax_class if self.items else "internet"


@dataclass(frozen=True, slots=True)
class ServicePlace:
    """Where a service is; each None is as at the account's address."""

    country: str | None = None
    region: str | None = None
    county: str | None = None
    city: str | None = None
    postal_code: str | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """An account's commitment to a plan version; local dates of the account, end exclusive.

    ``plan_version_id``, ``starts_on``, ``ends_on`` and ``quantity`` are as the newest change left them; the
    changes themselves say how it was on any day (``billing.domain.phases``). ``recalculate_from``: the
    earliest day that changed since the last invoice. ``turns``: the calendar of its account, where that is
    not the one who pays; None: it is.
    """

    id: str
    account_id: str
    service_id: str | None
    plan_version_id: str
    starts_on: date
    ends_on: date | None
    parent_id: str | None = None
    quantity: int = 1
    paused_on: date | None = None
    place: ServicePlace | None = None
    contract_until: date | None = None
    recalculate_from: date | None = None
    turns: Turns | None = None
