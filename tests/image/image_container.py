"""A Debian tree booted by systemd-nspawn, systemd as its first process: real units without a virtual machine.

The container gets a network namespace of its own, joined to this machine by one link: this machine is
``Network.here``, the container ``Network.there``. Everything is bounded in time and freed by ``stop``; when this
process is killed outright, the container goes with it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from image_power import BoxFailed, Powered

from lab.namespaces import CommandFailed, Lot, program, sweep_orphans
from lab.namespaces import missing as namespaces_missing

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CGROUPS = Path("/sys/fs/cgroup")
_number = itertools.count(1)


def missing() -> str | None:
    """Why no tree can be booted here, None if one can."""
    if os.geteuid() != 0:
        return "booting a tree needs root"
    for tool, package in (("systemd-nspawn", "systemd-container"), ("nsenter", "util-linux")):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (Debian package {package})"
    return namespaces_missing(("ip", "nft", "setpriv"))


def _quietly(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=False)


def _strictly(*command: str) -> str:
    done = subprocess.run([program(command[0]), *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Network:
    """A namespace with one link to this machine, the container's whole world unless more is added."""

    def __init__(self) -> None:
        sweep_orphans()
        self._lot = Lot()
        self.namespace = self._lot.name("box")
        self.here, self.there = f"10.213.{self._lot.number}.1", f"10.213.{self._lot.number}.2"
        self._link = self._lot.link("box")
        try:
            _strictly("ip", "netns", "add", self.namespace)
            end = ("peer", "name", "host0", "netns", self.namespace)
            _strictly("ip", "link", "add", self._link, "type", "veth", *end)
            _strictly("ip", "addr", "add", f"{self.here}/24", "dev", self._link)
            _strictly("ip", "link", "set", self._link, "up")
            _strictly("ip", "-n", self.namespace, "addr", "add", f"{self.there}/24", "dev", "host0")
            for link in ("lo", "host0"):
                _strictly("ip", "-n", self.namespace, "link", "set", link, "up")
            _strictly("ip", "-n", self.namespace, "route", "add", "default", "via", self.here)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """Where the namespace is found by those who enter it."""
        return f"/run/netns/{self.namespace}"

    def close(self) -> None:
        """Delete it."""
        _quietly("ip", "link", "del", self._link)
        _quietly("ip", "netns", "del", self.namespace)
        self._lot.release()


