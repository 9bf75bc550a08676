"""Commands for plans, taxes, bill runs, invoices, payments, dunning and the ledger."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select

from aaa.domain.effect import Effect
from appliance.commands.running import actor, console, fail, in_house, outcome_or_fail, show
from appliance.lookup import find
from appliance.wiring import House
from billing.receive_payment import PaymentReceipt
from billing.store import tables as billing
from core.money import format_money, minor_digits, parse_amount
from core.quantities import GB, format_octets

plans = typer.Typer(help="What is sold.", no_args_is_help=True)
taxes = typer.Typer(help="Tax rates.", no_args_is_help=True)
bills = typer.Typer(help="Bill runs.", no_args_is_help=True)
invoices = typer.Typer(help="Invoices.", no_args_is_help=True)
dunning = typer.Typer(help="The ladder for late accounts.", no_args_is_help=True)
ledger = typer.Typer(help="The double-entry ledger.", no_args_is_help=True)


def _amount(text: str, currency: str, option: str) -> int:
    try:
        return parse_amount(text, currency)
    except ValueError as trouble:
        fail(f"{option}: {trouble}", 2)


def _tier(text: str, currency: str) -> dict[str, Any]:
    """``50:0.20`` is: the first 50 GB of overage at 0.20 a GB; ``:0.10`` is: all that follows."""
    size, colon, price = text.partition(":")
    try:
        up_to = None if size == "" else int(Decimal(size) * GB)
        unit_price = Decimal(price)
    except InvalidOperation:
        colon = ""
        up_to, unit_price = None, Decimal(0)
    if not colon or unit_price < 0:
        fail(f"--tier {text!r}: write it GB:PRICE, such as 50:0.20, and :0.10 for all that follows", 2)
    return {"up_to_octets": up_to, "minor_per_gb": str(unit_price.scaleb(minor_digits(currency)))}


@plans.command("add")
def plan_add(
    code: str,
    name: str,
    price: Annotated[str, typer.Option(help="A month, net of tax, such as 49.00.")],
    profile: Annotated[str, typer.Option(help="Service profile name or id.")],
    currency: str = "USD",
    allowance_gb: Annotated[int | None, typer.Option(help="Included usage in GB; none: unlimited.")] = None,
    tier: Annotated[list[str] | None, typer.Option(help="Overage tier GB:PRICE; may be repeated.")] = None,
    metered: Annotated[str, typer.Option(help="What counts: sum, down or up.")] = "sum",
    tax_class: str = "internet",
) -> None:
    """Define a plan, or its next version when the code is known."""
    from billing.set_up import define_plan_version

    price_minor = _amount(price, currency, "--price")
    tiers = [_tier(one, currency) for one in tier or []]

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            version_id = outcome_or_fail(
                await define_plan_version(
                    work,
                    code=code,
                    name=name,
                    price_minor=price_minor,
                    currency=currency,
                    allowance_octets=None if allowance_gb is None else allowance_gb * GB,
                    overage_tiers=tiers,
                    metered=metered,
                    tax_class=tax_class,
                    service_profile_id=await find(work.connection, "profile", profile),
                )
            )
        included = "unlimited" if allowance_gb is None else f"{allowance_gb} GB included"
        console.print(
            f"plan {code} ({format_money(price_minor, currency)} a month, {included}): {version_id}"
        )

    in_house(body)


@plans.command("list")
def plan_list() -> None:
    """All plans with their versions."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(
                    select(billing.plan.c.code, billing.plan.c.name, billing.plan_version)
                    .join(billing.plan_version, billing.plan_version.c.plan_id == billing.plan.c.id)
                    .order_by(billing.plan.c.code, billing.plan_version.c.version)
                )
            ).all()
        show(
            "Plans",
            ["code", "version", "name", "price", "allowance", "id"],
            [
                [
                    r.code,
                    r.version,
                    r.name,
                    format_money(r.price_minor, r.currency),
                    "unlimited" if r.allowance_octets is None else format_octets(r.allowance_octets),
                    r.id,
                ]
                for r in rows
            ],
        )

    in_house(body)


@taxes.command("add")
def tax_add(
    name: str,
    percent: Annotated[str, typer.Option(help="Such as 7.25.")],
    country: str = "US",
    region: Annotated[str | None, typer.Option(help="State or province; none: the whole country.")] = None,
    tax_class: str = "internet",
    valid_from: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])] = None,
) -> None:
    """Set a tax rate from a date on."""
    from billing.set_up import set_tax_rate

    try:
        rate_ppm = Decimal(percent) * 10_000
    except InvalidOperation:
        fail(f"--percent {percent!r}: write it like 7.25", 2)
    if rate_ppm != int(rate_ppm):
        fail(f"--percent {percent!r}: at most four decimals", 2)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(
                await set_tax_rate(
                    work,
                    name=name,
                    tax_class=tax_class,
                    country=country,
                    region=region,
                    rate_ppm=int(rate_ppm),
                    valid_from=date(2000, 1, 1) if valid_from is None else valid_from.date(),
                )
            )
        console.print(f"tax {name}: {percent} %")

    in_house(body)


