"""A statement of account: what was owed on a day, what moved it, what is owed now and how old that is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.documents.invoice_view import usable_locale
from billing.documents.keep_look import HOUSE, find_look
from billing.documents.look import Look
from billing.documents.printed import breakable, print_address, print_pay, printed_frame
from billing.documents.words import Words
from billing.store import document_rows
from core.periods import Period
from core.refusal import Refusal

_AGES = (30, 60, 90)


@dataclass(frozen=True, slots=True)
class Movement:
    """One entry. ``source_kind`` is the ledger's: invoice, payment, reversal …; a claim is positive."""

    on: date
    source_kind: str
    description: str
    amount_minor: int
    balance_minor: int


@dataclass(frozen=True, slots=True)
class Statement:
    """The account from one day to another, both included.

    ``ages``: minor units open and not due, then due for up to 30, 60, 90 and more days, at the last day.
    ``credit_minor`` is money that pays nothing yet: ages less credit are the closing balance. ``family``:
    accounts that this one pays for, by number, with their charges before tax.
    """

    account_id: str
    account_number: str
    to: dict[str, Any]
    from_on: date
    until_on: date
    currency: str
    opening_minor: int
    movements: tuple[Movement, ...]
    closing_minor: int
    ages: tuple[int, ...]
    credit_minor: int
    locale: str
    look: Look
    family: tuple[tuple[str, int], ...] = ()


async def statement_of(
    connection: AsyncConnection, account: str, from_on: date, until_on: date, settings: BillingSettings
) -> Statement | Refusal:
    """The statement of an account (id or number). It is derived from the ledger: the books say the same."""
    if until_on < from_on:
        return Refusal("statement.span", "ends before it begins", "until")
    row = await document_rows.account_row(connection, account)
    if row is None:
        return Refusal("unknown_account", f"there is no account {account}", "account")
    look = await find_look(connection, settings, brand=row.entity_id or HOUSE)
    balance = opening = await document_rows.owed_before(connection, row.id, from_on)
    movements: list[Movement] = []
    for one in await document_rows.movements(connection, row.id, from_on, until_on):
        balance += int(one.amount_minor)
        movements.append(
            Movement(one.booked_on, one.source_kind, one.description, int(one.amount_minor), balance)
        )
    ages = [0] * (len(_AGES) + 2)
    for _, _, due_on, left in await document_rows.open_at(connection, row.id, until_on):
        ages[_age(until_on, due_on)] += left
    family = await document_rows.charged_for_others(connection, row.id, from_on, until_on)
    names = ("number", "name", "street", "city", "region", "postal_code", "country")
    return Statement(
        row.id, row.number, {name: getattr(row, name) for name in names}, from_on, until_on, row.currency,
        opening, tuple(movements), balance, tuple(ages), sum(ages) - balance,
        usable_locale(row.locale, look.locale), look,
        tuple((f"{one.number} {one.name}", int(one.amount_minor)) for one in family),
    )  # fmt: skip


def _age(today: date, due_on: date) -> int:
    late = (today - due_on).days
    if late <= 0:
        return 0
    return 1 + sum(late > limit for limit in _AGES)


def print_statement(view: Statement) -> dict[str, Any]:
    """The statement in the words of its locale."""
    words = Words(view.locale, view.currency)
    span = words.period(Period(view.from_on, view.until_on + timedelta(days=1)))
    owes = view.closing_minor > 0
    rows = [
        [
            words.short_day(view.from_on),
            words.say("Balance brought forward"),
            "",
            words.money(view.opening_minor),
        ]
    ]
    rows += [
        [
            words.short_day(one.on), breakable(_what(one, words)), words.money(one.amount_minor),
            words.money(one.balance_minor),
        ]
        for one in view.movements
    ]  # fmt: skip
    labels = [
        words.say("Not due yet"), words.say("{days} days late", days="1–30"),
        words.say("{days} days late", days="31–60"), words.say("{days} days late", days="61–90"),
        words.say("Over 90 days late"),
    ]  # fmt: skip
    said = words.say("Paid in full. Thank you.")
    if view.closing_minor:
        said = words.say("To pay") if owes else words.say("In your favour")
    frame = printed_frame(
        view.look,
        words,
        kind="statement",
        heading=words.say("Statement of account"),
        number=view.account_number,
    )
    return {
        **frame,
        "to": print_address(view.to),
        "facts": [
            {"label": words.say("Account"), "value": breakable(view.account_number)},
            {"label": words.say("Period"), "value": span},
        ],
        "claim": {
            "label": words.say("Balance on {day}", day=words.day(view.until_on)),
            "words": said,
            "amount": words.money(abs(view.closing_minor)),
        },
        "columns": [words.say("Date"), words.say("What"), words.say("Amount"), words.say("Balance")],
        "rows": rows,
        "sums": [{"label": words.say("Balance"), "amount": words.money(view.closing_minor), "strong": True}],
        "ages": [
            {"label": label, "amount": words.money(amount)}
            for label, amount in zip(labels, view.ages, strict=True)
        ]
        if any(view.ages)
        else [],
        "family": None
        if not view.family
        else {
            "label": words.say("Charges before tax for accounts that you pay for"),
            "rows": [[breakable(who), words.money(amount)] for who, amount in view.family],
        },
        "pay": print_pay(view.look, words, view.account_number, view.closing_minor) if owes else None,
        "note": words.say(
            "Money of yours that pays no invoice yet: {amount}", amount=words.money(view.credit_minor)
        )
        if view.credit_minor > 0
        else None,
    }


def _what(one: Movement, words: Words) -> str:
    """The ledger's English, in the account's language where the entry is of a known kind."""
    head, _, rest = one.description.partition(" ")
    if one.source_kind == "invoice":
        return f"{words.say('Credit note' if head == 'Credit' else 'Invoice')} {one.description.split()[-1]}"
    if one.source_kind == "payment" and head == "Payment,":
        return f"{words.say('Payment')}, {words.say(rest)}"
    if one.source_kind == "reversal":
        return words.say("Payment taken back")
    if one.source_kind == "write_off":
        return words.say("Written off")
    return one.description
