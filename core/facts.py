"""Facts: past-tense events that rooms publish and other rooms act on, through the outbox.

A fact is a frozen dataclass whose fields are JSON values. The publishing room defines it in its own
``facts.py``; ``appliance/reactions.py`` is the one table that joins facts to commands.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Fact:
    """Base of all facts. ``kind`` names it for good; ``subject()`` is what keeps its order."""

    kind: ClassVar[str] = ""

    def subject(self) -> str:
        """The id whose facts are delivered in order."""
        raise NotImplementedError

    def payload(self) -> dict[str, Any]:
        """The fields as JSON values; they are written down at once, and so not copied."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True)
class RecordedFact:
    """A fact as the outbox holds it."""

    seq: int
    kind: str
    subject: str
    payload: dict[str, Any]
    occurred_at: datetime
    attempts: int
