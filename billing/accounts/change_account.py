"""Change what is on record of an account: who he is, how and when he is billed, and how he is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.accounts.open_account import clean_text, refuse_codes, refuse_texts
from billing.accounts.turn_cycle import day_before_cycle, turn_cycle
from billing.domain.catalogue import Account
from billing.store import account_rows, dunning_rows, entity_rows
from billing.subscriptions.look_again import look_again
from core.locales import check_locale
from core.refusal import Refusal
from core.work import Work

TEXTS = ("name", "email", "phone", "street", "city", "region", "postal_code")
DELIVERIES = ("email", "paper", "none")
CYCLE = ("anchor_day", "cycle_unit", "cycle_count")
FIELDS = (
    *TEXTS, "country", "currency", "account_class", "payment_terms_days", "invoice_offset_days", "locale",
    "delivery", "entity_id", *CYCLE,
)  # fmt: skip
_FURTHEST_OFFSET = 28
_LONGEST_TERMS = 365
_LONGEST_CLASS = 40


async def change_account(work: Work, *, account_id: str, changes: Mapping[str, Any]) -> list[str] | Refusal:
    """Set ``changes``, some of ``FIELDS``; returns the names of those that differ from what stood.

    What was issued keeps the address and terms it was issued with. The billing day and the length of cycles
    change from the first cycle on that has no invoice yet. The currency changes only while nothing is in it,
    the legal entity only while nothing is booked.
    """
    unknown = sorted(set(changes) - set(FIELDS))
    if unknown:
        return Refusal(
            "unknown_field", f"there is no {unknown[0]}; there are {', '.join(FIELDS)}", unknown[0]
        )
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    wanted = {name: _cleaned(name, value) for name, value in changes.items()}
    wanted = {name: value for name, value in wanted.items() if value != getattr(account, name)}
    refusal = await _refuse(work, account, wanted)
    if refusal is not None:
        return refusal
    before = {name: getattr(account, name) for name in wanted}
    turned = await turn_cycle(
        work, account, anchor_day=wanted.get("anchor_day"), unit=wanted.get("cycle_unit"),
        count=wanted.get("cycle_count"),
    )  # fmt: skip
    if isinstance(turned, Refusal):
        return turned
    plain = {name: value for name, value in wanted.items() if name not in CYCLE}
    if plain:
        await account_rows.update_account(work.connection, account_id, plain)
    await _follow(work, account, wanted)
    if wanted:
        told = {name: [before[name], value] for name, value in wanted.items()}
        await work.audit(
            "billing.account_changed", account_id, changed=told,
            cycle_from=None if turned is None else str(turned),
        )  # fmt: skip
    return sorted(wanted)


def _cleaned(name: str, value: Any) -> Any:
    if name in {*TEXTS, "locale", "entity_id"}:
        return clean_text(value)
    if name in {"country", "currency"}:
        return str(value).strip().upper()
    return value.strip() if isinstance(value, str) else value


async def _refuse(work: Work, account: Account, wanted: Mapping[str, Any]) -> Refusal | None:
    refusal = refuse_texts({name: value for name, value in wanted.items() if name in TEXTS})
    refusal = refusal or refuse_codes(
        wanted.get("country", account.country), wanted.get("currency", account.currency)
    )
    refusal = refusal or _refuse_terms(wanted)
    if refusal is not None:
        return refusal
    if "entity_id" in wanted:
        refusal = await _refuse_entity(work, account, wanted["entity_id"])
        if refusal is not None:
            return refusal
    if "currency" in wanted and (
        account.payer_account_id is not None
        or await account_rows.paid_for(work.connection, [account.id])
        or await account_rows.has_money(work.connection, account.id)
    ):
        message = f"there are amounts in {account.currency} on its record: open another account instead"
        return Refusal("currency_in_use", message, "currency")
    return None


async def _refuse_entity(work: Work, account: Account, entity_id: str | None) -> Refusal | None:
    if entity_id is not None and await entity_rows.find_entity(work.connection, entity_id) is None:
        return Refusal("unknown_entity", f"there is no legal entity {entity_id!r}", "entity_id")
    if await account_rows.has_postings(work.connection, account.id):
        message = "the books of its entity hold amounts of it: open another account instead"
        return Refusal("entity_in_use", message, "entity_id")
    children = await account_rows.paid_for(work.connection, [account.id])
    if account.payer_account_id is not None or children:
        message = "who pays for others is of the same entity as they are: clear that first"
        return Refusal("other_entity", message, "entity_id")
    return None


def _refuse_terms(wanted: Mapping[str, Any]) -> Refusal | None:
    account_class = wanted.get("account_class")
    if account_class is not None and not 0 < len(account_class) <= _LONGEST_CLASS:
        return Refusal("bad_class", "name the account class in 1 to 40 characters", "account_class")
    if not 0 <= wanted.get("payment_terms_days", 0) <= _LONGEST_TERMS:
        return Refusal("bad_terms", "payment terms must be 0 to 365 days", "payment_terms_days")
    if abs(wanted.get("invoice_offset_days", 0)) > _FURTHEST_OFFSET:
        message = "the invoice's day is at most 28 days before or after the cycle turns"
        return Refusal("bad_offset", message, "invoice_offset_days")
    if wanted.get("delivery", "none") not in DELIVERIES:
        return Refusal("bad_delivery", f"choose one of {', '.join(DELIVERIES)}", "delivery")
    if wanted.get("locale") is not None:
        try:
            check_locale(wanted["locale"])
        except ValueError as trouble:
            return Refusal("bad_locale", str(trouble), "locale")
    return None


async def _follow(work: Work, account: Account, wanted: Mapping[str, Any]) -> None:
    """What else a change asks for: another ladder, and usage that an early invoice left for the next one."""
    if "account_class" in wanted:
        await dunning_rows.look_again(work.connection, [account.id], work.now)
    offset = wanted.get("invoice_offset_days")
    if offset is None or not account.invoice_offset_days < 0 <= offset or account.next_cycle_on is None:
        return
    since = day_before_cycle(account, day_before_cycle(account, account.next_cycle_on))
    for one in (account, *await account_rows.paid_for(work.connection, [account.id])):
        await look_again(work, one.id, since, "invoices no longer come before their cycle")
