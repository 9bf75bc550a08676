"""Two collectors over one journal: every record is taken over once, whichever is faster."""

from __future__ import annotations

import asyncio
from pathlib import Path

from reliability_box import Nursery, open_box, times
from reliability_field import open_field


async def test_two_collectors_take_over_each_record_once(
    tmp_path: Path, nursery: Nursery, any_database_url: str
) -> None:
    async with (
        open_box(tmp_path, nursery, database_url=any_database_url) as box,
        open_field(box, people=40, towers=4, seed=21, timeout_s=2.0) as field,
    ):
        for role in ("radius", "collector", "collector", "collector"):
            await box.start(role)
        for number, name in enumerate(field.services):
            await field.dial(name, field.nases[number % 4])
        for _ in range(times(20, 400)):
            told = await asyncio.gather(*(field.report(one) for one in field.sessions))
            assert all(told)
        await asyncio.gather(*(field.hang_up(one) for one in field.sessions))
        await field.settled()
        assert not any(one.ended.is_set() for one in box.running)
