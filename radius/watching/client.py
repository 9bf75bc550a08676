"""Watching radius processes from outside: connects to their sockets, merges what they tell, decodes it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from radius.dictionary.attributes import AttributeDictionary, NamedValue
from radius.dictionary.values import as_hex
from radius.nas.table import RADSEC
from radius.packet.codec import MalformedPacket, Packet, parse
from radius.packet.names import code_name
from radius.watching.filter import WatchFilter
from radius.watching.watch import reachable

_LOOK_AGAIN_S: Final = 1.0
_LINE_OCTETS: Final = 64 * 1024
_RAW_SHOWN: Final = 20  # the header; what follows may hold what nobody should read


@dataclass(frozen=True, slots=True)
class WatchedExchange:
    """A request and what became of it. ``answer`` is "" when there was none; ``why`` then says why not."""

    at: str
    nas: str
    source: str
    port: int
    request: str
    identifier: int | None
    attributes: list[NamedValue]
    answer: str
    answer_attributes: list[NamedValue]
    why: str
    ms: float

    def as_json(self) -> dict[str, Any]:
        """For scripts, one object a line."""
        return {
            "at": self.at, "nas": self.nas, "source": self.source, "port": self.port, "request": self.request,
            "identifier": self.identifier, "attributes": [_value_json(one) for one in self.attributes],
            "answer": self.answer or None, "why": self.why or None, "ms": self.ms,
            "answer_attributes": [_value_json(one) for one in self.answer_attributes],
        }  # fmt: skip

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _by(self) -> str:
        if self.source.startswith(RADSEC):
            return f"by RadSec, connection {self.port}"
        return f"{self.source} port {self.port}"

    def _lines(self) -> Iterator[str]:
        clock = self.at.partition("T")[2][:12]
        number = "" if self.identifier is None else f" {self.identifier}"
        yield f"{clock} {self.nas or 'stranger'} {self._by()}: {self.request}{number}"
        yield from (f"    {one}" for one in self.attributes)
        why = f": {self.why}" if self.why else ""
        yield f"  → {self.answer or 'no answer'} after {self.ms:.1f} ms{why}"
        yield from (f"    {one}" for one in self.answer_attributes)


@dataclass(frozen=True, slots=True)
class Missed:
    """Exchanges that a process could not tell, because too much waited for us already."""

    count: int

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {"missed": self.count}

    def __str__(self) -> str:
        return f"({self.count} missed: narrow the filters)"


@dataclass(frozen=True, slots=True)
class Connected:
    """A process tells us from now on."""

    pid: int

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {"watching": self.pid}

    def __str__(self) -> str:
        return f"watching the radius process {self.pid}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A process lets no more watchers in."""

    why: str


Told = WatchedExchange | Missed | Connected


def _value_json(one: NamedValue) -> dict[str, Any]:
    return {"name": one.name, "tag": one.tag, "value": one.text}


class NobodyServes(Exception):  # noqa: N818 - named for what it is
    """No radius process lets itself be watched here; the text says why."""


async def watch(folder: Path, wants: WatchFilter, book: AttributeDictionary) -> AsyncGenerator[Told, None]:
    """What the radius processes with their journals in ``folder`` do, those too that come later.

    Raises ``NobodyServes`` when there is none at the beginning, or one that lets no more watchers in.
    """
    told: asyncio.Queue[Told | Refused] = asyncio.Queue(maxsize=100)
    async with contextlib.AsyncExitStack() as stack:
        crowd = _Crowd(folder, wants, book, told)
        if not await crowd.look():
            raise NobodyServes(_why_nobody(folder))
        stack.push_async_callback(crowd.leave)
        crowd.follow()
        while True:
            one = await told.get()
            if isinstance(one, Refused):
                raise NobodyServes(one.why)
            yield one


def _why_nobody(folder: Path) -> str:
    if folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        return f"{folder} is not yours to read: watch as root or as the service's user"
    if any(not os.access(one, os.W_OK) for one in folder.glob("*.watch")):
        return "a radius process may be watched by its own user and root alone"
    return f"no radius process runs here (none is watched in {folder}); start it with: hilltop run"


class _Crowd:
    """The processes that are watched, by the path of their socket."""

    def __init__(
        self, folder: Path, wants: WatchFilter, book: AttributeDictionary, told: asyncio.Queue[Told | Refused]
    ) -> None:
        self._folder = folder
        self._wants = wants
        self._book = book
        self._told = told
        self._watched: dict[Path, asyncio.Task[None]] = {}
        self._following: asyncio.Task[None] | None = None

    async def look(self) -> int:
        """Connect to those that are not watched yet; how many are watched."""
        for path in sorted(self._folder.glob("*.watch")):
            known = self._watched.get(path)
            if known is None or known.done():
                await self._connect(path)
        self._watched = {path: task for path, task in self._watched.items() if not task.done()}
        return len(self._watched)

    async def _connect(self, path: Path) -> None:
        try:
            with reachable(path) as name:
                reader, writer = await asyncio.open_unix_connection(name, limit=_LINE_OCTETS)
            writer.write(self._wants.as_json())
        except OSError:
            return  # it has ended, and left its socket
        self._watched[path] = asyncio.create_task(self._listen(reader, writer))

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                told = self._read(json.loads(line))
                if told is not None:
                    await self._told.put(told)
        except (OSError, ValueError):
            return
        finally:
            writer.close()

    def _read(self, event: dict[str, Any]) -> Told | Refused | None:
        if "trouble" in event:
            return Refused(str(event["trouble"]))
        if "missed" in event:
            return Missed(int(event["missed"]))
        if "watching" in event:
            return Connected(int(event["watching"]))
        return decoded(event, self._book) if "request" in event else None

    def follow(self) -> None:
        """Go on looking: processes are replaced when one dies or settings are taken over."""
        self._following = asyncio.create_task(self._look_again())

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_AGAIN_S)
            await self.look()

    async def leave(self) -> None:
        """Hang up."""
        tasks = [*self._watched.values(), *([self._following] if self._following else [])]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def decoded(event: dict[str, Any], book: AttributeDictionary) -> WatchedExchange:
    """What a process told, with names for its octets."""
    octets = bytes.fromhex(event["request"])
    packet = packet_of(octets)
    reply = packet_of(bytes.fromhex(event["reply"])) if event["reply"] else None
    return WatchedExchange(
        at=event["at"], nas=event["nas"], source=event["source"], port=event["port"],
        request=code_name(packet.code) if packet else f"{len(octets)} octets {_beginning(octets)}",
        identifier=packet.identifier if packet else None,
        attributes=_shown(packet, book), answer=code_name(reply.code) if reply else "",
        answer_attributes=_shown(reply, book), why=event["why"], ms=event["ms"],
    )  # fmt: skip


def packet_of(octets: bytes) -> Packet | None:
    """The packet; None for octets that are none."""
    try:
        return parse(octets)
    except MalformedPacket:
        return None


def _shown(packet: Packet | None, book: AttributeDictionary) -> list[NamedValue]:
    return [] if packet is None else [one for one in book.decode(packet) if one.path != (80,)]


def _beginning(octets: bytes) -> str:
    return as_hex(octets[:_RAW_SHOWN]) + ("…" if len(octets) > _RAW_SHOWN else "")
