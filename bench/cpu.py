"""What a process and its descendants have used of the processors, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command; empty when the process is gone."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def with_descendants(pids: Iterable[int]) -> set[int]:
    """``pids`` and all their descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    family = set(pids)
    grown = True
    while grown:
        born = {pid for pid, parent in parents.items() if parent in family} - family
        grown = bool(born)
        family |= born
    return family


def used_s(pids: Iterable[int]) -> float:
    """Processor seconds (user and system) of ``pids`` and descendants, reaped children included."""
    ticks = 0
    for pid in with_descendants(pids):
        if fields := _fields(pid):
            ticks += sum(int(value) for value in fields[11:15])  # utime, stime, cutime, cstime: proc(5)
    return ticks * _TICK_S


def resident_mib(pids: Iterable[int]) -> float:
    """Resident memory of ``pids`` alone."""
    pages = sum(int(fields[21]) for pid in pids if (fields := _fields(pid)))
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
