"""Resellers: who they are, what they earn by, and whose accounts are theirs."""

from __future__ import annotations

import re
from datetime import UTC, date

from billing.accounts.open_account import clean_text, refuse_codes, refuse_texts
from billing.domain.commission import BASES
from billing.store import account_rows, entity_rows, reseller_rows
from core.periods import local_date
from core.refusal import Refusal
from core.work import Work

_ID = re.compile(r"[a-z][a-z0-9-]{1,19}")
_LARGEST = 10**12
_WHOLE_PPM = 1_000_000


async def define_reseller(
    work: Work,
    *,
    reseller_id: str,
    name: str,
    currency: str = "USD",
    email: str | None = None,
    phone: str | None = None,
    entity_id: str | None = None,
) -> str | Refusal:
    """A new reseller, who earns nothing until he has terms and accounts.

    ``reseller_id`` is a short name for good: ledger accounts carry it. He sells in one currency for one
    legal entity (None: the house).
    """
    reseller_id, currency = reseller_id.strip(), currency.strip().upper()
    texts = {"name": clean_text(name), "email": clean_text(email), "phone": clean_text(phone)}
    if not _ID.fullmatch(reseller_id):
        message = "name him in 2 to 20 small letters, digits and hyphens, like ridge-shop"
        return Refusal("bad_reseller_id", message, "reseller_id")
    refusal = refuse_texts(texts) or refuse_codes("US", currency)
    if refusal is not None:
        return refusal
    if entity_id and await entity_rows.find_entity(work.connection, entity_id) is None:
        return Refusal("unknown_entity", f"there is no legal entity {entity_id!r}", "entity_id")
    values = {
        **texts, "id": reseller_id, "currency": currency, "entity_id": entity_id or None,
        "created_at": work.now, "created_by": work.actor,
    }  # fmt: skip
    if not await reseller_rows.insert_reseller(work.connection, values):
        return Refusal("reseller_exists", f"there is a reseller {reseller_id} already", "reseller_id")
    await work.audit("billing.reseller_defined", f"reseller:{reseller_id}", name=texts["name"])
    return reseller_id


async def change_terms(
    work: Work,
    *,
    reseller_id: str,
    basis: str = "collected",
    percent_ppm: int = 0,
    flat_minor: int = 0,
    valid_from: date | None = None,
) -> date | Refusal:
    """Other terms from a day on (today without one); returns it.

    A day that a posted statement has is refused: what was earned stays as it was reckoned.
    """
    found = await reseller_rows.find_reseller(work.connection, reseller_id, lock=True)
    if found is None:
        return _unknown(reseller_id)
    if basis not in BASES:
        return Refusal("bad_basis", f"choose one of {', '.join(BASES)}", "basis")
    if not 0 <= percent_ppm <= _WHOLE_PPM:
        return Refusal("bad_percent", "a share is 0 to 100 percent", "percent")
    if not 0 <= flat_minor <= _LARGEST:
        return Refusal("bad_amount", "an amount a month is zero or more", "flat")
    first = valid_from or work.now.astimezone(UTC).date()
    posted = await reseller_rows.statements_of(work.connection, reseller_id)
    if posted and first < posted[0].until_on:
        message = f"statements are posted up to {posted[0].until_on}; take that day or a later one"
        return Refusal("day_is_posted", message, "valid_from")
    await reseller_rows.insert_terms(
        work.connection,
        {
            "id": work.ids.new("rst"), "reseller_id": reseller_id, "valid_from": first, "basis": basis,
            "percent_ppm": percent_ppm, "flat_minor": flat_minor, "recorded_at": work.now,
            "recorded_by": work.actor,
        },
    )  # fmt: skip
    await work.audit(
        "billing.reseller_terms_changed", f"reseller:{reseller_id}", valid_from=str(first), basis=basis,
        percent_ppm=percent_ppm, flat_minor=flat_minor,
    )  # fmt: skip
    return first


async def assign_account(
    work: Work, *, reseller_id: str, account_id: str, from_on: date | None = None
) -> date | Refusal:
    """The account is the reseller's from a day on (its today without one); returns it.

    It may be a past day: what happened since earns with the next statement. One account has one reseller at
    a time.
    """
    found = await reseller_rows.find_reseller(work.connection, reseller_id, lock=True)
    account = await account_rows.lock_account(work.connection, account_id)
    if found is None:
        return _unknown(reseller_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    if (account.currency, account.entity_id) != (found.currency, found.entity_id):
        message = f"{found.name} sells in {found.currency} for {found.entity_id or 'the house'}"
        return Refusal("other_books", message, "account_id")
    first = from_on or local_date(work.now, account.time_zone)
    for one in await reseller_rows.assignments_of_account(work.connection, account_id):
        if one.until_on is None or one.until_on > first:
            message = f"it is {one.reseller_id}'s from {one.from_on} until {one.until_on or 'further notice'}"
            return Refusal("has_reseller", message, "from_on")
    await reseller_rows.insert_assignment(
        work.connection,
        {
            "id": work.ids.new("rsa"), "reseller_id": reseller_id, "account_id": account_id,
            "from_on": first, "until_on": None, "recorded_at": work.now, "recorded_by": work.actor,
            "ended_at": None, "ended_by": None,
        },
    )  # fmt: skip
    await work.audit("billing.reseller_assigned", account_id, reseller=reseller_id, from_on=str(first))
    return first


async def release_account(work: Work, *, account_id: str, until_on: date | None = None) -> date | Refusal:
    """The account is no reseller's from ``until_on`` (its today without one) on; returns the day.

    What is taken back later of what it earned before is taken back from him all the same.
    """
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    rows = await reseller_rows.assignments_of_account(work.connection, account_id)
    standing = next((one for one in rows if one.until_on is None), None)
    if standing is None:
        return Refusal("no_reseller", f"account {account.number} has no reseller", "account_id")
    last = until_on or local_date(work.now, account.time_zone)
    if last < standing.from_on:
        message = f"it is {standing.reseller_id}'s from {standing.from_on} on; take that day or a later one"
        return Refusal("before_it_began", message, "until_on")
    values = {"until_on": last, "ended_at": work.now, "ended_by": work.actor}
    await reseller_rows.end_assignment(work.connection, standing.id, values)
    await work.audit(
        "billing.reseller_released", account_id, reseller=standing.reseller_id, until_on=str(last)
    )
    return last


def _unknown(reseller_id: str) -> Refusal:
    return Refusal("unknown_reseller", f"there is no reseller {reseller_id!r}", "reseller_id")
