"""The outbox: exactly once, in order per subject, on both databases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import pytest
from sqlalchemy import select

from core.clock import FakeClock
from core.facts import Fact, RecordedFact
from core.outbox import dispatch_due
from core.store.tables import audit, fact, health_issue
from core.work import Work, Workplace


@dataclass(frozen=True, slots=True)
class Happened(Fact):
    kind: ClassVar[str] = "test.happened"
    what: str
    whom: str

    def subject(self) -> str:
        return self.whom


async def publish(workplace: Workplace, *facts: Happened) -> None:
    async with workplace.work("test") as work:
        await work.publish(*facts)


async def test_a_fact_exists_only_if_its_transaction_commits(any_workplace: Workplace) -> None:
    with pytest.raises(RuntimeError):
        async with any_workplace.work("test") as work:
            await work.publish(Happened("a", "x"))
            raise RuntimeError
    async with any_workplace.reading() as connection:
        assert (await connection.execute(select(fact))).all() == []


async def test_a_reaction_and_its_mark_commit_together(any_workplace: Workplace) -> None:
    await publish(any_workplace, Happened("a", "x"))
    broken = True

    async def react(work: Work, recorded: RecordedFact) -> None:
        await work.audit("reacted", recorded.subject)
        if broken:
            raise RuntimeError("the reaction fails after it wrote")

    assert await dispatch_due(any_workplace, {Happened.kind: react}) == 0
    async with any_workplace.reading() as connection:
        assert (await connection.execute(select(audit))).all() == []
    broken = False
    any_workplace.clock.advance(timedelta(minutes=10))  # type: ignore[attr-defined]
    assert await dispatch_due(any_workplace, {Happened.kind: react}) == 1
    assert await dispatch_due(any_workplace, {Happened.kind: react}) == 0
    async with any_workplace.reading() as connection:
        assert len((await connection.execute(select(audit))).all()) == 1


async def test_a_failing_subject_holds_up_itself_alone(workplace: Workplace, clock: FakeClock) -> None:
    await publish(workplace, Happened("1", "bad"), Happened("2", "good"), Happened("3", "bad"))
    seen: list[str] = []

    async def react(work: Work, recorded: RecordedFact) -> None:
        if recorded.payload["what"] == "1" and len(seen) < 2:
            seen.append("failed")
            raise RuntimeError("not yet")
        seen.append(recorded.payload["what"])

    await dispatch_due(workplace, {Happened.kind: react})
    assert seen == ["failed", "2"]
    clock.advance(timedelta(minutes=10))
    await dispatch_due(workplace, {Happened.kind: react})
    assert seen == ["failed", "2", "1", "3"]


async def test_a_fact_that_keeps_failing_opens_an_issue_that_closes_when_it_passes(
    workplace: Workplace, clock: FakeClock
) -> None:
    await publish(workplace, Happened("1", "x"))
    failing = True

    async def react(work: Work, recorded: RecordedFact) -> None:
        if failing:
            raise RuntimeError("no")

    for _ in range(6):
        await dispatch_due(workplace, {Happened.kind: react})
        clock.advance(timedelta(minutes=10))
    async with workplace.reading() as connection:
        (issue,) = (await connection.execute(select(health_issue))).all()
    assert issue.closed_at is None
    assert issue.severity == "critical"
    failing = False
    await dispatch_due(workplace, {Happened.kind: react})
    async with workplace.reading() as connection:
        (issue,) = (await connection.execute(select(health_issue))).all()
    assert issue.closed_at is not None


async def test_a_clock_that_steps_back_does_not_delay_a_postponed_fact(
    workplace: Workplace, clock: FakeClock
) -> None:
    await publish(workplace, Happened("1", "x"))
    tries: list[str] = []

    async def react(work: Work, recorded: RecordedFact) -> None:
        tries.append(recorded.payload["what"])
        if len(tries) == 1:
            raise RuntimeError("not yet")

    await dispatch_due(workplace, {Happened.kind: react})
    clock.step_to(clock.now() - timedelta(days=40))
    assert await dispatch_due(workplace, {Happened.kind: react}) == 1
