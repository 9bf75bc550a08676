"""What a process and its descendants have used of the processors, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
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


def memory_mib(pids: Iterable[int]) -> float:
    """Memory of ``pids`` and descendants; what several have in common counts once (Pss, proc(5))."""
    total = 0.0
    for pid in with_descendants(pids):
        with suppress(OSError):  # it is gone
            total += pss_mib(pid)
    return total


def pss_mib(pid: int) -> float:
    """Memory of one process; pages that it shares are counted by their share. Raises ``OSError``."""
    lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
