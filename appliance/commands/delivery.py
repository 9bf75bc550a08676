"""Commands for mail to subscribers, letters, statements, and what documents look like."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from appliance.commands.running import (
    Limit,
    actor,
    day,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    read_secret,
    say,
    show,
    write_file,
)
from appliance.wiring import House
from core.periods import local_date

mail = typer.Typer(
    help="Mail and letters to subscribers: queue, server, words, bounces.", no_args_is_help=True
)
words = typer.Typer(help="The words of mail and letters.", no_args_is_help=True)
documents = typer.Typer(
    help="What documents look like: logo, templates; deposit slips.", no_args_is_help=True
)
mail.add_typer(words, name="template")

_Language = Annotated[str, typer.Option(help="en, de, es, fr or pt.")]
_Output = Annotated[Path, typer.Option("--output", "-o", help="Where to write it (-: standard output).")]
_From = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day, or today.")]
_Until = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day, or today.")]
_Currency = Annotated[str | None, typer.Option(help="Of the payments on it; else the house's.")]


@mail.command("list")
def mail_list(
    state: Annotated[str, typer.Option(help="queued, sent, failed, bounced or cancelled.")] = "",
    limit: Limit = 50,
) -> None:
    """Messages, newest first, each with the reason it is where it is."""
    from billing.store import mail_rows

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await mail_rows.list_messages(connection, state=state, limit=limit)
        show(
            "Messages",
            ["id", "what", "account", "to", "state", "tries", "reason"],
            [
                [
                    one.id, one.subject or one.template, one.account_number, one.to_address or "letter",
                    one.state, one.attempts, one.reason,
                ]
                for one in rows
            ],
        )  # fmt: skip

    in_house(body)


@mail.command("retry")
def mail_retry(message: Annotated[str, typer.Argument(help="Id of a message.")]) -> None:
    """Try a message at once, also one that was given up."""
    from billing.delivery.act_on_messages import try_again

    in_transaction(lambda work, _: try_again(work, message))
    say(f"{message} is queued")


@mail.command("cancel")
def mail_cancel(message: Annotated[str, typer.Argument(help="Id of a message.")]) -> None:
    """Do not send a message that waits."""
    from billing.delivery.act_on_messages import cancel

    in_transaction(lambda work, _: cancel(work, message))
    say(f"{message} is cancelled")


@mail.command("let-go")
def mail_let_go(address: Annotated[str, typer.Argument(help="An address that bounced.")]) -> None:
    """Mail to an address again that had bounced."""
    from billing.delivery.act_on_messages import let_address_go

    in_transaction(lambda work, _: let_address_go(work, address))
    say(f"{address} is mailed again")


@mail.command("bounce")
def mail_bounce(
    recipient: Annotated[
        str,
        typer.Option(
            help="The address it came to, where the mail server tells (such as $ORIGINAL_RECIPIENT)."
        ),
    ] = "",
) -> None:
    """Note a delivery report (RFC 3464) from standard input: for an alias of the mail server."""
    from billing.delivery.bounces import LARGEST_BOUNCE, note_bounce

    raw = sys.stdin.buffer.read(LARGEST_BOUNCE + 1)

    async def body(house: House) -> None:
        async with house.workplace.work("system:mail") as work:
            found = outcome_or_fail(await note_bounce(work, house.sealer, raw, recipient))
        then = "; nothing more is sent to this address" if found.address_dead else ""
        say(f"{found.message_id}: {found.action} {found.status}{then}")

    in_house(body)


@mail.command("server")
def mail_server(
    host: Annotated[
        str | None, typer.Option(help="Such as smtp.example.net; none: show what is set.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="587 for starttls, 465 for tls.")] = 587,
    security: Annotated[str, typer.Option(help="starttls, tls or none.")] = "starttls",
    username: Annotated[str | None, typer.Option(help="To sign in with; none: without.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password (-: standard input); else typed unseen.")
    ] = None,
    from_address: Annotated[str, typer.Option(help="Whom the mail is from.")] = "",
    from_name: Annotated[str, typer.Option(help="The name shown beside it.")] = "",
    reply_to: Annotated[str | None, typer.Option(help="Where answers go.")] = None,
    bounce_address: Annotated[
        str | None, typer.Option(help="Bounces come back to it with +mark behind its local part.")
    ] = None,
    per_minute: Annotated[int, typer.Option(min=1, max=10_000, help="No more messages than this.")] = 60,
) -> None:
    """Set or show the server that takes the mail; its password is sealed."""
    from billing.delivery.mail_server import find_mail_server, set_mail_server

    password = None if host is None or username is None else read_secret("password", password_file)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            if host is not None:
                outcome_or_fail(
                    await set_mail_server(
                        work, house.sealer, host=host, port=port, security=security, username=username,
                        password=password, from_address=from_address,
                        from_name=from_name or house.settings.billing.issuer.name, reply_to=reply_to,
                        bounce_address=bounce_address, per_minute=per_minute,
                    )
                )  # fmt: skip
            found = await find_mail_server(work.connection)
        if found is None:
            say("no mail server is set up: nothing is sent")
            return
        say(f"{found.host}:{found.port} ({found.security}), {found.username or 'no sign-in'}")
        say(f"from {found.from_name} <{found.from_address}>, at most {found.per_minute} a minute")

    in_house(body)


@mail.command("letters")
def mail_letters(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the PDFs.")],
    printed: Annotated[bool, typer.Option("--printed", help="Mark them as printed and gone.")] = False,
) -> None:
    """Write the letters that wait as PDFs to print."""
    from billing.delivery.print_letters import mark_printed, print_letters

    async def body(house: House) -> None:
        today = local_date(house.clock.now(), house.settings.ui.time_zone)
        files, ids = outcome_or_fail(
            await print_letters(house.workplace, house.settings.billing, house.usage, house.sealer, today)
        )
        for name, content in files:
            write_file(output / name, content)
        if printed:
            async with house.workplace.work(actor()) as work:
                await mark_printed(work, ids)
        say(f"{len(ids)} letters" + (", marked as printed" if printed else ""))

    in_house(body)


@words.command("show")
def template_show(
    name: Annotated[str, typer.Argument(help="Such as reminder_1.")], language: _Language = "en"
) -> None:
    """The words of a message: a line with its subject, an empty one, its text."""
    from billing.delivery.compose import template_in_force

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = await template_in_force(connection, name, language)
        if found is None:
            fail(f"there is no message {name}")
        say(f"{found.subject}\n\n{found.body.strip()}")

    in_house(body)


@words.command("set")
def template_set(
    name: Annotated[str, typer.Argument(help="Such as reminder_1, or one of your own such as reminder_3.")],
    file: Annotated[Path, typer.Argument(help="A line with the subject, an empty one, the text.")],
    language: _Language = "en",
) -> None:
    """Use your own words for a message."""
    from billing.delivery.act_on_messages import set_message_template
    from billing.delivery.message_text import MessageTemplate

    try:
        subject, _, text = file.read_text().partition("\n")
    except (OSError, UnicodeDecodeError) as trouble:
        fail(f"{file} cannot be read: {trouble}")

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            source = MessageTemplate(subject.strip(), text.strip() + "\n")
            sample = outcome_or_fail(
                await set_message_template(work, house.settings.billing, name, language, source)
            )
        say(f"with made-up values:\n\n{sample.subject}\n\n{sample.text}")

    in_house(body)


@words.command("reset")
def template_reset(
    name: Annotated[str, typer.Argument(help="Such as reminder_1.")], language: _Language = "en"
) -> None:
    """The built-in words again."""
    from billing.delivery.act_on_messages import reset_message_template

    in_transaction(lambda work, _: reset_message_template(work, name, language))
    say(f"{name} ({language}) has the built-in words")


def statement(
    account: Annotated[str, typer.Argument(help="Account number or id.")],
    output: _Output,
    from_on: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day; else 90 days ago.")
    ] = None,
    until_on: Annotated[
        datetime | None, typer.Option("--until", formats=["%Y-%m-%d"], help="Last day; else today.")
    ] = None,
) -> None:
    """Write a statement of account as PDF: what was owed, what moved it, what is owed."""
    from billing.documents.render import printed_pdf
    from billing.documents.statement import print_statement, statement_of

    async def body(house: House) -> None:
        last = day(until_on, "--until") or local_date(house.clock.now(), house.settings.ui.time_zone)
        first = day(from_on, "--from") or last - timedelta(days=89)
        async with house.workplace.reading() as connection:
            found = outcome_or_fail(
                await statement_of(connection, account, first, last, house.settings.billing)
            )
        write_file(output, printed_pdf(found.look, [print_statement(found)]))

    in_house(body)


Entity = Annotated[str, typer.Option(help="Of this legal entity; else of the house.")]


async def _known_entity(house: House, entity: str) -> None:
    from billing.store.entity_rows import find_entity

    async with house.workplace.reading() as connection:
        if entity and await find_entity(connection, entity) is None:
            fail(f"--entity: there is no legal entity {entity!r}; see: hilltop entity list")


@documents.command("logo")
def document_logo(
    file: Annotated[Path | None, typer.Argument(help="A PNG, or an SVG of shapes; none: no logo.")] = None,
    entity: Entity = "",
) -> None:
    """Print this logo from now on."""
    from billing.documents.keep_look import set_logo

    try:
        content = None if file is None else file.read_bytes()
    except OSError as trouble:
        fail(f"{file} cannot be read: {trouble.strerror}")

    async def body(house: House) -> None:
        await _known_entity(house, entity)
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(await set_logo(work, house.settings.billing, content, brand=entity))
        say("the logo is set" if content else "there is no logo")

    in_house(body)


@documents.command("template")
def document_template(
    name: Annotated[str, typer.Argument(help="Such as invoice.typ.")],
    file: Annotated[Path | None, typer.Argument(help="Use its lines; none: show what is in force.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="The built-in lines again.")] = False,
    entity: Entity = "",
) -> None:
    """Show a template, use lines of your own after they were tried, or go back to the built-in ones."""
    from dataclasses import replace

    from billing.documents.keep_look import find_look, set_template
    from billing.documents.look import EDITABLE
    from billing.documents.try_look import try_look

    if name not in EDITABLE:
        fail(f"there is no template {name}; there are {', '.join(EDITABLE)}", 2)
    try:
        source = None if file is None else file.read_text()
    except (OSError, UnicodeDecodeError) as trouble:
        fail(f"{file} cannot be read: {trouble}")

    async def body(house: House) -> None:
        settings = house.settings.billing
        await _known_entity(house, entity)
        async with house.workplace.reading() as connection:
            look = await find_look(connection, settings, brand=entity)
        if source is None and not reset:
            say(look.source(name))
            return
        if source is not None:
            outcome_or_fail(await try_look(replace(look, templates={**look.templates, name: source}), name))
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(await set_template(work, settings, name, None if reset else source, brand=entity))
        say(f"{name} is {'built in again' if reset else 'in force for what is issued from now on'}")

    in_house(body)


@documents.command("deposit-slip")
def deposit_slip(
    output: _Output, from_on: _From = None, until_on: _Until = None, currency: _Currency = None
) -> None:
    """Write a deposit slip of cash and cheques as PDF; of today without days."""
    from billing.documents.deposit_slip import print_deposit_slip
    from billing.documents.render import printed_pdf

    async def body(house: House) -> None:
        today = local_date(house.clock.now(), house.settings.ui.time_zone)
        days = day(from_on, "--from-on") or today, day(until_on, "--until-on") or today
        async with house.workplace.reading() as connection:
            terms = house.settings.billing
            look, printed = outcome_or_fail(
                await print_deposit_slip(connection, *days, currency or terms.currency, terms)
            )
        write_file(output, printed_pdf(look, [printed]))

    in_house(body)
