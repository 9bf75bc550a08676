"""Commands for accounts, services and their bulk import."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from aaa.domain.password_hash import METHODS
from aaa.set_password import users_with_passwords
from aaa.set_up import NewCredential, keep_only_hash, set_password, set_password_hash
from aaa.store import tables as aaa
from appliance.add_subscriber import NewService, add_service
from appliance.commands import account_terms, sign_ins
from appliance.commands.running import (
    Limit,
    actor,
    currency_or_house,
    day,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    read_secret,
    say,
    show,
)
from appliance.lookup import find
from appliance.wiring import House
from billing.ledger.verify import account_balance
from billing.set_up import open_account
from billing.store import tables as billing
from core.money import format_money
from core.quantities import format_octets
from core.secrets import Secret, random_password

accounts = typer.Typer(help="Who pays.", no_args_is_help=True)
services = typer.Typer(help="Access lines.", no_args_is_help=True)
for _name, _command in (
    ("add-login", sign_ins.add_login), ("cpe-binding", sign_ins.cpe_binding), ("bind-cpe", sign_ins.bind),
    ("release-cpe", sign_ins.release), ("replace-cpe", sign_ins.replace_cpe), ("cpes", sign_ins.cpes),
    ("bind-port", sign_ins.bind_to_port), ("devices", sign_ins.devices_online),
):  # fmt: skip
    services.command(_name)(_command)
accounts.command("set")(account_terms.set_terms)
accounts.command("payer")(account_terms.set_payer)
accounts.command("terms")(account_terms.show_terms)
HashFile = Annotated[
    Path | None,
    typer.Option(
        help="File with a hash of the password: argon2id, bcrypt, {NT} or {SSHA} (-: standard input)."
    ),
]
_HASHED_AT_ONCE = 50  # others change services between two such steps
_LARGEST_CSV = 16 * 2**20


@accounts.command("add")
def account_add(
    name: Annotated[str, typer.Argument(help="Who pays.")],
    number: Annotated[str | None, typer.Option(help="Account number; else the next free one.")] = None,
    email: Annotated[str | None, typer.Option(help="Where invoices go.")] = None,
    phone: Annotated[str | None, typer.Option(help="As it is dialled.")] = None,
    street: Annotated[str | None, typer.Option(help="Street and house number.")] = None,
    city: Annotated[str | None, typer.Option(help="Town.")] = None,
    region: Annotated[str | None, typer.Option(help="State or province; picks the tax.")] = None,
    postal_code: Annotated[str | None, typer.Option(help="Postal code.")] = None,
    country: Annotated[str, typer.Option(help="ISO 3166 code.")] = "US",
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code; else the house's.")] = None,
    time_zone: Annotated[str, typer.Option(help="Its days begin and end here.")] = "America/Denver",
    billing_day: Annotated[int, typer.Option(help="Day of the month on which the cycle turns, 1 to 31.")] = 1,
    anniversary: Annotated[
        bool, typer.Option("--anniversary", help="The cycle turns on the day of the month of today, 1 to 31.")
    ] = False,
    terms: Annotated[int, typer.Option(help="Days from issue to due date.")] = 14,
    dunning_policy: Annotated[str, typer.Option(help="Its ladder when it is late.")] = "standard",
    entity: Annotated[str | None, typer.Option(help="Legal entity that invoices; else the house.")] = None,
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
                    currency=currency_or_house(currency),
                    time_zone=time_zone,
                    anchor_day=None if anniversary else billing_day,
                    payment_terms_days=terms,
                    dunning_policy=dunning_policy,
                    entity_id=entity,
                )
            )
            given = await work.connection.scalar(
                select(billing.account.c.number).where(billing.account.c.id == account_id)
            )
        say(f"account {given} ({name}): {account_id}")

    in_house(body)


@accounts.command("show")
def account_show(account: Annotated[str, typer.Argument(help="Account number or id.")]) -> None:
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
        say(f"{row.number}  {row.name}  balance {format_money(balance, row.currency)}")
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
    hash_file: HashFile = None,
    mac: Annotated[str | None, typer.Option(help="MAC address for MAC logins.")] = None,
    circuit_id: sign_ins.Circuit = None,
    remote_id: sign_ins.Remote = None,
    port: sign_ins.LinePort = None,
    ip: Annotated[str | None, typer.Option(help="Static address.")] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Device that enforces it; may be repeated.")
    ] = None,
    starts: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day; else today.")
    ] = None,
) -> None:
    """Sell a service: credentials, plan, enforcement."""
    first_day = day(starts, "--starts")
    credentials = sign_ins.line_credentials(circuit_id, remote_id, port)
    if pppoe is None and mac is None and not credentials:
        fail("give --pppoe, --mac, --circuit-id, --remote-id or --port, so that the CPE can sign in", 2)
    invented: Secret | None = None
    if pppoe is not None and hash_file is not None:
        if password_file is not None:
            fail("give --password-file or --hash-file, not both", 2)
        given = read_secret("hash of the PPPoE password", hash_file)
        credentials.append(NewCredential("pppoe", pppoe, password_hash=given))
    elif pppoe is not None:
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
                label=label or pppoe or mac or credentials[0].username,
                credentials=credentials,
                framed_ip=ip,
                device_ids=[await find(work.connection, "device", one) for one in device or []],
                starts_on=first_day,
            )
            account_id = await find(work.connection, "account", account)
            service_id = outcome_or_fail(await add_service(work, house.sealer, account_id, new))
        say(f"service {new.label}: {service_id}")
        if invented is not None:
            say(f"PPPoE password, shown once: {invented.reveal()}")

    in_house(body)


@services.command("change-plan")
def service_change_plan(
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")],
    plan: Annotated[str, typer.Argument(help="Plan code; its newest version.")],
) -> None:
    """Move a service to another plan from today on; the days are prorated and live sessions moved."""
    from appliance.change_service import change_plan

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            service_id = await find(work.connection, "service", service)
            from_day = outcome_or_fail(await change_plan(work, service_id, plan))
        say(f"{service}: plan {plan} from {from_day}")

    in_house(body)


@services.command("addressing")
def service_addressing(
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")],
    netmask_bits: Annotated[
        int | None, typer.Option(min=8, max=32, help="Netmask of the static IPv4 address, like 29.")
    ] = None,
    ipv6_prefix: Annotated[str | None, typer.Option(help="IPv6 prefix of the link.")] = None,
    delegated_prefix: Annotated[str | None, typer.Option(help="IPv6 prefix behind the CPE.")] = None,
    ipv6_address: Annotated[str | None, typer.Option(help="One IPv6 address.")] = None,
    route: Annotated[
        list[str] | None, typer.Option(help="PREFIX, or 'PREFIX GATEWAY METRIC'; repeatable.")
    ] = None,
) -> None:
    """Replace all of a service's own prefixes and routes; without options it has none any more."""
    from aaa.set_addressing import set_addressing

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            service_id = await find(work.connection, "service", service)
            outcome_or_fail(
                await set_addressing(
                    work,
                    service_id,
                    netmask_bits=netmask_bits,
                    ipv6_prefix=ipv6_prefix,
                    delegated_prefix=delegated_prefix,
                    ipv6_address=ipv6_address,
                    routes=route or [],
                )
            )
        say(f"{service}: saved; it is given at the next sign-in")

    in_house(body)


