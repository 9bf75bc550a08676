"""A lab tower that is fully real: namespaces with OpenSSH, nftables and net-snmp, and subscribers behind it.

    this machine ("edge") --- tower --- internet
                                 +----- subscriber (one namespace each)

The tower forwards between its subscribers, the internet's web server and the portal on the edge. It is
reached by SSH and SNMP at ``tower_address``; the portal is at ``portal_address``, this machine's end of the
link. Nothing is blocked until a ruleset is loaded: the caller brings it, because the lab knows no driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import asyncssh

from lab.namespaces import TOOLS, CommandFailed, Lot, Namespaces, inside, missing, program, run, sweep_orphans
from lab.net_host import answer_http

Destination = Literal["internet", "internet6", "portal"]
READY_TIMEOUT_S = 20
INTERNET = "198.51.100.10"
INTERNET_6 = "2001:db8:51::10"
_UID = 60213
INTERNET_WORD = "the internet"
PORTAL_WORD = "the portal"

_SSHD = """\
Port 22
ListenAddress {address}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile {directory}/sshd.pid
StrictModes no
UsePAM {pam}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
AcceptEnv none
"""
_SNMPD = """\
agentaddress udp:{address}:161
rocommunity {community}
sysName {name}
sysLocation Hilltop lab
sysServices 72
"""
_NAT = """\
table ip lab_nat {
  chain postrouting {
    type nat hook postrouting priority srcnat
    oifname "edge0" masquerade
  }
}
"""


@dataclass(slots=True)
class Subscriber:
    """One subscriber's end: his namespace, his addresses and the tower's interface towards him."""

    name: str
    address: str
    address6: str
    namespace: str
    interface: str
    browser: _Browser | None = None


class _Browser:
    """The process inside the subscriber's namespace that makes his requests."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._count = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            answer = json.loads(line)
            future = self._waiting.pop(answer["id"], None)
            if future is not None and not future.done():
                future.set_result(answer)

    async def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """One request and its answer."""
        assert self.process.stdin is not None
        self._count += 1
        self._waiting[self._count] = future = asyncio.get_running_loop().create_future()
        self.process.stdin.write(json.dumps({"id": self._count, "do": do, **words}).encode() + b"\n")
        await self.process.stdin.drain()
        answer: dict[str, Any] = await future
        return answer

    def close(self) -> None:
        """Stop listening to it."""
        self._reader.cancel()


