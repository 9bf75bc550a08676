"""Money that moves, ACH and bank statements as an operator types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from test_appliance_cli import settle


def test_payments_bank_and_ach_from_the_terminal(tmp_path: Path) -> None:
    hilltop = settle(tmp_path)
    hilltop("init")
    hilltop("account", "add", "Ann Example", "--number", "A-000077")
    paid = hilltop(
        "pay", "A-000077", "100.00", "--key", "r1", "--method", "cheque", "--reference", "No 12", "--in-hand"
    )
    assert "credit 100.00 USD" in paid
    payment = re.search(r"pay_\w+", hilltop("payment", "list"))
    assert payment is not None
    hilltop("deposit-slip", "draw", says="slip DS-000001: 1 payments, 100.00 USD")
    hilltop("deposit-slip", "draw", code=1, says="no cheque in USD waits")
    [item] = json.loads(hilltop("deposit-slip", "show", "DS-000001", "--json"))
    assert item["reference"] == "No 12"
    hilltop("deposit", "take", "A-000077", "40", "--reason", "router", "--key", "d", says="taken")
    [deposit] = json.loads(hilltop("deposit", "list", "A-000077", "--json"))
    hilltop(
        "deposit", "release", deposit["id"], "--reason", "back", "--amount", "10", says="released: 10.00 USD"
    )
    hilltop("refund", "order", "A-000077", "25", "--reason", "asked", "--key", "f", says="ordered")
    hilltop("refund", "order", "A-000077", "25", "--reason", "asked", "--key", "f", says="exists")
    hilltop("refund", "order", "A-000077", "2500", "--reason", "asked", code=1, says="45.00 USD")
    [due] = json.loads(hilltop("refund", "list", "--due", "--json"))
    hilltop("refund", "end", due["id"], "paid", "--reference", "cheque 9", says="paid")
    hilltop(
        "reverse", payment[0], "bounced", "--kind", "nsf", "--amount", "5", "--source", "b1", says="5.00 USD"
    )
    hilltop(
        "reverse", payment[0], "bounced", "--kind", "nsf", "--amount", "5", "--source", "b1", says="exists"
    )
    hilltop("allocation", "rule", "newest", "--class", "standard", says="class standard: newest")
    assert "newest" in hilltop("allocation", "rule")
    hilltop("allocation", "by-rule", payment[0], says="follows the rule")
    hilltop("allocation", "give", payment[0], "INV-1", code=1, says="has no open invoice")

    mapping = tmp_path / "mapping.json"
    mapping.write_text(
        json.dumps({"booked": "day", "amount": "amount", "remittance": ["text"], "payer_name": "payer"})
    )
    hilltop("bank", "account", "checking", "--mapping", str(mapping), says="bank account checking")
    file = tmp_path / "bank.csv"
    rows = [
        "day,amount,text,payer",
        "2026-03-02,30,for A-000077,Ann",
        "2026-03-03,7,?,Uncle",
        "2026-03-03,-1,fee,",
    ]
    file.write_text("\n".join(rows))
    assert "A-000077" in hilltop("bank", "import", "checking", str(file), "--preview")
    hilltop("bank", "import", "checking", str(file), says="taken: 3 lines, 3 new, 1 recorded, 2 in the inbox")
    hilltop("bank", "import", "checking", str(file), says="this file came before (3 lines, 3 new, 1 recorded")
    hilltop("bank", "accounts", says="checking")
    uncle, fee = sorted(
        json.loads(hilltop("bank", "inbox", "--json")), key=lambda one: one["amount"], reverse=True
    )
    hilltop("bank", "assign", uncle["id"], "A-000077=4", "A-000077=3", says="recorded: pay_")
    hilltop("bank", "undo", uncle["id"], "--reason", "once more", says="open again")
    hilltop("bank", "assign", uncle["id"], "A-000077", "--remember", says="recorded")
    hilltop("bank", "ignore", fee["id"], "--reason", "bank fee", says="ignored")
    [rule] = json.loads(hilltop("bank", "rules", "--json"))
    hilltop("bank", "forget", rule["id"], says="forgotten")

    hilltop("ach", "originator", "main", "--destination", "091400606", "--destination-name", "Example Bank", "--origin", "1234567890",
            "--origin-name", "Hilltop", "--company-name", "Hilltop", "--company-id", "1234567890", "--odfi", "09140060", says="main: aor_")  # fmt: skip
    number = tmp_path / "number"
    number.write_text("555123998\n")
    hilltop("ach", "bank-account", "A-000077", "--holder", "Ann", "--routing", "091000019", "--authorised-on", "2026-01-02",
            "--mandate", "form 3", "--number-file", str(number), "--prenote", says="bac_")  # fmt: skip
    [kept] = json.loads(hilltop("ach", "bank-accounts", "A-000077", "--json"))
    assert (kept["ending"], kept["usable_from"]) == ("3998", "after its prenote")
    drafted = re.search(r"ach_\w+", hilltop("ach", "draft", "main", says="1 entries, 0.00 USD"))
    assert drafted is not None
    hilltop("ach", "file", drafted[0], code=1, says="must be approved first")
    hilltop("ach", "approve", drafted[0], says="approved")
    out = tmp_path / "out.txt"
    hilltop("ach", "file", drafted[0], "-o", str(out), says="made; sha256")
    first = out.read_bytes()
    assert {len(one) for one in first.decode().split("\r\n")} == {94, 0}
    hilltop("ach", "file", drafted[0], "-o", str(out), says="exists; sha256")
    assert out.read_bytes() == first
    assert "settled" in hilltop("ach", "show", drafted[0])
    assert "sent" in hilltop("ach", "list")
    hilltop("ach", "returns", str(out), code=1, says="no return")
    assert "none" in hilltop("ach", "list-returns")
    hilltop("ach", "settle", says="0 debits settled")
    hilltop("ledger", "verify")
    assert "555123998" not in hilltop("audit")
