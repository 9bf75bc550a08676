"""What a sign-in has to fulfil beside its proof: its CPE, its port or line, how many devices are online."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from eapol import ETHERNET, Eapol, needs_eapol_test
from hypothesis import given
from hypothesis import strategies as st
from radius_live import Live, live_server, needs_radclient
from radius_world import Bench, World, bench_over, mschapv2, octets, pap, reply_to, request
from sqlalchemy import event, select

from aaa.bind_cpe import LearnedCpe, cpes_of_service, record_learned
from aaa.domain.identity import spelled_mac
from aaa.domain.line import NotALine, Port, line_names, read_line, read_pattern, read_port
from aaa.domain.profile import AccessPolicy
from aaa.set_up import (
    NewCredential,
    add_credential,
    bind_cpe,
    bind_port,
    change_nas,
    close_replacement,
    limit_devices,
    open_replacement,
    redefine_profile,
    release_cpe,
    set_binding,
)
from aaa.store import directory_rows
from aaa.store.tables import session
from core.refusal import Refusal
from radius.accounting.ingest import ingest_once
from radius.explaining.conditions import Whence
from radius.explaining.explain import explain, format_explanation
from radius.packet.codec import vendor_attribute
from radius.sign_in.admission import Admission
from radius.sign_in.live_devices import LiveDevices

ACCEPT, REJECT = 2, 3
OLD, NEW, THIRD = "AA:BB:CC:00:11:22", "AA:BB:CC:00:11:33", "AA:BB:CC:00:11:44"
PLAIN = {mac: mac.replace(":", "").lower() for mac in (OLD, NEW, THIRD)}
LEARN = AccessPolicy(binding="learn")


def rule(bench: Bench, station: str | None = OLD, *, username: str = "alice", **attributes: Any) -> str:
    """``accept`` or the rule of the reject for one PAP sign-in; ``a87=b"ether3"`` adds an attribute."""
    asked = pap(username)
    del asked[31]
    if station is not None:
        asked[31] = [station.encode()]
    for name, value in attributes.items():
        asked[int(name[1:])] = value if isinstance(value, list) else [value]
    rule.port += 1  # type: ignore[attr-defined]
    reply = reply_to(asked, bench.ask(octets(asked), ("127.0.0.1", rule.port)))  # type: ignore[attr-defined]
    return "accept" if reply.code == ACCEPT else bench.rejections[-1].reject.rule


rule.port = 1_000  # type: ignore[attr-defined]


async def bench_with(
    world: World, policy: AccessPolicy | None = None, admission: Admission | None = None
) -> Bench:
    directory = await world.directory(policy)
    bench = bench_over(directory)
    clock = world.workplace.clock
    bench.pipeline.answers.admission = admission or Admission(clock, LiveDevices(clock, b""))
    bench.pipeline.answers.admission.use(directory)
    return bench


async def act(world: World, what: Any, *words: Any, **named: Any) -> Any:
    async with world.workplace.work("test") as work:
        return await what(work, *words, **named)


# -- CPEs


async def test_the_first_cpe_seen_is_bound_at_once_and_for_good(any_world: World) -> None:
    world = any_world
    await world.nas()
    service_id = await world.service("alice")
    bench = await bench_with(world, LEARN)
    assert rule(bench, None) == "accept", "nothing to learn, nothing bound yet"
    assert rule(bench, OLD) == "accept"
    assert rule(bench, NEW) == "other_cpe", "before anything is written"
    assert rule(bench, None) == "no_cpe_shown"
    assert rule(bench, OLD) == "accept"
    admission = bench.pipeline.answers.admission
    assert admission.unwritten == 1
    await admission.flush(world.workplace)
    assert admission.unwritten == 0
    later = await bench_with(world, LEARN)
    assert later.pipeline._directory is not None
    login = later.pipeline._directory.logins[b"alice"]
    assert login.conditions is not None
    assert login.conditions.macs == (PLAIN[OLD],)
    assert (rule(later, OLD), rule(later, NEW)) == ("accept", "other_cpe")
    reject = later.rejections[-1].reject
    assert "replace-cpe alice" in reject.remedy
    assert spelled_mac(PLAIN[OLD]) in reject.explanation
    async with world.workplace.reading() as connection:
        [record] = await cpes_of_service(connection, service_id)
    assert (record.mac, record.source, record.retired_at) == (PLAIN[OLD], "learned", None)


async def test_binding_is_off_unless_settings_or_the_login_say_so(world: World) -> None:
    await world.nas()
    await world.service("alice")
    bench = await bench_with(world)
    assert bench.pipeline._directory is not None
    assert bench.pipeline._directory.logins[b"alice"].conditions is None, "nobody looks"
    assert (rule(bench, OLD), rule(bench, NEW)) == ("accept", "accept")
    assert await act(world, set_binding, "alice", "learn") is None
    bench = await bench_with(world)
    assert (rule(bench, OLD), rule(bench, NEW)) == ("accept", "other_cpe")
    assert await act(world, set_binding, "alice", "off") is None
    bench = await bench_with(world, LEARN)
    assert (rule(bench, OLD), rule(bench, NEW)) == ("accept", "accept")
    assert await act(world, set_binding, "alice", "list") is None
    assert rule(await bench_with(world), OLD) == "other_cpe", "none is listed yet"
    assert await act(world, bind_cpe, "alice", NEW) is None
    assert await act(world, bind_cpe, "alice", THIRD) is None
    bench = await bench_with(world)
    assert [rule(bench, mac) for mac in (OLD, NEW, THIRD)] == ["other_cpe", "accept", "accept"]
    assert await act(world, release_cpe, "alice", THIRD) is None
    assert rule(await bench_with(world), THIRD) == "other_cpe"


async def test_a_swap_takes_one_other_cpe_once_within_its_window(any_world: World) -> None:
    world = any_world
    await world.nas()
    service_id = await world.service("alice")
    await act(world, set_binding, "alice", "learn")
    await act(world, bind_cpe, "alice", OLD)
    until = await act(world, open_replacement, "alice", timedelta(hours=2))
    assert until == world.workplace.clock.now() + timedelta(hours=2)
    bench = await bench_with(world)
    assert rule(bench, OLD) == "accept", "the old one works until the new one dials"
    assert rule(bench, NEW) == "accept"
    assert rule(bench, OLD) == "other_cpe"
    assert rule(bench, THIRD) == "other_cpe", "the window is used"
    await bench.pipeline.answers.admission.flush(world.workplace)
    bench = await bench_with(world)
    assert [rule(bench, mac) for mac in (OLD, NEW, THIRD)] == ["other_cpe", "accept", "other_cpe"]
    async with world.workplace.reading() as connection:
        bound, before = await cpes_of_service(connection, service_id)
    assert (bound.mac, bound.retired_at) == (PLAIN[NEW], None)
    assert before.mac == PLAIN[OLD]
    assert before.retired_because == f"replaced by {PLAIN[NEW]}"


async def test_a_window_runs_out_and_is_closed_early(world: World) -> None:
    await world.nas()
    await world.service("alice")
    await act(world, set_binding, "alice", "list")
    await act(world, bind_cpe, "alice", OLD)
    await act(world, open_replacement, "alice", timedelta(minutes=30))
    bench = await bench_with(world)
    world.workplace.clock.advance(timedelta(minutes=31))  # type: ignore[attr-defined]
    assert rule(bench, NEW) == "other_cpe"
    await act(world, open_replacement, "alice", timedelta(minutes=30))
    await act(world, close_replacement, "alice")
    assert rule(await bench_with(world), NEW) == "other_cpe"


async def test_the_first_writer_wins_and_every_process_takes_that_over(any_world: World) -> None:
    world = any_world
    await world.nas()
    await world.service("alice")
    one, other = await bench_with(world, LEARN), await bench_with(world, LEARN)
    assert (rule(one, OLD), rule(other, NEW)) == ("accept", "accept"), "neither knows of the other yet"
    await one.pipeline.answers.admission.flush(world.workplace)
    await other.pipeline.answers.admission.flush(world.workplace)
    for bench in (one, other):
        directory = await world.directory(LEARN)
        bench.pipeline.use(directory)
        bench.pipeline.answers.admission.use(directory)
        assert (rule(bench, OLD), rule(bench, NEW)) == ("accept", "other_cpe")


async def test_a_window_used_by_one_process_is_not_used_by_another(world: World) -> None:
    await world.nas()
    service_id = await world.service("alice")
    await act(world, set_binding, "alice", "list")
    await act(world, bind_cpe, "alice", OLD)
    until = await act(world, open_replacement, "alice")
    now = world.workplace.clock.now()
    learned = [
        LearnedCpe("alice", service_id, PLAIN[mac], "nas_1", now, (PLAIN[OLD],), until)
        for mac in (NEW, THIRD)
    ]
    await act(world, record_learned, learned)
    bench = await bench_with(world)
    assert [rule(bench, mac) for mac in (OLD, NEW, THIRD)] == ["other_cpe", "accept", "other_cpe"]


async def test_what_was_learned_while_the_database_is_away_is_kept_until_it_is_back(world: World) -> None:
    await world.nas()
    await world.service("alice")
    bench = await bench_with(world, LEARN)
    assert rule(bench, OLD) == "accept"

    class Away:
        def work(self, actor: str) -> Any:
            raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        await bench.pipeline.answers.admission.flush(Away())  # type: ignore[arg-type]
    assert bench.pipeline.answers.admission.unwritten == 1
    assert rule(bench, NEW) == "other_cpe"
    await bench.pipeline.answers.admission.flush(world.workplace)
    assert rule(await bench_with(world, LEARN), NEW) == "other_cpe"


async def test_bad_bindings_are_refused_by_name(world: World) -> None:
    nas_id = await world.nas()
    await world.service("alice", mac="00:e1:0c:38:c8:f8")
    for field, what, words in (
        ("binding", set_binding, ("alice", "sometimes")),
        ("username", set_binding, ("nobody", "learn")),
        ("username", set_binding, ("00e10c38c8f8", "learn")),
        ("mac", bind_cpe, ("alice", "zz")),
        ("mac", release_cpe, ("alice", NEW)),
        ("username", open_replacement, ("alice",)),
        ("for", open_replacement, ("alice", timedelta(days=30))),
    ):
        refused = await act(world, what, *words)
        assert isinstance(refused, Refusal), what
        assert refused.field == field, (what, refused)
    await act(world, bind_cpe, "alice", OLD)
    await act(world, bind_cpe, "alice", NEW)
    several = await act(world, open_replacement, "alice")
    assert isinstance(several, Refusal)
    assert several.field == "old"
    assert await act(world, open_replacement, "alice", old_mac=OLD)
    await act(world, set_binding, "alice", "list")
    bench = await bench_with(world)
    assert rule(bench, THIRD) == "accept"
    assert [rule(bench, mac) for mac in (OLD, NEW)] == ["other_cpe", "accept"]
    assert isinstance(await act(world, bind_port, "alice", nas_id="nas_none"), Refusal)
    assert isinstance(await act(world, bind_port, "alice", nas_id=nas_id, port=" "), Refusal)


async def test_a_login_that_goes_to_another_service_leaves_its_cpes_behind(world: World) -> None:
    from aaa.set_up import end_service

    await world.nas()
    first = await world.service("alice")
    await act(world, set_binding, "alice", "list")
    await act(world, bind_cpe, "alice", OLD)
    await act(world, end_service, first, "moved")
    await world.service("alice")
    assert rule(await bench_with(world, LEARN), NEW) == "accept"


async def test_mac_logins_are_not_for_pppoe_clients(world: World) -> None:
    await world.nas()
    await world.service(mac=OLD)
    bench = await bench_with(world)
    ppp = (1).to_bytes(4, "big")
    for number, (protocol, expected) in enumerate(((None, "accept"), (ppp, "mac_login_over_ppp"))):
        asked = request(OLD)
        asked[31] = [OLD.encode()]
        if protocol:
            asked[7] = [protocol]
        reply = reply_to(asked, bench.ask(octets(asked), ("127.0.0.1", number)))
        got = "accept" if reply.code == ACCEPT else bench.rejections[-1].reject.rule
        assert got == expected


@needs_radclient
async def test_a_cpe_is_learned_and_swapped_over_the_wire(world: World, tmp_path: Path) -> None:
    await world.nas()
    service_id = await world.service("alice")
    async with live_server(world, tmp_path, cpe_binding="learn") as live:

        async def sign_in(mac: str) -> str:
            station = f'Calling-Station-Id = "{mac}"'
            return await live.sign_in("alice", "CHAP-Password", "open sesame", station)

        async def recorded(bound: str) -> None:
            async with asyncio.timeout(10):
                while True:
                    async with world.workplace.reading() as connection:
                        if [one.mac for one in await cpes_of_service(connection, service_id)][:1] == [bound]:
                            return
                    await asyncio.sleep(0.02)

        assert [await sign_in(OLD), await sign_in(NEW)] == ["accept", "reject"]
        await recorded(PLAIN[OLD])
        await act(world, open_replacement, "alice", timedelta(hours=2))
        await live.caught_up()
        assert [await sign_in(NEW), await sign_in(OLD), await sign_in(THIRD)] == [
            "accept",
            "reject",
            "reject",
        ]
        await recorded(PLAIN[NEW])


@needs_radclient
async def test_option_82_and_ports_as_radclient_sends_them(world: World, tmp_path: Path) -> None:
    nas_id = await world.nas("tower", identity="circuit")
    await line_user(world, "circuit", "circuit:olt1 eth 0/1/1:200,remote:radio-9")
    await line_user(world, "port", "tower ether3:200.30")
    async with live_server(world, tmp_path) as live:
        ids = ('ADSL-Agent-Circuit-Id = "olt1 eth 0/1/1:200"', 'ADSL-Agent-Remote-Id = "radio-9"')
        assert await live.sign_in("00:E1:0C:38:C8:F8", "User-Password", "", *ids) == "accept"
        assert await live.sign_in("00:E1:0C:38:C8:F8", "User-Password", "", ids[0]) == "reject"
        pairs = (
            'Cisco-AVPair = "circuit-id-tag=olt1 eth 0/1/1:200"', 'Cisco-AVPair += "remote-id-tag=radio-9"'
        )  # fmt: skip
        assert await live.sign_in("any", "User-Password", "any", *pairs) == "accept"
        await act(world, change_nas, world.sealer, nas_id, identity="port")
        await live.caught_up()
        assert await live.sign_in("any", "User-Password", "", 'NAS-Port-Id = "ether3.200.30"') == "accept"
        assert await live.sign_in("any", "User-Password", "", 'NAS-Port-Id = "ether3.200.31"') == "reject"


@needs_eapol_test
async def test_eap_has_to_come_from_the_bound_cpe_too(world: World, tmp_path: Path) -> None:
    await world.nas()
    await world.service("alice")
    await act(world, set_binding, "alice", "learn")
    network = {"eap": "MD5", "password": '"open sesame"'}
    async with live_server(world, tmp_path) as live:
        peer = Eapol(tmp_path, live.auth_port)
        first = await peer.run(network, "-n", "-N", ETHERNET, "-M", OLD)
        other = await peer.run(network, "-n", "-N", ETHERNET, "-M", NEW)
        again = await peer.run(network, "-n", "-N", ETHERNET, "-M", OLD)
    assert [one.succeeded for one in (first, other, again)] == [True, False, True]
    assert "code=3" in other.said, "an Access-Reject, not silence"


async def test_a_thousand_first_cpes_are_a_handful_of_statements(any_world: World) -> None:
    world = any_world
    await world.nas()
    service_id = await world.service("alice")
    for number in range(60):
        credential = NewCredential("circuit", f"port {number}")
        await act(world, add_credential, world.sealer, service_id=service_id, credential=credential)
    now = world.workplace.clock.now()
    learned = [
        LearnedCpe(f"circuit:port {number % 60}", service_id, f"{number:012x}", "nas_1", now)
        for number in range(1_000)
    ]
    statements: list[str] = []
    async with world.workplace.work("test") as work:
        connection = work.connection.sync_connection
        event.listen(connection, "before_cursor_execute", lambda *words: statements.append(words[2]))
        await record_learned(work, learned)
    assert len(statements) < 15
    async with world.workplace.reading() as connection:
        bound = await cpes_of_service(connection, service_id)
    assert {one.mac for one in bound} == {f"{number:012x}" for number in range(60)}, "the first of each wins"


# -- ports


PORTS = {
    "ether3": Port("ether3"), "<pppoe-in>": Port("<pppoe-in>"), "ether3.200": Port("ether3", 200),
    "bond0.200.30": Port("bond0", 200, 30), "Gi0/1.100": Port("gi0/1", 100),
    "GigabitEthernet0/1.100": Port("gi0/1", 100), "0/0/1/200.30": Port("0/0/1", 200, 30),
    "1/3:200.30": Port("1/3", 200, 30), "ge-1/0/3.1073741824:100-20": Port("ge-1/0/3", 100, 20),
    "GigabitEthernet 2/0.1:100-20": Port("gi2/0.1", 100, 20), "3/1 vlan-id 200:30 pppoe 5": Port("3/1", 200, 30),
    "slot=1;subslot=0;port=3;vlanid=200;vlanid2=30;": Port("1/0/3", 200, 30), "Uniq-Sess-ID4": Port("uniq-sess-id4"),
}  # fmt: skip


def test_ports_are_read_in_every_makers_words() -> None:
    for text, port in PORTS.items():
        assert read_port(text) == port, text
        assert read_port(str(port)) == port, "an operator may write what is shown"
    assert read_port("ether3:200.30").fits(read_pattern("*:200"))
    assert read_port("ether3:200.30").fits(read_pattern("ETHER3"))
    assert not read_port("ether3:200.31").fits(read_pattern("ether3:200.30"))
    assert not read_port("ether3").fits(read_pattern("ether3:200"))


@given(st.text(max_size=60))
def test_any_text_is_a_port_that_reads_the_same_again(text: str) -> None:
    port = read_port(text)
    assert port.fits(port)
    assert read_port(text) == port


async def test_a_login_bound_to_a_port_is_refused_elsewhere(world: World) -> None:
    nas_id = await world.nas()
    await world.nas("other", "127.0.0.2")
    await world.service("alice")
    assert await act(world, bind_port, "alice", nas_id=nas_id, port="ether3:200.30") is None
    bench = await bench_with(world)
    assert rule(bench, a87=b"ether3:200.30") == "accept"
    assert rule(bench, a87=b"ether3.200.30") == "accept"
    assert rule(bench, a87=b"ether3:200.31") == "other_port"
    assert "ether3:200.31" in bench.rejections[-1].reject.explanation
    assert rule(bench) == "other_port"
    asked = pap()
    asked[87] = [b"ether3:200.30"]
    assert reply_to(asked, bench.ask(octets(asked), ("127.0.0.2", 1))).code == REJECT
    assert "another NAS" in bench.rejections[-1].reject.explanation
    assert await act(world, bind_port, "alice") is None
    assert rule(await bench_with(world)) == "accept"


# -- lines


def adsl(circuit: bytes = b"", remote: bytes = b"") -> list[bytes]:
    return [vendor_attribute(3561, kind, one)[2:] for kind, one in ((1, circuit), (2, remote)) if one]


def accel(circuit: bytes, remote: bytes) -> list[bytes]:
    inside = bytes((1, len(circuit))) + circuit + bytes((2, len(remote))) + remote
    return [vendor_attribute(54, 82, inside)[2:]]


def cisco(circuit: bytes, remote: bytes) -> list[bytes]:
    return [
        vendor_attribute(9, 1, pair)[2:]
        for pair in (b"client-mac-address=aabb", b"circuit-id-tag=" + circuit, b"remote-id-tag=" + remote)
    ]


CIRCUIT, REMOTE = b"olt1 eth 0/1/1:200", b"\x00\x04\xaa\xbb"


async def line_user(world: World, kind: str, text: str) -> str:
    service_id = await world.service(f"first-{text}")
    added = await act(
        world, add_credential, world.sealer, service_id=service_id, credential=NewCredential(kind, text)
    )
    assert added is None, added
    return service_id


async def ask_line(bench: Bench, specific: Sequence[bytes], username: str = "02:00:00:00:00:01") -> str:
    asked = request(username)
    if specific:
        asked[26] = list(specific)
    rule.port += 1  # type: ignore[attr-defined]
    reply = reply_to(asked, bench.ask(octets(asked), ("127.0.0.1", rule.port)))  # type: ignore[attr-defined]
    return "accept" if reply.code == ACCEPT else bench.rejections[-1].reject.rule


@pytest.mark.parametrize("dialect", [adsl, accel, cisco])
async def test_the_line_says_who_it_is_in_every_dialect(world: World, dialect: Any) -> None:
    await world.nas(identity="circuit")
    await line_user(world, "circuit", f"circuit:{CIRCUIT.decode()},remote:0x{REMOTE.hex()}")
    bench = await bench_with(world)
    assert await ask_line(bench, dialect(CIRCUIT, REMOTE)) == "accept"
    assert await ask_line(bench, dialect(CIRCUIT, b"other")) == "unknown_line"
    assert "other" in bench.rejections[-1].reject.explanation
    assert await ask_line(bench, dialect(b"elsewhere", REMOTE)) == "unknown_line"
    assert await ask_line(bench, []) == "no_line_shown"


async def test_circuit_or_remote_alone_and_only_where_the_nas_says_so(world: World) -> None:
    nas_id = await world.nas(identity="circuit")
    await line_user(world, "circuit", "port 7")
    await line_user(world, "circuit", "remote:radio-9")
    await world.service("alice")
    bench = await bench_with(world)
    assert await ask_line(bench, adsl(b"port 7", b"whatever")) == "accept"
    assert await ask_line(bench, adsl(b"port 8", b"radio-9")) == "accept"
    assert await ask_line(bench, adsl(b"port 7\x00")) == "accept", "some relays end it with a zero octet"
    assert rule(bench) == "accept", "a user name with its password counts where the line is nobody's"
    asked = mschapv2()
    asked[26] = [*asked[26], *adsl(b"port 7")]
    assert reply_to(asked, bench.ask(octets(asked))).code == REJECT
    assert bench.rejections[-1].reject.rule == "line_login_with_ms_chap"
    await act(world, change_nas, world.sealer, nas_id, identity="user_name")
    assert await ask_line(await bench_with(world), adsl(b"port 7")) == "unknown_mac"
    for name in ("circuit:port 7", "remote:radio-9"):
        assert rule(await bench_with(world), username=name) == "unknown_user", "a line is no user name"


async def test_the_port_says_who_it_is(world: World) -> None:
    await world.nas("north ridge", identity="port")
    await world.nas("south", "127.0.0.2", identity="port")
    await line_user(world, "port", "north ridge ether3:200.30")
    bench = await bench_with(world)
    assert rule(bench, username="x", a87=b"ether3.200.30") == "accept"
    assert rule(bench, username="x", a87=b"ether3:200.31") == "unknown_line"
    assert rule(bench, username="x") == "no_line_shown"
    asked = request("x")
    asked[87] = [b"ether3:200.30"]
    assert reply_to(asked, bench.ask(octets(asked), ("127.0.0.2", 1))).code == REJECT, (
        "the same on another NAS"
    )


async def test_lines_that_cannot_be_are_refused(world: World) -> None:
    await world.nas()
    service_id = await world.service("alice")
    for kind, text in (
        ("circuit", " "),
        ("circuit", "remote:"),
        ("port", "nowhere ether3"),
        ("port", "tower *"),
    ):
        credential = NewCredential(kind, text)
        refused = await act(world, add_credential, world.sealer, service_id=service_id, credential=credential)
        assert isinstance(refused, Refusal), (kind, text)
        assert refused.field == "username"


@given(st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=40))
def test_what_is_shown_of_a_line_can_be_typed(circuit: bytes, remote: bytes) -> None:
    for name in line_names(circuit, remote):
        if ",remote:" in name.removeprefix("circuit:").partition(",remote:")[0]:
            continue
        try:
            assert read_line(name) in line_names(circuit, remote)
        except NotALine:
            raise AssertionError(name) from None


@given(st.binary(max_size=200))
def test_hostile_option_82_raises_nothing(noise: bytes) -> None:
    from radius.nas.attachment import read_line_ids
    from radius.packet.codec import locate

    for vendor in (54, 3561, 9):
        asked = request("x")
        asked[26] = [vendor.to_bytes(4, "big") + noise]
        packet = octets(asked)
        read_line_ids(packet, *locate(packet))


# -- devices at once


@needs_radclient
async def test_one_more_device_is_refused_while_the_other_is_alive(world: World, tmp_path: Path) -> None:
    await world.nas()
    service_id = await world.service("alice")
    await act(world, redefine_profile, world.ids["Home 25"], when_crowded="oldest")
    async with live_server(world, tmp_path, online_refresh_s=0.05) as live:

        async def sign_in(mac: str) -> str:
            return await live.sign_in(
                "alice", "User-Password", "open sesame", f'Calling-Station-Id = "{mac}"'
            )

        said = await live.radclient(
            "auth", "User-Name = alice", 'User-Password = "open sesame"', f'Calling-Station-Id = "{OLD}"',
            "Message-Authenticator = 0x00",
        )  # fmt: skip
        [token] = [line.split("=")[1].strip() for line in said.splitlines() if "Class =" in line]
        assert await sign_in(NEW) == "reject", "a moment after the other signed in"
        assert await sign_in(OLD) == "accept", "the same device dials again"
        report = (
            "User-Name = alice", "Acct-Session-Id = 81e00001", f'Calling-Station-Id = "{OLD}"',
            f"Class = {token}", "NAS-IP-Address = 127.0.0.1",
        )  # fmt: skip
        assert "Accounting-Response" in await live.radclient("acct", "Acct-Status-Type = Start", *report)
        await ingested(world, live)
        assert await sign_in(NEW) == "reject"
        await until_recorded(live, "simultaneous_use")
        async with world.workplace.reading() as connection:
            whence = Whence(world.workplace.clock.now(), NEW)
            found = await explain(connection, world.sealer, "alice", whence=whence)
        assert found.rule == "simultaneous_use"
        assert OLD in found.explanation
        assert "1 online" in format_explanation(found)
        await live.radclient("acct", "Acct-Status-Type = Stop", *report)
        assert await sign_in(NEW) == "accept", "the Stop counts from the moment it is on disk"
        await act(world, limit_devices, service_id, devices=2, when_crowded=None)
        await live.caught_up()
        assert await sign_in(OLD) == "accept"
        assert await sign_in(THIRD) == "reject"


async def ingested(world: World, live: Live) -> None:
    """The accounting so far is in the database, and this process has read it."""
    await ingest_once(live.journal, world.workplace, world.sealer)
    devices = live.server._devices
    async with asyncio.timeout(10):
        while not devices._on_record:
            await asyncio.sleep(0.01)


async def until_recorded(live: Live, wanted: str) -> None:
    from aaa.store.tables import reject

    async with asyncio.timeout(10):
        while True:
            async with live.world.workplace.reading() as connection:
                rules = (await connection.execute(select(reject.c.rule))).scalars().all()
            if wanted in rules:
                return
            await asyncio.sleep(0.02)


async def test_crowded_services_are_found_by_service_profile_and_settings(any_world: World) -> None:
    world = any_world
    now = world.workplace.clock.now()
    await world.profile("Two", devices=2, when_crowded="oldest")
    expected = {}
    for number, (profile, devices, rule) in enumerate(
        (("Home 25", None, None), ("Two", None, None), ("Two", 1, None), ("Home 25", 3, None), ("Two", 1, "newest"),
         ("Home 25", None, "unlimited"))
    ):  # fmt: skip
        service_id = await world.service(f"user{number}", profile=profile)
        await act(world, limit_devices, service_id, devices=devices, when_crowded=rule)
        expected[service_id] = number
        async with world.workplace.work("test") as work:
            for one in range(2):
                await work.connection.execute(session.insert().values(**open_session(service_id, one, now)))
    async with world.workplace.reading() as connection:
        found = await directory_rows.crowded_services(connection, now, "newest")
    crowded = {expected[row.id]: (row.allowed, row.when_crowded) for row in found}
    assert crowded == {0: (1, "newest"), 2: (1, "oldest"), 4: (1, "newest")}
    directory = await world.directory()
    assert {expected[one] for one in directory.limited} == {1, 2}


def open_session(service_id: str, number: int, now: Any) -> dict[str, Any]:
    return {
        "id": f"ses_{service_id[-20:]}_{number}", "key": f"{service_id}-{number}", "incarnation": 0, "nas_id": "nas_1",
        "acct_session_id": str(number), "username": "alice", "service_id": service_id,
        "calling_station": (OLD, NEW)[number], "started_at": now, "last_event_at": now, "last_received_at": now,
        "octets_in": 0, "octets_out": 0, "gigawords_seen": False, "interim_interval_s": 300, "start_seen": True,
        "close_inferred": False,
    }  # fmt: skip


async def test_hostile_requests_where_lines_and_conditions_count_raise_nothing(world: World) -> None:
    """Mutations of signed requests, signed again: they reach what reads lines, ports and CPEs."""
    await world.nas("lines", identity="circuit")
    await world.nas("ports", "127.0.0.2", identity="port")
    await line_user(world, "circuit", "port 7")
    await line_user(world, "port", "ports ether3:200.30")
    await world.service("alice")
    await act(world, set_binding, "alice", "learn")
    await act(world, bind_port, "alice", port="ether3:200")
    bench = await bench_with(world)
    chance = random.Random(20261123)
    for number in range(3_000):
        asked = chance.choice((pap, request))("alice")
        asked[26] = [
            chance.choice((3561, 54, 9)).to_bytes(4, "big") + noisy(chance, b"\x01\x08port 7\x52\x0a\x01\x06port 7")
            for _ in range(chance.randrange(3))
        ]  # fmt: skip
        asked[87] = [noisy(chance, b"ether3:200.30")]
        asked[31] = [noisy(chance, OLD.encode())]
        bench.ask(octets(asked), (f"127.0.0.{1 + number % 2}", chance.randrange(65_536)))
    counted = bench.counters
    assert counted.accepts > 50
    assert counted.rejects > 500
    assert counted.accepts + counted.rejects + counted.duplicates + counted.malformed == 3_000


def noisy(chance: random.Random, octets_: bytes) -> bytes:
    """Nothing, some of it, all of it, or with some octets changed."""
    made = bytearray(
        octets_[: chance.choice((len(octets_), len(octets_), chance.randrange(len(octets_)) + 1))]
    )
    for _ in range(chance.choice((0, 0, 1, 3))):
        made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made)


async def test_a_dead_session_holds_nobody_back_and_unlimited_counts_nobody(world: World) -> None:
    await world.nas()
    service_id = await world.service("alice")
    await act(world, limit_devices, service_id, devices=None, when_crowded="oldest")
    clock = world.workplace.clock
    now = clock.now()
    async with world.workplace.work("test") as work:
        await work.connection.execute(session.insert().values(**open_session(service_id, 0, now)))
    directory = await world.directory()
    devices = LiveDevices(clock, b"k")
    devices.use(directory)
    await devices.refresh(world.workplace)
    assert devices.others_alive(service_id, PLAIN[NEW])
    assert devices.others_alive(service_id, PLAIN[OLD]) == []
    bench = await bench_with(world, admission=Admission(clock, devices))
    assert (rule(bench, NEW), rule(bench, OLD)) == ("simultaneous_use", "accept")
    clock.advance(timedelta(seconds=899))  # type: ignore[attr-defined]
    assert rule(bench, NEW) == "simultaneous_use"
    clock.advance(timedelta(seconds=61))  # type: ignore[attr-defined]
    assert rule(bench, NEW) == "accept", "not heard of for three interim intervals"
    await act(world, limit_devices, service_id, devices=None, when_crowded="unlimited")
    devices.use(await world.directory())
    assert not devices.watching
