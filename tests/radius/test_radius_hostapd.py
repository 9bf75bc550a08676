"""A switch port and a CPE that are real: hostapd and wpa_supplicant (wired) over a veth pair, through us."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from eapol import TLS12, TLS13, Authority, quoted
from radius_live import Live, live_server
from radius_world import SECRET, World
from sqlalchemy import select

from aaa.issue_certificate import issue_client_certificate, issue_server_certificate
from aaa.make_authority import make_authority
from aaa.store.tables import session
from core.refusal import granted
from lab.namespaces import Lot, Namespaces, inside, missing, run
from radius.accounting.ingest import ingest_once

WHY_NOT = missing(("ip", "nft", "setpriv")) or (
    None
    if all(shutil.which(tool) for tool in ("hostapd", "wpa_supplicant", "wpa_cli"))
    else "hostapd and wpasupplicant are not installed"
)
pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"no wired pair here: {WHY_NOT}"),
]
_CLONE_NEWNET = 0x40000000


@contextmanager
def in_namespace(name: str) -> Iterator[None]:
    """Sockets that this thread opens meanwhile are that namespace's for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        assert libc.setns(there, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        assert libc.setns(home, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        os.close(home)
        os.close(there)


class Wired:
    """hostapd on one end and a supplicant on the other, in two namespaces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespaces = Namespaces()
        self.lot = Lot()
        self.port_side, self.cpe_side = self.lot.name("port"), self.lot.name("cpe")
        self._running: list[asyncio.subprocess.Process] = []
        self.sockets = Path(tempfile.mkdtemp(prefix="hw"))  # a socket's path must be short

    async def lay_cable(self) -> None:
        for name in (self.port_side, self.cpe_side):
            await self.namespaces.add(name)
        await run(
            "ip", "-n", self.port_side, "link", "add", "port0", "type", "veth", "peer", "name", "cpe0", "netns",
            self.cpe_side,
        )  # fmt: skip
        await run("ip", "-n", self.port_side, "link", "set", "port0", "up")
        await run("ip", "-n", self.cpe_side, "link", "set", "cpe0", "up")

    async def start_port(self, live: Live) -> None:
        settings = {
            "interface": "port0", "driver": "wired", "ieee8021x": 1, "use_pae_group_addr": 1,
            "own_ip_addr": "127.0.0.1", "nas_identifier": "switch", "auth_server_addr": "127.0.0.1",
            "auth_server_port": live.auth_port, "auth_server_shared_secret": SECRET,
            "acct_server_addr": "127.0.0.1", "acct_server_port": live.accounting_port,
            "acct_server_shared_secret": SECRET, "radius_request_cui": 1,
        }  # fmt: skip
        file = self.folder / "hostapd.conf"
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        await self._spawn(self.port_side, "hostapd", str(file))

    async def start_cpe(self, network: dict[str, Any]) -> None:
        block = {"key_mgmt": "IEEE8021X", "eapol_flags": 0} | network
        lines = "\n".join(f"  {key}={value}" for key, value in block.items())
        file = self.folder / "cpe.conf"
        file.write_text(f"ctrl_interface={self.sockets}\nap_scan=0\nnetwork={{\n{lines}\n}}\n")
        await self._spawn(self.cpe_side, "wpa_supplicant", "-D", "wired", "-i", "cpe0", "-c", str(file))

    async def _spawn(self, namespace: str, *command: str) -> None:
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            made = await asyncio.create_subprocess_exec(
                *inside(namespace, *command), stdout=log, stderr=asyncio.subprocess.STDOUT
            )
        self._running.append(made)

    async def cli(self, *words: str) -> str:
        made = await asyncio.create_subprocess_exec(
            *inside(self.cpe_side, "wpa_cli", "-p", str(self.sockets), "-i", "cpe0", *words),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await made.communicate()
        return said.decode()

    async def until_authorized(self, method: str) -> None:
        async with asyncio.timeout(20):
            while True:
                said = await self.cli("status")
                if "suppPortStatus=Authorized" in said and "EAP state=SUCCESS" in said:
                    assert f"selectedMethod={method}" in said, said
                    return
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        for one in reversed(self._running):
            if one.returncode is None:
                one.terminate()
                await one.wait()
        self.namespaces.delete_all()
        self.lot.release()
        shutil.rmtree(self.sockets, ignore_errors=True)


@asynccontextmanager
async def pair(world: World, folder: Path, **eap: Any) -> AsyncIterator[tuple[Live, Wired]]:
    await world.nas("switch")
    wired = Wired(folder)
    try:
        await wired.lay_cable()
        with in_namespace(wired.port_side):
            serving = live_server(world, folder, eap=eap)
            live = await serving.__aenter__()
        try:
            await wired.start_port(live)
            yield live, wired
        finally:
            await wired.stop()
            await serving.__aexit__(None, None, None)
    finally:
        await wired.stop()


async def until(what: Any) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.02)


async def sessions(live: Live) -> list[tuple[str, str, str]]:
    """What accounting made of it: user name, how it ended, and the service."""
    await ingest_once(live.journal, live.world.workplace, live.world.sealer)
    wanted = select(session.c.username, session.c.close_cause, session.c.service_id)
    async with live.world.workplace.reading() as connection:
        return [tuple(row) for row in await connection.execute(wanted)]


async def goes_through_its_life(live: Live, wired: Wired, network: dict[str, Any], method: str) -> None:
    """Sign in, account, sign in again, log off."""
    counters = live.server.counters
    await wired.start_cpe(network)
    await wired.until_authorized(method)
    assert (counters.accepts, counters.rejects, counters.failures) == (1, 0, 0)
    await until(lambda: counters.accounting == 2)  # the port is on, and a session has begun
    await wired.cli("reauthenticate")
    await until(lambda: counters.accepts == 2)
    await wired.until_authorized(method)
    await wired.cli("logoff")
    await until(lambda: counters.accounting >= 3)


@pytest.mark.parametrize(("method", "name"), [("TTLS", "21 (EAP-TTLS)"), ("PEAP", "25 (EAP-PEAP)")])
async def test_a_real_pair_signs_in_with_a_password(
    world: World, tmp_path: Path, method: str, name: str
) -> None:
    service_id = await world.service("alice")
    root = Authority(tmp_path)
    chain, key = root.issue("radius.example", server=True)
    network = {
        "eap": method, "identity": quoted("alice"), "anonymous_identity": quoted("nobody@example"),
        "password": quoted("open sesame"), "ca_cert": quoted(root.file), "phase1": quoted(TLS12),
        "phase2": quoted("auth=MSCHAPV2"), "domain_match": quoted("radius.example"),
    }  # fmt: skip
    async with pair(world, tmp_path, certificate_file=str(chain), private_key_file=str(key)) as (live, wired):
        await goes_through_its_life(live, wired, network, name)
        assert await sessions(live) == [("alice", "User-Request", service_id)]


async def test_a_real_pair_signs_in_with_a_certificate(world: World, tmp_path: Path) -> None:
    service_id = await world.service("alice")
    async with pair(world, tmp_path) as (live, wired):
        async with world.workplace.work("test") as work:
            granted(await make_authority(work, world.sealer, name="Fictional ISP"))
            granted(await issue_server_certificate(work, world.sealer, names=["radius.example"]))
            issued = granted(await issue_client_certificate(work, world.sealer, service_id=service_id))
        await live.caught_up()
        assert issued.key is not None
        texts = {"own.pem": issued.certificate, "own.key": issued.key.reveal(), "root.pem": issued.chain}
        for file, text in texts.items():
            (tmp_path / file).write_text(text)
        network = {
            "eap": "TLS", "identity": quoted("anyone"), "client_cert": quoted(tmp_path / "own.pem"),
            "private_key": quoted(tmp_path / "own.key"), "ca_cert": quoted(tmp_path / "root.pem"),
            "phase1": quoted(TLS13),
        }  # fmt: skip
        await goes_through_its_life(live, wired, network, "13 (EAP-TLS)")
        assert await sessions(live) == [("alice", "User-Request", service_id)]
