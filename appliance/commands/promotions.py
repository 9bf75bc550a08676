"""Commands for promotions: coupons and referrals, and who uses them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from appliance.commands.running import (
    Limit,
    actor,
    currency_or_house,
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
from billing.store import promotion_rows
from core.money import format_money, parse_amount

promotions = typer.Typer(help="Coupons and referrals: what is given, and who uses it.", no_args_is_help=True)

_ISO = ["%Y-%m-%d"]
_Code = Annotated[str, typer.Argument(help="What customers quote.")]


@promotions.command("define")
def promotion_define(
    code: _Code,
    name: Annotated[str, typer.Argument(help="As it stands on invoices.")],
    percent: Annotated[str | None, typer.Option(help="Off the price, such as 50.")] = None,
    amount: Annotated[str | None, typer.Option(help="Or so much off each period.")] = None,
    currency: Annotated[str | None, typer.Option(help="Of amounts; else the house's.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Items: recurring, rental, one_time; may be repeated.")
    ] = None,
    item: Annotated[list[str] | None, typer.Option(help="Only items with this code; repeatable.")] = None,
    plan: Annotated[list[str] | None, typer.Option(help="Only on this plan; may be repeated.")] = None,
    months: Annotated[int | None, typer.Option(help="How long; neither: for good.")] = None,
    periods: Annotated[int | None, typer.Option(help="Or how many periods of each item.")] = None,
    redeem_from: Annotated[datetime | None, typer.Option(formats=_ISO, help="First day of its code.")] = None,
    redeem_until: Annotated[datetime | None, typer.Option(formats=_ISO, help="First day without it.")] = None,
    max_uses: Annotated[int | None, typer.Option(help="How often it may be redeemed in all.")] = None,
    new_only: Annotated[bool, typer.Option("--new-only", help="Only who has just subscribed.")] = False,
    referral: Annotated[str | None, typer.Option(help="Credit for who brings a customer.")] = None,
    referred: Annotated[str | None, typer.Option(help="Credit for the customer who is brought.")] = None,
) -> None:
    """Define a promotion; it never changes."""
    from billing.catalogue.define_promotion import define_promotion
    from billing.domain.items import PERIODIC

    currency = currency_or_house(currency)
    amounts = {"amount_minor": amount, "referral_minor": referral, "referred_minor": referred}
    minor = {
        name: None if text is None else _minor(text, currency, f"--{name.removesuffix('_minor')}")
        for name, text in amounts.items()
    }

    in_transaction(
        lambda work, _: define_promotion(
            work,
            code=code,
            name=name,
            percent_ppm=None if percent is None else _ppm(percent),
            currency=currency if any(one is not None for one in minor.values()) else None,
            item_kinds=kind or PERIODIC,
            item_codes=item or (),
            plan_codes=plan or (),
            months=months,
            periods=periods,
            redeem_from=day(redeem_from, "--redeem-from"),
            redeem_until=day(redeem_until, "--redeem-until"),
            max_uses=max_uses,
            new_only=new_only,
            **minor,
        )
    )
    say(f"promotion {code.strip().upper()} is defined")


def _minor(text: str, currency: str, option: str) -> int:
    try:
        return parse_amount(text, currency)
    except ValueError as trouble:
        fail(f"{option}: {trouble}", 2)


def _ppm(text: str) -> int:
    try:
        return int(Decimal(text) * 10_000)
    except (InvalidOperation, ValueError, OverflowError):
        fail(f"--percent {text!r}: write it like 50 or 12.5", 2)


@promotions.command("list")
def promotion_list() -> None:
    """Every promotion, the newest first, and how often it was redeemed."""
    from billing.catalogue.define_promotion import gift_in_words, time_in_words

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await promotion_rows.list_promotions(connection)
        show(
            "Promotions",
            ["code", "name", "gives", "for", "plans", "redeemed", "withdrawn"],
            [
                [
                    one.code, one.name, gift_in_words(one, format_money), time_in_words(one),
                    ", ".join(one.plan_codes) or "all",
                    str(one.uses) if one.max_uses is None else f"{one.uses} of {one.max_uses}",
                    one.withdrawn_at,
                ]
                for one in rows
            ],
        )  # fmt: skip

    in_house(body)


@promotions.command("uses")
def promotion_uses(
    code: Annotated[str, typer.Option(help="Of this promotion.")] = "",
    account: Annotated[str, typer.Option(help="Of this account.")] = "",
    limit: Limit = 50,
) -> None:
    """Who uses what, from when until when, and by whom they were brought."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account) if account else ""
            rows = await promotion_rows.uses(
                connection, account_id=account_id, code=code.strip().upper(), limit=limit
            )
        show(
            "Uses",
            ["id", "code", "account", "plan", "from", "until", "brought by", "ended"],
            [
                [one.id, one.code, f"{one.account_number} {one.account_name}", one.plan, one.from_on,
                 one.until_on or (f"{one.periods} periods" if one.periods else "for good"), one.referred_by,
                 one.ended_on and f"{one.ended_on}: {one.end_reason}"]
                for one in rows
            ],
        )  # fmt: skip

    in_house(body)


@promotions.command("redeem")
def promotion_redeem(
    code: _Code,
    account: Annotated[str, typer.Argument(help="Account number or id.")],
    subscription: Annotated[str | None, typer.Option(help="Its id; else the first that it is for.")] = None,
    from_on: Annotated[
        datetime | None, typer.Option("--from", formats=_ISO, help="Else what is not invoiced yet.")
    ] = None,
    referred_by: Annotated[str | None, typer.Option(help="Account that brought this one.")] = None,
) -> None:
    """Give a promotion to an account; each gets it once, and the same again changes nothing."""
    from billing.subscriptions.redeem_promotion import redeem_promotion

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            done = outcome_or_fail(
                await redeem_promotion(
                    work, code=code, account_id=await find(work.connection, "account", account),
                    subscription_id=subscription, from_on=day(from_on, "--from"), referred_by=referred_by,
                )
            )  # fmt: skip
        until = "" if done.until_on is None else f" until {done.until_on}"
        say(f"{done.outcome}: {done.code} from {done.from_on}{until} ({done.use_id})")

    in_house(body)


@promotions.command("end")
def promotion_end(
    use: Annotated[str, typer.Argument(help="Its id; see: hilltop promotion uses.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    on: Annotated[
        datetime | None, typer.Option(formats=_ISO, help="First day without it; else what is not invoiced.")
    ] = None,
) -> None:
    """End one account's use; what was taken off later periods comes back with the next invoice."""
    from billing.subscriptions.redeem_promotion import end_promotion

    ends_on = in_transaction(
        lambda work, _: end_promotion(work, use_id=use, reason=reason, ends_on=day(on, "--on"))
    )
    say(f"ends on {ends_on}")


@promotions.command("withdraw")
def promotion_withdraw(code: _Code, reason: Annotated[str, typer.Option(help="Why.")]) -> None:
    """Nobody gets it any more; who uses it keeps it."""
    from billing.catalogue.define_promotion import withdraw_promotion

    in_transaction(lambda work, _: withdraw_promotion(work, code=code, reason=reason))
    say(f"promotion {code.strip().upper()} is withdrawn")


@promotions.command("credit-referrals")
def promotion_credit_referrals() -> None:
    """Give the credits of referrals that are due, as the worker does by itself."""
    from billing.subscriptions.credit_referrals import credit_referrals

    async def body(house: House) -> None:
        count = await credit_referrals(house.workplace, house.settings.billing, actor=actor())
        say(f"{count} referrals credited")

    in_house(body)
