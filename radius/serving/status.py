"""The state of a radius process, in a small file beside its journal."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from radius.serving.place import journal_name


@dataclass(frozen=True, slots=True)
class RadiusStatus:
    """What a radius process says of itself, the ``worker``-th from 0.

    ``directory_age_s``: since the database was last seen. ``strangers``: addresses that ask and are no NAS;
    ``unsigned_nases``: open to CVE-2024-3596.
    """

    at: str
    pid: int
    worker: int
    counters: dict[str, int]
    delayed_rejects: int
    directory_seq: int
    directory_logins: int
    directory_nases: int
    directory_age_s: float
    troubles: list[str]
    journal_id: str
    journal_backlog: int
    journal_trouble: str | None
    unsigned_nases: list[str]
    strangers: dict[str, int]
    radsec: dict[str, int] = field(default_factory=dict)  # open connections by NAS
    radsec_refused: dict[str, str] = field(default_factory=dict)  # why a peer was not let in, by address
    directory_from_snapshot: bool = False
    stale_profiles: int = 0
    nases: dict[str, dict[str, int]] = field(default_factory=dict)  # what came from each NAS, by its name
    latency_counts: list[int] = field(default_factory=list)  # wake-ups, by the bounds of ``latency``
    latency_total_s: float = 0.0


def status_path(journal_path: Path) -> Path:
    """Where the status of the process that owns this journal lies."""
    return journal_path.with_suffix(".status.json")


def write_status(journal_path: Path, status: RadiusStatus) -> None:
    """Replace the status file; a reader sees the old one or the new one."""
    path = status_path(journal_path)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(status), indent=1))
    temporary.replace(path)


def read_statuses(journal_directory: Path) -> list[RadiusStatus]:
    """The status of every radius process that has written one here."""
    return sorted(read_named_statuses(journal_directory).values(), key=lambda one: one.worker)


def read_named_statuses(journal_directory: Path) -> dict[str, RadiusStatus]:
    """The same by the name of each process's journal; one that another release wrote is left out."""
    found = {}
    for path in sorted(journal_directory.glob("*.status.json")):
        with suppress(OSError, ValueError, TypeError):
            found[path.name.removesuffix(".status.json")] = RadiusStatus(**json.loads(path.read_text()))
    return found


def forget_statuses(journal_directory: Path, count: int) -> None:
    """Remove what processes left that are not among the first ``count`` any more."""
    current = {status_path(journal_directory / journal_name(index)) for index in range(count)}
    for path in set(journal_directory.glob("*.status.json")) - current:
        path.unlink(missing_ok=True)
