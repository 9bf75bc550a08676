"""The operator's own reply lines: read, checked, put in order, sent by the real server, and never its end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radius_world import SECRET, World, bench_over, octets, pap, reply_to, vendor
from sqlalchemy import select, update
from test_radius_dialects import _newest_change
from test_radius_role import Serving, needs_radclient, serving  # noqa: F401 - the fixture

from aaa.domain.effect import Effect
from aaa.domain.profile import AccessPolicy, Profile, terms_of
from aaa.domain.reply_template import ReplyTemplate, for_nas
from aaa.set_addressing import set_addressing
from aaa.set_reply_template import set_reply_template
from aaa.store import tables
from core.refusal import Refusal, granted
from radius.dialects.known import DIALECTS, change_attributes, terms_attributes
from radius.dictionary.attributes import attribute_dictionary
from radius.explaining.preview import Preview, PreviewQuestion, format_preview, preview, template_refusal
from radius.nas.table import NasTable
from radius.reply.rendering import MOST_OCTETS, Renderings
from radius.reply.template import PLACEHOLDERS, TemplateFault, fill, read_template

BOOK = attribute_dictionary()
HOME = Profile(id="prf_1", name="Home", rate_down_bps=25_000_000, rate_up_bps=5_000_000, pool="homes")


async def _set(world: World, lines: str, **scope: Any) -> str | Refusal:
    async with world.workplace.work("test") as work:
        return await set_reply_template(work, template_refusal, lines=lines, **scope)


def _template(lines: str, number: str = "1", **scope: Any) -> ReplyTemplate:
    scope = {"profile_id": None, "nas_id": None, "dialect": None} | scope
    return ReplyTemplate(f"tpl_{number}", lines=lines, **scope)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("Framed-Pol := x", ["line 1", "Framed-Pool"]),
        ("\nFramed-IP-Address := 300.1.1.1", ["line 2", "Framed-IP-Address"]),
        ("Session-Timeout := {rate_down_mbits}", ["{rate_down_mbits}", "rate_down_mbit"]),
        ("Filter-Id := {", ["{{"]),
        ("Filter-Id := ", ["value is missing"]),
        ('Filter-Id := "a', ["quotes"]),
        ("Filter-Id", [":="]),
        ("[coa walled]", ["walled_garden"]),
        ("[coa", ["section"]),
        ("Class := x", ["Class", "sign-in"]),
        ("-Message-Authenticator", ["sign-in"]),
        ("MS-MPPE-Send-Key := x", ["sign-in"]),
        ("Tunnel-Password := x", ["hidden"]),
        ("ERX-PPP-Password := x", ["secret"]),
        ("Filter-Id:1 := x", ["tag"]),
        ("\n".join(["Filter-Id += x"] * 101), ["101", "100"]),
        ("#" * 4_001, ["4001", "4000"]),
    ],
)
def test_a_line_that_cannot_be_sent_is_refused_with_its_number(lines: str, words: list[str]) -> None:
    refused = template_refusal(lines)
    assert isinstance(refused, Refusal)
    assert refused.field == "lines"
    for word in words:
        assert word in refused.message


@given(st.text(max_size=200))
def test_law_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        read_template(text, BOOK)
    except TemplateFault as fault:
        assert str(fault)


@given(st.text(max_size=20))
def test_law_braces_are_doubled_and_nothing_else_changes(text: str) -> None:
    assert fill(text.replace("{", "{{").replace("}", "}}"), {}) == text


def test_every_placeholder_can_be_sent() -> None:
    for name in PLACEHOLDERS:
        assert read_template(f'Filter-Id := "{{{name}}}"', BOOK)[0].placeholders == {name}


def test_the_last_word_is_the_most_particular_one() -> None:
    scopes: list[dict[str, str]] = [
        {"profile_id": "prf_1", "nas_id": "nas_1"}, {"profile_id": "prf_1", "dialect": "generic"},
        {"profile_id": "prf_1"}, {"nas_id": "nas_1"}, {"dialect": "generic"}, {},
        {"nas_id": "nas_2"}, {"profile_id": "prf_2"}, {"dialect": "cisco"},
    ]  # fmt: skip
    templates = [_template(f"Filter-Id := {n}", str(n), **scope) for n, scope in enumerate(scopes)]
    order = [one.lines[-1] for one in for_nas(templates, "nas_1", "generic")]
    assert order == ["5", "4", "3", "2", "7", "1", "0"]
    rendering = Renderings(templates).of("nas_1", "generic")
    terms = terms_of(HOME, Effect.NONE, AccessPolicy())
    assert rendering.terms(terms) == b"\x0b\x030"
    elsewhere = Renderings(templates).of("nas_9", "wispr")
    assert elsewhere.terms(terms).endswith(b"\x0b\x032")


def test_actions_sections_and_placeholders_without_a_value() -> None:
    lines = """
    # how an operator would write it
    Mikrotik-Rate-Limit := "{rate_up}/{rate_down}"   # plain bit/s
    Cisco-AVPair += "ip:addr-pool={pool}"
    Cisco-AVPair += ip:vlan={vlan}
    Session-Timeout = 3600
    Tunnel-Private-Group-Id:1 := 77
    [walled_garden]
    -Mikrotik-Rate-Limit
    Reply-Message := "please pay {{now}}"
    [throttle coa]
    Mikrotik-Group := slow
    [accept]
    Framed-MTU := 1480
    []
    Filter-Id := "a \\"quoted\\" name"
    """
    rendering = Renderings([_template(lines)]).of("nas_1", "mikrotik")

    def said(effect: Effect, packet: str) -> list[str]:
        from aaa.directory import ServiceAccess

        terms = terms_of(HOME, effect, AccessPolicy())
        access = ServiceAccess("svc_1", "active", effect, 1, (), terms, None, 300, 1, "Home")
        found = rendering.accept(access) if packet == "accept" else rendering.change(access, "open")
        return [f"{one.label}={one.text}" for one in BOOK.decode(b"".join(a.encoded() for a in found))]

    assert said(Effect.NONE, "accept") == [
        "Mikrotik-Rate-Limit=5000000/25000000", "Cisco-AVPair=ip:addr-pool=homes", "Session-Timeout=3600",
        "Tunnel-Private-Group-Id:1=77", "Framed-MTU=1480", 'Filter-Id=a "quoted" name',
        "Framed-Pool=homes", "Acct-Interim-Interval=300",
    ]  # fmt: skip
    walled = said(Effect.WALLED_GARDEN, "accept")
    assert not any(one.startswith("Mikrotik-Rate-Limit") for one in walled)
    assert "Reply-Message=please pay {now}" in walled
    assert said(Effect.THROTTLE, "coa") == [
        "Mikrotik-Address-List=open", "Mikrotik-Rate-Limit=512000/1000000", "Cisco-AVPair=ip:addr-pool=homes",
        "Session-Timeout=3600", "Mikrotik-Group=slow", 'Filter-Id=a "quoted" name',
    ], "what no NAS takes for a session that runs is left out, unless a section names it"  # fmt: skip


def test_what_a_dialect_says_is_what_the_dictionary_reads() -> None:
    profile = Profile(
        id="p", name="p", rate_down_bps=10**9, rate_up_bps=10**8, burst_down_bps=2 * 10**9,
        burst_up_bps=2 * 10**8, burst_seconds=9, ipv6_pool="a", delegated_pool="b", vlan=5, outer_vlan=6,
        filter_id="f", router_group="g", priority=1, min_down_bps=10**6, min_up_bps=10**6,
        session_timeout_s=9, idle_timeout_s=8,
    )  # fmt: skip
    terms = terms_of(profile, Effect.NONE, AccessPolicy())
    for dialect in DIALECTS.values():
        for one in terms_attributes(terms, dialect) + change_attributes(terms, dialect, "open"):
            [read] = BOOK.decode(one.encoded())
            known = BOOK.find(one.name)
            assert known is not None, one.name
            assert (read.vendor, read.path) == (known.vendor, known.path), one.name
            assert read.text in one.shown or BOOK.encode(read.label, read.text) == one.encoded()


async def test_a_template_is_kept_changed_and_taken_away(any_world: World) -> None:
    nas_id, profile_id = await any_world.nas(), await any_world.profile("Home 25")
    before = await any_world.directory()
    scope = {"profile_id": profile_id, "nas_id": nas_id}
    assert await _set(any_world, "Filter-Id := a\r\n\r\n", **scope) == f"{profile_id}|{nas_id}"
    assert await _set(any_world, "Filter-Id := a", **scope) == f"{profile_id}|{nas_id}"
    async with any_world.workplace.reading() as connection:
        after = await before.refreshed(connection, any_world.sealer)
        audited = (await connection.execute(select(tables.directory_change.c.entity))).scalars().all()
    assert [one.lines for one in after.templates] == ["Filter-Id := a"]
    assert audited.count("template") == 1, "the same again is no change"
    assert after.nases is before.nases
    await _set(any_world, "Filter-Id := b", **scope)
    async with any_world.workplace.reading() as connection:
        changed = await after.refreshed(connection, any_world.sealer)
    assert [one.lines for one in changed.templates] == ["Filter-Id := b"]
    await _set(any_world, " \n", **scope)
    async with any_world.workplace.reading() as connection:
        assert (await changed.refreshed(connection, any_world.sealer)).templates == ()
    refused = await _set(any_world, "Filter-Id")
    assert isinstance(refused, Refusal)
    assert refused.field == "lines"
    for wrong, field in (
        ({"nas_id": nas_id, "dialect": "cisco"}, "dialect"), ({"dialect": "morse"}, "dialect"),
        ({"nas_id": "nas_x"}, "nas_id"), ({"profile_id": "prf_x"}, "profile_id"),
    ):  # fmt: skip
        refused = await _set(any_world, "Filter-Id := a", **wrong)
        assert isinstance(refused, Refusal)
        assert refused.field == field


@needs_radclient
async def test_the_running_server_sends_a_new_template_within_a_second(serving: Serving) -> None:  # noqa: F811
    world = serving.world
    granted(await _set(world, 'Mikrotik-Rate-Limit := "{rate_up_kbit}k/{rate_down_kbit}k"\n-Framed-Pool'))
    granted(
        await _set(
            world, 'Reply-Message := "line {service_id}"\nAcct-Interim-Interval := 900', dialect="mikrotik"
        )
    )
    await serving.settled(await _newest_change(world))
    said = await serving.radclient(
        "auth", "User-Name = alice", 'User-Password = "open sesame"', "Message-Authenticator = 0x00"
    )
    assert 'Mikrotik-Rate-Limit = "5000k/25000k"' in said
    assert 'Reply-Message = "line svc_' in said
    assert "Acct-Interim-Interval = 900" in said
    assert said.count("Acct-Interim-Interval") == 1
    assert said.count("Class =") == 1


async def test_a_template_that_no_longer_reads_is_a_trouble_and_the_dialect_goes_on(
    serving: Serving,  # noqa: F811
) -> None:
    world = serving.world
    granted(await _set(world, "Filter-Id := a"))
    async with world.workplace.work("test") as work:
        await work.connection.execute(update(tables.reply_template).values(lines="No-Such-Attribute := 1"))
        await work.connection.execute(
            tables.directory_change.insert().values(entity="template", entity_id="x", at=work.now)
        )
    await serving.settled(await _newest_change(world))
    asked = pap()
    reply = reply_to(asked, await serving.ask(octets(asked)))
    assert vendor(reply, 14988, 8) == b"5M/25M"
    [trouble] = serving.server.status().troubles
    assert "No-Such-Attribute" in trouble


async def test_a_value_that_does_not_fit_is_left_out_and_too_many_octets_are_not_sent(world: World) -> None:
    nas_id, profile_id = await world.nas(), await world.profile("Home 25", filter_id="x" * 100)
    await world.service("alice")
    long = "{filter_id}" * 3
    templates = [_template(f"Filter-Id := {long}\nReply-Message := ok", nas_id=nas_id)]
    directory = await world.directory()

    def asked(renderings: Renderings) -> Any:
        bench = bench_over(directory)
        bench.nases.learn(directory.nases, renderings)
        request = pap()
        return reply_to(request, bench.ask(octets(request)))

    renderings = Renderings(templates)
    reply = asked(renderings)
    assert reply[18] == [b"ok"]
    assert 11 not in reply
    [trouble] = renderings.troubles
    assert "line 1" in trouble
    assert "253" in trouble
    much = "\n".join(["Reply-Message += {filter_id}"] * 90)
    flooded = Renderings([_template(much, profile_id=profile_id)])
    reply = asked(flooded)
    assert 18 not in reply
    assert vendor(reply, 14988, 8) == b"5M/25M", "the dialect's own words"
    assert str(MOST_OCTETS) in flooded.troubles[0]
    assert len(NasTable(directory.nases)) == 1


async def test_memory_is_bounded_however_many_nases_have_templates_of_their_own(world: World) -> None:
    """What all keep together is counted, and forgotten together."""
    await world.profile("Home 25")
    for number in range(4):
        await world.nas(f"n{number}", f"127.0.0.{number + 1}")
        await world.service(f"u{number}")
    directory = await world.directory()
    own = [
        _template(f"Filter-Id := {{service_id}}-{n}", str(n), nas_id=one.id)
        for n, one in enumerate(directory.nases)
    ]
    renderings = Renderings(own, room=10)
    bench = bench_over(directory)
    bench.nases.learn(directory.nases, renderings)
    told = set()
    for turn in range(3):
        for nas in directory.nases:
            for user in range(4):
                asked = pap(f"u{user}", identifier=10 * turn + user)
                source = (str(nas.network.network_address), 1_000 + 100 * turn)
                told.add(bytes(reply_to(asked, bench.ask(octets(asked), source))[11][0]))
                kept = sum(len(renderings.of(one.id, one.dialect).services) for one in directory.nases)
                assert kept <= 10
    assert len(told) == 16, "each service its own words on each NAS, forgotten or not"


async def test_the_preview_is_what_is_sent_with_where_it_comes_from(world: World) -> None:
    nas_id, profile_id = await world.nas(), await world.profile("Home 25")
    service_id = await world.service("alice", framed_ip="100.64.1.1")
    async with world.workplace.work("test") as work:
        assert await set_addressing(work, service_id, delegated_prefix="2001:db8::/56") is None
    granted(await _set(world, "Filter-Id := mine", nas_id=nas_id))
    policy = AccessPolicy()

    async def look(**question: Any) -> Preview | Refusal:
        async with world.workplace.reading() as connection:
            return await preview(connection, world.sealer, PreviewQuestion(nas_id, **question), policy)

    found = await look(service_id=service_id)
    assert isinstance(found, Preview)
    bench = bench_over(await world.directory())
    directory = await world.directory()
    bench.nases.learn(directory.nases, Renderings(directory.templates))
    request = pap()
    answer = bench.ask(octets(request))
    assert answer is not None
    assert bytes.fromhex("".join(one.octets for one in found.accept)) in answer
    origins = {one.name: one.origin for one in found.accept}
    assert origins["Mikrotik-Rate-Limit"] == "dialect mikrotik"
    assert origins["Delegated-IPv6-Prefix"] == "service"
    assert "line 1" in origins["Filter-Id"]
    assert [one.name for one in found.coa] == ["Mikrotik-Rate-Limit", "Mikrotik-Address-List", "Filter-Id"]
    words = format_preview(found)
    assert "Filter-Id = mine" in words
    assert "0b066d696e65" in words
    walled = await look(profile_id=profile_id, effect=Effect.WALLED_GARDEN)
    assert isinstance(walled, Preview)
    assert "hilltop-walled" in [one.value for one in walled.accept]
    blocked = await look(service_id=service_id, effect=Effect.BLOCK)
    assert isinstance(blocked, Preview)
    assert (blocked.admitted, blocked.accept) == (False, [])
    draft = _template("-Filter-Id", "draft", nas_id=nas_id)
    drafted = await look(profile_id=profile_id, draft=draft)
    assert isinstance(drafted, Preview)
    assert "Filter-Id" not in [one.name for one in drafted.accept]
    for wrong in ({"profile_id": "prf_x"}, {"service_id": "svc_x"}):
        assert isinstance(await look(**wrong), Refusal)
    assert SECRET not in words
