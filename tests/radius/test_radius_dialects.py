"""What each dialect says, read by FreeRADIUS's own dictionaries (radclient) and by pyrad, from the real server."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.dictionary import Dictionary
from pyrad.packet import AuthPacket
from radius_world import SECRET, World, octets, pap
from sqlalchemy import select
from test_radius_role import Serving, needs_radclient, serving  # noqa: F401 - the fixture

from aaa.directory import Directory
from aaa.domain import checks
from aaa.domain.effect import Effect
from aaa.domain.profile import AccessPolicy, Profile, SessionTerms, terms_of
from aaa.set_addressing import set_addressing
from aaa.set_up import change_nas, change_profile
from aaa.store.tables import directory_change
from radius.dialects.attributes import ipv6_prefix, kbit
from radius.dialects.known import DIALECTS, change_attributes, dialect_named, terms_attributes
from radius.dialects.mikrotik import rate_limit
from radius.dictionary.attributes import attribute_dictionary
from radius.packet.codec import parse
from radius.reply.rendering import Renderings

BOOK = attribute_dictionary()

FULL: dict[str, Any] = {
    "rate_down_bps": 25_000_000, "rate_up_bps": 5_000_500, "burst_down_bps": 50_000_000,
    "burst_up_bps": 10_000_000, "burst_seconds": 8, "session_timeout_s": 86_400, "idle_timeout_s": 600,
    "ipv6_pool": "link6", "delegated_pool": "homes6", "vlan": 210, "outer_vlan": 3001, "filter_id": "kids",
    "router_group": "gold", "priority": 2, "min_down_bps": 2_000_000, "min_up_bps": 1_000_000,
    "pool": "unused",
}  # fmt: skip

STANDARD = [
    "Session-Timeout = 86400", "Idle-Timeout = 600",
    "Framed-IP-Address = 203.0.113.10", "Framed-IP-Netmask = 255.255.255.252",
    'Framed-Route = "198.51.100.8/29 0.0.0.0 1"', 'Framed-IPv6-Route = "2001:db8:77::/48 2001:db8::1 5"',
    "Framed-IPv6-Prefix = 2001:db8:1::/64", "Framed-IPv6-Address = 2001:db8:1::1",
    "Delegated-IPv6-Prefix = 2001:db8:f00::/56",
]  # fmt: skip
POOLS = ['Framed-IPv6-Pool = "link6"', 'Delegated-IPv6-Prefix-Pool = "homes6"']
TUNNEL = [
    "Tunnel-Type:1 = VLAN", "Tunnel-Medium-Type:1 = IEEE-802", 'Tunnel-Private-Group-Id:1 = "3001.210"',
]  # fmt: skip
WISPR = [
    "WISPr-Bandwidth-Max-Up = 5000500", "WISPr-Bandwidth-Max-Down = 25000000",
    "WISPr-Bandwidth-Min-Up = 1000000", "WISPr-Bandwidth-Min-Down = 2000000",
]  # fmt: skip
RADIO = ["Session-Timeout = 86400", "Idle-Timeout = 600"]

SAID: dict[str, list[str]] = {
    "mikrotik": [
        'Mikrotik-Rate-Limit = "5000500/25M 10M/50M 5000500/25M 8/8 2 1M/2M"',
        'Mikrotik-Address-List = "kids"', 'Mikrotik-Group = "gold"', 'Framed-IPv6-Pool = "link6"',
        'Mikrotik-Delegated-IPv6-Pool = "homes6"', "Mikrotik-Wireless-VLANID = 210",
        "Mikrotik-Wireless-VLANID-Type = 802.1q", *TUNNEL, *STANDARD,
    ],
    "wispr": [*WISPR, 'Filter-Id = "kids"', *POOLS, *TUNNEL, *STANDARD],
    "ubiquiti": [  # FreeRADIUS 3.2 has no dictionary for 41112
        "Attr-26.41112.1 = 0x00000000017d7840", "Attr-26.41112.3 = 0x00000000004c4d34",
        "Attr-26.41112.2 = 0x0000000002faf080", "Attr-26.41112.4 = 0x0000000000989680",
        *WISPR, 'Filter-Id = "kids"', *POOLS, *TUNNEL, *STANDARD,
    ],
    "cambium_epmp": [
        "Cambium-ePMP-Max-Burst-Uplink-Rate = 10000", "Cambium-ePMP-Max-Burst-Downlink-Rate = 50000",
        "Cambium-ePMP-Data-VLAN-Id = 210", "Cambium-ePMP-SM-Priority = High", *RADIO,
    ],
    "cambium_pmp450": [
        "Motorola-Canopy-ULBR = 5001", "Motorola-Canopy-ULBL = 39996", "Motorola-Canopy-DLBR = 25000",
        "Motorola-Canopy-DLBL = 200000", "Motorola-Canopy-HPENABLE = Enable", "Motorola-Canopy-HPULCIR = 1000",
        "Motorola-Canopy-HPDLCIR = 2000", "Motorola-Canopy-VLIGVID = 210", *RADIO,
    ],
    "cisco": [
        'Cisco-AVPair = "ip:sub-qos-policy-in=hilltop-up-5000500"',
        'Cisco-AVPair = "ip:sub-qos-policy-out=hilltop-down-25M"', 'Filter-Id = "kids.in"',
        'Cisco-Account-Info = "Agold"', *POOLS, *TUNNEL, *STANDARD,
    ],
    "juniper": [
        'ERX-Egress-Policy-Name = "hilltop-down-25M"', 'ERX-IPv6-Egress-Policy-Name = "hilltop-down-25M"',
        'ERX-Ingress-Policy-Name = "kids"', 'ERX-IPv6-Ingress-Policy-Name = "kids"',
        'ERX-Virtual-Router-Name = "gold"', 'Framed-IPv6-Pool = "link6"',
        'ERX-IPv6-Delegated-Pool-Name = "homes6"', *TUNNEL, *STANDARD,
    ],
    "accel_ppp": ['Filter-Id = "25000/5001"', *POOLS, *TUNNEL, *STANDARD],
    "generic": ['Filter-Id = "kids"', *POOLS, *TUNNEL, *STANDARD],
}  # fmt: skip


async def _newest_change(world: World) -> int:
    async with world.workplace.reading() as connection:
        return max((await connection.execute(select(directory_change.c.seq))).scalars())


async def _speak(serving: Serving, nas_id: str, dialect: str) -> None:  # noqa: F811
    async with serving.world.workplace.work("test") as work:
        assert await change_nas(work, serving.world.sealer, nas_id, dialect=dialect) is None
    await serving.settled(await _newest_change(serving.world))


@needs_radclient
async def test_freeradius_reads_every_dialect_as_it_was_meant(serving: Serving) -> None:  # noqa: F811
    world = serving.world
    await world.profile("Full", **FULL)
    service_id = await world.service("berta", profile="Full", framed_ip="203.0.113.10")
    async with world.workplace.work("test") as work:
        assert (
            await set_addressing(
                work, service_id, netmask_bits=30, ipv6_prefix="2001:db8:1::/64", ipv6_address="2001:DB8:1::1",
                delegated_prefix="2001:db8:f00::/56",
                routes=["198.51.100.8/29", "2001:db8:77::/48 2001:db8::1 5"],
            )
            is None
        )  # fmt: skip
    async with world.workplace.reading() as connection:
        directory = await Directory.load(connection, world.sealer)
    assert set(SAID) == set(DIALECTS) == set(checks.DIALECTS)
    for dialect, expected in SAID.items():
        await _speak(serving, directory.nases[0].id, dialect)
        said = await serving.radclient(
            "auth", "User-Name = berta", 'User-Password = "open sesame"', "Message-Authenticator = 0x00"
        )
        assert "Received Access-Accept" in said, said
        lines = [line.strip() for line in said.split("Received Access-Accept")[1].splitlines()[1:]]
        told = [line for line in lines if line and not line.startswith(("Class", "Message-Auth", "Acct-Int"))]
        assert sorted(told) == sorted(expected), dialect
        assert any(re.fullmatch(r"Acct-Interim-Interval = 3[0-3]\d", line) for line in lines)


def _pyrad_dictionary() -> Dictionary:
    """A few attributes as pyrad would have them, written from the RFCs and not from ours."""
    import io

    text = """
