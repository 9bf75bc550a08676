"""MAC logins as the devices of each maker send them, and nothing else: spelling, case and password by NAS."""

from __future__ import annotations

from pathlib import Path

import pytest
from radius_live import live_server, needs_radclient
from radius_world import World, bench_over, chap, octets, pap, reply_to, request

from aaa.domain.mac_convention import MAC_PRESETS, MacConvention
from aaa.set_up import change_nas, register_nas
from core.refusal import Refusal
from core.secrets import Secret
from radius.explaining.explain import explain

ACCEPT, REJECT = 2, 3
MAC = "00:e1:0c:38:c8:f8"
UPPER = MAC.upper()
NAMES = (UPPER, MAC, UPPER.replace(":", "-"), UPPER.replace(":", ""), MAC.replace(":", ""), "00e1.0c38.c8f8")


async def outcome(world: World, username: str, password: str | None, how: str = "pap", **nas: object) -> str:
    """``accept`` or the rule of the reject, for one sign-in on a NAS set up so."""
    async with world.workplace.work("test") as work:
        secret = nas.pop("mac_shared_password", None)
        given = dict(nas) | ({"mac_shared_password": Secret(str(secret))} if secret else {})
        assert await change_nas(work, world.sealer, world.ids["nas"], **given) is None
    bench = bench_over(await world.directory())
    made = {"pap": pap, "chap": chap}[how]
    asked = request(username) if password is None else made(username, password)
    asked[31] = [UPPER.encode()]
    reply = reply_to(asked, bench.ask(octets(asked)))
    return "accept" if reply.code == ACCEPT else bench.rejections[0].reject.rule


@pytest.fixture
async def tower(world: World) -> World:
    world.ids["nas"] = await world.nas()
    await world.service(mac=MAC)
    return world


@pytest.mark.parametrize(
    ("preset", "let_in"),
    [
        ("none", ()), ("mikrotik-dhcp", (UPPER,)), ("mikrotik-hotspot", (UPPER,)),
        ("mikrotik-wireless", (UPPER, MAC, UPPER.replace(":", "-"), UPPER.replace(":", ""), MAC.replace(":", ""))),
        ("ubiquiti", NAMES), ("cambium", NAMES),
    ],
)  # fmt: skip
async def test_each_kind_of_device_is_let_in_as_it_spells(
    tower: World, preset: str, let_in: tuple[str, ...]
) -> None:
    for name in NAMES:
        password = name if MAC_PRESETS[preset].password == "mac" else ""
        said = await outcome(tower, name, password, mac_preset=preset)
        assert said == ("accept" if name in let_in else "mac_login_not_here"), name


PASSWORDS = [
    # what is expected, what is sent (None: no password at all), by which method, what comes of it
    ("empty", "", "pap", "accept"), ("empty", None, "pap", "accept"), ("empty", "", "chap", "accept"),
    ("empty", UPPER, "pap", "mac_login_password"), ("empty", UPPER, "chap", "mac_login_password"),
    ("mac", UPPER, "pap", "accept"), ("mac", MAC.replace(":", ""), "pap", "accept"),
    ("mac", UPPER, "chap", "accept"), ("mac", "", "pap", "mac_login_password"),
    ("mac", "", "chap", "mac_login_password"), ("mac", None, "pap", "mac_login_password"),
    ("mac", "00:e1:0c:38:c8:f9", "pap", "mac_login_password"),
    ("either", "", "pap", "accept"), ("either", UPPER, "pap", "accept"), ("either", "x", "pap", "mac_login_password"),
    ("shared", "all the same", "pap", "accept"), ("shared", "all the same", "chap", "accept"),
    ("shared", "", "pap", "mac_login_password"), ("shared", UPPER, "pap", "mac_login_password"),
    ("shared", None, "pap", "mac_login_password"),
    ("any", "whatever", "pap", "accept"), ("any", "whatever", "chap", "accept"), ("any", None, "pap", "accept"),
]  # fmt: skip


