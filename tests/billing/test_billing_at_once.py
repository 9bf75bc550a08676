"""Everything at once on PostgreSQL: two runs, payments, webhooks that come twice, dunning and a day's close.

Each has connections of its own to a real server and the meters' real records. Whatever the order in which
transactions get their turn, nobody is invoiced twice, no number is missing and the ledger sums to zero.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
from billing_month import make_month
from sqlalchemy import func, select

from appliance.wiring import MeteredUsage
from bench.billing_world import MEASURED, workplace_at
from bench.postgresql import Cluster
from billing.config import BillingSettings
from billing.domain.ledger import CREDIT_METHOD
from billing.dunning.evaluate import evaluate_dunning
from billing.invoicing.bill_run import BillRunOutcome, bill_run
from billing.invoicing.credit_note import issue_credit_note
from billing.ledger.close_day import close_days
from billing.ledger.recognise import recognise_through
from billing.ledger.verify import account_balance, verify_ledger
from billing.payments.receive_payment import receive_payment
from billing.payments.reverse_payment import reverse_payment
from billing.store.tables import account, closing_act, invoice, payment, subscription
from billing.store.tables import bill_run as run_table
from billing.subscriptions.change_subscription import end_subscription
from core.database import Database
from core.refusal import Refusal, granted
from core.store.tables import audit
from core.work import Workplace

pytestmark = pytest.mark.postgresql

ACCOUNTS = 18
SETTINGS = BillingSettings(block_size=3)


@dataclass(slots=True)
class House:
    """One database, and as many who work with it as are wanted."""

    url: str
    _open: list[Database] = field(default_factory=list)

    def somebody(self) -> Workplace:
        """A workplace with connections of its own, on the morning of the run."""
        database = Database(self.url)
        self._open.append(database)
        return workplace_at(database, MEASURED)

    async def close(self) -> None:
        for one in self._open:
            await one.close()

    async def bill(self) -> BillRunOutcome:
        return granted(await bill_run(self.somebody(), MeteredUsage(), settings=SETTINGS))

    async def act(self, what: Callable[..., Awaitable[Any]], **terms: Any) -> Any:
        async with self.somebody().work("operator:test") as work:
            return await what(work, **terms)

    async def rows(self, query: Any) -> list[Any]:
        async with self.somebody().reading() as connection:
            return list(await connection.execute(query))

    async def pay(self, account_id: str, amount_minor: int, key: str) -> str:
        """What a webhook does: money came in, its key is the gateway's."""
        receipt = await self.act(
            receive_payment, account_id=account_id, amount_minor=amount_minor, currency="USD", method="card",
            idempotency_key=key,
        )  # fmt: skip
        return str(granted(receipt).outcome)

    async def billed(self) -> dict[tuple[str, date], int]:
        """Totals by account and cycle; two invoices of one cycle fail."""
        rows = await self.rows(select(invoice).where(invoice.c.kind == "invoice"))
        found = Counter((row.account_id, row.cycle_start) for row in rows)
        assert set(found.values()) <= {1}, "an account was invoiced twice"
        return {(row.account_id, row.cycle_start): row.total_minor for row in rows}

    async def prove(self, calm: dict[tuple[str, date], int]) -> None:
        """The books prove themselves (gapless numbers too), and all was billed that a calm run bills."""
        assert await self.billed() == calm
        async with self.somebody().reading() as connection:
            assert await verify_ledger(connection) == []
        assert (await self.bill()).run_id is None


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    one = Cluster()
    one.start()
    try:
        one.create("base")
        asyncio.run(make_month(one.url("base"), ACCOUNTS))
        one.query("postgres", "CREATE DATABASE calm TEMPLATE base")
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def calm(cluster: Cluster) -> dict[tuple[str, date], int]:
    """What one run alone bills."""

    async def run() -> dict[tuple[str, date], int]:
        house = House(cluster.url("calm"))
        await house.bill()
        billed = await house.billed()
        await house.close()
        return billed

    return asyncio.run(run())


_NUMBERS = itertools.count(1)


@pytest.fixture
async def house(cluster: Cluster) -> Any:
    name = f"house_{next(_NUMBERS)}"
    cluster.query("postgres", f"CREATE DATABASE {name} TEMPLATE base")
    one = House(cluster.url(name))
    yield one
    await one.close()


async def _accounts(house: House) -> list[str]:
    return [row.id for row in await house.rows(select(account.c.id).order_by(account.c.id))]


async def test_two_runs_at_once_are_one_run(house: House, calm: dict[tuple[str, date], int]) -> None:
    outcomes = await asyncio.gather(*(house.bill() for _ in range(3)))
    numbers = [number for one in outcomes for number in one.numbers]
    assert len(numbers) == len(set(numbers))
    first, *_ = await house.rows(select(run_table).order_by(run_table.c.started_at))
    runs = await house.rows(
        select(run_table).where(run_table.c.id != first.id, run_table.c.started_at == MEASURED)
    )
    assert [(one.invoices, one.finished_at) for one in runs] == [(len(numbers), MEASURED)]
    ended = await house.rows(select(audit).where(audit.c.action == "billing.bill_run_finished"))
    assert len(ended) == 2  # of the month before, and of this one
    await house.prove(calm)


