"""Commands for the ladder for late accounts: policies, approvals, the dry run, one account's exceptions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.running import (
    Limit,
    actor,
    day,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    say,
    show,
)
from appliance.lookup import find
from appliance.wiring import House
from billing.store import tables as billing
from core.money import format_money, parse_amount
from core.work import Work

dunning = typer.Typer(help="The ladder for late accounts.", no_args_is_help=True)

AccountArgument = Annotated[str, typer.Argument(help="Account number or id.")]
PolicyArgument = Annotated[str, typer.Argument(help="Name or id of a policy; see: hilltop dunning policies.")]
Until = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day on which it counts; else open.")
]
Note = Annotated[str | None, typer.Option(help="For the people who look later.")]
_LARGEST_TERMS = 256 * 1024


@dunning.command("run")
def dunning_run(
    trust_clock: Annotated[bool, typer.Option("--trust-clock", help="You have looked at the clock.")] = False,
) -> None:
    """Evaluate every account by its local calendar now."""
    from billing.dunning.evaluate import evaluate_dunning

    async def body(house: House) -> None:
        changes = outcome_or_fail(
            await evaluate_dunning(
                house.workplace, actor=actor(), settings=house.settings.billing, trust_clock=trust_clock
            )
        )
        say(f"{len(changes)} accounts changed stage")
        for change in changes:
            say(f"  {change.account_id}: {change.from_stage} → {change.to_stage} ({change.because})")

    in_house(body)


@dunning.command("preview")
def dunning_preview(
    on: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As of this date; else now.")
    ] = None,
) -> None:
    """Who would change stage or is deferred, fees, and the devices' exact commands; nothing is done."""
    from appliance.reactions import EFFECT_OF_STAGE
    from billing.dunning.preview import preview_night
    from provisioning.preview import preview_enforcement

    day(on, "--on")

    async def body(house: House) -> None:
        moment = house.clock.now() if on is None else on.replace(hour=23, minute=59, tzinfo=UTC)
        async with house.workplace.reading() as connection:
            night = await preview_night(connection, moment)
            names = await _names(connection)
            for change in night.changes:
                say(f"{names[change.account_id]}: {change.from_stage} → {change.to_stage} ({change.because})")
                effect = EFFECT_OF_STAGE[change.to_stage]
                for wanted in await preview_enforcement(connection, change.service_ids, effect):
                    say(f"  {wanted.device_name}:")
                    for line in wanted.commands:
                        say(f"    {line}")
        if not night.changes:
            say("nobody would change stage")
        for one in night.deferred:
            say(f"{names[one.account_id]}: stays {one.stage} instead of {one.wanted} ({one.because})")
        for fee in night.fees:
            amount = format_money(fee.amount_minor, fee.currency)
            say(f"{names[fee.account_id]}: late fee of {amount} for invoice {fee.invoice}")
        for channel, count in Counter(one.channel for one in night.notices).items():
            say(f"{count} notices by {channel}")

    in_house(body)


async def _names(connection: AsyncConnection) -> dict[str, str]:
    table = billing.account
    rows = await connection.execute(select(table.c.id, table.c.number, table.c.name))
    return {row.id: f"{row.number} {row.name}" for row in rows}


@dunning.command("list")
def dunning_list(limit: Limit = 50) -> None:
    """Accounts that are not clear, longest first."""

    async def body(house: House) -> None:
        state, account = billing.dunning_state, billing.account
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(
                    select(account.c.number, account.c.name, state)
                    .join(account, account.c.id == state.c.account_id)
                    .where(state.c.stage != "clear")
                    .order_by(state.c.since)
                    .limit(limit)
                )
            ).all()
        show(
            "Accounts in dunning",
            ["account", "name", "stage", "since", "promise until", "immune"],
            [[r.number, r.name, r.stage, r.since, r.promise_until, r.immune] for r in rows],
        )

    in_house(body)


@dunning.command("policies")
def dunning_policies() -> None:
    """Policies as they stand today, the classes of accounts they are for, and how many accounts."""
    from ui.read.dunning import policy_rows

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await policy_rows(connection, house.clock.now().astimezone(UTC).date())
        show(
            "Policies",
            ["name", "version", "since", "ladder", "classes", "accounts"],
            [[r.name, r.version, r.valid_from, r.ladder, r.classes, r.accounts] for r in rows],
            none="none yet: the standard one is made with the first account",
        )

    in_house(body)


