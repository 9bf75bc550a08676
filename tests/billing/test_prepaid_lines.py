"""Prepaid beside postpaid: a period is invoiced before it begins, and a line is walled until it is paid."""

from __future__ import annotations

from billing_story import Town

from billing.accounts.change_account import change_account
from billing.dunning.define_policy import change_dunning_policy, define_dunning_policy
from core.refusal import granted


async def test_a_prepaid_line_is_walled_on_its_first_unpaid_day_and_free_once_it_is_paid(town: Town) -> None:
    ann, bob = await town.account(), await town.account("Bob")
    async with town.workplace.work("operator:test") as work:
        ladder = [{"stage": "suspended", "days_overdue": 1}]
        granted(await define_dunning_policy(work, name="prepaid", skip_weekends=False, ladder=ladder))
        ahead = {"invoice_offset_days": -7, "payment_terms_days": 6}
        granted(await change_account(work, account_id=ann, changes=ahead))
        granted(await change_dunning_policy(work, account_id=ann, dunning_policy="prepaid"))
    plan = await town.plan()
    for one in (ann, bob):
        await town.subscription(one, plan, "2026-03-01")
    await town.bill()
    await town.pay(ann, 3000)
    await town.pay(bob, 3000)
    town.travel("2026-03-25")
    await town.bill()
    [april] = [one for one in await town.invoices(ann) if str(one.cycle_start) == "2026-04-01"]
    assert (str(april.issued_on), str(april.due_on)) == ("2026-03-25", "2026-03-31")
    assert len(await town.invoices(bob)) == 1  # his is issued when the month turns
    for day, stage in (("2026-03-31", "clear"), ("2026-04-01", "suspended")):
        town.travel(day)
        await town.bill()
        await town.dun()
        assert (await town.stage(ann), await town.stage(bob)) == (stage, "clear"), day
    await town.pay(ann, april.total_minor)
    assert await town.stage(ann) == "clear"
    await town.prove_books()
