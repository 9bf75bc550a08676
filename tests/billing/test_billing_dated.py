"""Dated cases end to end: catalogue, use cases, the real bill run and dunning; sums worked out by hand.

A case is a script of days. ``2028-02-29 plan 6200`` is that morning in the account's zone: another plan at 62.00
from that day on. Unless told otherwise the plan is 30.00 a month in advance with 100 GB and 0.50 per GB beyond,
on the first of the month in Denver. `docs/proof-of-billing.md` says which table covers what.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
from billing_story import GB, Town, utc

from billing.config import BillingSettings
from billing.invoicing.add_charge import add_charge
from billing.invoicing.credit_note import issue_credit_note
from billing.invoicing.replay import replay_invoices
from billing.ledger.verify import account_balance
from billing.payments.refund import end_refund, order_refund
from billing.payments.reverse_payment import reverse_payment, win_dispute
from billing.subscriptions import change_subscription as change
from core.refusal import granted

# Daylight saving and zones: usage at the very border of a month falls where the clock on the wall says.


@dataclass(frozen=True)
class Border:
    """A month of a zone, with its borders in UTC as the zone's own rules give them."""

    zone: str
    turn: str
    begins: str
    ends: str
    because: str


BORDERS = [
    Border(
        "Europe/Berlin", "2026-03-29", "2026-03-28T23:00", "2026-04-28T22:00", "summer time begins that night"
    ),
    Border("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", "2026-11-24T23:00", "and ends"),
    Border("Europe/London", "2026-03-29", "2026-03-29T00:00", "2026-04-28T23:00", "an hour after midnight"),
    Border("America/Denver", "2026-11-01", "2026-11-01T06:00", "2026-12-01T07:00", "a day of 25 hours"),
    Border("America/Denver", "2027-03-14", "2027-03-14T07:00", "2027-04-14T06:00", "a day of 23 hours"),
    Border("America/New_York", "2026-10-31", "2026-10-31T04:00", "2026-11-30T05:00", "the night before"),
    Border("America/St_Johns", "2026-11-01", "2026-11-01T02:30", "2026-12-01T03:30", "half an hour off"),
    Border(
        "Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00", "2026-05-04T13:30", "half an hour of change"
    ),
    Border("Pacific/Auckland", "2026-04-05", "2026-04-04T11:00", "2026-05-04T12:00", "the south's autumn"),
    Border(
        "America/Santiago", "2026-09-06", "2026-09-06T04:00", "2026-10-06T03:00", "a day without midnight"
    ),
    Border(
        "America/Santiago", "2026-04-05", "2026-04-05T04:00", "2026-05-05T04:00", "the hour before is twice"
    ),
    Border("Africa/Cairo", "2026-04-24", "2026-04-23T22:00", "2026-05-23T21:00", "no midnight on a Friday"),
    Border("Asia/Kolkata", "2026-04-01", "2026-03-31T18:30", "2026-04-30T18:30", "never any change"),
    Border("Asia/Kathmandu", "2026-04-01", "2026-03-31T18:15", "2026-04-30T18:15", "a quarter of an hour"),
    Border("Pacific/Kiritimati", "2026-04-01", "2026-03-31T10:00", "2026-04-30T10:00", "the first of all"),
    Border("Pacific/Pago_Pago", "2026-04-01", "2026-04-01T11:00", "2026-05-01T11:00", "the last of all"),
]


