"""What the radius process finds wrong, as health issues with their remedy."""

from __future__ import annotations

from collections.abc import Iterable

from core.health import HealthIssue
from radius.nas_table import NasState

JOURNAL_ISSUE = HealthIssue(
    "radius.journal",
    "critical",
    "accounting cannot be written to the journal, so NASes get no answer and keep their records",
    "free space on the state disk, or look for a failing disk in the system log",
)


def secret_issue_key(nas_id: str) -> str:
    """The key of the issue that a NAS's secret is not ours."""
    return f"radius.secret:{nas_id}"


class SecretWatch:
    """Notices NASes whose packets are all signed with another secret than ours.

    A NAS that sends right and wrong ones is being imitated, which is none of its operator's doing.
    """

    def __init__(self) -> None:
        self._mismatched: dict[str, HealthIssue] = {}

    def issues(self, states: Iterable[NasState]) -> list[HealthIssue]:
        """The issues that stand now, after what was seen since the last time."""
        for state in states:
            if state.right:
                self._mismatched.pop(state.nas.id, None)
            elif state.wrong:
                self._mismatched[state.nas.id] = _mismatch(state)
            state.right = state.wrong = 0
        return list(self._mismatched.values())


def _mismatch(state: NasState) -> HealthIssue:
    return HealthIssue(
        secret_issue_key(state.nas.id),
        "warning",
        f"{state.nas.name} signs with another RADIUS secret than the one registered here; it gets no answer",
        "enter the same secret on the device and here",
    )
