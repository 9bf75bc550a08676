"""Commands for money that moves after it came: allocations, refunds, deposits, deposit slips."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from sqlalchemy import select

from appliance.commands.running import (
    actor,
    currency_or_house,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    say,
    show,
)
from appliance.lookup import find
from appliance.wiring import House
from billing.store import money_out_rows, payment_rows
from billing.store import tables as billing
from core.money import format_money, parse_amount

allocations = typer.Typer(help="Which invoice a payment pays, by rule and by hand.", no_args_is_help=True)
refunds = typer.Typer(help="Money back to customers.", no_args_is_help=True)
deposits = typer.Typer(help="Security that customers left.", no_args_is_help=True)
slips = typer.Typer(help="Lists of cheques or cash for the bank.", no_args_is_help=True)
Payment = Annotated[str, typer.Argument(help="The payment's id; see: hilltop payment list.")]
Invoice = Annotated[str, typer.Argument(help="Number or id.")]
Amount = Annotated[str | None, typer.Option(help="Such as 49.00; all there is when left out.")]
Reason = Annotated[str, typer.Option(help="Why, for the people who look later.")]
Key = Annotated[str | None, typer.Option(help="Your id of this order: the same again changes nothing.")]
Account = Annotated[str, typer.Argument(help="Account number or id.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


async def _currency_of_payment(house: House, payment_id: str) -> str:
    async with house.workplace.reading() as connection:
        found = await payment_rows.find_payment(connection, payment_id)
    if found is None:
        fail(f"there is no payment {payment_id}")
    return str(found.currency)


def minor(text: str | None, currency: str, name: str = "--amount") -> int | None:
    """Minor units of an option, or exit 2 saying what is wrong."""
    if text is None:
        return None
    try:
        return parse_amount(text, currency)
    except ValueError as trouble:
        fail(f"{name}: {trouble}", 2)


@allocations.command("give")
def allocation_give(payment: Payment, invoice: Invoice, amount: Amount = None, key: Key = None) -> None:
    """Give a payment's rest to an invoice."""
    from billing.payments.allocate_by_hand import allocate_by_hand

    async def body(house: House) -> None:
        currency = await _currency_of_payment(house, payment)
        async with house.workplace.work(actor()) as work:
            done = outcome_or_fail(
                await allocate_by_hand(
                    work, payment_id=payment, invoice=invoice, amount_minor=minor(amount, currency), key=key,
                    settings=house.settings.billing,
                )
            )  # fmt: skip
        say(f"{done.outcome}: {format_money(done.amount_minor, currency)} to {invoice}")

    in_house(body)


@allocations.command("take-back")
def allocation_take_back(
    payment: Payment, invoice: Invoice, reason: Reason, amount: Amount = None, key: Key = None
) -> None:
    """Take a payment's money off an invoice; it stays in hand until you give it or let the rule decide."""
    from billing.payments.allocate_by_hand import take_back_allocation

    async def body(house: House) -> None:
        currency = await _currency_of_payment(house, payment)
        async with house.workplace.work(actor()) as work:
            done = outcome_or_fail(
                await take_back_allocation(
                    work, payment_id=payment, invoice=invoice, reason=reason, key=key,
                    amount_minor=minor(amount, currency), settings=house.settings.billing,
                )
            )  # fmt: skip
        say(f"{done.outcome}: {format_money(done.amount_minor, currency)} off {invoice}")

    in_house(body)


@allocations.command("move")
def allocation_move(
    payment: Payment,
    from_invoice: Invoice,
    to_invoice: Invoice,
    reason: Reason,
    amount: Amount = None,
    key: Key = None,
) -> None:
    """Move a payment's money from one invoice to another."""
    from billing.payments.allocate_by_hand import move_allocation

    async def body(house: House) -> None:
        currency = await _currency_of_payment(house, payment)
        async with house.workplace.work(actor()) as work:
            done = outcome_or_fail(
                await move_allocation(
                    work, payment_id=payment, from_invoice=from_invoice, to_invoice=to_invoice, key=key,
                    reason=reason, amount_minor=minor(amount, currency), settings=house.settings.billing,
                )
            )  # fmt: skip
        say(
            f"{done.outcome}: {format_money(done.amount_minor, currency)} from {from_invoice} to {to_invoice}"
        )

    in_house(body)