async def test_webhooks_during_a_run_each_twice_at_once(
    house: House, calm: dict[tuple[str, date], int]
) -> None:
    ids = await _accounts(house)
    webhooks = [house.pay(one, 1_000 + n, f"hook-{n}") for n, one in enumerate(ids) for _ in range(2)]
    _, *outcomes = await asyncio.gather(house.bill(), *webhooks)
    assert Counter(outcomes) == {"received": ACCOUNTS, "exists": ACCOUNTS}
    [[paid]] = await house.rows(
        select(func.sum(payment.c.amount_minor)).where(payment.c.idempotency_key.startswith("hook-"))
    )
    assert paid == sum(1_000 + n for n in range(ACCOUNTS))
    await house.prove(calm)


async def test_chargebacks_and_credit_notes_during_a_run(
    house: House, calm: dict[tuple[str, date], int]
) -> None:
    paid = await house.rows(select(payment.c.id).where(payment.c.method == "transfer"))
    old = await house.rows(select(invoice.c.number).order_by(invoice.c.number).limit(8))
    taken = [
        house.act(reverse_payment, payment_id=row.id, reason="the bank took it back", source=f"back-{n}",
                  settings=SETTINGS)
        for n, row in enumerate(paid) for _ in range(2)
    ]  # fmt: skip
    notes = [
        house.act(issue_credit_note, invoice=row.number, reason="no service", source=f"note-{n}",
                  amounts_minor={1: 100}, settings=SETTINGS)
        for n, row in enumerate(old) for _ in range(2)
    ]  # fmt: skip
    _, *outcomes = await asyncio.gather(house.bill(), *taken, *notes)
    assert Counter(granted(one).outcome for one in outcomes) == {
        "reversed": len(paid), "issued": len(old), "exists": len(paid) + len(old),
    }  # fmt: skip
    await house.prove(calm)


async def test_what_ended_and_is_credited_during_a_run_comes_back_once(house: House) -> None:
    """Every line turns out to have ended with its first month, while credit notes give that month back."""
    before = [row for row in await house.rows(select(invoice)) if row.total_minor > 0]
    for row in await house.rows(select(subscription)):
        granted(await house.act(end_subscription, subscription_id=row.id, ends_on=row.starts_on))

    async def credit(number: str) -> None:
        outcome = await house.act(
            issue_credit_note, invoice=number, reason="no service", source=number, settings=SETTINGS
        )
        assert not isinstance(outcome, Refusal) or outcome.code == "nothing_left"

    await asyncio.gather(house.bill(), *(credit(row.number) for row in before), house.bill())
    paid = dict.fromkeys(await _accounts(house), 0)
    for row in await house.rows(select(payment).where(payment.c.method != CREDIT_METHOD)):
        paid[row.account_id] += row.amount_minor
    async with house.somebody().reading() as connection:
        for account_id, amount in paid.items():
            assert await account_balance(connection, account_id) == -amount
        assert await verify_ledger(connection) == []


async def test_dunning_during_a_run(house: House, calm: dict[tuple[str, date], int]) -> None:
    """Invoices of March are 16 days late on the day of the run."""
    _, *rounds = await asyncio.gather(
        house.bill(), *(evaluate_dunning(house.somebody(), settings=SETTINGS) for _ in range(3))
    )
    stepped = Counter(one.account_id for changes in rounds for one in granted(changes))
    assert stepped
    assert set(stepped.values()) == {1}, "an account was stepped twice"
    await house.prove(calm)


async def _close(house: House, through: date) -> None:
    """As the worker does: who is busy or was overtaken looks again."""
    for _ in range(200):
        closed = await close_days(house.somebody(), through=through, settings=SETTINGS)
        if not isinstance(closed, Refusal):
            return
        assert closed.code in {"books_busy", "closed_meanwhile", "recognised_meanwhile"}, closed
        await asyncio.sleep(0.05)
    raise AssertionError("the days could not be closed")


async def test_days_are_closed_by_two_during_a_run(house: House, calm: dict[tuple[str, date], int]) -> None:
    yesterday = (MEASURED - timedelta(days=2)).date()
    await asyncio.gather(house.bill(), _close(house, yesterday), _close(house, yesterday))
    acts = await house.rows(select(closing_act.c.day).order_by(closing_act.c.number))
    days = [row.day for row in acts]
    assert days == [days[0] + timedelta(days=n) for n in range(len(days))]
    assert days[-1] == yesterday
    await house.prove(calm)


async def test_two_who_recognise_at_once_book_it_once(
    house: House, calm: dict[tuple[str, date], int]
) -> None:
    through = (MEASURED - timedelta(days=3)).date()
    outcomes = await asyncio.gather(
        house.bill(), *(house.act(recognise_through, through=through) for _ in range(3))
    )
    booked = [one for one in outcomes[1:] if not isinstance(one, Refusal) and one]
    assert len(booked) == 1
    await house.prove(calm)


async def test_all_of_it_at_once(house: House, calm: dict[tuple[str, date], int]) -> None:
    ids = await _accounts(house)
    paid = await house.rows(select(payment.c.id).where(payment.c.method == "transfer").limit(6))
    await asyncio.gather(
        house.bill(), house.bill(), _close(house, (MEASURED - timedelta(days=2)).date()),
        evaluate_dunning(house.somebody(), settings=SETTINGS),
        *(house.pay(one, 2_000, f"hook-{n}") for n, one in enumerate(ids) for _ in range(2)),
        *(house.act(reverse_payment, payment_id=row.id, reason="back", settings=SETTINGS) for row in paid),
    )  # fmt: skip
    await house.prove(calm)
