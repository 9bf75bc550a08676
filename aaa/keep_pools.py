"""Look after Hilltop's pools: take back what nobody uses, and say in time when one runs full."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aaa.define_pool import pool_of
from aaa.domain.address_pool import UNUSED_START_S, AddressPool
from aaa.lease_addresses import dismiss, release
from aaa.store import pool_rows
from core.health import HealthIssue, close_issue, open_issue
from core.work import Work

_STOCK_PERCENT = 5
_LARGEST_STOCK = 512
_FULL_PERCENT = 90
_STILL_WANTED = timedelta(minutes=5)
_AT_ONCE = 2_000


async def keep_pools(work: Work) -> int:
    """One turn over all pools; returns how many leases were taken back."""
    await pool_rows.take_pool_lane(work.connection)
    rows = await pool_rows.pools(work.connection)
    if not rows:
        return 0
    for worker in await pool_rows.workers(work.connection):
        if worker.until <= work.now:  # it has stopped giving addresses away, whether it lives or not
            await dismiss(work, worker.owner, exactly=False)
    counts = {one.pool_id: one for one in await pool_rows.counts(work.connection)}
    taken_back = 0
    for row in rows:
        taken_back += await _keep(work, row, counts.get(row.id))
    return taken_back


async def _keep(work: Work, row: Any, counted: Any | None) -> int:
    pool = pool_of(row)
    taken_back = await _expire(work, pool)
    online, kept, aside, resting = (
        (0, 0, 0, 0)
        if counted is None
        else (counted.online, counted.kept, counted.set_aside, counted.resting)
    )
    free = pool.size - online - kept - aside
    wants = row.wanted_at is not None and work.now - row.wanted_at < _STILL_WANTED
    stock = min(max(1, pool.size * _STOCK_PERCENT // 100), _LARGEST_STOCK) * (4 if wants else 1)
    if free + taken_back < stock and kept > taken_back:
        taken_back += await _take_back(work, pool, stock - free - taken_back)
    await _tell(work, pool, online + aside, empty=wants and free - resting <= 0)
    return taken_back


async def _expire(work: Work, pool: AddressPool) -> int:
    """What nobody has used for longer than the pool keeps it."""
    keep_s = pool.keep_s
    if keep_s is None and not pool.draining:
        return 0
    return await _take_back(work, pool, _AT_ONCE, max(0 if pool.draining else keep_s or 0, 0), "not used")


async def _take_back(
    work: Work, pool: AddressPool, number: int, idle_s: int | None = None, because: str = "needed by others"
) -> int:
    """The least recently used go first; none that was in use a moment ago: a Stop may be wrong."""
    rests = pool.rest_s if idle_s is None else max(idle_s, pool.rest_s)
    unused_s = UNUSED_START_S if idle_s is None else max(idle_s, UNUSED_START_S)
    rows = await pool_rows.idle_leases(
        work.connection, pool.id, limit=number, idle_by=work.now - timedelta(seconds=rests),
        unused_by=work.now - timedelta(seconds=unused_s),
    )  # fmt: skip
    await release(work, [row.network for row in rows], because, pool.rest_s)
    return len(rows)


async def _tell(work: Work, pool: AddressPool, busy: int, *, empty: bool) -> None:
    key = f"aaa.pool_full:{pool.id}"
    percent = 100 * busy // pool.size
    if empty:
        issue = HealthIssue(
            key, "critical", f"the pool {pool.name} is empty: sign-ins got no address",
            "give the pool another range (hilltop pool change), or move services to another pool",
        )  # fmt: skip
    elif percent >= _FULL_PERCENT:
        issue = HealthIssue(
            key, "warning", f"the pool {pool.name} is {percent} % in use",
            "give the pool another range before it is full (hilltop pool change)",
        )  # fmt: skip
    else:
        await close_issue(work, key)
        return
    await open_issue(work, issue)