class Container(Powered):
    """One booted tree. ``with Container(tree) as box: box.run("systemctl", "status")``.

    ``arguments`` are further ones of systemd-nspawn (``--read-only``, ``--bind=…``, ``--capability=…``,
    ``--overlay=…``); ``environment`` is what its first process gets.
    """

    def __init__(
        self,
        tree: Path,
        *,
        network: Network | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.tree = tree
        self._own_network = network is None
        self.network = network or Network()
        self._arguments = [*arguments, *(f"--setenv={k}={v}" for k, v in (environment or {}).items())]
        self._name = f"hilltop-{os.getpid()}-{next(_number)}"
        self.console = tree.with_name(f"{tree.name}.{self._name}.console")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def start(self, timeout_s: float = 90) -> float:
        """Power on; returns the seconds until systemd says that the boot is over (running or degraded)."""
        began = time.monotonic()
        # A control group of its own, or two containers would write into each other's.
        enter = "for group; do mkdir -p $group && echo $$ > $group/cgroup.procs; done"
        nspawn = (
            "exec setpriv --pdeathsig KILL systemd-nspawn --quiet --boot --register=no --keep-unit "
            '--console=pipe --link-journal=no --settings=no --directory="$TREE" '
            '--network-namespace-path="$NAMESPACE" '
        )
        words = " ".join(_quoted(argument) for argument in self._arguments)
        with self.console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                ["/bin/sh", "-ec", f"{enter}\n{nspawn}{words}", "sh", *self._groups()],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    "PATH": _PATH,
                    "TREE": str(self.tree),
                    "NAMESPACE": self.network.path,
                    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                },
            )
        try:
            self.wait("the first process", self._find_leader, timeout_s, pause_s=0.05)
            self.wait("the end of the boot", self._booted, timeout_s, pause_s=0.1)
        except BaseException:
            self.stop()
            raise
        return time.monotonic() - began

    def _groups(self) -> list[str]:
        """Control groups of our own: in the hierarchy of version 2, and in systemd's where there are two kinds."""
        if (_CGROUPS / "cgroup.procs").exists():  # version 2 alone
            return [str(_CGROUPS / self._name)]
        kinds = [_CGROUPS / "unified", _CGROUPS / "systemd"]
        return [str(kind / self._name) for kind in kinds if kind.is_dir()]

    def _find_leader(self) -> bool:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise BoxFailed(f"systemd-nspawn ended: {self.said()[-2000:]}")
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text()
            for child in children.split():
                status = Path(f"/proc/{child}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:"))
                if numbers.split()[-1] == "1" and Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    self.leader = int(child)
        return bool(self.leader)

    def _booted(self) -> bool:
        if not self.alive:
            raise BoxFailed(f"the container ended while it booted: {self.said()[-2000:]}")
        state = self.attempt("systemctl", "is-system-running").stdout.strip()
        return state in {"running", "degraded"}

    @property
    def alive(self) -> bool:
        """Whether it is on."""
        return self._nspawn is not None and self._nspawn.poll() is None

    def attempt(
        self, *command: str, stdin: str = "", timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root with a bare environment; whatever comes of it."""
        enter = ["nsenter", "--target", str(self.leader), "--all", "--root", "--wd"]
        clean = ["env", "-i", f"PATH={_PATH}", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        return subprocess.run(
            [*enter, *clean, *command],
            input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False,
        )  # fmt: skip

    def run(self, *command: str, stdin: str = "", timeout_s: float = 60) -> str:
        """Run a command inside to its good end; what it printed. Raises ``BoxFailed``."""
        done = self.attempt(*command, stdin=stdin, timeout_s=timeout_s)
        if done.returncode:
            raise BoxFailed(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit as systemd sees them."""
        asked = [f"--property={name}" for name in properties]
        lines = self.run("systemctl", "show", *asked, unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def wait_active(self, *units: str, timeout_s: float = 60) -> None:
        """Until all of them are active; else the failure says what their journal says."""
        for unit in units:
            try:
                self.wait(unit, functools.partial(self._active, unit), timeout_s)
            except BoxFailed as trouble:
                status = self.attempt("systemctl", "status", "--no-pager", "--lines=0", unit).stdout
                raise BoxFailed(f"{trouble}\n{status}\n{self.journal('--unit', unit)[-4000:]}") from None

    def _active(self, unit: str) -> bool:
        return self.show(unit, "ActiveState")["ActiveState"] == "active"

    def journal(self, *arguments: str) -> str:
        """What the journal says (arguments of journalctl)."""
        return self.attempt("journalctl", "--no-pager", "--output=short-monotonic", *arguments).stdout

    def said(self) -> str:
        """What was written to the console."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def inside(self, path: str) -> Path:
        """A file of the running container, seen from here (its own mounts included)."""
        return Path(f"/proc/{self.leader}/root", path.lstrip("/"))

    def cut(self) -> None:
        """Power off hard: nothing inside gets a word in. ``start`` powers it on again."""
        self._end(signal.SIGKILL, 10)

    def stop(self, timeout_s: float = 30) -> None:
        """Shut down in order, hard when that takes too long; free all that was taken."""
        self._end(signal.SIGTERM, timeout_s)
        for group in self._groups():
            for inner in sorted(Path(group).rglob("*/"), reverse=True) if Path(group).is_dir() else ():
                with contextlib.suppress(OSError):
                    inner.rmdir()
            with contextlib.suppress(OSError):
                Path(group).rmdir()
        self.console.unlink(missing_ok=True)
        self.tree.with_name(f".#{self.tree.name}.lck").unlink(missing_ok=True)
        if self._own_network:
            self.network.close()

    def _end(self, how: signal.Signals, timeout_s: float) -> None:
        if self._nspawn is None:
            return
        for word in (how, signal.SIGKILL):
            if self._nspawn.poll() is None:
                if word == signal.SIGKILL and self.leader:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self.leader, word)
                with contextlib.suppress(ProcessLookupError):
                    self._nspawn.send_signal(word)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._nspawn.wait(timeout_s)
        self._nspawn, self.leader = None, 0


def _quoted(argument: str) -> str:
    return "'" + argument.replace("'", "'\\''") + "'"
