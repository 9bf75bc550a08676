"""Usage terms as JSON: what is stored is what was meant, and each fault names its field. Percentiles."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from billing.domain.rating.calendar import Calendar
from billing.domain.rating.rate import Member, Usage, rate_bucket, rate_usage
from billing.domain.rating.terms import parse_usage_terms, plain_terms
from billing.rating.public_holidays import check_holidays
from core.periods import Period

GB = 10**9
JUNE = Period(date(2026, 6, 1), date(2026, 7, 1))
EVERYTHING: dict[str, Any] = {
    "unit": "GB",
    "metered": "down",
    "model": {"kind": "graduated", "tiers": [{"up_to_octets": None, "minor_per_gb": "12.5"}]},
    "allowance": {"octets": 100 * GB, "per": "week", "prorated": False, "week_starts": "sun"},
    "classes": [
        {"name": "night", "days": ["mon", "sat"], "from": "22:00", "until": "06:00", "holidays": "also",
         "weight": "0.25"},
        {"name": "noon", "days": ["sun"], "from": "12:00", "until": "24:00", "holidays": "never",
         "model": {"kind": "package", "block_octets": GB, "minor_per_block": "3"}},
    ],
    "holidays": {"country": "US", "subdivision": "NM", "days": ["2026-12-24"]},
    "rollover": {"periods": 3, "cap_octets": 50 * GB},
    "shared": {"bucket": "family", "among": "payer"},
    "cap": {"at_percent": 120, "effect": "throttle"},
    "alerts": [50, 80, 100],
    "top_ups": [{"code": "10gb", "name": "10 GB more", "octets": 10 * GB, "price_minor": 500, "days": 30, "portal": True,
                 "automatic": 2}],
}  # fmt: skip

MODELS: list[dict[str, Any]] = [
    {"kind": "flat", "minor": "1500"},
    {"kind": "per_unit", "minor_per_gb": "0.000000001"},
    {"kind": "volume", "tiers": [{"up_to_octets": 5, "minor_per_gb": "2"}, {"up_to_octets": None, "minor_per_gb": "1"}]},
    {"kind": "package", "block_octets": 7, "minor_per_block": "3"},
    {"kind": "stepped", "steps": [{"up_to_octets": 5, "minor": "2"}, {"up_to_octets": None, "minor": "9"}]},
    {"kind": "commit_burst", "commit_octets": 5, "minor_commit": "100", "minor_per_gb": "2"},
    {"kind": "percentile_95", "sample_seconds": 300, "missing": "zero",
     "priced": {"kind": "commit_burst", "commit_bps": 10**8, "minor_commit": "50000", "minor_per_mbits": "75"}},
]  # fmt: skip


def test_terms_come_back_as_they_were_stored() -> None:
    terms = parse_usage_terms(EVERYTHING)
    assert terms.as_json() == EVERYTHING
    assert parse_usage_terms(terms.as_json()) == terms


@pytest.mark.parametrize("model", MODELS, ids=lambda one: one["kind"])
def test_every_model_comes_back(model: dict[str, Any]) -> None:
    stored = {"unit": "GB", "metered": "sum", "model": model}
    assert parse_usage_terms(stored).as_json() == stored


def test_a_unit_of_ones_own_comes_back() -> None:
    stored = {
        "unit": {"name": "call", "of": "calls", "size": 1},
        "metered": "count",
        "model": {"kind": "per_unit", "minor_per_call": "4"},
    }
    terms = parse_usage_terms(stored)
    assert terms.as_json() == stored
    rated = rate_usage(terms, Usage(0, 12), Calendar(JUNE, JUNE, "UTC"))
    assert (rated.amount_minor, rated.explanation["used_calls"]) == (48, 12)


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("speed is unknown", {"speed": 5}),
    ("unit 'furlong' is not known", {"unit": "furlong"}),
    ("unit.size is", {"unit": {"name": "call", "of": "calls", "size": 0}}),
    ("metered must be one of sum, down, up, max", {"metered": "sideways"}),
    ("model must be an object", {"model": 5}),
    ("model.kind must be one of flat, per_unit", {"model": {"kind": "magic"}}),
    ("model.minor_per_gb is missing", {"model": {"kind": "per_unit"}}),
    ("model.minor_per_gb is 1.5; write it as text", {"model": {"kind": "per_unit", "minor_per_gb": 1.5}}),
    ("model.minor_per_gb 'dear' is not a number", {"model": {"kind": "per_unit", "minor_per_gb": "dear"}}),
    ("model.minor_per_gb must be from 0", {"model": {"kind": "per_unit", "minor_per_gb": "-1"}}),
    ("model.minor_per_gb must be from 0", {"model": {"kind": "per_unit", "minor_per_gb": "NaN"}}),
    ("at most 9 decimals", {"model": {"kind": "per_unit", "minor_per_gb": "0.0000000001"}}),
    ("model.tiers[1].up_to_octets: the last one", {"model": {"kind": "volume", "tiers": [
        {"up_to_octets": 5, "minor_per_gb": "1"}]}}),
    ("model.tiers[2].up_to_octets must be above 5", {"model": {"kind": "graduated", "tiers": [
        {"up_to_octets": 5, "minor_per_gb": "1"}, {"up_to_octets": 5, "minor_per_gb": "1"},
        {"up_to_octets": None, "minor_per_gb": "1"}]}}),
    ("model.tiers must have one tier", {"model": {"kind": "volume", "tiers": []}}),
    ("model.steps must have one step", {"model": {"kind": "stepped"}}),
    ("model.block_octets must be", {"model": {"kind": "package", "block_octets": 0, "minor_per_block": "1"}}),
    ("model.priced must be an object", {"model": {"kind": "percentile_95"}}),
    ("a percentile has no allowance", {"allowance": {"octets": 5}, "model": MODELS[-1]}),
    ("allowance.octets is missing", {"allowance": {"per": "day"}}),
    ("allowance.octets must be a whole number", {"allowance": {"octets": "5"}}),
    ("allowance.octets must be a whole number", {"allowance": {"octets": True}}),
    ("allowance.per must be one of cycle", {"allowance": {"octets": 5, "per": "year"}}),
    ("allowance.prorated must be true or false", {"allowance": {"octets": 5, "prorated": "yes"}}),
    ("classes[1].days is a list", {"classes": [{"name": "n", "days": ["monday"]}]}),
    ("classes[1].from is a time of day", {"classes": [{"name": "n", "from": "25:00"}]}),
    ("classes[1].weight: a class has a weight or a model", {"classes": [
        {"name": "n", "weight": "1", "model": {"kind": "flat", "minor": "1"}}]}),
    ("classes[1].name: standard", {"classes": [{"name": "standard"}]}),
    ("classes: a name stands twice", {"classes": [{"name": "n"}, {"name": "n"}]}),
    ("classes[2] must be an object", {"classes": [{"name": "n"}, 5]}),
    ("holidays: a class asks", {"classes": [{"name": "n", "holidays": "also"}]}),
    ("holidays.days is a list of days", {"holidays": {"days": ["Christmas"]}}),
    ("rollover: there is no allowance", {"rollover": {"periods": 1}}),
    ("rollover.periods must be", {"allowance": {"octets": 5}, "rollover": {"periods": 0}}),
    ("cap.at_octets or cap.at_percent", {"cap": {"effect": "throttle"}}),
    ("cap.effect must be one of throttle, walled_garden", {"cap": {"at_octets": 5, "effect": "block"}}),
    ("cap.at_percent: there is no allowance", {"cap": {"at_percent": 100, "effect": "throttle"}}),
    ("alerts is a list of whole percents", {"alerts": [0], "allowance": {"octets": 5}}),
    ("alerts: there is neither", {"alerts": [50]}),
    ("top_ups[1].octets must be", {"allowance": {"octets": 5}, "top_ups": [
        {"code": "a", "name": "A", "price_minor": 1}]}),
    ("top_ups: a code stands twice", {"allowance": {"octets": 5}, "top_ups": [
        {"code": "a", "name": "A", "octets": 1, "price_minor": 1}] * 2}),
    ("top_ups: an automatic one", {"allowance": {"octets": 5}, "top_ups": [
        {"code": "a", "name": "A", "octets": 1, "price_minor": 1, "automatic": 1}]}),
    ("shared.bucket must be a text", {"shared": {"bucket": " "}}),
]  # fmt: skip


@pytest.mark.parametrize(("words", "stored"), FAULTS, ids=[words for words, _ in FAULTS])
def test_a_fault_names_its_field(words: str, stored: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        parse_usage_terms(stored)
    assert words in str(caught.value)


def test_what_there_was_reads_as_before() -> None:
    """Allowance and tiers of plan versions written before usage terms had a form of their own."""
    terms = plain_terms("sum", 100 * GB, [{"up_to_octets": None, "minor_per_gb": "50"}])
    rated = rate_usage(terms, Usage(GB, 104 * GB + 10**8), Calendar(JUNE, JUNE, "America/Denver"))
    assert rated.explanation == {
        "model": "graduated", "unit": "GB", "metered": "sum", "octets_in": GB, "octets_out": 104_100_000_000,
        "used_octets": 105_100_000_000, "allowance_octets": 100 * GB, "overage_octets": 5_100_000_000,
        "steps": [{"from_octets": 0, "octets": 5_100_000_000, "minor_per_gb": "50", "exact_minor": "255"}],
        "exact_minor": "255", "amount_minor": 255, "rounding": "half up, once, on the total",
        "period": ["2026-06-01", "2026-07-01"], "cycle": ["2026-06-01", "2026-07-01"],
        "allowance_of_full_cycle_octets": 100 * GB,
    }  # fmt: skip


def test_usage_that_cannot_be() -> None:
    night = parse_usage_terms({"classes": [{"name": "n", "until": "06:00", "weight": "0"}]})
    calendar = Calendar(JUNE, JUNE, "America/Denver")
    begin, end = JUNE.instants("America/Denver")
    with pytest.raises(ValueError, match="negative"):
        Usage(-1, 0)
    with pytest.raises(ValueError, match="only be rated by slices"):
        rate_usage(night, Usage(1, 1), calendar)
    with pytest.raises(ValueError, match="add up to 1 in and 0 out"):
        rate_usage(night, Usage(1, 1, [(begin, end, 1, 0)]), calendar)
    with pytest.raises(ValueError, match="outside the part"):
        rate_usage(night, Usage(1, 0, [(begin, end + timedelta(seconds=1), 1, 0)]), calendar)
    with pytest.raises(ValueError, match="not within the cycle"):
        Calendar(JUNE, Period(date(2026, 5, 31), date(2026, 6, 2)), "UTC")


def test_holidays_of_nowhere_are_refused() -> None:
    check_holidays(parse_usage_terms({"holidays": {"country": "US", "subdivision": "NM"}}))
    with pytest.raises(ValueError, match="none are known for XX"):
        check_holidays(parse_usage_terms({"holidays": {"country": "XX"}}))


# -- the 95th percentile -------------------------------------------------------------------------------------


def _transit(**rules: Any) -> Any:
    priced = {"kind": "per_unit", "minor_per_mbits": "100"}
    return parse_usage_terms(
        {"metered": "max", "model": {"kind": "percentile_95", "priced": priced, **rules}}
    )


def _samples(day: date, bits_per_s: list[tuple[int, int]], step_s: int = 300) -> tuple[Usage, Calendar]:
    """Averages (in, out) in bit/s of consecutive samples of a day in UTC."""
    begin = Period(day, day + timedelta(days=1)).instants("UTC")[0]
    slices = []
    for index, (up, down) in enumerate(bits_per_s):
        start = begin + timedelta(seconds=index * step_s)
        slices.append((start, start + timedelta(seconds=step_s), up * step_s // 8, down * step_s // 8))
    usage = Usage(sum(one[2] for one in slices), sum(one[3] for one in slices), slices)
    period = Period(day, day + timedelta(days=1))
    return usage, Calendar(period, period, "UTC")


def test_the_95th_percentile_sets_aside_5_percent_and_bills_the_higher_direction() -> None:
    # 288 samples a day: 14 (14.4 rounded down) are set aside, the 274th in order is billed.
    down = [1_000_000 * number for number in range(1, 289)]
    usage, calendar = _samples(date(2026, 6, 10), [(5_000_000, bps) for bps in down])
    rated = rate_usage(_transit(), usage, calendar)
    assert rated.explanation["directions"][0] == {
        "direction": "down", "bps": 274_000_000, "samples": 288, "without_record": 0, "set_aside": 14,
        "rank": 274, "highest_bps": 288_000_000,
    }  # fmt: skip
    assert rated.explanation["directions"][1]["bps"] == 5_000_000
    assert rated.amount_minor == 27_400


def test_a_burst_shorter_than_5_percent_costs_nothing() -> None:
    quiet, burst = (0, 2_000_000), (0, 900_000_000)
    usage, calendar = _samples(date(2026, 6, 10), [burst] * 14 + [quiet] * 274)
    assert rate_usage(_transit(), usage, calendar).amount_minor == 200
    usage, calendar = _samples(date(2026, 6, 10), [burst] * 15 + [quiet] * 273)
    assert rate_usage(_transit(), usage, calendar).amount_minor == 90_000


def test_samples_without_a_record_count_as_zero_or_are_left_out() -> None:
    usage, calendar = _samples(date(2026, 6, 10), [(0, 8_000_000)] * 12)
    as_zero = rate_usage(_transit(), usage, calendar).explanation["directions"][0]
    assert (as_zero["bps"], as_zero["samples"], as_zero["without_record"]) == (0, 288, 276)
    left_out = rate_usage(_transit(missing="left_out"), usage, calendar).explanation["directions"][0]
    assert (left_out["bps"], left_out["samples"], left_out["without_record"]) == (8_000_000, 12, 276)


def test_a_committed_rate_for_a_third_of_the_cycle_costs_a_third() -> None:
    priced = {"kind": "commit_burst", "commit_bps": 10**8, "minor_commit": "90000", "minor_per_mbits": "300"}
    terms = parse_usage_terms({"metered": "down", "model": {"kind": "percentile_95", "priced": priced}})
    part = Period(date(2026, 6, 1), date(2026, 6, 11))
    begin, end = part.instants("UTC")
    octets = 110_000_000 // 8 * 86_400 * 10  # 110 Mbit/s all the time: 100 committed, 10 burst
    rated = rate_usage(terms, Usage(0, octets, [(begin, end, 0, octets)]), Calendar(JUNE, part, "UTC"))
    assert rated.explanation["used_bps"] == 110_000_000
    assert rated.amount_minor == (90_000 + 10 * 300) // 3


def test_a_day_with_a_clock_change_has_as_many_samples_as_it_has_hours() -> None:
    for day, samples in ((date(2026, 3, 29), 276), (date(2026, 10, 25), 300)):
        part = Period(day, day + timedelta(days=1))
        begin, end = part.instants("Europe/Berlin")
        rated = rate_usage(
            _transit(), Usage(0, 10**9, [(begin, end, 0, 10**9)]), Calendar(part, part, "Europe/Berlin")
        )
        assert rated.explanation["directions"][0]["samples"] == samples


# -- shared buckets ------------------------------------------------------------------------------------------


def test_a_family_shares_its_allowance_and_divides_what_goes_beyond_by_use() -> None:
    terms = parse_usage_terms(
        {"allowance": {"octets": 100 * GB}, "shared": {"bucket": "family"},
         "model": {"kind": "per_unit", "minor_per_gb": "10"}}
    )  # fmt: skip
    half = Period(date(2026, 6, 16), JUNE.end)
    members = [
        Member("sub_1", terms, JUNE, Usage(0, 150 * GB)),
        Member("sub_2", terms, JUNE, Usage(0, 30 * GB)),
        Member("sub_3", terms, half, Usage(0, 120 * GB)),
    ]
    bucket = rate_bucket(members, Calendar(JUNE, JUNE, "America/Denver"))
    # Pool 100 + 100 + 50 = 250, used 300: 50 beyond, divided as 150 : 30 : 120.
    assert {key: one.overage // GB for key, one in bucket.rated.items()} == {
        "sub_1": 25,
        "sub_2": 5,
        "sub_3": 20,
    }
    assert bucket.rated["sub_3"].allowance == 50 * GB
    assert bucket.rated["sub_1"].explanation["shared"]["items"] == 3


def test_a_bucket_needs_the_same_window_and_unit() -> None:
    day = parse_usage_terms({"allowance": {"octets": 5, "per": "day"}, "shared": {"bucket": "a"}})
    cycle = parse_usage_terms({"allowance": {"octets": 5}, "shared": {"bucket": "a"}})
    members = [Member("a", day, JUNE, Usage(0, 0)), Member("b", cycle, JUNE, Usage(0, 0))]
    with pytest.raises(ValueError, match="b cannot share a bucket with a"):
        rate_bucket(members, Calendar(JUNE, JUNE, "UTC"))
