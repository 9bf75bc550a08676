"""Rows, ratios and processor time."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bench import cpu, freeradius, radius
from bench.__main__ import main
from bench.generator import RoundResult
from bench.options import Measured, Options
from bench.radius import Side
from bench.table import Row, as_text


def a_round(per_second: float, lost: int = 0) -> RoundResult:
    return RoundResult(
        sent=100, answered=100 - lost, answered_in_time=int(per_second * 2), seconds=2.0, retransmitted=0, lost=lost,
        strays=0, wrong=0, first_fault="", p50_ms=1.0, p99_ms=2.0, signed_replies=True, sessions=0, reports=0,
        generator_cpu_us=5.0,
    )  # fmt: skip


def test_more_is_better_whichever_way_the_figure_runs() -> None:
    assert Row("rate", 300.0, 200.0, "/s", "").ratio == 1.5
    assert Row("latency", 2.0, 3.0, "ms", "", less_is_better=True).ratio == 1.5
    assert Row("nothing", 300.0, 0.0, "/s", "").ratio == 0.0


def test_one_object_a_line_with_the_agreed_fields() -> None:
    line = Row("pap", 54_000.0, 36_000.0, "answered requests/s", "a note").as_json()
    assert "\n" not in line
    shown = json.loads(line)
    assert list(shown) == ["name", "ours", "theirs", "ratio", "unit", "note"]
    assert shown["ratio"] == 1.5


def test_the_table_shows_every_row_and_its_note() -> None:
    text = as_text([Row("pap", 54_000.0, 36_000.0, "/s", "signed")], "Hilltop", "FreeRADIUS")
    assert "54,000" in text
    assert "1.50" in text
    assert "pap: signed" in text


def test_a_side_is_its_median_round() -> None:
    side = Side("Hilltop", 1, [])
    side.rounds += [a_round(10.0), a_round(1000.0), a_round(20.0)]
    assert side.per_second == 20.0


def test_processor_time_counts_the_children() -> None:
    burn = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(12_000_000))'])"
    before = cpu.used_s([os.getpid()])
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert cpu.used_s([os.getpid()]) - before >= 0.05
    assert cpu.memory_mib([os.getpid()]) > 1


def test_a_missing_package_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(freeradius, "missing_packages", lambda: ["freeradius-postgresql"])
    assert main(["radius"]) == 2
    assert "apt-get install freeradius-postgresql" in capsys.readouterr().err


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["radius", "--only", "papp"]) == 2
    assert "the rows are pap, chap" in capsys.readouterr().err


def test_an_unsound_row_is_shown_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_options: Options) -> list[Measured]:
        return [Measured(Row("pap", 1.0, 1.0, "/s", "NOT SOUND"), sound=False)]

    monkeypatch.setattr(radius, "measure", measure)
    assert main(["radius", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["note"] == "NOT SOUND"