@dunning.command("policy")
def dunning_policy(
    policy: PolicyArgument,
    version: Annotated[int | None, typer.Option(help="That version; else the newest.")] = None,
    versions: Annotated[bool, typer.Option("--versions", help="List the versions instead.")] = False,
) -> None:
    """The terms of a policy as JSON, ready to be edited and given to define or change."""
    from billing.domain.dunning_terms import terms_as_json
    from billing.store.dunning_policy_rows import find_policy
    from billing.store.dunning_policy_rows import versions as versions_of

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = await find_policy(connection, policy)
            every = [] if found is None else await versions_of(connection, found[0])
        if versions and every:
            rows = [[one.version, one.valid_from, one.created_at, one.created_by] for one in every]
            show(f"Versions of {policy}", ["version", "in force from", "written", "by"], rows)
            return
        chosen = [one for one in every if version is None or one.version == version]
        if not chosen:
            fail(f"there is no dunning policy {policy!r} with that version; see: hilltop dunning policies")
        newest = max(chosen, key=lambda one: one.version)
        say(json.dumps(terms_as_json(newest.policy), indent=2))

    in_house(body)


@dunning.command("define")
def dunning_define(
    name: Annotated[str, typer.Argument(help="Of the new policy.")],
    file: Annotated[Path, typer.Argument(help="Its terms as JSON; see: hilltop dunning policy standard.")],
) -> None:
    """A new policy from a file with its terms; what they leave out is as the guide says."""
    from billing.dunning.define_policy import define_dunning_policy

    terms = _terms(file)
    made = _act(lambda work: define_dunning_policy(work, name=name, **{"ladder": [], **terms}))
    say(f"policy {name}: {made}")


@dunning.command("change")
def dunning_change(
    policy: PolicyArgument,
    file: Annotated[Path, typer.Argument(help="Its whole terms as JSON; see: hilltop dunning policy.")],
    from_on: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day; else today.")
    ] = None,
) -> None:
    """The next version of a policy, from a day on; what was decided before stays decided."""
    from billing.dunning.define_policy import change_policy_terms

    terms, first = _terms(file), day(from_on, "--from")
    made = _act(lambda work: change_policy_terms(work, policy=policy, terms=terms, valid_from=first))
    say(f"policy {policy} changes{'' if first is None else f' on {first}'}: {made}")


def _terms(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST_TERMS:
            fail(f"{file} is over {_LARGEST_TERMS} octets; is it the right file?", 2)
        terms = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as trouble:
        fail(f"{file} cannot be read: {trouble}", 2)
    if not isinstance(terms, dict):
        fail(f"{file}: the terms are one JSON object", 2)
    if "name" in terms:
        fail(f"{file}: name: there is no such term", 2)
    return terms


@dunning.command("class")
def dunning_class(
    account_class: Annotated[str, typer.Argument(help="Class of accounts, such as business.")],
    policy: Annotated[
        str | None, typer.Argument(help="Its policy; none: each as it was opened with.")
    ] = None,
) -> None:
    """Which policy a class of accounts has; an account may have one of its own instead."""
    from billing.dunning.define_policy import assign_class

    _act(lambda work: assign_class(work, account_class=account_class, dunning_policy=policy))
    say(f"class {account_class}: {policy or 'no policy of its own'}")


@dunning.command("assign")
def dunning_assign(
    account: AccountArgument,
    policy: Annotated[str | None, typer.Argument(help="Its own policy; none: that of its class.")] = None,
) -> None:
    """Put one account on a ladder of its own, or back on that of its class."""
    from billing.dunning.define_policy import change_dunning_policy

    _act_on(
        account,
        lambda work, account_id: change_dunning_policy(work, account_id=account_id, dunning_policy=policy),
    )
    say(f"{account}: {policy or 'the policy of its class'}")


@dunning.command("promise")
def dunning_promise(
    account: AccountArgument,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="None: forget the promise.")
    ] = None,
    amount: Annotated[str | None, typer.Option(help="So much; else all that is due by then.")] = None,
    note: Note = None,
) -> None:
    """A promise to pay: nothing worsens up to that date."""
    from billing.dunning.exceptions import record_promise

    last_day = day(until, "--until")

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            outcome_or_fail(
                await record_promise(
                    work, account_id=account_id, until=last_day, note=note, settings=house.settings.billing,
                    amount_minor=await _amount(work.connection, account_id, amount),
                )
            )  # fmt: skip
        say(f"{account}: {'no promise' if last_day is None else f'promised until {last_day}'}")

    in_house(body)


