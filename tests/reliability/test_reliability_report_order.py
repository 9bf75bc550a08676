"""Reports of one second in several batches, late ones, repeats, any order: the usage is what the NAS counted."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from reliability_box import times
from sqlalchemy import func, select

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.record_accounting import record_accounting
from aaa.set_up import NewCredential, create_service, define_profile
from aaa.store.tables import session, usage_record
from core.refusal import granted
from core.secrets import Sealer, Secret
from core.work import Workplace

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
CLASS_KEY = bytes(32)


async def _service(workplace: Workplace, sealer: Sealer) -> None:
    async with workplace.work("operator:test") as work:
        profile = granted(
            await define_profile(work, name="home", rate_down_bps=900_000_000, rate_up_bps=100_000_000)
        )
        granted(
            await create_service(
                work, sealer, account_id="acc_1", label="ann", profile_id=profile,
                credentials=[NewCredential("pppoe", "ann", Secret("open sesame"))],
            )
        )  # fmt: skip


def _report(session_id: str, kind: AccountingKind, second: int, octets: int) -> AccountingEvent:
    at = NOON + timedelta(seconds=second)
    return AccountingEvent(
        nas_id="nas_1", kind=kind, acct_session_id=session_id, username="ann", class_token=b"",
        occurred_at=at, received_at=at, octets_in=octets, octets_out=3 * octets, gigawords_present=True,
        session_time_s=second, framed_ip=None, calling_station=None, nas_port_id=None, terminate_cause=None,
        evidence={},
    )  # fmt: skip


def _life(number: int, chance: random.Random) -> tuple[list[list[AccountingEvent]], int]:
    """Batches of one session's reports, shuffled a little and partly said twice; and its last counter."""
    session_id, octets, second = f"81{number:06x}", 0, 0
    events = [_report(session_id, AccountingKind.START, 0, 0)]
    for _ in range(chance.randint(1, 8)):
        second += chance.choice((0, 0, 1, 5, 60, 3_000))
        octets += chance.randrange(1, 10**8)
        events.append(_report(session_id, AccountingKind.INTERIM, second, octets))
    octets += chance.randrange(1, 10**8)
    events.append(_report(session_id, AccountingKind.STOP, second + chance.choice((0, 0, 2, 900)), octets))
    events += [event for event in events if chance.random() < 0.2]
    slack = chance.choice((0, 1, 4, 100))
    order = sorted(range(len(events)), key=lambda place: place + chance.uniform(0, slack))
    batches: list[list[AccountingEvent]] = [[]]
    for place in order:
        if chance.random() < 0.5:
            batches.append([])
        batches[-1].append(events[place])
    return batches, octets


async def test_usage_does_not_depend_on_how_reports_arrive(workplace: Workplace, sealer: Sealer) -> None:
    await _service(workplace, sealer)
    chance = random.Random(12)
    wanted: dict[str, tuple[int, int]] = {}
    for number in range(times(120, 4_000)):
        batches, octets = _life(number, chance)
        for batch in batches:
            async with workplace.work("system:ingest") as work:
                await record_accounting(work, batch, CLASS_KEY)
        wanted[f"81{number:06x}"] = (octets, 3 * octets)
    async with workplace.reading() as connection:
        found = await connection.execute(
            select(
                session.c.acct_session_id,
                func.sum(usage_record.c.octets_in).label("up"),
                func.sum(usage_record.c.octets_out).label("down"),
            )
            .join(usage_record, usage_record.c.meter_id == session.c.meter_id)
            .group_by(session.c.acct_session_id)
        )
        got = {row.acct_session_id: (int(row.up), int(row.down)) for row in found}
    wrong = {one: (got.get(one), wanted[one]) for one in wanted if got.get(one) != wanted[one]}
    assert wrong == {}, f"{len(wrong)} of {len(wanted)} sessions"
