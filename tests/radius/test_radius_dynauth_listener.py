"""Orders from outside: radclient asks our listener, which asks the lab's NAS; strangers and forgeries get nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.packet import CoAPacket, CoARequest, DisconnectRequest
from radius_live import RADCLIENT, Live, live_server, needs_radclient
from radius_world import CLASS_KEY, SECRET, World
from sqlalchemy import select

from aaa.dynauth_clients import (
    change_client,
    dynauth_clients,
    forget_client,
    permit_client,
)
from aaa.store.tables import dynauth_exchange, session
from core.refusal import Refusal, granted
from core.secrets import Secret
from core.store.tables import audit
from lab.nas import LabNas, LabSession
from lab.radius_wire import RadiusServer as LabServer
from radius.accounting.ingest import ingest_once
from radius.dynauth.order import read_order
from radius.packet.codec import Packet
from radius.sign_in.class_tokens import ClassTokens

ASKING = "a secret of the script"


@dataclass
class Door:
    """A server with the listener, a NAS of the lab with sessions behind, and clients in front."""

    live: Live
    nas: LabNas
    client_id: str

    @property
    def world(self) -> World:
        return self.live.world

    @property
    def port(self) -> int:
        (port,) = self.live.server.dynauth_ports
        return port

    async def dial(self, username: str, mac: str) -> LabSession:
        """A CPE signs in, and its Start is on record."""
        dialled = await self.nas.dial(username, "open sesame", mac=mac)
        assert isinstance(dialled, LabSession), dialled
        while not await ingest_once(self.live.journal, self.world.workplace, self.world.sealer):
            await asyncio.sleep(0.01)
        return dialled

    async def radclient(
        self, kind: str, *attributes: str, secret: str = ASKING, patience_s: float = 10
    ) -> str:
        """``ACK``, ``NAK`` and its cause, or ``silence``."""
        assert RADCLIENT is not None
        said = [*attributes, "Message-Authenticator = 0x00", f"Event-Timestamp = {int(time.time())}"]
        process = await asyncio.create_subprocess_exec(
            RADCLIENT, "-x", "-r", "1", "-t", str(patience_s), f"127.0.0.1:{self.port}", kind, secret,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        heard = (await process.communicate("\n".join(said).encode() + b"\n"))[0].decode()
        _, found, answer = heard.partition("Received ")
        if not found:
            return "silence"
        cause = answer.partition("Error-Cause = ")[2].split()
        return f"{answer.split()[0].rpartition('-')[2]} {cause[0] if cause else ''}".strip()

    async def refreshed(self) -> None:
        """The listener knows its clients as they stand."""
        await self.live.server.dynauth.refresh()


@pytest.fixture
async def door(world: World, tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(world, tmp_path) as opened:
        yield opened


@asynccontextmanager
async def open_door(world: World, folder: Path) -> AsyncIterator[Door]:
    async with live_server(
        world, folder, dynauth_listen=["127.0.0.1:0"], dynauth_timeout_s=0.2, dynauth_tries=2
    ) as live:
        servers = [LabServer("127.0.0.1", live.auth_port, live.accounting_port)]
        nas = LabNas("ridge", "127.0.0.1", servers, SECRET, coa_port=0, identifier="ridge-1")
        await nas.start()
        await world.nas("ridge", "127.0.0.1", dynauth_port=nas.coa_port, identifier="ridge-1")
        for username in ("alice", "bella"):
            await world.service(username)
        await live.caught_up()
        async with world.workplace.work("test") as work:
            client_id = granted(
                await permit_client(
                    work,
                    world.sealer,
                    name="script",
                    network="127.0.0.1",
                    secret=Secret(ASKING),
                    may_change=True,
                )
            )
        opened = Door(live, nas, client_id)
        await opened.refreshed()
        try:
            yield opened
        finally:
            await nas.stop()


async def rows(world: World, table: Any) -> list[Any]:
    async with world.workplace.reading() as connection:
        return list((await connection.execute(select(table))).all())


@needs_radclient
async def test_radclient_changes_and_ends_sessions_through_us(door: Door) -> None:
    alice, bella = (
        await door.dial("alice", "02:00:00:00:00:0A"),
        await door.dial("bella", "02:00:00:00:00:0B"),
    )
    assert await door.radclient("coa", 'User-Name = "alice"', 'Mikrotik-Rate-Limit = "3M/7M"') == "ACK"
    assert alice.rates_bps() == (7_000_000, 3_000_000)
    assert await door.radclient("coa", 'Calling-Station-Id = "02-00-00-00-00-0a"') == "ACK"
    assert alice.rates_bps() == (25_000_000, 5_000_000), "a CoA that says nothing brings the terms that stand"
    named = f"Framed-IP-Address = {bella.framed_ip}"
    assert await door.radclient("disconnect", named, 'User-Name = "alice"') == "NAK Session-Context-Not-Found"
    assert (
        await door.radclient("disconnect", named, "NAS-IP-Address = 192.0.2.9")
        == "NAK NAS-Identification-Mismatch"
    )
    assert bella.live
    assert await door.radclient("disconnect", named, 'NAS-Identifier = "ridge-1"') == "ACK"
    assert not bella.live
    assert await door.radclient("disconnect", 'User-Name = "nobody"') == "NAK Session-Context-Not-Found"
    assert await door.radclient("disconnect", "NAS-IP-Address = 127.0.0.1") == "NAK Missing-Attribute"
    assert (
        await door.radclient("disconnect", 'User-Name = "alice"', 'Filter-Id = "x"')
        == "NAK Unsupported-Attribute"
    )
    assert await door.radclient("coa", 'User-Name = "alice"', "Class = 0x41") == "NAK Unsupported-Attribute"
    authorize = ("Service-Type = Authorize-Only", "State = 0x41")
    assert await door.radclient("coa", 'User-Name = "alice"', *authorize) == "NAK Unsupported-Service"
    assert alice.live
    exchanges = await rows(door.world, dynauth_exchange)
    assert [(one.request, one.answer, one.actor) for one in exchanges] == [
        ("coa", "ack", "dynauth:script"), ("coa", "ack", "dynauth:script"), ("disconnect", "ack", "dynauth:script"),
    ]  # fmt: skip
    told = [row.action for row in await rows(door.world, audit) if row.actor == "dynauth:script"]
    assert told == ["dynauth.change", "dynauth.change", "dynauth.disconnect"]


@needs_radclient
async def test_what_the_nas_says_is_what_the_client_hears(door: Door) -> None:
    await door.dial("alice", "02:00:00:00:00:0A")
    door.nas.coa_mode = "nak"
    assert await door.radclient("disconnect", 'User-Name = "alice"') == "NAK Administratively-Prohibited"
    door.nas.coa_mode = "silent"
    assert await door.radclient("disconnect", 'User-Name = "alice"') == "NAK Proxy-Processing-Error"
    door.nas.coa_mode, door.nas.nak_cause = "nak", 503
    assert await door.radclient("disconnect", 'User-Name = "alice"') == "NAK Session-Context-Not-Found"
    (row,) = await rows(door.world, session)
    assert (row.close_cause, row.close_inferred) == ("nas_lost_it", True)


@needs_radclient
async def test_a_client_may_do_what_it_is_permitted_and_no_more(door: Door) -> None:
    await door.dial("alice", "02:00:00:00:00:0A")
    other = await door.world.nas("elsewhere", "192.0.2.77")

    async def change(**fields: Any) -> None:
        async with door.world.workplace.work("test") as work:
            granted(await change_client(work, door.world.sealer, door.client_id, **fields))
        await door.refreshed()

    await change(may_disconnect=False)
    assert await door.radclient("disconnect", 'User-Name = "alice"') == "NAK Administratively-Prohibited"
    await change(may_disconnect=True, may_change=False)
    assert await door.radclient("coa", 'User-Name = "alice"') == "NAK Administratively-Prohibited"
    await change(nas_ids=[other])
    assert await door.radclient("disconnect", 'User-Name = "alice"') == "NAK Session-Context-Not-Found"
    await change(nas_ids=None, secret=Secret("another secret of the script"))
    assert await door.radclient("disconnect", 'User-Name = "alice"', patience_s=0.3) == "silence"
    await change(enabled=False)
    assert (
        await door.radclient(
            "disconnect", 'User-Name = "alice"', secret="another secret of the script", patience_s=0.3
        )
        == "silence"
    )
    counts = door.live.server.dynauth.counts
    assert (counts["wrong_secret"], counts["strangers"]) == (1, 1), "heard, and left without an answer"
    assert door.nas.coa_heard == []


def request(code: int = DisconnectRequest, stamp: int | None = None, **attributes: Any) -> CoAPacket:
    """A request as a careful client makes it; ``a1=b"alice"`` is attribute 1."""
    packet = CoAPacket(code=code, id=os.urandom(1)[0], secret=ASKING.encode())
    packet.add_message_authenticator()
    for key, value in attributes.items():
        packet[int(key.removeprefix("a"))] = value if isinstance(value, list) else [value]
    packet[55] = [(int(time.time()) if stamp is None else stamp).to_bytes(4, "big")]
    return packet


async def ask(door: Door, *datagrams: bytes, patience_s: float = 3.0, sources: int = 1) -> list[bytes]:
    """Send from as many ports in turn; what came back before each had an answer or the patience ended."""
    loop, heard = asyncio.get_running_loop(), []
    asking = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(sources)]
    try:
        for one in asking:
            one.setblocking(False)
            one.connect(("127.0.0.1", door.port))
        for number, datagram in enumerate(datagrams):
            one = asking[number % sources]
            await loop.sock_sendall(one, datagram)
            try:
                heard.append(await asyncio.wait_for(loop.sock_recv(one, 4096), patience_s))
            except TimeoutError:
                return heard
        return heard
    finally:
        for one in asking:
            one.close()


async def test_a_repeated_or_replayed_request_is_answered_again_and_done_once(door: Door) -> None:
    await door.dial("alice", "02:00:00:00:00:0A")
    packet = request(CoARequest, a1=b"alice", a33=[b"first", b"second"], a11=b"slow")
    datagram = bytes(packet.RequestPacket())
    answers = await ask(door, datagram, datagram, datagram, sources=3)
    assert len(answers) == 3
    assert len(set(answers)) == 1, "the same octets, from whichever port it was asked"
    assert len(door.nas.coa_heard) == 1, "done once"
    reply = packet.CreateReply(packet=answers[0])
    assert packet.VerifyReply(reply, answers[0]), "pyrad accepts the authenticator"
    assert answers[0][20] == 80, "Message-Authenticator first"
    assert reply[33] == [b"first", b"second"], "Proxy-State in its order"
    assert door.live.server.dynauth.counts["duplicates"] == 2


async def test_a_session_is_found_by_the_pseudonym_its_visited_operator_was_given(door: Door) -> None:
    await door.dial("bella", "02:00:00:00:00:0B")
    alice = await door.dial("alice", "02:00:00:00:00:0A")
    async with door.world.workplace.reading() as connection:
        query = select(session.c.service_id).where(session.c.username == "alice")
        service_id = (await connection.execute(query)).scalar_one()
    given = ClassTokens(CLASS_KEY).chargeable_identity(service_id, b"1example.net")[2:]
    for wrong in (
        {"a89": given},
        {"a89": b"x" * 32, "a126": b"1example.net"},
        {"a89": given, "a126": b"1other.net"},
    ):
        (answer,) = await ask(door, bytes(request(**wrong).RequestPacket()))
        assert (answer[0], bytes((101, 6, 0, 0, 1, 247)) in answer) == (42, True), wrong
    (answer,) = await ask(door, bytes(request(a89=given, a126=b"1example.net").RequestPacket()))
    assert answer[0] == 41
    assert not alice.live
    assert len(door.nas.coa_heard) == 1


async def test_two_sessions_that_fit_are_none(door: Door) -> None:
    await door.dial("alice", "02:00:00:00:00:0A")
    await door.dial("bella", "02:00:00:00:00:0B")
    (answer,) = await ask(door, bytes(request(a87=b"ether2").RequestPacket()))
    assert answer[0] == 42
    assert bytes((101, 6, 0, 0, 508 >> 8, 508 & 255)) in answer
    assert door.nas.coa_heard == []


async def test_what_is_not_signed_fresh_and_known_gets_no_answer(door: Door) -> None:
    await door.dial("alice", "02:00:00:00:00:0A")
    counts = door.live.server.dynauth.counts
    now = int(time.time())
    good = bytes(request(a1=b"alice").RequestPacket())
    unsigned = CoAPacket(code=DisconnectRequest, id=1, secret=ASKING.encode())
    unsigned[1] = [b"alice"]
    stampless = CoAPacket(code=DisconnectRequest, id=2, secret=ASKING.encode())
    stampless.add_message_authenticator()
    stampless[1] = [b"alice"]
    for what, datagram in (
        ("unsigned", bytes(unsigned.RequestPacket())), ("stale", bytes(stampless.RequestPacket())),
        ("stale", bytes(request(stamp=now - 301, a1=b"alice").RequestPacket())),
        ("stale", bytes(request(stamp=now + 400, a1=b"alice").RequestPacket())),
        ("wrong_secret", good[:-1] + bytes((good[-1] ^ 1,))), ("wrong_secret", good[:4] + bytes(16) + good[20:]),
        ("malformed", good[:19]), ("malformed", b""), ("malformed", bytes((1,)) + good[1:]),
        ("malformed", good[:2] + (len(good) + 4).to_bytes(2, "big") + good[4:]),
    ):  # fmt: skip
        before = counts[what]
        assert await ask(door, datagram, patience_s=0.05) == [], what
        assert counts[what] == before + 1, what
    assert counts["failures"] == 0
    assert door.nas.coa_heard == []
    async with door.world.workplace.work("test") as work:
        assert await forget_client(work, door.client_id) is None
    await door.refreshed()
    assert await ask(door, good, patience_s=0.05) == []
    assert counts["strangers"] == 1


async def test_work_is_bounded_and_a_database_that_is_away_costs_only_answers(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = door.live.server.dynauth
    held = asyncio.Event()

    async def hang(*_: Any) -> None:
        await held.wait()
        raise OSError("the database is away")

    monkeypatch.setattr(listener, "_carry_out", hang)
    monkeypatch.setattr("radius.dynauth.listener.MOST_AT_WORK", 5)
    for number in range(9):
        assert await ask(door, bytes(request(a1=b"u%d" % number).RequestPacket()), patience_s=0.01) == []
    assert listener.counts["too_many"] == 4
    held.set()
    async with asyncio.timeout(5):
        while listener.counts["failures"] < 5:
            await asyncio.sleep(0.01)
    monkeypatch.undo()
    (answer,) = await ask(door, bytes(request(a1=b"nobody").RequestPacket()))
    assert answer[0] == 42, "it answers again"


@given(
    st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=253)), max_size=20), st.sampled_from([40, 43])
)
def test_no_attributes_make_an_order_that_cannot_be_read(
    attributes: list[tuple[int, bytes]], code: int
) -> None:
    order = read_order(Packet(code, 1, bytes(16), tuple(attributes)))
    assert order.error_cause is not None or order.names or order.chargeable
    assert not (order.disconnect and order.change)
    assert all(isinstance(one.shown, str) for one in order.change)
    assert "\0" not in "".join(order.names.values())


async def test_a_client_that_makes_no_sense_is_refused_by_name(world: World) -> None:
    good = {"name": "proxy", "network": "192.0.2.9", "secret": Secret(ASKING)}
    async with world.workplace.work("test") as work:
        granted(
            await permit_client(work, world.sealer, name="script", network="192.0.2.5", secret=Secret(ASKING))
        )
        for wrong, field in (
            ({"secret": Secret("short")}, "secret"), ({"network": "everywhere"}, "network"), ({"network": "0.0.0.0/0"}, "network"),
            ({"name": " "}, "name"), ({"may_disconnect": False}, "may_disconnect"), ({"nas_ids": []}, "nas_ids"),
            ({"nas_ids": ["nas_none"]}, "nas_ids"), ({"name": "script"}, "name"), ({"network": "192.0.2.5"}, "network"),
        ):  # fmt: skip
            refusal = await permit_client(work, world.sealer, **(good | wrong))  # type: ignore[arg-type]
            assert isinstance(refusal, Refusal), wrong
            assert refusal.field == field


async def test_the_trail_of_a_client_never_holds_its_secret(world: World) -> None:
    async with world.workplace.work("test") as work:
        made = granted(
            await permit_client(work, world.sealer, name="s", network="192.0.2.5", secret=Secret(ASKING))
        )
        assert granted(
            await change_client(work, world.sealer, made, secret=Secret("a second secret here"))
        ) == ["secret"]
        assert granted(await change_client(work, world.sealer, made, name="s")) == []
        assert isinstance(await change_client(work, world.sealer, made, may_disconnect=False), Refusal)
    trail = str([row.detail for row in await rows(world, audit)])
    assert ASKING not in trail
    assert "a second secret here" not in trail
    async with world.workplace.reading() as connection:
        assert [one.name for one in await dynauth_clients(connection)] == ["s"]
