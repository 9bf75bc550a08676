"""Profiles, rules, reply templates and previews on the command line, as an operator types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_appliance_cli import LONG_SECRET, Terminal, settle


@pytest.fixture(scope="module")
def hilltop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A provider with two NASes, a profile and one subscriber with a line of his own."""
    folder = tmp_path_factory.mktemp("profiles")
    run = settle(folder)
    run("init")
    (folder / "secret").write_text(LONG_SECRET + "\n")
    secret = ("--secret-file", str(folder / "secret"))
    run("nas", "add", "core", "192.0.2.2", *secret)
    run("nas", "add", "bng", "192.0.2.3", *secret, "--dialect", "cisco")
    run("profile", "add", "home", "--down", "25000000", "--up", "5000000", "--vlan", "210", "--pool", "homes")
    run("plan", "add", "home", "Home", "--price", "49.00", "--profile", "home")
    run("account", "add", "Fir Tree Farm", "--number", "A-1")
    run(
        "service", "add", "A-1", "--plan", "home", "--pppoe", "fir", "--password-file", str(folder / "secret")
    )
    yield run


def test_a_profile_is_changed_shown_and_cleared(hilltop: Terminal) -> None:
    hilltop("profile", "change", "home", "--down", "50000000", "--burst-down", "60000000", "--burst-up", "9000000",
            "--burst-seconds", "8", "--when-blocked", "walled_garden",
            says="changed burst_down_bps, burst_seconds, burst_up_bps, rate_down_bps, when_blocked")  # fmt: skip
    hilltop("profile", "change", "home", "--down", "50000000", says="nothing, it was so already")
    hilltop("profile", "change", "home", "--clear", "vlan", "--clear", "burst-down", "--clear", "burst-up",
            "--clear", "burst-seconds", says="vlan")  # fmt: skip
    shown = hilltop("profile", "show", "home")
    assert "50 Mbit/s" in shown
    assert "vlan" not in shown
    whole = json.loads(hilltop("profile", "show", "home", "--json"))
    assert (whole["rate_down_bps"], whole["vlan"], whole["services"]) == (50_000_000, None, 1)
    for words, code, says in (
        (("profile", "change", "home"), 2, "give an option"),
        (("profile", "change", "home", "--clear", "down"), 2, "--clear"),
        (("profile", "change", "home", "--vlan", "4095"), 2, "--vlan"),
        (("profile", "change", "home", "--outer-vlan", "7"), 1, "vlan"),
        (("profile", "change", "cabin", "--vlan", "7"), 1, "profile"),
        (("profile", "add", "p", "--down", "1000", "--up", "1000", "--priority", "9"), 2, "--priority"),
        (("profile", "add", "p", "--down", "1000", "--up", "1000", "--min-down", "9"), 1, "min_up_bps"),
    ):
        hilltop(*words, code=code, says=says)


def test_rules_are_set_replaced_listed_and_taken_away(hilltop: Terminal) -> None:
    hilltop("profile", "rule", "hours", "home", "evening", "--from", "18:00", "--until", "23:00",
            "--days", "mon-fri", says="throttle mon-fri 18:00 to 23:00")  # fmt: skip
    hilltop("profile", "rule", "quota", "home", "cap", "--gb", "500", "--effect", "walled_garden")
    hilltop("profile", "rule", "quota", "home", "cap", "--gb", "0.5", "--direction", "down", "--period", "billing",
            says="throttle 500.00 MB of download a billing cycle")  # fmt: skip
    listed = hilltop("profile", "rule", "list", "home")
    assert listed.count("cap") == 1
    assert "evening" in listed
    explained = hilltop("radius", "explain", "fir")
    assert "rule     cap: throttle 500.00 MB of download a billing cycle, 0 % used until" in explained
    assert "rule     evening: throttle mon-fri 18:00 to 23:00" in explained
    for words, code, says in (
        (("hours", "home", "x", "--from", "25:00", "--until", "1:00"), 1, "time of day"),
        (("hours", "home", "x", "--from", "1:00", "--until", "2:00", "--days", "holidays"), 1, "mon-fri"),
        (("quota", "home", "x", "--gb", "nan"), 2, "--gb"),
        (("quota", "home", "x", "--gb", "1", "--period", "year"), 1, "billing"),
        (("quota", "cabin", "x", "--gb", "1"), 1, "profile"),
        (("remove", "home", "y"), 1, "cap"),
    ):
        hilltop("profile", "rule", *words, code=code, says=says)
    hilltop("profile", "rule", "remove", "home", "cap", says="taken away")
    hilltop("profile", "rule", "remove", "home", "evening")
    hilltop("hold", "place", "fir", "why", "--holder", "quota", code=2, says="rules of the profile")


