"""The bench's own EAP-TTLS supplicant signs in, and sees when a server does not keep its word."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from eapol import Authority
from radius_live import live_server
from radius_world import SECRET, World

from bench.packets import make_subscribers
from bench.ttls import Outcome, TtlsLoad


async def test_the_bench_signs_in_by_ttls(world: World, tmp_path: Path) -> None:
    person = make_subscribers(1)[0]
    await world.nas()
    await world.service(person.username, person.password)
    chain, key = Authority(tmp_path).issue("radius.example", server=True)
    files = {"certificate_file": str(chain), "private_key_file": str(key)}
    async with live_server(world, tmp_path, eap=files) as live:
        counters = live.server.counters

        async def load(secret: str = SECRET, **changes: object) -> Outcome:
            cpes = TtlsLoad(live.auth_port, secret.encode(), [replace(person, **changes)], window=4)
            try:
                return await asyncio.to_thread(cpes.run, 0.0)
            finally:
                cpes.close()

        good = await load()
        assert (good.right, good.wrong, good.lost) == (4, 0, 0)
        assert (counters.accepts, counters.challenges) == (4, 16)
        bad = await load(nt_hash=bytes(16))
        assert (bad.right, bad.wrong, bad.lost) == (0, 4, 0)
        assert counters.rejects == 4
        assert counters.failures == 0
