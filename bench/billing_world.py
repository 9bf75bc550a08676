"""A provider with many subscribers on the last evening of their cycle: what the billing bench bills.

The catalogue, the taxes and one account of each sort come from the use cases. Their rows are then written
again under other ids, as often as there are to be accounts, so that this needs to know little of the tables.
One bill run opens the accounts' first cycle, a month of usage follows, and the day to be measured has come.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Table, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.set_up import define_profile
from aaa.store.tables import meter, service, usage_record
from appliance.migrate import upgrade
from appliance.wiring import MeteredUsage
from billing.invoicing.bill_run import bill_run
from billing.set_up import define_plan_version, open_account, set_tax_rate, subscribe
from billing.store.tables import account, dunning_state, subscription, subscription_change
from core.clock import FakeClock, SystemClock
from core.database import Database
from core.ids import IdSource, UlidSource
from core.periods import start_of_day
from core.refusal import granted
from core.work import Work, Workplace

OPENED = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)
LAST_EVENING = datetime(2026, 4, 30, 3, 0, tzinfo=UTC)
MEASURED = datetime(2026, 4, 30, 12, 0, tzinfo=UTC)
"""In the zones below it is the morning of April 30, and cycles anchored on 30 and 31 have turned."""
FIRST_DAY, DAYS = date(2026, 3, 31), 30
PLACES = {
    "America/New_York": ("NY", 40_000),
    "America/Chicago": ("TX", 62_500),
    "America/Denver": ("NM", 76_250),
    "America/Los_Angeles": ("CA", 72_500),
}
"""Time zones with a state and its tax in parts of a million."""
ANCHOR_DAYS = (30, 31)
GB = 10**9
_ROWS_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Built:
    """What there is; the octets are of all usage records together."""

    accounts: int
    usage_records: int
    octets: int


@dataclass(frozen=True, slots=True)
class _Sort:
    """One sort of account: the rows that the use cases wrote for it, and the ids in them."""

    time_zone: str
    rows: Mapping[Table, Sequence[Mapping[str, Any]]]
    account_id: str
    service_id: str
    ids: tuple[str, ...]


def workplace_at(database: Database, now: datetime) -> Workplace:
    """A workplace whose clock stands at ``now``; ids are as random as ever."""
    return Workplace(database, FakeClock(now), UlidSource(SystemClock()))


async def build(url: str, accounts: int) -> Built:
    """Fill the empty database at ``url``."""
    database = Database(url)
    try:
        await upgrade(database)
        workplace = workplace_at(database, OPENED)
        sorts = await _sorts(workplace)
        services: list[tuple[str, str]] = []
        async with workplace.work("system:bench") as work:
            services = await _accounts(work, sorts, accounts)
        granted(await bill_run(workplace, MeteredUsage()))
        octets = 0
        for start in range(0, len(services), _ROWS_AT_ONCE * 4):
            async with workplace.work("system:bench") as work:
                some = services[start : start + _ROWS_AT_ONCE * 4]
                octets += await _usage(work, some, random.Random(start))
        if not database.is_sqlite:
            async with database.write() as connection:  # as autovacuum would have by now
                await connection.execute(text("ANALYZE"))
    finally:
        await database.close()
    return Built(len(services), len(services) * DAYS, octets)


async def _sorts(workplace: Workplace) -> list[_Sort]:
    async with workplace.work("operator:bench") as work:
        profile_id = granted(
            await define_profile(work, name="home", rate_down_bps=100_000_000, rate_up_bps=20_000_000)
        )
        plan_version_id = granted(await _plan(work, profile_id))
        for region, rate_ppm in PLACES.values():
            granted(
                await set_tax_rate(
                    work, name=f"{region} tax", tax_class="internet", country="US", region=region,
                    rate_ppm=rate_ppm, valid_from=date(2025, 1, 1),
                )
            )  # fmt: skip
        return [
            await _sort(work, zone, region, anchor, profile_id, plan_version_id)
            for zone, (region, _) in PLACES.items()
            for anchor in ANCHOR_DAYS
        ]


async def _plan(work: Work, profile_id: str) -> Any:
    return await define_plan_version(
        work, code="home", name="Home 100", price_minor=4_500, currency="USD",
        allowance_octets=100 * GB, service_profile_id=profile_id,
        overage_tiers=[
            {"up_to_octets": 50 * GB, "minor_per_gb": "25"}, {"up_to_octets": None, "minor_per_gb": "10.5"},
        ],
        more_items=[{"code": "router", "kind": "rental", "name": "Router", "price_minor": 500}],
    )  # fmt: skip


async def _sort(
    work: Work, zone: str, region: str, anchor: int, profile_id: str, plan_version_id: str
) -> _Sort:
    number = f"{region}-{anchor}"
    account_id = granted(
        await open_account(
            work, name=f"Subscriber {number}", number=number, region=region, time_zone=zone,
            anchor_day=anchor, email="subscriber@example.net", street="1 Hill Road", city="Hilltop",
            postal_code="10001",
        )
    )  # fmt: skip
    service_id = work.ids.new("svc")
    await work.connection.execute(
        insert(service).values(
            id=service_id, account_id=account_id, label=number, profile_id=profile_id, lifecycle="active",
            created_at=work.now,
        )
    )  # fmt: skip
    subscription_id = granted(
        await subscribe(
            work, account_id=account_id, service_id=service_id, plan_version_id=plan_version_id,
            starts_on=date(2026, 3, anchor),
        )
    )  # fmt: skip
    found = {
        account: await _rows(work.connection, account, "id", account_id),
        dunning_state: await _rows(work.connection, dunning_state, "account_id", account_id),
        service: await _rows(work.connection, service, "id", service_id),
        subscription: await _rows(work.connection, subscription, "account_id", account_id),
        subscription_change: await _rows(
            work.connection, subscription_change, "subscription_id", subscription_id
        ),
    }
    changes = [str(row["id"]) for row in found[subscription_change]]
    return _Sort(
        zone, found, account_id, service_id, (account_id, service_id, subscription_id, *changes, number)
    )


async def _rows(
    connection: AsyncConnection, table: Table, column: str, value: str
) -> list[Mapping[str, Any]]:
    found = await connection.execute(select(table).where(table.c[column] == value))
    return [dict(row) for row in found.mappings()]


async def _accounts(work: Work, sorts: Sequence[_Sort], count: int) -> list[tuple[str, str]]:
    """The sorts' own accounts and others like them, ``count`` in all; their services with time zones."""
    services = [(one.service_id, one.time_zone) for one in sorts][:count]
    waiting: dict[Table, list[dict[str, Any]]] = {}
    for number in range(len(sorts), count):
        sort = sorts[number % len(sorts)]
        swap = dict(zip(sort.ids, _new_ids(work.ids, sort.ids, number), strict=True))
        for table, rows in sort.rows.items():
            waiting.setdefault(table, []).extend(
                {name: _swapped(swap, value) for name, value in row.items()} for row in rows
            )
        services.append((swap[sort.service_id], sort.time_zone))
        if number % _ROWS_AT_ONCE == 0 or number == count - 1:
            for table, some in waiting.items():
                await work.connection.execute(insert(table), some)
            waiting = {}
    return services


