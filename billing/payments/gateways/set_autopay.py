"""Automatic payment of an account: on or off, with what, on which day."""

from __future__ import annotations

from billing.config import BillingSettings
from billing.store import account_rows, autopay_rows, gateway_rows
from core.refusal import Refusal
from core.work import Work

RULES = ("after_issue", "before_due")


async def set_autopay(
    work: Work,
    *,
    account_id: str,
    enabled: bool,
    settings: BillingSettings,
    method_id: str | None = None,
    day_rule: str | None = None,
    days: int | None = None,
) -> Refusal | None:
    """Switch automatic payment on or off.

    ``method_id`` None: the account's default at that time. ``day_rule`` after_issue or before_due, and so
    many ``days``; left out, they stay, and are the house's for a new one. To set it anew lets declined
    invoices be tried again. Refusals name account_id, method_id, day_rule, days.
    """
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    stands = await autopay_rows.find_autopay(work.connection, account_id)
    rule = day_rule or (stands.day_rule if stands else settings.autopay.day_rule)
    wait = days if days is not None else stands.days if stands else settings.autopay.days
    if rule not in RULES:
        return Refusal("bad_rule", f"{rule!r} is not one of {', '.join(RULES)}", "day_rule")
    if isinstance(wait, bool) or not 0 <= wait <= 60:
        return Refusal("bad_days", "choose 0 to 60 days", "days")
    methods = await gateway_rows.methods_of(work.connection, account_id)
    if enabled and (not methods or (method_id and method_id not in {one.id for one in methods})):
        return Refusal("no_method", "the account has no such card or bank account saved", "method_id")
    await autopay_rows.keep_autopay(work.connection, {
        "account_id": account_id, "enabled": enabled, "method_id": method_id, "day_rule": rule, "days": wait,
        "changed_at": work.now, "changed_by": work.actor,
    })  # fmt: skip
    await work.audit(
        "billing.autopay_set", account_id, enabled=enabled, method=method_id, day_rule=rule, days=wait
    )
    return None