@bills.command("run")
def bill_run_now(
    through: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Cycles turning up to this date; else today."),
    ] = None,
    trust_clock: Annotated[bool, typer.Option("--trust-clock", help="You have looked at the clock.")] = False,
) -> None:
    """Close due cycles and issue their invoices; running it again changes nothing."""
    from billing.bill_run import bill_run

    async def body(house: House) -> bool:
        outcome = outcome_or_fail(
            await bill_run(
                house.workplace,
                house.usage,
                through=None if through is None else through.date(),
                actor=actor(),
                settings=house.settings.billing,
                trust_clock=trust_clock,
            )
        )
        console.print(f"{outcome.invoices} invoices issued, {len(outcome.parked)} accounts parked")
        for parked in outcome.parked:
            console.print(f"  {parked.account_id}: {parked.reason}", markup=False)
        return not outcome.parked

    if not in_house(body):
        raise typer.Exit(1)


@bills.command("preview")
def bill_preview(account: str) -> None:
    """An account's next invoice with the usage so far. Nothing is issued."""
    from billing.preview_invoice import preview_invoice

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account)
            draft = outcome_or_fail(
                await preview_invoice(
                    connection, house.usage, account_id, house.clock.now(), house.settings.billing
                )
            )
        if draft is None:
            console.print(f"{account}: nothing is to be billed")
            return
        show(
            f"{account}: {draft.cycle}",
            ["what", "amount"],
            [
                [one.description, format_money(one.amount_minor, draft.account.currency)]
                for one in draft.lines
            ],
        )
        console.print(f"total {format_money(draft.total_minor, draft.account.currency)}")

    in_house(body)


@invoices.command("list")
def invoice_list(limit: int = 50) -> None:
    """Invoices, newest first."""

    async def body(house: House) -> None:
        table = billing.invoice
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(
                    select(table, billing.account.c.name)
                    .join(billing.account, billing.account.c.id == table.c.account_id)
                    .order_by(table.c.number.desc())
                    .limit(limit)
                )
            ).all()
        show(
            "Invoices",
            ["number", "account", "issued", "due", "total", "open", "status"],
            [
                [
                    r.number,
                    r.name,
                    r.issued_on,
                    r.due_on,
                    format_money(r.total_minor, r.currency),
                    format_money(r.open_minor, r.currency),
                    r.status,
                ]
                for r in rows
            ],
        )

    in_house(body)


@invoices.command("pdf")
def invoice_pdf_file(
    number: str, output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")]
) -> None:
    """Write an invoice as PDF."""
    from billing.invoice_view import invoice_view
    from billing.render import invoice_pdf

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            view = outcome_or_fail(await invoice_view(connection, number, house.settings.billing))
        output.write_bytes(invoice_pdf(view))
        console.print(f"wrote {output}")

    in_house(body)


def explain(
    invoice: Annotated[str, typer.Argument(help="Invoice number.")],
    line: Annotated[int, typer.Argument(help="Line of the invoice, from 1.")],
) -> None:
    """Walk from an invoice line to the counter samples behind it."""
    from billing.explain import explain_line, format_explanation

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            explanation = outcome_or_fail(await explain_line(connection, house.usage, invoice, line))
        console.print(format_explanation(explanation), markup=False)

    in_house(body)


def pay(
    account: str,
    amount: Annotated[str, typer.Argument(help="Such as 49.00, in the account's currency.")],
    method: Annotated[str, typer.Option(help="cash, cheque, transfer or card")] = "cash",
    key: Annotated[
        str | None,
        typer.Option(help="Your id of this payment (receipt number): the same again changes nothing."),
    ] = None,
    note: str | None = None,
) -> None:
    """Record a payment; what it settles is restored at once."""
    from billing.receive_payment import receive_payment

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            currency = str(
                await work.connection.scalar(
                    select(billing.account.c.currency).where(billing.account.c.id == account_id)
                )
            )
            receipt = outcome_or_fail(
                await receive_payment(
                    work,
                    account_id=account_id,
                    amount_minor=_amount(amount, currency, "AMOUNT"),
                    currency=currency,
                    method=method,
                    idempotency_key=key or work.ids.new("key"),
                    note=note,
                )
            )
        console.print(_receipt(receipt), markup=False)

    in_house(body)