def _new_ids(ids: IdSource, old: Sequence[str], number: int) -> Iterator[str]:
    for one in old[:-1]:
        yield ids.new(one.partition("_")[0])
    yield f"S-{number:06}"


def _swapped(swap: Mapping[str, str], value: Any) -> Any:
    return swap.get(value, value) if isinstance(value, str) else value


async def _usage(work: Work, services: Sequence[tuple[str, str]], chance: random.Random) -> int:
    """A record a day for each service, day after day, as they come in; returns the octets."""
    meters = [work.ids.new("mtr") for _ in services]
    rows: list[dict[str, Any]] = [
        {
            "id": meter_id, "service_id": service_id, "source": "radius", "key": f"session|{meter_id}",
            "bills": True, "created_at": work.now, "state": {},
        }
        for meter_id, (service_id, _) in zip(meters, services, strict=True)
    ]  # fmt: skip
    await work.connection.execute(insert(meter), rows)
    octets = 0
    for offset in range(DAYS):
        day = FIRST_DAY + timedelta(days=offset)
        borders = {
            zone: (start_of_day(day, zone), start_of_day(day + timedelta(days=1), zone)) for zone in PLACES
        }
        for start in range(0, len(services), _ROWS_AT_ONCE):
            rows = []
            for number in range(start, min(start + _ROWS_AT_ONCE, len(services))):
                service_id, zone = services[number]
                up, down = chance.randrange(GB // 2), chance.randrange(8 * GB)
                octets += up + down
                rows.append({
                    "service_id": service_id, "meter_id": meters[number], "start_at": borders[zone][0],
                    "end_at": borders[zone][1], "octets_in": up, "octets_out": down, "interpolated": False,
                })  # fmt: skip
            await work.connection.execute(insert(usage_record), rows)
    return octets
