"""``hilltop quota`` as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

from test_appliance_cli import settle

TERMS = {
    "metered": "down",
    "allowance": {"octets": 100_000_000_000},
    "model": {"kind": "package", "block_octets": 10_000_000_000, "minor_per_block": "250"},
    "classes": [{"name": "night", "until": "06:00", "weight": "0"}],
}


def test_terms_are_tried_before_they_are_sold(tmp_path: Path) -> None:
    hilltop = settle(tmp_path)
    file = tmp_path / "terms.json"
    file.write_text(json.dumps(TERMS))
    told = json.loads(hilltop("quota", "try", str(file), "--down-gb", "160", "--start", "2026-06-01"))
    assert (told["counted_octets"], told["steps"][0]["blocks"], told["amount_minor"]) == (
        120_000_000_000,
        2,
        500,
    )
    file.write_text(json.dumps({**TERMS, "metered": "sideways"}))
    hilltop(
        "quota",
        "try",
        str(file),
        "--start",
        "2026-06-01",
        code=2,
        says="metered must be one of sum, down, up, max",
    )
    file.write_text("{")
    hilltop("quota", "try", str(file), "--start", "2026-06-01", code=2, says="terms.json")


def test_what_is_used_and_what_cannot_be_bought(tmp_path: Path) -> None:
    hilltop = settle(tmp_path)
    hilltop("init")
    hilltop("profile", "add", "home", "--down", "25000000", "--up", "5000000")
    hilltop("plan", "add", "home", "Home", "--price", "49.00", "--profile", "home", "--allowance-gb", "150")
    hilltop("account", "add", "Fir", "--number", "A-1")
    hilltop(
        "service", "add", "A-1", "--plan", "home", "--pppoe", "fir", "--password-file", "-", stdin="fir-pw\n"
    )
    assert "Home" in hilltop("quota", "show", "A-1")
    hilltop("quota", "top-up", "fir", "10gb", code=1, says="no plan of fir offers a top-up")
    hilltop("quota", "show", "A-9", code=1, says="there is no account")
    hilltop("quota", "capped")
    hilltop("quota", "look", says="looked at 0; 0 alerts, 0 held, 0 freed, 0 topped up")
