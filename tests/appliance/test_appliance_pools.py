"""A tower comes back: three hundred CPEs dial two processes at once, for one small pool; one process is killed."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from appliance_running import SECRET, Appliance, appliance, until
from pyrad.client import Client
from pyrad.dictionary import Dictionary

from aaa.define_pool import define_pool
from aaa.set_up import NewCredential, create_service, define_profile
from aaa.store import pool_rows
from appliance.settings import load_settings
from appliance.wiring import House, open_house
from core.refusal import granted
from core.secrets import Secret
from radius.serving.status import read_statuses

CPES = 300
ADDRESSES = 254
NAMES = Dictionary(
    io.StringIO(
        "ATTRIBUTE User-Name 1 string\nATTRIBUTE User-Password 2 string\nATTRIBUTE Framed-IP-Address 8 ipaddr\n"
    )
)


class Cpe:
    """Dials from a port of its own, and again when nobody answers, as a NAS does for it."""

    def __init__(self, name: str, port: int) -> None:
        self.name, self._port = name, port
        self.addresses: list[str] = []
        self.rejected = False

    async def dial(self) -> None:
        self.rejected = False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.setblocking(False)
            own.connect(("127.0.0.1", self._port))
            request = self._request()
            for _ in range(40):
                await asyncio.get_running_loop().sock_sendall(own, request.RequestPacket())
                try:
                    octets = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(own, 4096), 0.5)
                except (TimeoutError, ConnectionRefusedError):
                    continue
                reply = request.CreateReply(packet=octets)
                assert request.VerifyReply(reply, octets)
                if reply.code == 2:
                    self.addresses.append(reply["Framed-IP-Address"][0])
                else:
                    self.rejected = True
                return
        raise AssertionError(f"{self.name} got no answer")

    def _request(self) -> Any:
        client = Client("127.0.0.1", secret=SECRET.reveal().encode(), dict=NAMES)
        packet = client.CreateAuthPacket(id=os.getpid() % 256)
        packet["User-Name"] = self.name
        packet["User-Password"] = packet.PwCrypt("open sesame")
        packet.add_message_authenticator()
        # the same octets each time: a retransmit, and no second sign-in
        octets = packet.RequestPacket()
        packet.RequestPacket = lambda: octets
        return packet


def hilltop(one: Appliance, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance.cli", "--config", str(one.config), *words],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


async def fill(house: House) -> None:
    async with house.workplace.work("test") as work:
        granted(await define_pool(work, name="homes", kind="ipv4", ranges=["10.30.0.0/24"]))
        profile_id = granted(
            await define_profile(
                work, name="pooled", rate_down_bps=10_000_000, rate_up_bps=5_000_000, pool="homes"
            )
        )
        for number in range(CPES):
            credential = NewCredential("pppoe", f"cpe{number}", Secret("open sesame"))
            granted(
                await create_service(
                    work, house.sealer, account_id="acc_1", label=f"cpe{number}", profile_id=profile_id,
                    credentials=[credential],
                )
            )  # fmt: skip


async def held(one: Appliance) -> dict[str, str]:
    """Which service has which address, as the database says."""
    async with open_house(load_settings(one.config)) as house, house.workplace.reading() as connection:
        rows = await pool_rows.held_leases(connection, "", 10_000)
        return {row.network: row.service_id for row in rows}


async def test_no_address_is_given_twice_though_a_process_is_killed_in_the_middle(tmp_path: Path) -> None:
    async with appliance(tmp_path) as one:
        text = one.config.read_text()
        one.config.write_text(
            text.replace("[radius]\n", "[radius]\nworkers = 2\nreject_delay_s = 0\nstatus_interval_s = 0.1\n")
        )
        async with open_house(load_settings(one.config)) as house:
            await fill(house)
        await one.start("radius", "collector")
        statuses = lambda: read_statuses(one.settings.journal_directory)  # noqa: E731
        await until(lambda: len(statuses()) == 2, "two processes")
        cpes = [Cpe(f"cpe{number}", one.auth_port) for number in range(CPES)]
        first = asyncio.gather(*(cpe.dial() for cpe in cpes[:200]))
        await until(lambda: sum(bool(cpe.addresses) for cpe in cpes) > 60, "the tower is dialing")
        victim = statuses()[1].pid
        os.kill(victim, signal.SIGKILL)
        await first
        rest = asyncio.gather(*(cpe.dial() for cpe in cpes[200:]))
        await rest
        await until(lambda: victim not in {status.pid for status in statuses()}, "it is replaced")

        given = [cpe.addresses[-1] for cpe in cpes if cpe.addresses]
        assert len(given) == len(set(given)) > 60, "nobody shares"
        got_in = {cpe.name: cpe.addresses[-1] for cpe in cpes if cpe.addresses}

        async def all_given() -> bool:
            again = [cpe for cpe in cpes if not cpe.addresses]
            await asyncio.gather(*(cpe.dial() for cpe in again))
            return sum(bool(cpe.addresses) for cpe in cpes) == ADDRESSES

        await until(all_given, "what was set aside for the one that died is given, too, and then nothing")
        assert sum(cpe.rejected for cpe in cpes) == CPES - ADDRESSES
        await asyncio.gather(*(cpe.dial() for cpe in cpes if cpe.addresses))
        final = {cpe.name: cpe.addresses[-1] for cpe in cpes if cpe.addresses}
        assert len(set(final.values())) == ADDRESSES
        assert all(final[name] == address for name, address in got_in.items()), "everybody keeps his own"

        async def taken_over() -> bool:
            return len(await held(one)) == ADDRESSES

        await until(taken_over, "every lease comes into the database")
        assert sorted(await held(one)) == sorted(final.values())
        told = json.loads((await asyncio.to_thread(hilltop, one, "pool", "list", "--json")).stdout)
        assert (told[0]["size"], told[0]["kept"], told[0]["free"]) == (ADDRESSES, ADDRESSES, 0)
