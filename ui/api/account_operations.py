"""What programs may ask of accounts, and change: terms, and who pays for whom."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from billing.accounts.change_account import FIELDS, change_account
from billing.accounts.define_entity import OWN, define_entity
from billing.accounts.set_payer import set_payer
from core.refusal import Refusal, Refused, granted
from core.work import Work
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.api.named import no_account
from ui.read import accounts, entities, subscriber

operations = Operations()
_ACCOUNT = Parameter("account", "Number or id of the account.", in_path=True, required=True)
_WHOLE = ("anchor_day", "cycle_count", "payment_terms_days", "invoice_offset_days")
_OPTIONAL = ("entity_id", "email", "phone", "street", "city", "region", "postal_code", "locale")
_MEANING = {
    "name": "Who pays.", "email": "Where invoices go.", "phone": "As it is dialled.", "street": "Street.",
    "city": "Town.", "region": "State or province.", "postal_code": "Postal code.",
    "country": "ISO 3166 code.", "currency": "ISO 4217 code; only while nothing is in it.",
    "account_class": "Picks policies.", "payment_terms_days": "Days from issue to due date.",
    "invoice_offset_days": "Days after the turn, -28 to 28.", "locale": "Like de_DE.",
    "delivery": "email, paper or none.",
    "entity_id": "Legal entity; only while nothing is booked.", "anchor_day": "Billing day, 1 to 31.",
    "cycle_unit": "day, week, month, quarter or year.", "cycle_count": "How many of those.",
}  # fmt: skip


async def _id(work: Work, text: str, name: str) -> str:
    found = await subscriber.account_id_of(work.connection, text)
    if found is None:
        raise Refused(Refusal(f"{name}.unknown", f"there is no account {text!r}", name))
    return found


@operations.get(
    "/accounts/{account}", "An account's terms, who pays for it and for whom it pays.",
    shapes.of(accounts.AccountTerms), _ACCOUNT,
)  # fmt: skip
async def account(ask: Ask) -> Answer:
    """As it stands."""
    async with ask.panel.workplace.reading() as connection:
        found = await accounts.account_terms(connection, ask.text("account"))
    if found is None:
        raise no_account(ask.text("account"))
    return asdict(found)


@operations.post(
    "/accounts/{account}", "Change an account; what is left out stays, a dash empties it.",
    shapes.record(changed=shapes.listed(shapes.TEXT)), _ACCOUNT,
    *(Parameter(name, _MEANING[name]) for name in FIELDS),
)  # fmt: skip
async def change_an_account(ask: Ask) -> Answer:
    """Answers the names of what differs from before."""
    changes: dict[str, Any] = {}
    for name in FIELDS:
        if not (text := ask.text(name)):
            continue
        changes[name] = _whole(name, text) if name in _WHOLE else text
        if text == "-" and name in _OPTIONAL:
            changes[name] = None

    async def act(work: Work) -> list[str]:
        account_id = await _id(work, ask.text("account"), "account")
        return granted(await change_account(work, account_id=account_id, changes=changes))

    return {"changed": await ask.panel.workplace.carry_out(ask.actor, act)}


def _whole(name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 5):
        raise Refused(Refusal(f"{name}.malformed", "must be a whole number", name))
    return int(text)


@operations.post(
    "/accounts/{account}/payer", "Who pays for the account from a day on; without one it pays itself.",
    shapes.record(from_on=shapes.of(str)), _ACCOUNT, Parameter("payer", "Number or id of the account."),
    Parameter("from_on", "First day; else today.", Kind.DAY),
)  # fmt: skip
async def give_a_payer(ask: Ask) -> Answer:
    """A day to come takes the place of what was planned."""

    async def act(work: Work) -> Any:
        account_id = await _id(work, ask.text("account"), "account")
        payer_id = await _id(work, ask.text("payer"), "payer") if ask.text("payer") else None
        day = ask.day("from_on")
        return granted(await set_payer(work, account_id=account_id, payer_id=payer_id, from_on=day))

    return {"from_on": str(await ask.panel.workplace.carry_out(ask.actor, act))}


@operations.get(
    "/entities", "Legal entities that invoice in a name of their own.",
    shapes.record(entities=shapes.listed(shapes.of(entities.EntityRow))),
)  # fmt: skip
async def legal_entities(ask: Ask) -> Answer:
    """Without the house."""
    async with ask.panel.workplace.reading() as connection:
        return {"entities": await entities.entity_list(connection)}


@operations.post(
    "/entities", "Define a legal entity; its look is the house's but for the letterhead.",
    shapes.record(id=shapes.TEXT), Parameter("id", "Short name, for good.", required=True),
    Parameter("name", "On its letterhead.", required=True),
    Parameter("invoice_prefix", "Of its invoices, like VF-.", required=True),
    Parameter("credit_note_prefix", "Of its credit notes.", required=True),
    Parameter("address", "Lines, semicolons between."), Parameter("tax_number", "Tax number."),
    Parameter("email", "E-mail."), Parameter("phone", "Telephone."), Parameter("website", "Website."),
    Parameter("bank", "Bank."), Parameter("iban", "IBAN."), Parameter("bic", "BIC."),
    Parameter("payment_instructions", "How to pay, in words."),
)  # fmt: skip
async def define_a_legal_entity(ask: Ask) -> Answer:
    """As in the panel."""
    head: dict[str, Any] = {name: ask.text(name) for name in OWN}
    head["address"] = [line.strip() for line in ask.text("address").split(";") if line.strip()]

    async def act(work: Work) -> str:
        made = granted(
            await define_entity(
                work, ask.panel.billing, entity_id=ask.text("id"), name=ask.text("name"),
                invoice_prefix=ask.text("invoice_prefix"), credit_note_prefix=ask.text("credit_note_prefix"),
                letterhead=head,
            )
        )  # fmt: skip
        return made.id

    return {"id": await ask.panel.workplace.carry_out(ask.actor, act)}
