"""Hilltop's own pools in the panel."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from ui_client import Panels
from ui_world import Provider

from aaa.lease_addresses import Grant, record_grants
from aaa.list_pools import list_pools
from aaa.store import tables as aaa


async def test_a_pool_is_made_filled_changed_and_deleted(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    refused = await browser.submit(
        "/pools/new", "/pools/new", name="homes", kind="ipv4", ranges="10.60.0.1/24", rest_s="900", when_full="reject"
    )  # fmt: skip
    assert refused.status == 422
    assert "is neither a network nor a range" in refused.text
    made = await browser.submit(
        "/pools/new", "/pools/new", name="homes", kind="ipv4", ranges="10.60.0.0/24\n10.60.1.10-10.60.1.19",
        excluded="10.60.0.1", keep_h="1.5", rest_s="900", when_full="nas_pool",
    )  # fmt: skip
    pool_id = made.location.split("/")[-1].partition("?")[0]
    async with valley.workplace.reading() as connection:
        [pool] = await list_pools(connection)
    assert (pool.size, pool.keep_s, pool.when_full) == (254 - 1 + 10, 5_400, "nas_pool")
    name, service_id = next(iter(valley.services.items()))
    async with valley.workplace.work("test") as work:
        at = work.now - timedelta(hours=1)
        await record_grants(work, [Grant("10.60.0.7", pool_id, service_id, "AA:BB:CC:00:11:22", "nas_1", at)])
        account_id = (
            await work.connection.execute(
                select(aaa.service.c.account_id).where(aaa.service.c.id == service_id)
            )
        ).scalar_one()
    viewer = await valley_panel.as_("viewer")
    page = (await viewer.get(f"/pools/{pool_id}")).text
    assert "10.60.0.7" in page
    assert "AA:BB:CC:00:11:22" in page
    assert (await viewer.get(f"/pools/{pool_id}/edit")).status == 403
    assert "homes" in (await viewer.get("/pools")).text
    assert "10.60.0.7" in (await viewer.get(f"/pools/{pool_id}?format=csv")).text
    assert "10.60.0.7" not in (await viewer.get(f"/pools/{pool_id}?online=yes")).text.partition("History")[0]
    assert "10.60.0.7" in (await viewer.get(f"/subscribers/{account_id}")).text, name
    edit = f"/pools/{pool_id}/edit"
    assert 'value="1.5"' in (await browser.get(edit)).text
    saved = await browser.submit(
        edit, edit, ranges="10.60.0.0/25", excluded="10.60.0.0-10.60.0.1", keep_h="", draining="yes"
    )
    assert saved.location == f"/pools/{pool_id}?notice=saved"
    async with valley.workplace.reading() as connection:
        [pool] = await list_pools(connection)
    assert (pool.size, pool.keep_s, pool.draining) == (126, None, True)
    gone = await browser.submit(edit, f"/pools/{pool_id}/delete")
    assert gone.location == "/pools?notice=saved"
    assert (await browser.get(f"/pools/{pool_id}")).status == 404
