"""RadSec over loopback: FreeRADIUS proxies to us over TLS, Python's ssl plays the NAS and its enemies."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from freeradius_peer import freeradius, needs_freeradius, radclient
from pyrad.packet import CoAPacket
from radius_world import World, accounting, free_port, octets, pap, reply_to, status, vendor
from sqlalchemy import select

from aaa.issue_certificate import (
    Issued,
    Order,
    issue_client_certificate,
    issue_nas_certificate,
    issue_server_certificate,
)
from aaa.make_authority import make_authority, trust_authority
from aaa.revoke_certificate import revoke_certificate
from aaa.set_up import change_nas
from aaa.store.tables import session
from core import pki
from core.clock import SystemClock
from core.ids import UlidSource
from core.refusal import granted
from core.store.tables import health_issue
from core.work import Workplace
from radius.accounting.ingest import ingest_once
from radius.config import RadiusSettings
from radius.dictionary.attributes import attribute_dictionary
from radius.dynauth.live_session import LiveSessions
from radius.radsec.server import RADSEC_ISSUE
from radius.serving.role import RadiusServer
from radius.watching.client import Connected, WatchedExchange, watch
from radius.watching.filter import WatchFilter

SECRET = "radsec"
PATIENCE_S = 10


@dataclass
class Tower:
    """A radius process that listens for TLS, an authority, and one NAS with a certificate."""

    world: World
    server: RadiusServer
    folder: Path
    journal: Path
    nas_id: str = ""
    service_id: str = ""
    chain: str = ""
    own: Path = field(default_factory=Path)

    async def do(self, act: Callable[..., Any], **given: Any) -> Any:
        async with self.world.workplace.work("test") as work:
            return granted(await act(work, self.world.sealer, **given))

    def keep(self, name: str, issued: Issued) -> Path:
        """Key and chain as a file, for a client."""
        assert issued.key is not None
        path = self.folder / f"{name}.pem"
        path.write_text(issued.key.reveal() + issued.certificate + issued.chain)
        return path

    async def settled(self) -> None:
        """Until the server has taken over everything that was written."""
        async with self.world.workplace.reading() as connection:
            from aaa.store.directory_rows import newest_change

            seq = await newest_change(connection)
        async with asyncio.timeout(PATIENCE_S):
            while self.server.status().directory_seq < seq:
                await asyncio.sleep(0.01)

    def context(self, certificate: Path | None, **versions: ssl.TLSVersion) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.chain)
        if certificate is not None:
            context.load_cert_chain(certificate)
        for name, version in versions.items():
            setattr(context, name, version)
        return context

    async def open(self, certificate: Path | None = None, **versions: ssl.TLSVersion) -> Line:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(
                "127.0.0.1", self.server.radsec_port, ssl=self.context(certificate or self.own, **versions),
                server_hostname="radius.example.net",
            ),
            PATIENCE_S,
        )  # fmt: skip
        return Line(reader, writer)

    async def is_turned_away(self, context: ssl.SSLContext) -> bool:
        """Whether a client with this context gets no answer to a right request."""
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(
                    "127.0.0.1", self.server.radsec_port, ssl=context, server_hostname="radius.example.net"
                ),
                PATIENCE_S,
            )
        except (ssl.SSLError, ConnectionError):
            return True
        try:
            writer.write(octets(pap("alice", "open sesame", secret=SECRET)))
            return await asyncio.wait_for(reader.read(1), PATIENCE_S) == b""
        except (ssl.SSLError, ConnectionError):
            return True
        finally:
            writer.close()


@dataclass
class Line:
    """One RadSec connection, seen from the NAS."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, packet: bytes) -> bytes:
        self.writer.write(packet)
        return await self.hear()

    async def hear(self) -> bytes:
        header = await asyncio.wait_for(self.reader.readexactly(4), PATIENCE_S)
        length = struct.unpack("!H", header[2:])[0]
        return header + await asyncio.wait_for(self.reader.readexactly(length - 4), PATIENCE_S)

    async def is_closed(self) -> bool:
        """Whether the server has ended it."""
        try:
            return await asyncio.wait_for(self.reader.read(1), PATIENCE_S) == b""
        except (ssl.SSLError, ConnectionError):
            return True

    @property
    def version(self) -> str:
        return str(self.writer.get_extra_info("ssl_object").version())


