"""Taxes from the command line: a rule with all its terms, a table, a certificate, an address tried."""

from __future__ import annotations

import re
from pathlib import Path

from test_appliance_cli import settle


def _id(output: str, prefix: str) -> str:
    found = re.search(rf"{prefix}_[0-9a-z]{{26}}", output)
    assert found, output
    return found[0]


def test_taxes_from_the_command_line(tmp_path: Path) -> None:
    run = settle(tmp_path)
    run("init")
    run("account", "add", "Fir", "--number", "A-1")
    run("tax", "add", "State", "--percent", "5", "--region", "NM", "--tax-class", "voice")
    run("tax", "add", "Fund", "--percent", "37.6", "--share", "64.9", "--surcharge", "--taxable",
        "--tax-class", "voice", says="37.6 % of 64.9 %")  # fmt: skip
    run("tax", "add", "Twice", "--percent", "1", "--on", "State", "--tax-class", "voice", "--region", "NM")
    e911 = run("tax", "add", "E911", "--amount", "1.51", "--method", "per_line", "--kind", "recurring",
               "--tax-class", "voice", "--region", "NM", "--county", "Hill", says="1.51 USD a line")  # fmt: skip
    run("tax", "add", "Wrong", "--percent", "5", "--share", "0", says="--share", code=2)
    run("tax", "add", "Loop", "--percent", "5", "--on", "Nothing", says="there is no tax 'Nothing'", code=1)

    tried = run(
        "tax",
        "try",
        "30.00",
        "--region",
        "NM",
        "--county",
        "Hill",
        "--tax-class",
        "voice",
        "--on",
        "2026-05-01",
    )
    assert tried.splitlines() == [
        "net 30.00 USD",
        "Fund 37.6 % of 64.9 %, US: 7.32 USD (half up, once per rate and invoice)",
        "State 5 %, US-NM: 1.87 USD (half up, once per rate and invoice)",  # of 37.32
        "E911 1.51 USD a line, US-NM/Hill: 1.51 USD (half up, once per rate and invoice)",
        "Twice 1 %, US-NM: 0.39 USD (half up, once per rate and invoice)",  # of 39.19
        "with everything 41.09 USD",
    ]

    (tmp_path / "certificate.pdf").write_bytes(b"%PDF-1.7 exempt")
    made = run("tax", "exempt", "A-1", "NM-7", "2026-01-01", "--tax", "State", "--until", "2027-01-01",
               "--scan", str(tmp_path / "certificate.pdf"))  # fmt: skip
    run("tax", "try", "30.00", "--region", "NM", "--tax-class", "voice", "--on", "2026-05-01", "--account", "A-1",
        says="State: exempt by certificate NM-7")  # fmt: skip
    run("tax", "exemptions", "--ending-before", "2026-12-31", says="none")
    run("tax", "exemptions", says="NM-7")
    exemption = _id(made, "exm")
    run("tax", "certificate", exemption, "--output", str(tmp_path / "back.pdf"))
    assert (tmp_path / "back.pdf").read_bytes() == b"%PDF-1.7 exempt"
    run("tax", "withdraw-exemption", exemption, "--reason", "expired", says="withdrawn")
    run("tax", "certificate", "exm_0", "--output", "-", says="no picture is kept", code=1)

    run("tax", "end", _id(e911, "tax"), "2026-06-01", says="ends on 2026-06-01")
    run("tax", "list", "--on", "2026-06-01")
    assert "E911" not in run("tax", "list", "--on", "2026-06-01")
    history = run("tax", "history", "E911")
    assert history.count("1.51 USD a line") == 2
    run(
        "tax",
        "withdraw",
        _id(run("tax", "list", "--country", "US"), "tax"),
        "--reason",
        "typo",
        says="withdrawn",
    )

    table = tmp_path / "rates.csv"
    table.write_text("country,state,postal code,class,rate,from\nUS,NM,87999,internet,0.5,2026-01-01\n")
    run("tax", "import", str(table), says="line 2, name:", code=1)
    run("tax", "import", str(table), "--name", "Local", says="1 tax rules imported, 0 stood already")
    run("tax", "import", str(table), "--name", "Local", says="0 tax rules imported, 1 stood already")
    run("tax", "import", str(tmp_path / "none.csv"), says="cannot be read", code=2)


def test_the_tax_engine_from_the_command_line(tmp_path: Path) -> None:
    run = settle(tmp_path)
    run("init")
    run("tax", "engine", says="our own rules decide")
    run("tax", "try", "1.00", "--engine", says="no tax engine is in use", code=1)
    run("tax", "engine-set", "http://127.0.0.1:9", "--token-file", "-", stdin="a-token\n", says="from now on")
    run("tax", "engine", says="http://127.0.0.1:9 decides; it has 10 s to answer")
    run("tax", "try", "1.00", "--engine", says="the tax engine is away: no connection", code=1)
    run("tax", "engine-leave", says="our own rules")
    run("tax", "engine", says="http://127.0.0.1:9 is not asked")
