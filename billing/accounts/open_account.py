"""Open an account: who pays, where, in which currency, on which day of the month."""

from __future__ import annotations

import re

from billing.domain.dunning_policy import Stage
from billing.dunning.define_policy import STANDARD, policy_named
from billing.store import account_rows, entity_rows, number_rows
from core.currencies import refuse_currency
from core.periods import local_date, zone
from core.refusal import Refusal
from core.work import Work

_COUNTRY = re.compile(r"[A-Z]{2}")
_LENGTHS = {
    "name": 160, "number": 40, "email": 254, "phone": 40, "street": 200, "city": 100, "region": 40,
    "postal_code": 20,
}  # fmt: skip


async def open_account(
    work: Work,
    *,
    name: str,
    number: str | None = None,
    email: str | None = None,
    phone: str | None = None,
    street: str | None = None,
    city: str | None = None,
    region: str | None = None,
    postal_code: str | None = None,
    country: str = "US",
    currency: str = "USD",
    time_zone: str = "America/Denver",
    anchor_day: int | None = 1,
    payment_terms_days: int = 14,
    dunning_policy: str = STANDARD,
    entity_id: str | None = None,
    number_prefix: str = "A-",
) -> str | Refusal:
    """A new account; returns its id. Without ``number`` the next of the account series is given.

    ``region`` and ``country`` pick the tax; ``anchor_day`` 1 to 31 is kept and clamped month by month; None:
    the day of the month, where the account is, on which it is opened (its anniversary).
    ``entity_id``: the legal entity whose customer it is; None: the house's.
    """
    texts = {
        "name": name, "number": number, "email": email, "phone": phone, "street": street, "city": city,
        "region": region, "postal_code": postal_code,
    }  # fmt: skip
    texts = {field: clean_text(text) for field, text in texts.items()}
    refusal = refuse_texts(texts) or _refuse_terms(
        country, currency, time_zone, 1 if anchor_day is None else anchor_day, payment_terms_days
    )
    if refusal:
        return refusal
    if anchor_day is None:
        anchor_day = local_date(work.now, time_zone).day
    if entity_id is not None and await entity_rows.find_entity(work.connection, entity_id) is None:
        return Refusal("unknown_entity", f"there is no legal entity {entity_id!r}", "entity_id")
    policy_id = await policy_named(work, dunning_policy)
    if isinstance(policy_id, Refusal):
        return policy_id
    account_id = work.ids.new("acc")
    values = {
        **texts,
        "id": account_id, "country": country, "currency": currency, "time_zone": time_zone,
        "anchor_day": anchor_day, "payment_terms_days": payment_terms_days, "dunning_policy_id": policy_id,
        "created_at": work.now, "closed_on": None, "next_cycle_on": None, "entity_id": entity_id,
        "number": texts["number"] or await _next_number(work, number_prefix),
    }  # fmt: skip
    if not await account_rows.insert_account(work.connection, values):
        return Refusal("number_taken", f"account number {values['number']} is in use already", "number")
    await account_rows.insert_dunning_state(
        work.connection,
        {
            "account_id": account_id, "stage": Stage.CLEAR, "since": work.now, "immune": False,
            "evaluated_on": local_date(work.now, time_zone), "promise_until": None,
            "own_policy": dunning_policy != STANDARD,
        },
    )  # fmt: skip
    await work.audit("billing.account_opened", account_id, number=values["number"], name=texts["name"])
    return account_id


def clean_text(text: str | None) -> str | None:
    """Without blanks around it; None when nothing is left."""
    return (text or "").strip() or None


def refuse_texts(texts: dict[str, str | None]) -> Refusal | None:
    """Why an account cannot be called, reached or found so."""
    if "name" in texts and not texts["name"]:
        return Refusal("name_missing", "an account needs a name", "name")
    for field, text in texts.items():
        if text is not None and len(text) > _LENGTHS[field]:
            return Refusal(
                "too_long", f"{field} has {len(text)} characters; at most {_LENGTHS[field]}", field
            )
        if text is not None and not text.isprintable():
            return Refusal("bad_characters", f"{field} has a line break or control character in it", field)
    email = texts.get("email")
    if email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        return Refusal("bad_email", f"{email!r} is not an e-mail address", "email")
    return None


def _refuse_terms(
    country: str, currency: str, time_zone: str, anchor_day: int, payment_terms_days: int
) -> Refusal | None:
    refusal = refuse_codes(country, currency)
    if refusal is not None:
        return refusal
    try:
        zone(time_zone)
    except ValueError as trouble:
        return Refusal("bad_time_zone", str(trouble), "time_zone")
    if not 1 <= anchor_day <= 31:
        return Refusal("bad_anchor", f"the billing day is {anchor_day}; it must be 1 to 31", "anchor_day")
    if not 0 <= payment_terms_days <= 365:
        return Refusal("bad_terms", "payment terms must be 0 to 365 days", "payment_terms_days")
    return None


def refuse_codes(country: str, currency: str) -> Refusal | None:
    """Why these are no codes of a country and a currency."""
    if not _COUNTRY.fullmatch(country):
        return Refusal("bad_country", f"{country!r} is not an ISO 3166 code such as US", "country")
    return refuse_currency(currency)


async def _next_number(work: Work, prefix: str) -> str:
    """The next free number of the series; numbers that an operator gave by hand are passed over."""
    while True:
        [number] = await number_rows.take_numbers(work.connection, number_rows.ACCOUNT_SERIES, prefix, 1)
        if not await account_rows.account_number_taken(work.connection, number):
            return number