def _receipt(receipt: PaymentReceipt) -> str:
    words = [f"{receipt.outcome} {format_money(receipt.amount_minor, receipt.currency)}"]
    words += [f"{number} {format_money(part, receipt.currency)}" for number, part in receipt.allocations]
    if receipt.unallocated_minor:
        words.append(f"credit {format_money(receipt.unallocated_minor, receipt.currency)}")
    if receipt.stage_change is not None:
        words.append(f"{receipt.stage_change.from_stage} → {receipt.stage_change.to_stage}")
    return "; ".join(words)


def reverse(
    payment_id: Annotated[str, typer.Argument(help="The payment's id, as on the payments page.")],
    reason: Annotated[str, typer.Argument(help="Chargeback, bounced cheque, typing error …")],
) -> None:
    """Take a payment back whole; its invoices are open again with their own due dates."""
    from billing.reverse_payment import reverse_payment

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(await reverse_payment(work, payment_id=payment_id, reason=reason))
        console.print(f"payment {payment_id} reversed")

    in_house(body)


@dunning.command("promise")
def dunning_promise(
    account: str,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="None: forget the promise.")
    ] = None,
) -> None:
    """A promise to pay: nothing worsens up to that date."""
    from billing.dunning import record_promise

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(
                await record_promise(
                    work,
                    account_id=await find(work.connection, "account", account),
                    until=None if until is None else until.date(),
                )
            )
        console.print(f"{account}: {'no promise' if until is None else f'promised until {until.date()}'}")

    in_house(body)


@dunning.command("run")
def dunning_run(
    trust_clock: Annotated[bool, typer.Option("--trust-clock", help="You have looked at the clock.")] = False,
) -> None:
    """Evaluate every account by its local calendar now."""
    from billing.dunning import evaluate_dunning

    async def body(house: House) -> None:
        changes = outcome_or_fail(
            await evaluate_dunning(
                house.workplace, actor=actor(), settings=house.settings.billing, trust_clock=trust_clock
            )
        )
        console.print(f"{len(changes)} accounts changed stage")
        for change in changes:
            console.print(
                f"  {change.account_id}: {change.from_stage} → {change.to_stage} ({change.because})",
                markup=False,
            )

    in_house(body)


@dunning.command("preview")
def dunning_preview(
    on: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As of this date; else now.")
    ] = None,
) -> None:
    """Who would change stage, and the exact commands that devices would get. Nothing is changed."""
    from appliance.reactions import EFFECT_OF_STAGE
    from billing.dunning import preview_dunning
    from provisioning.preview import preview_enforcement

    async def body(house: House) -> None:
        moment = house.clock.now() if on is None else on.replace(hour=23, minute=59, tzinfo=UTC)
        async with house.workplace.reading() as connection:
            for change in await preview_dunning(connection, moment):
                console.print(f"{change.account_id}: {change.from_stage} → {change.to_stage}", style="bold")
                effect = EFFECT_OF_STAGE[change.to_stage]
                if effect is Effect.NONE:
                    continue
                for wanted in await preview_enforcement(connection, change.service_ids, effect):
                    console.print(f"  {wanted.device_name}:")
                    for line in wanted.commands:
                        console.print(f"    {line}", markup=False)

    in_house(body)


@ledger.command("verify")
def ledger_verify() -> None:
    """Prove the ledger: every entry balances, the trial balance is zero, invoices agree with it."""
    from billing.ledger import trial_balance, verify_ledger

    async def body(house: House) -> bool:
        async with house.workplace.reading() as connection:
            balances = await trial_balance(connection)
            faults = await verify_ledger(connection)
        show(
            "Trial balance",
            ["account", "balance"],
            [[name, format_money(amount, currency)] for name, currency, amount in balances],
        )
        for fault in faults:
            typer.echo(str(fault), err=True)
        console.print("the ledger is sound" if not faults else f"{len(faults)} faults")
        return not faults

    if not in_house(body):
        raise typer.Exit(1)


def attach(app: typer.Typer) -> None:
    """Put these commands on ``app``."""
    app.add_typer(plans, name="plan")
    app.add_typer(taxes, name="tax")
    app.add_typer(bills, name="bill")
    app.add_typer(invoices, name="invoice")
    app.add_typer(dunning, name="dunning")
    app.add_typer(ledger, name="ledger")
    app.command("explain")(explain)
    app.command("pay")(pay)
    app.command("reverse")(reverse)
