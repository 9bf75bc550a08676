"""What the radius process finds wrong, as health issues with their remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.health import HealthIssue
from radius.nas.table import NOTHING_SEEN, Seen

JOURNAL_ISSUE = HealthIssue(
    "radius.journal",
    "critical",
    "accounting cannot be written to the journal, so NASes get no answer and keep their records",
    "free space on the state disk, or look for a failing disk in the system log",
)
DAMAGED_JOURNAL_KEY = "radius.journal_damaged"


def damaged_journal_issue(names: Sequence[str]) -> HealthIssue:
    """For journals that could not be read any more and were put aside: ``names`` are their files."""
    return HealthIssue(
        DAMAGED_JOURNAL_KEY,
        "critical",
        f"a journal was damaged and put aside ({', '.join(names)}): reports that were answered and not yet "
        "in the database may be in it and nowhere else",
        "look for a failing disk in the system log; get out of the file what can be had (sqlite3 FILE "
        ".recover), then move it away",
    )


_QUIET_TURNS = 60
_TOLD_TURNS = 600


@dataclass(slots=True)
class NasTotals:
    """What came from a NAS since the start of this process."""

    name: str
    right: int = 0
    wrong: int = 0
    unsigned: int = 0
    over_limit: int = 0
    unknown_not_answered: int = 0

    def add(self, counts: Seen) -> None:
        """More has come."""
        self.right += counts.right
        self.wrong += counts.wrong
        self.unsigned += counts.unsigned
        self.over_limit += counts.over
        self.unknown_not_answered += counts.unknown


class NasWatch:
    """Notices NASes whose requests get no answer: another secret, or no signature where one is due.

    A NAS that sends right and wrong ones is being imitated, which is none of its operator's doing.
    """

    def __init__(self) -> None:
        self._standing: dict[str, HealthIssue] = {}
        self._quiet: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self.ended: dict[str, HealthIssue] = {}
        """Old secrets that ended while this process still saw them used; told by the process itself."""
        self.totals: dict[str, NasTotals] = {}
        """What this process has counted of each NAS since its start, by the NAS's id."""

    def count(self, seen: Mapping[str, Seen], names: Mapping[str, str]) -> None:
        """Take note of what this process has seen since the last time, by NAS id; ``names`` of all by id.

        The end of an old secret is told for ten minutes: whoever goes on with it is a finding of its own.
        """
        for key in list(self.ended):
            self._told[key] = self._told.get(key, 0) + 1
            if self._told[key] > _TOLD_TURNS:
                del self.ended[key], self._told[key]
        self.totals = {nas_id: one for nas_id, one in self.totals.items() if nas_id in names}
        self.ended = {
            old_secret_key(nas_id): self.ended[old_secret_key(nas_id)]
            for nas_id in names
            if old_secret_key(nas_id) in self.ended and not seen.get(nas_id, NOTHING_SEEN).right
        }
        for nas_id, counts in seen.items():
            if nas_id in names:
                self.totals.setdefault(nas_id, NasTotals(names[nas_id])).add(counts)

    def issues(self, seen: Mapping[str, Seen], names: Mapping[str, str]) -> list[HealthIssue]:
        """The issues that stand now, after what all processes have seen since the last time, by NAS id.

        Those of a NAS that is not among ``names`` (of the registered ones, by id) any more are over.
        """
        kept = {key for nas_id in names for key in nas_issue_keys(nas_id)}
        self._standing = {key: issue for key, issue in self._standing.items() if key in kept}
        self._let_floods_end()
        for nas_id, counts in seen.items():
            if nas_id not in names:
                continue
            self._look_for_floods(nas_id, names[nas_id], counts)
            if counts.right:
                for key in nas_issue_keys(nas_id)[:2]:
                    self._standing.pop(key, None)
            else:
                self._look_at(nas_id, names[nas_id], counts)
        return list(self._standing.values())

    def counts_by_name(self) -> dict[str, dict[str, int]]:
        """What came from each NAS since the start, for those who draw curves."""
        return {
            one.name: {
                "right": one.right, "wrong": one.wrong, "unsigned": one.unsigned,
                "over_limit": one.over_limit, "unknown_not_answered": one.unknown_not_answered,
            }
            for one in self.totals.values()
        }  # fmt: skip

    def _let_floods_end(self) -> None:
        """A flood is over when a minute of turns has seen none of it."""
        for key in [key for key, turns in self._quiet.items() if turns >= _QUIET_TURNS]:
            del self._quiet[key]
            self._standing.pop(key, None)
        for key in self._quiet:
            self._quiet[key] += 1

    def _look_for_floods(self, nas_id: str, name: str, counts: Seen) -> None:
        *_, flood_key, storm_key = nas_issue_keys(nas_id)
        if counts.over:
            self._quiet[flood_key] = 0
            self._standing[flood_key] = HealthIssue(
                flood_key, "warning",
                f"{name} sends more RADIUS than a worker takes from it; the rest gets silence",
                "look for a loop or a forged source on its side; if it is right, raise "
                "radius.requests_per_s_of_source and radius.requests_per_s_of_nas",
            )  # fmt: skip
        if counts.unknown:
            self._quiet[storm_key] = 0
            self._standing[storm_key] = HealthIssue(
                storm_key, "warning",
                f"{name} asks for many logins that nobody has; not all are answered",
                "see the refused sign-ins: somebody is guessing names, or the services of that tower are "
                "missing here; radius.unknown_names_per_s is the limit",
            )  # fmt: skip

    def old_secret_ended(self, nas_id: str, name: str, addresses: Iterable[str]) -> None:
        """The time of a NAS's old secret is over, and these addresses were last seen to use it."""
        key = old_secret_key(nas_id)
        self._told[key] = 0
        some = sorted(addresses)
        named = ", ".join(some[:5]) + (f" and {len(some) - 5} more" if len(some) > 5 else "")
        self.ended[key] = HealthIssue(
            key, "critical",
            f"the old RADIUS secret of {name} has ended while {named} still used it",
            "enter the new secret on the device, or rotate the secret again to one that it can be given",
        )  # fmt: skip

    def _look_at(self, nas_id: str, name: str, counts: Seen) -> None:
        secret_key, unsigned_key, *_ = nas_issue_keys(nas_id)
        if counts.wrong:
            self._standing[secret_key] = HealthIssue(
                secret_key, "warning",
                f"{name} signs with another RADIUS secret than the one registered here",
                "enter the same secret on the device and here; until then it gets no answer",
            )  # fmt: skip
        if counts.unsigned:
            self._standing[unsigned_key] = HealthIssue(
                unsigned_key, "warning",
                f"{name} sends requests without Message-Authenticator, which are refused",
                "update the device so that it signs (RouterOS: require-message-auth), or set its "
                "message_authenticator to off and accept the risk of CVE-2024-3596",
            )  # fmt: skip


def old_secret_key(nas_id: str) -> str:
    """The key of "its old secret ended while it was in use"."""
    return f"radius.old_secret:{nas_id}"


def nas_issue_keys(nas_id: str) -> tuple[str, str, str, str, str]:
    """The keys of a NAS's issues: secret, missing signatures, old secret, then flood and unknown names."""
    return (
        f"radius.secret:{nas_id}", f"radius.unsigned:{nas_id}", old_secret_key(nas_id),
        f"radius.flood:{nas_id}", f"radius.unknown_names:{nas_id}",
    )  # fmt: skip