@pytest.fixture
async def tower(world: World, tmp_path: Path) -> AsyncIterator[Tower]:
    clock = SystemClock()
    world.workplace = Workplace(world.workplace.database, clock, UlidSource(clock))
    nas_id = await world.nas("ridge", "192.0.2.9", message_authenticator="require")
    service_id = await world.service("alice")
    journal = tmp_path / "journal" / "radius.sqlite"
    settings = RadiusSettings(
        auth_listen=["127.0.0.1:0"], accounting_listen=["127.0.0.1:0"], radsec_listen=["127.0.0.1:0"],
        reject_delay_s=0.05, directory_refresh_s=0.02, journal_commit_ms=2, radsec_connections_of_one=3,
        requests_per_s_of_source=0, requests_per_s_of_nas=0,
    )  # fmt: skip
    server = RadiusServer(settings, world.workplace, world.sealer, journal)
    made = Tower(world, server, tmp_path, journal, nas_id, service_id)
    await made.do(make_authority, name="Example", issuing=True)
    await made.do(issue_server_certificate, names=["radius.example.net"])
    issued = await made.do(issue_nas_certificate, nas_id=nas_id)
    made.chain, made.own = issued.chain, made.keep("own", issued)
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(server.run(stop, ready))
    await asyncio.wait_for(ready.wait(), 20)
    yield made
    stop.set()
    await running


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_one_connection_carries_sign_ins_reports_and_status(
    tower: Tower, version: ssl.TLSVersion
) -> None:
    line = await tower.open(minimum_version=version, maximum_version=version)
    asked = pap("alice", "open sesame", secret=SECRET)
    reply = reply_to(asked, await line.ask(octets(asked)))
    assert reply.code == 2
    assert vendor(reply, 14988, 8) == b"5M/25M"
    assert (await line.ask(octets(pap("alice", "wrong", secret=SECRET))))[0] == 3
    assert (await line.ask(octets(status(secret=SECRET))))[0] == 2
    report = accounting(secret=SECRET)
    assert (await line.ask(octets(report)))[0] == 5
    many = [octets(pap("alice", "open sesame", secret=SECRET, identifier=one)) for one in range(100, 140)]
    line.writer.write(b"".join(many))
    answers = [await line.hear() for _ in many]
    assert sorted(one[1] for one in answers) == list(range(100, 140))
    assert all(one[0] == 2 for one in answers)
    assert line.version == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    assert tower.server.status().radsec == {"ridge": 1}
    await ingest_once(tower.journal, tower.world.workplace, tower.world.sealer)
    async with tower.world.workplace.reading() as connection:
        [row] = (await connection.execute(select(session))).all()
    assert (row.nas_id, row.service_id) == (tower.nas_id, tower.service_id)
    line.writer.close()


async def test_it_is_watched_like_udp(tower: Tower) -> None:
    line = await tower.open()
    async with aclosing(
        watch(tower.journal.parent, WatchFilter(nas="ridge"), attribute_dictionary())
    ) as told:
        assert isinstance(await asyncio.wait_for(anext(told), PATIENCE_S), Connected)
        asked = {
            "Access-Accept": pap("alice", "open sesame", secret=SECRET),
            "Access-Reject": pap("alice", "wrong", secret=SECRET),
            "Accounting-Response": accounting(secret=SECRET),
        }
        for answer, packet in asked.items():
            await line.ask(octets(packet))
            seen = await asyncio.wait_for(anext(told), PATIENCE_S)
            assert isinstance(seen, WatchedExchange)
            assert (seen.nas, seen.answer) == ("ridge", answer)
            assert "ridge by RadSec, connection 1: Ac" in str(seen)
        assert seen.why == ""
        line.writer.write(octets(pap("alice", "open sesame", secret="another")))
        silent = await asyncio.wait_for(anext(told), PATIENCE_S)
        assert isinstance(silent, WatchedExchange)
        assert "signed with another secret" in silent.why
    line.writer.close()


async def test_octets_may_come_one_by_one(tower: Tower) -> None:
    line = await tower.open()
    packet = octets(pap("alice", "open sesame", secret=SECRET))
    for one in packet[:-1]:
        line.writer.write(bytes((one,)))
        await line.writer.drain()
    line.writer.write(packet[-1:])
    assert (await line.hear())[0] == 2
    line.writer.close()


