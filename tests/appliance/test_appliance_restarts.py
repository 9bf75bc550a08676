"""The pauses before a process is started again."""

from __future__ import annotations

from appliance.restarts import Restarts


def test_pauses_grow_stay_bounded_for_ever_and_begin_anew_after_one_that_settled() -> None:
    restarts = Restarts()
    assert [restarts.pause_s(0.0) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert {restarts.pause_s(29.0) for _ in range(3_000)} == {30.0}
    assert restarts.pause_s(31.0) == 0.5
