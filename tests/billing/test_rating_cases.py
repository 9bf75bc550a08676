"""Worked cases of usage rating, by date: what was used, what it includes, what lies beyond, what it costs.

``steady`` is so many GB an hour over the whole part, so that hours can be counted by hand; ``used`` are
totals as (in, out) GB; ``at`` are GB at local times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from billing.domain.rating.balance import Lot
from billing.domain.rating.calendar import Calendar
from billing.domain.rating.rate import RatedUsage, Usage, rate_usage
from billing.domain.rating.terms import parse_usage_terms
from billing.rating.public_holidays import with_holidays
from core.periods import Period

GB = 10**9
DENVER, BERLIN, LORD_HOWE = "America/Denver", "Europe/Berlin", "Australia/Lord_Howe"
TEN_A_GB = {"kind": "per_unit", "minor_per_gb": "10"}
NIGHT = {"name": "night", "from": "22:00", "until": "06:00"}
WEEKEND = {"name": "weekend", "days": ["sat", "sun"]}
TIERS = [
    {"up_to_octets": 50 * GB, "minor_per_gb": "50"},
    {"up_to_octets": 100 * GB, "minor_per_gb": "20"},
    {"up_to_octets": None, "minor_per_gb": "12.5"},
]


def gb(amount: float, per: str = "cycle", **more: Any) -> dict[str, Any]:
    """An allowance of so many GB."""
    return {"octets": round(amount * GB), "per": per, **more}


def span(text: str) -> Period:
    """``2026-06-01..2026-07-01``."""
    start, end = text.split("..")
    return Period(date.fromisoformat(start), date.fromisoformat(end))


@dataclass(frozen=True)
class Case:
    """``allowance`` None: unlimited; all quantities in GB."""

    name: str
    cycle: str
    terms: dict[str, Any]
    amount: int
    overage: float
    allowance: float | None = 0
    part: str = ""
    zone: str = DENVER
    used: tuple[float, float] = (0, 0)
    steady: float = 0
    at: list[tuple[str, float]] = field(default_factory=list)
    lots: list[Lot] = field(default_factory=list)
    exact: str = ""
    left: float | None = None

    def calendar(self) -> Calendar:
        plain = Calendar(span(self.cycle), span(self.part or self.cycle), self.zone)
        return with_holidays(plain, parse_usage_terms(self.terms))

    def usage(self) -> Usage:
        begin, end = self.calendar().part.instants(self.zone)
        if self.steady:
            octets = round((end - begin).total_seconds() / 3600 * self.steady * GB)
            return Usage(0, octets, [(begin, end, 0, octets)])
        if self.at:
            where = ZoneInfo(self.zone)
            slices = []
            for text, amount in self.at:
                instant = datetime.fromisoformat(text).replace(tzinfo=where).astimezone(UTC)
                slices.append((instant, instant, 0, round(amount * GB)))
            return Usage(0, sum(one[3] for one in slices), slices)
        octets_in, octets_out = (round(one * GB) for one in self.used)
        return Usage(octets_in, octets_out, [(begin, end, octets_in, octets_out)])

    def rate(self) -> RatedUsage:
        return rate_usage(parse_usage_terms(self.terms), self.usage(), self.calendar(), self.lots)


def rolled(amount: float, opens: str, closes: str) -> Lot:
    return Lot(
        f"rolled:{opens}", "rolled", round(amount * GB), date.fromisoformat(opens), date.fromisoformat(closes)
    )


def topped(amount: float, opens: str, closes: str) -> Lot:
    return Lot(
        f"top_up:{opens}", "top_up", round(amount * GB), date.fromisoformat(opens), date.fromisoformat(closes)
    )


JUNE, FEBRUARY = "2026-06-01..2026-07-01", "2026-02-01..2026-03-01"
ROLL = {"periods": 2, "cap_octets": 150 * GB}

CASES = [
    # -- the models, beyond 100 GB a cycle ---------------------------------------------------------------
    Case("within the allowance nothing is charged", JUNE,
         {"allowance": gb(100), "model": TEN_A_GB}, used=(20, 80), allowance=100, overage=0, amount=0),
    Case("per unit: half a GB costs half", JUNE,
         {"allowance": gb(100), "model": TEN_A_GB}, used=(20, 80.55), allowance=100, overage=0.55, amount=6,
         exact="5.5"),
    Case("flat: once, however much", JUNE,
         {"allowance": gb(100), "model": {"kind": "flat", "minor": "1500"}}, used=(0, 300), allowance=100,
         overage=200, amount=1500),
    Case("flat: not at all within the allowance", JUNE,
         {"allowance": gb(100), "model": {"kind": "flat", "minor": "1500"}}, used=(0, 100), allowance=100,
         overage=0, amount=0),
    Case("graduated: 50 at 50, 50 at 20, 7 at 12.5", JUNE,
         {"allowance": gb(100), "model": {"kind": "graduated", "tiers": TIERS}}, used=(0, 207), allowance=100,
         overage=107, amount=3588, exact="3587.5"),
    Case("graduated: exactly on a border", JUNE,
         {"allowance": gb(100), "model": {"kind": "graduated", "tiers": TIERS}}, used=(0, 150), allowance=100,
         overage=50, amount=2500),
    Case("volume: everything at the tier it ends in", JUNE,
         {"allowance": gb(100), "model": {"kind": "volume", "tiers": TIERS}}, used=(0, 207), allowance=100,
         overage=107, amount=1338, exact="1337.5"),
    Case("volume: on a border the lower tier", JUNE,
         {"allowance": gb(100), "model": {"kind": "volume", "tiers": TIERS}}, used=(0, 150), allowance=100,
         overage=50, amount=2500),
    Case("package: one octet starts a block", JUNE,
         {"allowance": gb(100), "model": {"kind": "package", "block_octets": 10 * GB, "minor_per_block": "250"}},
         used=(0, 120.000000001), allowance=100, overage=20.000000001, amount=750),
    Case("stepped: the amount of the step", JUNE,
         {"model": {"kind": "stepped", "steps": [{"up_to_octets": 10 * GB, "minor": "500"},
                                                 {"up_to_octets": 50 * GB, "minor": "900"},
                                                 {"up_to_octets": None, "minor": "2000"}]}},
         used=(0, 10.5), overage=10.5, amount=900),
    Case("stepped: nothing used, nothing charged", JUNE,
         {"model": {"kind": "stepped", "steps": [{"up_to_octets": None, "minor": "500"}]}},
         used=(0, 0), overage=0, amount=0),
    Case("commit: paid though not used", JUNE,
         {"model": {"kind": "commit_burst", "commit_octets": 500 * GB, "minor_commit": "4000", "minor_per_gb": "9"}},
         used=(0, 120), overage=120, amount=4000),
    Case("commit and burst", JUNE,
         {"model": {"kind": "commit_burst", "commit_octets": 500 * GB, "minor_commit": "4000", "minor_per_gb": "9"}},
         used=(0, 510), overage=510, amount=4090),
    Case("commit for 10 of 30 days: a third of both", JUNE,
         {"model": {"kind": "commit_burst", "commit_octets": 300 * GB, "minor_commit": "6000", "minor_per_gb": "9"}},
         part="2026-06-21..2026-07-01", used=(0, 110), overage=110, amount=2090),
    Case("no model: beyond the allowance is free", JUNE, {"allowance": gb(100)}, used=(0, 500), allowance=100,
         overage=400, amount=0),
    Case("unlimited", JUNE, {"allowance": {"octets": None}, "model": TEN_A_GB}, used=(0, 500), allowance=None,
         overage=0, amount=0),
    Case("no allowance: from the first octet", JUNE, {"model": TEN_A_GB}, used=(1, 2), overage=3, amount=30),
    # -- directions --------------------------------------------------------------------------------------
    Case("down counts what the subscriber got", JUNE, {"metered": "down", "model": TEN_A_GB}, used=(30, 50),
         overage=50, amount=500),
    Case("up counts what he sent", JUNE, {"metered": "up", "model": TEN_A_GB}, used=(30, 50), overage=30,
         amount=300),
    Case("max counts the greater, once for the whole part", JUNE, {"metered": "max", "model": TEN_A_GB},
         used=(70, 50), overage=70, amount=700),
    # -- parts of a cycle, months and leap days ------------------------------------------------------------
    Case("20 of 30 days include two thirds", JUNE, {"allowance": gb(90), "model": TEN_A_GB},
         part="2026-06-11..2026-07-01", used=(0, 61), allowance=60, overage=1, amount=10),
    Case("not prorated: the whole", JUNE, {"allowance": gb(90, prorated=False), "model": TEN_A_GB},
         part="2026-06-11..2026-07-01", used=(0, 61), allowance=90, overage=0, amount=0),
    Case("February of a leap year has 29 days", "2028-02-01..2028-03-01",
         {"allowance": gb(29, "day"), "model": TEN_A_GB}, steady=0.5, allowance=841, overage=0, amount=0),
    Case("the leap day alone: 24 GB used, 1 GB included", "2028-02-01..2028-03-01",
         {"allowance": gb(1, "day"), "model": TEN_A_GB}, part="2028-02-29..2028-03-01", steady=1, allowance=1,
         overage=23, amount=230),
    Case("anchor 31: 31 January to 28 February is one month", "2026-01-31..2026-02-28",
         {"allowance": gb(50, "month"), "model": TEN_A_GB}, used=(0, 60), allowance=50, overage=10, amount=100),
    Case("28 February to 31 March is one month too", "2026-02-28..2026-03-31",
         {"allowance": gb(50, "month"), "model": TEN_A_GB}, used=(0, 60), allowance=50, overage=10, amount=100),
    Case("a quarter has three monthly allowances; the third is not saved up", "2026-04-01..2026-07-01",
         {"allowance": gb(10, "month"), "model": TEN_A_GB},
         at=[("2026-04-10T12:00", 15), ("2026-05-10T12:00", 2), ("2026-06-30T23:59", 11)], allowance=30,
         overage=6, amount=60),
    # -- days and weeks ------------------------------------------------------------------------------------
    Case("each day includes its own: a busy Sunday is not helped by Monday", FEBRUARY,
         {"allowance": gb(2, "day"), "model": TEN_A_GB},
         at=[("2026-02-01T23:59", 5), ("2026-02-02T00:00", 1)], allowance=56, overage=3, amount=30),
    Case("the day that springs forward has 23 hours, and its allowance is whole (Denver)",
         "2026-03-01..2026-04-01", {"allowance": gb(20, "day"), "model": TEN_A_GB},
         part="2026-03-08..2026-03-09", steady=1, allowance=20, overage=3, amount=30),
    Case("the day that falls back has 25 (Denver)", "2026-11-01..2026-12-01",
         {"allowance": gb(20, "day"), "model": TEN_A_GB}, part="2026-11-01..2026-11-02", steady=1,
         allowance=20, overage=5, amount=50),
    Case("24 and a half on Lord Howe, where the clock falls back by half an hour", "2026-04-01..2026-05-01",
         {"allowance": gb(20, "day"), "model": TEN_A_GB}, part="2026-04-05..2026-04-06", zone=LORD_HOWE,
         steady=1, allowance=20, overage=4.5, amount=45),
    Case("weeks begin on Monday, wherever the month does: one day of a week is a seventh", FEBRUARY,
         {"allowance": gb(7, "week"), "model": TEN_A_GB}, part="2026-02-01..2026-02-02",
         at=[("2026-02-01T08:00", 3)], allowance=1, overage=2, amount=20),
    Case("a week across the month's end: two days here, five there", "2026-06-01..2026-07-01",
         {"allowance": gb(7, "week"), "model": TEN_A_GB}, part="2026-06-29..2026-07-01",
         at=[("2026-06-30T08:00", 3)], allowance=2, overage=1, amount=10),
    Case("… and the other five", "2026-07-01..2026-08-01", {"allowance": gb(7, "week"), "model": TEN_A_GB},
         part="2026-07-01..2026-07-06", at=[("2026-07-05T23:00", 6)], allowance=5, overage=1, amount=10),
    Case("not prorated, the piece of a week includes all of it", FEBRUARY,
         {"allowance": gb(7, "week", prorated=False), "model": TEN_A_GB}, part="2026-02-01..2026-02-02",
         at=[("2026-02-01T08:00", 3)], allowance=7, overage=0, amount=0),
    Case("weeks that begin on Sunday", FEBRUARY,
         {"allowance": gb(7, "week", week_starts="sun"), "model": TEN_A_GB}, part="2026-02-01..2026-02-08",
         at=[("2026-02-01T08:00", 4), ("2026-02-07T23:59", 5)], allowance=7, overage=2, amount=20),
    # -- time classes --------------------------------------------------------------------------------------
    Case("nights are free: 16 of 24 hours count", "2026-06-01..2026-07-01",
         {"model": TEN_A_GB, "classes": [{**NIGHT, "weight": "0"}]}, part="2026-06-10..2026-06-11", steady=1,
         overage=16, amount=160),
    Case("the night that springs forward is an hour shorter, the day is not (Berlin)",
         "2026-03-01..2026-04-01", {"model": TEN_A_GB, "classes": [{**NIGHT, "weight": "0"}]}, zone=BERLIN,
         part="2026-03-29..2026-03-30", steady=1, overage=16, amount=160),
    Case("the night that falls back has nine hours, at half weight 4.5 (Berlin)", "2026-10-01..2026-11-01",
         {"model": TEN_A_GB, "classes": [{**NIGHT, "weight": "0.5"}]}, zone=BERLIN,
         part="2026-10-25..2026-10-26", steady=1, overage=20.5, amount=205),
    Case("an hour shown twice is in its class twice: 01:00 to 02:00 in Denver", "2026-11-01..2026-12-01",
         {"model": TEN_A_GB, "classes": [{"name": "one", "from": "01:00", "until": "02:00", "weight": "0"}]},
         part="2026-11-01..2026-11-02", steady=1, overage=23, amount=230),
    Case("an hour that is skipped is in none: 02:00 to 03:00 in Denver", "2026-03-01..2026-04-01",
         {"model": TEN_A_GB, "classes": [{"name": "two", "from": "02:00", "until": "03:00", "weight": "0"}]},
         part="2026-03-08..2026-03-09", steady=1, overage=23, amount=230),
    Case("a class that begins inside the skipped hour begins at its end", "2026-03-01..2026-04-01",
         {"model": TEN_A_GB, "classes": [{"name": "late", "from": "02:30", "until": "04:00", "weight": "0"}]},
         part="2026-03-08..2026-03-09", steady=1, overage=22, amount=220),
    Case("half of 01:30 to 02:00 again on Lord Howe: shown twice, free twice", "2026-04-01..2026-05-01",
         {"model": TEN_A_GB, "classes": [{"name": "x", "from": "01:30", "until": "02:00", "weight": "0"}]},
         zone=LORD_HOWE, part="2026-04-05..2026-04-06", steady=1, overage=23.5, amount=235),
    Case("Lord Howe springs forward from 02:00 to 02:30: of 02:00 to 03:00 only half is there",
         "2026-10-01..2026-11-01",
         {"model": TEN_A_GB, "classes": [{"name": "x", "from": "02:00", "until": "03:00", "weight": "0"}]},
         zone=LORD_HOWE, part="2026-10-04..2026-10-05", steady=1, overage=23, amount=230),
    Case("weekends half: Saturday and Sunday count 24 of 48 hours", JUNE,
         {"model": TEN_A_GB, "classes": [{**WEEKEND, "weight": "0.5"}]}, part="2026-06-05..2026-06-08",
         steady=1, overage=48, amount=480),
    Case("a weekend night that began on Sunday runs into Monday", JUNE,
         {"model": TEN_A_GB, "classes": [{"name": "night", "days": ["sun"], "from": "22:00", "until": "06:00",
                                          "weight": "0"}]},
         part="2026-06-08..2026-06-09", steady=1, overage=18, amount=180),
    Case("the first class that holds wins: weekend nights are nights", JUNE,
         {"model": TEN_A_GB, "classes": [{**NIGHT, "weight": "0"}, {**WEEKEND, "weight": "0.5"}]},
         part="2026-06-06..2026-06-07", steady=1, overage=8, amount=80),
    Case("a holiday counts as a weekend when the class says so", JUNE,
         {"model": TEN_A_GB, "holidays": {"days": ["2026-06-19"]}, "classes": [{**WEEKEND, "holidays": "also", "weight": "0"}]},
         part="2026-06-19..2026-06-20", steady=1, overage=0, amount=0),
    Case("… and is never an office day", JUNE,
         {"model": TEN_A_GB, "holidays": {"days": ["2026-06-19"]}, "classes": [{"name": "office", "days": ["mon", "tue", "wed", "thu", "fri"],
                                          "from": "08:00", "until": "18:00", "holidays": "never",
                                          "weight": "2"}]},
         part="2026-06-18..2026-06-20", steady=1, overage=58, amount=580),
    Case("Independence Day on a Saturday is kept on Friday the third: the library knows", "2026-07-01..2026-08-01",
         {"model": TEN_A_GB, "holidays": {"country": "US"},
          "classes": [{**WEEKEND, "holidays": "also", "weight": "0"}]},
         part="2026-07-02..2026-07-06", steady=1, overage=24, amount=240),
    Case("a class with a price of its own leaves the allowance alone", JUNE,
         {"allowance": gb(15), "model": TEN_A_GB,
          "classes": [{**NIGHT, "model": {"kind": "per_unit", "minor_per_gb": "2"}}]},
         part="2026-06-10..2026-06-11", steady=1, allowance=0.5, overage=15.5, amount=171),
    Case("nights free and days limited, by the day", JUNE,
         {"allowance": gb(10, "day"), "model": TEN_A_GB, "classes": [{**NIGHT, "weight": "0"}]},
         part="2026-06-10..2026-06-12", steady=1, allowance=20, overage=12, amount=120),
    # -- what is carried -----------------------------------------------------------------------------------
    Case("what is left rolls over", JUNE, {"allowance": gb(100), "model": TEN_A_GB, "rollover": ROLL},
         used=(0, 60), allowance=100, overage=0, amount=0, left=40),
    Case("rolled over is used first, so the month's own rolls again", JUNE,
         {"allowance": gb(100), "model": TEN_A_GB, "rollover": ROLL}, used=(0, 60),
         lots=[rolled(40, "2026-06-01", "2026-08-01")], allowance=100, overage=0, amount=0, left=80),
    Case("the cap keeps 150: the oldest goes", JUNE,
         {"allowance": gb(100), "model": TEN_A_GB, "rollover": ROLL}, used=(0, 0),
         lots=[rolled(70, "2026-06-01", "2026-08-01")], allowance=100, overage=0, amount=0, left=150),
    Case("what expires with the cycle is gone after it", JUNE,
         {"allowance": gb(100), "model": TEN_A_GB, "rollover": ROLL}, used=(0, 10),
         lots=[rolled(70, "2026-05-01", "2026-07-01")], allowance=100, overage=0, amount=0, left=100),
    Case("what expired before serves no more", JUNE,
         {"allowance": gb(100), "model": TEN_A_GB, "rollover": ROLL}, used=(0, 120),
         lots=[rolled(70, "2026-04-01", "2026-06-01")], allowance=100, overage=20, amount=200, left=0),
    Case("a top-up comes after the allowance", JUNE, {"allowance": gb(100), "model": TEN_A_GB}, used=(0, 125),
         lots=[topped(20, "2026-06-17", "2026-07-01")], allowance=100, overage=5, amount=50, left=0),
    Case("a top-up for 30 days serves the next cycle too", JUNE, {"allowance": gb(100), "model": TEN_A_GB},
         used=(0, 105), lots=[topped(20, "2026-06-17", "2026-07-17")], allowance=100, overage=0, amount=0,
         left=15),
    Case("a top-up bought on the 17th does not help the 16th of a daily allowance", JUNE,
         {"allowance": gb(1, "day"), "model": TEN_A_GB}, lots=[topped(20, "2026-06-17", "2026-07-01")],
         at=[("2026-06-16T12:00", 3), ("2026-06-17T12:00", 3)], allowance=30, overage=2, amount=20, left=0),
    Case("a daily allowance that rolls over one day: Sunday's rest serves Monday, and no longer", FEBRUARY,
         {"allowance": gb(2, "day"), "model": TEN_A_GB, "rollover": {"periods": 1}},
         part="2026-02-01..2026-02-04",
         at=[("2026-02-01T10:00", 1), ("2026-02-02T10:00", 1), ("2026-02-03T10:00", 6)], allowance=6,
         overage=2, amount=20, left=0),
    # -- other units ---------------------------------------------------------------------------------------
    Case("calls by the minute: 100 seconds at 6 a minute", JUNE,
         {"unit": "minute", "metered": "count", "model": {"kind": "per_unit", "minor_per_minute": "6"}},
         used=(0, 100 / GB), overage=100 / GB, amount=10),
    Case("a third of a minute is no decimal: the exact amount is a fraction", JUNE,
         {"unit": "minute", "metered": "count", "model": {"kind": "per_unit", "minor_per_minute": "5"}},
         used=(0, 20 / GB), overage=20 / GB, amount=2, exact="5/3"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_worked_case(case: Case) -> None:
    rated = case.rate()
    allowance = None if case.allowance is None else round(case.allowance * GB)
    assert (rated.allowance, rated.overage, rated.amount_minor) == (
        allowance, round(case.overage * GB), case.amount,
    )  # fmt: skip
    if case.exact:
        assert rated.explanation["exact_minor"] == case.exact
    if case.left is not None:
        assert sum(lot.amount for lot in rated.lots) == round(case.left * GB)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)
