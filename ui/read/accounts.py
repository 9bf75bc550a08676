"""One account's terms as they stand: how it is billed, who pays, for whom it pays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.catalogue import Account
from billing.store import account_rows, reseller_rows
from billing.store.tables import account


@dataclass(frozen=True, slots=True)
class RelatedAccount:
    """A payer or a child."""

    id: str
    number: str
    name: str


@dataclass(frozen=True, slots=True)
class PayerRow:
    """Who pays from a day on; no account: it pays itself. ``state``: past, planned or withdrawn."""

    from_on: date
    account_number: str | None
    account_name: str | None
    state: str
    recorded_at: datetime
    recorded_by: str


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """What may be changed of an account, and whom it belongs with."""

    id: str
    number: str
    name: str
    email: str | None
    phone: str | None
    street: str | None
    city: str | None
    region: str | None
    postal_code: str | None
    country: str
    time_zone: str
    currency: str
    entity_id: str | None
    account_class: str
    anchor_day: int
    cycle_unit: str
    cycle_count: int
    next_cycle_on: date | None
    invoice_offset_days: int
    payment_terms_days: int
    locale: str | None
    delivery: str
    reseller: str | None
    payer: RelatedAccount | None
    children: list[RelatedAccount]
    payers: list[PayerRow]


async def account_terms(connection: AsyncConnection, account_id: str) -> AccountTerms | None:
    """The account with that id or number; None for an unknown one."""
    found = await account_rows.find_account(connection, account_id)
    if found is None:
        return None
    payer = None
    if found.payer_account_id is not None:
        columns = (account.c.id, account.c.number, account.c.name)
        query = select(*columns).where(account.c.id == found.payer_account_id)
        payer = RelatedAccount(*(await connection.execute(query)).one())
    children = await account_rows.paid_for(connection, [found.id])
    sold = await reseller_rows.assignments_of_account(connection, found.id)
    reseller = next((one.reseller_id for one in sold if one.until_on is None), None)
    return _terms(
        found, reseller, payer, [RelatedAccount(one.id, one.number, one.name) for one in children],
        [
            PayerRow(
                row.from_on, row.number, row.name,
                "withdrawn" if row.withdrawn_at else "past" if row.applied_at else "planned",
                row.recorded_at, row.recorded_by,
            )
            for row in await account_rows.payers_of(connection, found.id)
        ],
    )  # fmt: skip


def _terms(
    found: Account,
    reseller: str | None,
    payer: RelatedAccount | None,
    children: list[RelatedAccount],
    payers: list[PayerRow],
) -> AccountTerms:
    return AccountTerms(
        found.id, found.number, found.name, found.email, found.phone, found.street, found.city, found.region,
        found.postal_code, found.country, found.time_zone, found.currency, found.entity_id,
        found.account_class, found.anchor_day, found.cycle_unit, found.cycle_count, found.next_cycle_on,
        found.invoice_offset_days, found.payment_terms_days, found.locale, found.delivery, reseller, payer,
        children, payers,
    )  # fmt: skip
