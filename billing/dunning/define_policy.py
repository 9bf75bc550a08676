"""Dunning policies as the operator defines them: dated versions, and which accounts each is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date
from typing import Any

from billing.domain.dunning_policy import STANDARD_LADDER, Policy
from billing.domain.dunning_terms import BadTerms, terms_as_json, terms_from_json
from billing.dunning.holiday_calendar import holidays_of
from billing.store import account_rows, dunning_policy_rows, dunning_rows
from core.refusal import Refusal
from core.work import Work

STANDARD = "standard"
SINCE_EVER = date(2000, 1, 1)


async def define_dunning_policy(
    work: Work,
    *,
    name: str,
    ladder: Sequence[Mapping[str, Any]],
    minimum_balance_minor: int = 0,
    skip_weekends: bool = True,
    **terms: Any,
) -> str | Refusal:
    """A new ladder, ``[{"stage": "reminded", "days_overdue": 3}, …]``; returns its id.

    ``minimum_balance_minor`` is in the account's own currency: less than that overdue bothers nobody. The
    further ``terms`` are those of ``billing.domain.dunning_terms``.
    """
    name = name.strip()
    if not name or len(name) > 80:
        return Refusal("bad_name", "give the dunning policy a name of 1 to 80 characters", "name")
    described = {
        "ladder": list(ladder), "minimum_balance_minor": minimum_balance_minor,
        "skip_weekends": skip_weekends, **terms,
    }  # fmt: skip
    policy = _read(described)
    if isinstance(policy, Refusal):
        return policy
    policy_id = await _insert(work, name, policy)
    if policy_id is None:
        return Refusal("name_taken", f"a dunning policy named {name!r} exists already", "name")
    await work.audit("billing.dunning_policy_defined", policy_id, name=name, terms=terms_as_json(policy))
    return policy_id


def _read(described: Mapping[str, Any]) -> Policy | Refusal:
    try:
        policy = terms_from_json(described)
        holidays_of(policy.closed)
    except BadTerms as trouble:
        code = {"ladder": "bad_ladder", "minimum_balance_minor": "bad_minimum"}.get(
            trouble.field, "bad_terms"
        )
        return Refusal(code, str(trouble), trouble.field)
    except ValueError as trouble:
        return Refusal("bad_terms", str(trouble), "closed_days")
    return policy


async def _insert(work: Work, name: str, policy: Policy) -> str | None:
    policy_id = work.ids.new("dpo")
    if not await dunning_policy_rows.insert_policy(work.connection, policy_id, name):
        return None
    await _insert_version(work, policy_id, 1, SINCE_EVER, policy)
    return policy_id


async def _insert_version(work: Work, policy_id: str, version: int, valid_from: date, policy: Policy) -> str:
    version_id = work.ids.new("dpv")
    await dunning_policy_rows.insert_version(
        work.connection,
        {
            "id": version_id, "policy_id": policy_id, "version": version, "valid_from": valid_from,
            "terms": terms_as_json(policy), "created_at": work.now, "created_by": work.actor,
        },
    )  # fmt: skip
    return version_id


async def change_policy_terms(
    work: Work, *, policy: str, terms: Mapping[str, Any], valid_from: date | None = None
) -> str | Refusal:
    """The policy's terms from ``valid_from`` on (today without one); returns the version's id.

    What was decided before stays as it is, with the version it was decided by. Accounts in dunning are
    looked at again within minutes.
    """
    found = await dunning_policy_rows.find_policy(work.connection, policy)
    if found is None:
        return _unknown(policy)
    today = work.now.astimezone(UTC).date()
    valid_from = valid_from or today
    if valid_from < today:
        message = f"{valid_from} is past: what was decided then stays; take today or a later day"
        return Refusal("valid_in_the_past", message, "valid_from")
    read = _read(terms)
    if isinstance(read, Refusal):
        return read
    policy_id, _ = found
    version = await dunning_policy_rows.next_version(work.connection, policy_id)
    version_id = await _insert_version(work, policy_id, version, valid_from, read)
    await work.audit(
        "billing.dunning_policy_changed", policy_id, version=version, valid_from=str(valid_from),
        terms=terms_as_json(read),
    )  # fmt: skip
    await dunning_rows.look_again_at_debtors(work.connection, work.now)
    return version_id


async def assign_class(work: Work, *, account_class: str, dunning_policy: str | None) -> Refusal | None:
    """The policy of all accounts of a class that have none of their own; None: as they were opened with."""
    account_class = account_class.strip()
    if not account_class or len(account_class) > 40:
        return Refusal("bad_class", "name the account class in 1 to 40 characters", "account_class")
    policy_id = None
    if dunning_policy is not None:
        found = await policy_named(work, dunning_policy)
        if isinstance(found, Refusal):
            return found
        policy_id = found
    await dunning_policy_rows.set_class_policy(work.connection, account_class, policy_id)
    await work.audit("billing.dunning_class_assigned", account_class, policy=dunning_policy)
    await dunning_rows.look_again_at_debtors(work.connection, work.now)
    return None


async def policy_named(work: Work, name: str) -> str | Refusal:
    """The id of the policy; the standard one is made the first time it is asked for."""
    found = await dunning_policy_rows.find_policy(work.connection, name)
    if found is None and name == STANDARD:
        await _insert(work, STANDARD, Policy(STANDARD_LADDER))
        found = await dunning_policy_rows.find_policy(work.connection, name)
    return _unknown(name) if found is None else found[0]


def _unknown(name: str) -> Refusal:
    message = f"no dunning policy is named {name!r}; define it first"
    return Refusal("unknown_policy", message, "dunning_policy")


async def change_dunning_policy(work: Work, *, account_id: str, dunning_policy: str | None) -> Refusal | None:
    """Put the account on a ladder of its own, or (None) back on its class's; followed within minutes."""
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    policy_id = account.dunning_policy_id
    if dunning_policy is not None:
        found = await policy_named(work, dunning_policy)
        if isinstance(found, Refusal):
            return found
        policy_id = found
    await dunning_rows.set_policy(work.connection, account_id, policy_id, own=dunning_policy is not None)
    await dunning_rows.look_again(work.connection, [account_id], work.now)
    await work.audit("billing.dunning_policy_changed", account_id, policy=dunning_policy)
    return None