@pytest.mark.parametrize("case", BORDERS, ids=lambda one: f"{one.zone} {one.turn}: {one.because}")
async def test_usage_at_the_border_of_a_month(town: Town, case: Border) -> None:
    turn, begins, ends = date.fromisoformat(case.turn), utc(case.begins), utc(case.ends)
    town.settings = BillingSettings(clock_leap_days=3_650)
    town.travel(turn, hour=5, time_zone=case.zone)
    ann = await town.account(time_zone=case.zone, anchor_day=turn.day)
    await town.subscription(ann, await town.plan(), turn)
    await town.bill()
    second = begins.resolution * 1_000_000
    for at, gigabytes in ((begins - second, 7), (begins, 70), (ends - second, 40), (ends, 103)):
        town.meters.use("svc_1", at, gigabytes * GB, 0)
    for months in (1, 2):
        year, month = divmod(turn.month - 1 + months, 12)
        day = min(turn.day, 30 if month + 1 in (4, 6, 9, 11) else 31)
        town.travel(date(turn.year + year, month + 1, day), hour=5, time_zone=case.zone)
        await town.bill()
    used = [
        line.amount_minor
        for one in await town.invoices(ann)
        for line in await town.lines(one.number)
        if line.kind == "usage"
    ]
    assert used == [500, 150]  # 110 GB in the first month, 103 in the second, 7 before it all
    await town.prove_books()


# Scripts of days


@dataclass(frozen=True)
class Case:
    """``nets``, ``taxes``, ``opens``: of each invoice in order of number; None: not of interest here."""

    name: str
    script: str
    nets: list[int] | None = None
    taxes: list[int] | None = None
    opens: list[int] | None = None
    cycles: list[str] | None = None
    balance: int | None = None
    stage: str | None = None
    terms: dict[str, Any] = field(default_factory=dict)


MONTH_ENDS = [
    Case("billing day 31, none in February", "2027-01-31 start, 2027-02-28 bill, 2027-03-31 bill, 2027-04-30 bill",
         [3000] * 4, cycles=["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30"], terms={"anchor_day": 31}),
    Case("billing day 31 in a leap year", "2028-01-31 start, 2028-02-29 bill, 2028-03-31 bill",
         [3000] * 3, cycles=["2028-01-31", "2028-02-29", "2028-03-31"], terms={"anchor_day": 31}),
    Case("billing day 30, begun in February", "2028-02-10 start, 2028-02-29 bill, 2028-03-30 bill",
         [1900, 3000, 3000], cycles=["2028-01-30", "2028-02-29", "2028-03-30"], terms={"anchor_day": 30}),
    Case("billing day 29 in a year without one", "2027-02-28 start, 2027-03-29 bill",
         [3000, 3000], cycles=["2027-02-28", "2027-03-29"], terms={"anchor_day": 29}),
    Case("one day of a cycle that ends on the leap day", "2028-02-28 start, 2028-02-29 bill",
         [103, 3000], cycles=["2028-01-31", "2028-02-29"], terms={"anchor_day": 31}),
    Case("begun on the leap day", "2028-02-29 start, 2028-03-01 bill", [103, 3000]),
    Case("begun on the last of an ordinary February", "2027-02-28 start, 2027-03-01 bill", [107, 3000]),
    Case("over the turn of the year", "2026-12-20 start, 2027-01-15 bill", [2516, 3000], terms={"anchor_day": 15}),
    Case("begun on the last of a long month", "2026-07-31 start, 2026-08-01 bill", [97, 3000]),
    Case("three runs missed, each month has its invoice", "2026-04-01 start unbilled, 2026-07-02 bill",
         [3000] * 4, cycles=["2026-04-01", "2026-05-01", "2026-06-01", "2026-07-01"]),
    Case("sold for a day to come, in a cycle to come", "2026-04-10 start 2026-05-20, 2026-05-01 bill, 2026-06-01 bill",
         [1161, 3000], cycles=["2026-05-01", "2026-06-01"]),
    Case("found out a month later: back-dated start", "2026-05-10 start 2026-04-16, 2026-06-01 bill",
         [1500, 3000, 3000], cycles=["2026-04-01", "2026-05-01", "2026-06-01"]),
]  # fmt: skip

