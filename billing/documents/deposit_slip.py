"""A deposit slip: cash and cheques of some days, as they are carried to the bank."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.documents.keep_look import find_look
from billing.documents.look import Look
from billing.documents.printed import breakable, printed_frame
from billing.documents.words import Words
from billing.store import document_rows
from core.periods import Period
from core.refusal import Refusal

CARRIED = ("cash", "cheque")


async def print_deposit_slip(
    connection: AsyncConnection, from_on: date, until_on: date, currency: str, settings: BillingSettings
) -> tuple[Look, dict[str, Any]] | Refusal:
    """What was received on those days (both included) and not taken back, in the house's own language."""
    if until_on < from_on:
        return Refusal("deposit.span", "ends before it begins", "until")
    look = await find_look(connection, settings)
    taken = await document_rows.takings(connection, from_on, until_on, CARRIED, currency)
    words = Words(look.locale, currency)
    return look, _print(look, words, taken, Period(from_on, until_on + timedelta(days=1)))


def _print(look: Look, words: Words, taken: Sequence[Any], days: Period) -> dict[str, Any]:
    methods = list(dict.fromkeys(one.method for one in taken))
    sums = [
        (words.say(method), sum(one.amount_minor for one in taken if one.method == method))
        for method in methods
    ]
    total = sum(one.amount_minor for one in taken)
    account = " ".join(text for text in (look.issuer.bank, look.issuer.iban) if text)
    frame = printed_frame(
        look, words, kind="deposit", heading=words.say("Deposit slip"), number=f"{days.start:%Y%m%d}"
    )
    facts = [(words.say("Period"), words.period(days)), (words.say("Payments"), str(len(taken)))]
    facts += [(words.say("Bank"), account)] if account else []
    return {
        **frame,
        "to": None,
        "facts": [{"label": label, "value": breakable(value)} for label, value in facts],
        "columns": [
            words.say("Date"), words.say("Account"), words.say("What"), words.say("Reference"),
            words.say("Amount"),
        ],
        "rows": [
            [
                words.short_day(one.received_on), breakable(f"{one.account_number} {one.account_name}"),
                words.say(one.method), breakable(one.note or ""), words.money(one.amount_minor),
            ]
            for one in taken
        ],
        "sums": [
            *({"label": label, "amount": words.money(amount), "strong": False} for label, amount in sums),
            {"label": words.say("Total"), "amount": words.money(total), "strong": True},
        ],
    }  # fmt: skip