def test_templates_and_the_preview(hilltop: Terminal, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text('Cisco-AVPair += "ip:addr-pool={pool}"\n[walled_garden]\nReply-Message := pay\n')
    hilltop("template", "set", str(lines), "--nas", "bng", says="NAS bng: saved")
    hilltop("template", "set", "-", "--profile", "home", "--dialect", "cisco", stdin="-Filter-Id\n")
    assert "ip:addr-pool" in hilltop("template", "show", "--nas", "bng")
    listed = hilltop("template", "list")
    assert listed.index("bng") < listed.index("cisco"), "in the order of application"
    assert "{rate_down}" in hilltop("template", "placeholders")
    seen = hilltop("radius", "preview", "--profile", "home", "--nas", "bng", "--effect", "walled_garden")
    assert "Cisco-AVPair = ip:addr-pool=homes" in seen
    assert "Reply-Message = pay" in seen
    assert "Filter-Id" not in seen
    assert "CoA-Request" in seen
    assert "the router must have the policies" in seen
    found = json.loads(hilltop("radius", "preview", "--service", "fir", "--nas", "core", "--json"))
    assert found["accept"][0] == {
        "name": "Mikrotik-Rate-Limit", "value": "5M/50M", "origin": "dialect mikrotik",
        "octets": "1a0e00003a8c0808" + b"5M/50M".hex(),
    }  # fmt: skip
    assert "no session" in hilltop(
        "radius", "preview", "--profile", "home", "--nas", "core", "--effect", "ended"
    )
    for words, code, says in (
        (("template", "set", str(lines), "--nas", "bng", "--dialect", "cisco"), 1, "dialect"),
        (("template", "set", str(tmp_path / "none")), 2, "No such file"),
        (("template", "show"), 1, "template list"),
        (("radius", "preview", "--nas", "core"), 2, "--profile or --service"),
        (("radius", "preview", "--nas", "core", "--profile", "home", "--effect", "x"), 2, "--effect"),
        (("radius", "preview", "--nas", "nowhere", "--profile", "home"), 1, "NAS"),
    ):
        hilltop(*words, code=code, says=says)
    hilltop("template", "set", "-", stdin="Filter-Idd := 1\n", code=1, says="line 1")
    hilltop("template", "set", "-", stdin=b"\xff\xfe", code=2, says="UTF-8")
    hilltop("template", "set", "-", stdin="\n", code=2, says="template remove")
    hilltop("template", "remove", "--nas", "bng", says="taken away")
    assert "bng" not in hilltop("template", "list")


def test_a_service_gets_prefixes_by_hand_and_by_import(hilltop: Terminal, tmp_path: Path) -> None:
    hilltop("service", "addressing", "fir", "--delegated-prefix", "2001:db8:7::/48", "--route", "198.51.100.0/29",
            says="next sign-in")  # fmt: skip
    assert "198.51.100.0/29 0.0.0.0 1" in hilltop("radius", "explain", "fir")
    hilltop("service", "addressing", "fir", "--netmask-bits", "29", code=1, says="static address")
    table = tmp_path / "import.csv"
    table.write_text(
        "account_number,name,plan,username,password,framed_ip,netmask_bits,delegated_prefix,routes\n"
        "B-1,Elm,home,elm,words,203.0.113.9,30,2001:db8:8::/48,198.51.100.8/29; 2001:db8:9::/48\n"
    )
    hilltop("import", str(table))
    explained = hilltop("radius", "explain", "elm")
    for word in ("Framed-IP-Netmask = 255.255.255.252", "Delegated-IPv6-Prefix = 2001:db8:8::/48",
                 "198.51.100.8/29", "2001:db8:9::/48 :: 1"):  # fmt: skip
        assert word in explained
    table.write_text(
        "account_number,name,plan,username,password,delegated_prefix\n"
        "B-2,Oak,home,oak,words,2001:db8:8:1::/64\nB-3,Yew,home,yew,words,2001:db8::1/48\n"
    )
    said = hilltop("import", str(table), code=1)
    assert "delegated_prefix" in said
    assert "overlaps" in said
    assert "is not an IPv6 prefix" in said
