"""``hilltop subscription``, ``charge``, ``plan define`` and ``invoice credit`` as an operator types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from test_appliance_cli import settle

STATIC_IP = {
    "code": "static-ip", "name": "Static IP", "kind": "addon", "currency": "USD",
    "items": [{"code": "recurring", "kind": "recurring", "name": "Static IPv4", "price_minor": 500}],
}  # fmt: skip


def test_an_order_is_previewed_given_and_taken_back(tmp_path: Path) -> None:
    hilltop = settle(tmp_path)
    hilltop("init")
    hilltop("profile", "add", "home", "--down", "25000000", "--up", "5000000")
    for code, price in (("home", "49.00"), ("big", "79.00")):
        hilltop("plan", "add", code, code.title(), "--price", price, "--profile", "home")
    odd = ("plan", "add", "k", "K", "--price", "5", "--profile", "home", "--tier", "0:0.005")
    hilltop(*odd, code=1, says="--tier: sizes must rise")
    hilltop("account", "add", "Nobody", "--currency", "XXQ", code=1, says="XXQ is no currency that is in use")
    file = tmp_path / "static-ip.json"
    file.write_text(json.dumps(STATIC_IP))
    assert "addon static-ip" in hilltop("plan", "define", str(file))
    assert json.loads(hilltop("plan", "show", "static-ip"))["items"] == STATIC_IP["items"]
    file.write_text(json.dumps({**STATIC_IP, "price": 5}))
    hilltop("plan", "define", str(file), code=1, says="price: there is no such field")
    hilltop("account", "add", "Fir", "--number", "A-1")
    hilltop(
        "service", "add", "A-1", "--plan", "home", "--pppoe", "fir", "--password-file", "-", stdin="fir-pw\n"
    )
    hilltop("subscription", "add", "A-1", "static-ip", "--to", "fir")
    assert "static-ip v1" in hilltop("subscription", "list", "A-1")
    told = hilltop("subscription", "plan", "fir", "big", "--at-period-end", "--preview")
    assert "difference 30.00 USD; nothing was changed" in told
    hilltop("subscription", "plan", "fir", "big", "--at-period-end")
    changes = hilltop("subscription", "show", "fir")
    [planned] = re.findall(r"(sch_\w+) +\S+ +plan ", changes)
    hilltop("subscription", "withdraw", "fir", planned, "--reason", "changed his mind")
    assert "no" in hilltop("subscription", "show", "fir").splitlines()[-2]
    hilltop("subscription", "resume", "fir", code=1, says="it is not paused")
    told = hilltop("account", "set", "A-1", "--cycle", "2 weeks")
    assert "Home (49.00 USD) has no period of its own: its price is now for 2 weeks" in told
    hilltop("account", "set", "A-1", "--cycle", "month")
    hilltop("charge", "add", "A-1", "Visit", "40", "--source", "ticket-7")
    hilltop("charge", "add", "A-1", "Visit", "40", "--source", "ticket-7")  # the same event
    charged = hilltop("charge", "list", "A-1")
    assert charged.count("ticket-7") == 1
    [charge] = re.findall(r"chg_\w+", charged)
    hilltop("charge", "withdraw", charge, "--reason", "mistake")
    assert "withdrawn" in hilltop("charge", "list", "A-1")
    hilltop("bill", "run", "--trust-clock")
    assert "CN-000001: -2.00 USD" in hilltop(
        "invoice", "credit", "INV-000001", "--reason", "a day without", "--line", "1=2.00"
    )
    hilltop("invoice", "credit", "INV-000001", "--reason", "more", "--line", "1=999", code=1, says="line 1")
    twice = ("--line", "1=1.00", "--line", "1=2.00")
    hilltop("invoice", "credit", "INV-000001", "--reason", "more", *twice, code=2, says="each line once")
    hilltop("subscription", "end", "fir", "--on", "1999-01-01", code=2, says="choose a day")
    hilltop("ledger", "verify")
