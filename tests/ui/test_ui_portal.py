"""The portal: whoever is walled off reaches it under any name, and learns nothing about anybody."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ui_world import Provider

from appliance.panel_acts import panel_acts
from appliance.wiring import MeteredUsage
from core.clock import FakeClock
from core.database import Database
from core.secrets import Sealer
from ui.config import UiSettings
from ui.portal import build_portal, portal_page
from ui.role import run_web
from ui.web.render import Templates

CONTACT = UiSettings(
    provider_name="Valley Wireless", provider_phone="+1 970 555 0100", provider_email="help@example.com"
)


async def page_for(provider: Provider, address: str | None) -> str:
    templates = Templates(CONTACT, provider.clock)
    return await portal_page(provider.workplace, templates, CONTACT, address)


async def test_the_portal_knows_the_service_by_its_address(valley: Provider) -> None:
    assert "service is limited" in await page_for(valley, "100.64.1.13")  # Hester, walled off
    assert "slowed down" in await page_for(valley, "100.64.0.11")  # Otis, throttled
    assert "service is active" in await page_for(valley, "100.64.0.10")
    assert "service is limited" in await page_for(valley, "::ffff:100.64.1.13")
    for address in ("203.0.113.9", "not an address", None, ""):
        assert "Internet service information" in await page_for(valley, address)


async def test_the_portal_tells_nothing_about_the_account(valley: Provider) -> None:
    text = await page_for(valley, "100.64.1.13")
    for secret in ("Hester", "Quill", "hester", "A-", "$", "USD", "acc_", "svc_", "Larkspur"):
        assert secret not in text, secret
    assert "+1 970 555 0100" in text
    assert "help@example.com" in text


async def test_the_portal_answers_while_the_database_is_away(
    valley: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_self: Database) -> object:
        raise OSError("disk gone")

    monkeypatch.setattr(Database, "read", gone)
    assert "Internet service information" in await page_for(valley, "100.64.1.13")


@pytest.fixture
async def listener(valley: Provider) -> AsyncIterator[TestServer]:
    templates = Templates(CONTACT, valley.clock)
    server = TestServer(build_portal(valley.workplace, templates, CONTACT))
    await server.start_server()
    yield server
    await server.close()


@pytest.mark.parametrize(
    ("method", "path", "host"),
    [
        ("GET", "/", "portal.example"),
        ("GET", "/generate_204", "connectivitycheck.gstatic.com"),
        ("GET", "/hotspot-detect.html", "captive.apple.com"),
        ("POST", "/login?x=1", "bank.example"),
        ("GET", "/deep/%2e%2e/path", "192.0.2.1:8080"),
    ],
)
async def test_any_host_and_path_is_the_portal(
    listener: TestServer, method: str, path: str, host: str
) -> None:
    async with aiohttp.ClientSession() as session:
        answer = await session.request(method, listener.make_url(path), headers={"Host": host})
        async with answer:
            assert answer.status == 200
            assert "Internet service information" in await answer.text()
            assert answer.headers["Cache-Control"] == "no-store"
            assert "Set-Cookie" not in answer.headers


async def test_the_portal_brings_its_own_style(listener: TestServer) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(listener.make_url("/static/panel.css")) as answer,
    ):
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/css")


async def test_with_a_portal_address_strays_are_sent_there(valley: Provider) -> None:
    settings = CONTACT.model_copy(update={"portal_url": "http://portal.example/"})
    server = TestServer(build_portal(valley.workplace, Templates(settings, valley.clock), settings))
    await server.start_server()
    async with aiohttp.ClientSession() as session:
        for host, path, status in (
            ("bank.example", "/x", 302),
            ("portal.example", "/x", 302),
            ("portal.example", "/", 200),
        ):
            answer = await session.get(server.make_url(path), headers={"Host": host}, allow_redirects=False)
            async with answer:
                assert answer.status == status
                assert answer.headers.get("Location") == ("http://portal.example/" if status == 302 else None)
    await server.close()


# -- the role


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "panel.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_path, key_path


async def test_the_role_serves_tls_and_the_portal_and_stops(
    valley: Provider, sealer: Sealer, tmp_path: Path, unused_tcp_port_factory: object
) -> None:
    cert, key = _certificate(tmp_path)
    ports = [unused_tcp_port_factory(), unused_tcp_port_factory()]  # type: ignore[operator]
    settings = UiSettings(
        listen=f"127.0.0.1:{ports[0]}", portal_listen=f"127.0.0.1:{ports[1]}", tls_cert=cert, tls_key=key
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    role = asyncio.create_task(
        run_web(settings, valley.workplace, sealer, MeteredUsage(), stop, ready, acts=panel_acts(sealer))
    )
    await asyncio.wait_for(ready.wait(), 20)
    trust = ssl.create_default_context(cafile=str(cert))
    async with aiohttp.ClientSession() as session:
        async with session.get(f"https://localhost:{ports[0]}/healthz", ssl=trust) as answer:
            assert answer.status == 200
            assert answer.headers["Strict-Transport-Security"]
        async with session.get(f"http://127.0.0.1:{ports[1]}/anything") as answer:
            assert answer.status == 200
    stop.set()
    await asyncio.wait_for(role, 20)
    assert isinstance(valley.clock, FakeClock)