CHANGES = [
    Case("ended on the leap day", "2028-02-01 start, 2028-02-29 end, 2028-03-01 bill, 2028-04-01 bill", [3000, -103]),
    Case("ended on the day of its start", "2026-04-01 start, 2026-04-01 end, 2026-05-01 bill", [3000, -3000]),
    Case("ended on the last of a month", "2026-04-01 start, 2026-04-30 end, 2026-05-01 bill", [3000, -100]),
    Case("ended on the turn itself: nothing to give back", "2026-04-01 start, 2026-04-20 end 2026-05-01, 2026-05-01 bill",
         [3000, 0]),
    Case("upgraded on the leap day", "2028-02-01 start, 2028-02-29 plan 6200, 2028-03-01 bill", [3000, 6311]),
    Case("paused from February to March of a leap year",
         "2028-02-01 start, 2028-02-15 pause 2028-03-15, 2028-03-01 bill, 2028-04-01 bill", [3000, 93, 3000]),
    Case("upgrade back-dated over a month that is billed",
         "2026-04-01 start, 2026-05-01 bill, 2026-05-05 plan 6200 2026-04-16, 2026-06-01 bill", [3000, 3000, 11000]),
    Case("half a month of less", "2026-04-01 start 2026-04-01 6200, 2026-04-16 plan 3000, 2026-05-01 bill", [6200, 1400]),
    Case("two upgrades in a month", "2026-04-01 start, 2026-04-11 plan 6200, 2026-04-21 plan 9300, 2026-05-01 bill",
         [3000, 12466]),
    Case("a change and back on the next day", "2026-04-01 start, 2026-04-11 plan 6200, 2026-04-12 plan 3000, 2026-05-01 bill",
         [3000, 3106]),
    Case("planned for the next turn", "2026-04-01 start, 2026-04-11 plan 6200 2026-05-01, 2026-05-01 bill", [3000, 6200]),
    Case("three of it from the middle on", "2026-04-01 start, 2026-04-16 quantity 3, 2026-05-01 bill", [3000, 12000]),
    Case("what was used before a back-dated upgrade is priced again",
         "2026-04-01 start, 2026-04-20 use 130, 2026-05-01 bill, 2026-05-05 plan 6200 2026-04-01, 2026-06-01 bill",
         [3000, 4500, 12600]),
]  # fmt: skip

TAXES = [
    Case("a rate that rises between two months", "2026-03-10 tax 5 2026-01-01, 2026-03-10 tax 7 2026-05-01, "
         "2026-04-01 start, 2026-05-01 bill", [3000, 3000], [150, 210]),
    Case("a rate that rises within a month: the month keeps that of its first day",
         "2026-03-10 tax 5 2026-01-01, 2026-03-10 tax 7 2026-05-01, 2026-04-16 start, 2026-05-16 bill",
         [3000, 3000], [150, 210], terms={"anchor_day": 16}),
    Case("usage in arrears is taxed as when it was used", "2026-03-10 tax 5 2026-01-01, 2026-03-10 tax 7 2026-05-01, 2026-04-01 start, 2026-04-20 use 110, 2026-05-01 bill",
         [3000, 3500], [150, 235]),
    Case("a tax that begins", "2026-03-10 tax 10 2026-05-01, 2026-04-01 start, 2026-05-01 bill", [3000, 3000], [0, 300]),
    Case("a tax that is repealed", "2026-03-10 tax 10 2026-01-01, 2026-03-10 tax 0 2026-05-01, 2026-04-01 start, 2026-05-01 bill",
         [3000, 3000], [300, 0]),
    Case("days given back bring their old tax back", "2026-03-10 tax 5 2026-01-01, 2026-03-10 tax 7 2026-05-01, "
         "2026-04-01 start, 2026-04-16 end, 2026-05-01 bill", [3000, -1500], [150, -75]),
    Case("a rate that changes on the leap day", "2026-03-10 tax 5 2026-01-01, 2026-03-10 tax 7 2028-02-29, "
         "2028-01-29 start, 2028-02-29 bill", [3000, 3000], [150, 210], terms={"anchor_day": 29}),
    Case("a credit note after the rise is at the rate of the invoice", "2026-03-10 tax 5 2026-01-01, 2026-03-10 tax 7 2026-05-01, 2026-04-01 start, 2026-05-02 credit 1000, 2026-05-02 bill",
         [-1000, 3000, 3000], [-50, 150, 210]),
    Case("credited in eight parts, all of the tax comes back", "2026-03-10 tax 7 2026-01-01, 2026-04-01 start, " + "2026-04-02 credit 333, " * 7
         + "2026-04-03 credit all", [*[-333] * 7, -669, 3000], [-23, -24, -23, -23, -24, -23, -23, -47, 210], balance=0),
]  # fmt: skip

