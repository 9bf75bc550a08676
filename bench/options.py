"""What every measuring program is told."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from bench.table import Row


@dataclass(frozen=True, slots=True)
class Options:
    """``only``: the rows wanted, all when empty."""

    quick: bool = False
    only: tuple[str, ...] = ()
    show_config: bool = False

    def wants(self, row: str) -> bool:
        """Is ``row`` to be measured?"""
        return not self.only or row in self.only


@dataclass(frozen=True, slots=True)
class Measured:
    """A row, and whether everything behind it was right; an unsound row must not be quoted."""

    row: Row
    sound: bool


def say(text: str) -> None:
    """Progress, for people, beside the results."""
    print(text, file=sys.stderr, flush=True)
