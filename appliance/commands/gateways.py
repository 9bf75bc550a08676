"""Commands for payments through gateways: keys, saved cards, charges, automatic payment, links."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from appliance.commands.running import (
    Limit,
    actor,
    fail,
    in_house,
    one_from_stdin,
    outcome_or_fail,
    read_secret,
    say,
    show,
)
from appliance.lookup import find
from appliance.wiring import House
from billing.payments.gateways.open_gateways import Gateways
from core.money import format_money, parse_amount
from core.refusal import Refused
from ui.read import gateways as read
from ui.read.subscriber import account_heading

gateways = typer.Typer(help="Cards and bank accounts through Stripe and Authorize.net.", no_args_is_help=True)

AccountName = Annotated[str, typer.Argument(help="Account number or id.")]
KeyFile = Annotated[Path | None, typer.Option(help="File with the key (-: standard input); else typed.")]


@asynccontextmanager
async def _opened(house: House) -> AsyncIterator[Gateways]:
    opened = Gateways(house.workplace, house.sealer)
    try:
        yield opened
    finally:
        await opened.close()


@gateways.command("set")
def gateway_set(
    name: Annotated[str, typer.Argument(help="stripe or authorizenet")],
    login: Annotated[str | None, typer.Option(help="API login id (Authorize.net).")] = None,
    key_file: KeyFile = None,
    webhook_key_file: Annotated[
        Path | None, typer.Option(help="File with the signing key of webhooks (-: standard input).")
    ] = None,
    keep_key: Annotated[bool, typer.Option("--keep-key", help="The secret key stays as it was.")] = False,
    base_url: Annotated[str | None, typer.Option(help="A sandbox that speaks like it.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Nobody is charged through it.")] = False,
) -> None:
    """Set a gateway up or change it; keys are sealed and never shown again."""
    from billing.payments.gateways.keep_gateway import keep_gateway

    one_from_stdin(key_file, webhook_key_file)
    key = None if keep_key else read_secret("secret key", key_file, again=False)
    webhook_key = None if webhook_key_file is None else read_secret("signing key", webhook_key_file)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            refused = await keep_gateway(
                work, house.sealer, name=name, enabled=not off, login=login, key=key, webhook_key=webhook_key,
                base_url=base_url,
            )  # fmt: skip
            if refused is not None:
                raise Refused(refused)
        say(f"gateway {name}: {'off' if off else 'set up'}")

    in_house(body)


@gateways.command("check")
def gateway_check(name: Annotated[str, typer.Argument(help="stripe or authorizenet")]) -> None:
    """Ask the gateway whether it takes the keys."""
    from billing.payments.gateways.check_gateway import check_gateway

    async def body(house: House) -> None:
        async with _opened(house) as opened:
            say(f"{outcome_or_fail(await check_gateway(house.workplace, opened, name=name))} answers")

    in_house(body)


@gateways.command("list")
def gateway_list() -> None:
    """What is set up."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await read.gateways(connection)
        show(
            "Gateways",
            ["name", "on", "login", "webhooks signed", "sandbox", "changed", "by"],
            [
                [r.name, r.enabled, r.login, r.has_webhook_key, r.sandbox, r.changed_at, r.changed_by]
                for r in rows
            ],
        )

    in_house(body)


@gateways.command("events")
def gateway_events(limit: Limit = 50) -> None:
    """Webhooks that came and what became of them, newest first."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await read.latest_events(connection, limit)
        show(
            "Webhooks",
            ["received", "gateway", "event", "outcome", "id"],
            [[r.received_at, r.gateway, r.kind, r.outcome, r.event_id] for r in rows],
        )

    in_house(body)


@gateways.command("methods")
def gateway_methods(account: AccountName) -> None:
    """Cards and bank accounts that an account has saved, and how it pays by itself."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account)
            rows = await read.methods_of(connection, account_id)
            terms = await read.autopay_of(connection, account_id)
        show(
            f"Saved for {account}",
            ["kind", "brand", "ends in", "good until", "default", "gateway", "id"],
            [[r.kind, r.brand, r.last4, r.expires_on, r.is_default, r.gateway, r.id] for r in rows],
        )
        if terms is not None and terms.enabled:
            say(f"pays by itself, {terms.days} days {terms.day_rule.replace('_', ' ')}")

    in_house(body)


