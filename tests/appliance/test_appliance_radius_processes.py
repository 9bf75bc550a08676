"""Several RADIUS processes on one port: who dies is replaced, a reload loses nothing, a taken port is told."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from appliance_running import SECRET, Appliance, appliance, until
from pyrad.client import Client
from pyrad.dictionary import Dictionary
from pyrad.packet import AuthPacket

from radius.dictionary.attributes import attribute_dictionary
from radius.serving.status import RadiusStatus, read_statuses
from radius.watching.client import Connected, WatchedExchange, watch
from radius.watching.filter import WatchFilter

SETTINGS = "[radius]\nworkers = 2\nreject_delay_s = 0\nstatus_interval_s = 0.1\ndirectory_refresh_s = 0.1\n"


NAMES = Dictionary(io.StringIO("ATTRIBUTE User-Name 1 string\nATTRIBUTE User-Password 2 string\n"))


def access_request() -> bytes:
    """Signed, with an authenticator of its own."""
    packet = Client("127.0.0.1", secret=SECRET.reveal().encode(), dict=NAMES).CreateAuthPacket(id=7)
    packet["User-Name"] = "fir"
    packet["User-Password"] = packet.PwCrypt("fir-password")
    packet.add_message_authenticator()
    return packet.RequestPacket()  # type: ignore[no-any-return]


class Crowd:
    """Asks from many source ports at once, each request once: a lost one is seen."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.asked = self.answered = 0

    async def ask(self, count: int) -> None:
        """So many requests, each from a port of its own; answers may take a while."""
        await asyncio.gather(*(self._one() for _ in range(count)))

    async def _one(self) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.setblocking(False)
            own.connect(("127.0.0.1", self._port))
            self.asked += 1
            await loop.sock_sendall(own, access_request())
            reply = await asyncio.wait_for(loop.sock_recv(own, 4096), 20)
            assert reply[0] == 2
            self.answered += 1


def statuses(one: Appliance) -> list[RadiusStatus]:
    return read_statuses(one.settings.journal_directory)


def pids(one: Appliance) -> list[int]:
    return [status.pid for status in statuses(one) if Path(f"/proc/{status.pid}").exists()]


def head_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Appliance]:
    async with appliance(tmp_path) as one:
        text = one.config.read_text()
        one.config.write_text(text.replace("[radius]\n", SETTINGS))
        await one.start("radius")
        await until(lambda: len(pids(one)) == 2, "two processes")
        yield one


def hilltop(one: Appliance, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance.cli", "--config", str(one.config), *words],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


async def test_both_answer_and_one_that_is_killed_is_replaced(two: Appliance) -> None:
    crowd = Crowd(two.auth_port)
    await crowd.ask(200)
    await until(lambda: sum(one.counters["accepts"] for one in statuses(two)) == 200, "all are counted")
    assert all(one.counters["accepts"] > 20 for one in statuses(two)), "the kernel gives work to both"

    first, second = pids(two)
    os.kill(second, signal.SIGSTOP)  # what comes to it from now on waits in its socket …
    asking = asyncio.create_task(crowd.ask(100))
    await until(lambda: crowd.answered > 220, "the other one goes on")
    os.kill(second, signal.SIGKILL)  # … and outlives it
    await asking
    assert crowd.answered == crowd.asked == 300
    await until(lambda: len(pids(two)) == 2 and second not in pids(two), "it is replaced")
    assert pids(two)[0] == first

    watching = watch(two.settings.journal_directory, WatchFilter(user="fir"), attribute_dictionary())
    async with aclosing(watching) as told:
        connected = [await asyncio.wait_for(anext(told), 20) for _ in range(2)]
        assert {one.pid for one in connected if isinstance(one, Connected)} == set(pids(two))
        await crowd.ask(40)
        seen = [await asyncio.wait_for(anext(told), 20) for _ in range(40)]
        assert all(isinstance(one, WatchedExchange) and one.answer == "Access-Accept" for one in seen)


async def test_a_reload_loses_no_request_and_takes_up_the_settings(two: Appliance) -> None:
    before = set(pids(two))
    crowd, stop = Crowd(two.auth_port), asyncio.Event()

    async def go_on() -> None:
        while not stop.is_set():
            await crowd.ask(20)

    async def talk() -> set[int]:
        codes = set()
        while not stop.is_set():
            codes.add(await asyncio.to_thread(eap_md5, two.auth_port, pause_s=0.03))
        return codes

    asking = asyncio.create_task(go_on())
    talking = [asyncio.create_task(talk()) for _ in range(6)]
    text = two.config.read_text()
    two.config.write_text(text.replace("workers = 2", "workers = 3"))
    said = await asyncio.to_thread(hilltop, two, "radius", "reload")
    assert said.returncode == 0, said.stderr
    assert "3 processes" in said.stdout
    two.config.write_text(text.replace("workers = 2", "workers = 1"))
    said = await asyncio.to_thread(hilltop, two, "radius", "reload")
    assert "1 process" in said.stdout, said.stderr
    stop.set()
    await asking
    assert crowd.answered == crowd.asked > 100
    assert await asyncio.gather(*talking) == [{2}] * 6, "conversations end with whom they began"
    (left,) = pids(two)
    assert left not in before
    await crowd.ask(50)


async def test_settings_that_are_wrong_change_nothing(two: Appliance) -> None:
    before = pids(two)
    two.config.write_text(two.config.read_text().replace("workers = 2", "workers = 65"))
    os.kill(head_of(before[0]), signal.SIGHUP)
    await until(lambda: two.said("reload_refused"), "it says so")
    assert "radius.workers" in two.said("reload_refused")[0]["reason"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        text = two.config.read_text().replace("workers = 65", "workers = 2")
        two.config.write_text(text.replace(f":{two.auth_port}", f":{taken.getsockname()[1]}"))
        os.kill(head_of(before[0]), signal.SIGHUP)
        await until(lambda: len(two.said("reload_refused")) == 2, "it says so")
    assert pids(two) == before
    await Crowd(two.auth_port).ask(20)


def eap_round(port: int, eap: bytes, state: bytes | None) -> tuple[int, bytes, bytes | None]:
    """One packet from a source port of its own: the reply's code, EAP and State."""
    packet = AuthPacket(id=9, secret=SECRET.reveal().encode(), authenticator=os.urandom(16))
    packet.message_authenticator = True
    packet[1], packet[79] = [b"fir"], [eap]
    if state is not None:
        packet[24] = [state]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.settimeout(20)
        own.connect(("127.0.0.1", port))
        own.send(packet.RequestPacket())
        octets = own.recv(4096)
    reply = packet.CreateReply(packet=octets)
    assert packet.VerifyReply(reply, octets)
    return octets[0], reply.get(79, [b""])[0], reply.get(24, [None])[0]


def eap_md5(port: int, pause_s: float = 0.0) -> int:
    """A whole conversation (RFC 3748 section 5.4), each round from another port; the last reply's code."""
    code, eap, state = eap_round(port, b"\2\1\0\x08\1fir", None)
    time.sleep(pause_s)
    if eap[4] != 4:
        code, eap, state = eap_round(port, bytes((2, eap[1], 0, 6, 3, 4)), state)
    assert code == 11
    assert eap[4] == 4
    time.sleep(pause_s)
    proof = hashlib.md5(eap[1:2] + b"fir-password" + eap[6 : 6 + eap[5]]).digest()
    return eap_round(port, bytes((2, eap[1], 0, 22, 4, 16)) + proof, state)[0]


async def test_an_eap_conversation_goes_on_wherever_its_packets_come(two: Appliance) -> None:
    codes = await asyncio.gather(*(asyncio.to_thread(eap_md5, two.auth_port) for _ in range(40)))
    assert codes == [2] * 40
    await until(lambda: sum(one.counters["accepts"] for one in statuses(two)) == 40, "all are counted")
    assert all(one.counters["handed_over"] > 5 for one in statuses(two)), "each had some of the other's"


async def test_all_end_with_their_head(two: Appliance) -> None:
    before = pids(two)
    os.kill(head_of(before[0]), signal.SIGKILL)
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before), "they notice")
    await until(lambda: len(pids(two)) == 2, "and are started again")
    await Crowd(two.auth_port).ask(20)


