"""The directory bench: what it says of itself, and that it does not praise what is too slow."""

from __future__ import annotations

import os

from bench import directory
from bench.directory import _Found, _rows, pss_mib
from bench.options import Measured, Options
from bench.table import as_text


def test_a_process_weighs_something() -> None:
    own = pss_mib(os.getpid())
    ballast = bytes(range(256)) * 4 * 40_000
    assert own > 5
    assert pss_mib(os.getpid()) - own > 30
    assert len(ballast) == 40_960_000


def test_what_is_worse_than_wanted_is_not_sound() -> None:
    slow = _rows("sqlite", 100_000, _Found(12.5, 4.0, 100.0, [0.2, 3.0, 0.4]))
    rows = [Measured(row, sound=row.ours <= row.theirs) for row in slow]
    assert [one.sound for one in rows] == [False, True, True]
    text = as_text([one.row for one in rows], directory.OURS, directory.THEIRS)
    assert "the slowest 3.000 s" in text
    assert list(directory.measure(Options(only=("nothing",)))) == []