class LinuxTower:
    """Build with ``start()``, tear down with ``stop()``; whatever happens, nothing outlives this process.

    ``subscriber_addresses`` are the IPv4 addresses of the subscribers (their services' framed addresses);
    ``portal`` is the (host, port) of a real portal to forward to, else a page that says so is served.
    ``username`` other than root: a login without rights of its own, which sudo lets run nft and conntrack.
    """

    uplink_interface = "up0"

    def __init__(
        self,
        name: str = "lab-linux",
        *,
        subscriber_addresses: Sequence[str] = ("100.64.213.10",),
        portal: tuple[str, int] | None = None,
        snmp_community: str = "hilltop-lab",
        username: str = "root",
    ) -> None:
        self.name = name
        self.username = username
        self.snmp_community = snmp_community
        self.portal = portal
        self._lot = Lot()
        self._net = f"10.213.{self._lot.number}"
        self._net6 = f"fd00:213:{self._lot.number:x}"
        self.portal_address = f"{self._net}.1"
        self.tower_address = f"{self._net}.2"
        self.subscribers = [
            Subscriber(
                f"sub{number}",
                address,
                f"{self._net6}:{number:x}::2",
                self._lot.name(f"s{number}"),
                f"sub{number}",
            )
            for number, address in enumerate(subscriber_addresses, start=1)
        ]
        self._tower = self._lot.name("tower")
        self._internet = self._lot.name("net")
        self._etc = Path("/etc/netns", self._tower)
        self._namespaces = Namespaces()
        self._processes: list[asyncio.subprocess.Process] = []
        self._portal_server: asyncio.Server | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="hilltop-lab-")
        self._client_key = asyncssh.generate_private_key("ssh-ed25519", comment="hilltop lab")
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")

    @staticmethod
    def can_build(*more_tools: str) -> str | None:
        """None where a tower can be built (with those tools of the machine on it), else why not."""
        return missing((*TOOLS, *more_tools))

    @property
    def private_key(self) -> str:
        """The operator's private key for ``username`` on the tower (OpenSSH PEM)."""
        return self._client_key.export_private_key().decode()

    @property
    def host_key(self) -> str:
        """The tower's public host key, one OpenSSH line without comment."""
        return self._host_key.export_public_key().decode().strip()

    # -- building

    async def start(self) -> None:
        """Build all of it; on failure everything made so far is taken down again."""
        reason = self.can_build()
        if reason is not None:
            raise CommandFailed(f"no Linux tower here: {reason}")
        sweep_orphans()
        try:
            await self._build()
        except BaseException:
            await self.stop()
            raise

    async def _build(self) -> None:
        for name in (self._tower, self._internet, *(one.namespace for one in self.subscribers)):
            await self._namespaces.add(name)
        await self._join_edge()
        await self._join_internet()
        for number, subscriber in enumerate(self.subscribers, start=1):
            await self._join_subscriber(number, subscriber)
        await self._forward()
        await self.load_ruleset(_NAT)
        await self._start_portal()
        await self._start_internet()
        for subscriber in self.subscribers:
            await self._start_browser(subscriber)
        await self._start_sshd()
        await self._start_snmpd()

    async def _ip(self, namespace: str, *words: str) -> None:
        await run("ip", "-n", namespace, *words)

    async def _join_edge(self) -> None:
        link = self._lot.link("edge")
        await run("ip", "link", "add", link, "type", "veth", "peer", "name", "edge0", "netns", self._tower)
        await run("ip", "addr", "add", f"{self.portal_address}/30", "dev", link)
        await run("ip", "link", "set", link, "up")
        await self._ip(self._tower, "addr", "add", f"{self.tower_address}/30", "dev", "edge0")
        await self._ip(self._tower, "link", "set", "edge0", "up")

    async def _join_internet(self) -> None:
        peer = ("peer", "name", "wan0", "netns", self._internet)
        await self._ip(self._tower, "link", "add", self.uplink_interface, "type", "veth", *peer)
        for namespace, device, host in ((self._tower, self.uplink_interface, 5), (self._internet, "wan0", 6)):
            await self._ip(namespace, "addr", "add", f"{self._net}.{host}/30", "dev", device)
            await self._ip(namespace, "addr", "add", f"{self._net6}:ff::{host}/64", "dev", device, "nodad")
            await self._ip(namespace, "link", "set", device, "up")
        await self._ip(self._internet, "addr", "add", f"{INTERNET}/32", "dev", "lo")
        await self._ip(self._internet, "addr", "add", f"{INTERNET_6}/128", "dev", "lo", "nodad")
        await self._ip(self._internet, "route", "add", "default", "via", f"{self._net}.5")
        await self._ip(self._internet, "-6", "route", "add", "default", "via", f"{self._net6}:ff::5")
        await self._ip(self._tower, "route", "add", "default", "via", f"{self._net}.6")
        await self._ip(self._tower, "-6", "route", "add", "default", "via", f"{self._net6}:ff::6")

    async def _join_subscriber(self, number: int, subscriber: Subscriber) -> None:
        device, home = subscriber.interface, subscriber.namespace
        peer = ("peer", "name", "wan0", "netns", home)
        await self._ip(self._tower, "link", "add", device, "type", "veth", *peer)
        # Unnumbered, as PPPoE is: both ends are single addresses.
        await self._ip(
            self._tower, "addr", "add", f"{self._net}.254/32", "peer", subscriber.address, "dev", device
        )
        await self._ip(self._tower, "addr", "add", f"{self._net6}:{number:x}::1/64", "dev", device, "nodad")
        await self._ip(self._tower, "link", "set", device, "up")
        await self._ip(home, "addr", "add", subscriber.address, "peer", f"{self._net}.254/32", "dev", "wan0")
        await self._ip(home, "addr", "add", f"{subscriber.address6}/64", "dev", "wan0", "nodad")
        await self._ip(home, "link", "set", "wan0", "up")
        await self._ip(home, "route", "add", "default", "via", f"{self._net}.254")
        await self._ip(home, "-6", "route", "add", "default", "via", f"{self._net6}:{number:x}::1")

    async def _forward(self) -> None:
        switches = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
        script = "; ".join(f"echo 1 > /proc/sys/net/{switch}" for switch in switches)
        await self.on_tower("sh", "-c", script)

    async def on_tower(self, *command: str, stdin: str = "") -> str:
        """Run a command in the tower's namespace, as its own console would."""
        return await run("ip", "netns", "exec", self._tower, program(command[0]), *command[1:], stdin=stdin)

    async def load_ruleset(self, text: str) -> None:
        """``nft -f`` on the tower; raises ``CommandFailed`` with nft's complaint."""
        await self.on_tower("nft", "-f", "-", stdin=text)

    async def _spawn(self, namespace: str, *command: str, pipes: bool = False) -> asyncio.subprocess.Process:
        pipe = subprocess.PIPE if pipes else subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *inside(namespace, *command),
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "PYTHONPATH": str(Path(__file__).parent.parent),
                "SNMP_PERSISTENT_DIR": self._directory.name,
                "MIBS": "",
            },
        )
        self._processes.append(process)
        return process

    async def _start_internet(self) -> None:
        word = ("serve", INTERNET_WORD, "80", INTERNET, INTERNET_6)
        process = await self._spawn(self._internet, sys.executable, "-m", "lab.net_host", *word, pipes=True)
        assert process.stdout is not None
        async with asyncio.timeout(READY_TIMEOUT_S):
            if await process.stdout.readline() != b"ready\n":
                raise CommandFailed("the web server of the lab's internet did not start")

    async def _start_browser(self, subscriber: Subscriber) -> None:
        command = (sys.executable, "-m", "lab.net_host", "browse")
        subscriber.browser = _Browser(await self._spawn(subscriber.namespace, *command, pipes=True))

    async def _start_portal(self) -> None:
        self._portal_server = await asyncio.start_server(self._portal_visitor, self.portal_address, 80)

    async def _portal_visitor(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.portal is None:
            await answer_http(PORTAL_WORD, reader, writer)
            return
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self.portal)
            await asyncio.gather(_pour(reader, far_writer), _pour(far_reader, writer))

    async def _start_sshd(self) -> None:
        config = self._write_sshd_files()
        self._write_accounts()
        await self._spawn(self._tower, "sshd", "-D", "-e", "-f", str(config))
        await self._await_port(22, "sshd")

    def _write_sshd_files(self) -> Path:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's empty directory for its unprivileged half
        directory = Path(self._directory.name)
        # Without PAM, sshd turns away an account whose password is locked with "!".
        locked = any(line.startswith("root:!") for line in Path("/etc/shadow").read_text().splitlines())
        (directory / "authorized_keys").write_bytes(self._client_key.export_public_key())
        host_key = directory / "host_key"
        host_key.touch(mode=0o600)
        host_key.write_bytes(self._host_key.export_private_key())
        config = directory / "sshd_config"
        config.write_text(
            _SSHD.format(address=self.tower_address, directory=directory, pam="yes" if locked else "no")
        )
        return config

    def _write_accounts(self) -> None:
        """The login's account, on this tower alone: ``ip netns exec`` lays these files over those of /etc."""
        if self.username == "root":
            return
        Path(self._directory.name).chmod(0o711)  # sshd reads the authorized keys as the user
        self._etc.mkdir(parents=True)
        for name, line in (
            ("passwd", f"{self.username}:x:{_UID}:{_UID}:Hilltop lab:/:/bin/sh"),
            ("shadow", f"{self.username}:*:19000:0:99999:7:::"),
            ("group", f"{self.username}:x:{_UID}:"),
        ):
            (self._etc / name).write_text(f"{Path('/etc', name).read_text()}{line}\n")
        (self._etc / "shadow").chmod(0o640)
        allowed = ", ".join(program(name) for name in ("nft", "conntrack"))
        (self._etc / "sudoers").write_text(f"{self.username} ALL=(root) NOPASSWD: {allowed}\n")
        (self._etc / "sudoers").chmod(0o440)

    async def _await_port(self, port: int, what: str) -> None:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while True:
                try:
                    _reader, writer = await asyncio.open_connection(self.tower_address, port)
                except OSError:
                    self._check_alive(what)
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    def _check_alive(self, what: str) -> None:
        if self._processes[-1].returncode is not None:
            raise CommandFailed(f"{what} of the lab tower ended with {self._processes[-1].returncode}")

    async def _start_snmpd(self) -> None:
        config = Path(self._directory.name) / "snmpd.conf"
        config.write_text(
            _SNMPD.format(address=self.tower_address, community=self.snmp_community, name=self.name)
        )
        # -C: none of the machine's own configuration; -p: no process id file in the machine's place
        pid_file = str(config.with_suffix(".pid"))
        await self._spawn(
            self._tower,
            "snmpd",
            "-f",
            "-C",
            "-c",
            str(config),
            "-p",
            pid_file,
            "-Lf",
            "/dev/null",
            "-I",
            "-smux",
        )
        async with asyncio.timeout(READY_TIMEOUT_S):
            while ":161 " not in await self.on_tower("ss", "-Hlun"):
                self._check_alive("snmpd")
                await asyncio.sleep(0.02)

    # -- being a subscriber

    def url_of(self, what: Destination) -> str:
        """Where a destination is from a subscriber's browser."""
        hosts = {"internet": INTERNET, "internet6": f"[{INTERNET_6}]", "portal": self.portal_address}
        return f"http://{hosts[what]}/"

    async def subscriber_reaches(
        self, what: Destination, *, subscriber: int = 0, timeout_s: float = 2.0
    ) -> bool:
        """Whether a page of the destination comes over a new connection."""
        answer = await self._browser(subscriber).ask("get", url=self.url_of(what), timeout_s=timeout_s)
        if what == "portal":
            return "status" in answer
        return str(answer.get("text", "")).strip() == INTERNET_WORD

    async def download(self, octets: int, *, subscriber: int = 0, timeout_s: float = 30.0) -> int:
        """Fetch that much from the internet; the octets that came (0 when cut off)."""
        url = f"{self.url_of('internet')}octets/{octets}"
        answer = await self._browser(subscriber).ask("get", url=url, timeout_s=timeout_s)
        return int(answer.get("octets", 0))

    async def hold_flow(self, *, subscriber: int = 0) -> None:
        """Open a connection to the internet over which octets drip without end."""
        answer = await self._browser(subscriber).ask("hold", url=f"{self.url_of('internet')}drip")
        if "error" in answer:
            raise CommandFailed(f"the flow could not be opened: {answer['error']}")

    async def held_octets(self, *, subscriber: int = 0) -> int:
        """Octets that have come over the held flow so far."""
        return int((await self._browser(subscriber).ask("held"))["octets"])

    async def flow_moves(self, *, subscriber: int = 0, within_s: float = 1.0) -> bool:
        """Whether anything comes over the held flow in that time."""
        before = await self.held_octets(subscriber=subscriber)
        deadline = asyncio.get_running_loop().time() + within_s
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
            if await self.held_octets(subscriber=subscriber) > before:
                return True
        return False

    def _browser(self, subscriber: int) -> _Browser:
        browser = self.subscribers[subscriber].browser
        if browser is None:
            raise CommandFailed("the lab tower has not been started")
        return browser

    # -- the end

    async def stop(self) -> None:
        """Take everything down."""
        for subscriber in self.subscribers:
            if subscriber.browser is not None:
                subscriber.browser.close()
        if self._portal_server is not None:
            self._portal_server.close()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for process in self._processes:
            await process.wait()
        self._processes.clear()
        await self._end_sessions()
        self._namespaces.delete_all()
        with contextlib.suppress(CommandFailed):
            await run("ip", "link", "del", self._lot.link("edge"))
        self._directory.cleanup()
        shutil.rmtree(self._etc, ignore_errors=True)
        self._lot.release()

    async def _end_sessions(self) -> None:
        """SSH sessions outlive their sshd: end what still runs inside the tower's own namespaces."""
        for name in self._namespaces.names:
            with contextlib.suppress(CommandFailed):
                for pid in (await run("ip", "netns", "pids", name)).split():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(int(pid), signal.SIGKILL)


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
