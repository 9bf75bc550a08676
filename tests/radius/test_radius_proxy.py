"""Realms over loopback: FreeRADIUS and pyrad are the home servers, radclient and pyrad the NAS."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from all_tables import create_tables
from eapol import Eapol, needs_eapol_test, quoted
from freeradius_peer import freeradius, needs_freeradius, radclient
from pyrad.packet import AuthPacket
from radius_world import (
    SECRET,
    World,
    accounting,
    chap,
    free_port,
    mschapv2,
    octets,
    pap,
    reply_to,
    request,
    status,
    vendor,
)
from sqlalchemy import select

from aaa.define_realm import (
    change_home_server,
    change_realm,
    define_realm,
    register_home_server,
    remove_realm,
)
from aaa.issue_certificate import issue_client_certificate, issue_server_certificate
from aaa.make_authority import make_authority
from aaa.store import tables
from aaa.store.directory_rows import newest_change
from core.clock import SystemClock
from core.database import Database, sqlite_url
from core.health import health_issue
from core.ids import UlidSource
from core.refusal import granted
from core.secrets import Secret
from core.work import Workplace
from radius.accounting.ingest import ingest_once
from radius.config import RadiusSettings
from radius.explaining.explain import explain
from radius.packet.codec import attribute, vendor_attribute
from radius.packet.shared_secret import SharedSecret
from radius.proxying.packets import Nasward, answer_for_nas
from radius.proxying.proxied_reports import ReportSender
from radius.serving.role import RadiusServer

HOME_SECRET = "a secret between servers"
PATIENCE_S = 10


@dataclass
class Home(asyncio.DatagramProtocol):
    """A home server made of pyrad, which answers as it is told."""

    answer: Callable[[AuthPacket], bytes | None]
    secret: bytes = HOME_SECRET.encode()
    heard: list[AuthPacket] = field(default_factory=list)
    sources: list[Any] = field(default_factory=list)
    transport: Any = None
    port: int = 0

    async def start(self, port: int = 0) -> Home:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        self.port = int(self.transport.get_extra_info("sockname")[1])
        return self

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = AuthPacket(secret=self.secret, packet=data)
        self.heard.append(request)
        self.sources.append(addr)
        reply = self.answer(request)
        if reply is not None:
            self.transport.sendto(reply, addr)

    def send(self, reply: bytes) -> None:
        self.transport.sendto(reply, self.sources[-1])


def signed(request: AuthPacket, code: int = 2, **attributes: Any) -> bytes:
    """A reply of pyrad with a Message-Authenticator and every Proxy-State."""
    reply = request.CreateReply()
    reply.code = code
    for kind, value in attributes.items():
        reply[int(kind.removeprefix("a"))] = value if isinstance(value, list) else [value]
    reply.add_message_authenticator()
    return bytes(reply.ReplyPacket())


def bare(request: AuthPacket) -> bytes:
    """An Access-Accept as an old server sends it: a Response Authenticator and nothing more."""
    header = bytes((2, request.id, 0, 20))
    return header + md5(header + request.authenticator + HOME_SECRET.encode()).digest()


@dataclass
class Gateway:
    """Our server between a NAS on loopback and home servers."""

    world: World
    server: RadiusServer
    journal: Path
    stop: asyncio.Event
    homes: list[Home] = field(default_factory=list)

    async def do(self, act: Callable[..., Any], *sealed: Any, **given: Any) -> Any:
        async with self.world.workplace.work("test") as work:
            return granted(await act(work, *sealed, **given))

    async def home_server(self, name: str, port: int | None, **given: Any) -> str:
        known = {"address": "127.0.0.1", "secret": Secret(HOME_SECRET), "timeout_ms": 300, "tries": 2}
        ports = {"auth_port": port, "accounting_port": None}
        return str(await self.do(register_home_server, self.world.sealer, name=name, **known | ports | given))

    async def home(
        self, answer: Callable[[AuthPacket], bytes | None], name: str = "home", **given: Any
    ) -> Home:
        made = await Home(answer).start()
        self.homes.append(made)
        await self.home_server(name, made.port, **given)
        return made

    async def realm(
        self, name: str = "other.example", servers: tuple[str, ...] = ("home",), **given: Any
    ) -> None:
        await self.do(define_realm, name=name, servers=list(servers), **given)
        await self.settled()

    async def settled(self) -> None:
        async with self.world.workplace.reading() as connection:
            seq = await newest_change(connection)
        async with asyncio.timeout(PATIENCE_S):
            while self.server.status().directory_seq < seq:
                await asyncio.sleep(0.01)

    async def ask(
        self, packet: bytes, patience_s: float = PATIENCE_S, source: str = "127.0.0.1"
    ) -> bytes | None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nas:
            nas.setblocking(False)
            nas.bind((source, 0))
            nas.connect(("127.0.0.1", self.server.ports[0]))
            await loop.sock_sendall(nas, packet)
            try:
                return await asyncio.wait_for(loop.sock_recv(nas, 4096), patience_s)
            except TimeoutError:
                return None

    async def until(self, counter: str, least: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while getattr(self.server.counters, counter) < least:
                await asyncio.sleep(0.01)


@pytest.fixture
async def gateway(world: World, tmp_path: Path) -> AsyncIterator[Gateway]:
    clock = SystemClock()
    world.workplace = Workplace(world.workplace.database, clock, UlidSource(clock))
    await world.nas()
    await world.service("alice")
    await world.service("carol@mixed.example", "her own")
    journal = tmp_path / "journal" / "radius.sqlite"
    settings = RadiusSettings(
        auth_listen=["127.0.0.1:0"], accounting_listen=["127.0.0.1:0"], reject_delay_s=0.05,
        directory_refresh_s=0.02, journal_commit_ms=2, reject_record_s=0.02,
    )  # fmt: skip
    server = RadiusServer(settings, world.workplace, world.sealer, journal)
    stop, ready = asyncio.Event(), asyncio.Event()
    made = Gateway(world, server, journal, stop)
    running = asyncio.create_task(server.run(stop, ready))
    await asyncio.wait_for(ready.wait(), 20)
    yield made
    stop.set()
    await running
    for home in made.homes:
        home.transport.close()


async def test_a_password_is_hidden_anew_and_proxy_states_stay_apart(gateway: Gateway) -> None:
    def answer(request: AuthPacket) -> bytes:
        right = request.PwDecrypt(request[2][0]) == "her pass word"
        return signed(
            request, 2 if right else 3, a27=(600).to_bytes(4, "big"), a8=bytes((10, 0, 0, 9)), a25=b"theirs"
        )

    home = await gateway.home(answer)
    await gateway.realm()
    asked = pap("bob@other.example", "her pass word")
    asked[33] = [b"first", b"second"]
    reply = reply_to(asked, await gateway.ask(octets(asked)))
    [heard] = home.heard
    assert heard.verify_message_authenticator()
    assert heard.raw_packet[20] == 80  # in front
    assert heard[1] == [b"bob@other.example"]
    assert heard[33][:2] == [b"first", b"second"]
    assert len(heard[33]) == 3
    assert heard.authenticator != asked.authenticator
    assert reply.code == 2
    assert reply[33] == [b"first", b"second"]
    assert (reply[27], reply[25]) == ([(600).to_bytes(4, "big")], [b"theirs"])
    assert 8 not in reply  # an address of their network does not pass
    wrong = pap("bob@other.example", "not it")
    assert reply_to(wrong, await gateway.ask(octets(wrong))).code == 3
    counters = gateway.server.counters
    assert (counters.proxied, counters.proxy_accepts, counters.proxy_rejects, counters.failures) == (
        2,
        1,
        1,
        0,
    )


async def test_challenges_of_chap_and_keys_of_mschap_survive(gateway: Gateway) -> None:
    key = bytes(range(16))

    def answer(request: AuthPacket) -> bytes:
        hidden = gateway.world.sealer and _hide(key, request)
        return signed(request, a26=[b"\x00\x00\x01\x37\x10" + bytes((len(hidden) + 2,)) + hidden])

    home = await gateway.home(answer)
    await gateway.realm()
    asked = mschapv2("bob@other.example", "pw")
    reply = reply_to(asked, await gateway.ask(octets(asked)))
    assert home.heard[0][26] == asked[26]
    hidden = vendor(reply, 311, 16)
    assert hidden is not None
    assert _show(hidden, asked) == key
    implicit = chap("bob@other.example", "pw")
    del implicit[60]  # the challenge is the authenticator of the request
    await gateway.ask(octets(implicit))
    assert home.heard[1][60] == [implicit.authenticator]
    assert home.heard[1][3] == implicit[3]


def _hide(key: bytes, request: AuthPacket) -> bytes:
    """RFC 2548 section 2.4.2 in the words of the RFC, for the witness."""
    salt, secret = b"\x81\x02", HOME_SECRET.encode()
    plain = (bytes((len(key),)) + key).ljust(32, b"\0")
    out, before = b"", request.authenticator + salt
    for at in range(0, 32, 16):
        pad = md5(secret + before).digest()
        before = bytes(a ^ b for a, b in zip(plain[at : at + 16], pad, strict=True))
        out += before
    return salt + out


def _show(hidden: bytes, request: AuthPacket) -> bytes:
    out, before = b"", request.authenticator + hidden[:2]
    for at in range(2, len(hidden), 16):
        pad = md5(SECRET.encode() + before).digest()
        before = hidden[at : at + 16]
        out += bytes(a ^ b for a, b in zip(before, pad, strict=True))
    return out[1 : 1 + out[0]]


async def test_a_process_that_ends_gives_the_answers_that_wait(gateway: Gateway) -> None:
    home = await gateway.home(lambda _request: None)
    await gateway.realm()
    foreign, wrong = pap("bob@other.example", "pw"), pap("alice", "not hers")
    asking = [asyncio.create_task(gateway.ask(octets(one))) for one in (foreign, wrong)]
    await gateway.until("proxied")
    await gateway.until("rejects")
    gateway.stop.set()
    assert reply_to(wrong, await asking[1]).code == 3
    home.send(signed(home.heard[-1]))
    assert reply_to(foreign, await asking[0]).code == 2


async def test_the_flood_of_one_nas_leaves_room_for_another(gateway: Gateway) -> None:
    await gateway.world.nas("other tower", "127.0.0.2")
    home = await gateway.home(lambda _request: None, timeout_ms=30_000)
    await gateway.realm()
    most = gateway.server._proxy.servers.most_of_one
    gateway.server._nases.at("127.0.0.1").forwarded = most - 1  # type: ignore[union-attr]
    asking = [asyncio.create_task(gateway.ask(octets(pap("bob@other.example")))) for _ in range(2)]
    await gateway.until("proxied")
    await gateway.until("proxy_full")
    other = pap("eve@other.example")
    answered = asyncio.create_task(gateway.ask(octets(other), source="127.0.0.2"))
    await gateway.until("proxied", 2)
    async with asyncio.timeout(PATIENCE_S):
        while len(home.heard) < 2:
            await asyncio.sleep(0.01)
    for heard in home.heard:
        home.send(signed(heard))
    assert reply_to(other, await answered).code == 2
    for one in asking:
        one.cancel()


async def test_who_is_whose(gateway: Gateway) -> None:
    home = await gateway.home(signed)
    await gateway.realm("other.example", strip=True)
    local = pap("alice")
    assert reply_to(local, await gateway.ask(octets(local))).code == 2
    unknown = pap("zoe@nowhere.example")
    assert reply_to(unknown, await gateway.ask(octets(unknown))).code == 3
    assert not home.heard
    for name in ("bob@OTHER.example", "other.example\\bob"):
        asked = pap(name)
        assert reply_to(asked, await gateway.ask(octets(asked))).code == 2
    assert [one[1] for one in home.heard] == [[b"bob"], [b"bob"]]
    await gateway.realm("*")
    anybody = pap("zoe@nowhere.example")
    assert reply_to(anybody, await gateway.ask(octets(anybody))).code == 2
    ours = pap("carol@mixed.example", "her own")  # a service's own name stays ours
    assert vendor(reply_to(ours, await gateway.ask(octets(ours))), 14988, 8) == b"5M/25M"
    assert len(home.heard) == 3
    for name in ("other.example", "*"):
        await gateway.do(remove_realm, realm_name=name)
    await gateway.settled()
    gone = pap("bob@other.example")
    assert reply_to(gone, await gateway.ask(octets(gone))).code == 3
    assert len(home.heard) == 3


async def test_it_is_explained_who_answers(gateway: Gateway) -> None:
    await gateway.home_server("theirs", 1812)
    await gateway.realm("other.example", ("theirs",))
    async with gateway.world.workplace.reading() as connection:
        told = await explain(connection, gateway.world.sealer, "bob@other.example")
        ours = await explain(connection, gateway.world.sealer, "alice")
    assert (told.verdict, told.rule) == ("forwarded", "realm")
    assert told.explanation == "sign-ins of the realm other.example are answered by theirs"
    assert ours.verdict == "accept"


async def test_what_may_pass_is_the_operators_and_our_own_is_added(gateway: Gateway) -> None:
    rate = b"\x00\x00\x3a\x8c\x08\x08" + b"9M/9M!"
    await gateway.home(
        lambda request: signed(request, a27=(600).to_bytes(4, "big"), a8=bytes((10, 0, 0, 9)), a26=[rate])
    )
    await gateway.realm(passes=["Framed-IP-Address", "Mikrotik-Rate-Limit"])
    asked = pap("bob@other.example")
    reply = reply_to(asked, await gateway.ask(octets(asked)))
    assert (27 in reply, reply[8], vendor(reply, 14988, 8)) == (False, [bytes((10, 0, 0, 9))], b"9M/9M!")
    profile = gateway.world.ids["Home 25"]
    await gateway.do(change_realm, realm_name="other.example", passes=[], profile_id=profile)
    await gateway.settled()
    asked = pap("bob@other.example")
    reply = reply_to(asked, await gateway.ask(octets(asked)))
    assert (8 in reply, vendor(reply, 14988, 8)) == (False, b"5M/25M")
    await gateway.do(change_realm, realm_name="other.example", passes=["*"], profile_id=None)
    await gateway.settled()
    asked = pap("bob@other.example")
    reply = reply_to(asked, await gateway.ask(octets(asked)))
    assert (reply[8], vendor(reply, 14988, 8)) == ([bytes((10, 0, 0, 9))], b"9M/9M!")


async def test_no_home_server_opens_a_device_or_names_our_subscribers(gateway: Gateway) -> None:
    home = await gateway.home(lambda request: signed(request, a1=b"alice", a18=b"come in"))
    await gateway.realm(passes=["*"])
    asked = pap("bob@other.example")
    reply = reply_to(asked, await gateway.ask(octets(asked)))
    assert (reply.code, reply[18]) == (2, [b"come in"])
    assert 1 not in reply, "the NAS would report the session as hers"
    home.answer = lambda request: signed(request, a1=b"Bob@other.example")
    asked = pap("bob@other.example")
    assert reply_to(asked, await gateway.ask(octets(asked)))[1] == [b"Bob@other.example"]
    for service_type in (6, 7):  # Administrative, NAS-Prompt
        asked = pap("bob@other.example")
        asked[6] = [service_type.to_bytes(4, "big")]
        assert reply_to(asked, await gateway.ask(octets(asked))).code == 3
    speaking_eap = request("alice")
    speaking_eap[6], speaking_eap[79] = [(6).to_bytes(4, "big")], [b"\2\1\0\x0a\1alice"]
    assert reply_to(speaking_eap, await gateway.ask(octets(speaking_eap))).code == 3, "nor does EAP"
    assert len(home.heard) == 2


async def test_a_conversation_goes_on_where_it_began(gateway: Gateway) -> None:
    first = await gateway.home(lambda request: signed(request, 11, a24=b"state-1", a18=b"code?"), "one")
    second = await gateway.home(
        lambda request: signed(request, 2 if 24 in request else 11, a24=b"state-2"), "two"
    )
    await gateway.realm(servers=("two", "one"))
    asked = pap("bob@other.example")
    challenge = reply_to(asked, await gateway.ask(octets(asked)))
    assert (challenge.code, challenge[24]) == (11, [b"state-2"])
    await gateway.do(change_realm, realm_name="other.example", servers=["one", "two"])
    await gateway.settled()
    again = pap("bob@other.example")
    again[24] = [b"state-2"]
    assert reply_to(again, await gateway.ask(octets(again))).code == 2
    assert (len(first.heard), len(second.heard)) == (0, 2)


async def test_a_silent_server_is_left_and_found_again(gateway: Gateway) -> None:
    quiet = await gateway.home(lambda _request: None, "quiet")
    await gateway.home(signed, "loud")
    await gateway.realm(servers=("quiet", "loud"))
    asked = pap("bob@other.example")
    packet = octets(asked)
    assert reply_to(asked, await gateway.ask(packet)).code == 2  # after both tries of the first
    assert len(quiet.heard) == 2
    assert quiet.heard[0].raw_packet == quiet.heard[1].raw_packet  # the very same octets
    other = pap("bea@other.example")
    assert reply_to(other, await gateway.ask(octets(other))).code == 2
    assert len(quiet.heard) == 2  # it is dead
    async with asyncio.timeout(PATIENCE_S):
        while not await _issues(gateway, "home_server_silent"):
            await asyncio.sleep(0.02)
    quiet.answer = signed
    for server in gateway.server._proxy.servers.dead:
        server.asked_s = float("-inf")  # Status-Server is due
    async with asyncio.timeout(PATIENCE_S):
        while gateway.server._proxy.servers.dead or await _issues(gateway, "home_server_silent"):
            await asyncio.sleep(0.02)
    assert quiet.heard[-1].code == 12
    third = pap("ben@other.example")
    assert reply_to(third, await gateway.ask(octets(third))).code == 2
    assert quiet.heard[-1].code == 1


async def _issues(gateway: Gateway, word: str) -> list[str]:
    async with gateway.world.workplace.reading() as connection:
        rows = await connection.execute(select(health_issue).where(health_issue.c.closed_at.is_(None)))
        return [row.key for row in rows if word in row.key]


async def test_nobody_answers_a_port_where_nobody_listens(gateway: Gateway) -> None:
    await gateway.home_server("gone", free_port(), timeout_ms=20_000)
    await gateway.home(signed, "here")
    await gateway.realm(servers=("gone", "here"))
    asked = pap("bob@other.example")
    assert reply_to(asked, await gateway.ask(octets(asked))).code == 2  # at once: the machine said so
    assert gateway.server.counters.proxy_deaths == 1


async def test_when_all_are_silent_the_nas_gets_silence_and_may_ask_again(gateway: Gateway) -> None:
    home = await gateway.home(lambda _request: None, timeout_ms=100)
    await gateway.realm()
    packet = octets(pap("bob@other.example"))
    assert await gateway.ask(packet, 0.5) is None
    await gateway.until("proxy_unanswered")
    heard = len(home.heard)
    home.answer = signed
    assert await gateway.ask(packet) is not None  # not remembered: it is tried afresh, though all are dead
    assert len(home.heard) == heard + 1
    assert gateway.server._proxy.servers.outstanding == 0


async def test_late_double_and_forged_replies_do_nothing(gateway: Gateway) -> None:
    home = await gateway.home(lambda _request: None, timeout_ms=1_000)
    await gateway.realm()
    asked = pap("bob@other.example")
    waiting = asyncio.create_task(gateway.ask(octets(asked)))
    async with asyncio.timeout(PATIENCE_S):
        while not home.heard:
            await asyncio.sleep(0.01)
    request = home.heard[0]
    right = signed(request)
    forged = bytearray(right)
    forged[-1] ^= 1
    home.send(bytes(forged))
    home.send(bare(request))  # no Message-Authenticator: CVE-2024-3596
    stranger = AuthPacket(secret=b"another secret", packet=octets(asked))
    stranger.authenticator, stranger.id = request.authenticator, request.id
    home.send(signed(stranger))
    home.send(b"\x02")
    await gateway.until("proxy_wrong_signature", 3)
    assert not waiting.done()
    home.send(right)
    assert reply_to(asked, await waiting).code == 2
    home.send(right)
    await gateway.until("proxy_late", 2)
    async with asyncio.timeout(PATIENCE_S):
        while not await _issues(gateway, "unbelieved"):
            await asyncio.sleep(0.02)
    await gateway.do(change_home_server, gateway.world.sealer, server="home", signs_replies=False)
    await gateway.settled()

    home.answer = bare
    asked = pap("bob@other.example")
    assert reply_to(asked, await gateway.ask(octets(asked))).code == 2


async def test_retransmits_of_the_nas_meet_one_request_and_one_reply(gateway: Gateway) -> None:
    home = await gateway.home(lambda _request: None, timeout_ms=5_000)
    await gateway.realm()
    asked = pap("bob@other.example")
    packet, loop = octets(asked), asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nas:
        nas.setblocking(False)
        nas.connect(("127.0.0.1", gateway.server.ports[0]))
        for _ in range(3):
            await loop.sock_sendall(nas, packet)
        await gateway.until("duplicates_in_work", 2)
        assert len(home.heard) == 1
        home.send(signed(home.heard[0]))
        first = await asyncio.wait_for(loop.sock_recv(nas, 4096), PATIENCE_S)
        await loop.sock_sendall(nas, packet)
        assert await asyncio.wait_for(loop.sock_recv(nas, 4096), PATIENCE_S) == first
    assert len(home.heard) == 1


async def test_a_request_that_comes_round_again_is_not_forwarded(gateway: Gateway) -> None:
    heard: list[bytes] = []

    def loop_back(request: AuthPacket) -> None:
        heard.append(request[33][-1])

    await gateway.home(loop_back, timeout_ms=100)
    await gateway.realm()
    await gateway.ask(octets(pap("bob@other.example")), 0.3)
    again = pap("bob@other.example")
    again[33] = [heard[0]]
    assert await gateway.ask(octets(again), 0.3) is None
    assert gateway.server.counters.proxy_loops == 1
    through_many = pap("bob@other.example")
    through_many[33] = [os.urandom(4) for _ in range(17)]
    assert await gateway.ask(octets(through_many), 0.3) is None
    assert gateway.server.counters.proxy_loops == 2


async def test_more_than_fit_get_silence_and_hold_no_memory(gateway: Gateway) -> None:
    home = await gateway.home(lambda _request: None, timeout_ms=30_000)
    await gateway.realm()
    gateway.server._proxy.servers._most = 300
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nas:
        nas.setblocking(False)
        nas.connect(("127.0.0.1", gateway.server.ports[0]))
        packet = bytearray(octets(pap("bob@other.example", signed=False)))
        for number in range(400):
            packet[1], packet[4:20] = number & 255, os.urandom(16)
            await loop.sock_sendall(nas, bytes(packet))
            if number % 50 == 0:
                await asyncio.sleep(0.02)
        await gateway.until("proxy_full", 100)
    assert gateway.server._proxy.servers.outstanding == 300
    assert len(set(home.sources)) == 2  # 256 on one port, the rest on another
    asked = status()
    assert reply_to(asked, await gateway.ask(octets(asked))).code == 2
    for heard, source in zip(home.heard, home.sources, strict=True):
        home.transport.sendto(signed(heard), source)
    await gateway.until("proxy_accepts", 300)
    assert gateway.server._proxy.servers.outstanding == gateway.server._proxy.waiting == 0


async def test_reports_are_kept_here_and_reach_their_home_server_when_it_is_back(gateway: Gateway) -> None:
    port = free_port()
    await gateway.home_server("books", None, accounting_port=port, timeout_ms=100)
    await gateway.realm(servers=("books",), strip=True)
    reports = [
        accounting(f"s-{one}", kind, username="bob@other.example", identifier=one * 2 + kind - 1)
        for one in range(3)
        for kind in (1, 2)
    ]
    reports.append(accounting("s-9", 1, username="alice", identifier=99))
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nas:
        nas.setblocking(False)
        nas.connect(("127.0.0.1", gateway.server.ports[1]))
        for one in reports:
            await loop.sock_sendall(nas, octets(one))
            assert (await asyncio.wait_for(loop.sock_recv(nas, 4096), PATIENCE_S))[0] == 5
    await ingest_once(gateway.journal, gateway.world.workplace, gateway.world.sealer)
    async with gateway.world.workplace.reading() as connection:
        sessions = (await connection.execute(select(tables.session))).all()
        waiting = (await connection.execute(select(tables.proxied_report))).all()
    assert (len(sessions), len(waiting)) == (4, 6)
    sender = ReportSender(gateway.world.workplace, gateway.world.sealer)
    assert not await sender.turn()  # nobody is there
    taken: list[tuple[bytes, int]] = []

    def take(request: AuthPacket) -> bytes:
        assert request.code == 4
        assert request[1] == [b"bob"]
        assert 41 in request
        taken.append((request[44][0], request[40][0][3]))
        reply = request.CreateReply()
        reply.code = 5
        return bytes(reply.ReplyPacket())

    books = await Home(take).start(port)
    gateway.homes.append(books)
    sender._silent_until_s.clear()
    async with gateway.world.workplace.work("test") as work:  # half a minute passes
        past = work.now - timedelta(seconds=1)
        await work.connection.execute(tables.proxied_report.update().values(due_at=past))
    async with asyncio.timeout(PATIENCE_S):
        while await sender.turn():
            pass
    assert sorted(taken) == [(f"s-{one}".encode(), kind) for one in range(3) for kind in (1, 2)]
    for one in range(3):
        assert [kind for name, kind in taken if name == f"s-{one}".encode()] == [1, 2]
    async with gateway.world.workplace.reading() as connection:
        assert not (await connection.execute(select(tables.proxied_report))).all()


@needs_eapol_test
async def test_eap_and_its_keys_pass_through_to_a_second_hilltop(gateway: Gateway, tmp_path: Path) -> None:
    """The supplicant compares the keys of the Accept with its own: they were hidden anew on the way."""
    database = Database(sqlite_url(tmp_path / "home.sqlite"))
    await create_tables(database)
    clock = SystemClock()
    home = World(Workplace(database, clock, UlidSource(clock)), gateway.world.sealer)
    await home.nas("gateway", secret=HOME_SECRET, message_authenticator="require")
    service_id = await home.service("bob@other.example", "her pass word")
    async with home.workplace.work("test") as work:
        granted(await make_authority(work, home.sealer, name="Other CA"))
        granted(await issue_server_certificate(work, home.sealer, names=["radius.other.example"]))
        issued = granted(await issue_client_certificate(work, home.sealer, service_id=service_id))
    settings = RadiusSettings(auth_listen=["127.0.0.1:0"], accounting_listen=["127.0.0.1:0"])
    server = RadiusServer(settings, home.workplace, home.sealer, tmp_path / "home" / "radius.sqlite")
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(server.run(stop, ready))
    await asyncio.wait_for(ready.wait(), 20)
    await gateway.home_server("home", server.ports[0], timeout_ms=5_000)
    await gateway.realm()
    assert issued.key is not None
    (tmp_path / "ca.pem").write_text(issued.chain)
    (tmp_path / "bob.pem").write_text(issued.certificate)
    (tmp_path / "bob.key").write_text(issued.key.reveal())
    supplicant = Eapol(tmp_path, gateway.server.ports[0])
    trusted = {"ca_cert": quoted(tmp_path / "ca.pem"), "key_mgmt": "WPA-EAP"}
    password = {"password": quoted("her pass word"), "phase2": quoted("auth=MSCHAPV2")}
    certificate = {"client_cert": quoted(tmp_path / "bob.pem"), "private_key": quoted(tmp_path / "bob.key")}
    for method, more in (("TTLS", password), ("PEAP", password), ("TLS", certificate)):
        outcome = await supplicant.run({"eap": method} | trusted | more, identity="bob@other.example")
        assert outcome.succeeded, (method, outcome.said[-3000:])
        assert outcome.keys_match, method
    wrong = await supplicant.run(
        {"eap": "PEAP"} | trusted | password | {"password": quoted("no")}, identity="bob@other.example"
    )
    assert not wrong.succeeded
    counters = gateway.server.counters
    assert (counters.proxy_accepts, counters.proxy_rejects, counters.accepts, counters.failures) == (
        3,
        1,
        0,
        0,
    )
    assert server.counters.accepts == 3
    stop.set()
    await running
    await database.close()


FREERADIUS = """\
client gateway {{
    ipaddr = 127.0.0.1
    secret = "{secret}"
}}
modules {{
    files {{
        usersfile = {folder}/users
    }}
    pap {{
    }}
    chap {{
    }}
    mschap {{
        use_mppe = yes
    }}
    always ok {{
        rcode = ok
    }}
}}
server home {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {auth}
    }}
    listen {{
        type = acct
        ipaddr = 127.0.0.1
        port = {acct}
    }}
    authorize {{
        chap
        mschap
        files
        pap
    }}
    authenticate {{
        Auth-Type PAP {{
            pap
        }}
        Auth-Type CHAP {{
            chap
        }}
        Auth-Type MS-CHAP {{
            mschap
        }}
    }}
    accounting {{
        ok
    }}
    post-auth {{
        update reply {{
            Message-Authenticator = 0x00
        }}
        Post-Auth-Type REJECT {{
            update reply {{
                Message-Authenticator = 0x00
            }}
        }}
    }}
}}
"""


@needs_freeradius
async def test_freeradius_is_the_home_server(gateway: Gateway, tmp_path: Path) -> None:
    auth, acct = free_port(), free_port()
    folder = tmp_path / "fr"
    rest = FREERADIUS.format(secret=HOME_SECRET, folder=folder, auth=auth, acct=acct)
    users = 'bob@other.example Cleartext-Password := "her pass word"\n    Session-Timeout = 777,\n    Filter-Id = "x"\n'
    async with freeradius(folder, rest, users) as log:
        await gateway.home_server("home", auth, accounting_port=acct, timeout_ms=3_000)
        await gateway.realm()
        for method in ("User-Password", "CHAP-Password", "MS-CHAP-Password"):
            said = await radclient(
                gateway.server.ports[0], "auth", SECRET, "User-Name=bob@other.example",
                f'{method}="her pass word"', "Message-Authenticator=0x00",
            )  # fmt: skip
            assert "Received Access-Accept" in said, (method, log.read_text())
            assert "Session-Timeout = 777" in said
            assert "Filter-Id" not in said
            assert ("MS-MPPE" in said or "MS-CHAP-MPPE-Keys" in said) == (method == "MS-CHAP-Password")
        said = await radclient(
            gateway.server.ports[0], "auth", SECRET, "User-Name=bob@other.example", "User-Password=wrong",
            "Message-Authenticator=0x00",
        )  # fmt: skip
        assert "Received Access-Reject" in said
        said = await radclient(
            gateway.server.ports[1], "acct", SECRET, "User-Name=bob@other.example", "Acct-Status-Type=Start",
            'Acct-Session-Id="s-7"',
        )  # fmt: skip
        assert "Received Accounting-Response" in said
        await ingest_once(gateway.journal, gateway.world.workplace, gateway.world.sealer)
        sender = ReportSender(gateway.world.workplace, gateway.world.sealer)
        assert await sender.turn()
        assert not await sender.turn()
    assert gateway.server.counters.proxy_accepts == 3
    assert gateway.server.counters.failures == 0


@pytest.mark.parametrize("length", [0, 1, 17, 19, 33, 35, 240, 244])
def test_a_hidden_value_of_an_impossible_length_does_not_pass(length: int) -> None:
    hidden = [attribute(69, b"\x01" + bytes(length)), vendor_attribute(311, 16, bytes(length))]
    body = b"".join([*hidden, attribute(18, b"welcome")])
    reply = b"\x02\x01" + (20 + len(body)).to_bytes(2, "big") + bytes(16) + body
    nasward = Nasward(
        reply, reply, SharedSecret(b"one"), SharedSecret(b"two"), lambda: b"\x80\x01", None, bool
    )
    answer = answer_for_nas(reply, nasward)
    assert answer is not None
    assert answer.attributes == attribute(18, b"welcome")
