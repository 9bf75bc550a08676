"""Network namespaces through ip(8): made under names of our own, and gone when this process is."""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

_PREFIX = "ht"
_OURS = re.compile(r"^ht(\d+)n\d+-")
_TOOLS = {
    "ip": "iproute2",
    "nft": "nftables",
    "sshd": "openssh-server",
    "snmpd": "snmpd",
    "setpriv": "util-linux",
    "sudo": "sudo",
    "conntrack": "conntrack",
}
_PLACES = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


class CommandFailed(Exception):  # noqa: N818 - what happened
    """A command of the machine failed; the text is its own complaint."""


def program(name: str) -> str:
    """The full path of a program, the administrator's directories included."""
    found = shutil.which(name, path=_PLACES)
    if found is None:
        raise CommandFailed(f"{name} is not installed (Debian package {_TOOLS.get(name, name)})")
    return found


async def run(*command: str, stdin: str = "") -> str:
    """Run to the end; what it printed. Raises ``CommandFailed``."""
    process = await asyncio.create_subprocess_exec(
        program(command[0]),
        *command[1:],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, complaint = await process.communicate(stdin.encode())
    if process.returncode:
        raise CommandFailed(f"{' '.join(command)}: {complaint.decode(errors='replace').strip()}")
    return output.decode(errors="replace")


def inside(namespace: str, *command: str) -> list[str]:
    """The words that run ``command`` inside a namespace and end it when this process ends."""
    die_with_us = [program("setpriv"), "--pdeathsig", "KILL"]
    return [program("ip"), "netns", "exec", namespace, *die_with_us, program(command[0]), *command[1:]]


TOOLS = ("ip", "nft", "sshd", "snmpd", "setpriv")


def missing(tools: Sequence[str] = TOOLS) -> str | None:
    """Why namespaces cannot be built here, None if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [tool for tool in tools if shutil.which(tool, path=_PLACES) is None]
    if absent:
        packages = ", ".join(sorted({_TOOLS[tool] for tool in absent}))
        return f"{', '.join(absent)} not installed (Debian: {packages})"
    return _try_one()


def _try_one() -> str | None:
    name = f"{_PREFIX}{os.getpid()}n0-try"
    made = subprocess.run([program("ip"), "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"ip netns add: {made.stderr.strip() or 'failed'}"
    nft = [program("ip"), "netns", "exec", name, program("nft"), "add", "table", "inet", "hilltop_try"]
    tried = subprocess.run(nft, capture_output=True, text=True, check=False)
    subprocess.run([program("ip"), "netns", "del", name], capture_output=True, check=False)
    return f"nft in a namespace: {tried.stderr.strip()}" if tried.returncode else None


def sweep_orphans() -> None:
    """Delete namespaces of labs whose process is gone (it was killed before it could tidy up)."""
    directory = Path("/run/netns")
    for file in directory.iterdir() if directory.is_dir() else ():
        ours = _OURS.match(file.name)
        if ours is not None and not Path(f"/proc/{ours[1]}").exists():
            subprocess.run([program("ip"), "netns", "del", file.name], capture_output=True, check=False)
            shutil.rmtree(Path("/etc/netns", file.name), ignore_errors=True)


class Lot:
    """A numbered lot of addresses, 10.213.N.0/24, that no other lab on this machine holds.

    The lot is an abstract socket: the kernel lets one process bind it and frees it when the process ends.
    """

    _count = 0

    def __init__(self) -> None:
        for step in range(254):
            number = (os.getpid() + Lot._count + step) % 254 + 1
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(f"\0hilltop-lab-10.213.{number}")
            except OSError:
                claim.close()
                continue
            Lot._count += 1
            self.number = number
            self.serial = Lot._count
            self._claim = claim
            return
        raise CommandFailed("all 254 lots of lab addresses (10.213.0.0/16) are taken")

    def name(self, role: str) -> str:
        """A namespace's name: it says which process made it."""
        return f"{_PREFIX}{os.getpid()}n{self.serial}-{role}"

    def link(self, role: str) -> str:
        """An interface's name (at most 15 letters)."""
        return f"{_PREFIX}{self.number}{role}"[:15]

    def release(self) -> None:
        """Let another have it."""
        self._claim.close()


class Namespaces:
    """The namespaces of one lab tower; deleting one takes its interfaces and rules with it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        atexit.register(self.delete_all)

    async def add(self, name: str) -> None:
        """Make one, with its loopback up."""
        await run("ip", "netns", "add", name)
        self.names.append(name)
        await run("ip", "-n", name, "link", "set", "lo", "up")
        # Addresses are ours alone: without duplicate detection IPv6 works at once, not after two seconds.
        quick = "for d in all default; do echo 0 > /proc/sys/net/ipv6/conf/$d/accept_dad; done"
        await run("ip", "netns", "exec", name, program("sh"), "-c", quick)

    def delete_all(self) -> None:
        """Delete all; to be called twice does no harm."""
        atexit.unregister(self.delete_all)
        while self.names:
            subprocess.run(
                [program("ip"), "netns", "del", self.names.pop()], capture_output=True, check=False
            )
