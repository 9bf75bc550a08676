"""Bulk import: every fault by line, nothing half-imported, twice is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from typer.testing import CliRunner

from aaa.set_up import define_profile
from aaa.store import tables as aaa
from appliance.command_line import app
from appliance.import_subscribers import import_subscribers
from appliance.migrate import upgrade
from appliance.panel_acts import panel_acts
from appliance.settings import load_settings
from appliance.wiring import open_house
from billing.set_up import define_plan_version
from billing.store import tables as billing
from core.refusal import Refusal, Refused, granted
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


async def test_an_empty_billing_day_is_the_anniversary_and_an_empty_currency_the_plan_s(
    workplace: Workplace, sealer: Sealer
) -> None:
    await world(workplace)
    async with workplace.work("test") as work:
        await work.connection.execute(update(billing.plan_version).values(currency="EUR"))
    lines = "B-1,Elm,home,2026-01-17,,AABBCC001101\nB-2,Oak,home,2026-01-17,9,AABBCC001102\n"
    report = await run(workplace, sealer, "account_number,name,plan,start_date,billing_day,mac\n" + lines)
    assert (report.created, report.errors) == (2, [])
    async with workplace.reading() as connection:
        columns = (billing.account.c.anchor_day, billing.account.c.currency)
        rows = await connection.execute(select(*columns).order_by(billing.account.c.number))
        assert [tuple(row) for row in rows] == [(17, "EUR"), (9, "EUR")]


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


NT_OF_PASSWORD = "8846F7EAEE8FB117AD06BDD830B7586C"
BCRYPT = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"


async def test_hashes_are_told_by_how_they_are_written(workplace: Workplace, sealer: Sealer) -> None:
    await world(workplace)
    header = "account_number,name,region,plan,username,password,password_hash\n"
    lines = [
        f"A-1,Fir,CO,home,u1,{BCRYPT},", f"A-2,Elm,CO,home,u2,{{NT}}{NT_OF_PASSWORD},",
        f"A-3,Ash,CO,home,u3,,{NT_OF_PASSWORD}", f"A-4,Oak,CO,home,u4,{NT_OF_PASSWORD},",
        "A-5,Bay,CO,home,u5,{CLEAR}$6$not$a-hash,",
    ]  # fmt: skip
    report = await run(workplace, sealer, header + "\n".join(lines))
    assert (report.created, report.errors) == (5, [])
    async with workplace.reading() as connection:
        rows = (await connection.execute(select(aaa.credential).order_by(aaa.credential.c.username))).all()
    assert [row.hash_scheme for row in rows] == ["bcrypt", "nt", "nt", None, None]
    assert [row.password_sealed is None for row in rows] == [True, True, True, False, False]
    assert sealer.open(rows[4].password_sealed, "credential.password").reveal() == "$6$not$a-hash"
    faults = [
        "A-6,Fir,CO,home,v1,$6$salt$abcdefgh,", f"A-7,Elm,CO,home,v2,pw,{NT_OF_PASSWORD}",
        "A-8,Ash,CO,home,v3,,plain",
    ]  # fmt: skip
    report = await run(workplace, sealer, header + "\n".join(faults))
    assert [fault.field for fault in report.errors] == ["password", "password_hash", "password_hash"]


async def test_lines_are_imported(workplace: Workplace, sealer: Sealer) -> None:
    await world(workplace)
    header = "account_number,name,region,plan,circuit_id,remote_id,nas_port\n"
    good = "A-1,Fir,CO,home,olt 1/7,0x0102,\nA-2,Elm,CO,home,,radio-9,\n"
    report = await run(workplace, sealer, header + good)
    assert (report.created, report.errors) == (2, [])
    async with workplace.reading() as connection:
        names = (await connection.execute(select(aaa.credential.c.username))).scalars().all()
    assert sorted(names) == ["circuit:olt 1/7,remote:0x0102", "remote:radio-9"]
    bad = "A-3,Ash,CO,home,,,nowhere ether3\nA-4,Oak,CO,home,,,\n"
    report = await run(workplace, sealer, header + bad)
    assert [fault.line for fault in report.errors] == [2, 3]


async def test_conditions_of_sign_ins_are_imported(workplace: Workplace, sealer: Sealer) -> None:
    await world(workplace)
    columns = "cpe_binding,cpe_macs,bound_nas,bound_port,devices,when_crowded"
    header = f"account_number,name,region,plan,username,password,mac,{columns}\n"
    good = "A-1,Fir,CO,home,fir,pw,,list,AA:BB:CC:00:11:22;aabb.cc00.1133,,ether3:200,2,oldest\n"
    report = await run(workplace, sealer, header + good)
    assert (report.created, report.errors) == (1, [])
    async with workplace.reading() as connection:
        row = (await connection.execute(select(aaa.credential))).one()
        macs = (await connection.execute(select(aaa.cpe.c.mac).order_by(aaa.cpe.c.mac))).scalars().all()
        service = (await connection.execute(select(aaa.service))).one()
    assert (row.binding, row.port_pattern) == ("list", "ether3:200")
    assert macs == ["aabbcc001122", "aabbcc001133"]
    assert (service.devices, service.when_crowded) == (2, "oldest")
    faults = [
        "A-2,Elm,CO,home,elm,pw,,perhaps,,,,,", "A-3,Ash,CO,home,ash,pw,,,zz,,,,",
        "A-4,Oak,CO,home,oak,pw,,,,,,two,", "A-5,Bay,CO,home,,,02-00-5E-00-0A-01,learn,,,,,",
        "A-6,Fig,CO,home,fig,pw,,,,nowhere,,,",
    ]  # fmt: skip
    report = await run(workplace, sealer, header + "\n".join(faults))
    named = [(fault.line, fault.field) for fault in report.errors]
    assert named == [(2, "cpe_binding"), (3, "cpe_macs"), (4, "devices"), (5, "cpe_binding"), (6, "nas")]


async def test_a_fault_is_named_by_the_column_of_the_file(workplace: Workplace, sealer: Sealer) -> None:
    await world(workplace)
    text = HEADER + "A-1,Fir,CO,home,fir,pw,,,2020-01-01,\n" + "A-2,Elm,CO,home,elm,pw,,,,32\n"
    text += f"{'A' * 60},Ash,CO,home,ash,pw,,,,\n"
    report = await run(workplace, sealer, text)
    assert [fault.field for fault in report.errors] == ["start_date", "billing_day", "account_number"]


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


async def names(workplace: Workplace) -> list[str]:
    async with workplace.reading() as connection:
        return list((await connection.execute(select(billing.account.c.name))).scalars())


@pytest.mark.parametrize(
    "dressed",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("\n", "\n\n , \n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("account_number", " Account_Number "),
    ],
    ids=["bom", "crlf", "cr", "empty lines", "no last line end", "header in other letters"],
)  # fmt: skip
async def test_what_spreadsheets_make_of_a_file_is_read(
    workplace: Workplace, sealer: Sealer, dressed: object
) -> None:
    await world(workplace)
    report = await run(workplace, sealer, dressed(GOOD))  # type: ignore[operator]
    assert (report.created, report.errors) == (3, [])
    assert sorted(await names(workplace)) == ["Elm Farm, North", "Fir Lane Cabin"]


async def test_formulas_stay_the_text_they_are(workplace: Workplace, sealer: Sealer) -> None:
    await world(workplace)
    formula = "=cmd|'/c calc'!A1"
    report = await run(workplace, sealer, HEADER + f"A-1,{formula},CO,home,fir,pw,,,,\n")
    assert report.errors == []
    assert await names(workplace) == [formula]


async def test_a_line_is_named_by_where_it_begins(workplace: Workplace, sealer: Sealer) -> None:
    await world(workplace)
    text = HEADER + 'A-1,"Fir\nLane",CO,home,fir,pw,,,,\n\nA-2,Elm,CO,home,,,,,,\n'
    report = await run(workplace, sealer, text)
    assert [(fault.line, fault.field) for fault in report.errors] == [(2, "name"), (5, "username")]
    assert await counts(workplace) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (HEADER + 'A-1,"Fir,CO,home,fir,pw,,,,\nA-2,Elm,CO,home,elm,pw,,,,\n', 2, "not CSV"),
        (HEADER + 'A-1,"Fir"x,CO,home,fir,pw,,,,\n', 2, "not CSV"),
        (HEADER + "A-1," + "x" * 200_000 + ",CO,home,fir,pw,,,,\n", 2, "not CSV"),
        (GOOD.replace(",", ";"), 1, "commas"),
        (GOOD.replace(",", "\t"), 1, "commas"),
        ("account_number,name,name,plan\nA-1,X,Y,home\n", 1, "twice"),
        (HEADER + "A-1,X,CO,home,u,p,,,,\n" * 5_001, 5_002, "more than 5000"),
    ],
    ids=["open quote", "text behind a quote", "huge cell", "semicolons", "tabs", "column twice", "too many"],
)
async def test_a_file_that_cannot_be_understood_says_where(
    workplace: Workplace, sealer: Sealer, text: str, line: int, says: str
) -> None:
    await world(workplace)
    report = await run(workplace, sealer, text)
    assert (report.created, len(report.errors)) == (0, 1)
    assert report.errors[0].line == line
    assert says in report.errors[0].message


COLUMNS = HEADER.strip().split(",")


@pytest.mark.parametrize("hostile", ["x\0y", "x" * 254, "x\x1b[31m", "99999999999999999999", "☃" * 250])
async def test_no_cell_can_break_the_import(any_workplace: Workplace, sealer: Sealer, hostile: str) -> None:
    """Each column in turn is filled with what no one types; every fault is a line of the report."""
    await world(any_workplace)
    good = dict(zip(COLUMNS, ["A-1", "Fir", "CO", "home", "fir", "pw", "", "", "", ""], strict=True))
    lines = [",".join({**good, "account_number": f"A-{n}", "username": f"u{n}", column: hostile}.values())
             for n, column in enumerate(COLUMNS)]  # fmt: skip
    report = await run(any_workplace, sealer, HEADER + "\n".join(lines) + "\nB-1,No Login,CO,home,,,,,,\n")
    assert report.created == 0
    assert report.errors[-1].line == len(lines) + 2
    assert {fault.line for fault in report.errors} <= set(range(2, len(lines) + 3))
    assert await counts(any_workplace) == (0, 0, 0, 0)


async def test_the_panel_and_the_command_line_tell_the_same_faults(tmp_path: Path, sealer: Sealer) -> None:
    """The panel's act and ``hilltop import`` are one piece: same lines, same fields, same words."""
    config, file = tmp_path / "hilltop.toml", tmp_path / "bad.csv"
    config.write_text(f'[state]\ndirectory = "{tmp_path / "state"}"\n')
    file.write_text(
        GOOD.replace(",2026-03-10,", ",,") + "A-3,No Plan,CO,nosuch,x1,pw,,,,\nA-4,Bad Mac,CO,home,,,zz,,,\n"
    )
    async with open_house(load_settings(config), may_make_key=True) as house:
        await upgrade(house.workplace.database)
        await world(house.workplace)
        with pytest.raises(Refused):
            async with house.workplace.work("operator:ann") as work:
                report = await panel_acts(house.sealer).import_subscribers(work, file.read_text())
                raise Refused(Refusal("import_faults", "the panel rolls back"))
    said = await asyncio.to_thread(CliRunner().invoke, app, ["-c", str(config), "import", str(file)])
    assert said.exit_code == 1
    told = [line.removeprefix(f"{file}:") for line in said.output.splitlines() if line.startswith(str(file))]
    assert told == [f"{fault.line}: {fault.field}: {fault.message}" for fault in report.errors]
    assert len(told) == 2


def test_the_command_line_names_a_file_that_is_not_utf8_by_line(tmp_path: Path) -> None:
    file = tmp_path / "latin.csv"
    file.write_bytes(GOOD.encode() + "A-3,Café,CO,home,cafe,pw,,,,\n".encode("latin-1"))
    (tmp_path / "hilltop.toml").write_text(f'[state]\ndirectory = "{tmp_path / "state"}"\n')
    said = CliRunner().invoke(app, ["-c", str(tmp_path / "hilltop.toml"), "import", str(file)])
    assert said.exit_code == 2
    assert f"{file}:5: the file is not UTF-8" in said.output
