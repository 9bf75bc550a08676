"""How webhooks of gateways fared since this process began: for the page of metrics."""

from __future__ import annotations

from collections import Counter


class WebhookCounts:
    """Counts by gateway and outcome: taken, again, refused."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()

    def count(self, gateway: str, outcome: str) -> None:
        """One more."""
        self.seen[gateway, outcome] += 1
