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


def _encode(value: int, length: int) -> str:
    characters = []
    for _ in range(length):
        characters.append(_ALPHABET[value & 31])
        value >>= 5
    return "".join(reversed(characters))


class UlidSource:
    """48 bits of milliseconds and 80 random bits, as in the ULID specification, in lower case."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def new(self, prefix: str) -> str:
        milliseconds = int(self._clock.now().timestamp() * 1000) & ((1 << 48) - 1)
        return f"{prefix}_{_encode(milliseconds, 10)}{_encode(int.from_bytes(os.urandom(10), 'big'), 16)}"


class SeededIds:
    """Repeatable identifiers for tests and simulations."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{_encode(self._count, 10)}{_encode(self._random.getrandbits(80), 16)}"
