"""``hilltop gateway`` as an operator types it; the gateways are those of ``hilltop lab gateway``."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

from test_appliance_cli import settle

from appliance.settings import load_settings
from appliance.wiring import open_house
from billing.payments.gateways.hosted_pages import open_hosted_page
from billing.payments.gateways.look_after_charges import GatewayKeeper
from billing.payments.gateways.open_gateways import Gateways
from billing.store.gateway_rows import open_pages_of
from core.clock import SystemClock
from core.refusal import granted
from lab.gateway_service import run_gateways
from lab.gateway_stripe import StripeSandbox
from lab.gateway_world import serve


async def _save_a_card(config: Path, sandbox: StripeSandbox, number: str) -> None:
    """What the customer does behind his link, in a browser."""
    async with open_house(load_settings(config)) as house:
        async with house.workplace.reading() as connection:
            from appliance.lookup import find

            account_id = await find(connection, "account", number)
        gateways = Gateways(house.workplace, house.sealer)
        page = granted(
            await open_hosted_page(
                house.workplace, gateways, account_id=account_id, purpose="save", actor="customer",
                back_url="http://127.0.0.1/back",
            )
        )  # fmt: skip
        sandbox.type_card(page.reference or "")
        async with house.workplace.reading() as connection:
            (row,) = await open_pages_of(connection, "stripe", account_id)
        keeper = GatewayKeeper(house.workplace, gateways, house.sealer, house.settings.billing)
        assert await keeper.settle(row.id, "customer")
        await gateways.close()


async def test_a_card_from_first_to_last(tmp_path: Path) -> None:
    hilltop = settle(tmp_path)
    sandbox = StripeSandbox(SystemClock())
    listening = await serve(sandbox.app())
    (tmp_path / "key").write_text(sandbox.key)

    async def typed(*words: str, code: int = 0, says: str = "") -> str:
        return await asyncio.to_thread(hilltop, *words, code=code, says=says)

    await typed("init")
    (number,) = re.findall(r"A-\d+", await typed("account", "add", "Fir Cabin", "--region", "NM"))
    key = ("--key-file", str(tmp_path / "key"))
    await typed("gateway", "set", "paypal", *key, code=1, says="not one of stripe, authorizenet")
    await typed("gateway", "set", "authorizenet", *key, code=1, says="API login id")
    await typed("gateway", "set", "stripe", *key, "--base-url", listening.url, says="gateway stripe: set up")
    await typed("gateway", "check", "stripe", says="Stripe, test mode answers")
    await typed("gateway", "charge", number, "12.00", code=1, says="no such card")
    await _save_a_card(hilltop.config, sandbox, number)
    told = await typed("gateway", "methods", number, says="visa")
    (method,) = re.findall(r"pmt_\w+", told)
    await typed("gateway", "autopay", number, "--days", "2", says="pays by itself")
    await typed("gateway", "methods", number, says="2 days before due")
    for _ in range(2):
        await typed("gateway", "charge", number, "12.00", "--key", "k1", says="succeeded 12.00 USD")
    await typed("gateway", "charge", number, "twelve", code=2, says="AMOUNT")
    await typed("gateway", "charge", number, "0.10", code=1, says="amount_too_small")
    assert len(sandbox.intents) == 1
    await typed("gateway", "charges", number, says="pi_")
    await typed("payment", "list", says="12.00 USD")
    await typed("gateway", "forget", method, says="is forgotten")
    await typed("gateway", "autopay", number, code=1, says="no such card")
    await typed("gateway", "autopay", number, "--off", says="does not pay by itself")
    await typed("gateway", "link", number, says="/pay/acc_")
    await typed("gateway", "events", says="none")
    await typed("gateway", "set", "stripe", "--keep-key", "--base-url", listening.url, "--off", says="off")
    assert sandbox.key not in await typed("gateway", "list") + await typed("audit")
    await listening.close()


async def test_the_labs_gateways_say_how_they_are_set_up(tmp_path: Path) -> None:
    hilltop = settle(tmp_path)
    stop, ready, said = asyncio.Event(), asyncio.Event(), list[str]()
    running = asyncio.create_task(
        run_gateways(stop, panel_url="http://127.0.0.1:9", port=0, say=said.append, ready=ready)
    )
    await ready.wait()
    await asyncio.to_thread(hilltop, "init")
    for name in ("stripe", "authorizenet"):
        words = shlex.split(next(line for line in said if f"gateway set {name}" in line))[1:]
        await asyncio.to_thread(hilltop, *words, says="set up")
        await asyncio.to_thread(hilltop, "gateway", "check", name, says="answers")
    stop.set()
    await running
