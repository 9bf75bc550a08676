"""kill -9 of radius and collector, again and again under load; the NASes' own counters are the witness."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from reliability_box import Box, Daemon, Nursery, open_box, times
from reliability_field import Field, open_field

from lab.nas import LabNas


@dataclass(eq=False)
class Attack:
    """How far the killing has come, by role."""

    wanted: int
    kills: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(self.kills.values()) / self.wanted

    async def until_share(self, share: float) -> None:
        """Wait until so much of the killing is done."""
        while self.share < share:
            await asyncio.sleep(0.02)


async def _kill_again_and_again(box: Box, role: str, attack: Attack, chance: random.Random) -> Daemon:
    """Each life ends at a random moment, some before the process is ready. Returns one that lives."""
    for number in range(attack.wanted):
        doomed = await box.start(role, wait=number % 4 != 3)
        await asyncio.sleep(chance.uniform(0.05, 0.7))
        await doomed.kill()
        attack.kills[role] += 1
    return await box.start(role)


async def _live(field: Field, username: str, nas: LabNas, begin: float, attack: Attack) -> None:
    """One subscriber's session from its share of the attack to the end of it, or until he hangs up."""
    await attack.until_share(begin)
    one = await field.dial(username, nas)
    end = min(1.0, begin + field.chance.uniform(0.2, 1.2))
    while attack.share < end:
        await asyncio.sleep(field.chance.uniform(0.1, 0.5))
        await field.report(one)
    await field.hang_up(one)


async def _keep_resending(field: Field) -> None:
    while True:
        await asyncio.sleep(0.3)
        await field.resend()


async def _under_attack(box: Box, people: int, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    attack = Attack(kills, {"radius": 0, "collector": 0})
    async with open_field(box, people, 4, seed) as field:
        nagging = asyncio.create_task(_keep_resending(field))
        lives = [
            _live(field, name, field.nases[number % 4], 0.8 * number / people, attack)
            for number, name in enumerate(field.services)
        ]
        killers = [
            _kill_again_and_again(box, role, attack, random.Random(chance.random())) for role in attack.kills
        ]
        try:
            await asyncio.gather(*lives, *killers)
        finally:
            nagging.cancel()
        await field.resend_all()
        await field.settled()
        assert attack.kills == {"radius": kills, "collector": kills}
        assert len(field.sessions) == people
        reports = sum(len(told) for told in field.told.values())
        assert reports > 3 * people
        assert sum(nas.wire.counters.retransmitted for nas in field.nases) > 0, "nothing was ever sent twice"


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_or_counted_twice(tmp_path: Path, nursery: Nursery) -> None:
    async with open_box(tmp_path, nursery) as box:
        await _under_attack(box, people=100, kills=times(20, 200), seed=9)


@pytest.mark.postgresql
async def test_nothing_acknowledged_is_lost_or_counted_twice_on_postgresql(
    tmp_path: Path, nursery: Nursery, postgresql_url: str
) -> None:
    async with open_box(tmp_path, nursery, database_url=postgresql_url) as box:
        await _under_attack(box, people=30, kills=times(5, 100), seed=15)
