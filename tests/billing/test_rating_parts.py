"""Many parts rated together: buckets by name, cycle after cycle, and movements that are named once."""

from __future__ import annotations

from datetime import date
from typing import Any

from billing.domain.rating.balance import Lot
from billing.domain.rating.calendar import Calendar
from billing.domain.rating.parts import Balance, PartToRate, rate_parts
from billing.domain.rating.rate import Usage
from billing.domain.rating.terms import parse_usage_terms
from core.periods import Period

GB = 10**9
JUNE, JULY = Period(date(2026, 6, 1), date(2026, 7, 1)), Period(date(2026, 7, 1), date(2026, 8, 1))
ROLLING: dict[str, Any] = {
    "allowance": {"octets": 100 * GB}, "rollover": {"periods": 1, "cap_octets": 50 * GB},
    "model": {"kind": "per_unit", "minor_per_gb": "10"},
}  # fmt: skip


def part(
    terms: dict[str, Any], cycle: Period, used_gb: int, subscription: str = "sub_1", account: str = "acc_1"
) -> PartToRate:
    calendar = Calendar(cycle, cycle, "America/Denver")
    parsed = parse_usage_terms(terms)
    return PartToRate(account, "acc_p", subscription, "usage", parsed, calendar, Usage(0, used_gb * GB))


def test_missed_cycles_follow_each_other_whatever_order_they_come_in() -> None:
    june, july = part(ROLLING, JUNE, 70), part(ROLLING, JULY, 145)
    result = rate_parts([july, june], {})
    assert [one.amount_minor for one in result.rated] == [150, 0]  # 145 less 30 rolled over less 100
    assert [lot.amount for lot in result.lots["sub_1:usage"]] == []
    assert [(one.rated_from, [m.kind for m in one.movements]) for one in result.moved] == [
        (JUNE.start, ["rolled_over"]), (JULY.start, ["used"]),
    ]  # fmt: skip
    alone = rate_parts([june], {})
    assert rate_parts([july], alone.lots).rated == [result.rated[0]]


def test_the_same_rating_names_its_movements_the_same_and_another_one_otherwise() -> None:
    parts = [part(ROLLING, JUNE, 70), part(ROLLING, JUNE, 20, "sub_2")]
    moved = rate_parts(parts, {}).moved
    balances = [Balance(one.bucket) for one in moved]
    steps = [one.difference(JUNE.start, [rated]) for one, rated in zip(balances, moved, strict=True)]
    first = [step.source(JULY.start) for some in steps for step in some]
    assert len(set(first)) == len(first) == 3  # the second one's rest is over the cap
    assert not {step.source(date(2026, 8, 1)) for some in steps for step in some} & set(first)
    for one, some, rated in zip(balances, steps, moved, strict=True):
        one.add(some)
        assert one.difference(JUNE.start, [rated]) == {}  # on record, it changes nothing again


def test_a_bucket_is_shared_in_an_account_or_by_all_that_one_pays_for() -> None:
    def shared(among: str) -> dict[str, Any]:
        return {**ROLLING, "shared": {"bucket": "family", "among": among}}

    def amounts(among: str) -> list[int]:
        parts = [
            part(shared(among), JUNE, 150, "sub_1", "acc_1"), part(shared(among), JUNE, 10, "sub_2", "acc_2"),
        ]  # fmt: skip
        return [one.amount_minor for one in rate_parts(parts, {}).rated]

    assert amounts("account") == [500, 0]
    assert amounts("payer") == [0, 0]


def test_a_top_up_of_one_bucket_does_not_help_another() -> None:
    lot = Lot("top_up:tu_1", "top_up", 30 * GB, JUNE.start, JUNE.end)
    parts = [part(ROLLING, JUNE, 130), part(ROLLING, JUNE, 130, "sub_2")]
    result = rate_parts(parts, {"sub_1:usage": [lot]})
    assert [one.amount_minor for one in result.rated] == [0, 300]


def test_items_that_cannot_share_have_buckets_of_their_own() -> None:
    day = {"allowance": {"octets": 5 * GB, "per": "day"}, "shared": {"bucket": "family"}}
    cycle = {"allowance": {"octets": 5 * GB}, "shared": {"bucket": "family"}}
    assert part(day, JUNE, 1).bucket != part(cycle, JUNE, 1).bucket
