"""Discovery: decoders over vectors and hostile octets, and the whole over a veth pair in a namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.discovery import (
    DiscoveryRefused,
    MalformedAnnouncement,
    SeenDevice,
    decode_mndp,
    decode_ubiquiti,
    discover,
)

# RB4011 as a neighbour: header 0, sequence 7; MAC, identity, version, platform, uptime (LE), software id, board,
# unpack, interface, IPv4.
MNDP = bytes.fromhex("00000007") + b"".join(
    kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
    for kind, value in [
        (1, bytes.fromhex("488f5a000001")),
        (5, b"rb-red"),
        (7, b"7.16 (stable)"),
        (8, b"MikroTik"),
        (10, (3600).to_bytes(4, "little")),
        (11, b"AB12-CD34"),
        (12, b"RB4011iGS+"),
        (14, b"\x01"),
        (16, b"bridge/ether1"),
        (17, bytes((192, 0, 2, 7))),
    ]
)
_UBNT_FIELDS = b"".join(
    bytes((kind,)) + len(value).to_bytes(2, "big") + value
    for kind, value in [
        (0x02, bytes.fromhex("24a43c000002") + bytes((192, 0, 2, 8))),
        (0x01, bytes.fromhex("24a43c000002")),
        (0x03, b"XM.ar7240.v6.3.6"),
        (0x0A, (90).to_bytes(4, "big")),
        (0x0B, b"nano-8"),
        (0x0C, b"N5N"),
        (0x0D, b"hilltop-ap"),
        (0x14, b"NanoStation M5"),
    ]
)
UBIQUITI = b"\x01\x00" + len(_UBNT_FIELDS).to_bytes(2, "big") + _UBNT_FIELDS


def test_an_mndp_announcement() -> None:
    assert decode_mndp(MNDP) == SeenDevice(
        "mndp", "48:8f:5a:00:00:01", identity="rb-red", platform="MikroTik", board="RB4011iGS+",
        version="7.16 (stable)", ipv4="192.0.2.7", interface="bridge/ether1", software_id="AB12-CD34",
        uptime_s=3600,
    )  # fmt: skip


def test_a_ubiquiti_reply() -> None:
    assert decode_ubiquiti(UBIQUITI) == SeenDevice(
        "ubiquiti", "24:a4:3c:00:00:02", identity="nano-8", platform="N5N", board="NanoStation M5",
        version="XM.ar7240.v6.3.6", ipv4="192.0.2.8", essid="hilltop-ap", uptime_s=90,
    )  # fmt: skip


@pytest.mark.parametrize("question", [bytes(4), bytes((1, 0, 0, 0)), bytes((2, 8, 0, 0)), b""])
def test_our_own_questions_are_no_devices(question: bytes) -> None:
    with pytest.raises(MalformedAnnouncement):
        decode_mndp(question)
    with pytest.raises(MalformedAnnouncement):
        decode_ubiquiti(question)


@given(st.binary(max_size=400))
def test_arbitrary_octets_raise_only_the_decoders_own_error(octets: bytes) -> None:
    for decode in (decode_mndp, decode_ubiquiti):
        try:
            decode(octets)
        except MalformedAnnouncement:
            continue


@given(st.integers(0, len(MNDP)), st.binary(max_size=6), st.sampled_from([MNDP, UBIQUITI]))
def test_damaged_announcements_raise_only_the_decoders_own_error(at: int, junk: bytes, whole: bytes) -> None:
    damaged = whole[:at] + junk + whole[at + len(junk) :]
    decode = decode_mndp if whole is MNDP else decode_ubiquiti
    try:
        device = decode(damaged)
    except MalformedAnnouncement:
        return
    assert all(c.isprintable() for c in device.identity + device.board)


async def test_an_unknown_interface_is_refused_in_words() -> None:
    with pytest.raises(DiscoveryRefused, match="there is no interface 'nosuch0'"):
        await discover("nosuch0", listen_s=0.1)


def _why_not() -> str | None:
    if os.geteuid() != 0:
        return "needs root for a network namespace and packet sockets"
    if shutil.which("ip") is None:
        return "needs iproute2"
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True)
    return None if probe.returncode == 0 else "network namespaces are not allowed here"


WHY_NOT = _why_not()
NEAR, FAR, SPACE = f"hd{os.getpid() % 100000}a", "far0", f"hilltop-disc-{os.getpid()}"
# Devices on the far side: they answer questions with packets built here, octet by octet.
ANSWERER = textwrap.dedent(
    """
    import socket, sys
    answers = {5678: bytes.fromhex(sys.argv[1]), 10001: bytes.fromhex(sys.argv[2])}
    sockets = []
    for port in answers:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("", port))
        sockets.append(one)
    print("ready", flush=True)
    import select
    while True:
        for one in select.select(sockets, [], [])[0]:
            question, _ = one.recvfrom(2048)
            port = one.getsockname()[1]
            if len(question) <= 4:
                one.sendto(b"\\x00\\x00\\x00\\x00\\xff\\xff", ("255.255.255.255", port))  # rubbish first
                one.sendto(answers[port], ("255.255.255.255", port))
    """
)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def segment() -> Iterator[str]:
    """A veth pair with two devices at its far end; torn down whatever happens."""
    _ip("netns", "add", SPACE)
    answerer = None
    try:
        _ip("link", "add", NEAR, "type", "veth", "peer", "name", FAR, "netns", SPACE)
        _ip("addr", "add", "192.0.2.1/24", "dev", NEAR)
        _ip("link", "set", NEAR, "up")
        _ip("-n", SPACE, "addr", "add", "192.0.2.7/24", "dev", FAR)
        _ip("-n", SPACE, "link", "set", FAR, "up")
        _ip("-n", SPACE, "route", "add", "default", "dev", FAR)
        answerer = subprocess.Popen(
            ["ip", "netns", "exec", SPACE, sys.executable, "-c", ANSWERER, MNDP.hex(), UBIQUITI.hex()],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert answerer.stdout is not None
        assert answerer.stdout.readline().strip() == "ready"
        yield NEAR
    finally:
        if answerer is not None:
            answerer.kill()
            answerer.wait()
        subprocess.run(["ip", "link", "del", NEAR], capture_output=True)
        _ip("netns", "del", SPACE)


@pytest.mark.namespaces
@pytest.mark.skipif(WHY_NOT is not None, reason=f"discovery over a veth pair: {WHY_NOT}")
async def test_devices_on_a_segment_are_seen(segment: str) -> None:
    found = await discover(segment, listen_s=2.0)
    assert [(one.protocol, one.identity, one.source) for one in found] == [
        ("mndp", "rb-red", "192.0.2.7"),
        ("ubiquiti", "nano-8", "192.0.2.7"),
    ]