async def _amount(connection: AsyncConnection, account_id: str, text: str | None) -> int | None:
    if text is None:
        return None
    query = select(billing.account.c.currency).where(billing.account.c.id == account_id)
    try:
        return parse_amount(text, str(await connection.scalar(query)))
    except ValueError as trouble:
        fail(f"--amount: {trouble}", 2)


@dunning.command("immune")
def dunning_immune(
    account: AccountArgument,
    off: Annotated[bool, typer.Option("--off", help="The ladder applies again.")] = False,
    until: Until = None,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
) -> None:
    """Leave an account alone, whatever it owes."""
    from billing.dunning.exceptions import set_immunity

    last_day = day(until, "--until")

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(
                await set_immunity(
                    work, account_id=await find(work.connection, "account", account), immune=not off,
                    until=last_day, reason=reason, settings=house.settings.billing,
                )
            )  # fmt: skip
        word = "the ladder applies" if off else "immune"
        say(f"{account}: {word}{'' if last_day is None or off else f' up to {last_day}'}")

    in_house(body)


@dunning.command("dispute")
def dunning_dispute(
    account: AccountArgument,
    reason: Annotated[str, typer.Argument(help="What is disputed and why.")],
    invoice: Annotated[str | None, typer.Option(help="Its number; else the account as a whole.")] = None,
    amount: Annotated[str | None, typer.Option(help="So much of it; else all.")] = None,
    until: Until = None,
) -> None:
    """A disputed amount does not count as overdue until it is settled."""
    from billing.dunning.exceptions import open_dispute

    last_day = day(until, "--until")

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            made = outcome_or_fail(
                await open_dispute(
                    work, account_id=account_id, reason=reason, invoice=invoice, until=last_day,
                    amount_minor=await _amount(work.connection, account_id, amount),
                    settings=house.settings.billing,
                )
            )  # fmt: skip
        say(f"{account}: dispute {made}")

    in_house(body)


@dunning.command("settle")
def dunning_settle(
    dispute: Annotated[str, typer.Argument(help="The dispute's id; see: hilltop dunning show.")],
    outcome: Annotated[str, typer.Argument(help="upheld, rejected or withdrawn")],
    note: Note = None,
) -> None:
    """How a dispute ended; the ladder decides at once."""
    from billing.dunning.exceptions import settle_dispute

    in_transaction(
        lambda work, house: settle_dispute(
            work, dispute_id=dispute, outcome=outcome, note=note, settings=house.settings.billing
        )
    )
    say(f"dispute {dispute}: {outcome}")


@dunning.command("defer")
def dunning_defer(
    source: Annotated[str, typer.Argument(help="Name of the event, such as ticket:4711 or outage:ridge.")],
    reason: Annotated[str, typer.Argument(help="Why.")],
    account: Annotated[list[str] | None, typer.Option(help="Number or id; may be repeated.")] = None,
    service: Annotated[list[str] | None, typer.Option(help="Its payer is deferred; may be repeated.")] = None,
    until: Until = None,
) -> None:
    """Nothing worsens for these accounts until the event is lifted."""
    from billing.dunning.exceptions import place_deferral

    if not account and not service:
        fail("give --account or --service, once or more", 2)
    last_day = day(until, "--until")

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            placed = outcome_or_fail(
                await place_deferral(
                    work, source=source, reason=reason, until=last_day, settings=house.settings.billing,
                    account_ids=[await find(work.connection, "account", one) for one in account or []],
                    service_ids=[await find(work.connection, "service", one) for one in service or []],
                )
            )  # fmt: skip
        say(f"{source}: {placed} accounts deferred")

    in_house(body)


@dunning.command("lift")
def dunning_lift(
    source: Annotated[str, typer.Argument(help="The name it was deferred under.")],
    account: Annotated[str | None, typer.Option(help="For this account alone; else for all.")] = None,
) -> None:
    """The event is over; the ladder decides at once."""
    from billing.dunning.exceptions import lift_deferral

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = None if account is None else await find(work.connection, "account", account)
            lifted = await lift_deferral(
                work, source=source, account_id=account_id, settings=house.settings.billing
            )
        say(f"{source}: lifted for {lifted} accounts")

    in_house(body)


