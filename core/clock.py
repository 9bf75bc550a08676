"""The one door to time.

Every instant in Hilltop is an aware ``datetime`` in UTC; every duration that matters is measured on the
monotonic clock. ``LabClock`` lets several processes share one clock that can be moved, which is how a
subscriber's month passes in a minute.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Wall time for records, monotonic time for durations."""

    def now(self) -> datetime:
        """The present instant, aware, UTC, microsecond resolution."""

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps."""

    def synchronised(self) -> bool:
        """Whether a time source outside of this machine keeps the wall clock right."""

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` of real time (fake clocks: of their own time)."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()

    def synchronised(self) -> bool:
        return _TIMESYNC_MARK.exists() or _kernel_says_synchronised()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


_TIMESYNC_MARK = Path("/run/systemd/timesync/synchronized")
"""Made by systemd-timesyncd when it has set the clock in this boot."""
_TIME_ERROR, _STA_UNSYNC = 5, 0x40


def _kernel_says_synchronised() -> bool:
    """adjtimex(2), asked and not told: chrony, ntpd and timesyncd set its state. A sandbox may forbid it."""
    import ctypes

    class Timex(ctypes.Structure):
        _fields_ = (
            ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long),
            ("maxerror", ctypes.c_long), ("esterror", ctypes.c_long), ("status", ctypes.c_int),
            ("rest", ctypes.c_char * 256),
        )  # fmt: skip

    told = Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(told))
    return state >= 0 and state != _TIME_ERROR and not told.status & _STA_UNSYNC


class FakeClock:
    """A clock for tests: it stands still until it is moved; ``sleep`` moves it."""

    def __init__(self, start: datetime, *, synchronised: bool = True) -> None:
        self._now = start.astimezone(UTC)
        self._monotonic = 1_000.0
        self._synchronised = synchronised

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.advance(timedelta(seconds=seconds))
        await asyncio.sleep(0)

    def synchronised(self) -> bool:
        return self._synchronised

    def advance(self, by: timedelta) -> None:
        """Let time pass on both clocks."""
        self._now += by
        self._monotonic += by.total_seconds()

    def step_to(self, instant: datetime) -> None:
        """Step the wall clock alone, as an NTP correction does."""
        self._now = instant.astimezone(UTC)


class LabClock:
    """A clock in a small file that many processes read and one moves.

    The file holds three little-endian doubles: the machine's monotonic reading at the last move, the lab's
    wall time at that reading (seconds since the epoch), and the rate (lab seconds per real second). The
    monotonic clock is common to all processes of one machine, so all of them agree.
    """

    _LAYOUT = struct.Struct("<ddd")

    def __init__(self, path: Path) -> None:
        self.path = path
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self._view = mmap.mmap(descriptor, self._LAYOUT.size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)

    @classmethod
    def create(cls, path: Path, start: datetime, rate: float = 1.0) -> LabClock:
        """Write a new clock file at ``start`` and open it."""
        path.write_bytes(cls._LAYOUT.pack(time.monotonic(), start.timestamp(), rate))
        return cls(path)

    def now(self) -> datetime:
        base_monotonic, base_wall, rate = self._LAYOUT.unpack(self._view[:])
        elapsed = (time.monotonic() - base_monotonic) * rate
        return EPOCH + timedelta(seconds=base_wall + elapsed)

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def synchronised(self) -> bool:
        return True

    def move_to(self, instant: datetime, rate: float | None = None) -> None:
        """Set the lab's wall time to ``instant``; keep the rate unless one is given."""
        current_rate = self._LAYOUT.unpack(self._view[:])[2]
        packed = self._LAYOUT.pack(
            time.monotonic(), instant.timestamp(), current_rate if rate is None else rate
        )
        with self.path.open("r+b") as file:
            file.write(packed)


def open_clock(source: str) -> Clock:
    """The clock named in the settings: ``system`` or ``lab:/path/to/clock-file``."""
    if source == "system":
        return SystemClock()
    if source.startswith("lab:"):
        return LabClock(Path(source.removeprefix("lab:")))
    raise ValueError(f"clock.source is {source!r}; use 'system' or 'lab:/path/to/clock-file'")
