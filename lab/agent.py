"""An SNMP agent with interfaces whose counters move: pysnmp carries the messages, the tables are here.

Served: system group, ifTable and ifXTable (RFC 2863), the engine's boots (RFC 3411). Time is that of the
clock given, so uptime jumps with a moving clock.
"""

from __future__ import annotations

import asyncio
import random
import socket
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdrsp, context
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.smi import error as smi_error
from pysnmp.smi.instrum import AbstractMibInstrumController

from core.clock import Clock, SystemClock

Oid = tuple[int, ...]
_SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)
_IF_NUMBER: Oid = (1, 3, 6, 1, 2, 1, 2, 1, 0)
_IF_ENTRY: Oid = (1, 3, 6, 1, 2, 1, 2, 2, 1)
_IFX_ENTRY: Oid = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1)
_IF_TABLE_LAST_CHANGE: Oid = (1, 3, 6, 1, 2, 1, 31, 1, 5, 0)
_ENGINE: Oid = (1, 3, 6, 1, 6, 3, 10, 2, 1)
_MIKROTIK: Oid = (1, 3, 6, 1, 4, 1, 14988, 1)
ETHERNET, PPP = 6, 23
_TICKS = 1 << 32
_32_BITS, _64_BITS = (1 << 32) - 1, (1 << 64) - 1


@dataclass(slots=True)
class LabInterface:
    """A row of ifTable. Octets are absolute and unbounded here; the agent cuts them to width."""

    index: int
    name: str
    kind: int
    speed_bps: int
    mac: bytes
    alias: str
    appeared_at: datetime
    octets_in: int = 0
    octets_out: int = 0
    running: bool = True


@dataclass(frozen=True, slots=True)
class V3User:
    """An SNMPv3 user with SHA-256 and AES-128; passwords of 8 letters or more."""

    name: str
    auth_password: str
    privacy_password: str


