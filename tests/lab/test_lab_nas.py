"""The lab's NAS against FreeRADIUS and radclient: neither shares a line with it or with the product."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from witness_freeradius import SECRET, FreeRadius, freeradius

from core.clock import FakeClock
from lab import mschap
from lab.nas import LabNas, LabSession, RejectedDial, mac_as_client_id
from lab.radius_wire import RadiusServer, hide_password

needs_freeradius = pytest.mark.skipif(
    shutil.which("freeradius") is None and not Path("/usr/sbin/freeradius").exists(),
    reason="FreeRADIUS is not installed (Debian package freeradius)",
)
needs_radclient = pytest.mark.skipif(
    shutil.which("radclient") is None, reason="radclient is not installed (Debian package freeradius-utils)"
)


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadius]:
    with freeradius(tmp_path_factory.mktemp("freeradius")) as server:
        yield server


@pytest.fixture
async def nas(witness: FreeRadius, clock: FakeClock) -> AsyncIterator[LabNas]:
    servers = [RadiusServer("127.0.0.1", witness.auth_port, witness.acct_port)]
    one = LabNas("tower-1", "127.0.0.21", servers, SECRET, clock=clock, coa_port=0, timeout_s=2.0)
    await one.start()
    yield one
    await one.stop()


async def dialled(nas: LabNas, method: str = "pap") -> LabSession:
    session = await nas.dial("anna", "correct horse", method, mac="02:00:00:00:00:07")  # type: ignore[arg-type]
    assert isinstance(session, LabSession), session
    return session


def test_md4_gives_the_vectors_of_rfc_1320() -> None:
    assert mschap.md4(b"").hex() == "31d6cfe0d16ae931b73c59d7e0c089c0"
    assert mschap.md4(b"message digest").hex() == "d9130a8164549fe818874806e1c7014b"
    assert mschap.md4(b"1234567890" * 8).hex() == "e33b4ddc9c38f2199c3e7b164fcc0536"


def test_mschapv2_gives_the_example_of_rfc_2759_section_9_2() -> None:
    authenticator = bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628")
    peer = bytes.fromhex("21402324255E262A28295F2B3A337C7E")
    response = mschap.chap2_response(authenticator, peer, "User", "clientPass", 0)
    assert response[26:].hex().upper() == "82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF"
    proof = mschap.server_proof(response, authenticator, "User", "clientPass")
    assert proof == b"S=407A5589115FD0D6209F510FE9C04566932CDA56"


def test_an_empty_password_is_sixteen_octets_on_the_wire() -> None:
    assert len(hide_password("", b"secret", bytes(16))) == 16
    assert len(hide_password("x" * 16, b"secret", bytes(16))) == 16
    assert len(hide_password("x" * 17, b"secret", bytes(16))) == 32


def test_a_lease_writes_its_mac_as_mikrotik_does() -> None:
    assert mac_as_client_id("00:E1:0C:38:C8:F8") == "1:0:e1:c:38:c8:f8"


@needs_freeradius
@pytest.mark.parametrize("method", ["pap", "chap", "mschap", "mschapv2"])
async def test_freeradius_accepts_each_method_and_the_nas_obeys_the_accept(nas: LabNas, method: str) -> None:
    session = await dialled(nas, method)
    assert session.framed_ip == "100.64.7.7"
    assert session.rates_bps() == (25_000_000, 5_000_000)
    assert session.address_lists == {"hilltop-walled"}
    assert session.interim_interval_s == 300
    assert session.class_values == [b"hilltop-class"]


@needs_freeradius
@pytest.mark.parametrize("method", ["pap", "chap", "mschap", "mschapv2"])
async def test_freeradius_rejects_a_wrong_password(nas: LabNas, method: str) -> None:
    refused = await nas.dial("anna", "wrong horse", method)  # type: ignore[arg-type]
    assert isinstance(refused, RejectedDial)
    assert refused.answered
    assert nas.sessions == []


@needs_freeradius
async def test_a_lease_signs_in_by_its_mac_and_gets_an_address_of_the_pool(nas: LabNas) -> None:
    session = await nas.dial("", "", "mac", mac="02:00:00:00:00:0a")
    assert isinstance(session, LabSession)
    assert session.username == "02:00:00:00:00:0A"
    assert session.framed_ip == "100.64.0.1"


@needs_freeradius
async def test_accounting_carries_gigawords_class_and_times(
    nas: LabNas, clock: FakeClock, witness: FreeRadius
) -> None:
    session = await dialled(nas)
    clock.advance(timedelta(minutes=5))
    session.transfer(down=3 * 2**32 + 7, up=2**32 - 1)
    assert await session.interim()
    clock.advance(timedelta(minutes=5))
    session.transfer(down=1000, up=1)
    assert await session.stop("User-Request")
    told = [record for record in witness.accounted() if record["Acct-Session-Id"] == [session.session_id]]
    start, interim, stop = [record for record in told if record["NAS-IP-Address"] == ["127.0.0.21"]][-3:]
    assert start["Acct-Status-Type"] == ["Start"]
    assert interim["Acct-Output-Gigawords"] == ["3"]
    assert interim["Acct-Output-Octets"] == ["7"]
    assert interim["Acct-Input-Octets"] == [str(2**32 - 1)]
    assert interim["Acct-Session-Time"] == ["300"]
    assert stop["Acct-Input-Gigawords"] == ["1"]
    assert stop["Acct-Input-Octets"] == ["0"]
    assert stop["Acct-Terminate-Cause"] == ["User-Request"]
    assert {record["Class"][0] for record in (start, interim, stop)} == {"0x68696c6c746f702d636c617373"}
    assert "Mar 10 2026 12:10:00" in stop["Event-Timestamp"][0]


@needs_freeradius
async def test_the_quirks_reverse_the_octets_and_wrap_without_gigawords(
    nas: LabNas, witness: FreeRadius
) -> None:
    session = await dialled(nas)
    nas.octets_reversed = True
    nas.sends_gigawords = False
    session.transfer(down=2**32 + 5, up=9)
    await session.interim()
    told = witness.accounted()[-1]
    assert told["Acct-Input-Octets"] == ["5"]
    assert told["Acct-Output-Octets"] == ["9"]
    assert "Acct-Input-Gigawords" not in told


@needs_freeradius
async def test_a_stop_may_carry_no_counters_and_a_reboot_tells_no_stop(
    nas: LabNas, witness: FreeRadius
) -> None:
    session = await dialled(nas)
    await session.stop(counters=False)
    assert "Acct-Input-Octets" not in witness.accounted()[-1]
    lost = await dialled(nas)
    await nas.reboot(announce=True)
    assert not lost.live
    assert nas.sessions == []
    assert witness.accounted()[-1]["Acct-Status-Type"] == ["Accounting-On"]
    assert (await dialled(nas)).session_id != lost.session_id


class SilentThenAnswering(asyncio.DatagramProtocol):
    """A server that hears everything and answers accounting only from the n-th request on."""

    def __init__(self, silent: int) -> None:
        self.heard: list[bytes] = []
        self._silent = silent

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.append(data)
        if len(self.heard) > self._silent:
            import hashlib

            head = bytes((5, data[1], 0, 20))
            self.transport.sendto(head + hashlib.md5(head + data[4:20] + SECRET.encode()).digest(), addr)


async def listening(silent: int) -> tuple[SilentThenAnswering, int]:
    server = SilentThenAnswering(silent)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0)
    )
    return server, transport.get_extra_info("sockname")[1]


def attribute(packet: bytes, number: int) -> bytes | None:
    at = 20
    while at < len(packet):
        if packet[at] == number:
            return packet[at + 2 : at + packet[at + 1]]
        at += packet[at + 1]
    return None


async def test_an_access_request_is_retransmitted_octet_for_octet(clock: FakeClock) -> None:
    server, port = await listening(silent=99)
    nas = LabNas("n", "127.0.0.22", [RadiusServer("127.0.0.1", port, port)], SECRET, clock=clock, coa_port=0,
                 timeout_s=0.02, tries=3)  # fmt: skip
    await nas.start()
    refused = await nas.dial("anna", "x", "chap")
    assert isinstance(refused, RejectedDial)
    assert not refused.answered
    assert len(server.heard) == 3
    assert len(set(server.heard)) == 1
    assert attribute(server.heard[0], 80) is not None
    await nas.stop()


async def test_an_accounting_retry_is_a_new_packet_with_more_delay(clock: FakeClock) -> None:
    server, port = await listening(silent=3)
    nas = LabNas("n", "127.0.0.23", [RadiusServer("127.0.0.1", port, port)], SECRET, clock=clock, coa_port=0,
                 timeout_s=0.02, tries=3)  # fmt: skip
    await nas.start()
    assert not await nas.accounting_on()
    assert len(nas.unacknowledged) == 1
    clock.advance(timedelta(seconds=40))
    assert await nas.resend() == 1
    assert nas.unacknowledged == []
    assert len({packet[1] for packet in server.heard}) == 4, "each try has an identifier of its own"
    delays = [int.from_bytes(attribute(packet, 41) or b"", "big") for packet in server.heard]
    assert delays == [0, 0, 0, 40]
    assert len({attribute(packet, 55) for packet in server.heard}) == 1, "the event's own time does not move"
    await nas.stop()


async def test_a_forged_answer_is_no_answer(clock: FakeClock) -> None:
    server, port = await listening(silent=0)
    nas = LabNas("n", "127.0.0.24", [RadiusServer("127.0.0.1", port, port)], "another secret", clock=clock,
                 coa_port=0, timeout_s=0.02, tries=1)  # fmt: skip
    await nas.start()
    assert not await nas.accounting_on()
    assert nas.wire.counters.forged == 1
    await nas.stop()
    server.transport.close()


async def radclient(nas: LabNas, kind: str, *pairs: str, secret: str = SECRET) -> str:
    """Send one request; all that radclient printed."""
    process = await asyncio.create_subprocess_exec(
        "radclient", "-x", "-r", "1", "-t", "1", f"{nas.source_address}:{nas.coa_port}", kind, secret,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate(",".join(pairs).encode())
    return output.decode()


@needs_freeradius
@needs_radclient
async def test_radclient_changes_a_live_session_by_coa(nas: LabNas) -> None:
    session = await dialled(nas)
    heard = await radclient(
        nas, "coa", 'User-Name="anna"', f'Acct-Session-Id="{session.session_id}"', "Framed-IP-Address=100.64.7.7",
        'Mikrotik-Rate-Limit="64k/128k"', 'Mikrotik-Address-List="walled"', "Message-Authenticator=0x00",
    )  # fmt: skip
    assert "Received CoA-ACK" in heard
    assert session.rates_bps() == (128_000, 64_000)
    assert session.address_lists == {"walled"}


@needs_freeradius
@needs_radclient
async def test_radclient_disconnects_and_the_stop_follows(nas: LabNas, witness: FreeRadius) -> None:
    session = await dialled(nas)
    heard = await radclient(nas, "disconnect", f'Acct-Session-Id="{session.session_id}"', 'User-Name="anna"')
    assert "Received Disconnect-ACK" in heard
    assert not session.live
    while nas.unacknowledged:
        await asyncio.sleep(0.01)
    assert witness.accounted()[-1]["Acct-Terminate-Cause"] == ["Admin-Reset"]


@needs_freeradius
@needs_radclient
@pytest.mark.parametrize(
    ("pairs", "cause"),
    [
        (('Acct-Session-Id="nobody"',), "Session-Context-Not-Found"),
        (('Mikrotik-Rate-Limit="1M/1M"',), "Missing-Attribute"),
        (('User-Name="anna"', "NAS-IP-Address=127.9.9.9"), "NAS-Identification-Mismatch"),
    ],
)
async def test_refused_coa_says_why(nas: LabNas, pairs: tuple[str, ...], cause: str) -> None:
    await dialled(nas)
    heard = await radclient(nas, "coa", *pairs)
    assert "Received CoA-NAK" in heard
    assert cause in heard


@needs_freeradius
@needs_radclient
async def test_the_modes_of_a_difficult_nas(nas: LabNas) -> None:
    session = await dialled(nas)
    nas.coa_mode = "nak"
    assert "Administratively-Prohibited" in await radclient(nas, "disconnect", 'User-Name="anna"')
    nas.coa_mode = "lying"
    assert "Received Disconnect-ACK" in await radclient(nas, "disconnect", 'User-Name="anna"')
    assert session.live, "an ACK does not prove that the user is gone"
    nas.coa_mode = "silent"
    assert "No reply" in await radclient(nas, "disconnect", 'User-Name="anna"')
    nas.coa_mode = "obey"
    assert "No reply" in await radclient(nas, "disconnect", 'User-Name="anna"', secret="not the secret")
    assert session.live