@dunning.command("write-off")
def dunning_write_off(
    invoice: Annotated[str, typer.Argument(help="Its number.")],
    reason: Annotated[str, typer.Argument(help="Why the claim is given up.")],
    forgive: Annotated[bool, typer.Option("--forgive", help="It no longer keeps the service cut.")] = False,
) -> None:
    """Give up what is open on an invoice as a bad debt."""
    from billing.dunning.write_off import write_off_invoice

    _act(lambda work: write_off_invoice(work, invoice=invoice, reason=reason, forgive=forgive))
    say(f"invoice {invoice}: written off")


@dunning.command("approvals")
def dunning_approvals(
    decided: Annotated[bool, typer.Option("--decided", help="Those decided lately instead.")] = False,
) -> None:
    """Suspensions and write-offs that wait for a word, the largest debt first."""
    from ui.read.dunning import approvals

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await approvals(connection, waiting=not decided)
        show(
            "Approvals",
            ["id", "account", "name", "what", "overdue", "asked", "until", "state", "by", "because"],
            [
                [
                    r.id, r.account_number, r.account_name,
                    f"write off {r.what}" if r.kind == "write_off" else r.what,
                    format_money(r.overdue_minor, r.currency), r.asked_on, r.expires_on, r.state,
                    r.decided_by, r.because,
                ]
                for r in rows
            ],
        )  # fmt: skip

    in_house(body)


@dunning.command("decide")
def dunning_decide(
    approval: Annotated[str, typer.Argument(help="Its id; see: hilltop dunning approvals.")],
    word: Annotated[str, typer.Argument(help="approve or decline")],
    note: Note = None,
) -> None:
    """A word on what waits; an approved cut still keeps to hours, closed days and caps."""
    from billing.dunning.approvals import decide_approval

    if word not in {"approve", "decline"}:
        fail(f"{word!r}: say approve or decline", 2)

    in_transaction(
        lambda work, house: decide_approval(
            work,
            approval_id=approval,
            approve=word == "approve",
            note=note,
            settings=house.settings.billing,
        )
    )
    say(f"{approval}: {'approved' if word == 'approve' else 'declined'}")


@dunning.command("show")
def dunning_show(account: AccountArgument) -> None:
    """One account on the ladder: its policy, immunity, promises, disputes, deferrals, debts given up."""
    from ui.read.dunning import exceptions_of
    from ui.read.subscriber import account_view

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account)
            found = await exceptions_of(connection, account_id)
            view = await account_view(connection, account_id, house.clock.now())
        if view is None:
            raise RuntimeError(f"account {account_id} has gone")
        own = "its own" if found.own_policy else "by its class"
        say(f"{view.number}  {view.name}  {view.dunning.stage}, policy {found.policy_name} ({own})")
        say(f"overdue {format_money(view.overdue_minor, view.currency)}")
        if found.immune:
            say(f"immune, until {found.immune_until or 'told otherwise'}: {found.immune_reason or ''}")
        if found.respite_until is not None:
            say(f"no cut up to {found.respite_until}")
        promised = [
            [one.until, format_money(one.promised_minor, view.currency), one.state, one.made_by, one.note]
            for one in found.promises
        ]
        show("Promises", ["until", "amount", "state", "by", "note"], promised)
        disputed = [
            [
                one.id, one.invoice or "account",
                "all" if one.amount_minor is None else format_money(one.amount_minor, view.currency),
                one.from_on, one.until_on, one.outcome or "open", one.reason,
            ]
            for one in found.disputes
        ]  # fmt: skip
        show("Disputes", ["id", "of", "amount", "from", "before", "outcome", "reason"], disputed)
        deferred = [
            [one.source, one.from_on, one.until_on, "lifted" if one.lifted else "holds", one.reason]
            for one in found.deferrals
        ]
        show("Deferrals", ["source", "from", "before", "state", "reason"], deferred)
        given_up = [
            [one.number, one.on_date, format_money(one.amount_minor, view.currency), one.forgiven, one.reason]
            for one in found.write_offs
        ]
        show("Given up", ["invoice", "on", "amount", "forgiven", "reason"], given_up)

    in_house(body)


def _act(act: Callable[[Work], Awaitable[Any]]) -> Any:
    async def body(house: House) -> Any:
        async with house.workplace.work(actor()) as work:
            return outcome_or_fail(await act(work))

    return in_house(body)


def _act_on(account: str, act: Callable[[Work, str], Awaitable[Any]]) -> Any:
    async def on_account(work: Work) -> Any:
        return await act(work, await find(work.connection, "account", account))

    return _act(on_account)
