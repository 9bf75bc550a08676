"""Bounds and delays of one pipeline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """Bounds and delays of one pipeline."""

    reject_delay_s: float = 1.0
    delayed_rejects: int = 10_000
    delayed_rejects_of_one: int = 1_000
    duplicate_memory_s: float = 6.0
    duplicate_entries: int = 65_536
    slow_proofs_of_one: int = 128
