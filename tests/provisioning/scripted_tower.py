"""A RouterOS-speaking tower in memory that fails as it is told: the fake transport of the enforcement tests.

It keeps its own idea of the address lists and answers the driver's words; what it does not know it answers
with ``bad command name``, as the real one would.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from provisioning.ports import Command, Driver, Exchange, Reply, SessionTrouble, Target

_FIND = re.compile(r'list=(\S+) address="(\S+)" comment="([^"]*)"')
LIST = "hilltop-suspended"
WRITE_FAULTS = ("lie", "refuse", "hang_write", "half")
CONNECT_FAULTS = ("unreachable", "login", "hang", "garbled")


@dataclass
class Entry:
    list_name: str
    address: str
    comment: str
    disabled: bool = False


@dataclass
class ScriptedTower:
    """``faults`` are used up one a session; none left: the tower is well."""

    version: str = "7.16 (stable)"
    entries: list[Entry] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    host_key: str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"
    sessions: int = 0
    sent: list[str] = field(default_factory=list)
    at_first_look: Callable[[], Awaitable[None]] | None = None
    open_now: int = 0
    most_open: int = 0

    def close(self) -> None:
        return None

    def marked(self) -> set[tuple[str, str]]:
        """(service id, address) of our active entries."""
        return {
            (e.comment.removeprefix("hilltop:"), e.address.removesuffix("/128"))
            for e in self.entries
            if e.list_name == LIST and e.comment.startswith("hilltop:") and not e.disabled
        }

    def foreign(self) -> list[tuple[str, str]]:
        return [(e.address, e.comment) for e in self.entries if not e.comment.startswith("hilltop:")]

    @asynccontextmanager
    async def open(self, target: Target, driver: Driver) -> AsyncIterator[ScriptedConsole]:
        self.sessions += 1
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "unreachable":
            raise SessionTrouble("unreachable", f"no SSH session with {target.address} port {target.port}")
        if fault == "login":
            raise SessionTrouble("login_refused", f"login as {target.username} was refused")
        if target.host_key not in (None, self.host_key):
            raise SessionTrouble("host_key", "the host key differs from the pinned one")
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            yield ScriptedConsole(self, fault)
        finally:
            self.open_now -= 1


class ScriptedConsole:
    def __init__(self, tower: ScriptedTower, fault: str) -> None:
        self.tower = tower
        self.fault = fault
        self.host_key = tower.host_key
        self.exchanges: list[Exchange] = []
        self._writes = 0
        self._looks = 0

    async def send(self, command: Command) -> Reply:
        self.tower.sent.append(command.text)
        reply = Reply(await self._answer(command.text))
        self.exchanges.append(Exchange(command.text, reply.text, 1, command.service_id))
        return reply

    async def _answer(self, text: str) -> str:
        if self.fault == "hang":
            raise SessionTrouble("hung", "no answer within 20 s")
        if self.fault == "garbled":
            return "\x1b[5;1H?? interrupted"
        words = text.replace("/", " ").split() if text.startswith("/ip") else text.split()
        if text == "/system resource print":
            return f"  version: {self.tower.version}\n  board-name: hEX\n"
        if "connection" in words[:4]:
            return ""
        if "print" in words:
            return await self._print(text)
        if "add" in words or "remove" in words:
            return self._write(text, "add" if "add" in words else "remove")
        return f"bad command name {words[0]} (line 1 column 1)"

    async def _print(self, text: str) -> str:
        self._looks += 1
        name = text.rpartition("list=")[2]
        six = text.startswith("/ipv6")
        found = [e for e in self.tower.entries if e.list_name == name and (":" in e.address) == six]
        if "count-only" in text:
            if self.tower.at_first_look is not None and six:
                hook, self.tower.at_first_look = self.tower.at_first_look, None
                await hook()
            return f"{len(found)}"
        rows = [
            f"{n:>2} {'X' if e.disabled else ' '} comment={e.comment} list={e.list_name} address={e.address} "
            "creation-time=2026-03-10 12:00:00 "
            for n, e in enumerate(found)
        ]
        return "\n".join(rows)

    def _write(self, text: str, verb: str) -> str:
        self._writes += 1
        if self.fault == "lie":
            return ""
        if self.fault == "refuse":
            return "not enough permissions (9)"
        if self.fault == "hang_write" or (self.fault == "half" and self._writes > 1):
            raise SessionTrouble("hung", "no answer within 20 s")
        found = _FIND.search(text)
        assert found is not None, text
        return self._add(*found.groups()) if verb == "add" else self._remove(*found.groups())

    def _add(self, name: str, address: str, comment: str) -> str:
        if any((e.list_name, e.address) == (name, address) for e in self.tower.entries):
            return "failure: already have such entry"
        self.tower.entries.append(Entry(name, address, comment))
        return ""

    def _remove(self, name: str, address: str, comment: str) -> str:
        key = (name, address, comment)
        self.tower.entries = [e for e in self.tower.entries if (e.list_name, e.address, e.comment) != key]
        return ""
