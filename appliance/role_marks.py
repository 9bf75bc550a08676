"""Which roles are ready, told without a service manager: each leaves a mark in the state directory.

Only light imports: the console's first screen asks.
"""

from __future__ import annotations

import os
from pathlib import Path

from core.files import write_durably

ROLE_NAMES = ("radius", "collector", "worker", "web")


def mark_ready(state: Path, role: str) -> None:
    """This process is ready; the mark counts for no other of the same number. Raises ``OSError``."""
    write_durably(_mark(state, role), f"{os.getpid()} {_born(os.getpid())}\n".encode(), 0o640)


def role_states(state: Path) -> dict[str, str]:
    """``ready``, ``starting`` or ``not running`` by role."""
    running = _running()
    found = {}
    for role in ROLE_NAMES:
        pids = running.get(role, set())
        found[role] = "not running" if not pids else "ready" if _marked(state, role) in pids else "starting"
    return found


def absent_roles(state: Path) -> frozenset[str]:
    """Roles that were ready since this machine started and whose process is gone: stopped, or killed."""
    return frozenset(
        role for role in ROLE_NAMES if _mark(state, role).exists() and _marked(state, role) is None
    )


def forget_absent_roles(state: Path) -> None:
    """As the machine starts: what was left by processes that are gone says nothing of those to come."""
    for role in absent_roles(state):
        _mark(state, role).unlink(missing_ok=True)


def _marked(state: Path, role: str) -> int | None:
    try:
        pid, born = _mark(state, role).read_text().split()
        return int(pid) if born == _born(int(pid)) else None
    except (OSError, ValueError, LookupError):
        return None


def _running() -> dict[str, set[int]]:
    """Processes that were started as ``… role NAME``."""
    found: dict[str, set[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 3 and words[-3] == b"role":
            found.setdefault(words[-2].decode(errors="replace"), set()).add(int(entry.name))
    return found


def _mark(state: Path, role: str) -> Path:
    return state / "machine" / f"{role}.ready"


def _born(pid: int) -> str:
    """When a process began, in ticks since the machine did: proc(5), field 22 of ``stat``."""
    return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[19]