def children(head: int) -> set[int]:
    return {int(one) for one in Path(f"/proc/{head}/task/{head}/children").read_text().split()}


async def test_what_is_asked_for_in_the_midst_of_something_else_is_done(two: Appliance) -> None:
    await until(lambda: len(two.said("directory_loaded")) == 2, "both serve")
    head = head_of(pids(two)[0])
    before, text = children(head), two.config.read_text()

    two.config.write_text(text.replace("workers = 2", "workers = 3"))
    os.kill(head, signal.SIGHUP)
    await until(lambda: len(children(head) - before) == 3, "a reload is under way")
    two.config.write_text(text.replace("workers = 2", "workers = 1"))
    said = await asyncio.to_thread(hilltop, two, "radius", "reload")
    assert "1 process" in said.stdout, said.stderr
    await until(lambda: len(children(head)) == 1, "the second reload is not forgotten over the first")

    (served,) = children(head)
    two.config.write_text(text)
    os.kill(head, signal.SIGHUP)
    await until(lambda: len(two.said("radius_reloaded", processes=2)) == 1, "two again")
    await until(lambda: len(children(head)) == 2 and served not in children(head), "alone")
    serving = children(head)
    two.config.write_text(text.replace("workers = 2", "workers = 65"))
    os.kill(min(serving), signal.SIGKILL)
    await until(lambda: len(children(head)) == 2 and children(head) != serving, "it is replaced")
    await until(lambda: set(pids(two)) == children(head), "and serves with the settings of its siblings")
    await Crowd(two.auth_port).ask(20)

    two.config.write_text(text)
    serving = children(head)
    os.kill(head, signal.SIGHUP)
    await until(lambda: len(children(head) - serving) == 2, "successors that have hardly begun")
    os.kill(min(children(head) - serving), signal.SIGKILL)
    await until(lambda: two.said("reload_failed"), "it says so")
    await until(lambda: children(head) == serving, "and the other successor goes too")

    os.kill(head, signal.SIGHUP)
    await until(lambda: children(head) - serving, "the settings are being read")
    os.kill(head, signal.SIGTERM)
    await until(lambda: not Path(f"/proc/{head}").exists(), "it ends, though it was about to reload")


async def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    async with appliance(tmp_path) as one:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            stranger.bind(("127.0.0.1", one.auth_port))
            done = await asyncio.to_thread(hilltop, one, "role", "radius")
        assert done.returncode == 1
        assert f"127.0.0.1 port {one.auth_port}" in done.stdout + done.stderr
        told = await asyncio.to_thread(hilltop, one, "health")
        assert f"port {one.auth_port}" in told.stdout