@allocations.command("by-rule")
def allocation_by_rule(payment: Payment) -> None:
    """Let the account's rule allocate what is in hand."""
    from billing.payments.allocate_by_hand import let_rule_decide

    in_transaction(
        lambda work, house: let_rule_decide(work, payment_id=payment, settings=house.settings.billing)
    )
    say(f"payment {payment} follows the rule")


@allocations.command("rule")
def allocation_rule(
    rule: Annotated[
        str | None,
        typer.Argument(help="oldest, newest, largest, smallest, proportional; none: the wider one."),
    ] = None,
    account: Annotated[str | None, typer.Option(help="For this account (number or id).")] = None,
    account_class: Annotated[str | None, typer.Option("--class", help="For this class of accounts.")] = None,
) -> None:
    """Set whose turn it is when money does not pay everything; without arguments: list the rules."""
    from billing.payments.allocate_by_hand import set_allocation_rule

    if account and account_class:
        fail("--account and --class: choose one", 2)

    async def body(house: House) -> None:
        if rule is None:
            async with house.workplace.reading() as connection:
                found = await payment_rows.rules(connection)
            rows = [[scope, name, told] for (scope, name), told in sorted(found.items())]
            show("Allocation rules (oldest first where none is told)", ["scope", "for", "rule"], rows)
            return
        async with house.workplace.work(actor()) as work:
            named = await find(work.connection, "account", account) if account else account_class or ""
            scope = "account" if account else "class" if account_class else "house"
            outcome_or_fail(
                await set_allocation_rule(
                    work, scope=scope, scope_id=named, rule=None if rule == "none" else rule
                )
            )
        say(f"{scope} {account or account_class or ''}: {rule}".replace(" :", ":"))

    in_house(body)


@refunds.command("order")
def refund_order(
    account: Account,
    amount: Annotated[str, typer.Argument(help="Such as 49.00, in the account's currency.")],
    reason: Reason,
    method: Annotated[str, typer.Option(help="cash, cheque, transfer or gateway.")] = "cheque",
    payment: Annotated[str | None, typer.Option(help="Of this payment's rest alone; its id.")] = None,
    key: Key = None,
) -> None:
    """Order a refund of credit; it is due until you say that it is paid."""
    from billing.payments.refund import order_refund

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            query = select(billing.account.c.currency).where(billing.account.c.id == account_id)
            currency = str(await work.connection.scalar(query))
            done = outcome_or_fail(
                await order_refund(
                    work, account_id=account_id, amount_minor=minor(amount, currency, "AMOUNT") or 0,
                    method=method, reason=reason, payment_id=payment,
                    idempotency_key=work.ids.new("key") if key is None else key,
                )
            )  # fmt: skip
        say(f"refund {done.refund_id} {done.outcome}")

    in_house(body)


@refunds.command("end")
def refund_end(
    refund: Annotated[str, typer.Argument(help="The refund's id.")],
    outcome: Annotated[str, typer.Argument(help="paid or failed")],
    reference: Annotated[str | None, typer.Option(help="Number of the cheque, of the transfer.")] = None,
    told: Annotated[str, typer.Option(help="Why it failed.")] = "",
) -> None:
    """Note that a refund was paid out, or that it could not be: then it is credit again."""
    from billing.payments.refund import end_refund

    done = in_transaction(
        lambda work, _: end_refund(work, refund_id=refund, outcome=outcome, reference=reference, told=told)
    )
    say(f"refund {refund} {done.outcome}")