@services.command("end")
def service_end(
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")],
    reason: Annotated[str, typer.Argument(help="For the audit trail.")],
) -> None:
    """End a service for good: no more sign-ins; days paid in advance come back as credit."""
    from appliance.change_service import end_line

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            service_id = await find(work.connection, "service", service)
            last = outcome_or_fail(await end_line(work, service_id, reason))
        say(f"{service}: ended{'' if last is None else f', billed up to {last}'}")

    in_house(body)


@services.command("password")
def service_password(
    username: Annotated[str, typer.Argument(help="PPPoE user name.")],
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password (-: standard input); else a random one.")
    ] = None,
    hash_file: HashFile = None,
) -> None:
    """Give a PPPoE user a new password, or the one of which another system has kept a hash."""
    if hash_file is not None:
        _set_hash(username, hash_file, password_file)
        return
    invented = Secret(random_password(3)) if password_file is None else None
    given = invented or read_secret("PPPoE password", password_file)

    in_transaction(lambda work, house: set_password(work, house.sealer, username=username, password=given))
    say(f"{username}: new password" + (f", shown once: {invented.reveal()}" if invented else " as given"))


def _set_hash(username: str, hash_file: Path, password_file: Path | None) -> None:
    if password_file is not None:
        fail("give --password-file or --hash-file, not both", 2)
    given = read_secret("hash of the PPPoE password", hash_file)

    in_transaction(lambda work, house: set_password_hash(work, house.sealer, username=username, given=given))
    say(f"{username}: signs in with the password of that hash")


