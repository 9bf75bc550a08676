"""A RouterOS-like router with an SSH console: what the driver will meet on real towers, faults included.

The state lives in the object and outlives sessions and reboots as it does on a router. Faults are attributes
that may be switched while sessions are open.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import asyncssh

from core.clock import Clock, SystemClock
from lab.routeros_menus import Item, Menu
from lab.routeros_router import (
    ADDRESS_LIST,
    ADDRESS_LIST_6,
    CONNECTION,
    INTERFACE,
    PPP_ACTIVE,
    PPP_SECRET,
    Outcome,
    Router,
)
from lab.routeros_terminal import LoginOptions, Terminal, run_one_shot


class RouterOsConsole:
    """One simulated router. ``version`` is such as ``6.49.10`` or ``7.16``; v6 refuses slashes in paths.
    ``ipv6`` False: the package is off, as v6 ships it, and ``/ipv6`` is no command name.

    Faults: ``delay_per_line_s`` (slow), ``lying`` (writes are silently not done), ``hang`` (commands are
    never answered), ``refuse_auth``, ``read_only`` (the login's group is ``read``), ``drop_mid_command`` (the
    connection is cut ``"before"`` or ``"after"`` the next writing command is carried out), ``unreachable()``,
    ``reboot()``.
    """

    def __init__(
        self,
        identity: str = "MikroTik",
        version: str = "7.16",
        username: str = "admin",
        password: str = "",
        *,
        clock: Clock | None = None,
        dns: Mapping[str, Sequence[str]] | None = None,
        authorized_keys: Sequence[str] = (),
        shows_license: bool = False,
        asks_new_password: bool = False,
        ipv6: bool = True,
    ) -> None:
        self.clock = clock or SystemClock()
        self.router = Router(identity, version, self.clock, dns, ipv6=ipv6)
        self.router.menus[("user",)].add({"name": username, "group": "full"})
        self.username = username
        self.password = password
        self.authorized_keys = [asyncssh.import_public_key(text) for text in authorized_keys]
        self.shows_license = shows_license
        self.asks_new_password = asks_new_password
        self.delay_per_line_s = 0.0
        self.refuse_auth = False
        self.read_only = False
        self.drop_mid_command: Literal["before", "after"] | None = None
        self.commands: list[str] = []
        self.before_command: list[Callable[[], None]] = []
        self.logins: list[str] = []
        self.host = "127.0.0.1"
        self.port = 0
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._answering = asyncio.Event()
        self._answering.set()
        self._listener: asyncssh.SSHAcceptor | None = None
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._terminals: set[Terminal] = set()

    # -- being there

    @property
    def host_key(self) -> str:
        """The public host key, one OpenSSH line without comment."""
        return self._host_key.export_public_key().decode().strip()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; the port is returned and kept."""
        self.host = host
        self._listener = await asyncssh.create_server(
            lambda: _Door(self),
            host,
            port,
            server_host_keys=[self._host_key],
            server_version="ROSSSH",
            process_factory=self._serve,
            line_editor=False,
            encoding="utf-8",
            errors="replace",
            login_timeout=30,
        )
        self.port = self._listener.get_port()
        return self.port

    async def stop(self) -> None:
        """Stop listening and cut every session."""
        self._answering.set()
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()
            self._listener = None
        self._cut_sessions()

    async def unreachable(self) -> None:
        """As if the tower's uplink were down: connections are refused until ``reachable()``."""
        await self.stop()

    async def reachable(self) -> None:
        """Listen again on the same port."""
        await self.start(self.host, self.port)

    def _cut_sessions(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    def reboot(self) -> None:
        """Sessions are cut, dynamic entries and connections are gone, ids move, uptime starts again."""
        self._cut_sessions()
        self.router.reboot()

    def reboot_soon(self) -> None:
        """Reboot once the console's last words are out."""
        asyncio.get_running_loop().call_later(0.05, self.reboot)

    # -- faults

    @property
    def lying(self) -> bool:
        """Writing commands answer as if done, and nothing is done."""
        return self.router.lying

    @lying.setter
    def lying(self, lies: bool) -> None:
        self.router.lying = lies

    @property
    def hang(self) -> bool:
        """Commands get no answer while this is true."""
        return not self._answering.is_set()

    @hang.setter
    def hang(self, hangs: bool) -> None:
        if hangs:
            self._answering.clear()
        else:
            self._answering.set()

    async def pace(self) -> None:
        """Take the time that a slow router takes for a line."""
        if self.delay_per_line_s > 0:
            await asyncio.sleep(self.delay_per_line_s)

    # -- state, for the lab and the tests

    @property
    def firewall_address_list(self) -> list[Item]:
        """The entries of ``/ip firewall address-list`` that have not expired."""
        return self.router.menu(ADDRESS_LIST).items

    @property
    def ipv6_address_list(self) -> list[Item]:
        """The entries of ``/ipv6 firewall address-list``."""
        return self.router.menu(ADDRESS_LIST_6).items if ADDRESS_LIST_6 in self.router.menus else []

    def listed(self, list_name: str, address: str) -> bool:
        """Whether the firewall would find the address on the list (disabled entries do not count)."""
        return any(
            one.values["list"] == list_name
            and not one.disabled
            and one.values["address"] in (address, f"{address}/128")
            for one in (*self.firewall_address_list, *self.ipv6_address_list)
        )

    @property
    def connections(self) -> Menu:
        """``/ip firewall connection``."""
        return self.router.menu(CONNECTION)

    def add_connection(self, source: str, destination: str, protocol: str = "tcp") -> Item:
        """Seed a tracked connection between two ``address:port``; ports stand apart from 7.18 on."""
        values = {
            "protocol": protocol,
            "tcp-state": "established",
            "timeout": "23h59m59s",
            "orig-bytes": "5 210",
        }
        for side, text in (("src", source), ("dst", destination)):
            address, _, port = text.rpartition(":")
            if self.router.version >= (7, 18):
                values |= {f"{side}-address": address, f"{side}-port": port}
            else:
                values[f"{side}-address"] = text
        item = self.connections.add(values)
        item.marks = "SAC"
        return item

    @property
    def ppp_active(self) -> Menu:
        """``/ppp active``."""
        return self.router.menu(PPP_ACTIVE)

    @property
    def ppp_secrets(self) -> Menu:
        """``/ppp secret``."""
        return self.router.menu(PPP_SECRET)

    @property
    def interfaces(self) -> Menu:
        """``/interface``."""
        return self.router.menu(INTERFACE)

    # -- sessions

    async def execute(
        self, command: str, menu: tuple[str, ...], process: asyncssh.SSHServerProcess[str]
    ) -> Outcome | None:
        """Run a command for a session; None when the connection was cut on the way."""
        self.commands.append(command)
        await self._answering.wait()
        await self.pace()
        writes = self.drop_mid_command is not None and self.router.would_write(command, menu)
        if writes and self._drops("before", process):
            return None
        for listener in self.before_command:
            listener()
        outcome = self.router.run(command, menu, may_write=not self.read_only)
        if writes and self._drops("after", process):
            return None
        return outcome

    def _drops(self, moment: str, process: asyncssh.SSHServerProcess[str]) -> bool:
        if self.drop_mid_command != moment:
            return False
        self.drop_mid_command = None
        process.channel.get_connection().abort()
        return True

    async def _serve(self, process: asyncssh.SSHServerProcess[str]) -> None:
        user, options = LoginOptions.of(str(process.get_extra_info("username")))
        if process.command is not None:
            with contextlib.suppress(OSError, asyncssh.Error):
                await run_one_shot(self, process, process.command, process.exit)
            return
        terminal = Terminal(self, process, user, options)
        self._terminals.add(terminal)
        try:
            await terminal.run()
        finally:
            self._terminals.discard(terminal)
            if not process.is_closing():
                with contextlib.suppress(OSError, asyncssh.Error):
                    process.exit(0)

    def say_critical(self, text: str) -> None:
        """Log something critical: the router writes it into every session that waits at its prompt."""
        line = f"{self.clock.now():%H:%M:%S} echo: system,error,critical {text}"
        for terminal in list(self._terminals):
            terminal.interrupt_idle(line)

    def connected(self, connection: asyncssh.SSHServerConnection) -> None:
        """A client is there."""
        self._connections.add(connection)

    def disconnected(self, connection: asyncssh.SSHServerConnection) -> None:
        """A client is gone."""
        self._connections.discard(connection)

    def accepts_password(self, login: str, password: str, source: str) -> bool:
        """Check a login; a failure is told to the idle sessions."""
        name, _options = LoginOptions.of(login)
        self.logins.append(login)
        right = hmac.compare_digest(password.encode(), self.password.encode())
        if right and name == self.username and not self.refuse_auth:
            return True
        self.say_critical(f"login failure for user {name} from {source} via ssh")
        return False


class _Door(asyncssh.SSHServer):
    """Authentication of one connection."""

    def __init__(self, console: RouterOsConsole) -> None:
        self._console = console
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._console.connected(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._console.disconnected(self._connection)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        peer = self._connection.get_extra_info("peername")[0] if self._connection else "?"
        return self._console.accepts_password(username, password, str(peer))

    def public_key_auth_supported(self) -> bool:
        return bool(self._console.authorized_keys)

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        name, _options = LoginOptions.of(username)
        known = key in self._console.authorized_keys
        return known and name == self._console.username and not self._console.refuse_auth
