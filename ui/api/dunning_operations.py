"""What programs may ask of the ladder for late accounts: policies, the dry run, approvals, exceptions."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.dunning_terms import terms_as_json
from billing.dunning.approvals import decide_approval
from billing.dunning.define_policy import (
    assign_class,
    change_dunning_policy,
    change_policy_terms,
    define_dunning_policy,
)
from billing.dunning.exceptions import (
    OUTCOMES,
    lift_deferral,
    open_dispute,
    place_deferral,
    record_promise,
    set_immunity,
    settle_dispute,
)
from billing.dunning.preview import WouldChange, WouldCharge, WouldDefer, WouldTell, preview_night
from billing.dunning.write_off import write_off_invoice
from billing.store import dunning_policy_rows
from core.refusal import Refusal, Refused, granted
from core.work import Work
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.api.named import account_named, minor_units
from ui.policy_form import APPROVED, NEW_POLICY, form_of, read_terms
from ui.read import dunning, subscriber
from ui.web.forms import Form

operations = Operations()
_ACCOUNT = Parameter("account", "Number or id of the account.", in_path=True, required=True)
_UNTIL = Parameter("until", "Last day on which it counts.", Kind.DAY)
_NOTE = Parameter("note", "For people who look later.")
_REASON = Parameter("reason", "Why.", required=True)
_DONE = shapes.record(outcome=shapes.TEXT)
_ID = shapes.record(id=shapes.TEXT)
_LONGEST_LOOK = timedelta(days=366)
_MEANING = {
    "ladder": "Rungs, semicolons between: 3 reminded email:reminder_1; 15 suspended.",
    "currency": "Of the amounts, else the house's; accounts in another have neither fees nor minimum.",
    "minimum_balance": "Less than that overdue bothers nobody, like 5.00.",
    "skip_weekends": "yes: nobody is cut on Saturday or Sunday.",
    "skip_eves": "yes: nor before a closed day.",
    "weekdays": "Of a stage: suspended mon tue wed; semicolons between.",
    "country": "Public holidays of, like US.", "subdivision": "State or province, like NM.",
    "own_days": "Closed days of your own: 2026-12-24 2026-12-31.",
    "not_before": "Nobody is cut before, like 09:00 on the account's clock.", "not_after": "Nor after.",
    "restore_by": "rung, full or percent.", "restore_percent": "The share that restores.",
    "respite_days": "Then no cut for days.", "cap_accounts": "At most cut in one night.",
    "cap_percent": "At most, in percent of the policy's accounts.", "approve_days": "Asked anew after days.",
    **{f"approve_{one}": f"yes: {one} waits for approval." for one in APPROVED},
    "fee_flat": "Late fee, flat.", "fee_percent": "Late fee, percent of what is open.",
    "fee_minimum": "At least.", "fee_maximum": "At most.", "fee_grace_days": "Days of grace.",
    "fee_monthly": "yes: again every month.", "fee_most_times": "At most so many times.",
    "reconnect_fee": "Reconnection fee.", "fee_tax_class": "Tax class of fees.",
    "longest_promise_days": "Longest promise.", "broken_promises": "Broken within a year that end it.",
    "write_off_days": "Propose write-off after days.", "on_restored": "Told when restored.",
    "on_promise_broken": "Told when a promise is broken.",
}  # fmt: skip
_LINES = ("ladder", "weekdays")
_TERMS = tuple(Parameter(name, meaning) for name, meaning in _MEANING.items())


def _terms(ask: Ask, stands: dict[str, str]) -> dict[str, Any]:
    """What the parameters say over what stands; a lone dash empties a term."""
    given = {name: ask.text(name).strip() for name in _MEANING}
    typed = {**stands, **{name: "" if text == "-" else text for name, text in given.items() if text}}
    for name in _LINES:
        typed[name] = typed.get(name, "").replace(";", "\n")
    form = Form(typed)
    terms = read_terms(form)
    for field, fault in form.faults.items():
        raise Refused(Refusal(f"{field}.malformed", fault, field))
    return terms


async def _find_account(work: Work, ask: Ask, name: str = "account") -> str:
    return await account_named(work.connection, ask.text(name))


async def _minor(work: Work, ask: Ask, account_id: str) -> int | None:
    text = ask.text("amount")
    if not text:
        return None
    return minor_units(text, await subscriber.currency_of(work.connection, account_id))


# Policies

_VERSION = shapes.record(
    version=shapes.WHOLE, valid_from=shapes.of(str), created_at=shapes.INSTANT, created_by=shapes.TEXT,
    terms=shapes.ANYTHING,
)  # fmt: skip


@operations.get(
    "/dunning/policies", "Dunning policies as they stand today.",
    shapes.record(policies=shapes.listed(shapes.of(dunning.PolicyRow))),
)  # fmt: skip
async def dunning_policies(ask: Ask) -> Answer:
    """By name."""
    today = ask.panel.workplace.clock.now().astimezone(UTC).date()
    async with ask.panel.workplace.reading() as connection:
        return {"policies": await dunning.policy_rows(connection, today)}


@operations.get(
    "/dunning/policies/{policy}", "Every version of a policy with its terms, in the order they take effect.",
    shapes.record(id=shapes.TEXT, name=shapes.TEXT, versions=shapes.listed(_VERSION)),
    Parameter("policy", "Name or id.", in_path=True, required=True),
)  # fmt: skip
async def dunning_policy(ask: Ask) -> Answer:
    """Past ones too."""
    async with ask.panel.workplace.reading() as connection:
        policy_id, name = await _policy(connection, ask)
        versions = await dunning_policy_rows.versions(connection, policy_id)
    return {
        "id": policy_id, "name": name,
        "versions": [
            {
                "version": one.version, "valid_from": str(one.valid_from), "created_at": one.created_at,
                "created_by": one.created_by, "terms": terms_as_json(one.policy),
            }
            for one in versions
        ],
    }  # fmt: skip


async def _policy(connection: AsyncConnection, ask: Ask) -> tuple[str, str]:
    found = await dunning_policy_rows.find_policy(connection, ask.text("policy"))
    if found is None:
        raise Refused(Refusal("policy.unknown", "no dunning policy has that name or id", "policy"))
    return found


@operations.post(
    "/dunning/policies", "Define a policy.", _ID, Parameter("name", "Of the policy.", required=True), *_TERMS
)
async def define_a_policy(ask: Ask) -> Answer:
    """As in the panel; terms left out are as its form proposes them."""
    terms = _terms(ask, {**NEW_POLICY, "currency": ask.panel.billing.currency})

    async def act(work: Work) -> str:
        return granted(await define_dunning_policy(work, name=ask.text("name"), **terms))

    return {"id": await ask.panel.workplace.carry_out(ask.actor, act)}


@operations.post(
    "/dunning/policies/{policy}/versions",
    "The next version of a policy; terms left out stay as they are, a dash empties one.", _ID,
    Parameter("policy", "Name or id.", in_path=True, required=True),
    Parameter("valid_from", "First day; else today.", Kind.DAY), *_TERMS,
)  # fmt: skip
async def change_a_policy(ask: Ask) -> Answer:
    """What was decided before stays decided."""

    async def act(work: Work) -> str:
        policy_id, _ = await _policy(work.connection, ask)
        versions = await dunning_policy_rows.versions(work.connection, policy_id)
        terms = _terms(ask, form_of(max(versions, key=lambda one: one.version).policy))
        return granted(
            await change_policy_terms(work, policy=policy_id, terms=terms, valid_from=ask.day("valid_from"))
        )

    return {"id": await ask.panel.workplace.carry_out(ask.actor, act)}


@operations.post(
    "/dunning/classes/{account_class}", "Give a class of accounts its policy; without one, none.", _DONE,
    Parameter("account_class", "Such as business.", in_path=True, required=True),
    Parameter("policy", "Name or id."),
)  # fmt: skip
async def give_a_class_its_policy(ask: Ask) -> Answer:
    """Accounts with a policy of their own keep it."""
    chosen = ask.text("policy") or None

    async def act(work: Work) -> None:
        granted(await assign_class(work, account_class=ask.text("account_class"), dunning_policy=chosen))

    await ask.panel.workplace.carry_out(ask.actor, act)
    return {"outcome": "saved"}


# The dry run, and what waits for a word


@operations.get(
    "/dunning/preview", "Who would move at an instant if nothing is paid till then; nothing is done.",
    shapes.record(
        changes=shapes.listed(shapes.of(WouldChange)), deferred=shapes.listed(shapes.of(WouldDefer)),
        fees=shapes.listed(shapes.of(WouldCharge)), notices=shapes.listed(shapes.of(WouldTell)),
    ),
    Parameter("at", "The instant; else now.", Kind.INSTANT),
)  # fmt: skip
async def dunning_preview(ask: Ask) -> Answer:
    """A year ahead at most."""
    now = ask.panel.workplace.clock.now()
    asked = ask.values["at"]
    at = asked if isinstance(asked, datetime) else now
    if not now - timedelta(days=1) <= at <= now + _LONGEST_LOOK:
        raise Refused(Refusal("at.range", "choose an instant from now to a year ahead", "at"))
    async with ask.panel.workplace.reading() as connection:
        night = await preview_night(connection, max(at, now))
    return {
        "changes": list(night.changes), "deferred": list(night.deferred), "fees": list(night.fees),
        "notices": list(night.notices),
    }  # fmt: skip


@operations.get(
    "/dunning/approvals", "What waits for a word, the largest debt first; or what was decided lately.",
    shapes.record(approvals=shapes.listed(shapes.of(dunning.ApprovalRow))),
    Parameter("state", "Else waiting.", choices=("waiting", "decided")),
)  # fmt: skip
async def dunning_approvals(ask: Ask) -> Answer:
    """Suspensions and write-offs."""
    async with ask.panel.workplace.reading() as connection:
        waiting = ask.text("state") != "decided"
        return {"approvals": await dunning.approvals(connection, waiting=waiting)}


@operations.post(
    "/dunning/approvals/{approval_id}", "Approve or decline what waits.", _DONE,
    Parameter("approval_id", "Its id (apr_…).", in_path=True, required=True),
    Parameter("decision", "The word.", required=True, choices=("approve", "decline")), _NOTE,
)  # fmt: skip
async def decide_an_approval(ask: Ask) -> Answer:
    """Once; an approved cut still keeps to hours, closed days and caps."""

    async def act(work: Work) -> None:
        granted(
            await decide_approval(
                work, approval_id=ask.text("approval_id"), approve=ask.text("decision") == "approve",
                note=ask.text("note") or None, settings=ask.panel.billing,
            )
        )  # fmt: skip

    await ask.panel.workplace.carry_out(ask.actor, act)
    return {"outcome": "decided"}


# One account


@operations.get(
    "/accounts/{account}/dunning", "What keeps an account off the ladder, now and before.",
    shapes.of(dunning.Exceptions), _ACCOUNT,
)  # fmt: skip
async def account_dunning(ask: Ask) -> Answer:
    """Its policy, promises, disputes, deferrals, debts given up."""
    async with ask.panel.workplace.reading() as connection:
        found = await dunning.exceptions_of(connection, await account_named(connection, ask.text("account")))
    return asdict(found)


@operations.post(
    "/accounts/{account}/dunning/policy", "Give an account a policy of its own; without one its class's.",
    _DONE, _ACCOUNT, Parameter("policy", "Name or id."),
)  # fmt: skip
async def give_an_account_its_policy(ask: Ask) -> Answer:
    """Followed within minutes."""

    async def act(work: Work) -> None:
        account_id = await _find_account(work, ask)
        chosen = ask.text("policy") or None
        granted(await change_dunning_policy(work, account_id=account_id, dunning_policy=chosen))

    await ask.panel.workplace.carry_out(ask.actor, act)
    return {"outcome": "saved"}


@operations.post(
    "/accounts/{account}/promises", "A promise to pay by a day; without one the open promise is withdrawn.",
    _DONE, _ACCOUNT, _UNTIL, Parameter("amount", "Like 49.00; else all that is due by then."), _NOTE,
)  # fmt: skip
async def promise_to_pay(ask: Ask) -> Answer:
    """It takes the place of an open one."""

    async def act(work: Work) -> None:
        account_id = await _find_account(work, ask)
        granted(
            await record_promise(
                work, account_id=account_id, until=ask.day("until"), note=ask.text("note") or None,
                amount_minor=await _minor(work, ask, account_id), settings=ask.panel.billing,
            )
        )  # fmt: skip

    await ask.panel.workplace.carry_out(ask.actor, act)
    return {"outcome": "withdrawn" if ask.day("until") is None else "promised"}


@operations.post(
    "/accounts/{account}/immunity", "Leave an account alone, or stop doing so.", _DONE, _ACCOUNT,
    Parameter("immune", "Whether.", required=True, choices=("yes", "no")), _UNTIL,
    Parameter("reason", "Why."),
)  # fmt: skip
async def give_immunity(ask: Ask) -> Answer:
    """The stage follows at once."""

    async def act(work: Work) -> None:
        granted(
            await set_immunity(
                work, account_id=await _find_account(work, ask), immune=ask.text("immune") == "yes",
                until=ask.day("until"), reason=ask.text("reason") or None, settings=ask.panel.billing,
            )
        )  # fmt: skip

    await ask.panel.workplace.carry_out(ask.actor, act)
    return {"outcome": "saved"}


@operations.post(
    "/accounts/{account}/disputes", "An amount is disputed and does not count as overdue till settled.", _ID,
    _ACCOUNT, _REASON, Parameter("invoice", "Its number; else the account as a whole."),
    Parameter("amount", "Like 49.00; else all of it."), _UNTIL,
)  # fmt: skip
async def dispute_an_amount(ask: Ask) -> Answer:
    """The stage follows at once."""

    async def act(work: Work) -> str:
        account_id = await _find_account(work, ask)
        return granted(
            await open_dispute(
                work, account_id=account_id, reason=ask.text("reason"), until=ask.day("until"),
                invoice=ask.text("invoice") or None, amount_minor=await _minor(work, ask, account_id),
                settings=ask.panel.billing,
            )
        )  # fmt: skip

    return {"id": await ask.panel.workplace.carry_out(ask.actor, act)}


@operations.post(
    "/disputes/{dispute_id}/settle", "How a dispute ended.", _DONE,
    Parameter("dispute_id", "Its id (dsp_…).", in_path=True, required=True),
    Parameter("outcome", "Of it.", required=True, choices=OUTCOMES), _NOTE,
)  # fmt: skip
async def settle_a_dispute(ask: Ask) -> Answer:
    """Once; the ladder decides at once."""

    async def act(work: Work) -> None:
        granted(
            await settle_dispute(
                work, dispute_id=ask.text("dispute_id"), outcome=ask.text("outcome"),
                note=ask.text("note") or None, settings=ask.panel.billing,
            )
        )  # fmt: skip

    await ask.panel.workplace.carry_out(ask.actor, act)
    return {"outcome": ask.text("outcome")}


@operations.post(
    "/dunning/deferrals", "An outage or ticket defers dunning until it is lifted.",
    shapes.record(placed=shapes.WHOLE),
    Parameter("source", "Name of the event, like ticket:4711.", required=True), _REASON,
    Parameter("accounts", "Numbers or ids, blanks between."),
    Parameter("services", "Ids of services, blanks between: their payers."), _UNTIL,
)  # fmt: skip
async def defer_dunning(ask: Ask) -> Answer:
    """The same source again adds those that are new."""

    async def act(work: Work) -> int:
        accounts = [await account_named(work.connection, one) for one in ask.text("accounts").split()]
        return granted(
            await place_deferral(
                work, source=ask.text("source"), reason=ask.text("reason"), account_ids=accounts,
                service_ids=ask.text("services").split(), until=ask.day("until"), settings=ask.panel.billing,
            )
        )  # fmt: skip

    return {"placed": await ask.panel.workplace.carry_out(ask.actor, act)}


@operations.post(
    "/dunning/deferrals/lift", "The event is over; the ladder decides at once.",
    shapes.record(lifted=shapes.WHOLE), Parameter("source", "Its name.", required=True),
    Parameter("account", "Of this account alone."),
)  # fmt: skip
async def lift_a_deferral(ask: Ask) -> Answer:
    """A second time lifts nothing."""

    async def act(work: Work) -> int:
        account_id = await _find_account(work, ask) if ask.text("account") else None
        return await lift_deferral(
            work, source=ask.text("source"), account_id=account_id, settings=ask.panel.billing
        )

    return {"lifted": await ask.panel.workplace.carry_out(ask.actor, act)}


@operations.post(
    "/invoices/{invoice}/write-off", "Give up what is open on an invoice as a bad debt.",
    shapes.record(amount_minor=shapes.WHOLE),
    Parameter("invoice", "Number or id.", in_path=True, required=True), _REASON,
    Parameter("forgive", "yes: it no longer keeps the service cut.", choices=("yes",)),
)  # fmt: skip
async def write_off_an_invoice(ask: Ask) -> Answer:
    """Once; the same again is refused."""

    async def act(work: Work) -> int:
        forgive = ask.text("forgive") == "yes"
        return granted(
            await write_off_invoice(
                work, invoice=ask.text("invoice"), reason=ask.text("reason"), forgive=forgive
            )
        )

    return {"amount_minor": await ask.panel.workplace.carry_out(ask.actor, act)}
