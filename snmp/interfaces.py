"""Interfaces by name: walk the names once, then ask for counters, and notice when an index has moved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from snmp.domain import oids
from snmp.domain.oids import Answer
from snmp.domain.rows import InterfaceRow, NameMap, map_names, read_is_down, read_row
from snmp.session import SnmpSilence, SnmpTooBig, SnmpTrouble

_MOST_NAMES = 20_000


class Device(Protocol):
    """What is asked of a device."""

    async def get(self, oids: Sequence[str]) -> Answer:
        """The objects it has of those asked for."""

    async def rows_after(self, oid: str, repetitions: int) -> list[tuple[str, int | str]]:
        """The next objects behind ``oid``."""


class Interfaces:
    """The rows of one device. The index of a name is remembered and proved at each answer, never trusted."""

    def __init__(
        self, device: Device, *, repetitions: int, rows_per_request: int, now: Callable[[], datetime]
    ) -> None:
        self._device = device
        self._repetitions = repetitions
        self._rows_per_request = rows_per_request
        self._now = now
        self._map = NameMap(oids.IF_NAME, {})
        self._narrow: set[str] = set()  # names whose rows had no 64-bit counters last time
        self.walks = 0

    def ambiguous(self, names: Iterable[str]) -> frozenset[str]:
        """Those of the names that several rows bore at the last walk."""
        return frozenset(self._map.ambiguous(names))

    async def rows(self, names: Iterable[str]) -> dict[str, InterfaceRow]:
        """The rows with those names; a name that no row has now is absent (the subscriber is offline).

        A row that is down may be what is left of an interface that lives on at another index.
        """
        wanted = list(names)
        found = await self._known(wanted)
        doubtful = [name for name in wanted if name not in found or found[name].is_down]
        if not doubtful:
            return found
        self._map = await self._settled(await self._walk_names(), doubtful)
        moved = [
            name for name in doubtful if name not in found or found[name].if_index != self._map.index_of(name)
        ]
        sure = {name: row for name, row in found.items() if name not in moved}
        return sure | await self._known(moved)

    async def _known(self, names: Sequence[str]) -> dict[str, InterfaceRow]:
        """The rows that still are where they were: 64 bits wide where there are such, else 32."""
        at = {name: index for name in names if (index := self._map.index_of(name)) is not None}
        found = await self._read({name: at[name] for name in at if name not in self._narrow}, 64)
        rest = {name: index for name, index in at.items() if name not in found}
        narrow = await self._read(rest, 32)
        self._narrow = (self._narrow - set(found)) | set(narrow)
        return found | narrow

    async def _settled(self, names: NameMap, wanted: Iterable[str]) -> NameMap:
        """The map, with the living row for each of the names that several rows bear."""
        several = names.ambiguous(wanted)
        is_down: dict[int, bool] = {}
        for indexes in several.values():
            answer = await self._device.get([f"{oids.IF_OPER_STATUS}.{index}" for index in indexes])
            is_down |= {index: read_is_down(answer, index) for index in indexes}
        return names.settle(is_down)

    async def _read(self, at: dict[str, int], width_bits: int) -> dict[str, InterfaceRow]:
        found: dict[str, InterfaceRow] = {}
        waiting = list(at.items())
        while waiting:
            some, waiting = waiting[: self._rows_per_request], waiting[self._rows_per_request :]
            found |= await self._read_some(some, width_bits)
        return found

    async def _read_some(self, some: Sequence[tuple[str, int]], width_bits: int) -> dict[str, InterfaceRow]:
        """One request, or one for each row of a device that cannot bear more."""
        objects = oids.row_objects((index for _, index in some), self._map.name_column, width_bits)
        try:
            answer = await self._device.get(objects)
        except (SnmpSilence, SnmpTooBig):
            if len(some) == 1:
                raise
            found = await self._read_some(some[:1], width_bits)  # silent at this too: it is not the size
            self._rows_per_request = 1
            for one in some[1:]:
                found |= await self._read_some([one], width_bits)
            return found
        at, column = self._now(), self._map.name_column
        rows = ((name, read_row(answer, index, column, width_bits, at)) for name, index in some)
        return {name: row for name, row in rows if row is not None and row.if_name == name}

    async def _walk_names(self) -> NameMap:
        """By ifName, or by ifDescr on a device that has no ifXTable."""
        self.walks += 1
        names = map_names(oids.IF_NAME, await self._walk(oids.IF_NAME))
        if names.indexes:
            return names
        return map_names(oids.IF_DESCR, await self._walk(oids.IF_DESCR))

    async def _walk(self, column: str) -> list[tuple[str, int | str]]:
        walked: list[tuple[str, int | str]] = []
        at = column
        while True:
            some = await self._after(at)
            inside = [one for one in some if one[0].startswith(column + ".")]
            walked += inside
            if not inside or len(inside) < len(some):
                return walked
            if _last(inside) <= _arcs(at) or len(walked) > _MOST_NAMES:
                raise SnmpTrouble("its table of interfaces has no end; update the device's software")
            at = inside[-1][0]

    async def _after(self, at: str) -> list[tuple[str, int | str]]:
        """A small radio that falls silent at a bulk request is asked one by one from then on."""
        try:
            return await self._device.rows_after(at, self._repetitions)
        except (SnmpSilence, SnmpTooBig):
            if self._repetitions == 1:
                raise
            rows = await self._device.rows_after(at, 1)
            self._repetitions = 1
            return rows


def _arcs(oid: str) -> tuple[int, ...]:
    return tuple(int(arc) for arc in oid.split("."))


def _last(rows: Sequence[tuple[str, int | str]]) -> tuple[int, ...]:
    return _arcs(rows[-1][0])
