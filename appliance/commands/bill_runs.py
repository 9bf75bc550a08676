"""Commands for bill runs: look first, run, approve what waits, try again what was parked."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.commands.running import (
    Limit,
    actor,
    day,
    fail,
    in_house,
    outcome_or_fail,
    run_progress,
    say,
    show,
    write_file,
)
from appliance.lookup import find
from appliance.wiring import House
from core.money import format_money

if TYPE_CHECKING:
    from billing.invoicing.approve_drafts import Approved
    from billing.invoicing.preview_run import RunPreview
    from core.refusal import Refusal

bills = typer.Typer(help="Bill runs: preview, run, approve, try again.", no_args_is_help=True)
Through = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="Cycles turning up to this date; else today."),
]
DraftId = Annotated[
    str,
    typer.Argument(metavar="[DRAFT]", help="Id of the draft (dft_…), or the account of which one is open."),
]


@bills.command("run")
def bill_run_now(
    through: Through = None,
    trust_clock: Annotated[bool, typer.Option("--trust-clock", help="You have looked at the clock.")] = False,
) -> None:
    """Close due cycles and issue their invoices; running it again changes nothing."""
    last_turn = day(through, "--through")
    if not in_house(lambda house: _run(house, through=last_turn, trust_clock=trust_clock)):
        raise typer.Exit(1)


async def _run(
    house: House,
    *,
    through: date | None = None,
    only: Collection[str] | None = None,
    trust_clock: bool = False,
) -> bool:
    from billing.invoicing.bill_run import bill_run

    with run_progress("billing") as watch:
        ran = await bill_run(
            house.workplace, house.usage, through=through, only=only, actor=actor(),
            settings=house.settings.billing, trust_clock=trust_clock, sealer=house.sealer, watch=watch,
        )  # fmt: skip
    outcome = outcome_or_fail(ran)
    drafted = f", {outcome.drafts} drafts to be approved" if outcome.drafts else ""
    say(f"{outcome.invoices} invoices issued{drafted}, {len(outcome.parked)} accounts parked")
    for parked in outcome.parked:
        say(f"  {parked.account_id}: {parked.reason}")
    return not outcome.parked


@bills.command("preview")
def bill_preview(
    account: Annotated[str, typer.Argument(help="Account number or id; none: the whole run.")] = "",
    through: Through = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Every invoice of the whole run as CSV (-: standard output)."),
    ] = None,
    percent: Annotated[
        int | None, typer.Option(min=0, max=10_000, help="Flag what is this far from the account's median.")
    ] = None,
    amount: Annotated[
        int | None, typer.Option(min=0, max=10**9, help="And by at least so many units of its currency.")
    ] = None,
) -> None:
    """What would be billed, with the usage so far: one account, or the whole run against the month before."""
    if account:
        in_house(lambda house: _preview_account(house, account))
        return
    last_turn = day(through, "--through")

    async def body(house: House) -> None:
        from billing.domain.outliers import Threshold
        from billing.invoicing.preview_run import preview_csv, preview_run

        terms = house.settings.billing
        threshold = Threshold(
            terms.outlier_percent if percent is None else percent,
            terms.outlier_amount if amount is None else amount,
        )
        with run_progress("drafting") as watch:
            told = await preview_run(
                house.workplace, house.usage, through=last_turn, settings=terms, threshold=threshold,
                sealer=house.sealer, watch=watch,
            )  # fmt: skip
        preview = outcome_or_fail(told)
        if output is None:
            _show_preview(preview)
        else:
            write_file(output, preview_csv(preview).encode())

    in_house(body)


def _show_preview(preview: RunPreview) -> None:
    rows = []
    for one in preview.sums:
        for what, sums in (("this run", one.now), ("a month before", one.before)):
            amounts = (sums.net_minor, sums.tax_minor, sums.gross_minor)
            rows.append([
                one.entity or "house", what, sums.invoices,
                *(format_money(amount, one.currency) for amount in amounts),
            ])  # fmt: skip
    show(
        f"Cycles that turn through {preview.through}",
        ["entity", "what", "invoices", "net", "tax", "gross"],
        rows,
    )
    due = "1 account is due" if preview.accounts == 1 else f"{preview.accounts} accounts are due"
    say(f"{due}, {preview.idle} of them {'owes' if preview.idle == 1 else 'owe'} nothing")
    flagged = preview.flagged
    say(", ".join(f"{flag.replace('_', ' ')}: {count}" for flag, count in preview.counted().items() if count))
    show(
        "Look at these first",
        ["account", "name", "total", "usually", "why"],
        [
            [
                one.account_number, one.account_name, format_money(one.total_minor, one.currency),
                None if one.median_minor is None else format_money(one.median_minor, one.currency),
                one.reason or ", ".join(one.flags).replace("_", " "),
            ]
            for one in flagged[:_SHOWN]
        ],
    )  # fmt: skip
    if len(flagged) > _SHOWN:
        say(f"{len(flagged) - _SHOWN} more: hilltop bill preview -o preview.csv")


_SHOWN = 50


async def _preview_account(house: House, account: str) -> None:
    from billing.invoicing.preview_invoice import preview_invoice
    from billing.taxes.set_engine import asked_tax_engine

    async with (
        asked_tax_engine(house.workplace, house.sealer) as engine,
        house.workplace.reading() as connection,
    ):
        account_id = await find(connection, "account", account)
        draft = outcome_or_fail(
            await preview_invoice(
                connection, house.usage, account_id, house.clock.now(), house.settings.billing, engine=engine
            )
        )
    if draft is None:
        say(f"{account}: nothing is to be billed")
        return
    show(
        f"{account}: {draft.cycle}",
        ["what", "amount"],
        [[one.description, format_money(one.amount_minor, draft.account.currency)] for one in draft.lines],
    )
    say(f"total {format_money(draft.total_minor, draft.account.currency)}")


@bills.command("parked")
def parked_accounts() -> None:
    """Accounts that could not be billed, with the reason of the last try."""
    from billing.store import parked_rows

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await parked_rows.list_parked(connection)
        show(
            "Parked accounts",
            ["account", "name", "since", "tried", "times", "reason"],
            [[r.number, r.name, r.since, r.tried_at, r.tries, r.reason] for r in rows],
        )

    in_house(body)


@bills.command("retry")
def retry_parked(
    account: Annotated[str, typer.Argument(help="Account number or id; none: all that are parked.")] = "",
) -> None:
    """Try parked accounts again, and no others."""
    from billing.store import parked_rows

    async def body(house: House) -> bool:
        async with house.workplace.reading() as connection:
            if account:
                only = [await find(connection, "account", account)]
            else:
                only = await parked_rows.parked_accounts(connection)
        if not only:
            say("no account is parked")
            return True
        return await _run(house, only=only)

    if not in_house(body):
        raise typer.Exit(1)


@bills.command("drafts")
def waiting_drafts(
    rejected: Annotated[bool, typer.Option("--rejected", help="Those that were rejected.")] = False,
    limit: Limit = 200,
) -> None:
    """Drafts that wait for approval."""
    from billing.store import draft_rows

    state = draft_rows.REJECTED if rejected else draft_rows.WAITING

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await draft_rows.list_drafts(connection, state, limit=limit)
        show(
            "Rejected drafts" if rejected else "Drafts that wait",
            ["draft", "account", "name", "entity", "cycle", "total", "reason"],
            [
                [
                    r.id, r.number, r.name, r.entity_id or "house", r.cycle_start,
                    format_money(r.total_minor, r.currency), r.reason,
                ]
                for r in rows
            ],
        )  # fmt: skip

    in_house(body)


async def _open_draft(house: House, text: str) -> str:
    """The id of a draft, or of the open one of an account by its number."""
    from billing.store import draft_rows

    async with house.workplace.reading() as connection:
        if text.startswith("dft_"):
            return text
        account_id = await find(connection, "account", text)
        found = (await draft_rows.open_drafts(connection, [account_id])).get(account_id)
    if found is None:
        fail(f"refused: no draft of {text} is open; see: hilltop bill drafts")
    return found.id


@bills.command("approve")
def approve(
    draft: DraftId = "",
    every: Annotated[bool, typer.Option("--all", help="All that wait now.")] = False,
    entity: Annotated[
        str | None, typer.Option(help="With --all: of one legal entity alone; house: the house's own.")
    ] = None,
) -> None:
    """Issue the invoices of drafts; what would say something else now is drafted anew and waits."""
    from billing.invoicing.approve_drafts import approve_draft, approve_drafts

    if bool(draft) == every:
        fail("name a draft, or say --all", 2)

    async def body(house: House) -> bool:
        terms = house.settings.billing
        done: Approved | Refusal
        if draft:
            done = await approve_draft(
                house.workplace,
                house.usage,
                await _open_draft(house, draft),
                actor=actor(),
                settings=terms,
                sealer=house.sealer,
            )
        else:
            with run_progress("approving") as watch:
                done = await approve_drafts(
                    house.workplace, house.usage, seen_until=house.clock.now(), actor=actor(),
                    entity_id="" if entity == "house" else entity, settings=terms, sealer=house.sealer,
                    watch=watch,
                )  # fmt: skip
        outcome = outcome_or_fail(done)
        say(f"{len(outcome.numbers)} invoices issued")
        if outcome.already:
            say("it had been approved before; nothing changed")
        for account_id in outcome.changed:
            say(f"  {account_id}: it would say something else now; look at its new draft")
        for account_id in outcome.gone:
            say(f"  {account_id}: nothing is owed for that cycle any more")
        for one in outcome.failed:
            say(f"  {one.account_id}: {one.reason}")
        return not (outcome.changed or outcome.failed)

    if not in_house(body):
        raise typer.Exit(1)


@bills.command("reject")
def reject(
    draft: Annotated[
        str, typer.Argument(help="Id of the draft (dft_…), or the account of which one is open.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="What is wrong with it.")],
) -> None:
    """Keep a draft from becoming an invoice; its account waits until it is drafted again."""
    from billing.invoicing.approve_drafts import reject_draft

    async def body(house: House) -> None:
        draft_id = await _open_draft(house, draft)
        async with house.workplace.work(actor()) as work:
            refusal = await reject_draft(work, draft_id=draft_id, reason=reason)
            if refusal is not None:
                fail(f"refused: {refusal}")
        say(f"{draft} is rejected; when it is mended: hilltop bill draft-again {draft}")

    in_house(body)


@bills.command("draft-again")
def draft_anew(
    draft: DraftId = "",
    every: Annotated[bool, typer.Option("--rejected", help="All that were rejected.")] = False,
) -> None:
    """Draft anew what waits or was rejected."""
    from billing.invoicing.approve_drafts import draft_again

    if bool(draft) == every:
        fail("name a draft, or say --rejected", 2)

    async def body(house: House) -> bool:
        draft_id = await _open_draft(house, draft) if draft else None
        async with house.workplace.work(actor()) as work:
            only = outcome_or_fail(await draft_again(work, draft_id=draft_id))
        if not only:
            say("no draft was rejected")
            return True
        return await _run(house, only=only)

    if not in_house(body):
        raise typer.Exit(1)