ATTRIBUTE Tunnel-Type 64 integer has_tag
ATTRIBUTE Tunnel-Private-Group-Id 81 string has_tag
ATTRIBUTE Framed-IPv6-Prefix 97 ipv6prefix
ATTRIBUTE Delegated-IPv6-Prefix 123 ipv6prefix
ATTRIBUTE Chargeable-User-Identity 89 string
VENDOR UBNT 41112
BEGIN-VENDOR UBNT
ATTRIBUTE UBNT-Data-Rate-DL 1 integer64
END-VENDOR UBNT
"""
    return Dictionary(io.StringIO(text))


async def test_pyrad_reads_prefixes_tags_and_64_bits_from_the_real_server(serving: Serving) -> None:  # noqa: F811
    world = serving.world
    await world.profile("Wide", rate_down_bps=10_000_000_000, rate_up_bps=10_000_000_000, vlan=7)
    service_id = await world.service("carl", profile="Wide")
    async with world.workplace.work("test") as work:
        granted = await set_addressing(work, service_id, delegated_prefix="2001:db8:40::/44")
        assert granted is None
    async with world.workplace.reading() as connection:
        directory = await Directory.load(connection, world.sealer)
    await _speak(serving, directory.nases[0].id, "ubiquiti")
    dictionary = _pyrad_dictionary()

    async def ask(identifier: int, **more: bytes) -> Any:
        request = pap("carl", identifier=identifier)
        for name, value in more.items():
            request[int(name.removeprefix("a"))] = [value]
        answer = await serving.ask(octets(request))
        assert answer is not None
        return AuthPacket(packet=answer, secret=SECRET.encode(), dict=dictionary)

    reply = await ask(1)
    assert reply["UBNT-Data-Rate-DL"] == [10_000_000_000]
    assert [str(one) for one in reply["Delegated-IPv6-Prefix"]] == ["2001:db8:40::/44"]
    assert reply["Tunnel-Private-Group-Id:1"] == ["7"]
    assert 89 not in reply, "no identity for whoever does not ask"
    # the rate does not fit WISPr's 32 bits: the largest that fits is sent, and the remark says so
    assert reply[14122, 7] == [b"\xff\xff\xff\xff"]
    assert any(
        "4.29497 Gbit/s" in one
        for one in Renderings().of("", "wispr").remarks(directory.logins[b"carl"].service)
    )
    asked = (await ask(2, a89=b"\0"))["Chargeable-User-Identity"]
    again = (await ask(3, a89=b"\0"))["Chargeable-User-Identity"]
    elsewhere = (await ask(4, a89=b"\0", a126=b"1visited.example"))["Chargeable-User-Identity"]
    assert asked == again
    assert asked != elsewhere, "two operators cannot compare their guests"
    assert "carl" not in asked[0]
    assert service_id not in asked[0]


def _terms(effect: Effect = Effect.NONE, **fields: Any) -> SessionTerms:
    values = {"rate_down_bps": 25_000_000, "rate_up_bps": 5_000_000} | fields
    return terms_of(Profile(id="prf_1", name="p", **values), effect, AccessPolicy())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "5M/25M"),
        ({"rate_up_bps": 512_000, "rate_down_bps": 1_500_001}, "512k/1500001"),
        ({"priority": 3}, "5M/25M 0/0 0/0 0/0 3"),
        ({"min_down_bps": 2_000_000, "min_up_bps": 1_000_000}, "5M/25M 0/0 0/0 0/0 8 1M/2M"),
    ],
)
def test_mikrotik_rate_limit_is_no_longer_than_it_must_be(fields: dict[str, Any], said: str) -> None:
    assert rate_limit(_terms(**fields)) == said


def test_a_rate_is_never_rounded_down_nor_to_nothing() -> None:
    assert [kbit(bps) for bps in (1, 1_000, 1_001, 25_000_000)] == [1, 1, 2, 25_000]


def test_a_prefix_takes_no_more_octets_than_its_bits() -> None:
    assert ipv6_prefix("x", 97, "2001:db8::/33").octets == bytes.fromhex("002120010db800")
    assert len(ipv6_prefix("x", 97, "2001:db8::1/128").octets) == 18


def test_walled_and_throttled_sessions_in_every_dialect() -> None:
    walled, slow = _terms(Effect.WALLED_GARDEN), _terms(Effect.THROTTLE)
    words = {
        "mikrotik": ["Mikrotik-Address-List"], "wispr": ["Filter-Id"], "ubiquiti": ["Filter-Id"],
        "cisco": ["Filter-Id"], "generic": ["Filter-Id"], "accel_ppp": [],
        "juniper": ["ERX-Ingress-Policy-Name", "ERX-IPv6-Ingress-Policy-Name"],
        "cambium_epmp": [], "cambium_pmp450": [],
    }  # fmt: skip
    for name, expected in words.items():
        dialect = DIALECTS[name]
        found = [one.name for one in dialect.filter(walled, "hilltop-walled")]
        assert found == expected
        if not expected:
            assert any("wall" in remark for remark in dialect.remarks(walled)), name
        fast = {str(one) for one in dialect.speed(_terms())}
        slower = {str(one) for one in dialect.speed(slow)}
        assert name == "generic" or fast.isdisjoint(slower)


async def test_a_blocked_subscriber_is_walled_where_the_policy_or_his_profile_says_so(world: World) -> None:
    await world.nas()
    await world.profile("Kind", when_blocked="walled_garden", walled_down_bps=256_000, walled_up_bps=128_000)
    await world.profile("Strict", when_blocked="reject")
    for name, profile in (("anna", "Kind"), ("ben", "Strict"), ("cleo", "Home 25")):
        await world.hold(await world.service(name, profile=profile), Effect.BLOCK)
    for policy, admitted in (("reject", {"anna"}), ("walled_garden", {"anna", "cleo"})):
        directory = await world.directory(AccessPolicy(when_blocked=policy))
        access = {name.decode(): login.service for name, login in directory.logins.items()}
        assert {name for name, one in access.items() if one.admitted} == admitted
        rendering = Renderings().of("nas", "mikrotik")
        said = [str(one) for one in rendering.accept(access["anna"])]
        assert 'Mikrotik-Rate-Limit = "128k/256k"' in said
        assert 'Mikrotik-Address-List = "hilltop-walled"' in said


async def test_a_service_that_moves_to_a_profile_without_words_has_none(world: World) -> None:
    await world.nas()
    await world.profile("Full", **(FULL | {"priority": None}))
    service_id = await world.service("alice", profile="Full")
    plain = await world.profile("Plain")
    async with world.workplace.work("test") as work:
        assert await change_profile(work, service_id, plain) == 2
    directory = await world.directory()
    rendering = Renderings().of("nas", "wispr")
    packet = b"\2\0\0\0" + bytes(16) + rendering.terms(directory.logins[b"alice"].service.terms)
    whole = packet[:2] + len(packet).to_bytes(2, "big") + packet[4:]
    assert [kind for kind, _ in parse(whole).attributes] == [26, 26]
    assert dialect_named("from a later release").name == "generic"


_NAMES = st.none() | st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=20)
_RATE = st.integers(1, 10**12)


@st.composite
def _profiles(draw: st.DrawFn) -> Profile:
    """Any profile that may be defined."""
    down, up = draw(_RATE), draw(_RATE)
    bursts = draw(st.booleans())
    vlan = draw(st.none() | st.integers(1, 4_094))
    return Profile(
        id="prf_1", name="p", rate_down_bps=down, rate_up_bps=up,
        burst_down_bps=draw(st.integers(down, 10**12)) if bursts else None,
        burst_up_bps=draw(st.integers(up, 10**12)) if bursts else None,
        burst_seconds=draw(st.integers(1, 86_400)) if bursts else None,
        pool=draw(_NAMES), ipv6_pool=draw(_NAMES), delegated_pool=draw(_NAMES), vlan=vlan,
        outer_vlan=None if vlan is None else draw(st.none() | st.integers(1, 4_094)),
        filter_id=draw(_NAMES), router_group=draw(_NAMES), priority=draw(st.none() | st.integers(1, 8)),
        min_down_bps=draw(st.integers(1, down)), min_up_bps=draw(st.integers(1, up)),
        session_timeout_s=draw(st.none() | st.integers(1, 365 * 86_400)),
        throttle_down_bps=draw(st.none() | _RATE), walled_down_bps=draw(st.none() | _RATE),
    )  # fmt: skip


@given(_profiles(), st.sampled_from(list(Effect)), st.sampled_from(sorted(DIALECTS)))
def test_law_every_profile_can_be_said_in_every_dialect(profile: Profile, effect: Effect, name: str) -> None:
    """What is said fits, reads back under the name it was given, is no rate of nothing, and is one rate."""
    terms = terms_of(profile, effect, AccessPolicy())
    dialect = DIALECTS[name]
    assert 0 < terms.rate_down_bps <= profile.rate_down_bps
    assert terms.min_down_bps is not None
    assert terms.min_down_bps <= terms.rate_down_bps
    for said in (terms_attributes(terms, dialect), change_attributes(terms, dialect, "open")):
        read = BOOK.decode(b"".join(one.encoded() for one in said))
        assert [one.name for one in read] == [one.name for one in said]
        assert all(one.text != "0" for one in read if "Rate" in one.name or "Bandwidth" in one.name)
        single = [one.name for one in said if one.name != "Cisco-AVPair"]
        assert len(single) == len(set(single)), "nothing is said twice"
    assert all(remark for remark in dialect.remarks(terms))
