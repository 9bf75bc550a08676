"""What a stranger and a made-up MAC get, and what a suspended subscriber is told on each kind of NAS."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "radius"))

from radius_world import World, bench_over, octets, pap, reply_to

from aaa.domain.effect import Effect
from aaa.domain.profile import AccessPolicy
from core.secrets import Sealer
from core.work import Workplace
from radius.dialects.known import DIALECTS
from radius.dictionary.attributes import attribute_dictionary
from radius.reply.rendering import Renderings


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


async def test_a_suspended_subscriber_is_accepted_into_the_walled_garden_on_every_nas(
    workplace: Workplace, sealer: Sealer
) -> None:
    """He must reach the portal to pay, by IPv6 no more than by IPv4; a radio that cannot wall him says who must."""
    world = World(workplace, sealer)
    await world.profile("Home 25", when_blocked="walled_garden")
    service_id = await world.service("alice")
    await world.hold(service_id, Effect.BLOCK)
    for number, name in enumerate(DIALECTS, start=1):
        await world.nas(name, f"127.0.0.{number}", dialect=name)
    directory = await world.directory(AccessPolicy())
    bench = bench_over(directory)
    access = directory.logins[b"alice"].service
    book = attribute_dictionary()
    for nas in directory.nases:
        asked = pap()
        answer = bench.ask(octets(asked), (str(nas.network.network_address), 4_000))
        assert reply_to(asked, answer).code == 2, nas.dialect
        assert answer is not None
        filters = [one.name for one in book.decode(answer[20:]) if "hilltop-walled" in one.text]
        rendering = Renderings().of(nas.id, nas.dialect)
        if not filters:
            assert any("wall this subscriber" in one for one in rendering.remarks(access)), nas.dialect
        for one in filters:
            twin = one.replace("ERX-", "ERX-IPv6-")
            assert one.startswith("ERX-IPv6-") or not one.startswith("ERX-") or twin in filters


async def test_mikrotik_is_told_one_rate_which_nothing_outranks(workplace: Workplace, sealer: Sealer) -> None:
    """Mikrotik-Rate-Limit outranks Ascend's and WISPr's rates: no second opinion is sent beside it."""
    world = World(workplace, sealer)
    await world.nas()
    await world.profile("Home 25", burst_down_bps=50_000_000, burst_up_bps=10_000_000, burst_seconds=8)
    await world.service("alice")
    bench = bench_over(await world.directory())
    answer = bench.ask(octets(pap()))
    assert answer is not None
    rates = [str(one) for one in attribute_dictionary().decode(answer[20:]) if one.vendor]
    assert rates == ["Mikrotik-Rate-Limit = 5M/25M 10M/50M 5M/25M 8/8"], "the customer's upload comes first"
