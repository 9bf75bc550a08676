"""What programs may ask of resellers: whose accounts are theirs, and what they earned."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC
from typing import Any

from billing.accounts.commission import METHODS, draft_commission, pay_commission, post_commission
from billing.accounts.reseller import assign_account, change_terms, define_reseller, release_account
from billing.domain.commission import BASES
from core.money import parse_amount
from core.refusal import Refusal, Refused, granted
from core.work import Work
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.api.named import account_named
from ui.read import resellers

operations = Operations()
_RESELLER = Parameter("reseller", "His short name.", in_path=True, required=True)
_ACCOUNT = Parameter("account", "Number or id of the account.", required=True)
_LINES = shapes.listed(shapes.of(resellers.LineRow))
_UNKNOWN = Refusal("reseller.unknown", "there is no such reseller", "reseller")


async def _minor(work: Work, ask: Ask, name: str) -> int:
    view = await resellers.reseller_view(work.connection, ask.text("reseller"))
    if view is None:
        raise Refused(_UNKNOWN)
    try:
        return parse_amount(ask.text(name) or "0", view.reseller.currency)
    except ValueError as trouble:
        raise Refused(Refusal(f"{name}.malformed", str(trouble), name)) from None


@operations.get(
    "/resellers", "Resellers with what they are owed.",
    shapes.record(resellers=shapes.listed(shapes.of(resellers.ResellerRow))),
)  # fmt: skip
async def list_resellers(ask: Ask) -> Answer:
    """By name."""
    async with ask.panel.workplace.reading() as connection:
        return {"resellers": await resellers.reseller_list(connection)}


@operations.post(
    "/resellers", "Define a reseller; he earns nothing until he has terms and accounts.",
    shapes.record(id=shapes.TEXT), Parameter("id", "Short name, for good.", required=True),
    Parameter("name", "Who he is.", required=True), Parameter("currency", "Else the house's."),
    Parameter("entity", "Legal entity he sells for; else the house."), Parameter("email", "E-mail."),
    Parameter("phone", "Telephone."),
)  # fmt: skip
async def define_a_reseller(ask: Ask) -> Answer:
    """In one currency, for one legal entity."""

    async def act(work: Work) -> str:
        return granted(
            await define_reseller(
                work, reseller_id=ask.text("id"), name=ask.text("name"),
                currency=ask.text("currency") or ask.panel.billing.currency,
                entity_id=ask.text("entity") or None,
                email=ask.text("email") or None, phone=ask.text("phone") or None,
            )
        )  # fmt: skip

    return {"id": await ask.panel.workplace.carry_out(ask.actor, act)}


@operations.get(
    "/resellers/{reseller}", "A reseller with terms, accounts, statements and payouts.",
    shapes.of(resellers.ResellerView), _RESELLER,
)  # fmt: skip
async def one_reseller(ask: Ask) -> Answer:
    """Past ones too."""
    async with ask.panel.workplace.reading() as connection:
        found = await resellers.reseller_view(connection, ask.text("reseller"))
    if found is None:
        raise Refused(_UNKNOWN)
    return asdict(found)


@operations.post(
    "/resellers/{reseller}/terms", "Other terms from a day on.", shapes.record(valid_from=shapes.of(str)),
    _RESELLER,
    Parameter("percent_ppm", "Of the net, in millionths.", Kind.COUNT, at_most=1_000_000, default=0),
    Parameter("basis", "Of which net; else collected.", choices=BASES),
    Parameter("flat", "For each account and month, like 2.00."),
    Parameter("valid_from", "First day; else today.", Kind.DAY),
)  # fmt: skip
async def set_reseller_terms(ask: Ask) -> Answer:
    """What is posted stays."""

    async def act(work: Work) -> Any:
        return granted(
            await change_terms(
                work, reseller_id=ask.text("reseller"), basis=ask.text("basis") or "collected",
                percent_ppm=ask.count("percent_ppm"), flat_minor=await _minor(work, ask, "flat"),
                valid_from=ask.day("valid_from"),
            )
        )  # fmt: skip

    return {"valid_from": str(await ask.panel.workplace.carry_out(ask.actor, act))}


@operations.post(
    "/resellers/{reseller}/accounts", "An account is his from a day on.",
    shapes.record(from_on=shapes.of(str)), _RESELLER, _ACCOUNT,
    Parameter("from_on", "First day, also a past one; else today.", Kind.DAY),
)  # fmt: skip
async def assign_an_account(ask: Ask) -> Answer:
    """One reseller at a time."""

    async def act(work: Work) -> Any:
        account_id = await account_named(work.connection, ask.text("account"))
        return granted(
            await assign_account(
                work, reseller_id=ask.text("reseller"), account_id=account_id, from_on=ask.day("from_on")
            )
        )

    return {"from_on": str(await ask.panel.workplace.carry_out(ask.actor, act))}


@operations.post(
    "/reseller-accounts/release", "An account is no reseller's any more.",
    shapes.record(until_on=shapes.of(str)), _ACCOUNT,
    Parameter("until_on", "First day on which it is not; else today.", Kind.DAY),
)  # fmt: skip
async def release_an_account(ask: Ask) -> Answer:
    """What it earned before stays his."""

    async def act(work: Work) -> Any:
        account_id = await account_named(work.connection, ask.text("account"))
        return granted(await release_account(work, account_id=account_id, until_on=ask.day("until_on")))

    return {"until_on": str(await ask.panel.workplace.carry_out(ask.actor, act))}


@operations.get(
    "/resellers/{reseller}/commission", "What is earned and not posted, line by line.",
    shapes.record(amount_minor=shapes.WHOLE, currency=shapes.TEXT, lines=_LINES), _RESELLER,
    Parameter("until_on", "Not included; else today.", Kind.DAY),
)  # fmt: skip
async def earned_commission(ask: Ask) -> Answer:
    """Nothing is written."""
    until_on = ask.day("until_on") or ask.panel.workplace.clock.now().astimezone(UTC).date()
    async with ask.panel.workplace.reading() as connection:
        draft = granted(await draft_commission(connection, ask.text("reseller"), until_on))
        lines = await resellers.draft_lines(connection, draft)
    return {"amount_minor": draft.amount_minor, "currency": draft.currency, "lines": lines}


@operations.post(
    "/resellers/{reseller}/statements", "Post what is earned before a day as owed to him, once.",
    shapes.record(
        id=shapes.TEXT, number=shapes.WHOLE, from_on=shapes.of(str), until_on=shapes.of(str),
        amount_minor=shapes.WHOLE, currency=shapes.TEXT, outcome=shapes.TEXT,
    ),
    _RESELLER, Parameter("until_on", "Not included.", Kind.DAY, required=True),
)  # fmt: skip
async def post_a_statement(ask: Ask) -> Answer:
    """The same day again answers what it made."""
    until_on = ask.day("until_on")
    if until_on is None:
        raise Refused(Refusal("until_on.missing", "name the first day that is not posted", "until_on"))

    async def act(work: Work) -> Any:
        return granted(
            await post_commission(
                work, reseller_id=ask.text("reseller"), until_on=until_on, settings=ask.panel.billing
            )
        )

    return asdict(await ask.panel.workplace.carry_out(ask.actor, act))


@operations.get(
    "/resellers/{reseller}/statements/{number}", "A posted statement, line by line.",
    shapes.record(lines=_LINES), _RESELLER,
    Parameter("number", "Of the statement.", in_path=True, required=True),
)  # fmt: skip
async def commission_statement(ask: Ask) -> Answer:
    """As it was posted."""
    number = ask.text("number")
    async with ask.panel.workplace.reading() as connection:
        lines = (
            await resellers.statement_lines(connection, ask.text("reseller"), int(number))
            if number.isascii() and number.isdigit() and len(number) < 9
            else None
        )
    if lines is None:
        raise Refused(Refusal("number.unknown", "he has no such statement", "number"))
    return {"lines": lines}


@operations.post(
    "/resellers/{reseller}/payouts", "Record that he was paid, at most what he is owed.",
    shapes.record(id=shapes.TEXT), _RESELLER, Parameter("amount", "Like 49.00.", required=True),
    Parameter("key", "Your id of this: the same again changes nothing.", required=True),
    Parameter("method", "How.", required=True, choices=METHODS), Parameter("reference", "Its number."),
)  # fmt: skip
async def pay_a_reseller(ask: Ask) -> Answer:
    """Once for each key."""

    async def act(work: Work) -> str:
        return granted(
            await pay_commission(
                work, reseller_id=ask.text("reseller"), amount_minor=await _minor(work, ask, "amount"),
                method=ask.text("method"), idempotency_key=f"api:{ask.text('key')}"[:120],
                reference=ask.text("reference") or None,
            )
        )  # fmt: skip

    return {"id": await ask.panel.workplace.carry_out(ask.actor, act)}
