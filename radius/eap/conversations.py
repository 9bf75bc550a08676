"""The conversations under way, bounded: overall, and so that no NAS takes another's share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from radius.eap.conversation import Conversation

Owner = tuple[str, str]
"""A NAS and the address it asks from."""

_STATE_OCTETS: Final = 16


class Conversations:
    """By State. ``on_lost`` is told of each that did not come to its end and that no newer one of the same
    station took the place of: supplicants begin anew when they like."""

    def __init__(
        self, worker: int, most: int, most_of_one: int, on_lost: Callable[[Conversation], None]
    ) -> None:
        self._worker = bytes((worker,))
        self._most = most
        self._most_of_one = most_of_one
        self._on_lost = on_lost
        self._by_state: dict[bytes, Conversation] = {}
        self._by_owner: dict[Owner, dict[bytes, Conversation]] = {}
        self._newest: dict[tuple[Owner, bytes | None], bytes] = {}

    def new_state(self) -> bytes:
        """A State nobody can guess; its first octet is the worker that knows it."""
        return self._worker + os.urandom(_STATE_OCTETS - 1)

    def find(self, state: bytes, owner: Owner, station: bytes | None, now_s: float) -> Conversation | None:
        """The conversation, if it is this NAS's with this station and not over."""
        found = self._by_state.get(state)
        if found is None or found.owner != owner or found.station != station:
            return None
        if found.ends_s <= now_s:
            self._lose(found)
            return None
        return found

    def add(self, one: Conversation) -> None:
        """Take a new one; where there is no room the oldest of whoever has most goes."""
        own = self._by_owner.get(one.owner)
        if own is not None and len(own) >= self._most_of_one:
            self._lose(next(iter(own.values())))
        elif len(self._by_state) >= self._most:
            self._lose(self._one_too_many(own))
        self._by_state[one.state] = one
        self._by_owner.setdefault(one.owner, {})[one.state] = one
        self._newest[one.owner, one.station] = one.state

    def _one_too_many(self, own: dict[bytes, Conversation] | None) -> Conversation:
        """A NAS with its fair share or more gives way to itself; else whoever has most does.

        When everything is full and a NAS has less than its share, another has more.
        """
        share = self._most // max(len(self._by_owner), 1)
        if own is not None and len(own) >= share:
            return next(iter(own.values()))
        largest = max(self._by_owner.values(), key=len)
        return next(iter(largest.values()))

    def _lose(self, one: Conversation) -> None:
        is_newest = self._newest.get((one.owner, one.station)) == one.state
        self.remove(one)
        if is_newest:
            self._on_lost(one)

    def remove(self, one: Conversation) -> None:
        """It has come to its end."""
        one.close()
        if self._by_state.pop(one.state, None) is None:
            return
        if self._newest.get((one.owner, one.station)) == one.state:
            del self._newest[one.owner, one.station]
        own = self._by_owner[one.owner]
        del own[one.state]
        if not own:
            del self._by_owner[one.owner]

    def expire(self, now_s: float) -> None:
        """Let those go whose time is over; they lie in the order they began in."""
        while self._by_state:
            oldest = next(iter(self._by_state.values()))
            if oldest.ends_s > now_s:
                return
            self._lose(oldest)

    def __contains__(self, state: bytes) -> bool:
        return state in self._by_state

    def __len__(self) -> int:
        return len(self._by_state)
