"""A simulated tower: NAS, RouterOS console and SNMP agent that act as one router.

Sessions that the NAS opens stand in ``/ppp active`` and ``/interface``, on both console and agent. As the
clock moves, they use what they want up to the rate that RADIUS gave them. An address on one of the walled
lists loses the internet, but a connection that was there before lives on (fasttrack) until it is removed: a
driver that forgets that sees the traffic go on here, as on a real tower.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import Clock, SystemClock
from lab.agent import PPP, SnmpAgent
from lab.nas import LabNas, LabSession, Method, RejectedDial
from lab.radius_wire import RadiusServer
from lab.routeros import RouterOsConsole
from lab.routeros_menus import Item, format_duration

INTERNET_HOST = "198.51.100.10:443"
PORTAL_BPS = 20_000
FRAME_OVERHEAD = 0.015
"""SNMP counts frames, RADIUS payload: PPPoE adds some 1.5 per cent to full packets."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a subscriber would use if nobody stopped him."""

    down_bps: int = 4_000_000
    up_bps: int = 400_000


@dataclass(eq=False, slots=True)
class LabLine:
    """A subscriber's live line on the tower."""

    session: LabSession
    demand: Demand
    moved_until: datetime
    interface: str | None
    active: Item | None
    connection: Item | None
    listed: list[Item]


