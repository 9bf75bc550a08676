"""``hilltop sessions``: what was reported is what is listed, shown and answered."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from test_appliance_cli import LONG_SECRET, Terminal, settle

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.record_accounting import record_accounting
from appliance.settings import load_settings
from appliance.wiring import open_house


@pytest.fixture(scope="module")
def hilltop(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    """A provider with one subscriber whose line was up for ten minutes an hour ago and is up again."""
    folder = tmp_path_factory.mktemp("sessions")
    run = settle(folder)
    run("init")
    run("nas", "add", "ridge", "192.0.2.2", "--secret-file", "-", stdin=LONG_SECRET)
    run("profile", "add", "home", "--down", "25000000", "--up", "5000000")
    run("plan", "add", "home", "Home", "--price", "49.00", "--profile", "home")
    run("account", "add", "Fir", "--number", "A-1")
    run("service", "add", "A-1", "--plan", "home", "--pppoe", "fir", "--password-file", "-", stdin="fir-pw\n")
    asyncio.run(_dial(run.config))
    return run


async def _dial(config: Path) -> None:
    async with open_house(load_settings(config)) as house:
        async with house.workplace.reading() as connection:
            from appliance.lookup import find

            nas_id = await find(connection, "nas", "ridge")
        now = house.clock.now().replace(microsecond=0)

        def told(kind: AccountingKind, minutes: int, number: str, **fields: object) -> AccountingEvent:
            at = now - timedelta(minutes=minutes)
            return AccountingEvent(
                nas_id=nas_id, kind=kind, acct_session_id=number, username="fir", class_token=b"", occurred_at=at,
                received_at=at, framed_ip="100.64.0.9", calling_station="02-00-5e-00-00-01", **fields,  # type: ignore[arg-type]
            )  # fmt: skip

        events = [
            told(AccountingKind.START, 60, "a1"), told(AccountingKind.START, 2, "a2"),
            told(AccountingKind.STOP, 50, "a1", terminate_cause="Lost-Carrier", octets_out=5_000_000, octets_in=1_000),
        ]  # fmt: skip
        async with house.workplace.work("test") as work:
            await record_accounting(work, events, b"k" * 32)


def listed(hilltop: Terminal, *words: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(hilltop("sessions", "list", "--json", *words))["sessions"]
    return found


def test_lists_and_filters(hilltop: Terminal) -> None:
    assert [one["acct_session_id"] for one in listed(hilltop)] == ["a2"]
    assert [one["acct_session_id"] for one in listed(hilltop, "--all")] == ["a2", "a1"]
    for words in (
        ("--closed",), ("--all", "--why", "Lost-Carrier"), ("--closed", "--mac", "02:00:5E:00:00:01", "--user", "fir"),
        ("--closed", "--service", "fir", "--nas", "ridge"), ("--closed", "--account", "A-1", "--address", "100.64.0.9"),
    ):  # fmt: skip
        (one,) = listed(hilltop, *words)
        assert (one["acct_session_id"], one["why"], one["octets_down"]) == (
            "a1",
            "the link to the CPE was lost",
            5_000_000,
        )
    first = json.loads(hilltop("sessions", "list", "--all", "--limit", "1", "--json"))
    (second,) = listed(hilltop, "--all", "--after", first["next_after"])
    assert second["acct_session_id"] == "a1"
    hilltop("sessions", "list", "--all", says="the link to the CPE was lost")


def test_one_session(hilltop: Terminal) -> None:
    (one,) = listed(hilltop, "--closed")
    detail = json.loads(hilltop("sessions", "show", str(one["id"]), "--json"))
    assert [reading["evidence"]["kind"] for reading in detail["readings"]] == ["stop", "start"]
    hilltop("sessions", "show", str(one["id"]), says="the link to the CPE was lost")
    hilltop("sessions", "show", "ses_none", code=1, says="there is no session")


def test_who_had_an_address(hilltop: Terminal, tmp_path: Path) -> None:
    (one,) = listed(hilltop, "--closed")
    began = str(one["started_at"]).replace(" ", "T")
    asked = ("sessions", "at", "100.64.0.9", began, "--reason", "letter 77", "--tolerance", "0")
    answer = json.loads(hilltop(*asked, "--json"))
    assert answer["verdict"] == "held"
    assert answer["holders"][0]["subscriber"]["number"] == "A-1"
    assert [report["evidence"]["kind"] for report in answer["holders"][0]["reports"]] == ["start", "stop"]
    report = tmp_path / "report.pdf"
    assert "certain: Fir, account A-1" in hilltop(*asked, "--pdf", str(report))
    assert report.read_bytes().startswith(b"%PDF-")
    hilltop("audit", says="letter 77")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("list", "--mac", "zz"), 2, "--mac"), (("list", "--from", "soon"), 2, "--from"), (("list", "--after", "x"), 2, "--after"),
        (("list", "--nas", "nowhere"), 1, "there is no NAS"), (("at", "100.64.0.9", "2026-03-10 01:00", "--reason", "x"), 2, "says no time zone"),
        (("at", "here", "2026-03-10 01:00Z", "--reason", "x"), 1, "is no address"), (("at", "100.64.0.9", "2026-03-10 01:00Z", "--reason", " "), 1, "the reason is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_a_line(
    hilltop: Terminal, words: tuple[str, ...], code: int, says: str
) -> None:
    hilltop("sessions", *words, code=code, says=says)


def test_who_may_give_orders(hilltop: Terminal, tmp_path: Path) -> None:
    secret = ("--secret-file", "-")
    hilltop("dynauth", "permit", "script", "192.0.2.7", *secret, "--nas", "ridge", stdin=LONG_SECRET)
    hilltop("dynauth", "list", says="radius.dynauth_listen")
    (one,) = json.loads(hilltop("dynauth", "list", "--json"))
    assert (one["network"], one["may_disconnect"], one["may_change"], len(one["nas_ids"])) == (
        "192.0.2.7/32",
        True,
        False,
        1,
    )
    hilltop(
        "dynauth",
        "change",
        "script",
        "--change",
        "--every-nas",
        "--disable",
        says="enabled, may_change, nas_ids changed",
    )
    (one,) = json.loads(hilltop("dynauth", "list", "--json"))
    assert (one["may_change"], one["nas_ids"], one["enabled"]) == (True, None, False)
    hilltop(
        "dynauth", "permit", "script", "192.0.2.8", *secret, stdin=LONG_SECRET, code=1, says="has it already"
    )
    hilltop("dynauth", "permit", "other", "192.0.2.8", *secret, stdin="short", code=1, says="secret")
    hilltop("dynauth", "change", "nobody", "--name", "x", code=1, says="there is no client")
    hilltop("dynauth", "forget", "script", says="forgotten")
    assert json.loads(hilltop("dynauth", "list", "--json")) == []


def test_an_order_to_a_nas_that_does_not_listen_fails_and_says_the_remedy(hilltop: Terminal) -> None:
    hilltop("settings", "set", "radius.dynauth_timeout_s", "0.1")
    (one,) = listed(hilltop)
    for word in ("disconnect", "reapply"):
        assert "check that it listens" in hilltop("sessions", word, str(one["id"]), code=1)
    hilltop("sessions", "show", str(one["id"]), says="no answer from 192.0.2.2")
    hilltop("sessions", "disconnect", "ses_none", code=1, says="is no open session")


def test_tokens_of_programs(hilltop: Terminal) -> None:
    token = hilltop("token", "make", "sync", "--scope", "act").strip()
    assert token.startswith("hilltop_")
    (one,) = json.loads(hilltop("token", "list", "--json"))
    assert (one["name"], one["scope"], one["revoked_at"]) == ("sync", "act", None)
    assert token not in hilltop("token", "list") + hilltop("audit")
    hilltop("token", "make", "sync", code=1, says="choose another name")
    hilltop("token", "make", "other", "--scope", "all", code=1, says="read, act")
    hilltop("token", "revoke", "sync", says="revoked")
    hilltop("token", "revoke", "nobody", code=1, says="there is no token")
    assert json.loads(hilltop("token", "list", "--json"))[0]["revoked_at"]
