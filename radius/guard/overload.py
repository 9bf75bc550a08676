"""Sign-ins before reports: how many datagrams each socket takes in a wake-up when there are too many.

A report that waits is asked for again minutes later and nothing is lost; a sign-in that waits is a subscriber
without a line. While the sign-in sockets come back full, a report socket takes an eighth of its share, so a
flood of reports costs sign-ins about a tenth of a worker, and reports still move.
"""

from __future__ import annotations


class GiveWay:
    """Shared by the sockets of one worker."""

    __slots__ = ("_busy", "_little", "_usual")

    def __init__(self, usual: int) -> None:
        self._usual = usual
        self._little = max(1, usual // 8)
        self._busy = False

    def took_sign_ins(self, count: int) -> None:
        """A sign-in socket gave so many: as many as were asked for means that more are waiting."""
        self._busy = count >= self._usual

    def reports_to_take(self) -> int:
        """How many reports to take now. A full socket counts once: one gone quiet since holds nobody up."""
        if not self._busy:
            return self._usual
        self._busy = False
        return self._little
