"""Commands for subscriptions: what an account has, changing it by day, and one-off charges."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import Annotated

import typer
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
from appliance.lookup import find, newest_plan_version, subscription_named
from appliance.wiring import House
from billing.domain.invoicing import InvoiceDraft
from billing.domain.phases import FOREVER, fold_phases, standing
from billing.store import account_rows, charge_rows, plan_rows, subscription_rows
from billing.subscriptions.order_change import Order, carry_out
from core.money import format_money, parse_amount
from core.refusal import Refusal, Refused

subscriptions = typer.Typer(
    help="What accounts subscribe to: plans and add-ons, changed by day.", no_args_is_help=True
)
charges = typer.Typer(help="One-off charges and credits.", no_args_is_help=True)

_Which = Annotated[str, typer.Argument(help="Subscription id, or the label of the line it is for.")]
_On = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="The first day of it, past or to come; else today."),
]
_AtPeriodEnd = Annotated[bool, typer.Option("--at-period-end", help="When the running cycle is over.")]
_Reason = Annotated[str, typer.Option(help="For the audit trail.")]
_Look = Annotated[bool, typer.Option("--preview", help="Tell what it would cost; change nothing.")]


@subscriptions.command("list")
def subscription_list(
    account: Annotated[str, typer.Argument(help="Account number or id.")],
    ended: Annotated[bool, typer.Option("--ended", help="Also those that are over.")] = False,
) -> None:
    """What an account subscribes to."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account)
            payer = await account_rows.find_account(connection, account_id)
            found = (await subscription_rows.subscriptions_of(connection, [account_id]))[account_id]
            offers = await plan_rows.plan_versions(connection, [one.plan_version_id for one in found])
        today = house.clock.now().date()
        rows = []
        for one in found:
            if one.ends_on is not None and one.ends_on <= today and not ended:
                continue
            offer = offers[one.plan_version_id]
            rows.append(
                [
                    one.id, f"{offer.code} v{offer.version}", offer.kind, one.quantity, one.service_id,
                    one.starts_on, one.ends_on, one.paused_on, one.contract_until,
                ]
            )  # fmt: skip
        show(
            f"Subscriptions of {payer.number if payer else account}",
            ["id", "plan", "kind", "quantity", "service", "starts", "ends", "paused since", "bound until"],
            rows,
        )

    in_house(body)


@subscriptions.command("contracts")
def subscription_contracts(
    account: Annotated[str, typer.Argument(help="Account number or id.")],
) -> None:
    """How an account is bound, what follows, and what leaving today would cost."""
    from billing.subscriptions.turn_contracts import contracts_of

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account)
            found = await contracts_of(connection, account_id, house.clock.now().date())
        show(
            f"Contracts of {account}",
            ["subscription", "plan", "signed", "bound until", "then", "leaving today", "ends"],
            [
                [
                    one.subscription_id, one.plan, one.signed_on, one.bound_until,
                    f"{one.after} {one.renews_months or ''}".replace("_", " ").strip(),
                    format_money(one.fee_minor, one.currency), one.ends_on,
                ]
                for one in found
            ],
        )  # fmt: skip

    in_house(body)


