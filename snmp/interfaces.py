"""Interfaces by name: walk the names once, then ask row by row, and notice when an index has moved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Protocol

from snmp.domain import oids
from snmp.domain.oids import Answer, Row
from snmp.transport import SnmpSilence

_MOST_ROWS = 20_000


class Device(Protocol):
    """What a walk needs of a device."""

    async def get(self, oids: tuple[str, ...]) -> Answer:
        """The objects it has of those asked for."""

    async def rows_after(self, oid: str, repetitions: int) -> list[tuple[str, int | str]]:
        """The next objects behind ``oid``."""


class Interfaces:
    """The rows of one device. The index of a name is remembered and proved at each answer, never trusted."""

    def __init__(
        self,
        device: Device,
        repetitions: int,
        pause: Callable[[], Awaitable[None]],
        now: Callable[[], datetime],
    ) -> None:
        self._device = device
        self._repetitions = repetitions
        self._pause = pause
        self._now = now
        self._index: dict[str, int] = {}
        self._narrow = False

    async def rows(self, names: Iterable[str]) -> dict[str, Row]:
        """The rows with those names; a name that no row has now is absent (the subscriber is offline)."""
        wanted = list(names)
        found = await self._known(wanted)
        if len(found) < len(wanted):
            self._index = await self.walk_names()
            found |= await self._known([name for name in wanted if name not in found])
        return found

    async def _known(self, names: list[str]) -> dict[str, Row]:
        found = {}
        for name in names:
            index = self._index.get(name)
            row = None if index is None else await self._row(index)
            if row is not None and row.if_name == name:
                found[name] = row
        return found

    async def _row(self, index: int) -> Row | None:
        """One row; 32 bits where there are no 64."""
        await self._pause()
        if not self._narrow:
            row = oids.read_row(index, await self._device.get(oids.wide_objects(index)), self._now())
            if row is not None:
                return row
        await self._pause()
        row = oids.read_row(index, await self._device.get(oids.narrow_objects(index)), self._now())
        self._narrow = row is not None
        return row

    async def walk_names(self) -> dict[str, int]:
        """Index by ifName, or by ifDescr on a device that has no ifXTable."""
        return await self._walk(oids.IF_NAME) or await self._walk(oids.IF_DESCR)

    async def _walk(self, column: str) -> dict[str, int]:
        at, names = column, dict[str, int]()
        while len(names) < _MOST_ROWS:
            await self._pause()
            rows = [row for row in await self._next(at) if row[0].startswith(column + ".")]
            if not rows or rows[-1][0] == at:
                break
            names |= {str(name): int(oid.rpartition(".")[2]) for oid, name in rows}
            at = rows[-1][0]
        return names

    async def _next(self, at: str) -> list[tuple[str, int | str]]:
        """A small radio that falls silent at a bulk request is asked row by row from then on."""
        try:
            return await self._device.rows_after(at, self._repetitions)
        except SnmpSilence:
            if self._repetitions == 1:
                raise
            self._repetitions = 1
            return await self._device.rows_after(at, 1)
