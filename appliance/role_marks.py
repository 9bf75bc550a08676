"""Which roles are ready, told without a service manager: each holds a lock in the state directory.

A lock and not a process number, since one role cannot see another's processes from within its unit
(``ProtectProc=``, ``PrivateUsers=``), and the kernel lets go of it however a process ends.
Only light imports: the console's first screen asks.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from core.files import give_to_owner_of, is_locked, make_folder

ROLE_NAMES = ("radius", "collector", "worker", "web")


def mark_ready(state: Path, role: str) -> int:
    """Mark this process as ready until the descriptor is closed. Raises ``OSError``."""
    mark = _mark(state, role)
    make_folder(mark.parent)
    descriptor = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        give_to_owner_of(mark.parent, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # at most as long as somebody looks
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def role_states(state: Path) -> dict[str, str]:
    """``ready``, ``starting`` or ``not running`` by role, for one who sees all processes."""
    running = _running()
    return {
        role: "ready" if _held(state, role) else "starting" if role in running else "not running"
        for role in ROLE_NAMES
    }


def absent_roles(state: Path) -> frozenset[str]:
    """Roles that were ready since this machine started and whose process is gone: stopped, or killed."""
    return frozenset(role for role in ROLE_NAMES if _held(state, role) is False)


def forget_absent_roles(state: Path) -> None:
    """As the machine starts: what was left by processes that are gone says nothing of those to come."""
    for role in absent_roles(state):
        _mark(state, role).unlink(missing_ok=True)


def _held(state: Path, role: str) -> bool | None:
    """Whether a process holds the mark; None where there is none, or none to be read."""
    try:
        return is_locked(_mark(state, role))
    except OSError:
        return None


def _running() -> set[str]:
    """Roles with a process that was started as ``… role NAME``."""
    found: set[str] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 3 and words[-3] == b"role":
            found.add(words[-2].decode(errors="replace"))
    return found


def _mark(state: Path, role: str) -> Path:
    return state / "machine" / f"{role}.ready"