@subscriptions.command("show")
def subscription_show(subscription: _Which) -> None:
    """How a subscription runs, and every change with who made it when."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            subscription_id = await subscription_named(connection, subscription)
            changes = (await subscription_rows.changes_of(connection, [subscription_id]))[subscription_id]
            offers = await plan_rows.plan_versions(connection)
        names = {one.id: f"{one.code} v{one.version}" for one in offers.values()}
        show(
            f"{subscription_id} runs",
            ["from", "until", "plan", "quantity", "paused"],
            [
                [
                    one.start, None if one.end == FOREVER else one.end, names[one.plan_version_id],
                    one.quantity, one.paused,
                ]
                for one in fold_phases(changes)
            ],
        )  # fmt: skip
        stands = {one.id for one in standing(changes)}
        show(
            "Changes",
            ["id", "from", "kind", "plan", "quantity", "recorded", "stands"],
            [
                [
                    one.id, one.effective_on, one.kind, names.get(one.plan_version_id or ""), one.quantity,
                    one.recorded_at, one.id in stands,
                ]
                for one in changes
            ],
        )  # fmt: skip

    in_house(body)


@subscriptions.command("add")
def subscription_add(
    account: Annotated[str, typer.Argument(help="Account number or id.")],
    plan: Annotated[str, typer.Argument(help="Code of an add-on, bundle or plan; its newest version.")],
    to: Annotated[str | None, typer.Option(help="The subscription or line that an add-on goes with.")] = None,
    service: Annotated[str | None, typer.Option(help="The line that a plan is for.")] = None,
    quantity: Annotated[int, typer.Option(min=1, max=10_000, help="How many of it.")] = 1,
    starts_on: _On = None,
) -> None:
    """Subscribe an account to an add-on, or a line that has no plan to a plan."""
    from billing.subscriptions.subscribe import subscribe

    starts = day(starts_on, "--starts-on")

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            connection = work.connection
            parent = None if to is None else await subscription_named(connection, to)
            beside = None if parent is None else await subscription_rows.find_subscription(connection, parent)
            line = None if service is None else await find(connection, "service", service)
            made = outcome_or_fail(
                await subscribe(
                    work,
                    account_id=await find(connection, "account", account),
                    service_id=line or (None if beside is None else beside.service_id),
                    plan_version_id=await newest_plan_version(connection, plan),
                    starts_on=starts,
                    quantity=quantity,
                    parent_id=parent,
                )
            )
        say(f"{account}: {quantity} × {plan}: {made}")

    in_house(body)


@subscriptions.command("plan")
def subscription_plan(
    subscription: _Which,
    plan: Annotated[str, typer.Argument(help="Plan code (its newest version) or version id.")],
    on: _On = None,
    at_period_end: _AtPeriodEnd = False,
    reason: _Reason = "",
    preview: _Look = False,
) -> None:
    """Another plan or add-on from a day on; invoiced days are corrected on the next invoice."""

    async def wanted(connection: AsyncConnection) -> Order:
        version_id = await newest_plan_version(connection, plan)
        return Order("plan", *_when(on, at_period_end), plan_version_id=version_id, reason=reason)

    _order(subscription, wanted, preview)


@subscriptions.command("quantity")
def subscription_quantity(
    subscription: _Which,
    quantity: Annotated[int, typer.Argument(min=1, max=10_000, help="How many from then on.")],
    on: _On = None,
    at_period_end: _AtPeriodEnd = False,
    reason: _Reason = "",
    preview: _Look = False,
) -> None:
    """More or fewer of it from a day on."""

    async def wanted(_: AsyncConnection) -> Order:
        return Order("quantity", *_when(on, at_period_end), quantity=quantity, reason=reason)

    _order(subscription, wanted, preview)


@subscriptions.command("pause")
def subscription_pause(
    subscription: _Which,
    on: _On = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="It resumes by itself on that day.")
    ] = None,
    reason: _Reason = "",
    preview: _Look = False,
) -> None:
    """A vacation: the line is walled, and only what is charged while paused is owed."""

    async def wanted(_: AsyncConnection) -> Order:
        return Order("pause", *_when(on, False), until=day(until, "--until"), reason=reason)

    _order(subscription, wanted, preview)


@subscriptions.command("resume")
def subscription_resume(
    subscription: _Which, on: _On = None, reason: _Reason = "", preview: _Look = False
) -> None:
    """The pause is over."""

    async def wanted(_: AsyncConnection) -> Order:
        return Order("resume", *_when(on, False), reason=reason)

    _order(subscription, wanted, preview)


@subscriptions.command("end")
def subscription_end(
    subscription: _Which,
    on: _On = None,
    at_period_end: _AtPeriodEnd = False,
    waive: Annotated[bool, typer.Option("--waive", help="Ask no fee for an early end.")] = False,
    reason: _Reason = "",
    preview: _Look = False,
) -> None:
    """The end, with its add-ons: the first day without it. Its line is blocked on that day."""

    async def wanted(_: AsyncConnection) -> Order:
        return Order("end", *_when(on, at_period_end), reason=reason, waive_early_end=waive)

    _order(subscription, wanted, preview)


@subscriptions.command("withdraw")
def subscription_withdraw(
    subscription: _Which,
    change: Annotated[str, typer.Argument(help="Id of the change (sch_…), see: subscription show.")],
    reason: Annotated[str, typer.Option(help="Why; for the audit trail.")],
    preview: _Look = False,
) -> None:
    """Take a change back, as if it had never been."""

    async def wanted(_: AsyncConnection) -> Order:
        return Order("withdraw", change_id=change, reason=reason)

    _order(subscription, wanted, preview)


def _when(on: datetime | None, at_period_end: bool) -> tuple[str, date | None]:
    if on is not None and at_period_end:
        fail("give --on or --at-period-end, not both", 2)
    given = day(on, "--on")
    return ("on", given) if given is not None else ("period_end" if at_period_end else "now", None)


_Wanted = Callable[[AsyncConnection], Awaitable[Order]]


def _order(subscription: str, wanted: _Wanted, preview: bool) -> None:
    async def body(house: House) -> None:
        if preview:
            await _preview(house, subscription, wanted)
            return
        async with house.workplace.work(actor()) as work:
            subscription_id = await subscription_named(work.connection, subscription)
            order = await wanted(work.connection)
            from_on = outcome_or_fail(await carry_out(work, subscription_id, order))
        say(f"{subscription_id}: {order.kind} from {from_on}")

    in_house(body)


async def _preview(house: House, subscription: str, wanted: _Wanted) -> None:
    from billing.subscriptions.preview_order import preview_order
    from billing.taxes.set_engine import asked_tax_engine

    async with house.workplace.reading() as connection:
        subscription_id = await subscription_named(connection, subscription)
        order = await wanted(connection)
    async with asked_tax_engine(house.workplace, house.sealer) as engine:
        told = outcome_or_fail(
            await preview_order(
                house.workplace, house.usage, subscription_id, order, house.settings.billing, engine=engine
            )
        )
    _show_draft("Without it", told.without)
    _show_draft(f"With {order.kind} from {told.from_on}", told.with_change)
    of = told.with_change or told.without
    if of is not None:
        say(f"difference {format_money(told.difference_minor, of.account.currency)}; nothing was changed")


def _show_draft(title: str, draft: InvoiceDraft | None) -> None:
    rows = [] if draft is None else [
        [one.description, one.period, format_money(one.amount_minor, draft.account.currency)]
        for one in draft.lines
    ]  # fmt: skip
    if draft is not None:
        rows.append(["Tax", "", format_money(draft.tax_minor, draft.account.currency)])
        rows.append(["Total", "", format_money(draft.total_minor, draft.account.currency)])
    if draft is not None:
        title = f"{title}: {draft.cycle}, issued {draft.issued_on}"
    show(title, ["what", "period", "amount"], rows, none="no invoice")


@charges.command("list")
def charge_list(
    account: Annotated[str, typer.Argument(help="Account number or id.")], limit: Limit = 50
) -> None:
    """One-off charges of an account, newest first, with what became of each."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account)
            rows = await charge_rows.list_charges(connection, account_id, limit=limit)
        show(
            f"Charges of {account}",
            ["id", "day", "what", "kind", "amount", "state", "invoice", "source"],
            [
                [
                    one.id, one.happened_on, one.description, one.kind,
                    format_money(one.quoted_minor, one.currency), one.state, one.invoice_number, one.source,
                ]
                for one in rows
            ],
        )  # fmt: skip

    in_house(body)