@pytest.mark.parametrize(("expected", "sent", "how", "comes"), PASSWORDS)
async def test_the_password_of_a_mac_login(
    tower: World, expected: str, sent: str | None, how: str, comes: str
) -> None:
    more = {"mac_shared_password": "all the same"} if expected == "shared" else {}
    said = await outcome(tower, UPPER, sent, how, mac_format="colon", mac_password=expected, **more)
    assert said == comes


async def test_no_convention_lets_a_pppoe_user_in_without_his_password(world: World) -> None:
    """Whatever the NAS sends for MACs: a PPPoE user named like one still has to know his password."""
    world.ids["nas"] = await world.nas()
    await world.service(UPPER, "open sesame")
    await world.service("alice")
    for expected in ("empty", "either", "any", "mac"):
        for sent in ("", UPPER, None, "other"):
            said = await outcome(world, UPPER, sent, mac_format="any", mac_password=expected)
            assert said in {"empty_password", "wrong_password", "no_password_sent"}, (expected, sent)
        said = await outcome(world, "alice", "", mac_format="any", mac_password=expected)
        assert said == "empty_password"
        assert await outcome(world, UPPER, "open sesame", mac_format="any", mac_password=expected) == "accept"


async def test_a_shared_password_is_needed_sealed_and_kept(world: World) -> None:
    nas_id = await world.nas(mac_preset="cambium")
    async with world.workplace.work("test") as work:
        lacking = await change_nas(work, world.sealer, nas_id, mac_password="shared")
        assert isinstance(lacking, Refusal)
        assert lacking.field == "mac_shared_password"
        shared = Secret("all the same")
        assert await change_nas(
            work, world.sealer, nas_id, mac_password="shared", mac_shared_password=shared
        ) is None  # fmt: skip
        assert await change_nas(work, world.sealer, nas_id, mac_password="shared", mac_case="upper") is None
        new = await register_nas(
            work, world.sealer, name="b", network="192.0.2.1", secret=Secret("s" * 16), mac_password="shared"
        )
        assert isinstance(new, Refusal)
    [nas] = (await world.directory()).nases
    assert nas.macs.shared == b"all the same"
    assert "all the same" not in repr(nas)
    assert (nas.macs.case, nas.macs.password) == ("upper", "shared")


async def test_a_new_nas_lets_no_mac_in_until_it_is_said_how_and_explain_says_so(world: World) -> None:
    async with world.workplace.work("test") as work:
        secret = Secret("s" * 16)
        made = await register_nas(work, world.sealer, name="bare", network="127.0.0.1", secret=secret)
        assert not isinstance(made, Refusal)
    await world.service(mac=MAC)
    assert (await world.directory()).nases[0].macs == MacConvention("none", "any", "empty")
    async with world.workplace.reading() as connection:
        found = await explain(connection, world.sealer, UPPER, nas_name="bare")
    assert (found.verdict, found.rule) == ("reject", "mac_login_not_here")
    assert "--mac-preset" in found.remedy


@needs_radclient
async def test_radclient_as_a_mikrotik_dhcp_server_and_as_an_access_point(
    world: World, tmp_path: Path
) -> None:
    nas_id = await world.nas(mac_preset="mikrotik-dhcp")
    await world.service(mac=MAC)
    async with live_server(world, tmp_path) as live:
        leased = ("Calling-Station-Id = 1:0:e1:c:38:c8:f8", "NAS-Port-Type = Ethernet")
        assert await live.sign_in(UPPER, "User-Password", "", *leased) == "accept"
        assert await live.sign_in(UPPER, "User-Password", UPPER, *leased) == "reject"
        assert await live.sign_in(MAC, "User-Password", "", *leased) == "reject"
        async with world.workplace.work("test") as work:
            await change_nas(work, world.sealer, nas_id, mac_preset="ubiquiti")
        await live.caught_up()
        plain = MAC.replace(":", "")
        assert await live.sign_in(plain, "User-Password", plain) == "accept"
        assert await live.sign_in(plain, "CHAP-Password", plain) == "accept"
        assert await live.sign_in(plain, "User-Password", "") == "reject"
