"""What the console understands and says, without a wire: words of v6 and v7, errors, printing, find."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import FakeClock, SystemClock
from lab.routeros_menus import ConsoleError, format_duration, parse_duration
from lab.routeros_router import Router
from lab.routeros_script import ParseError, Parser

LIST = "/ip firewall address-list"


@pytest.fixture
def old(clock: FakeClock) -> Router:
    return Router("Tower 1", "6.49.10", clock)


@pytest.fixture
def new(clock: FakeClock) -> Router:
    return Router("Tower 1", "7.16", clock, dns={"pay.example": ["192.0.2.80", "192.0.2.81"]})


def said(router: Router, *texts: str) -> list[str]:
    """All lines printed by the texts, one after the other."""
    return [line for text in texts for line in router.run(text).lines]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("foo", "bad command name foo (line 1 column 1)"),
        ("/ip foo", "bad command name foo (line 1 column 5)"),
        ("/ip firewall address-list frobnicate", "bad command name frobnicate (line 1 column 27)"),
        (f"{LIST} add list=a address=10.0.0.1 colour=red", "expected end of command (line 1 column 55)"),
        (f"{LIST} add list= address=10.0.0.1", "expected end of command (line 1 column 37)"),
        (f"{LIST} add address=10.0.0.1", "missing value(s) of argument(s) list"),
        (f"{LIST} add list=a", "missing value(s) of argument(s) address"),
        (f"{LIST} add list=a address=2001:db8::1", "invalid value for argument address"),
        (f"{LIST} add list=a address=10.0.0.1 disabled=maybe", "invalid value of disabled, should be yes or no"),
        (f"{LIST} remove *77", "no such item"),
        (f"{LIST} set 5 comment=x", "no such item"),
        (f"{LIST} remove", "missing value(s) of argument(s) numbers"),
        (':put "unfinished', "syntax error (line 1 column 17)"),
        (':put "\\y"', "syntax error (line 1 column 8)"),
        (":put a$b", "syntax error (line 1 column 7)"),
        (":put hello; /nowhere", "bad command name nowhere (line 1 column 14)"),
        ("/ppp secret add name=a profile=gold", "input does not match any value of profile"),
        ("/ppp secret add name=a service=carrier-pigeon", "input does not match any value of service"),
        (":error \"my own words\"", "my own words"),
        (f"{LIST} print where comment~\"(\"", "error in regular expression"),
    ],
)  # fmt: skip
def test_complaints_are_the_routers_own(new: Router, text: str, complaint: str) -> None:
    assert said(new, f"{LIST} add list=x address=10.9.9.9", text) == [complaint]


def test_nothing_happens_when_any_part_of_a_line_is_wrong(new: Router) -> None:
    said(new, f"{LIST} add list=a address=10.0.0.1; /nowhere")
    assert said(new, f"{LIST} print count-only") == ["0"]


def test_slashes_inside_paths_are_words_of_version_7_alone(old: Router, new: Router) -> None:
    line = "/ip/firewall/address-list/add list=a address=10.0.0.1"
    assert said(new, line, f"{LIST} print count-only") == ["1"]
    assert said(old, line) == ["expected command name (line 1 column 4)"]
    assert said(old, f"{LIST} print count-only") == ["0"]
    assert said(new, "/ip/firewall address-list/print count-only") == ["1"]


def test_names_may_be_shortened_while_they_are_clear(new: Router) -> None:
    assert said(new, "/ip fire addr add list=a addr=10.0.0.1", "/ip fire addr pr cou") == ["1"]
    assert said(new, "/ip fire fi pr cou") == ["0"]


def test_a_second_entry_of_the_same_kind_is_refused(new: Router) -> None:
    add = f"{LIST} add list=a address=100.64.1.7"
    assert said(new, add, add) == ["failure: already have such entry"]
    assert said(new, add + "/32") == ["failure: already have such entry"], "a /32 is the address itself"
    assert said(new, f"{LIST} add list=b address=100.64.1.7") == []
    assert said(new, f":do {{ {add} }} on-error={{ :put caught }}") == ["caught"]


def test_removing_what_is_not_there_by_find_is_silent(new: Router) -> None:
    assert said(new, f"{LIST} remove [find list=a address=10.0.0.1]") == []


def test_terse_lines_as_recorded(old: Router, new: Router) -> None:
    for router in (old, new):
        said(
            router,
            f'{LIST} add list=suspended address=100.64.1.7 comment="hilltop:svc_1"',
            f"{LIST} add list=other address=10.1.2.3/24 disabled=yes",
            f"{LIST} add list=other address=10.0.0.9 timeout=5m",
        )
    assert said(old, f"{LIST} print terse") == [
        " 0   comment=hilltop:svc_1 list=suspended address=100.64.1.7 creation-time=mar/10/2026 12:00:00 ",
        " 1 X list=other address=10.1.2.0/24 creation-time=mar/10/2026 12:00:00 ",
        " 2 D list=other address=10.0.0.9 creation-time=mar/10/2026 12:00:00 timeout=5m ",
    ]
    assert said(new, f"{LIST} print terse where dynamic") == [
        " 0 D list=other address=10.0.0.9 creation-time=2026-03-10 12:00:00 timeout=5m ",
    ]
    assert said(new, f"{LIST} print terse where disabled") == [
        " 0 X list=other address=10.1.2.0/24 creation-time=2026-03-10 12:00:00 ",
    ]


def test_tables_of_both_versions(old: Router, new: Router) -> None:
    add = f"{LIST} add list=a address=100.64.1.7 comment=why"
    assert said(old, add, f"{LIST} print") == [
        "Flags: X - disabled, D - dynamic ",
        " #   LIST ADDRESS    CREATION-TIME        TIMEOUT",
        " 0   ;;; why",
        "     a    100.64.1.7 mar/10/2026 12:00:00        ",
    ]
    assert said(new, add, f"{LIST} print") == [
        "Columns: LIST, ADDRESS, CREATION-TIME",
        " #   LIST  ADDRESS     CREATION-TIME      ",
        " 0   ;;; why",
        "     a     100.64.1.7  2026-03-10 12:00:00",
    ]


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("list=a", 2),
        ("list=a and address=100.64.1.7", 1),
        ("list=a address=100.64.1.7", 1),
        ("list=a && !(address=100.64.1.7)", 1),
        ("list=a or list=b", 3),
        ('comment~"^hilltop:"', 2),
        ('comment~"^hilltop:svc_1\\$"', 1),
        ("comment", 2),
        ('comment=""', 0),
        ("list!=a", 1),
        ('address="10.0.0.0/24"', 1),
        ("address=10.0.0.0/24", 0),  # unquoted, the slash is an operator and nothing matches: measured on 7.23
        ("address=192.0.2.1", 0),
        ("(list=a and comment) or address=\"10.0.0.0/24\"", 3),
        ("disabled=no", 3),
        ("disabled=yes", 0),
    ],
)  # fmt: skip
def test_where_selects(new: Router, where: str, count: int) -> None:
    said(
        new,
        f"{LIST} add list=a address=100.64.1.7 comment=hilltop:svc_1",
        f"{LIST} add list=a address=100.64.1.70 comment=hilltop:svc_10",
        f"{LIST} add list=b address=10.0.0.0/24",
    )
    assert said(new, f"{LIST} print count-only where {where}") == [str(count)]
    assert said(new, f":put [:len [{LIST} find {where}]]") == [str(count)]


def test_scripts_reach_into_the_menus(new: Router) -> None:
    said(new, f"{LIST} add list=a address=10.0.0.1", f"{LIST} add list=a address=10.0.0.2")
    assert said(new, f":foreach i in=[{LIST} find] do={{ {LIST} set $i comment=seen }}") == []
    assert said(new, f"{LIST} print count-only where comment=seen") == ["2"]
    assert said(new, f":if ([{LIST} print count-only] > 1) do={{:put many}} else={{:put few}}") == ["many"]
    assert said(new, f":put [{LIST} get [find address=10.0.0.2] comment]") == ["seen"]
    assert said(new, f":put [{LIST} add list=a address=10.0.0.3]") == ["*3"]
    assert said(new, f"{LIST} find list=a") == [], "find alone prints nothing"
    assert said(new, ':local x "w"; :put "a\\$x=$x\\41"') == ["a$x=wA"]


def test_as_value_is_seen_through_put_alone(new: Router) -> None:
    said(new, f"{LIST} add list=a address=10.0.0.1")
    assert said(new, f"{LIST} print as-value") == []
    assert said(new, f":put [{LIST} print as-value]") == [
        ".id=*1;list=a;address=10.0.0.1;creation-time=2026-03-10 12:00:00"
    ]


def test_a_timeout_runs_out_and_dynamic_entries_die_at_a_reboot(new: Router, clock: FakeClock) -> None:
    said(new, f"{LIST} add list=a address=10.0.0.1 timeout=1h", f"{LIST} add list=a address=10.0.0.2")
    clock.advance(timedelta(minutes=59))
    assert "timeout=1m" in said(new, f"{LIST} print terse where dynamic")[0]
    clock.advance(timedelta(minutes=1))
    assert said(new, f"{LIST} print count-only") == ["1"]
    said(new, f"{LIST} add list=a address=10.0.0.1 timeout=1h")
    new.reboot()
    assert said(new, f"{LIST} print count-only") == ["1"]


def test_ids_move_at_a_reboot(new: Router) -> None:
    said(new, f"{LIST} add list=a address=10.0.0.1", f"{LIST} add list=a address=10.0.0.2")
    said(new, f"{LIST} remove *1")
    assert said(new, f":put [{LIST} find]") == ["*2"]
    new.reboot()
    assert said(new, f":put [{LIST} find]") == ["*1"]


def test_what_is_no_address_is_taken_for_a_dns_name(new: Router) -> None:
    assert said(new, f"{LIST} add list=a address=pay.example", f"{LIST} add list=a address=10.0.0.999") == []
    assert said(new, f"{LIST} print count-only where dynamic") == ["2"]
    assert said(new, f"{LIST} print count-only where address=10.0.0.999") == ["1"], "silently useless"


def test_ipv6_lists_keep_the_prefix_length(new: Router) -> None:
    menu = "/ipv6 firewall address-list"
    said(new, f"{menu} add list=a address=2001:db8::7")
    assert said(new, f'{menu} print count-only where address="2001:db8::7/128"') == ["1"]
    assert said(new, f'{menu} print count-only where address="2001:db8::7"') == ["0"]


def test_a_bare_ipv6_address_finds_its_entry(new: Router) -> None:
    menu = "/ipv6 firewall address-list"
    said(new, f"{menu} add list=a address=2001:db8::7", f"{menu} add list=a address=2001:db8::7:1")
    assert said(new, f"{menu} remove [find address=2001:db8:0::7]") == []
    assert said(new, f"{menu} print count-only") == ["1"]
    assert said(new, f"{menu} print count-only where address=2001:db8::7:1") == ["1"]


def test_rules_are_placed_before_others(new: Router) -> None:
    menu = "/ip firewall filter"
    said(new, f"{menu} add chain=forward action=drop", f"{menu} add chain=input action=accept place-before=0")
    said(new, f"{menu} add chain=output action=accept place-before=[find chain=forward]")
    rows = said(new, f"{menu} print terse")
    assert [row.split("chain=")[1].split()[0] for row in rows] == ["input", "output", "forward"]
    assert said(new, f"{menu} add chain=x action=drop place-before=9") == ["no such item"]
    assert said(new, f"{menu} print count-only") == ["3"]


@pytest.mark.parametrize(
    ("line", "writes"),
    [
        (f"{LIST} print terse where list=add", False),
        (f"{LIST} print count-only", False),
        (f"{LIST} add list=a address=100.64.1.7", True),
        (f"{LIST} remove [find list=a]", True),
        (f":do {{ {LIST} add list=a address=100.64.1.7 }} on-error={{}}", True),
        (":put add", False),
    ],
)
def test_what_would_write_is_known_by_its_verb(new: Router, line: str, writes: bool) -> None:
    assert new.would_write(line) == writes


def test_without_the_ipv6_package_there_is_no_such_menu(clock: FakeClock) -> None:
    router = Router("r", "6.49.10", clock, ipv6=False)
    assert said(router, "/ipv6 firewall address-list print") == ["bad command name ipv6 (line 1 column 2)"]
    assert said(router, f"{LIST} print count-only") == ["0"]
    router.reboot()


def test_connections_are_removed_by_pattern(old: Router, new: Router, clock: FakeClock) -> None:
    newest = Router("n", "7.18.2", clock)
    for router in (old, new, newest):
        menu = router.menus[("ip", "firewall", "connection")]
        ported = {"src-address": "100.64.1.7", "src-port": "5000"}
        joined = {"src-address": "100.64.1.7:5000"}
        menu.add({"protocol": "tcp", **(ported if router is newest else joined)})
        menu.add({"protocol": "tcp", "src-address": "100.64.1.70:5000"})
        pattern = '"^100.64.1.7(:|\\$)"'
        assert said(router, f"/ip firewall connection remove [find src-address~{pattern}]") == []
        assert said(router, "/ip firewall connection print count-only") == ["1"]


def test_ppp_secrets_by_name(new: Router) -> None:
    said(new, "/ppp secret add name=anna password=pw profile=default", "/ppp secret disable anna")
    assert said(new, "/ppp secret print count-only where name=anna and disabled") == ["1"]
    assert said(new, "/ppp secret disable bob") == ["no such item"]
    assert said(new, "/ppp secret enable [find name=bob]") == []
    assert "pw" not in " ".join(said(new, "/ppp secret print detail", "/ppp secret print terse", "/export"))
    assert said(new, "/ppp secret add name=anna") == ["failure: secret with the same name already exists"]


def test_identity_and_resource(new: Router, clock: FakeClock) -> None:
    clock.advance(timedelta(days=1, seconds=61))
    assert said(new, "/system identity set name=North", "/system identity print") == ["  name: North", ""]
    resource = said(new, "/system resource print")
    assert "             uptime: 1d1m1s" in resource
    assert "            version: 7.16 (stable)" in resource


def test_a_read_only_login_may_look_and_not_touch(new: Router) -> None:
    outcome = new.run(f"{LIST} add list=a address=10.0.0.1", may_write=False)
    assert outcome.lines == ["not enough permissions (9)"]
    assert new.run(f"{LIST} print count-only", may_write=False).lines == ["0"]


def test_a_lying_router_says_nothing_and_does_nothing(new: Router) -> None:
    new.lying = True
    assert said(new, f"{LIST} add list=a address=10.0.0.1", f"{LIST} remove *9") == []
    assert said(new, f"{LIST} print count-only") == ["0"]


def test_export_gives_lines_that_make_the_same_again(new: Router, clock: FakeClock) -> None:
    said(new, f'{LIST} add list=a address=10.0.0.1 comment="two words; \\$5 \\"x\\""')
    lines = said(new, f"{LIST} export")
    assert lines[-2:] == [LIST, 'add address=10.0.0.1 comment="two words; \\$5 \\"x\\"" list=a']
    other = Router("b", "7.16", clock)
    other.run(f"{lines[-2]} {lines[-1]}")
    assert said(other, f"{LIST} print terse") == said(new, f"{LIST} print terse")


def test_a_path_alone_goes_there(new: Router) -> None:
    there = new.run("/ip firewall").menu
    assert there == ("ip", "firewall")
    assert new.run("address-list print count-only", there).lines == ["0"]
    assert new.run("..", there).menu == ("ip",)
    assert new.run("/", there).menu == ()


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text: str) -> None:
    tree = Router("r", "7.16", SystemClock()).tree
    try:
        Parser(text, tree).parse()
    except ParseError as complaint:
        assert "(line " in str(complaint)


_WORDS = ["/ip firewall address-list", "add", "list=a", "address=10.0.0.1", "[find", "]", "{", "}", "where", "print",
          "terse", '"x', '"', "$y", ":put", ":do", "on-error=", ";", "remove", "(", ")", "~", "=", "and", "!", ".."]  # fmt: skip


@given(st.lists(st.sampled_from(_WORDS), max_size=12))
def test_no_mixture_of_words_breaks_the_router(words: list[str]) -> None:
    lines = Router("r", "7.16", SystemClock()).run(" ".join(words)).lines
    assert all(isinstance(line, str) for line in lines)


@given(st.integers(min_value=0, max_value=10_000_000))
def test_durations_come_back(seconds: int) -> None:
    span = timedelta(seconds=seconds)
    assert parse_duration(format_duration(span)) == span


def test_durations_that_are_none_are_refused() -> None:
    with pytest.raises(ConsoleError):
        parse_duration("soon")
    assert parse_duration("01:00:05") == timedelta(hours=1, seconds=5)