MONEY = [
    Case("a part on time, suspended for the rest", "2026-04-01 start, 2026-04-10 pay 1000, 2026-04-30 dun",
         opens=[2000], stage="suspended", balance=2000),
    Case("day 3 on a Saturday reminds", "2026-04-01 start, 2026-04-10 pay 1000, 2026-04-18 dun", opens=[2000], stage="reminded"),
    Case("day 10 on a Saturday waits", "2026-04-01 start, 2026-04-25 dun", opens=[3000], stage="reminded"),
    Case("until Monday", "2026-04-01 start, 2026-04-27 dun", opens=[3000], stage="restricted"),
    Case("two parts make the whole, and the line is clear", "2026-04-01 start, 2026-04-10 pay 1000, 2026-04-30 dun, "
         "2026-04-30 pay 2000", opens=[0], stage="clear", balance=0),
    Case("a cent short stays suspended", "2026-04-01 start, 2026-04-30 dun, 2026-04-30 pay 2999", opens=[1], stage="suspended"),
    Case("too much pays the next month", "2026-04-01 start, 2026-04-10 pay 5000, 2026-05-01 bill", opens=[0, 1000], balance=1000),
    Case("a part goes to the oldest", "2026-04-01 start, 2026-05-01 bill, 2026-05-02 pay 3500", opens=[0, 2500]),
    Case("paid before there is an invoice", "2026-03-20 start 2026-04-01, 2026-03-20 pay 1000, 2026-04-01 bill", opens=[2000]),
    Case("charged back a month later: not late for the days it was paid",
         "2026-04-01 start, 2026-04-10 pay 3000, 2026-05-10 chargeback, 2026-05-10 dun", opens=[3000], stage="clear"),
    Case("and fifteen days on suspended", "2026-04-01 start, 2026-04-10 pay 3000, 2026-05-11 chargeback, 2026-05-26 dun",
         opens=[3000], stage="suspended"),
    Case("late before it was paid: those days count", "2026-04-01 start, 2026-04-20 pay 3000, 2026-05-11 chargeback, "
         "2026-05-21 dun", opens=[3000], stage="suspended"),
    Case("a part charged back", "2026-04-01 start, 2026-04-10 pay 3000, 2026-04-20 chargeback 1000", opens=[1000], balance=1000),
    Case("a part of what paid two months leaves the older paid",
         "2026-04-01 start, 2026-05-01 bill, 2026-05-02 pay 6000, 2026-05-20 chargeback 2500", opens=[0, 2500]),
    Case("other credit fills the gap", "2026-04-01 start, 2026-04-10 pay 3000, 2026-04-11 pay 3000, 2026-04-20 chargeback",
         opens=[0], balance=0),
    Case("a dispute that is won", "2026-04-01 start, 2026-04-10 pay 3000, 2026-04-20 chargeback, 2026-06-01 won",
         opens=[0], balance=0),
    Case("a returned cheque costs its fee", "2026-04-01 start, 2026-04-10 pay 3000, 2026-04-20 bounce, 2026-05-01 bill",
         nets=[3000, 5500], opens=[3000, 5500]),
    Case("credit after a part was paid", "2026-04-01 start, 2026-04-10 pay 1000, 2026-04-12 credit 2500",
         nets=[-2500, 3000], opens=[0, 0], balance=-500),
    Case("what is too much goes back", "2026-04-01 start, 2026-04-10 pay 5000, 2026-04-20 refund 2000, 2026-05-01 bill",
         opens=[0, 3000], balance=3000),
    Case("the credit of an end is refunded by what is open first",
         "2026-04-01 start, 2026-04-16 end, 2026-05-01 bill", nets=[3000, -1500], opens=[1500, 0], balance=1500),
]  # fmt: skip

