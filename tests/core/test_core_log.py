"""One event a line, for machines and for people."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from decimal import Decimal

import pytest

from core import log


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    role, threshold = log._setup.role, log._setup.threshold
    yield
    log._setup.role, log._setup.threshold = role, threshold


def test_elsewhere_a_line_is_json_with_role_room_and_whatever_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    log.configure_logging("worker", "info")
    log.logger("billing").info("ran", invoices=3, total=Decimal("1.50"))
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "room": "billing", "invoices": 3, "total": "Decimal('1.50')", "level": "info", "event": "ran", "role": "worker",
    }  # fmt: skip


def test_what_is_below_the_level_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    log.configure_logging("worker", "warning")
    log.logger("core").info("unheard")
    log.logger("core").debug("unheard")
    log.logger("core").warning("heard")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["heard"]


def test_an_exception_comes_with_its_traceback_on_the_same_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    log.configure_logging("worker")
    room, kept = log.logger("core"), ValueError("kept")
    try:
        {}["present"]
    except KeyError:
        room.exception("failed")
        room.error("failed", exc_info=True)
    room.error("failed", exc_info=kept)
    room.error("failed", exc_info=None)
    said = [json.loads(line).get("exception", "") for line in stream.getvalue().splitlines()]
    assert [one.splitlines()[-1:] for one in said] == [["KeyError: 'present'"]] * 2 + [
        ["ValueError: kept"],
        [],
    ]


def test_on_a_terminal_people_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := Screen())
    log.configure_logging("radius")
    log.logger("radius").error("journal_failing", remedy="make room")
    assert "journal_failing\x1b[0m room=radius remedy=make room role=radius\n" in stream.getvalue()
