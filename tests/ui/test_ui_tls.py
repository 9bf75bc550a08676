"""The panel comes up whatever has become of its certificate, and says so; a new one is taken over while it runs."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

import ui.tls
from appliance.panel_acts import panel_acts
from appliance.wiring import MeteredUsage
from core.secrets import Sealer
from core.store.tables import health_issue
from core.work import Workplace
from ui.certificates import CertificateError, make_self_signed, read_certificate, read_pair
from ui.config import UiSettings
from ui.role import run_web

NOW = datetime(2026, 3, 10, tzinfo=UTC)


def fingerprint(pem: bytes) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()


def put(folder: Path, pair: tuple[bytes, bytes]) -> None:
    (folder / "cert.pem").write_bytes(pair[0])
    (folder / "key.pem").write_bytes(pair[1])


async def shown(port: int) -> str:
    """The fingerprint of the certificate that the panel shows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    octets = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return hashlib.sha256(octets).hexdigest()


async def issue(workplace: Workplace) -> tuple[str, str] | None:
    async with workplace.reading() as connection:
        query = select(health_issue.c.severity, health_issue.c.title).where(
            health_issue.c.key == ui.tls.ISSUE_KEY, health_issue.c.closed_at.is_(None)
        )
        row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1])


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await look():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def panel(workplace: Workplace, sealer: Sealer, folder: Path, port: int) -> AsyncIterator[None]:
    settings = UiSettings(
        listen=f"127.0.0.1:{port}", tls_cert=folder / "cert.pem", tls_key=folder / "key.pem"
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    role = asyncio.create_task(
        run_web(settings, workplace, sealer, MeteredUsage(), stop, ready, acts=panel_acts(sealer))
    )
    await asyncio.wait_for(ready.wait(), 20)
    yield
    stop.set()
    await asyncio.wait_for(role, 20)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui.tls, "_LOOK_EVERY_S", 0.1)


async def test_without_a_usable_certificate_it_shows_one_of_its_own_until_there_is_one(
    workplace: Workplace, sealer: Sealer, tmp_path: Path, unused_tcp_port: int
) -> None:
    good, other = make_self_signed(NOW), make_self_signed(NOW)
    async with panel(workplace, sealer, tmp_path, unused_tcp_port):
        made = await shown(unused_tcp_port)

        async def says(words: str) -> None:
            async def told() -> bool:
                found = await issue(workplace)
                return found is not None and found[0] == "critical" and words in found[1]

            await until(told)
            assert await shown(unused_tcp_port)

        await says(f"{tmp_path / 'cert.pem'}: No such file or directory")
        put(tmp_path, (good[0], other[1]))
        await says("do not belong together")
        put(tmp_path, (b"\0garbage", good[1]))
        await says("it is damaged")
        put(tmp_path, (good[0], b"-----BEGIN NOTHING-----\n"))
        await says("cannot be used")
        assert await shown(unused_tcp_port) != fingerprint(good[0])
        put(tmp_path, good)

        async def is_good() -> bool:
            return await shown(unused_tcp_port) == fingerprint(good[0]) and await issue(workplace) is None

        await until(is_good)
        assert made != fingerprint(good[0])
        (tmp_path / "cert.pem").write_bytes(other[0])  # half of an exchange: what was good stays
        await says("it shows the one before")
        assert await shown(unused_tcp_port) == fingerprint(good[0])
        put(tmp_path, other)

        async def is_other() -> bool:
            return await shown(unused_tcp_port) == fingerprint(other[0]) and await issue(workplace) is None

        await until(is_other)


async def test_an_expired_certificate_is_shown_and_warned_of(
    workplace: Workplace, sealer: Sealer, tmp_path: Path, unused_tcp_port: int
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=old", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    expired = read_pair((tmp_path / "cert.pem").read_bytes(), (tmp_path / "key.pem").read_bytes())
    assert not expired.expired(datetime.now(UTC)) and expired.expired(datetime(2100, 1, 1, tzinfo=UTC))
    workplace.clock.step_to(datetime(2100, 1, 1, tzinfo=UTC))  # type: ignore[attr-defined]
    async with panel(workplace, sealer, tmp_path, unused_tcp_port):

        async def warned() -> bool:
            found = await issue(workplace)
            return found is not None and found[0] == "warning" and "expired on" in found[1]

        await until(warned)
        assert await shown(unused_tcp_port) == fingerprint((tmp_path / "cert.pem").read_bytes())


def test_a_pair_is_believed_when_it_is_one() -> None:
    good, other = make_self_signed(NOW), make_self_signed(NOW)
    one = read_pair(*good)
    assert one.self_signed and "localhost" in one.names and "127.0.0.1" in one.names
    assert one.fingerprint.replace(":", "").lower() == fingerprint(good[0])
    assert one.not_before < NOW.replace(year=2026, month=1) and one.not_after.year == 2036
    for pair in ((good[0], other[1]), (b"", good[1]), (good[0], b""), (good[1], good[0])):
        with pytest.raises(CertificateError):
            read_pair(*pair)
    with pytest.raises(CertificateError):
        read_certificate(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


@pytest.mark.parametrize("year", [1970, 2015, 2026, 2099, 9999])
def test_a_certificate_made_by_a_clock_that_is_wrong_holds_today(year: int) -> None:
    made = read_certificate(make_self_signed(datetime(year, 1, 1, tzinfo=UTC))[0])
    assert made.not_before < NOW < made.not_after