@gateways.command("forget")
def gateway_forget(method: Annotated[str, typer.Argument(help="Id of the card or bank account.")]) -> None:
    """Forget a saved card or bank account, at the gateway too."""
    from billing.payments.gateways.saved_methods import remove_method

    async def body(house: House) -> None:
        async with _opened(house) as opened:
            refused = await remove_method(
                house.workplace, opened, house.sealer, method_id=method, actor=actor()
            )
        if refused is not None:
            raise Refused(refused)
        say(f"{method} is forgotten")

    in_house(body)


@gateways.command("charge")
def gateway_charge(
    account: AccountName,
    amount: Annotated[str, typer.Argument(help="Such as 49.00, in the account's currency.")],
    method: Annotated[str | None, typer.Option(help="Id of the card; else the account's default.")] = None,
    key: Annotated[str | None, typer.Option(help="Your id of it: the same again charges once.")] = None,
) -> None:
    """Charge a saved card now."""
    from billing.payments.gateways.charge_method import begin_charge, send_charge

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = await find(work.connection, "account", account)
            heading = await account_heading(work.connection, account_id)
            currency = heading.currency if heading else "USD"
            try:
                amount_minor = parse_amount(amount, currency)
            except ValueError as trouble:
                fail(f"AMOUNT: {trouble}", 2)
            charge_id = outcome_or_fail(
                await begin_charge(
                    work, account_id=account_id, amount_minor=amount_minor, cause="operator",
                    method_id=method, source_key=f"cli:{account_id}:{key}" if key else None,
                )
            )  # fmt: skip
        async with _opened(house) as opened:
            await send_charge(house.workplace, opened, house.sealer, charge_id, house.settings.billing)
        async with house.workplace.reading() as connection:
            (found,) = await read.charges_of(connection, account_id, 1, charge_id=charge_id)
        said = f" ({found.decline_kind} {found.decline_code}: {found.said})" if found.said else ""
        told = f"{found.state} {format_money(found.amount_minor, found.currency)}{said}"
        if found.state in ("failed", "abandoned"):
            fail(told)
        say(told)

    in_house(body)


@gateways.command("charges")
def gateway_charges(account: AccountName, limit: Limit = 50) -> None:
    """What was charged, newest first, and why it failed."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await read.charges_of(connection, await find(connection, "account", account), limit)
        show(
            f"Charges of {account}",
            ["begun", "amount", "state", "from", "cause", "decline", "said", "gateway's id", "key"],
            [
                [r.begun_at, format_money(r.amount_minor, r.currency), r.state, r.method, r.cause,
                 f"{r.decline_kind} {r.decline_code}".strip(), r.said, r.reference, r.key]
                for r in rows
            ],
        )  # fmt: skip

    in_house(body)


@gateways.command("autopay")
def gateway_autopay(
    account: AccountName,
    on: Annotated[bool, typer.Option("--on/--off", help="Whether invoices are paid by themselves.")] = True,
    day_rule: Annotated[str | None, typer.Option(help="after_issue or before_due")] = None,
    days: Annotated[int | None, typer.Option(help="How many days after issue, or before due.")] = None,
    method: Annotated[str | None, typer.Option(help="Id of the card; else the account's default.")] = None,
) -> None:
    """Automatic payment of an account; to set it anew lets declined invoices be tried again."""
    from billing.payments.gateways.set_autopay import set_autopay

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            refused = await set_autopay(
                work, account_id=await find(work.connection, "account", account), enabled=on,
                method_id=method, day_rule=day_rule, days=days, settings=house.settings.billing,
            )  # fmt: skip
            if refused is not None:
                raise Refused(refused)
        say(f"{account}: {'pays by itself' if on else 'does not pay by itself'}")

    in_house(body)


@gateways.command("link")
def gateway_link(
    subject: Annotated[str, typer.Argument(help="Invoice number to pay, or account number to save a card.")],
) -> None:
    """The link that a customer is given; whoever has it may use it."""
    from billing.payments.gateways.pay_link import pay_path

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            try:
                subject_id = await find(connection, "invoice", subject)
            except Refused:
                subject_id = await find(connection, "account", subject)
        base = (house.settings.ui.public_url or "").rstrip("/")
        say(f"{base}{pay_path(house.sealer, subject_id)}")

    in_house(body)