@services.command("hash-only")
def service_hash_only(
    usernames: Annotated[list[str] | None, typer.Argument(help="PPPoE user names.")] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Everybody whose password is kept; it cannot be undone.")
    ] = False,
    kept: Annotated[
        str, typer.Option("--as", help="argon2id (PAP alone works), or nt (PAP and MS-CHAP, not CHAP).")
    ] = "argon2id",
) -> None:
    """Forget the passwords of users and keep only hashes of them, which cannot be turned back."""
    if bool(usernames) == everybody:
        fail("name the users, or give --all", 2)

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            named = await users_with_passwords(connection) if everybody else list(usernames or [])
        for start in range(0, len(named), _HASHED_AT_ONCE):
            async with house.workplace.work(actor()) as work:
                for username in named[start : start + _HASHED_AT_ONCE]:
                    outcome_or_fail(await keep_only_hash(work, house.sealer, username=username, scheme=kept))
        say(f"only {kept} hashes are kept of {len(named)}: {METHODS.get(kept, '')}")

    in_house(body)


@accounts.command("list")
def account_list(limit: Limit = 100) -> None:
    """Accounts by number, with what they owe."""

    async def body(house: House) -> None:
        account, state = billing.account, billing.dunning_state
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(
                    select(account, state.c.stage)
                    .join(state, state.c.account_id == account.c.id, isouter=True)
                    .order_by(account.c.number)
                    .limit(limit)
                )
            ).all()
            owed = [format_money(await account_balance(connection, r.id), r.currency) for r in rows]
        show(
            "Accounts",
            ["number", "name", "balance", "stage", "next cycle", "id"],
            [[r.number, r.name, o, r.stage, r.next_cycle_on, r.id] for r, o in zip(rows, owed, strict=True)],
        )

    in_house(body)


@services.command("sessions")
def service_sessions(
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")], limit: Limit = 20
) -> None:
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
                    r.started_at,
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


def import_csv(
    file: Annotated[Path, typer.Argument(help="CSV with a header line (-: standard input).")],
) -> None:
    """Import accounts and services; every fault is named by line, and with any fault nothing is imported."""
    from appliance.import_subscribers import import_subscribers

    text = _csv_text(file)

    async def body(house: House) -> bool:
        async with house.workplace.work(actor()) as work:
            report = await import_subscribers(work, house.sealer, text)
        for fault in report.errors:
            typer.echo(f"{file}:{fault.line}: {fault.field}: {fault.message}", err=True)
        say(
            f"imported {report.created} services"
            if not report.errors
            else f"{len(report.errors)} faults; nothing was imported"
        )
        return not report.errors

    if not in_house(body):
        raise typer.Exit(1)


def _csv_text(file: Path) -> str:
    try:
        octets = sys.stdin.buffer.read(_LARGEST_CSV + 1) if str(file) == "-" else _octets(file)
    except OSError as trouble:
        fail(f"{file} cannot be read: {trouble.strerror}", 2)
    if len(octets) > _LARGEST_CSV:
        fail(f"{file} is over {_LARGEST_CSV} octets; split it", 2)
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as trouble:
        line = octets.count(b"\n", 0, trouble.start) + 1
        fail(f"{file}:{line}: the file is not UTF-8 text; save it as CSV UTF-8", 2)


def _octets(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_LARGEST_CSV + 1)
