"""What a proof of the ledger answers when it fails."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class LedgerFault:
    """A contradiction in the books. ``check`` names the proof that failed; ``day``: the day it is about."""

    check: str
    subject: str
    detail: str
    day: date | None = None

    def __str__(self) -> str:
        return f"{self.check} {self.subject}: {self.detail}"
