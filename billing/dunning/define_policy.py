"""Dunning ladders as the operator defines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from billing.domain.dunning import STANDARD_LADDER, Policy, parse_ladder
from billing.store import account_rows, dunning_rows
from core.refusal import Refusal
from core.work import Work

STANDARD = "standard"


async def define_dunning_policy(
    work: Work,
    *,
    name: str,
    ladder: Sequence[Mapping[str, Any]],
    minimum_balance_minor: int = 0,
    skip_weekends: bool = True,
) -> str | Refusal:
    """A new ladder, ``[{"stage": "reminded", "days_overdue": 3}, …]``; returns its id.

    ``minimum_balance_minor`` is in the account's own currency: less than that overdue bothers nobody.
    """
    name = name.strip()
    if not name or len(name) > 80:
        return Refusal("bad_name", "give the dunning policy a name of 1 to 80 characters", "name")
    if minimum_balance_minor < 0:
        return Refusal("bad_minimum", "the minimum balance cannot be negative", "minimum_balance_minor")
    try:
        policy = Policy(parse_ladder(ladder), minimum_balance_minor, skip_weekends)
    except ValueError as trouble:
        return Refusal("bad_ladder", str(trouble), "ladder")
    policy_id = work.ids.new("dpo")
    if not await dunning_rows.insert_policy(work.connection, policy_id, name, policy):
        return Refusal("name_taken", f"a dunning policy named {name!r} exists already", "name")
    await work.audit("billing.dunning_policy_defined", policy_id, name=name, ladder=[dict(r) for r in ladder])
    return policy_id


async def policy_named(work: Work, name: str) -> str | Refusal:
    """The id of the policy; the standard one is made the first time it is asked for."""
    found = await dunning_rows.find_policy(work.connection, name)
    if found is None and name == STANDARD:
        await dunning_rows.insert_policy(
            work.connection, work.ids.new("dpo"), STANDARD, Policy(STANDARD_LADDER)
        )
        found = await dunning_rows.find_policy(work.connection, name)
    if found is None:
        return Refusal(
            "unknown_policy", f"no dunning policy is named {name!r}; define it first", "dunning_policy"
        )
    return found[0]


async def change_dunning_policy(work: Work, *, account_id: str, dunning_policy: str) -> Refusal | None:
    """Put the account on another ladder; it takes effect at the next evaluation."""
    if await account_rows.lock_account(work.connection, account_id) is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    policy_id = await policy_named(work, dunning_policy)
    if isinstance(policy_id, Refusal):
        return policy_id
    await dunning_rows.set_policy(work.connection, account_id, policy_id)
    await work.audit("billing.dunning_policy_changed", account_id, policy=dunning_policy)
    return None
