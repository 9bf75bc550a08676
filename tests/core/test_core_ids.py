"""Identifiers: as the ULID specification writes them, in lower case."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.clock import FakeClock
from core.ids import SeededIds, UlidSource

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def _number(text: str) -> int:
    value = 0
    for digit in text:
        value = value * 32 + _DIGITS.index(digit)
    return value


def test_an_identifier_holds_its_millisecond_and_80_random_bits() -> None:
    clock = FakeClock(datetime(2026, 3, 10, 12, 0, 0, 123_456, tzinfo=UTC))
    ids = UlidSource(clock)
    made = []
    for _ in range(3):
        milliseconds = int(clock.now().timestamp() * 1000)
        pair = [ids.new("acc"), ids.new("acc")]
        for one in pair:
            prefix, text = one.split("_")
            assert (prefix, len(text), _number(text[:10])) == ("acc", 26, milliseconds)
            assert _number(text[10:]) < 1 << 80
        made += pair
        clock.advance(timedelta(seconds=1))
    assert len(set(made)) == 6
    assert sorted(made, key=lambda one: one[:14]) == made
    assert max(_number(UlidSource(clock).new("x")[12:]).bit_length() for _ in range(50)) > 70


def test_seeded_identifiers_are_repeatable_and_in_order() -> None:
    first, second = SeededIds(7), SeededIds(7)
    made = [first.new("acc") for _ in range(50)]
    assert made == [second.new("acc") for _ in range(50)] == sorted(made)
    assert [_number(one[4:14]) for one in made] == list(range(1, 51))
