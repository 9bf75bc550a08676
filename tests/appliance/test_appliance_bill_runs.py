"""Bill runs as an operator types them: look, run, reject, mend, approve; and the bar of a run."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from test_appliance_cli import settle

from appliance.commands.running import run_progress
from billing.invoicing.bill_run import RunProgress


def test_a_run_that_waits_for_approval_from_the_terminal(tmp_path: Path) -> None:
    hilltop = settle(tmp_path)
    hilltop("init")
    [config] = tmp_path.glob("*.toml")
    config.write_text(config.read_text() + "\n[billing]\napproval = true\n")
    hilltop("clock", "trust")
    hilltop("profile", "add", "home", "--down", "25000000", "--up", "5000000")
    hilltop("plan", "add", "home", "Home", "--price", "49.00", "--profile", "home")
    for one in ("A-1", "A-2"):
        hilltop("account", "add", "Fir", "--number", one)
        hilltop("service", "add", one, "--plan", "home", "--pppoe", one, "--password-file", "-", stdin="pw\n")
    assert "first: 2" in hilltop("bill", "preview")
    hilltop("bill", "preview", "-o", str(tmp_path / "run.csv"), says="wrote")
    assert (tmp_path / "run.csv").read_text().count("\n") == 3
    hilltop("bill", "run", says="0 invoices issued, 2 drafts to be approved")
    hilltop("bill", "reject", "A-1", "--reason", "Wrong plan", says="is rejected")
    hilltop("bill", "approve", "A-1", code=1, says="drafted again first")
    hilltop("bill", "approve", "--all", says="1 invoices issued")
    hilltop("bill", "approve", "--all", says="0 invoices issued")
    assert "Wrong plan" in hilltop("bill", "drafts", "--rejected")
    hilltop("bill", "draft-again", "--rejected", says="1 drafts to be approved")
    hilltop("bill", "approve", "A-1", says="1 invoices issued")
    hilltop("bill", "approve", "A-1", code=1, says="no draft of A-1 is open")
    hilltop("bill", "approve", code=2, says="say --all")
    hilltop("bill", "retry", says="no account is parked")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_tells_accounts_parked_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with run_progress("billing") as watch:
        watch(RunProgress(10))
        watch(RunProgress(10, 7, 2, 7))
    assert "9/10" in screen.getvalue()
    assert "2 parked" in screen.getvalue()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with run_progress("billing") as watch:  # not a terminal: nothing is drawn
        watch(RunProgress(10))
    assert sys.stderr.getvalue() == ""
