"""Commands for payments."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import select

from appliance.commands.running import (
    Limit,
    actor,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    say,
    show,
)
from appliance.lookup import find
from appliance.wiring import House
from billing.payments.receive_payment import PaymentReceipt
from billing.store import tables as billing
from core.money import format_money, parse_amount

payments = typer.Typer(help="Payments.", no_args_is_help=True)


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

    in_transaction(lambda work, _: win_dispute(work, reversal_id=reversal_id, reason=reason))
    say(f"reversal {reversal_id}: the money is back")


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
