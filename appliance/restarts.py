"""How soon a process that ended by itself is started again. Only light imports: a small head asks too."""

from __future__ import annotations

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_SETTLED_S = 30.0
_DOUBLINGS = 16


class Restarts:
    """The ends of one process, one after the other: each is given twice the pause of the last."""

    def __init__(self) -> None:
        self._failures = 0

    def pause_s(self, served_s: float) -> float:
        """The pause after one that ended and had served so long, 0 for one that never came to it.

        After one that had settled the pauses are short again.
        """
        if served_s > _SETTLED_S:
            self._failures = 0
        self._failures += 1
        doublings = min(self._failures - 1, _DOUBLINGS)  # a night of ends must not make a number too large
        return min(_FIRST_PAUSE_S * 2.0**doublings, _LONGEST_PAUSE_S)
