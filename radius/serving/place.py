"""Where one RADIUS process stands among those that answer together on the same ports."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

_NONE: Mapping[str, socket.socket] = {}


@dataclass(frozen=True, slots=True)
class Place:
    """Process ``index`` of ``count``; the first one, the leader, does what one process has to do for all.

    ``sockets`` are bound already, by their name in ``RadiusSettings.endpoints``. They belong to who started
    the process: what waits in them is not lost when it is replaced. Without one the process binds its own.
    """

    index: int = 0
    count: int = 1
    sockets: Mapping[str, socket.socket] = field(default_factory=lambda: _NONE, repr=False)
    waits: bool = False
    """Whether another process answers in this place, until SIGUSR1 says that it does no more."""

    @property
    def has_others(self) -> bool:
        """Whether there may be processes beside it, or one that was here before."""
        return self.count > 1 or bool(self.sockets)

    @property
    def leads(self) -> bool:
        """Whether this process speaks for all: health issues, surplus sessions."""
        return self.index == 0


ALONE = Place()


def journal_name(index: int) -> str:
    """The file name of the journal of process ``index``, by which also what lies beside it is named."""
    return "radius.sqlite" if index == 0 else f"radius-{index}.sqlite"


def sibling_name(index: int) -> str:
    """Where, beside the journals, process ``index`` hears from the others."""
    return journal_name(index).removesuffix(".sqlite") + ".sibling"