CREDITS = [
    Case("a month that was credited comes back once", "2026-04-01 start, 2026-04-02 credit all, 2026-04-05 end 2026-04-01, "
         "2026-05-01 bill", nets=[-3000, 3000], balance=0),
    Case("a part that was credited too", "2026-04-01 start, 2026-04-02 credit 1000, 2026-04-05 end 2026-04-01, 2026-05-01 bill",
         nets=[-1000, 3000, -2000], balance=0),
    Case("two parts", "2026-04-01 start, 2026-04-02 credit 700, 2026-04-03 credit 800, 2026-04-05 end 2026-04-16, 2026-05-01 bill",
         nets=[-700, -800, 3000, -1500], balance=0),
    Case("no more than is left of it", "2026-04-01 start, 2026-04-02 credit 2000, 2026-04-05 end 2026-04-16, 2026-05-01 bill",
         nets=[-2000, 3000, -1000], balance=0),
    Case("a little goodwill in a month that is cut", "2026-04-01 start, 2026-04-02 credit 500, 2026-04-05 end 2026-04-16, 2026-05-01 bill",
         nets=[-500, 3000, -1500], balance=1000),
    Case("paid, credited, ended: what was paid is his", "2026-04-01 start, 2026-04-02 pay 3000, 2026-04-02 credit all, "
         "2026-04-05 end 2026-04-01, 2026-05-01 bill", nets=[-3000, 3000], balance=-3000),
    Case("an end that is withdrawn charges nothing anew", "2026-04-01 start, 2026-04-02 credit all, 2026-04-05 end 2026-04-01, "
         "2026-05-01 bill, 2026-05-02 withdraw, 2026-06-01 bill", nets=[-3000, 3000, 3000, 3000], balance=6000),
    Case("nor is it given back at the second end", "2026-04-01 start, 2026-04-02 credit 1000, 2026-04-05 end 2026-04-01, 2026-05-01 bill, "
         "2026-05-02 withdraw, 2026-05-02 end 2026-04-16, 2026-06-01 bill", nets=[-1000, 3000, -2000, 500], balance=500),
    Case("an upgrade costs only the difference", "2026-04-01 start, 2026-04-02 credit all, 2026-04-16 plan 6200, 2026-05-01 bill",
         nets=[-3000, 3000, 7800], balance=7800),
    Case("a downgrade gives back what was not credited", "2026-04-01 start 2026-04-01 6200, 2026-04-02 credit 5000, "
         "2026-04-05 plan 3000 2026-04-01, 2026-05-01 bill", nets=[-5000, 6200, 1800], balance=3000),
    Case("a credited downgrade gives nothing back", "2026-04-01 start 2026-04-01 6200, 2026-04-02 credit all, "
         "2026-04-05 plan 3000 2026-04-01, 2026-05-01 bill", nets=[-6200, 6200, 3000], balance=3000),
    Case("a back-dated pause", "2026-04-01 start, 2026-04-02 credit 2000, 2026-04-20 pause 2026-04-26 2026-04-11, 2026-05-01 bill",
         nets=[-2000, 3000, 2000], balance=3000),
    Case("a smaller quantity", "2026-03-20 start 2026-04-01, 2026-03-20 quantity 3 2026-04-01, 2026-04-01 bill, 2026-04-02 credit 7000, "
         "2026-04-05 quantity 1 2026-04-01, 2026-05-01 bill", nets=[-7000, 9000, 1000], balance=3000),
    Case("a larger one later", "2026-03-20 start 2026-04-01, 2026-03-20 quantity 2 2026-04-01, 2026-04-01 bill, 2026-04-02 credit all, "
         "2026-04-05 quantity 1 2026-04-01, 2026-05-01 bill, 2026-05-02 quantity 3 2026-04-01, 2026-06-01 bill",
         nets=[-6000, 6000, 3000, 18000], balance=21000),
    Case("the month after is given back", "2026-04-01 start, 2026-04-02 credit all, 2026-05-01 bill, 2026-05-10 end 2026-04-16, 2026-06-01 bill",
         nets=[-3000, 3000, 3000, -3000], balance=0),
    Case("given back first, credited after: only what is left", "2026-04-01 start, 2026-04-11 end, 2026-05-01 bill, 2026-05-02 credit all",
         nets=[-1000, 3000, -2000], balance=0),
    Case("goodwill that is no credit note is another thing", "2026-04-01 start, 2026-04-02 goodwill 1000, 2026-04-05 end 2026-04-01, "
         "2026-05-01 bill", nets=[3000, -4000], balance=-1000),
    Case("usage that was credited and is rated again", "2026-04-01 start, 2026-04-20 use 130, 2026-05-01 bill, 2026-05-02 credit 1500 INV-000002 2, "
         "2026-05-05 plan 6200 2026-04-16, 2026-06-01 bill", nets=[-1500, 3000, 4500, 13500], balance=19500),
    Case("usage that was credited and is owed no longer", "2026-04-01 start, 2026-04-20 use 130, 2026-05-01 bill, 2026-05-02 credit 1500 INV-000002 2, "
         "2026-05-05 end 2026-04-16, 2026-06-01 bill", nets=[-1500, 3000, 4500, -4500], balance=1500),
    Case("its tax comes back once", "2026-03-10 tax 10 2026-01-01, 2026-04-01 start, 2026-04-02 credit 1000, 2026-04-05 end 2026-04-01, 2026-05-01 bill",
         nets=[-1000, 3000, -2000], taxes=[-100, 300, -200], balance=0),
    Case("an invoice is credited with what it gave back, and the rest is ended", "2026-04-01 start, 2026-04-16 pause 2026-05-01, 2026-05-01 bill, "
         "2026-05-02 credit all INV-000002, 2026-05-05 end 2026-04-01, 2026-06-01 bill", nets=[-1500, 3000, 1500, -3000], balance=0),
]  # fmt: skip

