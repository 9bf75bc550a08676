"""Effects of holds, weakest first, and what a service may do after all of them."""

from __future__ import annotations

from enum import StrEnum


class Effect(StrEnum):
    """What is done to a service: none < throttle < walled garden < block < ended."""

    NONE = "none"
    THROTTLE = "throttle"
    WALLED_GARDEN = "walled_garden"
    BLOCK = "block"
    ENDED = "ended"

    @property
    def rank(self) -> int:
        """Place in the order of strength."""
        return list(Effect).index(self)

    @property
    def cuts_off(self) -> bool:
        """True when the subscriber must not reach the internet."""
        return self.rank >= Effect.WALLED_GARDEN.rank