class SimulatedTower:
    """One tower. ``walled_lists`` are the address lists that its (imagined) filter rules wall."""

    def __init__(
        self,
        name: str,
        *,
        source_address: str,
        servers: Sequence[RadiusServer],
        radius_secret: str,
        clock: Clock | None = None,
        version: str = "7.16",
        username: str = "hilltop",
        password: str = "",
        community: str = "public",
        walled_lists: Sequence[str] = ("hilltop-suspended", "hilltop-walled"),
        coa_port: int = 3799,
        pool: str = "100.64.0.0/24",
        timeout_s: float = 1.0,
    ) -> None:
        self.name = name
        self.clock = clock or SystemClock()
        self.walled_lists = tuple(walled_lists)
        self.fasttrack = True
        self.console = RouterOsConsole(name, version, username, password, clock=self.clock)
        self.agent = SnmpAgent(name, community, clock=self.clock, description=f"RouterOS {version}")
        self.nas = LabNas(
            name,
            source_address,
            servers,
            radius_secret,
            clock=self.clock,
            pool=pool,
            coa_port=coa_port,
            timeout_s=timeout_s,
        )
        self.lines: list[LabLine] = []
        self._tasks: set[asyncio.Task[bool]] = set()
        for port in ("ether1", "ether2", "ether3"):
            self.agent.add_interface(port)
        self._incoming = self.console.router.menus[("radius", "incoming")].items[0]
        self._incoming.values |= {"accept": "yes", "port": str(coa_port)}
        self.nas.listens_to_coa = lambda: self._incoming.values["accept"] == "yes"
        self.console.before_command.append(self.use)
        self.nas.on_end.append(self._line_down)
        self.nas.before_change.append(lambda _session: self.use())
        self.nas.on_change.append(self._lists_changed)
        self.console.ppp_active.removed = self._active_removed

    # -- being there

    async def start(self, host: str = "127.0.0.1", *, ssh_port: int = 0, snmp_port: int = 0) -> None:
        """Console and agent listen on ``host``; the NAS speaks from its own address."""
        await self.nas.start()
        self._incoming.values["port"] = str(self.nas.coa_port)
        await self.console.start(host, ssh_port)
        await self.agent.start(host, snmp_port)

    async def stop(self) -> None:
        """Everything off, nobody told."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.console.stop()
        await self.agent.stop()
        await self.nas.stop()

    async def reboot(self, *, announce: bool = False) -> None:
        """A power cut: sessions, connections, dynamic entries and counters are gone."""
        self.use()
        await self.nas.reboot()
        self.console.reboot()
        await self.agent.reboot()
        if announce:
            await self.nas.accounting_on()

    # -- lines

    async def dial(
        self,
        username: str,
        password: str = "",
        method: Method = "mschapv2",
        *,
        mac: str = "02:00:00:00:00:01",
        demand: Demand | None = None,
    ) -> LabLine | RejectedDial:
        """A subscriber signs in; an older session of the same user on this tower is hung up first."""
        for line in [one for one in self.lines if username and one.session.username == username]:
            await line.session.stop("User-Request")
        session = await self.nas.dial(username, password, method, mac=mac)
        if isinstance(session, RejectedDial):
            return session
        line = self._line_up(session, demand or Demand(), is_ppp=method != "mac")
        self._lists_changed(session)
        return line

    def _line_up(self, session: LabSession, demand: Demand, *, is_ppp: bool) -> LabLine:
        interface = f"<pppoe-{session.username}>" if is_ppp else None
        active = None
        if interface is not None:
            self.agent.add_interface(interface, kind=PPP)
            row = {"name": interface, "type": "pppoe-in", "mtu": "1480"}
            self.console.interfaces.add(row, dynamic=True).marks = "R"
            active = self.console.ppp_active.add(
                {
                    "name": session.username,
                    "service": "pppoe",
                    "caller-id": session.calling_station,
                    "address": session.framed_ip,
                    "uptime": "0s",
                    "session-id": f"0x{session.session_id}",
                }
            )
            active.marks = "R"
        line = LabLine(session, demand, self.clock.now(), interface, active, None, [])
        self.lines.append(line)
        return line

    def _line_of(self, session: LabSession) -> LabLine | None:
        return next((line for line in self.lines if line.session is session), None)

    def _line_down(self, session: LabSession) -> None:
        line = self._line_of(session)
        if line is None:
            return
        self._use(line)
        self.lines.remove(line)
        for item in line.listed:
            _take_out(self.console.router.menus[("ip", "firewall", "address-list")].items, item)
        if line.connection is not None:
            _take_out(self.console.connections.items, line.connection)
        if line.active is not None:
            _take_out(self.console.ppp_active.items, line.active)
        if line.interface is not None:
            self.agent.remove_interface(line.interface)
            rows = self.console.interfaces.items
            rows[:] = [row for row in rows if row.values["name"] != line.interface]

    def _lists_changed(self, session: LabSession) -> None:
        """Mikrotik-Address-List makes a dynamic entry for as long as the session lives."""
        line = self._line_of(session)
        if line is None:
            return
        menu = self.console.router.menus[("ip", "firewall", "address-list")]
        for item in line.listed:
            _take_out(menu.items, item)
        line.listed = []
        for name in sorted(session.address_lists):
            if not self.console.listed(name, session.framed_ip):
                created = self.console.router.printer.timestamp(self.clock.now())
                row = {"list": name, "address": session.framed_ip, "creation-time": created}
                line.listed.append(menu.add(row, dynamic=True))

    def _active_removed(self, item: Item) -> None:
        """``/ppp active remove`` hangs up."""
        line = next((one for one in self.lines if one.active is item), None)
        if line is None or not line.session.live:
            return
        line.active = None
        task = asyncio.get_running_loop().create_task(line.session.stop("Admin-Reset"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- traffic

    def walled(self, line: LabLine) -> bool:
        """Whether the firewall turns away new connections of this line's address."""
        return any(self.console.listed(name, line.session.framed_ip) for name in self.walled_lists)

    def reaches(self, line: LabLine, what: str) -> bool:
        """Whether a new connection of the line gets to ``internet`` or ``portal``."""
        return line.session.live and (what == "portal" or not self.walled(line))

    def use(self) -> None:
        """Let every line use what it wants from where it was until now."""
        for line in self.lines:
            self._use(line)

    def _use(self, line: LabLine) -> None:
        elapsed = self.clock.now() - line.moved_until
        line.moved_until = self.clock.now()
        if elapsed <= timedelta(0):
            return  # a clock set back uses nothing
        down_bps, up_bps = self._rates(line)
        down = int(down_bps * elapsed.total_seconds() / 8)
        up = int(up_bps * elapsed.total_seconds() / 8)
        line.session.transfer(down=down, up=up)
        if line.interface is not None:
            framed = 1 + FRAME_OVERHEAD
            self.agent.add_traffic(line.interface, int(up * framed), int(down * framed))
        if line.active is not None:
            line.active.values["uptime"] = format_duration(timedelta(seconds=line.session.session_time_s))

    def _rates(self, line: LabLine) -> tuple[int, int]:
        if not self._flows(line):
            return PORTAL_BPS, PORTAL_BPS // 10
        limit = line.session.rates_bps()
        if limit is None:
            return line.demand.down_bps, line.demand.up_bps
        return min(line.demand.down_bps, limit[0]), min(line.demand.up_bps, limit[1])

    def _flows(self, line: LabLine) -> bool:
        """Whether the line's download goes on: by an old fasttracked connection, or by a new one."""
        tracked = line.connection is not None and line.connection in self.console.connections.items
        if self.walled(line):
            return tracked and self.fasttrack
        if not tracked:
            line.connection = self.console.add_connection(f"{line.session.framed_ip}:50443", INTERNET_HOST)
        return True

    # -- time

    async def tick(self) -> None:
        """Do what is due: traffic, interim updates, session time-outs, what nobody acknowledged."""
        self.use()
        if self.nas.unacknowledged:
            await self.nas.resend()
        for line in list(self.lines):
            await self._due(line.session)

    async def _due(self, session: LabSession) -> None:
        now = self.clock.now()
        timeout_s, interval_s = session.session_timeout_s, session.interim_interval_s
        if timeout_s and session.session_time_s >= timeout_s:
            await session.stop("Session-Timeout")
            return
        since = session.last_interim_at or session.started_at
        if interval_s and now - since >= timedelta(seconds=interval_s):
            await session.interim()

    async def run(self, stop: asyncio.Event, pause_s: float = 1.0) -> None:
        """Tick until told to stop."""
        while not stop.is_set():
            await self.tick()
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                continue


def _take_out(items: list[Item], item: Item) -> None:
    """Remove without telling the menu's listener: the line itself is going."""
    if item in items:
        items.remove(item)
