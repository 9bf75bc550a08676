"""Bulk import: every fault by line, nothing half-imported, twice is refused."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from aaa.set_up import define_profile
from aaa.store import tables as aaa
from appliance.import_subscribers import import_subscribers
from billing.set_up import define_plan_version
from billing.store import tables as billing
from core.refusal import granted
from core.secrets import Sealer
from core.work import Workplace
from ui.ports import ImportReport

HEADER = "account_number,name,region,plan,username,password,mac,framed_ip,start_date,billing_day\n"
GOOD = (
    HEADER
    + "A-1,Fir Lane Cabin,CO,home,fir,pw-fir-1,,,2026-03-10,31\n"
    + "A-1,Fir Lane Cabin,CO,home,fir-barn,pw-fir-2,,,2026-03-10,\n"
    + 'A-2,"Elm Farm, North",CO,home,,,AA-BB-CC-00-11-22,100.64.0.9,,1\n'
)


async def world(workplace: Workplace) -> None:
    async with workplace.work("test") as work:
        profile = granted(
            await define_profile(work, name="home", rate_down_bps=25_000_000, rate_up_bps=5_000_000)
        )
        granted(
            await define_plan_version(
                work,
                code="home",
                name="Home",
                price_minor=4900,
                currency="USD",
                allowance_octets=None,
                overage_tiers=[],
                service_profile_id=profile,
            )
        )


async def run(workplace: Workplace, sealer: Sealer, text: str) -> ImportReport:
    async with workplace.work("test") as work:
        return await import_subscribers(work, sealer, text)


async def counts(workplace: Workplace) -> tuple[int, int, int, int]:
    async with workplace.reading() as connection:
        found = [
            await connection.scalar(select(func.count()).select_from(table))
            for table in (billing.account, aaa.service, aaa.credential, billing.subscription)
        ]
    return found[0] or 0, found[1] or 0, found[2] or 0, found[3] or 0


async def test_accounts_and_services_are_imported(any_workplace: Workplace, sealer: Sealer) -> None:
    await world(any_workplace)
    report = await run(any_workplace, sealer, GOOD)
    assert (report.created, report.errors) == (3, [])
    assert await counts(any_workplace) == (2, 3, 3, 3)
    async with any_workplace.reading() as connection:
        names = (await connection.execute(select(aaa.credential.c.username))).scalars().all()
        sealed = (await connection.execute(select(aaa.credential.c.password_sealed))).scalars().all()
    assert sorted(names) == ["aabbcc001122", "fir", "fir-barn"]
    assert not any(text and "pw-fir" in text for text in sealed)


async def test_every_fault_is_named_by_line_and_nothing_is_imported(
    any_workplace: Workplace, sealer: Sealer
) -> None:
    await world(any_workplace)
    text = (
        GOOD
        + "A-3,No Plan,CO,nosuch,x1,pw,,,,\n"
        + "A-4,Taken,CO,home,fir,pw,,,,\n"
        + "A-5,Bad Mac,CO,home,,,zz,,,\n"
        + "A-6,Bad Day,CO,home,x2,pw,,,,32\n"
        + "A-7,Bad Date,CO,home,x3,pw,,,31.3.2026,\n"
        + "A-8,No Login,CO,home,,,,,,\n"
        + "A-9,No Password,CO,home,x4,,,,,\n"
        + "A-10,Address Taken,CO,home,x5,pw,,100.64.0.9,,\n"
        + ",No Number,CO,home,x6,pw,,,,\n"
    )
    report = await run(any_workplace, sealer, text)
    assert report.created == 0
    assert await counts(any_workplace) == (0, 0, 0, 0)
    assert [fault.line for fault in report.errors] == list(range(5, 14))
    assert all(fault.message and "pw" not in fault.message.split() for fault in report.errors)


async def test_the_same_file_twice_changes_nothing(workplace: Workplace, sealer: Sealer) -> None:
    await world(workplace)
    await run(workplace, sealer, GOOD)
    before = await counts(workplace)
    report = await run(workplace, sealer, GOOD)
    assert report.errors
    assert await counts(workplace) == before


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        (HEADER, 1),
        ("account_number,name,plan,colour\nA-1,X,home,red\n", 1),
        ("account_number,name\nA-1,X\n", 1),
        (HEADER + "A-1,X,CO,home,u,p,,,,,,,,\n", 2),
        (HEADER + "\x00,\n", 1),
    ],
)
async def test_a_file_that_is_no_import_is_refused_whole(
    workplace: Workplace, sealer: Sealer, text: str, line: int
) -> None:
    await world(workplace)
    report = await run(workplace, sealer, text)
    assert report.created == 0
    assert report.errors[0].line >= line
    assert await counts(workplace) == (0, 0, 0, 0)
