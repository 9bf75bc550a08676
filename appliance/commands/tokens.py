"""Commands for the API's tokens."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from appliance.commands.running import in_house, in_transaction, say, show
from appliance.wiring import House

tokens = typer.Typer(help="Tokens of programs that use the API (/api/v1).", no_args_is_help=True)


@tokens.command("make")
def token_make(
    name: Annotated[str, typer.Argument(help="What the program is called in the audit trail.")],
    scope: Annotated[str, typer.Option(help="read, or act: also end and change sessions.")] = "read",
) -> None:
    """Make a token and print it, this once."""
    from ui.api_tokens import make_token

    token = in_transaction(lambda work, _: make_token(work, name, scope))
    say(token.reveal())


@tokens.command("list")
def token_list(output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Every token: scope, maker, last use, whether it is revoked."""
    from ui.store import token_rows

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = await token_rows.tokens(connection)
        if output:
            typer.echo(json.dumps([asdict(one) for one in found], indent=2, default=str))
            return
        show(
            "Tokens",
            ["name", "scope", "made", "by", "last used", "revoked", "id"],
            [
                [
                    one.name,
                    one.scope,
                    one.created_at,
                    one.created_by,
                    one.last_used_at,
                    one.revoked_at,
                    one.id,
                ]
                for one in found
            ],
        )

    in_house(body)


@tokens.command("revoke")
def token_revoke(token: Annotated[str, typer.Argument(help="Name or id.")]) -> None:
    """Revoke a token for good; it is refused from now on."""
    from ui.api_tokens import revoke_token

    in_transaction(lambda work, _: revoke_token(work, token))
    say(f"token {token} is revoked")
