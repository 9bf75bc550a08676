"""A one-off charge or credit: what is no item of a subscription, billed once with the next invoice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True, slots=True)
class OneOffCharge:
    """What an event asks for; ``quoted_minor`` negative is a credit.

    ``tax_included`` says whether the amount is with tax. ``source`` names the event: it charges once.
    """

    id: str
    account_id: str
    subscription_id: str | None
    kind: str
    description: str
    quantity: str | None
    quoted_minor: int
    tax_included: bool
    tax_class: str
    revenue: str
    happened_on: date
    bill_from: date
    period_end: date | None
    source: str
    explanation: Mapping[str, Any]
