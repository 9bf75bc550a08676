"""Books made by hand: accounts, invoices with any lines, payments; for tests of the ledger alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.domain.ledger import BilledPart, Booking, Entry, invoice_entry, payment_entry
from billing.ledger.close_day import ClosedDay, close_days
from billing.ledger.verify import LedgerFault, verify_ledger
from billing.set_up import open_account
from billing.store import ledger_rows
from billing.store.number_rows import INVOICE_SERIES, take_numbers
from billing.store.tables import invoice, invoice_line, ledger_entry, payment, posting
from core.clock import FakeClock
from core.refusal import Refusal, granted
from core.work import Work, Workplace

TRUSTING = BillingSettings(close_after_days=0)


@dataclass(slots=True)
class Books:
    """A workplace with an account or more, and what can be booked there."""

    workplace: Workplace
    clock: FakeClock
    accounts: dict[str, str] = field(default_factory=dict)

    async def account(self, name: str = "Ann", **terms: Any) -> str:
        """The account of that name, opened when it is not there."""
        if name not in self.accounts:
            async with self.workplace.work("operator:test") as work:
                self.accounts[name] = granted(await open_account(work, **{"name": name, **terms}))
        return self.accounts[name]

    def go_to(self, day: date | str, hour: int = 18) -> None:
        """It is that day, in UTC."""
        day = date.fromisoformat(day) if isinstance(day, str) else day
        noon = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
        self.clock.advance(noon - self.clock.now())

    async def book(self, *entries: Entry) -> None:
        """Entries as they are."""
        async with self.workplace.work("operator:test") as work:
            await ledger_rows.book(work.connection, work.now, work.ids, entries)

    async def invoice(
        self,
        *parts: BilledPart,
        taxes: dict[str, int] | None = None,
        name: str = "Ann",
        currency: str = "USD",
        entity_id: str | None = None,
        on: date | None = None,
        words: str = "Line",
    ) -> str:
        """A finalised invoice with a line for each part, booked; returns its number."""
        account_id = await self.account(name, currency=currency)
        async with self.workplace.work("operator:test") as work:
            return await write_invoice(
                work,
                account_id,
                parts,
                taxes or {},
                currency,
                entity_id,
                on or self.clock.now().date(),
                words,
            )

    async def pay(
        self,
        amount_minor: int,
        name: str = "Ann",
        method: str = "cash",
        note: str = "",
        currency: str = "USD",
    ) -> str:
        """A payment that stays the account's credit."""
        account_id = await self.account(name, currency=currency)
        async with self.workplace.work("operator:test") as work:
            payment_id = work.ids.new("pay")
            today = work.now.date()
            await work.connection.execute(
                insert(payment).values(
                    id=payment_id, account_id=account_id, idempotency_key=payment_id, method=method,
                    amount_minor=amount_minor, currency=currency, received_on=today, received_at=work.now,
                    recorded_by="operator:test", note=note, unallocated_minor=amount_minor,
                )
            )  # fmt: skip
            entry = payment_entry(Booking(account_id, today, currency), payment_id, method, amount_minor)
            await ledger_rows.book(work.connection, work.now, work.ids, [entry])
        return payment_id

    async def close(self, through: date | str | None = None) -> list[ClosedDay]:
        """Close days; must not be refused."""
        return granted(await self.try_close(through))

    async def try_close(self, through: date | str | None = None) -> list[ClosedDay] | Refusal:
        """Close days."""
        day = date.fromisoformat(through) if isinstance(through, str) else through
        return await close_days(
            self.workplace, through=day, actor="operator:test", settings=TRUSTING, trust_clock=True
        )

    async def faults(self) -> list[LedgerFault]:
        """What the proofs say."""
        async with self.workplace.reading() as connection:
            return await verify_ledger(connection)

    async def tamper(self, *statements: str) -> None:
        """What somebody with the database's own tools does."""
        async with self.workplace.work("nobody") as work:
            if work.connection.dialect.name == "sqlite":
                await work.connection.execute(text("PRAGMA defer_foreign_keys = ON"))
            for statement in statements:
                await work.connection.execute(text(statement))


async def write_invoice(
    work: Work, account_id: str, parts: tuple[BilledPart, ...], taxes: dict[str, int], currency: str,
    entity_id: str | None, on: date, words: str,
) -> str:  # fmt: skip
    """The invoice, its lines and its entry."""
    invoice_id = work.ids.new("inv")
    (number,) = await take_numbers(work.connection, INVOICE_SERIES, "INV-", 1)
    net, tax = sum(one.amount_minor for one in parts), sum(taxes.values())
    await work.connection.execute(
        insert(invoice).values(
            id=invoice_id, number=number, kind="charges", account_id=account_id, entity_id=entity_id,
            cycle_start=on, cycle_end=on + timedelta(days=30), issued_on=on, due_on=on + timedelta(days=14),
            currency=currency, net_minor=net, tax_minor=tax, total_minor=net + tax,
            open_minor=max(net + tax, 0), status="finalised", bill_to={}, created_at=work.now,
        )
    )  # fmt: skip
    lines = [(one.revenue, one.amount_minor, one.period, one.deferred, "recurring") for one in parts]
    lines += [(None, amount, None, False, "tax") for _, amount in sorted(taxes.items())]
    for position, (revenue, amount, period, deferred, kind) in enumerate(lines, start=1):
        await work.connection.execute(
            insert(invoice_line).values(
                id=work.ids.new("lin"), invoice_id=invoice_id, position=position, kind=kind, description=words,
                amount_minor=amount, quoted_minor=amount, revenue=revenue, deferred=deferred,
                period_start=period.start if period else None, period_end=period.end if period else None,
                explanation={},
            )
        )  # fmt: skip
    entry = invoice_entry(Booking(account_id, on, currency, entity_id), invoice_id, number, parts, taxes)
    await ledger_rows.book(work.connection, work.now, work.ids, [entry])
    return number


async def count(connection: AsyncConnection) -> tuple[int, int]:
    """How many entries and postings there are."""
    entries = (await connection.execute(ledger_entry.select())).all()
    return len(entries), len((await connection.execute(posting.select())).all())
