"""What a stranger and a made-up MAC get: silence without a flood, and a remedy in words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "radius"))

from radius_world import World, bench_over, octets, pap

from core.secrets import Sealer
from core.work import Workplace


async def test_strangers_get_silence_a_counter_and_no_log_line_each(
    workplace: Workplace, sealer: Sealer, capfd: pytest.CaptureFixture[str]
) -> None:
    """A scan from twenty thousand forged addresses neither fills the log nor the memory."""
    world = World(workplace, sealer)
    await world.nas()
    bench = bench_over(await world.directory())
    packet = octets(pap())
    capfd.readouterr()
    for number in range(20_000):
        source = f"203.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        assert bench.ask(packet, (source, 4000)) is None
    assert bench.counters.unknown_source == 20_000
    assert len("".join(capfd.readouterr()).splitlines()) < 10
    assert len(bench.nases.strangers) < 1_000


@pytest.mark.parametrize(
    ("mac", "word"), [("02:E1:0C:38:C8:F8", "random (private) MAC"), ("00:E1:0C:38:C8:F8", "add the MAC")]
)
async def test_an_unknown_mac_is_rejected_with_the_remedy(
    workplace: Workplace, sealer: Sealer, mac: str, word: str
) -> None:
    """A locally administered MAC may be random: adding it to the service would help for a day."""
    world = World(workplace, sealer)
    await world.nas()
    bench = bench_over(await world.directory())
    bench.ask(octets(pap(mac, "")))
    [rejection] = bench.rejections
    assert word in rejection.reject.remedy
