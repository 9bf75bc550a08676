"""Commands for payments and the ladder for late accounts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.commands.running import Limit, actor, day, fail, in_house, outcome_or_fail, say, show
from appliance.lookup import find
from appliance.wiring import House
from billing.payments.receive_payment import PaymentReceipt
from billing.store import tables as billing
from core.money import format_money, parse_amount

payments = typer.Typer(help="Payments.", no_args_is_help=True)
dunning = typer.Typer(help="The ladder for late accounts.", no_args_is_help=True)


def pay(
    account: Annotated[str, typer.Argument(help="Account number or id.")],
    amount: Annotated[str, typer.Argument(help="Such as 49.00, in the account's currency.")],
    method: Annotated[str, typer.Option(help="cash, cheque, transfer or card")] = "cash",
    key: Annotated[
        str | None,
        typer.Option(help="Your id of this payment (receipt number): the same again changes nothing."),
    ] = None,
    note: Annotated[str | None, typer.Option(help="For the people who look later.")] = None,
    reference: Annotated[str | None, typer.Option(help="Number of the cheque, of the transfer.")] = None,
    in_hand: Annotated[
        bool, typer.Option("--in-hand", help="Pays nothing until you allocate it or keep it as a deposit.")
    ] = False,
) -> None:
    """Record a payment; what it settles is restored at once."""
    from billing.payments.receive_payment import receive_payment

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
                    amount_minor=_amount(amount, currency),
                    currency=currency,
                    method=method,
                    idempotency_key=work.ids.new("key") if key is None else key,
                    note=note,
                    reference=reference,
                    by_hand=in_hand,
                )
            )
        say(_receipt(receipt))

    in_house(body)


def _amount(text: str, currency: str) -> int:
    try:
        return parse_amount(text, currency)
    except ValueError as trouble:
        fail(f"AMOUNT: {trouble}", 2)


def _receipt(receipt: PaymentReceipt) -> str:
    words = [f"{receipt.outcome} {format_money(receipt.amount_minor, receipt.currency)}"]
    words += [f"{number} {format_money(part, receipt.currency)}" for number, part in receipt.allocations]
    if receipt.unallocated_minor:
        words.append(f"credit {format_money(receipt.unallocated_minor, receipt.currency)}")
    if receipt.stage_change is not None:
        words.append(f"{receipt.stage_change.from_stage} → {receipt.stage_change.to_stage}")
    return "; ".join(words)


def reverse(
    payment_id: Annotated[str, typer.Argument(help="The payment's id; see: hilltop payment list.")],
    reason: Annotated[str, typer.Argument(help="Chargeback, bounced cheque, typing error …")],
    kind: Annotated[
        str, typer.Option(help="mistake, nsf, chargeback, ach_return: says which fee.")
    ] = "mistake",
    amount: Annotated[str | None, typer.Option(help="So much of it; else all that is left.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Your id of the news: the same twice counts once.")
    ] = None,
    no_fee: Annotated[
        bool, typer.Option("--no-fee", help="Charge no fee, whatever the settings say.")
    ] = False,
) -> None:
    """Take a payment back, whole or in part; its invoices are open again with their own due dates."""
    from billing.payments.reverse_payment import reverse_payment
    from billing.store.payment_rows import find_payment

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            found = await find_payment(work.connection, payment_id)
            currency = "USD" if found is None else str(found.currency)
            done = outcome_or_fail(
                await reverse_payment(
                    work, payment_id=payment_id, reason=reason, settings=house.settings.billing, kind=kind,
                    amount_minor=None if amount is None else _amount(amount, currency), source=source,
                    fee_minor=0 if no_fee else None,
                )
            )  # fmt: skip
        say(f"payment {payment_id} {done.outcome}: {format_money(done.amount_minor, currency)}")

    in_house(body)


def win(
    reversal_id: Annotated[str, typer.Argument(help="The reversal's id, as the payment's page shows it.")],
    reason: Annotated[str, typer.Argument(help="How the money came back.")],
) -> None:
    """A dispute was won: the money of a reversal is there again, and its fee is given back."""
    from billing.payments.reverse_payment import win_dispute

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(await win_dispute(work, reversal_id=reversal_id, reason=reason))
        say(f"reversal {reversal_id}: the money is back")

    in_house(body)


@dunning.command("promise")
def dunning_promise(
    account: Annotated[str, typer.Argument(help="Account number or id.")],
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="None: forget the promise.")
    ] = None,
) -> None:
    """A promise to pay: nothing worsens up to that date."""
    from billing.dunning.exceptions import record_promise

    last_day = day(until, "--until")

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(
                await record_promise(
                    work,
                    account_id=await find(work.connection, "account", account),
                    until=last_day,
                    settings=house.settings.billing,
                )
            )
        say(f"{account}: {'no promise' if last_day is None else f'promised until {last_day}'}")

    in_house(body)


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
    """Who would change stage, and the exact commands that devices would get. Nothing is changed."""
    from appliance.reactions import EFFECT_OF_STAGE
    from billing.dunning.preview import preview_dunning
    from provisioning.preview import preview_enforcement

    day(on, "--on")

    async def body(house: House) -> None:
        moment = house.clock.now() if on is None else on.replace(hour=23, minute=59, tzinfo=UTC)
        async with house.workplace.reading() as connection:
            changes = await preview_dunning(connection, moment)
            names = await _names(connection)
            for change in changes:
                say(f"{names[change.account_id]}: {change.from_stage} → {change.to_stage} ({change.because})")
                effect = EFFECT_OF_STAGE[change.to_stage]
                for wanted in await preview_enforcement(connection, change.service_ids, effect):
                    say(f"  {wanted.device_name}:")
                    for line in wanted.commands:
                        say(f"    {line}")
        if not changes:
            say("nobody would change stage")

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


@dunning.command("immune")
def dunning_immune(
    account: Annotated[str, typer.Argument(help="Account number or id.")],
    off: Annotated[bool, typer.Option("--off", help="The ladder applies again.")] = False,
) -> None:
    """Leave an account alone, whatever it owes."""
    from billing.dunning.exceptions import set_immunity

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            outcome_or_fail(
                await set_immunity(
                    work, account_id=account_id, immune=not off, settings=house.settings.billing
                )
            )
        say(f"{account}: {'the ladder applies' if off else 'immune'}")

    in_house(body)


@payments.command("list")
def payment_list(limit: Limit = 50) -> None:
    """Payments, newest first."""

    async def body(house: House) -> None:
        payment, account = billing.payment, billing.account
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(
                    select(payment, account.c.number)
                    .join(account, account.c.id == payment.c.account_id)
                    .order_by(payment.c.received_at.desc())
                    .limit(limit)
                )
            ).all()
        show(
            "Payments",
            ["received", "account", "amount", "method", "key", "reversed", "id"],
            [
                [r.received_on, r.number, format_money(r.amount_minor, r.currency), r.method,
                 r.idempotency_key, r.reversal_reason, r.id]
                for r in rows
            ],
        )  # fmt: skip

    in_house(body)
