"""Commands for accounts, services and their bulk import."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from aaa.set_up import NewCredential
from aaa.store import tables as aaa
from appliance.add_subscriber import NewService, add_service
from appliance.commands.running import (
    actor,
    console,
    fail,
    in_house,
    outcome_or_fail,
    read_secret,
    show,
)
from appliance.lookup import find
from appliance.wiring import House
from billing.ledger import account_balance
from billing.set_up import open_account
from billing.store import tables as billing
from core.money import format_money
from core.quantities import format_octets
from core.secrets import Secret, random_password

accounts = typer.Typer(help="Who pays.", no_args_is_help=True)
services = typer.Typer(help="Access lines.", no_args_is_help=True)


@accounts.command("add")
def account_add(
    name: str,
    number: Annotated[str | None, typer.Option(help="Account number; else the next free one.")] = None,
    email: str | None = None,
    phone: str | None = None,
    street: str | None = None,
    city: str | None = None,
    region: Annotated[str | None, typer.Option(help="State or province; picks the tax.")] = None,
    postal_code: str | None = None,
    country: str = "US",
    currency: str = "USD",
    time_zone: str = "America/Denver",
    billing_day: Annotated[int, typer.Option(help="Day of the month on which the cycle turns, 1 to 31.")] = 1,
    terms: Annotated[int, typer.Option(help="Days from issue to due date.")] = 14,
    dunning_policy: str = "standard",
) -> None:
    """Open an account."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            account_id = outcome_or_fail(
                await open_account(
                    work,
                    name=name,
                    number=number,
                    email=email,
                    phone=phone,
                    street=street,
                    city=city,
                    region=region,
                    postal_code=postal_code,
                    country=country,
                    currency=currency,
                    time_zone=time_zone,
                    anchor_day=billing_day,
                    payment_terms_days=terms,
                    dunning_policy=dunning_policy,
                )
            )
            given = await work.connection.scalar(
                select(billing.account.c.number).where(billing.account.c.id == account_id)
            )
        console.print(f"account {given} ({name}): {account_id}")

    in_house(body)


@accounts.command("show")
def account_show(account: str) -> None:
    """Balance, services and invoices of an account."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            account_id = await find(connection, "account", account)
            row = (
                await connection.execute(select(billing.account).where(billing.account.c.id == account_id))
            ).one()
            balance = await account_balance(connection, account_id)
            lines = (
                await connection.execute(
                    select(aaa.service.c.label, aaa.service.c.id, aaa.entitlement.c.effect)
                    .join(aaa.entitlement, aaa.entitlement.c.service_id == aaa.service.c.id)
                    .where(aaa.service.c.account_id == account_id)
                )
            ).all()
            invoices = (
                await connection.execute(
                    select(billing.invoice)
                    .where(billing.invoice.c.account_id == account_id)
                    .order_by(billing.invoice.c.issued_on)
                )
            ).all()
        console.print(f"{row.number}  {row.name}  balance {format_money(balance, row.currency)}")
        show("Services", ["label", "effect", "id"], [[r.label, r.effect, r.id] for r in lines])
        show(
            "Invoices",
            ["number", "issued", "due", "total", "open", "status"],
            [
                [
                    r.number,
                    r.issued_on,
                    r.due_on,
                    format_money(r.total_minor, r.currency),
                    format_money(r.open_minor, r.currency),
                    r.status,
                ]
                for r in invoices
            ],
        )

    in_house(body)


@services.command("add")
def service_add(
    account: Annotated[str, typer.Argument(help="Account number or id.")],
    plan: Annotated[str, typer.Option(help="Plan code.")],
    label: Annotated[str | None, typer.Option(help="What to call it; else the user name or MAC.")] = None,
    pppoe: Annotated[str | None, typer.Option(help="PPPoE user name.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the PPPoE password (-: standard input); else a random one.")
    ] = None,
    mac: Annotated[str | None, typer.Option(help="MAC address for MAC logins.")] = None,
    ip: Annotated[str | None, typer.Option(help="Static address.")] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Device that enforces it; may be repeated.")
    ] = None,
    starts: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day; else today.")
    ] = None,
) -> None:
    """Sell a service: credentials, plan, enforcement."""
    if pppoe is None and mac is None:
        fail("give --pppoe or --mac, so that the CPE can sign in", 2)
    credentials = []
    invented: Secret | None = None
    if pppoe is not None:
        if password_file is None:
            invented = Secret(random_password(3))
        credentials.append(
            NewCredential("pppoe", pppoe, invented or read_secret("PPPoE password", password_file))
        )
    if mac is not None:
        credentials.append(NewCredential("mac", mac, None))

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            new = NewService(
                plan=plan,
                label=label or pppoe or str(mac),
                credentials=credentials,
                framed_ip=ip,
                device_ids=[await find(work.connection, "device", one) for one in device or []],
                starts_on=None if starts is None else starts.date(),
            )
            account_id = await find(work.connection, "account", account)
            service_id = outcome_or_fail(await add_service(work, house.sealer, account_id, new))
        console.print(f"service {new.label}: {service_id}")
        if invented is not None:
            console.print(f"PPPoE password, shown once: {invented.reveal()}")

    in_house(body)


@services.command("sessions")
def service_sessions(service: str, limit: int = 20) -> None:
    """Sessions of a service, newest first."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            service_id = await find(connection, "service", service)
            rows = (
                await connection.execute(
                    select(aaa.session)
                    .where(aaa.session.c.service_id == service_id)
                    .order_by(aaa.session.c.started_at.desc())
                    .limit(limit)
                )
            ).all()
        show(
            "Sessions",
            ["started", "stopped", "why", "address", "up", "down"],
            [
                [
                    f"{r.started_at:%Y-%m-%d %H:%M}",
                    r.stopped_at,
                    r.close_cause,
                    r.framed_ip,
                    format_octets(r.octets_in),
                    format_octets(r.octets_out),
                ]
                for r in rows
            ],
        )

    in_house(body)


def import_csv(file: Annotated[Path, typer.Argument(help="CSV with a header line.")]) -> None:
    """Import accounts and services; every fault is named by line, and with any fault nothing is imported."""
    from appliance.import_subscribers import import_subscribers

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as trouble:
        fail(f"{file} cannot be read as UTF-8 text: {trouble}")

    async def body(house: House) -> bool:
        async with house.workplace.work(actor()) as work:
            report = await import_subscribers(work, house.sealer, text)
        for fault in report.errors:
            typer.echo(f"{file}:{fault.line}: {fault.field}: {fault.message}", err=True)
        console.print(
            f"imported {report.created} services"
            if not report.errors
            else f"{len(report.errors)} faults; nothing was imported"
        )
        return not report.errors

    if not in_house(body):
        raise typer.Exit(1)


def attach(app: typer.Typer) -> None:
    """Put these commands on ``app``."""
    app.add_typer(accounts, name="account")
    app.add_typer(services, name="service")
    app.command("import")(import_csv)
