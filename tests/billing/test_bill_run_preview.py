"""A whole run without running it: what it says is what the run then issues, and what is odd is named."""

from __future__ import annotations

import csv
import io
from datetime import date
from typing import Any

import pytest
from billing_story import GB, Town, utc
from sqlalchemy import func, select
from test_bill_run_approval import charge

from billing.config import BillingSettings
from billing.domain.outliers import Threshold, deviates, median_of
from billing.invoicing.preview_run import RunPreview, preview_csv, preview_run
from billing.store.tables import account, draft
from billing.subscriptions.change_subscription import end_subscription
from core.refusal import Refusal, granted


async def preview(town: Town, **options: Any) -> RunPreview:
    return granted(await preview_run(town.workplace, town.meters, settings=town.settings, **options))


@pytest.mark.parametrize(
    ("total", "past", "currency", "far"),
    [
        (3_000, [3_000, 3_000, 3_000], "USD", False),
        (3_900, [3_000, 3_000], "USD", False),  # 30 % and no more
        (4_100, [3_000, 3_000], "USD", True),
        (1_400, [3_000, 3_000, 9_999], "USD", True),
        (800, [100, 100], "USD", False),  # seven times as much, but 7.00
        (4_100, [3_000], "USD", False),  # one invoice does not say what is usual
        (4_100, [3_000, 3_000], "JPY", True),
        (8_000, [3_000, 3_000], "KWD", False),  # 5.000
        (-2_000, [0, 0], "USD", True),
    ],
)
def test_far_from_the_median(total: int, past: list[int], currency: str, far: bool) -> None:
    assert deviates(total, median_of(past), currency, Threshold(30, 10)) is far


async def test_the_preview_says_what_the_run_then_issues_and_writes_nothing(town: Town) -> None:
    town.settings = BillingSettings(block_size=2)
    await town.tax()
    for n in range(5):
        await town.customer(f"Person {n}", "2026-03-05")
    town.meters.use("svc_2", utc("2026-03-20T12:00"), 180 * GB, 0)
    await town.bill()
    town.travel("2026-05-02")  # two cycles are due
    ahead = await preview(town)
    async with town.workplace.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(draft))).scalar() == 0
    assert len(await town.invoices()) == 5
    assert (ahead.accounts, ahead.idle, len(ahead.rows)) == (5, 0, 10)
    assert ahead.through == date(2026, 5, 1), "the last cycle that it drafts, not the first"
    [sums] = ahead.sums
    outcome = await town.bill()
    issued = (await town.invoices())[5:]
    assert outcome.invoices == sums.now.invoices == 10
    assert sums.now.gross_minor == sum(one.total_minor for one in issued)
    assert sums.now.tax_minor == sum(one.tax_minor for one in issued)
    assert {(one.account_id, one.cycle_start, one.total_minor) for one in ahead.rows} == {
        (one.account_id, one.cycle_start, one.total_minor) for one in issued
    }
    assert (await preview(town)).rows == ()


async def test_what_is_odd_is_flagged_and_a_month_is_compared_with_the_one_before(town: Town) -> None:
    await town.tax()
    names = ("Steady", "Heavy", "Credited", "Untaxed", "Gone", "Broken")
    people = {name: await town.customer(name, "2026-02-01") for name in names}
    for month in ("2026-03-11", "2026-04-01", "2026-05-01"):
        town.travel(month)
        await town.bill()
    town.meters.use("svc_2", utc("2026-05-20T12:00"), 500 * GB, 0)
    async with town.workplace.work("operator:test") as work:
        granted(
            await end_subscription(
                work, subscription_id=await _sub(town, people["Gone"]), ends_on=date(2026, 6, 1)
            )
        )
        await work.connection.execute(
            account.update().where(account.c.id == people["Untaxed"]).values(region="TX")
        )
        await work.connection.execute(
            account.update().where(account.c.id == people["Broken"]).values(cycle_unit="eon")
        )
    newcomer = await town.customer("New", "2026-06-01")
    ahead = await preview(town, through=date(2026, 6, 1))
    flags = {one.account_name: one.flags for one in ahead.rows}
    assert flags["Steady"] == ()
    assert flags["Heavy"] == ("deviates",)
    assert "no_tax" in flags["Untaxed"]
    assert flags["New"] == ("first",)
    assert flags["Broken"] == ("parked",)
    assert ahead.flagged[0].account_name == "Broken"
    assert (ahead.compared_from, ahead.compared_to) == (date(2026, 5, 1), date(2026, 5, 1))
    [sums] = ahead.sums
    assert sums.before.invoices == 6
    assert newcomer in {one.account_id for one in ahead.rows}
    table = list(csv.DictReader(io.StringIO(preview_csv(ahead))))
    assert len(table) == len(ahead.rows)
    [steady] = [row for row in table if row["account_name"] == "Steady"]
    assert (steady["net"], steady["tax"], steady["total"]) == ("30.00", "2.29", "32.29")
    far = await preview_run(town.workplace, town.meters, through=date(2028, 1, 1), settings=town.settings)
    assert isinstance(far, Refusal)


async def test_credits_and_nothing_to_pay_are_flagged(town: Town) -> None:
    ann = await town.customer("Ann", "2026-02-01")
    bob = await town.customer("Bob", "2026-02-01")
    await town.bill()
    for who, amount in ((ann, -9_000), (bob, -3_000)):
        await charge(town, who, f"credit:{who}", amount)
    town.travel("2026-04-01")
    flags = {one.account_name: one.flags for one in (await preview(town)).rows}
    assert "negative" in flags["Ann"]
    assert "zero" in flags["Bob"]


async def _sub(town: Town, account_id: str) -> str:
    from billing.store.tables import subscription

    async with town.workplace.reading() as connection:
        query = select(subscription.c.id).where(subscription.c.account_id == account_id)
        return str((await connection.execute(query)).scalar_one())
