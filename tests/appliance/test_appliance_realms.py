"""``hilltop realm`` and ``hilltop home-server`` as an operator types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_appliance_cli import LONG_SECRET, Terminal, settle


@pytest.fixture(scope="module")
def hilltop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("realms")
    run = settle(folder)
    run("init")
    (folder / "secret").write_text(LONG_SECRET + "\n")
    run("profile", "add", "guests", "--down", "25000000", "--up", "5000000")
    for name, address in (("one", "192.0.2.11"), ("two", "2001:db8::2")):
        run(
            "home-server",
            "add",
            name,
            address,
            "--secret-file",
            str(folder / "secret"),
            says=f"home server {name}",
        )
    yield run


def told(hilltop: Terminal, what: str) -> dict[str, dict[str, object]]:
    return {one["name"]: one for one in json.loads(hilltop(what, "list", "--json"))}


def test_a_realm_from_first_to_last(hilltop: Terminal, tmp_path: Path) -> None:
    hilltop("realm", "add", "Partner.Example", "--server", "two", "--server", "one", "--strip", "--profile", "guests",
            "--pass", "session-timeout", says="realm Partner.Example")  # fmt: skip
    [realm] = told(hilltop, "realm").values()
    assert realm["name"] == "partner.example"
    assert (realm["servers"], realm["passes"], realm["profile"]) == (
        ["two", "one"],
        ["Session-Timeout"],
        "guests",
    )
    hilltop(
        "realm", "change", "partner.example", "--server", "one", "--no-strip", "--profile", "", "--pass", "*"
    )
    [realm] = told(hilltop, "realm").values()
    assert (realm["servers"], realm["passes"], realm["profile"], realm["strip"]) == (
        ["one"],
        ["*"],
        None,
        False,
    )
    hilltop("home-server", "remove", "one", code=1, says="asked by partner.example")
    hilltop("home-server", "change", "two", "--auth-port", "0", "--no-signs-replies", "--name", "second")
    second = told(hilltop, "home-server")["second"]
    assert (second["auth_port"], second["signs_replies"]) == (None, False)
    listed = hilltop("home-server", "list")
    assert LONG_SECRET not in listed + json.dumps(second) + hilltop("audit")
    hilltop("home-server", "remove", "second", says="removed")
    hilltop("realm", "change", "partner.example", "--own")
    assert told(hilltop, "realm")["partner.example"]["servers"] == []
    assert "our own" in hilltop("realm", "list")
    hilltop("realm", "remove", "partner.example", says="removed")
    assert not told(hilltop, "realm")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("realm", "add", "a b", "--server", "one"), 1, "no realm"),
        (("realm", "add", "x.example"), 2, "--own alone"),
        (("realm", "add", "x.example", "--own", "--server", "one"), 2, "--own alone"),
        (("realm", "add", "x.example", "--server", "nobody"), 1, "there is no home server"),
        (("realm", "add", "x.example", "--server", "one", "--server", "one"), 1, "each once"),
        (
            ("realm", "add", "x.example", "--server", "one", "--pass", "No-Such"),
            2,
            "no attribute has this name",
        ),
        (("realm", "add", "x.example", "--server", "one", "--profile", "none"), 1, "service profile"),
        (("realm", "change", "none", "--strip"), 1, "there is no realm"),
        (("realm", "change", "none"), 2, "nothing is to be changed"),
        (("home-server", "change", "one", "--address", "radius.example"), 1, "no IP address"),
        (("home-server", "change", "one", "--tries", "99"), 1, "it must be 1 to 10"),
        (("home-server", "change", "one", "--auth-port", "70000"), 1, "auth_port"),
    ],
)
def test_what_cannot_be_ends_in_one_line(
    hilltop: Terminal, words: tuple[str, ...], code: int, says: str
) -> None:
    hilltop(*words, code=code, says=says)
    assert not told(hilltop, "realm")