@pytest.mark.parametrize(
    "garbage", [b"\x01\x01\x00\x13" + bytes(16), b"\x01\x01\x10\x01" + bytes(40), b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_what_cannot_be_a_packet_ends_the_connection(tower: Tower, garbage: bytes) -> None:
    line = await tower.open()
    line.writer.write(garbage)
    assert await line.is_closed()
    assert tower.server.counters.radsec_broken == 1
    line.writer.close()
    other = await tower.open()
    assert (await other.ask(octets(pap("alice", "open sesame", secret=SECRET))))[0] == 2
    other.writer.close()


async def test_a_malformed_packet_of_right_length_gets_silence_and_no_more(tower: Tower) -> None:
    line = await tower.open()
    broken = bytearray(octets(pap("alice", "open sesame", secret=SECRET)))
    broken[21] = 0  # an attribute without length
    line.writer.write(bytes(broken))
    assert (await line.ask(octets(status(secret=SECRET))))[0] == 2
    assert tower.server.counters.malformed == 1
    line.writer.close()


async def test_noise_in_right_frames_breaks_nothing(tower: Tower) -> None:
    dice, line = random.Random(2083), await tower.open()
    for _ in range(2_000):
        size = dice.choice((20, 21, 22, 38, 60, 300, 4_096))
        code = dice.choice((1, 4, 12, 40, 41, 43, 44, dice.randrange(256)))
        line.writer.write(
            bytes((code, dice.randrange(256))) + size.to_bytes(2, "big") + dice.randbytes(size - 4)
        )
    asked = pap("alice", secret=SECRET, identifier=1)
    line.writer.write(octets(asked))
    heard = await line.hear()
    while heard[1] != 1 or heard[0] != 2:  # unsigned requests that happen to be well formed are rejected
        heard = await line.hear()
    assert reply_to(asked, heard).code == 2
    counters = tower.server.counters
    assert (counters.failures, counters.accepts, counters.accounting, counters.radsec_broken) == (0, 1, 0, 0)
    assert counters.malformed > 300
    line.writer.close()


async def test_who_is_not_a_nas_is_turned_away(tower: Tower) -> None:
    device = tower.keep("device", await tower.do(issue_client_certificate, service_id=tower.service_id))
    now = tower.world.workplace.clock.now()
    key = pki.make_key("p256")
    foreign = pki.Issuer(pki.make_root("Foreign", key, now, 30), key)
    theirs = pki.issue(
        foreign, pki.Names("ridge", ("ridge",)), key.public_key(), use="client", now=now, days=3
    )
    wrong = tower.folder / "foreign.pem"
    wrong.write_text(pki.key_to_pem(key).reveal() + pki.to_pem(theirs, foreign.certificate))
    await tower.settled()
    old = tower.context(tower.own)
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    for context in (tower.context(None), tower.context(device), tower.context(wrong), old):
        assert await tower.is_turned_away(context)
    assert tower.server.counters.radsec_admitted == 0
    assert tower.server.counters.radsec_refused == 4
    assert tower.server.counters.accepts == 0
    [why] = tower.server.status().radsec_refused.values()
    assert "no certificate" in why  # the first is told, the others within the minute are counted
    # the foreign authority is trusted for NASes: now the name in its certificate decides
    async with tower.world.workplace.work("test") as work:
        text = pki.to_pem(foreign.certificate).encode()
        granted(await trust_authority(work, name="Foreign", certificate=text, uses=["nas"]))
    await tower.settled()
    line = await tower.open(wrong)
    assert (await line.ask(octets(pap("alice", "open sesame", secret=SECRET))))[0] == 2
    line.writer.close()
    pinned = "sha256:" + pki.fingerprint(pki.to_der(theirs)).hex()
    await tower.do(change_nas, nas_id=tower.nas_id, radsec_identity=pinned)
    await tower.settled()
    assert not await tower.is_turned_away(tower.context(wrong))
    assert await tower.is_turned_away(tower.context(tower.own))  # the name counts no more


async def test_a_revoked_certificate_ends_what_is_open_and_opens_nothing(tower: Tower) -> None:
    line = await tower.open()
    assert (await line.ask(octets(status(secret=SECRET))))[0] == 2
    serial = f"{pki.read_certificates(tower.own.read_bytes())[0].serial_number:x}"
    await tower.do(revoke_certificate, certificate=serial)
    assert await line.is_closed()
    assert await tower.is_turned_away(tower.context(tower.own))


async def test_our_own_certificate_is_replaced_while_connections_live(tower: Tower) -> None:
    before = await tower.open()
    rsa = await tower.do(issue_server_certificate, names=["radius.example.net"])
    await tower.settled()
    after = await tower.open()
    shown = [
        pki.read_certificates(one.writer.get_extra_info("ssl_object").getpeercert(binary_form=True))[0]
        for one in (before, after)
    ]
    assert shown[0] != shown[1]
    assert pki.to_pem(shown[1]) == rsa.certificate
    assert (await before.ask(octets(status(secret=SECRET))))[0] == 2
    for one in (before, after):
        one.writer.close()


async def s_client(tower: Tower, *more: str | Path) -> str:
    """What ``openssl s_client`` says of us, with the NAS's certificate."""
    (tower.folder / "ca.pem").write_text(tower.chain)
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{tower.server.radsec_port}", "-cert", tower.own, "-key",
        tower.own, "-CAfile", tower.folder / "ca.pem", "-verify_hostname", "radius.example.net",
        "-verify_return_error", *more,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return said.decode(errors="replace")


async def test_openssl_verifies_us_and_gets_the_certificate_it_can_read(tower: Tower) -> None:
    await tower.do(issue_server_certificate, names=["radius.example.net"], order=Order(key_type="rsa2048"))
    await tower.settled()
    usual = await s_client(tower, "-tls1_3")
    old = await s_client(tower, "-tls1_2", "-sigalgs", "RSA+SHA256:ECDSA+SHA256", "-cipher", "aRSA")
    for said in (usual, old):
        assert "Verify return code: 0 (ok)" in said, said
    assert "Peer signature type: ECDSA" in usual
    assert "Peer signature type: RSA" in old
    assert "Reused" not in await s_client(tower, "-tls1_3", "-reconnect")


async def test_a_resumed_session_of_a_revoked_certificate_is_refused(tower: Tower) -> None:
    kept = tower.folder / "session"
    await s_client(tower, "-tls1_2", "-sess_out", kept)
    assert "Reused" in await s_client(tower, "-tls1_2", "-sess_in", kept)
    admitted = tower.server.counters.radsec_admitted
    serial = f"{pki.read_certificates(tower.own.read_bytes())[0].serial_number:x}"
    await tower.do(revoke_certificate, certificate=serial)
    await tower.settled()
    assert "Reused" in await s_client(tower, "-tls1_2", "-sess_in", kept)
    assert tower.server.counters.radsec_admitted == admitted
    assert "is revoked" in next(iter(tower.server.status().radsec_refused.values()))


async def test_a_nas_has_so_many_connections_and_no_more(tower: Tower) -> None:
    lines = [await tower.open() for _ in range(3)]
    for one in lines:
        assert (await one.ask(octets(status(secret=SECRET))))[0] == 2
    assert await tower.is_turned_away(tower.context(tower.own))
    lines[0].writer.close()
    async with asyncio.timeout(PATIENCE_S):
        while tower.server.status().radsec.get("ridge") == 3:
            await asyncio.sleep(0.01)
    assert not await tower.is_turned_away(tower.context(tower.own))
    for one in lines:
        one.writer.close()


async def test_strangers_that_say_nothing_hold_few_places_and_not_for_long(
    tower: Tower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radius.radsec.connection._HANDSHAKE_S", 0.3)
    silent = [socket.create_connection(("127.0.0.1", tower.server.radsec_port)) for _ in range(12)]
    async with asyncio.timeout(PATIENCE_S):
        while tower.server.counters.radsec_full < 4:  # eight of one address may wait
            await asyncio.sleep(0.01)
        while tower.server.counters.radsec_timed_out < 8:
            await asyncio.sleep(0.01)
        for one in silent:  # beside the loop, which has yet to close what it has counted
            assert await asyncio.to_thread(one.recv, 1) == b""
            one.close()
    assert not await tower.is_turned_away(tower.context(tower.own))


async def test_who_comes_again_and_again_keeps_no_other_address_out(tower: Tower) -> None:
    port, counters = tower.server.radsec_port, tower.server.counters
    for _ in range(200):  # a worker begins a hundred handshakes in a second
        _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.9", 0))
        writer.close()
    async with asyncio.timeout(PATIENCE_S):
        while counters.radsec_full < 140:
            await asyncio.sleep(0.01)
    line = await tower.open()
    asked = pap("alice", "open sesame", secret=SECRET)
    assert reply_to(asked, await line.ask(octets(asked))).code == 2


async def test_half_a_packet_is_not_waited_for_for_ever(
    tower: Tower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radius.radsec.connection._HALF_PACKET_S", 0.3)
    line = await tower.open()
    assert (await line.ask(octets(status(secret=SECRET))))[0] == 2
    line.writer.write(octets(pap("alice", "open sesame", secret=SECRET))[:30])
    assert await line.is_closed()
    assert tower.server.counters.radsec_timed_out == 1
    line.writer.close()


async def test_who_reads_no_answers_is_read_from_no_more(tower: Tower) -> None:
    packet, most = octets(status(secret=SECRET)), 200_000

    def flood() -> tuple[int, bytes]:
        """Requests without end and no look at the answers, until nobody takes them; then all that wait."""
        with socket.socket() as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            wire.connect(("127.0.0.1", tower.server.radsec_port))
            wire.settimeout(1)
            context = tower.context(tower.own)
            with context.wrap_socket(wire, server_hostname="radius.example.net") as line:
                sent = 0
                try:
                    while sent < most:
                        line.sendall(packet * 100)
                        sent += 100
                except TimeoutError:
                    pass
                return sent, line.recv(4)

    sent, first = await asyncio.to_thread(flood)
    assert sent < most  # TCP held it back
    assert tower.server.counters.status < sent
    assert first[0] == 2


async def test_a_full_disk_holds_the_reports_back_and_loses_none(
    tower: Tower, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = await tower.open()
    journal = tower.server._journal
    assert journal is not None
    append, refused = journal.append, 0

    def full(record: Any, answer: Any) -> bool:
        nonlocal refused
        if refused < 3:
            refused += 1
            return False
        return append(record, answer)

    monkeypatch.setattr(journal, "append", full)
    line.writer.write(
        b"".join(octets(accounting(f"s-{one}", secret=SECRET, identifier=one)) for one in range(9))
    )
    answers = [await line.hear() for _ in range(9)]
    assert sorted(one[1] for one in answers) == list(range(9))
    assert refused == 3
    assert tower.server.counters.accounting == 9
    line.writer.close()


async def test_orders_go_back_over_the_connection_that_the_nas_opened(tower: Tower) -> None:
    line = await tower.open()
    for one in ("s-1", "s-2"):
        assert (await line.ask(octets(accounting(one, secret=SECRET, identifier=ord(one[-1])))))[0] == 5
    await ingest_once(tower.journal, tower.world.workplace, tower.world.sealer)
    sessions = LiveSessions(tower.world.workplace, tower.world.sealer, RadiusSettings())
    heard: list[CoAPacket] = []

    async def obey(code: int, **attributes: bytes) -> None:
        asked = CoAPacket(secret=SECRET.encode(), packet=await line.hear())
        assert asked.VerifyCoARequest()
        assert asked.verify_message_authenticator()
        heard.append(asked)
        reply = asked.CreateReply()
        reply.code = code
        for kind, value in attributes.items():
            reply[int(kind.removeprefix("a"))] = [value]
        line.writer.write(bytes(reply.ReplyPacket()))

    async with asyncio.timeout(PATIENCE_S):  # the door opens within a second
        while not (await _moved(sessions, tower, obey)).startswith("moved"):
            await asyncio.sleep(0.05)
    assert heard[-1].code == 43
    assert heard[-1][1] == [b"alice"]
    assert 4 not in heard[-1]  # nobody knows what it calls itself
    async with tower.world.workplace.reading() as connection:
        first, second = [
            row.id for row in (await connection.execute(select(session).order_by(session.c.key))).all()
        ]
    ended, _ = await asyncio.gather(sessions.disconnect(first, "test"), obey(41))
    assert (ended.outcome, heard[-1].code) == ("disconnected", 40)
    gone, _ = await asyncio.gather(
        sessions.disconnect(second, "test"), obey(42, a101=(503).to_bytes(4, "big"))
    )
    assert gone.outcome == "nothing_live"
    wrong = CoAPacket(code=41, id=heard[-1].id, secret=SECRET.encode(), authenticator=bytes(16))
    line.writer.write(bytes(wrong.ReplyPacket()))  # nobody waits for it
    assert (await line.ask(octets(status(secret=SECRET))))[0] == 2
    assert tower.server.counters.unexpected_code == 1
    line.writer.close()
    async with asyncio.timeout(PATIENCE_S):
        while tower.server.status().radsec:
            await asyncio.sleep(0.01)
    alone = await sessions.disconnect(first, "test")
    assert alone.outcome == "silent"
    assert "no RadSec connection open" in alone.detail


async def _moved(sessions: LiveSessions, tower: Tower, obey: Callable[..., Any]) -> str:
    """What became of moving all sessions; both are answered when they are asked at all."""
    acks = asyncio.create_task(_twice(obey))
    found = await sessions.move(tower.service_id, 2, "throttle")
    if found.outcome != "moved":
        acks.cancel()
        return found.detail
    await acks
    return "moved"


async def _twice(obey: Callable[..., Any]) -> None:
    await obey(44)
    await obey(44)


async def test_radsec_without_a_certificate_is_on_the_health_page(world: World, tmp_path: Path) -> None:
    clock = SystemClock()
    world.workplace = Workplace(world.workplace.database, clock, UlidSource(clock))
    settings = RadiusSettings(
        auth_listen=["127.0.0.1:0"], accounting_listen=[], radsec_listen=["127.0.0.1:0"],
        directory_refresh_s=0.02, reject_record_s=0.02,
    )  # fmt: skip
    server = RadiusServer(settings, world.workplace, world.sealer, tmp_path / "j" / "radius.sqlite")
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(server.run(stop, ready))

    async def until_told(wanted: bool) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                async with world.workplace.reading() as connection:
                    rows = await connection.execute(
                        select(health_issue).where(health_issue.c.closed_at.is_(None))
                    )
                    if (RADSEC_ISSUE.key in {row.key for row in rows}) == wanted:
                        return
                await asyncio.sleep(0.02)

    await until_told(True)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        reader, _ = await asyncio.open_connection("127.0.0.1", server.radsec_port)
        await reader.readexactly(1)
    async with world.workplace.work("test") as work:
        granted(await make_authority(work, world.sealer, name="Example"))
        granted(await issue_server_certificate(work, world.sealer, names=["radius.example.net"]))
    await until_told(False)
    stop.set()
    await running


PROXY = """\
home_server hilltop {{
    type = auth+acct
    ipaddr = 127.0.0.1
    port = {radsec}
    proto = tcp
    secret = radsec
    response_window = 10
    status_check = none
    tls {{
        private_key_file = {own}
        certificate_file = {own}
        ca_file = {ca}
        tls_min_version = "{version}"
        tls_max_version = "{version}"
        cipher_list = "DEFAULT"
        fragment_size = 8192
    }}
}}
home_server_pool hilltop {{
    home_server = hilltop
}}
realm hilltop {{
    auth_pool = hilltop
    acct_pool = hilltop
    nostrip
}}
client local {{
    ipaddr = 127.0.0.1
    secret = testing123
}}
modules {{
}}
server default {{
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
        update control {{
            Proxy-To-Realm := hilltop
        }}
    }}
    preacct {{
        update control {{
            Proxy-To-Realm := hilltop
        }}
    }}
}}
"""


@needs_freeradius
@pytest.mark.parametrize("version", ["1.2", "1.3"])
async def test_freeradius_proxies_to_us_over_tls(tower: Tower, version: str) -> None:
    auth, acct = free_port(), free_port()
    ca = tower.folder / "ca.pem"
    ca.write_text(tower.chain)
    rest = PROXY.format(
        radsec=tower.server.radsec_port, own=tower.own, ca=ca, auth=auth, acct=acct, version=version
    )
    async with freeradius(tower.folder / "fr", rest) as log:
        said = await radclient(auth, "auth", "testing123", "User-Name=alice", 'User-Password="open sesame"')
        assert "Received Access-Accept" in said, log.read_text()
        assert 'Mikrotik-Rate-Limit = "5M/25M"' in said
        said = await radclient(auth, "auth", "testing123", "User-Name=alice", "User-Password=wrong")
        assert "Received Access-Reject" in said
        said = await radclient(
            acct, "acct", "testing123", "User-Name=alice", "Acct-Status-Type=Start", 'Acct-Session-Id="s-7"'
        )
        assert "Received Accounting-Response" in said, log.read_text()
    assert tower.server.counters.radsec_admitted >= 1
    assert tower.server.counters.accounting == 1
    assert tower.server.counters.failures == 0
