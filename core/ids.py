"""Identifiers: sortable by creation, unique without coordination, readable aloud."""

from __future__ import annotations

import os
import random
from typing import Protocol

from core.clock import Clock

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u


class IdSource(Protocol):
    """Where new identifiers come from."""

    def new(self, prefix: str) -> str:
        """A fresh identifier such as ``acc_01jb2k…`` (prefix, underscore, 26 characters)."""


_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""What each ten bits are written as: a bill run makes ids by the million."""
_MILLISECONDS = tuple(range(40, -1, -10))
_RANDOM = tuple(range(70, -1, -10))
"""Where the tens of bits begin, of 50 and of 80."""


def _encode(value: int, shifts: tuple[int, ...]) -> str:
    return "".join([_PAIRS[value >> shift & 1023] for shift in shifts])


class UlidSource:
    """48 bits of milliseconds and 80 random bits, as in the ULID specification, in lower case."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._millisecond = (-1, "")

    def new(self, prefix: str) -> str:
        milliseconds = int(self._clock.now().timestamp() * 1000) & ((1 << 48) - 1)
        at, text = self._millisecond
        if at != milliseconds:
            text = _encode(milliseconds, _MILLISECONDS)
            self._millisecond = (milliseconds, text)
        return f"{prefix}_{text}{_encode(int.from_bytes(os.urandom(10), 'big'), _RANDOM)}"


class SeededIds:
    """Repeatable identifiers for tests and simulations."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        return (
            f"{prefix}_{_encode(self._count, _MILLISECONDS)}{_encode(self._random.getrandbits(80), _RANDOM)}"
        )
