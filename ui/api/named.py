"""What a request names: an account by number or id, an amount as it is written."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from core.money import parse_amount
from core.refusal import Refusal, Refused
from ui.read import subscriber


async def account_named(connection: AsyncConnection, text: str) -> str:
    """The id of the account with that number or id. Raises ``Refused`` for an unknown one."""
    found = await subscriber.account_id_of(connection, text)
    if found is None:
        raise no_account(text)
    return found


def no_account(text: str) -> Refused:
    """The one way in which an unknown account is refused, to be raised: 404 for a program."""
    return Refused(Refusal("account.unknown_id", f"there is no account {text[:60]!r}", "account"))


async def account_and_currency(connection: AsyncConnection, text: str) -> tuple[str, str]:
    """The account's id and what it pays in. Raises ``Refused`` for an unknown one."""
    account_id = await account_named(connection, text)
    return account_id, await subscriber.currency_of(connection, account_id)


def minor_units(text: str, currency: str) -> int:
    """The amount in minor units. Raises ``Refused`` for what is no amount."""
    try:
        return parse_amount(text, currency)
    except ValueError as trouble:
        raise Refused(Refusal("amount.malformed", str(trouble), "amount")) from None
