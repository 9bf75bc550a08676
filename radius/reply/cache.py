"""Replies remembered for retransmits: the same request gets the same octets (RFC 5080 section 2.2.2).

Two generations of a dictionary: the older one is dropped whole, so forgetting costs nothing per request
and memory is bounded. An entry lives at least ``memory_s`` unless ``entries`` newer ones push it out.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

Source = tuple[Any, ...]
"""Source address, source port, and whatever else the endpoint needs to reply; the address comes first."""
Key = tuple[Source, int]
"""What identifies a retransmit: where it comes from, and its identifier."""
Remembered = tuple[int, bytes | None]
"""A request's fingerprint and its reply; None while it is in work.

The fingerprint is ``hash()`` of the whole packet, which is keyed with this process's own random key: a
forgery that repeats an authenticator under other attributes is a new request, and is judged as one.
"""


class ReplyCache:
    """Keyed by source address, source port and identifier."""

    __slots__ = ("_entries", "_memory_s", "_old", "_turned_at", "_young")

    def __init__(self, memory_s: float, entries: int) -> None:
        self._memory_s = memory_s
        self._entries = entries
        self._young: dict[Hashable, Remembered] = {}
        self._old: dict[Hashable, Remembered] = {}
        self._turned_at = float("-inf")

    def find(self, key: Hashable, fingerprint: int) -> Remembered | None:
        """What is remembered of exactly this request."""
        known = self._young.get(key) or self._old.get(key)
        return known if known is not None and known[0] == fingerprint else None

    def put(self, key: Hashable, fingerprint: int, reply: bytes | None) -> None:
        """Remember a request; an older one under the same key is forgotten."""
        self._young[key] = (fingerprint, reply)
        if len(self._young) >= self._entries:
            self._turn()

    def complete(self, key: Hashable, fingerprint: int, reply: bytes) -> None:
        """The request in work has its reply, unless another one has taken its place."""
        if self.find(key, fingerprint) is not None:
            self.put(key, fingerprint, reply)

    def drop(self, key: Hashable, fingerprint: int) -> None:
        """Forget a request that could not be answered, so that its retransmit is tried afresh."""
        for generation in (self._young, self._old):
            known = generation.get(key)
            if known is not None and known[0] == fingerprint:
                del generation[key]

    def age(self, now_s: float) -> None:
        """Let time pass; call it a few times a second."""
        if now_s - self._turned_at >= self._memory_s:
            self._turn()
            self._turned_at = now_s

    def _turn(self) -> None:
        self._old, self._young = self._young, {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