SCRIPTS = [*MONTH_ENDS, *CHANGES, *TAXES, *MONEY, *CREDITS]


class Life:
    """Plays a script."""

    def __init__(self, town: Town, terms: dict[str, Any]) -> None:
        self.town = town
        self.terms = terms
        self.ann = self.sub = self.payment = self.reversal = ""
        self.plans: dict[int, str] = {}
        self.orders = 0

    async def act(self, what: Any, **terms: Any) -> Any:
        async with self.town.workplace.work("operator:test") as work:
            return granted(await what(work, **terms))

    async def plan(self, price: str) -> str:
        if int(price) not in self.plans:
            self.plans[int(price)] = await self.town.plan(code=f"p{price}", price_minor=int(price))
        return self.plans[int(price)]

    async def play(self, script: str) -> None:
        for step in script.split(", "):
            day, verb, *words = step.split()
            if date.fromisoformat(day) > self.town.clock.now().date():
                self.town.travel(day)
            self.town.clock.advance(timedelta(minutes=1))
            await getattr(self, f"_{verb}")(*words)

    async def _tax(self, percent: str, since: str) -> None:
        await self.town.tax(int(percent) * 10_000, valid_from=date.fromisoformat(since))

    async def _start(self, on: str = "", price: str = "3000") -> None:
        self.ann = await self.town.account(**self.terms)
        starts_on = date.fromisoformat(on) if on not in {"", "unbilled"} else None
        self.sub = await self.town.subscription(self.ann, await self.plan(price), starts_on, "svc_1")
        if on != "unbilled":
            await self.town.bill()

    async def _bill(self) -> None:
        await self.town.bill()

    async def _dun(self) -> None:
        await self.town.dun()

    async def _use(self, gigabytes: str) -> None:
        self.town.meters.use("svc_1", self.town.clock.now(), int(gigabytes) * GB, 0)

    async def _plan(self, price: str, on: str | None = None) -> None:
        day = None if on is None else date.fromisoformat(on)
        version = await self.plan(price)
        await self.act(
            change.change_plan, subscription_id=self.sub, plan_version_id=version, effective_on=day
        )

    async def _quantity(self, quantity: str, on: str | None = None) -> None:
        day = None if on is None else date.fromisoformat(on)
        await self.act(
            change.change_quantity, subscription_id=self.sub, quantity=int(quantity), effective_on=day
        )

    async def _pause(self, until: str, since: str | None = None) -> None:
        back, day = date.fromisoformat(until), None if since is None else date.fromisoformat(since)
        await self.act(change.pause_subscription, subscription_id=self.sub, from_on=day, resume_on=back)

    async def _withdraw(self) -> None:
        standing = await self.act(change.find_standing, subscription_id=self.sub)
        newest = max(standing.changes, key=lambda one: (one.recorded_at, one.id))
        await self.act(
            change.withdraw_change, subscription_id=self.sub, change_id=newest.id, reason="a mistake"
        )

    async def _end(self, on: str | None = None) -> None:
        day = None if on is None else date.fromisoformat(on)
        await self.act(change.end_subscription, subscription_id=self.sub, ends_on=day)

    async def _pay(self, amount: str) -> None:
        paid = await self.town.pay(self.ann, int(amount))
        self.payment = self.payment or paid.payment_id

    async def _chargeback(self, amount: str | None = None, kind: str = "chargeback") -> None:
        taken = await self.act(
            reverse_payment, payment_id=self.payment, reason="the bank took it back", kind=kind,
            amount_minor=None if amount is None else int(amount), settings=self.town.settings,
        )  # fmt: skip
        self.reversal = taken.reversal_id

    async def _bounce(self) -> None:
        await self._chargeback(kind="nsf")

    async def _won(self) -> None:
        await self.act(win_dispute, reversal_id=self.reversal, reason="the bank gave it back")

    async def _refund(self, amount: str) -> None:
        order = await self.act(
            order_refund, account_id=self.ann, amount_minor=int(amount), method="cash", reason="asked for",
            idempotency_key="refund",
        )  # fmt: skip
        await self.act(end_refund, refund_id=order.refund_id, outcome="paid")

    async def _credit(self, amount: str, invoice: str = "INV-000001", line: str = "1") -> None:
        self.orders += 1
        await self.act(
            issue_credit_note, invoice=invoice, reason="no service", source=f"ticket:{self.orders}",
            amounts_minor=None if amount == "all" else {int(line): int(amount)}, settings=self.town.settings,
        )  # fmt: skip

    async def _goodwill(self, amount: str) -> None:
        await self.act(
            add_charge, account_id=self.ann, description="Goodwill", amount_minor=-int(amount), source="goodwill",
            kind="goodwill", tax_class="internet", revenue="fees",
        )  # fmt: skip


@pytest.mark.parametrize("case", SCRIPTS, ids=lambda one: one.name)
async def test_a_life_by_date(town: Town, case: Case) -> None:
    fees = {"nsf": {"USD": 2500}}
    town.settings = BillingSettings(clock_leap_days=3_650, returned_payment_fees=fees)
    life = Life(town, case.terms)
    await life.play(case.script)
    found = await town.invoices(life.ann)
    for wanted, name in (
        (case.nets, "net_minor"), (case.taxes, "tax_minor"), (case.opens, "open_minor"),
    ):  # fmt: skip
        assert wanted is None or [getattr(one, name) for one in found] == wanted
    assert case.cycles is None or [str(one.cycle_start) for one in found] == case.cycles
    async with town.workplace.reading() as connection:
        owed = await account_balance(connection, life.ann)
    assert case.balance is None or owed == case.balance
    assert case.stage is None or await town.stage(life.ann) == case.stage
    await town.prove_books()
    async with town.workplace.reading() as connection:
        async for one in replay_invoices(
            connection, town.meters, date(2020, 1, 1), date(2099, 1, 1), town.settings
        ):
            assert one.is_same, one.differences
