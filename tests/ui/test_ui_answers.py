"""What every answer carries and what none lets out: limits, headers, errors, files."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from test_ui_security import declared_routes
from ui_client import Panels

import ui.app
import ui.read.network
from appliance.panel_acts import panel_acts
from appliance.wiring import MeteredUsage
from core.database import Database
from core.secrets import Sealer
from core.work import Workplace
from ui.app import add_routes, build_app
from ui.config import UiSettings
from ui.permissions import Permission
from ui.web.guard import CSP, door_token
from ui.web.visit import PANEL, Routes, Visit

STATIC = Path(ui.app.__file__).parent / "static"


async def test_bodies_are_bounded(panel: Panels) -> None:
    browser = await panel.as_("owner")
    fields = (await browser.get("/towers/new")).form("/towers/new")
    assert (await browser.post("/towers/new", fields | {"name": "x" * 70_000})).status == 413

    async def endless() -> object:
        for _ in range(3):
            yield b"name=x&"

    streamed = await browser.ask("POST", "/towers/new", data=endless(), headers={"Origin": browser.address})
    assert streamed.status == 411


async def test_security_headers_are_on_every_answer(panel: Panels) -> None:
    browser = await panel.as_("owner")
    for path in ("/", "/sign-in", "/nothing-here", "/static/panel.css", "/healthz", "/payments?format=csv"):
        headers = (await browser.get(path)).headers
        assert headers["Content-Security-Policy"] == CSP, path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "aiohttp" not in headers["Server"].lower()
    assert (await browser.get("/")).headers["Cache-Control"] == "no-store"
    assert "unsafe" not in CSP


async def test_no_page_carries_inline_script_or_style(valley_panel: Panels) -> None:
    browser = await valley_panel.as_("owner")
    for method, path, permission in declared_routes(valley_panel):
        if method == "GET" and "{" not in path and permission is not Permission.PUBLIC:
            text = (await browser.get(path)).text
            assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text), path


async def test_errors_show_a_reference_and_nothing_inside(
    panel: Panels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object) -> object:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(ui.read.network, "list_towers", broken)
    browser = await panel.as_("viewer")
    page = await browser.get("/towers")
    assert page.status == 500
    assert "the secret inside" not in page.text
    assert "Traceback" not in page.text
    found = re.search(r"<code>([0-9a-f]{8})</code>", page.text)
    assert found is not None
    printed = capsys.readouterr()
    assert found[1] in printed.out + printed.err


async def test_missing_pages_are_friendly(panel: Panels) -> None:
    browser = await panel.as_("viewer")
    for path in ("/subscribers/acc_nobody", "/invoices/x", "/towers/x", "/transcripts/x", "/nowhere"):
        page = await browser.get(path)
        assert page.status == 404
        assert "To the dashboard" in page.text
    assert (await browser.ask("PUT", "/towers", headers={"Origin": browser.address})).status == 405


async def test_health_tells_whether_the_database_answers(
    workplace: Workplace, panel: Panels, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await panel.base.get("/healthz")
    assert (page.status, json.loads(page.body)["database"]) == (200, "reachable")

    def gone(_self: Database) -> object:
        raise OSError("disk gone")

    monkeypatch.setattr(Database, "read", gone)
    page = await panel.base.get("/healthz")
    assert (page.status, json.loads(page.body)["database"]) == (503, "unreachable")
    assert (await panel.base.get("/static/panel.css")).status == 200
    assert "disk gone" not in page.text


async def test_static_files_are_exact_names_only(panel: Panels) -> None:
    assert (await panel.base.get("/static/panel.css")).headers["Content-Type"].startswith("text/css")
    for path in ("/static/..%2fapp.py", "/static/%2e%2e%2fconfig.py", "/static/nothing.js"):
        assert (await panel.base.get(path)).status == 404


def test_vendored_files_are_the_ones_on_record() -> None:
    record = tomllib.loads((STATIC / "VENDORED.toml").read_text())
    listed = {name: digest for package in record.values() for name, digest in package["files"].items()}
    own = {"VENDORED.toml", "panel.css", "panel.js", "theme.js", "hilltop.svg"}
    assert {path.name for path in STATIC.iterdir()} == set(listed) | own
    for name, digest in listed.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest, name


def test_settings_name_what_is_wrong() -> None:
    for wrong in (
        {"listen": "8080"}, {"listen": "localhost:http"}, {"time_zone": "Mars/Base"},
        {"tls_cert": "only-one.pem"}, {"colour": "green"},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            UiSettings.model_validate(wrong)


async def test_door_token_depends_on_key_and_cookie(workplace: Workplace) -> None:
    panels = [
        build_app(workplace, sealer, MeteredUsage(), UiSettings(), acts=panel_acts(sealer))[PANEL]
        for sealer in (Sealer({"k1": bytes([n]) * 32}) for n in (1, 2))
    ]
    tokens = {door_token(one, door) for one in panels for door in ("a", "b")}
    assert len(tokens) == 4


async def test_declared_handlers_are_reached_through_the_gate_alone(workplace: Workplace) -> None:
    routes = Routes()

    @routes.get("/inside", Permission.LOOK)
    async def inside(_visit: Visit) -> web.StreamResponse:
        return web.Response(text="inside")

    app = web.Application()  # no gate
    add_routes(app, [routes])
    from aiohttp.test_utils import TestServer

    server = TestServer(app)
    await server.start_server()
    async with aiohttp.ClientSession() as session, session.get(server.make_url("/inside")) as answer:
        assert answer.status == 500
    await server.close()