class SnmpAgent:
    """One agent. ``has_64_bit`` False leaves the HC columns out, as cheap radios do.

    ``silent`` answers nothing (a time-out is not a zero); ``bulk_limit`` stays silent to GETBULKs that ask
    for more repetitions, as small radios fall over.
    """

    def __init__(
        self,
        name: str = "lab-tower",
        community: str = "public",
        *,
        clock: Clock | None = None,
        description: str = "RouterOS RB5009UPr+S+",
        has_64_bit: bool = True,
        users: Sequence[V3User] = (),
        seed: int = 1,
    ) -> None:
        self.name = name
        self.community = community
        self.clock = clock or SystemClock()
        self.description = description
        self.has_64_bit = has_64_bit
        self.users = tuple(users)
        self.silent = False
        self.bulk_limit: int | None = None
        self.requests = 0
        self.boots = 1
        self.host = "127.0.0.1"
        self.port = 0
        self.interfaces: dict[str, LabInterface] = {}
        self._random = random.Random(seed)
        self._next_index = 1
        self._booted_at = self.clock.now()
        self._table_changed_at = self._booted_at
        self._engine_id = bytes((0x80, 0, 0x3A, 0x8C, 4)) + name.encode()[:20].ljust(5, b"-")
        self._engine: SnmpEngine | None = None

    # -- being there

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; the port is returned and kept."""
        self.host = host
        endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        endpoint.bind((host, port))
        endpoint.setblocking(False)
        self.port = int(endpoint.getsockname()[1])
        self._engine = engine = SnmpEngine()
        self._configure(engine)
        transport = udp.UdpTransport(loop=asyncio.get_running_loop()).open_server_mode(sock=endpoint)
        config.add_transport(engine, udp.DOMAIN_NAME, transport)
        snmp_context = context.SnmpContext(engine)
        snmp_context.unregister_context_name(b"")
        objects = _Instrumentation(self)
        snmp_context.register_context_name(b"", objects)
        for responder in (cmdrsp.GetCommandResponder, cmdrsp.NextCommandResponder):
            responder(engine, snmp_context)
        _LimitedBulkResponder(engine, snmp_context, self, objects)
        await asyncio.sleep(0)  # the endpoint is made by a task of its own
        return self.port

    def _configure(self, engine: SnmpEngine) -> None:
        builder = engine.get_mib_builder()
        engine_id, boots = builder.import_symbols("__SNMP-FRAMEWORK-MIB", "snmpEngineID", "snmpEngineBoots")
        engine_id.syntax = engine_id.syntax.clone(self._engine_id)
        engine.snmpEngineID = engine_id.syntax
        boots.syntax = boots.syntax.clone(self.boots)
        config.add_v1_system(engine, "lab-area", self.community)
        for model in (1, 2):
            config.add_vacm_user(engine, model, "lab-area", "noAuthNoPriv", _SYSTEM[:1])
        for user in self.users:
            config.add_v3_user(
                engine,
                user.name,
                config.USM_AUTH_HMAC192_SHA256,
                user.auth_password,
                config.USM_PRIV_CFB128_AES,
                user.privacy_password,
            )
            config.add_vacm_user(engine, 3, user.name, "authPriv", _SYSTEM[:1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._engine is None:
            return
        self._engine.close_dispatcher()
        self._engine = None
        await asyncio.sleep(0)  # the socket is closed by the next turn of the loop

    # -- the device's life

    def add_interface(
        self, name: str, *, kind: int = ETHERNET, speed_bps: int = 1_000_000_000, alias: str = ""
    ) -> LabInterface:
        """A new interface under an index never used since the last boot."""
        if name in self.interfaces:
            raise ValueError(f"there is an interface {name!r} already")
        index = self._next_index
        self._next_index = index + 1
        mac = b"" if kind == PPP else bytes((2, 0, 0, 0, index >> 8 & 255, index & 255))
        interface = LabInterface(index, name, kind, speed_bps, mac, alias, self.clock.now())
        self.interfaces[name] = interface
        self._table_changed_at = self.clock.now()
        return interface

    def remove_interface(self, name: str) -> None:
        """The row is gone; its index is not used again."""
        del self.interfaces[name]
        self._table_changed_at = self.clock.now()

    def set_traffic(self, name: str, octets_in: int, octets_out: int) -> None:
        """Set the counters to absolute values (In is what the device received on the interface)."""
        interface = self.interfaces[name]
        interface.octets_in, interface.octets_out = octets_in, octets_out

    def add_traffic(self, name: str, octets_in: int, octets_out: int) -> None:
        """Let traffic pass."""
        interface = self.interfaces[name]
        interface.octets_in += octets_in
        interface.octets_out += octets_out

    async def reboot(self) -> None:
        """Uptime and counters start at nought, PPP interfaces are gone, indexes are dealt anew."""
        listening = self._engine is not None
        await self.stop()
        self.boots += 1
        self._booted_at = self.clock.now()
        stay = [one for one in self.interfaces.values() if one.kind != PPP]
        self._random.shuffle(stay)
        self.interfaces.clear()
        self._next_index = 1 + self._random.randrange(1, 9)
        for one in stay:
            self.add_interface(one.name, kind=one.kind, speed_bps=one.speed_bps, alias=one.alias)
        if listening:
            await self.start(self.host, self.port)

    def uptime_ticks(self) -> int:
        """sysUpTime: hundredths of a second, back to nought after 497 days."""
        return self._ticks(self.clock.now())

    def _ticks(self, instant: datetime) -> int:
        return max(0, int((instant - self._booted_at).total_seconds() * 100)) % _TICKS

    # -- the tables

    def table(self) -> list[tuple[Oid, Any]]:
        """Every object there is now, in lexicographic order."""
        rows = self._system()
        for interface in self.interfaces.values():
            rows |= self._interface(interface)
        return sorted(rows.items())

    def _system(self) -> dict[Oid, Any]:
        seconds = int((self.clock.now() - self._booted_at).total_seconds())
        return {
            (*_SYSTEM, 1, 0): rfc1902.OctetString(self.description),
            (*_SYSTEM, 2, 0): rfc1902.ObjectIdentifier(_MIKROTIK),
            (*_SYSTEM, 3, 0): rfc1902.TimeTicks(self.uptime_ticks()),
            (*_SYSTEM, 4, 0): rfc1902.OctetString(""),
            (*_SYSTEM, 5, 0): rfc1902.OctetString(self.name),
            (*_SYSTEM, 6, 0): rfc1902.OctetString("Hilltop lab"),
            (*_SYSTEM, 7, 0): rfc1902.Integer32(78),
            _IF_NUMBER: rfc1902.Integer32(len(self.interfaces)),
            _IF_TABLE_LAST_CHANGE: rfc1902.TimeTicks(self._ticks(self._table_changed_at)),
            (*_ENGINE, 1, 0): rfc1902.OctetString(self._engine_id),
            (*_ENGINE, 2, 0): rfc1902.Integer32(self.boots),
            (*_ENGINE, 3, 0): rfc1902.Integer32(max(0, seconds)),
        }

    def _interface(self, one: LabInterface) -> dict[Oid, Any]:
        state = rfc1902.Integer32(1 if one.running else 2)
        columns: dict[int, Any] = {
            1: rfc1902.Integer32(one.index),
            2: rfc1902.OctetString(one.name),
            3: rfc1902.Integer32(one.kind),
            4: rfc1902.Integer32(1480 if one.kind == PPP else 1500),
            5: rfc1902.Gauge32(min(one.speed_bps, _32_BITS)),
            6: rfc1902.OctetString(one.mac),
            7: rfc1902.Integer32(1),
            8: state,
            9: rfc1902.TimeTicks(self._ticks(one.appeared_at)),
            10: rfc1902.Counter32(one.octets_in & _32_BITS),
            16: rfc1902.Counter32(one.octets_out & _32_BITS),
        }
        extended: dict[int, Any] = {
            1: rfc1902.OctetString(one.name),
            15: rfc1902.Gauge32(one.speed_bps // 1_000_000),
            18: rfc1902.OctetString(one.alias),
            19: rfc1902.TimeTicks(self._ticks(one.appeared_at)),
        }
        if self.has_64_bit:
            extended[6] = rfc1902.Counter64(one.octets_in & _64_BITS)
            extended[10] = rfc1902.Counter64(one.octets_out & _64_BITS)
        rows = {(*_IF_ENTRY, column, one.index): value for column, value in columns.items()}
        return rows | {(*_IFX_ENTRY, column, one.index): value for column, value in extended.items()}


class _Instrumentation(AbstractMibInstrumController):  # type: ignore[misc]  # the library is untyped
    """Answers GET and GETNEXT from the agent's table of the moment."""

    def __init__(self, agent: SnmpAgent) -> None:
        self._agent = agent
        self.moment: dict[Oid, Any] | None = None  # set while one GETBULK is answered from one moment

    def _table(self) -> dict[Oid, Any]:
        if self.moment is not None:
            return self.moment
        self._agent.requests += 1
        if self._agent.silent:
            raise smi_error.PySnmpError("silent")  # the library drops the request without an answer
        return dict(self._agent.table())

    def read_variables(self, *variables: Any, **_context: Any) -> list[tuple[Any, Any]]:
        """RFC 3416 4.2.1."""
        table = self._table()
        objects = {oid[:-1] for oid in table}
        answers = []
        for name, _value in variables:
            missing = rfc1905.noSuchInstance if tuple(name)[:-1] in objects else rfc1905.noSuchObject
            answers.append((name, table.get(tuple(name), missing)))
        return answers

    def read_next_variables(self, *variables: Any, **_context: Any) -> list[tuple[Any, Any]]:
        """RFC 3416 4.2.2."""
        table = self._table()
        oids = list(table)
        answers = []
        for name, _value in variables:
            at = bisect_right(oids, tuple(name))
            after = oids[at] if at < len(oids) else None
            answers.append(
                (name, rfc1905.endOfMibView) if after is None else (rfc1902.ObjectName(after), table[after])
            )
        return answers


class _LimitedBulkResponder(cmdrsp.BulkCommandResponder):  # type: ignore[misc]  # the library is untyped
    """GETBULK that says nothing when asked for more than the device can bear."""

    def __init__(
        self,
        engine: SnmpEngine,
        snmp_context: context.SnmpContext,
        agent: SnmpAgent,
        objects: _Instrumentation,
    ) -> None:
        super().__init__(engine, snmp_context)
        self._agent = agent
        self._objects = objects

    def handle_management_operation(self, engine: Any, reference: Any, name: Any, pdu: Any) -> None:
        """Leave or answer."""
        limit = self._agent.bulk_limit
        self._agent.requests += 1
        if self._agent.silent or (limit is not None and int(pdu[2]) > limit):
            return
        self._objects.moment = dict(self._agent.table())
        try:
            super().handle_management_operation(engine, reference, name, pdu)
        finally:
            self._objects.moment = None
