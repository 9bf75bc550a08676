"""The image as a machine: QEMU with a disk, a network, a serial console, and a plug that can be pulled.

KVM is used only where it really runs the guest; else the processor is emulated. The guest reaches what this process
reaches, loopback as 10.0.2.2, and is reached through forwarded ports on 127.0.0.1. ``own_network`` takes this process
into a network of its own first, so that nothing of it goes anywhere else.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import functools
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image_power import BoxFailed, Powered

QEMU = "qemu-system-x86_64"
FIRMWARE = Path("/usr/share/OVMF")
HOST = "10.0.2.2"  # what the guest calls the machine it runs on
MIB = 1 << 20
_SHELL = """[Service]
ExecStart=/bin/sh -c "stty -echo; exec /bin/sh"
Environment=PS1=
StandardInput=tty-force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
"""
_SHELL_WANTED = "[Unit]\nWants=observer.service\n"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of clone(2)
_ESCAPES = re.compile(
    r"\x1b(\[[0-9;?!]*[A-Za-z]|[()][A-Z0-9]|[=>78]|\][^\x07\x1b]*(\x07|\x1b\\))|[\x00\x07\r]"
)


def missing(*, uefi: bool = False) -> str | None:
    """Why no machine can be run here, None if one can."""
    if os.geteuid() != 0:
        return "a network of the machine's own needs root"
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not installed (Debian package qemu-system-x86)"
    if uefi and not (FIRMWARE / "OVMF_CODE_4M.fd").exists():
        return "there is no UEFI firmware (Debian package ovmf)"
    return None


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """This process in a network namespace with nothing but a loopback, until the block ends. Raises ``OSError``."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open("rb") as home:
        if libc.unshare(_NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "a network namespace of its own")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            if libc.setns(home.fileno(), _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "the way back from a network namespace")


