"""Contracts by date: bound, told, renewed, ended, left early; each term once, however late the worker looks."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from billing_story import Town
from test_replay import replayed
from test_subscription_changes import act, amounts

from billing.catalogue.define_plan import define_offer
from billing.domain.contract import parse_contract
from billing.store.subscription_rows import changes_of, find_subscription
from billing.subscriptions import change_subscription as change
from billing.subscriptions.turn_contracts import ContractView, contracts_of, turn_contracts
from core.refusal import granted

RENEWS = {"term_months": 12, "fee": "flat", "fee_minor": 20000, "renews_months": 12}


async def bound_plan(
    town: Town, contract: dict[str, Any] | None, code: str = "bound", price: int = 3000
) -> str:
    async with town.workplace.work("operator:test") as work:
        return granted(
            await define_offer(
                work, code=code, name=code.title(), currency="USD", service_profile_id="pro_1",
                items=[{"code": "recurring", "kind": "recurring", "name": code, "price_minor": price}],
                contract=contract,
            )
        )  # fmt: skip


async def signed(town: Town, contract: dict[str, Any], starts_on: str = "2026-03-10") -> tuple[str, str]:
    ann = await town.account()
    return ann, await town.subscription(ann, await bound_plan(town, contract), starts_on)


async def turn(town: Town) -> None:
    granted(await turn_contracts(town.workplace, settings=town.settings))


async def view(town: Town, ann: str, today: str) -> ContractView:
    async with town.workplace.reading() as connection:
        [found] = await contracts_of(connection, ann, date.fromisoformat(today))
    return found


async def notices(town: Town) -> list[tuple[str, str]]:
    return [
        (one["context"]["after"], one["context"]["bound_until"])
        for one in await town.facts("billing.notice_due")
        if one["template"] == "contract_notice"
    ]


async def test_it_renews_after_notice_and_each_term_is_told_of_once(town: Town) -> None:
    ann, sub = await signed(town, RENEWS)
    await turn(town)
    town.travel("2027-02-07")
    await turn(town)
    assert await notices(town) == []
    town.travel("2027-02-08")  # 30 days before the 10th of March
    for _ in range(2):
        await turn(town)
    assert await notices(town) == [("renews", "2027-03-10")]
    town.travel("2027-03-10")
    await turn(town)
    assert (await view(town, ann, "2027-03-10")).fee_minor == 0  # he may still leave with the old term
    found = await view(town, ann, "2027-03-11")
    assert (found.bound_until, found.fee_minor, found.months_left) == (date(2028, 3, 10), 20000, 12)
    assert [(one.kind, one.term_end, one.bound_until) for one in found.events] == [
        ("noticed", date(2027, 3, 10), date(2027, 3, 10)), ("renewed", date(2027, 3, 10), date(2028, 3, 10)),
    ]  # fmt: skip
    town.travel("2030-01-01")  # the worker slept for years
    await turn(town)
    found = await view(town, ann, "2030-01-01")
    assert [one.term_end.year for one in found.events if one.kind == "renewed"] == [2027, 2028, 2029]
    async with town.workplace.reading() as connection:
        one = await find_subscription(connection, sub)
    assert one is not None and one.contract_until == date(2030, 3, 10)


async def test_it_ends_with_its_term_unless_that_is_taken_back(town: Town) -> None:
    _, sub = await signed(town, {"term_months": 2, "ends": True, "notice_days": 14})
    bob, other = await signed(town, {"term_months": 2, "ends": True, "notice_days": 14})
    await turn(town)
    await town.bill()
    town.travel("2026-04-02")
    await town.bill()
    async with town.workplace.reading() as connection:
        changes = (await changes_of(connection, [other]))[other]
    [end] = [one for one in changes if one.kind == "end"]
    assert end.effective_on == date(2026, 5, 10)
    granted(
        await act(town, change.withdraw_change, subscription_id=other, change_id=end.id, reason="he stays")
    )
    for day in ("2026-04-26", "2026-05-10", "2026-05-11"):
        town.travel(day)
        await turn(town)
    assert sorted(await notices(town)) == [("ends", "2026-05-10"), ("runs_on", "2026-05-10")]
    town.travel("2026-06-01")
    await town.bill()
    lines = {one.account_id: one.number for one in await town.invoices()}
    may = [line for line in amounts(await town.lines(lines[bob])) if line[0] == "recurring"]
    assert may == [("recurring", "recurring", 3000)]
    async with town.workplace.reading() as connection:
        gone = await find_subscription(connection, sub)
    assert gone is not None and gone.ends_on == date(2026, 5, 10)
    assert (await view(town, bob, "2026-06-01")).bound_until is None
    assert all(one.is_same for one in await replayed(town))


async def test_from_month_to_month_he_is_free(town: Town) -> None:
    ann, sub = await signed(town, {"term_months": 1, "fee": "flat", "fee_minor": 5000, "notice_days": 0})
    town.travel("2026-04-10")
    await turn(town)
    found = await view(town, ann, "2026-04-10")
    assert (found.bound_until, found.fee_minor, found.after) == (None, 0, "runs_on")
    granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=date(2026, 4, 12)))
    town.travel("2026-05-01")
    await town.bill()
    kinds = {line[1] for one in await town.invoices() for line in amounts(await town.lines(one.number))}
    assert "early_end" not in kinds
    assert await notices(town) == []


@pytest.mark.parametrize(
    ("ends_on", "fee"),
    [
        ("2026-03-10", None),  # it never ran
        ("2026-03-11", 20000),
        ("2027-03-09", 20000),
        ("2027-03-10", None),  # with the term, though the contract renews
        ("2027-03-11", 20000),  # a day into the next term
    ],
)
async def test_what_leaving_on_a_day_costs(town: Town, ends_on: str, fee: int | None) -> None:
    ann, sub = await signed(town, RENEWS)
    if ends_on > "2027":
        town.travel("2027-03-01")
    granted(
        await act(town, change.end_subscription, subscription_id=sub, ends_on=date.fromisoformat(ends_on))
    )
    town.travel("2027-04-01")
    await town.bill()
    found = [
        line[2]
        for one in await town.invoices(ann)
        for line in amounts(await town.lines(one.number))
        if line[1] == "early_end"
    ]
    assert found == ([] if fee is None else [fee])


async def test_an_end_that_is_taken_back_costs_nothing_and_may_come_again(town: Town) -> None:
    _, sub = await signed(town, RENEWS)

    async def end(ends_on: date) -> None:
        granted(await act(town, change.end_subscription, subscription_id=sub, ends_on=ends_on))

    async def back() -> None:
        async with town.workplace.reading() as connection:
            changes = (await changes_of(connection, [sub]))[sub]
        last = [one.id for one in changes if one.kind == "end"][-1]
        granted(await act(town, change.withdraw_change, subscription_id=sub, change_id=last, reason="stays"))

    await end(date(2026, 3, 20))
    await back()
    town.travel("2026-04-01")
    await town.bill()
    await end(date(2026, 4, 20))
    town.travel("2026-05-01")
    await town.bill()
    await back()
    town.travel("2026-06-01")
    await town.bill()
    found = [
        (one.number, line[2])
        for one in await town.invoices()
        for line in amounts(await town.lines(one.number))
        if line[1] == "early_end"
    ]
    assert found == [("INV-000003", 20000), ("INV-000004", -20000)]
    await town.prove_books()


async def test_another_plan_frees_nobody_and_a_new_contract_never_ends_earlier(town: Town) -> None:
    ann, sub = await signed(town, RENEWS)
    free = await bound_plan(town, None, "free", 1000)
    short = await bound_plan(town, {"term_months": 3, "fee": "flat", "fee_minor": 9000}, "short")
    newer = await bound_plan(town, RENEWS, "bound", 3500)
    town.travel("2026-04-10")
    for version, bound, fee in (
        (newer, (2027, 3, 10), 20000),
        (free, (2027, 3, 10), 20000),
        (short, (2027, 3, 10), 9000),
    ):
        granted(await act(town, change.change_plan, subscription_id=sub, plan_version_id=version))
        town.travel(f"2026-04-{10 + (version == newer) + 2 * (version == free) + 3}")
        await turn(town)
        found = await view(town, ann, "2026-04-16")
        assert (found.bound_until, found.fee_minor) == (date(*bound), fee)


def test_a_contract_names_its_faults() -> None:
    for wrong in (
        {"ends": "yes"},
        {"ends": True, "renews_months": 3},
        {"notice_days": 400},
        {"term_months": 0},
    ):
        with pytest.raises(ValueError, match="contract: "):
            parse_contract({"term_months": 12, **wrong})
    assert parse_contract(parse_contract(RENEWS).as_json()) == parse_contract(RENEWS)
