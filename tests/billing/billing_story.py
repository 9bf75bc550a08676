"""A small world of billing in a paragraph: accounts, plans, usage that a test can set, runs and payments by date."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.dunning.evaluate import evaluate_dunning
from billing.dunning.record_outcomes import StageChange
from billing.invoicing.bill_run import BillRunOutcome, bill_run
from billing.ledger.verify import trial_balance, verify_ledger
from billing.payments.receive_payment import PaymentReceipt, receive_payment
from billing.ports import UsageClaim, UsageSlice
from billing.set_up import define_plan_version, open_account, set_tax_rate, subscribe
from billing.store.tables import dunning_event, dunning_state, invoice, invoice_line
from billing.store.tables import metadata as billing_metadata
from core.clock import FakeClock
from core.database import Database, sqlite_url
from core.periods import Period, start_of_day
from core.refusal import Refusal, granted
from core.store.tables import fact
from core.store.tables import metadata as core_metadata
from core.work import Work, Workplace

GB = 10**9
DENVER = "America/Denver"


@dataclass(frozen=True, slots=True)
class Closed:
    """What a close of the test meters answers."""

    close_id: str
    octets_in: int
    octets_out: int
    records: int
    digest: str


@dataclass(slots=True)
class TestMeters:
    """Usage by service: octets at instants. ``broken`` services raise when they are closed, ``gone`` are refused."""

    __test__ = False

    used: dict[str, list[tuple[datetime, int, int]]] = field(default_factory=dict)
    closed: dict[tuple[str, str], Closed] = field(default_factory=dict)
    spans: dict[str, list[tuple[datetime, datetime]]] = field(default_factory=dict)  # closed, by service
    frozen: dict[str, list[tuple[datetime, int, int]]] = field(default_factory=dict)  # by close
    broken: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    crash_after: int | None = None
    asked: int = 0

    def use(self, service_id: str, at: datetime, octets_in: int, octets_out: int) -> None:
        """The service moved that many octets at that instant."""
        self.used.setdefault(service_id, []).append((at, octets_in, octets_out))

    async def close(
        self, work: Work, service_id: str, from_at: datetime, until_at: datetime, claim: str
    ) -> Closed:
        self.asked += 1
        if self.crash_after is not None and self.asked > self.crash_after:
            raise PowerCut
        if service_id in self.broken:
            raise RuntimeError(f"meter of {service_id} is on fire")
        known = self.closed.get((service_id, claim))
        if known is not None:
            return known
        found = self._not_closed(service_id, from_at, until_at)
        octets_in, octets_out = sum(one[1] for one in found), sum(one[2] for one in found)
        digest = hashlib.sha256(f"{service_id}{claim}{octets_in}{octets_out}".encode()).hexdigest()
        closed = Closed(f"close_{digest[:16]}", octets_in, octets_out, len(found), digest)
        self.frozen[closed.close_id] = found
        self.spans.setdefault(service_id, []).append((from_at, until_at))
        self.closed[service_id, claim] = closed
        return closed

    def _not_closed(
        self, service_id: str, from_at: datetime, until_at: datetime
    ) -> list[tuple[datetime, int, int]]:
        """No octet is in two closes: of spans that overlap the earlier one has the common part."""
        closed = self.spans.get(service_id, [])
        return [
            one
            for one in self.used.get(service_id, [])
            if from_at <= one[0] < until_at and not any(start <= one[0] < end for start, end in closed)
        ]

    async def close_many(self, work: Work, claims: Sequence[UsageClaim]) -> list[Closed | Refusal]:
        return [
            Refusal("unknown_service", f"there is no service {one.service_id}", "service_id")
            if one.service_id in self.gone
            else await self.close(work, one.service_id, one.from_at, one.until_at, one.claim)
            for one in claims
        ]

    async def slices_of_closes(
        self, connection: AsyncConnection, close_ids: Sequence[str]
    ) -> dict[str, list[UsageSlice]]:
        slices: dict[str, list[UsageSlice]] = {}
        for close_id in close_ids:
            slices[close_id] = sorted((at, at, *octets) for at, *octets in self.frozen[close_id])
        return slices

    async def recall(self, connection: AsyncConnection, close_ids: Sequence[str]) -> dict[str, Closed]:
        known = {closed.close_id: closed for closed in self.closed.values()}
        return {one: known[one] for one in close_ids if one in known}

    def _service_of(self, close_id: str) -> str:
        return next(key[0] for key, closed in self.closed.items() if closed.close_id == close_id)

    async def between_many(
        self, connection: AsyncConnection, spans: Sequence[tuple[str, datetime, datetime]]
    ) -> list[tuple[int, int]]:
        return [await self.between(connection, *one) for one in spans]

    async def between(
        self, connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
    ) -> tuple[int, int]:
        inside = [one for one in self.used.get(service_id, []) if from_at <= one[0] < until_at]
        return sum(one[1] for one in inside), sum(one[2] for one in inside)

    async def slices_between(
        self, connection: AsyncConnection, service_id: str, from_at: datetime, until_at: datetime
    ) -> list[UsageSlice]:
        used = self.used.get(service_id, [])
        return sorted((at, at, *octets) for at, *octets in used if from_at <= at < until_at)

    async def by_day(
        self, connection: AsyncConnection, service_id: str, from_date: date, until_date: date, zone: str
    ) -> list[tuple[date, int, int]]:
        days = [from_date + timedelta(days=number) for number in range((until_date - from_date).days)]
        return [
            (
                day,
                *await self.between(
                    connection, service_id, *Period(day, day + timedelta(days=1)).instants(zone)
                ),
            )
            for day in days
        ]

    async def evidence(self, connection: AsyncConnection, close_id: str) -> Sequence[Any]:
        service_id = self._service_of(close_id)
        return [
            {
                "usage_record": number, "meter": f"radius|{service_id}", "start_at": at, "end_at": at,
                "octets_in": octets_in, "octets_out": octets_out,
                "readings": [{"at": at, "decision": "advance", "evidence": {"Acct-Output-Octets": octets_out}}],
            }
            for number, (at, octets_in, octets_out) in enumerate(self.frozen[close_id], start=1)
        ]  # fmt: skip


class PowerCut(BaseException):
    """The plug is pulled: nothing catches it."""


@dataclass(slots=True)
class Town:
    """The world of one test."""

    workplace: Workplace
    clock: FakeClock
    meters: TestMeters = field(default_factory=TestMeters)
    settings: BillingSettings = field(default_factory=BillingSettings)
    _services: Any = field(default_factory=lambda: itertools.count(1))
    _keys: Any = field(default_factory=lambda: itertools.count(1))

    def travel(self, day: date | str, hour: int = 6, time_zone: str = DENVER) -> None:
        """Let time pass until ``hour`` local on that day."""
        day = date.fromisoformat(day) if isinstance(day, str) else day
        instant = start_of_day(day, time_zone) + timedelta(hours=hour)
        self.clock.advance(instant - self.clock.now())

    async def plan(self, **terms: Any) -> str:
        """A plan version: 30.00 a month with 100 GB and 0.50 per GB beyond, unless told otherwise."""
        offer: dict[str, Any] = {
            "code": "home", "name": "Home 25", "price_minor": 3000, "currency": "USD",
            "allowance_octets": 100 * GB, "service_profile_id": "pro_1",
            "overage_tiers": [{"up_to_octets": None, "minor_per_gb": "50"}],
        }  # fmt: skip
        async with self.workplace.work("operator:test") as work:
            return granted(await define_plan_version(work, **{**offer, **terms}))

    async def account(self, name: str = "Ann", **terms: Any) -> str:
        """An account in New Mexico on Denver time."""
        async with self.workplace.work("operator:test") as work:
            return granted(await open_account(work, **{"name": name, "region": "NM", **terms}))

    async def subscription(
        self,
        account_id: str,
        plan_version_id: str,
        starts_on: date | str | None = None,
        service: str | None = None,
    ) -> str:
        """A subscription; returns its id. Services are ``svc_1``, ``svc_2`` … unless named."""
        day = date.fromisoformat(starts_on) if isinstance(starts_on, str) else starts_on
        service = service or f"svc_{next(self._services)}"
        async with self.workplace.work("operator:test") as work:
            return granted(
                await subscribe(
                    work, account_id=account_id, service_id=service, plan_version_id=plan_version_id,
                    starts_on=day,
                )
            )  # fmt: skip

    async def tax(self, rate_ppm: int = 76_250, **terms: Any) -> str:
        """New Mexico's gross receipts tax on internet access."""
        law: dict[str, Any] = {
            "name": "Gross receipts tax", "tax_class": "internet", "country": "US", "region": "NM",
            "rate_ppm": rate_ppm, "valid_from": date(2026, 1, 1),
        }  # fmt: skip
        async with self.workplace.work("operator:test") as work:
            return granted(await set_tax_rate(work, **{**law, **terms}))

    async def customer(self, name: str = "Ann", starts_on: str | None = None, **terms: Any) -> str:
        """An account with one subscription to the usual plan."""
        account_id = await self.account(name, **terms)
        await self.subscription(account_id, await self.plan(), starts_on)
        return account_id

    async def bill(self, **options: Any) -> BillRunOutcome:
        """A bill run that must not be refused."""
        return granted(await bill_run(self.workplace, self.meters, settings=self.settings, **options))

    async def dun(self, **options: Any) -> list[StageChange]:
        """An evaluation that must not be refused."""
        return granted(await evaluate_dunning(self.workplace, settings=self.settings, **options))

    async def try_pay(self, account_id: str, amount_minor: int, **terms: Any) -> PaymentReceipt | Refusal:
        """Record a payment in a transaction of its own."""
        form: dict[str, Any] = {
            "currency": "USD",
            "method": "transfer",
            "idempotency_key": f"key-{next(self._keys)}",
        }
        async with self.workplace.work("operator:test") as work:
            return await receive_payment(
                work, account_id=account_id, amount_minor=amount_minor, **{**form, **terms}
            )

    async def pay(self, account_id: str, amount_minor: int, **terms: Any) -> PaymentReceipt:
        """Record a payment that must not be refused."""
        return granted(await self.try_pay(account_id, amount_minor, **terms))

    async def invoices(self, account_id: str | None = None) -> list[Any]:
        """Invoice rows in order of number."""
        query = select(invoice).order_by(invoice.c.number)
        if account_id is not None:
            query = query.where(invoice.c.account_id == account_id)
        async with self.workplace.reading() as connection:
            return list(await connection.execute(query))

    async def lines(self, number: str) -> list[Any]:
        """The lines of an invoice."""
        query = (
            select(invoice_line)
            .join(invoice, invoice.c.id == invoice_line.c.invoice_id)
            .where(invoice.c.number == number)
            .order_by(invoice_line.c.position)
        )
        async with self.workplace.reading() as connection:
            return list(await connection.execute(query))

    async def facts(self, kind: str) -> list[dict[str, Any]]:
        """Payloads of the published facts of a kind, in order."""
        query = select(fact.c.payload).where(fact.c.kind == kind).order_by(fact.c.seq)
        async with self.workplace.reading() as connection:
            return [row.payload for row in await connection.execute(query)]

    async def stage(self, account_id: str) -> str:
        """The account's dunning stage."""
        query = select(dunning_state.c.stage).where(dunning_state.c.account_id == account_id)
        async with self.workplace.reading() as connection:
            return str((await connection.execute(query)).scalar_one())

    async def events(self, account_id: str) -> list[tuple[str, str]]:
        """``(day, stage)`` of every dunning event."""
        query = (
            select(dunning_event)
            .where(dunning_event.c.account_id == account_id)
            .order_by(dunning_event.c.seq)
        )
        async with self.workplace.reading() as connection:
            return [(str(row.on_date), row.to_stage) for row in await connection.execute(query)]

    async def prove_books(self) -> None:
        """The trial balance is zero in every currency and no proof of the ledger fails."""
        async with self.workplace.reading() as connection:
            sums: dict[str, int] = {}
            for _, currency, amount in await trial_balance(connection):
                sums[currency] = sums.get(currency, 0) + amount
            assert set(sums.values()) <= {0}, sums
            assert await verify_ledger(connection) == []


async def new_database(path: Path) -> Database:
    """A SQLite file with the tables that billing works with."""
    database = Database(sqlite_url(path))
    async with database.write() as connection:
        await connection.run_sync(core_metadata.create_all)
        await connection.run_sync(billing_metadata.create_all)
    return database


def utc(text: str) -> datetime:
    """``2026-03-10T12:00`` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
