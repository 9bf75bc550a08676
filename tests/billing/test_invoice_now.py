"""Charges invoiced between the cycles: on their own number, once, replayed, and not again with the cycle."""

from __future__ import annotations

from datetime import date
from typing import Any

from billing_story import Town

from billing.invoicing.add_charge import add_charge
from billing.invoicing.invoice_now import invoice_now
from billing.invoicing.replay import replay_invoices
from billing.subscriptions.change_subscription import change_quantity
from core.refusal import Refusal, granted


async def charge(town: Town, account_id: str, source: str, amount_minor: int = 8900) -> str:
    async with town.workplace.work("operator:test") as work:
        return granted(
            await add_charge(
                work, account_id=account_id, kind="goods", description="Router", amount_minor=amount_minor,
                tax_class="fee", revenue="fees", source=source,
            )
        )  # fmt: skip


async def issue(town: Town, account_id: str) -> Any:
    return await invoice_now(
        town.workplace, account_id=account_id, actor="operator:test", settings=town.settings
    )


async def test_what_waits_is_invoiced_once_and_the_cycle_is_left_alone(town: Town) -> None:
    ann = await town.account()
    sub = await town.subscription(ann, await town.plan(), "2026-03-01")
    await town.bill()
    town.travel("2026-03-12")
    assert isinstance(await issue(town, ann), Refusal)  # nothing waits
    await charge(town, ann, "sale-1")
    issued = granted(await issue(town, ann))
    assert (issued.number, issued.draft.total_minor) == ("INV-000002", 8900)
    assert isinstance(await issue(town, ann), Refusal)
    async with town.workplace.work("operator:test") as work:
        granted(await change_quantity(work, subscription_id=sub, quantity=2, effective_on=date(2026, 3, 20)))
    town.travel("2026-04-01")
    await town.bill()
    kinds = [one.kind for one in await town.lines("INV-000003") if one.kind != "usage"]
    assert kinds == ["adjustment", "recurring"]  # the sale is not charged again, the change is
    async with town.workplace.reading() as connection:
        replayed = [
            one
            async for one in replay_invoices(
                connection, town.meters, date(2026, 1, 1), date(2026, 12, 31), town.settings
            )
        ]
    assert [(one.number, one.is_same) for one in replayed] == [
        ("INV-000001", True), ("INV-000002", True), ("INV-000003", True),
    ]  # fmt: skip
    await town.prove_books()


async def test_a_credit_that_waits_becomes_credit_and_pays_what_is_open(town: Town) -> None:
    ann = await town.account()
    await town.subscription(ann, await town.plan(), "2026-03-01")
    await town.bill()
    await charge(town, ann, "goodwill", -1000)
    granted(await issue(town, ann))
    [first, second] = await town.invoices()
    assert (first.open_minor, second.total_minor) == (2000, -1000)
    await town.prove_books()