@refunds.command("list")
def refund_list(
    due: Annotated[bool, typer.Option("--due", help="Those alone that are not paid.")] = False,
    output: Json = False,
) -> None:
    """Refunds, newest first."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await money_out_rows.list_refunds(connection, due_only=due)
        told = [
            {
                "id": one.id, "account": one.account_number, "name": one.account_name, "method": one.method,
                "amount": format_money(one.amount_minor, one.currency), "reason": one.reason,
                "ordered_on": str(one.ordered_on), "outcome": one.outcome or "due",
            }
            for one in rows
        ]  # fmt: skip
        _print("Refunds", told, output)

    in_house(body)


def _print(title: str, rows: list[dict[str, Any]], output: bool) -> None:
    if output:
        typer.echo(json.dumps(rows, indent=2))
        return
    names = list(rows[0]) if rows else ["nothing"]
    show(title, names, [[row[name] for name in names] for row in rows])


@deposits.command("take")
def deposit_take(
    account: Account,
    amount: Annotated[str, typer.Argument(help="Such as 100.00, of the account's credit.")],
    reason: Reason,
    subscription: Annotated[str | None, typer.Option(help="Id of the subscription it is for.")] = None,
    key: Key = None,
) -> None:
    """Keep credit of the account as a deposit: no rule allocates it any more."""
    from billing.payments.deposits import take_deposit

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            query = select(billing.account.c.currency).where(billing.account.c.id == account_id)
            currency = str(await work.connection.scalar(query))
            done = outcome_or_fail(
                await take_deposit(
                    work, account_id=account_id, amount_minor=minor(amount, currency, "AMOUNT") or 0,
                    reason=reason, subscription_id=subscription,
                    idempotency_key=work.ids.new("key") if key is None else key,
                )
            )  # fmt: skip
        say(f"deposit {done.deposit_id} {done.outcome}")

    in_house(body)


@deposits.command("release")
def deposit_release(
    deposit: Annotated[str, typer.Argument(help="Its id; see: hilltop deposit list.")],
    reason: Reason,
    amount: Amount = None,
    refund_by: Annotated[
        str | None, typer.Option(help="cash, cheque or transfer: to the customer, not to his invoices.")
    ] = None,
    key: Key = None,
) -> None:
    """Give a deposit back: to the account's invoices, or to the customer."""
    from billing.payments.deposits import release_deposit

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            owner = await money_out_rows.deposit_owner(work.connection, deposit)
            query = select(billing.account.c.currency).where(billing.account.c.id == owner)
            currency = str(await work.connection.scalar(query) or house.settings.billing.currency)
            done = outcome_or_fail(
                await release_deposit(
                    work, deposit_id=deposit, reason=reason, amount_minor=minor(amount, currency),
                    refund_by=refund_by, idempotency_key=work.ids.new("key") if key is None else key,
                )
            )  # fmt: skip
        say(f"{done.outcome}: {format_money(done.amount_minor, currency)}")

    in_house(body)


@deposits.command("list")
def deposit_list(account: Account, output: Json = False) -> None:
    """An account's deposits and what is held of each."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = await money_out_rows.deposits_of(connection, await find(connection, "account", account))
        told = [
            {
                "id": one.id, "taken_on": str(one.taken_on), "for": one.reason,
                "amount": format_money(one.amount_minor, one.currency),
                "held": format_money(one.held_minor, one.currency),
            }
            for one in found
        ]  # fmt: skip
        _print("Deposits", told, output)

    in_house(body)


@slips.command("draw")
def slip_draw(
    method: Annotated[str, typer.Argument(help="cheque or cash")] = "cheque",
    currency: Annotated[str | None, typer.Option(help="ISO 4217; else the house's.")] = None,
) -> None:
    """List what waits to be banked on a new slip."""
    from billing.payments.draw_slip import draw_slip

    currency = currency_or_house(currency)
    done = in_transaction(
        lambda work, house: draw_slip(
            work, method=method, currency=currency, time_zone=house.settings.ui.time_zone
        )
    )
    say(f"slip {done.number}: {done.payments} payments, {format_money(done.total_minor, currency)}")


@slips.command("show")
def slip_show(number: Annotated[str, typer.Argument(help="Number or id.")], output: Json = False) -> None:
    """The payments on a slip."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            slip = await money_out_rows.find_slip(connection, number)
            if slip is None:
                fail(f"there is no deposit slip {number}")
            items = await money_out_rows.slip_items(connection, slip.id)
        told = [
            {
                "position": one.position, "account": one.account_number, "name": one.account_name,
                "reference": one.reference or "", "amount": format_money(one.amount_minor, slip.currency),
            }
            for one in items
        ]  # fmt: skip
        _print(f"Deposit slip {slip.number} of {slip.drawn_on}", told, output)

    in_house(body)


@slips.command("list")
def slip_list(output: Json = False) -> None:
    """Slips, newest first."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await money_out_rows.list_slips(connection)
        told = [
            {
                "number": one.number, "drawn_on": str(one.drawn_on), "method": one.method,
                "payments": one.count, "total": format_money(int(one.total_minor), one.currency),
            }
            for one in rows
        ]  # fmt: skip
        _print("Deposit slips", told, output)

    in_house(body)
