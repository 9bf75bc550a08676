"""What the radius process finds wrong, as health issues with their remedy."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from core.health import HealthIssue
from radius.nas_table import NasState

JOURNAL_ISSUE = HealthIssue(
    "radius.journal",
    "critical",
    "accounting cannot be written to the journal, so NASes get no answer and keep their records",
    "free space on the state disk, or look for a failing disk in the system log",
)


class NasWatch:
    """Notices NASes whose requests get no answer: another secret, or no signature where one is due.

    A NAS that sends right and wrong ones is being imitated, which is none of its operator's doing.
    """

    def __init__(self) -> None:
        self._standing: dict[str, HealthIssue] = {}

    def issues(self, states: Iterable[NasState], registered: Collection[str]) -> list[HealthIssue]:
        """The issues that stand now, after what was seen since the last time.

        Those of a NAS that is not among the ``registered`` ids any more are over.
        """
        kept = {key for nas_id in registered for key in nas_issue_keys(nas_id)}
        self._standing = {key: issue for key, issue in self._standing.items() if key in kept}
        for state in states:
            if state.right:
                for key in nas_issue_keys(state.nas.id):
                    self._standing.pop(key, None)
            else:
                self._look_at(state)
            state.right = state.wrong = state.unsigned = 0
        return list(self._standing.values())

    def old_secret_ended(self, nas_id: str, name: str, addresses: Iterable[str]) -> None:
        """The time of a NAS's old secret is over, and these addresses were last seen to use it."""
        key = old_secret_key(nas_id)
        some = sorted(addresses)
        named = ", ".join(some[:5]) + (f" and {len(some) - 5} more" if len(some) > 5 else "")
        self._standing[key] = HealthIssue(
            key, "critical",
            f"the old RADIUS secret of {name} has ended while {named} still used it",
            "enter the new secret on the device, or rotate the secret again to one that it can be given",
        )  # fmt: skip

    def _look_at(self, state: NasState) -> None:
        secret_key, unsigned_key, _ = nas_issue_keys(state.nas.id)
        if state.wrong:
            self._standing[secret_key] = HealthIssue(
                secret_key, "warning",
                f"{state.nas.name} signs with another RADIUS secret than the one registered here",
                "enter the same secret on the device and here; until then it gets no answer",
            )  # fmt: skip
        if state.unsigned:
            self._standing[unsigned_key] = HealthIssue(
                unsigned_key, "warning",
                f"{state.nas.name} sends requests without Message-Authenticator, which are refused",
                "update the device so that it signs (RouterOS: require-message-auth), or set its "
                "message_authenticator to off and accept the risk of CVE-2024-3596",
            )  # fmt: skip


def old_secret_key(nas_id: str) -> str:
    """The key of "its old secret ended while it was in use"."""
    return f"radius.old_secret:{nas_id}"


def nas_issue_keys(nas_id: str) -> tuple[str, str, str]:
    """The keys of a NAS's issues: its secret, its missing signatures, its old secret."""
    return f"radius.secret:{nas_id}", f"radius.unsigned:{nas_id}", old_secret_key(nas_id)