@charges.command("add")
def charge_add(
    account: Annotated[str, typer.Argument(help="Account number or id.")],
    description: Annotated[str, typer.Argument(help="As it stands on the invoice.")],
    amount: Annotated[str, typer.Argument(help="Like 25.00, net unless --tax-included; -25.00 is a credit.")],
    kind: Annotated[str, typer.Option(help="One word, such as visit.")] = "charge",
    tax_class: Annotated[str, typer.Option(help="What is taxed so.")] = "fee",
    tax_included: Annotated[bool, typer.Option("--tax-included", help="The amount holds its tax.")] = False,
    revenue: Annotated[str, typer.Option(help="Revenue account in the ledger.")] = "fees",
    bill_from: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="On no invoice before that day.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="What it comes from, such as a ticket: the same once more changes nothing; "
            "without one, the same command twice charges twice."
        ),
    ] = None,
) -> None:
    """Put a charge or credit on the next invoice."""
    from billing.invoicing.add_charge import add_charge

    not_before = day(bill_from, "--bill-from")

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            payer = await account_rows.find_account(work.connection, account_id)
            if payer is None:
                raise Refused(Refusal("unknown_account", f"there is no account {account}", "account"))
            try:
                amount_minor = parse_amount(amount.removeprefix("-"), payer.currency)
            except ValueError as trouble:
                fail(f"AMOUNT: {trouble}", 2)
            made = outcome_or_fail(
                await add_charge(
                    work,
                    account_id=account_id,
                    kind=kind,
                    description=description,
                    amount_minor=-amount_minor if amount.startswith("-") else amount_minor,
                    tax_class=tax_class,
                    tax_included=tax_included,
                    revenue=revenue,
                    source=source or work.ids.new("cli"),
                    bill_from=not_before,
                )
            )
        say(f"{account}: {made}")

    in_house(body)


@charges.command("withdraw")
def charge_withdraw(
    charge: Annotated[str, typer.Argument(help="Its id (chg_…), see: charge list.")],
    reason: Annotated[str, typer.Option(help="Why; for the audit trail.")],
) -> None:
    """Take back a charge that no invoice has yet; credit one that is invoiced."""
    from billing.invoicing.add_charge import withdraw_charge

    in_transaction(lambda work, _: withdraw_charge(work, charge_id=charge, reason=reason))
    say(f"{charge}: withdrawn")
