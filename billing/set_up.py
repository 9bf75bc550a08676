"""Setting up, in one door: accounts, plans, taxes, ladders, subscriptions; each lives in its own module."""

from __future__ import annotations

from billing.accounts.open_account import open_account
from billing.catalogue.define_plan import define_offer, define_plan_version
from billing.dunning.define_policy import change_dunning_policy, define_dunning_policy
from billing.subscriptions.change_subscription import end_subscription
from billing.subscriptions.subscribe import subscribe
from billing.taxes.set_tax_rate import set_tax_rate

__all__ = [
    "change_dunning_policy",
    "define_dunning_policy",
    "define_offer",
    "define_plan_version",
    "end_subscription",
    "open_account",
    "set_tax_rate",
    "subscribe",
]
