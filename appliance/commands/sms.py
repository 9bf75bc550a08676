"""Commands for text messages: the gateway that carries them, and what became of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from appliance.commands.running import (
    Limit,
    actor,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    read_secret,
    say,
    show,
)
from appliance.wiring import House
from core.refusal import Refusal

sms = typer.Typer(help="Text messages to subscribers: gateway and queue.", no_args_is_help=True)


@sms.command("gateway")
def sms_gateway(
    url: Annotated[
        str | None, typer.Argument(help="Where messages are posted to; none: show what is set.")
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            help="A field it wants, NAME=TEXT, with {to}, {text} or {id} in it; as often as needed."
        ),
    ] = None,
    body: Annotated[str, typer.Option(help="json or form: how the fields are posted.")] = "json",
    auth_header: Annotated[str, typer.Option(help="The header its secret goes in.")] = "Authorization",
    auth_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the header's whole value, such as Bearer … (-: standard input); none: as it is."
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="JSON, words of your own by template; none: as before."
        ),
    ] = None,
) -> None:
    """Set or show the gateway that takes text messages; its secret is sealed."""
    from billing.delivery.sms_gateway import set_sms_gateway
    from billing.store import sms_rows

    asked = [one.partition("=") for one in field or ["to={to}", "text={text}"]]
    if any(not name or not equals for name, equals, _ in asked):
        fail("--field is written NAME=TEXT, such as to={to}", 2)
    auth = read_secret("secret", auth_file) if url is not None and auth_file is not None else None
    own = None if texts is None else _read_texts(texts)

    async def act(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            if url is not None:
                before = await sms_rows.find_gateway(work.connection)
                outcome_or_fail(
                    await set_sms_gateway(
                        work, house.sealer, url=url, body={name: text for name, _, text in asked},
                        body_kind=body, auth_header=auth_header, auth=auth,
                        texts=before.texts if own is None and before is not None else own,
                    )
                )  # fmt: skip
            found = await sms_rows.find_gateway(work.connection)
        if found is None:
            say("no SMS gateway is set up: no text message is sent")
            return
        say(f"{found.url} ({found.body_kind}), {found.auth_header if found.auth_sealed else 'no secret'}")
        for name, text in found.body.items():
            say(f"  {name}={text}")
        for template, text in found.texts.items():
            say(f"  {template}: {text}")

    in_house(act)


@sms.command("remove")
def sms_remove() -> None:
    """Send no text messages any more; those that wait stay where they are."""
    from billing.delivery.sms_gateway import remove_sms_gateway

    async def act(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            await remove_sms_gateway(work)
        say("no text message is sent")

    in_house(act)


@sms.command("list")
def sms_list(
    state: Annotated[str, typer.Option(help="queued, sent, failed or cancelled.")] = "", limit: Limit = 50
) -> None:
    """Text messages, newest first, each with the reason it is where it is."""
    from billing.store import sms_rows

    async def act(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await sms_rows.list_messages(connection, state=state, limit=limit)
        show(
            "Text messages",
            ["id", "what", "account", "to", "state", "tries", "reason"],
            [
                [
                    one.id, one.template, one.account_number, one.to_number, one.state, one.attempts,
                    one.reason,
                ]
                for one in rows
            ],
        )  # fmt: skip

    in_house(act)


@sms.command("retry")
def sms_retry(message: Annotated[str, typer.Argument(help="Id of a text message.")]) -> None:
    """Try a text message at once, also one that was given up."""
    from billing.delivery.act_on_texts import try_again

    in_transaction(lambda work, _: try_again(work, message))
    say(f"{message} is queued")


@sms.command("cancel")
def sms_cancel(message: Annotated[str, typer.Argument(help="Id of a text message.")]) -> None:
    """Do not send a text message that waits."""
    from billing.delivery.act_on_texts import cancel

    in_transaction(lambda work, _: cancel(work, message))
    say(f"{message} is cancelled")


def _read_texts(path: Path) -> dict[str, str]:
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError) as trouble:
        fail(f"{path} cannot be read: {trouble}", 2)
    if not isinstance(told, dict) or not all(isinstance(text, str) for text in told.values()):
        outcome_or_fail(Refusal("sms.texts", 'is not like {"reminder_1": "…"}', "texts"))
    return dict(told)
