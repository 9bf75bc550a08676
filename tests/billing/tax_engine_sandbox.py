"""A tax engine that speaks hilltop-tax/1, written from docs/tax-engine.md: a tenth of everything, and its moods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Sandbox:
    """What it was asked, what it keeps, and how it behaves: well, slow, broken, garbled, greedy, forgetful."""

    url: str = ""
    token: str = "sandbox-token"
    mood: str = "well"
    asked: int = 0
    kept: dict[str, list[int]] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        body = await request.json()
        assert body["contract"] == "hilltop-tax/1"
        match self.mood:
            case "slow":
                await asyncio.sleep(5)
            case "broken":
                return web.Response(status=503)
            case "garbled":
                return web.Response(text="<html>maintenance</html>")
        return web.json_response({"documents": [self._taxed(one) for one in body["documents"]]})

    def _taxed(self, document: dict[str, Any]) -> dict[str, Any]:
        if self.mood == "forgetful":
            return {"code": "another"}
        if any(line["place"]["country"] == "ZZ" for line in document["lines"]):
            return {"code": document["code"], "error": "ZZ is no country"}
        exempt = any(one["share_ppm"] == 1_000_000 for one in document["exemptions"])
        lines, parts = [], []
        for line in document["lines"]:
            amount = line["amount_minor"]
            size = abs(amount)
            tax = 0 if exempt else (size + 5) // 11 if line["inclusive"] else (size + 5) // 10
            tax = tax if amount >= 0 else -tax
            lines.append(
                {"position": line["position"], "net_minor": amount - tax if line["inclusive"] else amount}
            )
            parts.append({"position": line["position"], "amount_minor": tax})
        if self.mood == "greedy":
            lines[0]["net_minor"] += 1
        if document["record"]:
            self.kept[document["code"]] = [part["amount_minor"] for part in parts]
        tenth = {
            "name": "Tenth", "jurisdiction": "US-NM", "effect": "tax", "rate_ppm": 100_000,
            "amount_minor": sum(part["amount_minor"] for part in parts), "parts": parts,
        }  # fmt: skip
        return {"code": document["code"], "lines": lines, "taxes": [tenth]}


@asynccontextmanager
async def sandbox() -> AsyncIterator[Sandbox]:
    """One at a loopback port."""
    engine = Sandbox()
    app = web.Application()
    app.router.add_post("/v1/taxes", engine.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    engine.url = f"http://{host}:{port}"
    try:
        yield engine
    finally:
        await runner.cleanup()
