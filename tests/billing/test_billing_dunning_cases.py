"""A table of dated cases of the ladder, each lived day by day and made up for at once, and its laws."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.domain.dunning import (
    Debtor,
    Deferral,
    Dispute,
    UnpaidInvoice,
    decide_promise,
    decide_relief,
    decide_stage,
    find_deferral,
    held_periods,
    run_course,
)
from billing.domain.dunning_policy import Bar, Policy, PolicyHistory, Stage
from billing.domain.dunning_terms import BadTerms, terms_as_json, terms_from_json
from billing.domain.late_fees import fee_amount, fees_due
from billing.dunning.debtors import Case
from billing.dunning.holiday_calendar import holidays_of
from billing.dunning.settle import settle
from billing.store.dunning_rows import DunningState
from core.periods import Period

LADDER = [
    {"stage": "reminded", "days_overdue": 3},
    {"stage": "restricted", "days_overdue": 10},
    {"stage": "suspended", "days_overdue": 15},
]
TWICE = [
    {"stage": "reminded", "days_overdue": 3, "notices": [{"channel": "email", "template": "reminder_1"}]},
    {"stage": "reminded", "days_overdue": 7, "notices": [{"channel": "letter", "template": "reminder_2"}]},
    {"stage": "suspended", "days_overdue": 15},
    {"stage": "ended", "days_overdue": 45},
]
NM = {"country": "US", "subdivision": "NM"}
DE = {"country": "DE"}
FOREVER = date.max


def day(text: str) -> date:
    """``2026-03-24``, or ``03-24`` of 2026."""
    return date.fromisoformat(text if len(text) > 5 else f"2026-{text}")


def policy_of(**terms: Any) -> Policy:
    policy = terms_from_json({"ladder": LADDER, **terms})
    return replace(policy, holidays=holidays_of(policy.closed))


def owes(*invoices: tuple[str, int], **exceptions: Any) -> Debtor:
    """Somebody clear, not looked at since the day before the first invoice was due."""
    unpaid = tuple(
        UnpaidInvoice(f"I{n}", day(due), amount, id=f"inv_{n}") for n, (due, amount) in enumerate(invoices)
    )
    first = min((one.due_on for one in unpaid), default=day("03-24")) - timedelta(days=1)
    return Debtor(Stage.CLEAR, first, unpaid, "USD", **exceptions)


def span(first: str, end: str | None = None) -> Period:
    return Period(day(first), FOREVER if end is None else day(end))


MARCH = ("03-24", 5000)  # due on a Tuesday: day 3 is Friday 27, day 10 Friday 3 April, day 15 Wednesday 8
CASES: list[tuple[str, dict[str, Any], Debtor, str, str, str | None]] = [
    # name, terms of the policy, who owes what, the day, the stage at its end, what defers it
    ("due today is not late", {}, owes(MARCH), "03-24", "clear", None),
    ("the second day bothers nobody", {}, owes(MARCH), "03-26", "clear", None),
    ("the third day reminds", {}, owes(MARCH), "03-27", "reminded", None),
    ("the ninth day still only reminds", {}, owes(MARCH), "04-02", "reminded", None),
    ("the tenth day restricts", {}, owes(MARCH), "04-03", "restricted", None),
    ("the fifteenth day suspends", {}, owes(MARCH), "04-08", "suspended", None),
    ("due on the last of February of a leap year", {}, owes(("2028-02-29", 1)), "2028-03-15", "suspended", None),
    ("due on 31 January, suspended in mid February", {}, owes(("01-31", 1)), "02-16", "suspended", None),
    ("day 15 is a Sunday: Monday cuts", {}, owes(("01-31", 1)), "02-15", "restricted", "weekday"),
    ("over the turn of the year", {}, owes(("2025-12-22", 1)), "01-06", "suspended", None),
    # weekends and weekdays
    ("day 10 on a Saturday waits", {}, owes(("03-25", 1)), "04-04", "reminded", "weekday"),
    ("a reminder goes out on a Saturday", {}, owes(("03-25", 1)), "03-28", "reminded", None),
    ("and on Monday it is made up for", {}, owes(("03-25", 1)), "04-06", "restricted", None),
    ("who cuts on weekends does", {"skip_weekends": False}, owes(("03-25", 1)), "04-04", "restricted", None),
    ("no reminder but on a Monday", {"weekdays": {"reminded": [0]}}, owes(MARCH), "03-29", "clear", "weekday"),
    ("the Monday comes", {"weekdays": {"reminded": [0]}}, owes(MARCH), "03-30", "reminded", None),
    (
        "suspended on Thursdays alone", {"weekdays": {"suspended": [3]}}, owes(MARCH),
        "04-08", "restricted", "weekday",
    ),
    ("the Thursday comes", {"weekdays": {"suspended": [3]}}, owes(MARCH), "04-09", "suspended", None),
    ("never on a Friday, the eve of a weekend", {"skip_eves": True}, owes(MARCH), "04-03", "reminded", "eve"),
    # holidays, by the library
    ("Good Friday in Germany", {"closed_days": DE}, owes(MARCH), "04-03", "reminded", "holiday"),
    ("Easter Monday too", {"closed_days": DE}, owes(MARCH), "04-06", "reminded", "holiday"),
    ("Tuesday after Easter", {"closed_days": DE}, owes(MARCH), "04-07", "restricted", None),
    ("Good Friday is a Friday in New Mexico", {"closed_days": NM}, owes(MARCH), "04-03", "restricted", None),
    ("Memorial Day", {"closed_days": NM}, owes(("05-15", 1)), "05-25", "reminded", "holiday"),
    ("the day after it", {"closed_days": NM}, owes(("05-15", 1)), "05-26", "restricted", None),
    ("Independence Day observed", {"closed_days": NM}, owes(("06-23", 1)), "07-03", "reminded", "holiday"),
    ("and a weekend behind it", {"closed_days": NM}, owes(("06-23", 1)), "07-06", "restricted", None),
    (
        "Presidents' Day is kept after Thanksgiving in New Mexico", {"closed_days": NM},
        owes(("11-17", 1)), "11-27", "reminded", "holiday",
    ),
    (
        "the eve of Thanksgiving", {"closed_days": NM, "skip_eves": True}, owes(("11-15", 1)),
        "11-25", "reminded", "eve",
    ),
    ("Corpus Christi is none in Berlin", {"closed_days": DE}, owes(("05-25", 1)), "06-04", "restricted", None),
    (
        "but one in Bavaria", {"closed_days": {"country": "DE", "subdivision": "BY"}}, owes(("05-25", 1)),
        "06-04", "reminded", "holiday",
    ),
    (
        "the provider's own outing", {"closed_days": {"own": ["2026-04-08"]}}, owes(MARCH),
        "04-08", "restricted", "holiday",
    ),
    # how much is owed
    ("below the minimum balance", {"minimum_balance_minor": 5001}, owes(MARCH), "04-20", "clear", None),
    ("at the minimum balance", {"minimum_balance_minor": 5000}, owes(MARCH), "04-20", "suspended", None),
    (
        "two small ones together are enough", {"minimum_balance_minor": 6000}, owes(MARCH, ("04-05", 1000)),
        "04-06", "restricted", None,
    ),
    ("of two the older one counts", {}, owes(("04-05", 1), MARCH), "04-08", "suspended", None),
    # exceptions
    ("promised until Friday", {}, owes(MARCH, promise_until=day("04-10")), "04-10", "clear", "promise"),
    (
        "the promise is over on a weekend", {}, owes(MARCH, promise_until=day("04-10")),
        "04-11", "reminded", "weekday",
    ),
    ("and Monday does what is due", {}, owes(MARCH, promise_until=day("04-10")), "04-13", "suspended", None),
    ("immune", {}, owes(MARCH, immune=True), "04-20", "clear", None),
    (
        "immune until a day", {}, owes(MARCH, immune=True, immune_until=day("04-07")), "04-07", "clear", None,
    ),
    (
        "no longer immune", {}, owes(MARCH, immune=True, immune_until=day("04-07")), "04-08", "suspended", None,
    ),
    (
        "the whole invoice disputed", {}, owes(MARCH, disputes=(Dispute(span("03-25"), "I0"),)),
        "04-20", "clear", None,
    ),
    (
        "a part disputed, the rest below the minimum", {"minimum_balance_minor": 2000},
        owes(MARCH, disputes=(Dispute(span("03-25"), "I0", 3500),)), "04-20", "clear", None,
    ),
    (
        "a part disputed, the rest is late", {}, owes(MARCH, disputes=(Dispute(span("03-25"), "I0", 3500),)),
        "04-08", "suspended", None,
    ),
    (
        "a dispute of the account eats the oldest first", {},
        owes(MARCH, ("04-01", 900), disputes=(Dispute(span("03-25"), None, 5000),)), "04-08", "reminded", None,
    ),
    (
        "everything of the account disputed", {}, owes(MARCH, disputes=(Dispute(span("03-25")),)),
        "04-20", "clear", None,
    ),
    (
        "an open outage", {}, owes(MARCH, deferrals=(Deferral(span("04-01"), "the tower is down"),)),
        "04-20", "reminded", "deferral",
    ),
    (
        "the outage is over", {}, owes(MARCH, deferrals=(Deferral(span("04-01", "04-20"), "tower down"),)),
        "04-20", "suspended", None,
    ),
    (
        "a bounced payment: its days do not count", {},
        replace(
            owes(MARCH),
            unpaid=(UnpaidInvoice("I0", day("03-24"), 5000, (span("03-25", "04-06"),), "inv_0"),),
        ),
        "04-08", "reminded", None,
    ),
    (
        "a chargeback after a month", {},
        replace(
            owes(MARCH),
            unpaid=(UnpaidInvoice("I0", day("03-24"), 5000, (span("03-30", "05-01"),), "inv_0"),),
        ),
        "05-11", "suspended", None,
    ),
    # an operator's word
    (
        "nobody has approved it", {"approving": {"stages": ["suspended"]}}, owes(MARCH),
        "04-08", "restricted", "approval",
    ),
    (
        "approved", {"approving": {"stages": ["suspended"]}}, owes(MARCH, approved=Stage.SUSPENDED),
        "04-08", "suspended", None,
    ),
    (
        "declined", {"approving": {"stages": ["suspended"]}}, owes(MARCH, declined_until=day("04-20")),
        "04-20", "restricted", "declined",
    ),
    # several reminders, and the end
    ("the second reminder is no other stage", {"ladder": TWICE}, owes(MARCH), "03-31", "reminded", None),
    ("the ladder goes on to the end", {"ladder": TWICE}, owes(MARCH), "05-08", "ended", None),
]  # fmt: skip


def lived(debtor: Debtor, policy: Policy | PolicyHistory, until: date) -> tuple[Debtor, Bar | None]:
    """Every day evaluated on its day."""
    bar = None
    while debtor.evaluated_on < until:
        on = debtor.evaluated_on + timedelta(days=1)
        course = run_course(debtor, policy, on)
        last, bar = course.last, course.last.deferred
        debtor = replace(
            debtor, stage=last.stage, reached=last.reached, respite_until=last.respite_until,
            cut_minor=last.cut_minor, evaluated_on=on,
        )  # fmt: skip
    return debtor, bar


@pytest.mark.parametrize(("name", "terms", "debtor", "on", "stage", "code"), CASES, ids=[c[0] for c in CASES])
def test_dated_case(
    name: str, terms: dict[str, Any], debtor: Debtor, on: str, stage: str, code: str | None
) -> None:
    policy = policy_of(**terms)
    after, bar = lived(debtor, policy, day(on))
    assert (after.stage, bar and bar.code) == (stage, code), name
    at_once = run_course(debtor, policy, day(on)).last
    assert at_once.deferred is None if code is None else at_once.deferred is not None
    if code is None:
        assert at_once.stage == stage, "made up for"
    else:  # what bars a step today bars those of missed days as well: nobody is cut on a Sunday
        assert at_once.stage.rank <= Stage(stage).rank


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40
    assert len({one[0] for one in CASES}) == len(CASES)


# What lifts a cut again.


def cut_with(restoring: dict[str, Any], paid: int) -> Debtor:
    """Suspended for 50.00, of which so much has been paid since."""
    suspended, _ = lived(owes(MARCH), policy_of(restoring=restoring), day("04-08"))
    return replace(
        suspended, unpaid=tuple(replace(one, open_minor=one.open_minor - paid) for one in suspended.unpaid)
    )


@pytest.mark.parametrize(
    ("restoring", "paid", "stage"),
    [
        ({"by": "full"}, 4999, "suspended"),
        ({"by": "full"}, 5000, "clear"),
        ({"by": "percent", "percent": 60}, 2999, "suspended"),
        ({"by": "percent", "percent": 60}, 3000, "reminded"),
        ({"by": "percent", "percent": 60}, 5000, "clear"),
        ({"by": "rung"}, 4999, "suspended"),
        ({"by": "rung"}, 5000, "clear"),
    ],
)
def test_how_much_restores(restoring: dict[str, Any], paid: int, stage: str) -> None:
    relief = decide_relief(cut_with(restoring, paid), policy_of(restoring=restoring), day("04-08"))
    assert (relief.stage if relief else "suspended") == stage


def test_full_means_full_where_a_rung_would_let_go() -> None:
    debtor, _ = lived(owes(MARCH, ("04-05", 700)), policy_of(), day("04-08"))
    march_paid = replace(debtor, unpaid=debtor.unpaid[1:])
    relief = decide_relief(march_paid, policy_of(), day("04-08"))
    assert relief is not None
    assert relief.stage == "reminded"
    assert decide_relief(march_paid, policy_of(restoring={"by": "full"}), day("04-08")) is None


def test_after_a_part_the_rest_has_its_days_and_is_then_cut_for() -> None:
    terms: dict[str, Any] = {"restoring": {"by": "percent", "percent": 50, "respite_days": 5}}
    debtor = cut_with(terms["restoring"], 2500)
    relief = decide_relief(debtor, policy_of(**terms), day("04-08"))
    assert relief is not None
    assert relief.respite_until == day("04-13")
    settled = replace(
        debtor, stage=relief.stage, reached=relief.reached, cut_minor=relief.cut_minor,
        respite_until=relief.respite_until,
    )  # fmt: skip
    waiting, bar = lived(settled, policy_of(**terms), day("04-13"))
    assert (waiting.stage, bar and bar.code) == ("reminded", "respite")
    again, _ = lived(settled, policy_of(**terms), day("04-14"))
    assert (again.stage, again.cut_minor) == ("suspended", 2500)


def test_a_debt_written_off_restores_nobody() -> None:
    debtor = replace(cut_with({}, 0), unpaid=(), written_off_minor=5000)
    assert decide_relief(debtor, policy_of(), day("04-09")) is None
    assert decide_relief(replace(debtor, immune=True), policy_of(), day("04-09")) is not None


# Versions.


def test_a_change_of_the_rules_takes_effect_on_its_day() -> None:
    lenient = replace(policy_of(ladder=[{"stage": "reminded", "days_overdue": 3}]), version_id="v1")
    strict = replace(policy_of(), version_id="v2")
    history = PolicyHistory(((date(2000, 1, 1), lenient), (day("04-14"), strict)))
    before, _ = lived(owes(MARCH), history, day("04-13"))
    assert before.stage == "reminded"
    steps = run_course(owes(MARCH), history, day("04-15")).steps
    assert [(one.on, one.stage, one.version_id) for one in steps] == [
        (day("03-27"), "reminded", "v1"),
        (day("04-14"), "suspended", "v2"),
    ]


# Cut-off hours, in the account's zone, also on the nights when the clocks change.

HOURS = [
    # zone, local day, hours, the instant in UTC, what bars it, when the window opens
    ("America/Denver", "04-08", ("09:00", "16:00"), "2026-04-08T14:59", "hours", "2026-04-08T15:00"),
    ("America/Denver", "04-08", ("09:00", "16:00"), "2026-04-08T15:00", None, None),
    ("America/Denver", "04-08", ("09:00", "16:00"), "2026-04-08T22:00", "hours", None),
    ("Europe/Berlin", "04-08", ("09:00", None), "2026-04-08T06:59", "hours", "2026-04-08T07:00"),
    ("Europe/Berlin", "2026-12-16", ("09:00", None), "2026-12-16T07:59", "hours", "2026-12-16T08:00"),
    # 8 March, 02:30 does not exist in Denver: it is 09:30 UTC, 03:30 on the wall
    ("America/Denver", "03-08", ("02:30", None), "2026-03-08T09:29", "hours", "2026-03-08T09:30"),
    ("America/Denver", "03-08", ("02:30", None), "2026-03-08T09:30", None, None),
    # 1 November, 01:30 comes twice in Denver: the first is 07:30 UTC
    ("America/Denver", "11-01", ("01:30", None), "2026-11-01T07:29", "hours", "2026-11-01T07:30"),
    ("America/Denver", "11-01", (None, "01:30"), "2026-11-01T07:30", "hours", None),
    ("Pacific/Auckland", "04-05", ("09:00", None), "2026-04-04T20:59", "hours", "2026-04-04T21:00"),
]


def case_of(debtor: Debtor, policy: Policy, zone: str, today: date) -> Case:
    state = DunningState(
        "acc_1", "A-1", "Ann", "dpo_1", "USD", zone, debtor.stage, datetime(2026, 1, 1, tzinfo=UTC),
        debtor.evaluated_on, None, False, None, debtor.reached, None, None,
    )  # fmt: skip
    return Case(state, today, debtor, policy, None, frozenset(), ())


@pytest.mark.parametrize(("zone", "on", "hours", "at", "code", "opens"), HOURS)
def test_cut_off_hours(
    zone: str, on: str, hours: tuple[str | None, str | None], at: str, code: str | None, opens: str | None
) -> None:
    due = day(on) - timedelta(days=15)
    policy = policy_of(hours={"not_before": hours[0], "not_after": hours[1]}, skip_weekends=False)
    debtor = replace(owes((due.isoformat(), 100)), stage=Stage.RESTRICTED, evaluated_on=day(on))
    outcome = settle(case_of(debtor, policy, zone, day(on)), datetime.fromisoformat(at).replace(tzinfo=UTC))
    assert (outcome.last.deferred and outcome.last.deferred.code) == code
    assert outcome.stage == ("restricted" if code else "suspended")
    assert outcome.look_again_at == (opens and datetime.fromisoformat(opens).replace(tzinfo=UTC))


# Promises.


@pytest.mark.parametrize(
    ("promised", "paid", "overdue", "today", "state"),
    [
        (2000, 2000, 500, "04-01", "kept"),
        (2000, 1999, 500, "04-10", "open"),
        (2000, 1999, 500, "04-11", "broken"),
        (2000, 0, 0, "04-10", "open"),
        (2000, 0, 0, "04-11", "kept"),
        (0, 0, 500, "04-11", "broken"),
        (0, 0, 0, "04-11", "kept"),
    ],
)
def test_a_promise_is_kept_or_broken(promised: int, paid: int, overdue: int, today: str, state: str) -> None:
    assert decide_promise(day("04-10"), promised, paid, overdue, day(today)) == state


# Late fees.


@pytest.mark.parametrize(
    ("fee", "open_minor", "amount"),
    [
        ({"flat_minor": 500}, 10_000, 500),
        ({"percent_ppm": 15_000}, 10_000, 150),
        ({"percent_ppm": 15_000}, 9_967, 150),  # 149.505: halves away from zero
        ({"percent_ppm": 15_000, "minimum_minor": 300}, 10_000, 300),
        ({"flat_minor": 100, "percent_ppm": 50_000, "maximum_minor": 400}, 10_000, 400),
        ({"flat_minor": 100, "percent_ppm": 50_000}, 10_000, 600),
    ],
)
def test_what_a_late_fee_amounts_to(fee: dict[str, Any], open_minor: int, amount: int) -> None:
    policy = policy_of(late_fee=fee)
    assert policy.late_fee is not None
    assert fee_amount(policy.late_fee, open_minor) == amount


FEES = [
    ({"flat_minor": 500, "grace_days": 5}, owes(MARCH), "03-29", []),
    ({"flat_minor": 500, "grace_days": 5}, owes(MARCH), "03-30", [("03-30", 1)]),
    ({"flat_minor": 500, "grace_days": 5}, owes(MARCH), "06-30", [("03-30", 1)]),
    ({"flat_minor": 500, "monthly": True}, owes(("01-30", 1)), "03-31", [("01-31", 1), ("02-28", 2), ("03-31", 3)]),
    ({"flat_minor": 500}, owes(MARCH, immune=True), "04-30", []),
    ({"flat_minor": 500}, owes(MARCH, promise_until=day("04-10")), "04-30", [("04-11", 1)]),
    ({"flat_minor": 500}, owes(MARCH, disputes=(Dispute(span("03-25"), "I0"),)), "04-30", []),
    (
        {"flat_minor": 500, "monthly": True, "most_times": 2},
        owes(MARCH, deferrals=(Deferral(span("04-20", "05-10"), "ticket"),)), "08-30",
        [("03-25", 1), ("05-10", 2)],
    ),
]  # fmt: skip


def test_amounts_of_another_currency_do_not_apply() -> None:
    policy = policy_of(
        currency="USD", minimum_balance_minor=500, late_fee={"flat_minor": 500}, reconnect_fee_minor=900
    )
    assert policy.in_currency("USD") is policy
    there = PolicyHistory(((date.min, policy),)).in_currency("KWD").on(date.max)
    assert (there.minimum_balance_minor, there.late_fee, there.reconnect_fee_minor) == (0, None, 0)
    assert there.ladder == policy.ladder
    of_any = policy_of(minimum_balance_minor=500)
    assert of_any.in_currency("KWD") is of_any


@pytest.mark.parametrize(("fee", "debtor", "on", "expected"), FEES)
def test_when_a_late_fee_is_owed(
    fee: dict[str, Any], debtor: Debtor, on: str, expected: list[tuple[str, int]]
) -> None:
    policy = policy_of(late_fee=fee)
    at_once = fees_due(debtor, policy, day(on), frozenset())
    assert [(one.on, one.number) for one in at_once] == [(day(text), number) for text, number in expected]
    daily, charged = [], set()
    for on_day in days(debtor.evaluated_on, day(on)):
        new = fees_due(debtor, policy, on_day, charged)
        charged |= {(one.invoice_id, one.number) for one in new}
        daily += new
        debtor = replace(debtor, evaluated_on=on_day)
    assert daily == at_once


def days(after: date, until: date) -> Iterator[date]:
    for offset in itertools.count(1):
        if after + timedelta(days=offset) > until:
            return
        yield after + timedelta(days=offset)


# Laws.

TODAY = date(2026, 6, 15)  # a Monday, no holiday
SPANS = st.builds(
    lambda start, length: Period(TODAY - timedelta(days=start), TODAY - timedelta(days=start - length)),
    st.integers(0, 40), st.integers(0, 60),
)  # fmt: skip


@st.composite
def debtors(draw: st.DrawFn) -> Debtor:
    unpaid = draw(st.lists(st.tuples(st.integers(1, 20_000), st.integers(-5, 60), st.booleans()), max_size=3))
    evaluated_on = TODAY - timedelta(days=draw(st.integers(1, 40)))
    bounced = held_periods(1, [(TODAY - timedelta(days=30), 1), (TODAY - timedelta(days=11), -1)])
    numbers = st.none() | st.sampled_from(["0", "1"])
    return Debtor(
        Stage.CLEAR, evaluated_on,
        tuple(
            UnpaidInvoice(f"{n}", TODAY - timedelta(days=late), amount, bounced if bounces else (), f"inv_{n}")
            for n, (amount, late, bounces) in enumerate(unpaid)
        ),
        "USD",
        promise_until=draw(st.none() | st.dates(TODAY - timedelta(days=20), TODAY + timedelta(days=5))),
        immune=draw(st.booleans()), immune_until=TODAY - timedelta(days=draw(st.integers(-5, 30))),
        deferrals=tuple(draw(st.lists(st.builds(Deferral, SPANS, st.just("x")), max_size=2))),
        disputes=tuple(
            draw(
                st.lists(st.builds(Dispute, SPANS, numbers, st.none() | st.integers(1, 9000)), max_size=2)
            )
        ),
    )  # fmt: skip


TERMS = st.fixed_dictionaries({
    "ladder": st.sampled_from([LADDER, TWICE]), "minimum_balance_minor": st.integers(0, 10_000),
    "skip_weekends": st.booleans(), "skip_eves": st.booleans(),
    "closed_days": st.sampled_from([None, NM, DE]),
    "weekdays": st.sampled_from([{}, {"suspended": [0, 1]}, {"reminded": [0, 3]}]),
    "restoring": st.sampled_from([None, {"by": "full"}]),
})  # fmt: skip


@given(debtors(), TERMS)
def test_making_up_for_missed_days_is_living_them(debtor: Debtor, terms: dict[str, Any]) -> None:
    """Unless something holds today, a Monday without a name: then it holds what was missed as well."""
    policy = policy_of(**terms)
    after, _ = lived(debtor, policy, TODAY)
    course = run_course(debtor, policy, TODAY)
    if find_deferral(debtor, TODAY) is None:
        assert (course.last.stage, course.last.reached or 0) == (after.stage, after.reached or 0)
    else:
        assert course.last.stage.rank <= after.stage.rank


@given(debtors(), TERMS, st.integers(0, 40_000))
def test_relief_never_worsens(debtor: Debtor, terms: dict[str, Any], paid: int) -> None:
    policy = policy_of(**terms)
    owing, _ = lived(debtor, policy, TODAY)
    left, rest = [], paid
    for one in sorted(owing.unpaid, key=lambda invoice: invoice.due_on):
        used = min(rest, one.open_minor)
        rest -= used
        left.append(replace(one, open_minor=one.open_minor - used))
    payer = replace(owing, unpaid=tuple(left))
    relief = decide_relief(payer, policy, TODAY)
    payer = replace(payer, stage=relief.stage, reached=relief.reached) if relief else payer
    assert payer.stage.rank <= owing.stage.rank
    for later in range(1, 25):
        on = TODAY + timedelta(days=later)
        payer, _ = lived(payer, policy, on)
        owing, _ = lived(owing, policy, on)
        assert payer.stage.rank <= owing.stage.rank


@given(debtors(), TERMS)
def test_an_exception_never_worsens(debtor: Debtor, terms: dict[str, Any]) -> None:
    policy = policy_of(**terms)
    plain = replace(debtor, promise_until=None, immune=False, deferrals=(), disputes=())
    for one in (debtor, replace(plain, immune=True), replace(plain, promise_until=TODAY)):
        if all(invoice.open_minor > 0 for invoice in debtor.unpaid):
            assert (
                decide_stage(one, policy, TODAY).stage.rank <= decide_stage(plain, policy, TODAY).stage.rank
            )


# Terms as data.


@given(TERMS)
def test_terms_are_stored_as_they_were_given(terms: dict[str, Any]) -> None:
    policy = terms_from_json(terms)
    assert terms_from_json(terms_as_json(policy)) == policy


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("lader", [], "there is no such term"),
        ("minimum_balance_minor", -1, "whole number"),
        ("weekdays", {"suspended": []}, "at least one weekday"),
        ("weekdays", {"angry": [1]}, "is not reminded"),
        ("closed_days", {"subdivision": "NM"}, "needs its country"),
        ("hours", {"not_before": "17:00", "not_after": "09:00"}, "must be earlier"),
        ("hours", {"not_before": "noon"}, "is not an hour"),
        ("restoring", {"by": "luck"}, "is not one of rung, full, percent"),
        ("restoring", {"by": "percent", "percent": 101}, "percent: must be a whole number from 1 to 100"),
        ("cap", {"accounts": 0}, "accounts: must be"),
        ("late_fee", {"grace_days": 3}, "says no amount"),
        ("late_fee", {"minimum_minor": 300, "maximum_minor": 200}, "below"),
        ("ladder", [{"stage": "reminded", "days_overdue": 3, "notices": [{"channel": "pigeon"}]}], "a notice needs"),
        ("on_restored", [{"channel": "fax", "template": "x"}], "'fax' is not one of email, sms, letter"),
    ],
)  # fmt: skip
def test_terms_with_faults_are_refused_by_name(field: str, value: Any, words: str) -> None:
    with pytest.raises(BadTerms, match="."):
        try:
            terms_from_json({"ladder": LADDER, field: value})
        except BadTerms as trouble:
            assert trouble.field == field
            assert words in str(trouble)
            raise


def test_a_country_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="no holidays are known for US, ZZ"):
        holidays_of(terms_from_json({"closed_days": {"country": "US", "subdivision": "ZZ"}}).closed)