@functools.cache
def accelerator(kernel: Path) -> tuple[str, ...]:
    """QEMU's words for the fastest processor that really runs the kernel here.

    /dev/kvm may open and still not run a stock kernel (nested or para-virtual KVM), so the kernel is asked to print
    its first line within ten seconds.
    """
    emulated = ("-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max")
    real = ("-accel", "kvm", "-cpu", "host")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return emulated
    trial = subprocess.Popen(
        [
            QEMU, *real, "-m", "256", "-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio",
            "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    said = bytearray()
    try:
        assert trial.stdout is not None
        os.set_blocking(trial.stdout.fileno(), False)
        end = time.monotonic() + 10
        while time.monotonic() < end and b"Linux version" not in said and trial.poll() is None:
            said += trial.stdout.read() or b""
            time.sleep(0.1)
    finally:
        trial.kill()
        trial.wait()
    return real if b"Linux version" in said else emulated


def free_port(kind: socket.SocketKind) -> int:
    """A port that nobody has on loopback."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Ports:
    """Where on 127.0.0.1 the guest's ports are."""

    auth: int
    accounting: int
    panel: int
    portal: int

    @classmethod
    def free(cls) -> Ports:
        """Ones that nobody has."""
        datagram, stream = socket.SOCK_DGRAM, socket.SOCK_STREAM
        return cls(free_port(datagram), free_port(datagram), free_port(stream), free_port(stream))

    @property
    def forwards(self) -> str:
        """QEMU's words for them. The panel is forwarded to 443, which the box redirects."""
        rules = [
            f"udp:127.0.0.1:{self.auth}-:1812",
            f"udp:127.0.0.1:{self.accounting}-:1813",
            f"tcp:127.0.0.1:{self.panel}-:443",
            f"tcp:127.0.0.1:{self.portal}-:80",
        ]
        return ",".join(f"hostfwd={rule}" for rule in rules)


class Machine(Powered):
    """A virtual machine that boots a copy of the image. When the guest restarts itself, it is off until ``start``.

    ``lossy``: writes are logged, so that ``cut`` can leave out what the guest had not flushed, as a disk with a
    volatile cache does when the power goes.
    """

    patience_s = 120.0

    def __init__(
        self,
        image: Path,
        folder: Path,
        kernel: Path,
        *,
        disk_mib: int = 4096,
        memory_mib: int = 1024,
        uefi: bool = False,
        lossy: bool = False,
        rtc: str = "utc",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.ports = folder, Ports.free()
        self.beside: Path | None = None  # a second disk, which is only read
        self.disk = folder / "disk.img"
        self._kernel, self._memory_mib, self._uefi = kernel, memory_mib, uefi
        self._lossy, self._rtc = lossy, rtc
        _copy(image, self.disk)
        os.truncate(self.disk, max(disk_mib * MIB, self.disk.stat().st_size))
        if uefi:
            shutil.copy(FIRMWARE / "OVMF_VARS_4M.fd", folder / "vars.fd")
        self._process: subprocess.Popen[bytes] | None = None
        self._serial: socket.socket | None = None
        self._said = bytearray()
        self._heard = 0
        self.began_s = 0.0

    # -- power

    def start(self) -> None:
        """Power on."""
        if self._lossy:
            _copy(self.disk, self.folder / "before.img")
            (self.folder / "writes.log").unlink(missing_ok=True)
            (self.folder / "writes.log").touch()
        for name in ("serial", "shell", "qmp"):
            (self.folder / name).unlink(missing_ok=True)
        errors = (self.folder / "qemu.log").open("wb")
        self.began_s = time.monotonic()
        self._process = subprocess.Popen(
            self._words(), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True
        )
        errors.close()
        self._heard = len(self._said)
        self._serial = self._socket("serial")
        threading.Thread(target=self._listen, args=(self._serial,), daemon=True).start()

    def _words(self) -> list[str]:
        disk = f"driver=file,filename={self.disk},node-name=file0,cache.direct=on"
        words = [
            "nice", QEMU, *accelerator(self._kernel), "-smp", "2", "-m", str(self._memory_mib), "-nodefaults", "-display", "none",
            "-no-reboot", "-rtc", f"base={self._rtc}",
            "-vga", "std", "-serial", f"unix:{self.folder / 'serial'},server=on,wait=off",
            "-serial", f"unix:{self.folder / 'shell'},server=on,wait=off",
            *_credential("systemd.extra-unit.observer.service", _SHELL),
            *_credential("systemd.unit-dropin.multi-user.target", _SHELL_WANTED),
            "-qmp", f"unix:{self.folder / 'qmp'},server=on,wait=off",
            "-netdev", f"user,id=net0,ipv6=off,{self.ports.forwards}",
            "-device", "virtio-net-pci,netdev=net0,romfile=", "-device", "virtio-rng-pci",
            "-device", "virtio-balloon-pci,id=balloon", "-blockdev", disk,
        ]  # fmt: skip
        top = "file0"
        if self._lossy:
            log = f"driver=raw,node-name=log0,file.driver=file,file.filename={self.folder / 'writes.log'}"
            words += ["-blockdev", log]
            logged = "driver=blklogwrites,node-name=logged,file=file0,log=log0,log-super-update-interval=1"
            words += ["-blockdev", logged]
            top = "logged"
        words += ["-device", f"virtio-blk-pci,drive={top},bootindex=1"]
        if self.beside is not None:
            words += ["-drive", f"if=virtio,format=raw,readonly=on,file={self.beside}"]
        if self._uefi:
            code = f"if=pflash,format=raw,readonly=on,file={FIRMWARE / 'OVMF_CODE_4M.fd'}"
            words += ["-drive", code, "-drive", f"if=pflash,format=raw,file={self.folder / 'vars.fd'}"]
        return words

    def _socket(self, name: str) -> socket.socket:
        channel = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 10
        while True:
            try:
                channel.connect(str(self.folder / name))
            except OSError:
                if self._process is None or self._process.poll() is not None or time.monotonic() > end:
                    channel.close()
                    raise BoxFailed((self.folder / "qemu.log").read_text()) from None
                time.sleep(0.05)
            else:
                return channel

    @property
    def alive(self) -> bool:
        """Whether it is on."""
        return self._process is not None and self._process.poll() is None

    def cut(self) -> int:
        """Pull the plug. With ``lossy`` what the guest had not flushed is lost; how many writes that were."""
        self.stop()
        if not self._lossy:
            return 0
        lost = _replay_to_last_flush(self.folder / "before.img", self.folder / "writes.log")
        (self.folder / "before.img").replace(self.disk)
        return lost

    def press_power_button(self, timeout_s: float = 60) -> float:
        """Shut down in order, as ACPI asks; the seconds that it took."""
        began = time.monotonic()
        self.qmp("system_powerdown")
        self.wait("the machine to switch itself off", lambda: not self.alive, timeout_s)
        self.stop()
        return time.monotonic() - began

    def read_state(self, folder: Path) -> Path:
        """Hilltop's state directory of a machine that is off, read out of its data partition without mounting it."""
        self._debugfs(f"rdump /var/lib/hilltop {folder}")
        return folder / "hilltop"

    def read_file(self, path: str, folder: Path) -> bytes:
        """One file of the data partition of a machine that is off."""
        self._debugfs(f"dump {path} {folder / 'dumped'}")
        return (folder / "dumped").read_bytes()

    def grow_disk(self, to_mib: int) -> None:
        """As the owner of a virtual machine does, while it is off."""
        os.truncate(self.disk, to_mib * MIB)

    def data_octets(self) -> int:
        """The size of the data's file system, of a machine that is off."""
        stats = self._debugfs("stats")
        count, size = (
            int(found[1])
            for name in ("Block count", "Block size")
            if (found := re.search(rf"{name}: +(\d+)", stats))
        )
        return count * size

    def spoil_data(self) -> None:
        """Make the data's file system one that nothing can check or mount, of a machine that is off."""
        self._debugfs("feature FEATURE_I31")

    def grubenv(self, *changes: str) -> str:
        """What GRUB goes by, of a machine that is off, after ``changes`` like A_OK=1."""
        place, copy = f"{self.disk}@@{2 * MIB}", self.folder / "grubenv"
        subprocess.run(["mcopy", "-n", "-o", "-i", place, "::grub/grubenv", str(copy)], check=True)
        if changes:
            subprocess.run(["grub-editenv", str(copy), "set", *changes], check=True)
            subprocess.run(["mcopy", "-n", "-o", "-i", place, str(copy), "::grub/grubenv"], check=True)
        return copy.read_text()

    def _debugfs(self, request: str) -> str:
        table = subprocess.run(
            ["sfdisk", "--dump", str(self.disk)], capture_output=True, text=True, check=True
        )
        start = re.search(r"start= *(\d+).*name=\"hilltop-data\"", table.stdout)
        assert start is not None, table.stdout
        disk = f"{self.disk}?offset={int(start[1]) * 512}"
        asked = ["debugfs", "-w", "-R", request, disk]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout

    def stop(self) -> None:
        """Off at once, whatever the guest is doing."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            self._process = None
        if self._serial is not None:
            self._serial.close()
            self._serial = None

    # -- monitor

    def qmp(self, command: str, **arguments: Any) -> Any:
        """One command to QEMU's monitor; its answer."""
        with self._socket("qmp") as channel, channel.makefile("rw", encoding="utf-8") as lines:
            channel.settimeout(10)
            lines.readline()  # the greeting
            for words in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                lines.write(json.dumps(words) + "\n")
                lines.flush()
                answer: dict[str, Any] = {}
                while "return" not in answer and "error" not in answer:
                    answer = json.loads(lines.readline())
                if "error" in answer:
                    raise BoxFailed(f"{command}: {answer['error']['desc']}")
            return answer["return"]

    def memory_in_use_mib(self) -> int:
        """What the guest's kernel says is in use: all memory less what is available (MemAvailable)."""
        path = "/machine/peripheral/balloon"
        self.qmp("qom-set", path=path, property="guest-stats-polling-interval", value=1)
        found: dict[str, int] = {}

        def told() -> bool:
            nonlocal found
            found = self.qmp("qom-get", path=path, property="guest-stats")["stats"]
            return found.get("stat-available-memory", -1) > 0

        self.wait("the guest's memory figures", told, 30)
        return (found["stat-total-memory"] - found["stat-available-memory"]) // MIB

    def observe(self, command: str, timeout_s: float = 60) -> str:
        """What a shell command of root says in the guest. The image has no such shell: only its host can give it one.

        A unit by a systemd credential (systemd.system-credentials(7)) opens it on the second serial line.
        """
        said, end = b"", time.monotonic() + timeout_s
        with self._socket("shell") as channel:
            channel.settimeout(1)
            channel.sendall(f"{command}; echo observed-$?\n".encode())
            while (done := re.search(rb"(?s)(.*)observed-\d+\r?\n", said)) is None:
                if time.monotonic() > end:
                    raise BoxFailed(f"no end of {command}: {said[-500:]!r}")
                with contextlib.suppress(TimeoutError):
                    said += channel.recv(4096)
        return done[1].decode(errors="replace").replace("\r", "").strip()

    # -- the serial console

    def _listen(self, channel: socket.socket) -> None:
        with (self.folder / "serial.log").open("ab", buffering=0) as log, contextlib.suppress(OSError):
            while octets := channel.recv(4096):
                log.write(octets)
                self._said += octets

    def said(self) -> str:
        """All that came over the serial line since the machine was made, without terminal codes."""
        return _ESCAPES.sub("", self._said.decode(errors="replace"))

    def type(self, text: str) -> None:
        """Type at the serial console; what was said until now counts as heard."""
        assert self._serial is not None
        self._heard = len(self._said)
        self._serial.sendall(text.encode())

    def hear(self, pattern: str, timeout_s: float | None = None) -> re.Match[str]:
        """Wait for a pattern in what was said since the last key; the match."""
        found: re.Match[str] | None = None

        def heard() -> bool:
            nonlocal found
            since = _ESCAPES.sub("", self._said[self._heard :].decode(errors="replace"))
            found = re.search(pattern, since, re.MULTILINE)
            return found is not None

        self.wait(f"the console to say {pattern!r}", heard, timeout_s)
        assert found is not None
        return found


def _credential(name: str, value: str) -> tuple[str, str]:
    """QEMU's words for a credential from the machine's owner: an SMBIOS string (type 11)."""
    octets = base64.b64encode(value.encode()).decode()
    return "-smbios", f"type=11,value=io.systemd.credential.binary:{name}={octets}"


def _copy(source: Path, to: Path) -> None:
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(source), str(to)], check=True)


# The log is that of the kernel's dm-log-writes target: a first sector with magic, version, number of entries and sector
# size; then for each entry a sector (where, how many sectors, flags, octets of data) and the data.
_MAGIC = 0x6A736677736872
_FLUSH, _FUA, _DISCARD = 1, 2, 4


def _replay_to_last_flush(disk: Path, log: Path) -> int:
    """Write into ``disk`` what the log holds up to its last flush; how many later writes were left out."""
    with log.open("rb") as source, disk.open("r+b") as target:
        first = source.read(28)
        if not first:
            return 0  # it was cut off before it wrote anything
        magic, _, entries, sector = struct.unpack("<QQQI", first)
        if magic != _MAGIC:
            raise BoxFailed("QEMU wrote no log of the disk's writes")
        pending: list[tuple[int, int, int, int]] = []
        at, number = sector, 0
        while len(head := _read_at(source, at, 32)) == 32:
            where, count, flags, _ = struct.unpack("<QQQQ", head)
            if not count and not flags & _FLUSH:
                break
            number += 1
            at += sector
            pending.append((where, count, flags, at))
            if not flags & _DISCARD:
                at += count * sector
            if flags & _FLUSH and number <= entries:  # the first sector is written again at each flush
                _apply(pending, source, target, sector)
                pending.clear()
            elif flags & _FUA:  # on the disk itself; what came before it may still be lost
                _apply(pending[-1:], source, target, sector)
        return len(pending)


def _read_at(file: Any, at: int, octets: int) -> bytes:
    file.seek(at)
    return bytes(file.read(octets))


def _apply(pending: list[tuple[int, int, int, int]], source: Any, target: Any, sector: int) -> None:
    for where, count, flags, at in pending:
        if not flags & _DISCARD:
            target.seek(where * sector)
            target.write(_read_at(source, at, count * sector))
