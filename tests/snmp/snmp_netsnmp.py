"""net-snmp's agent on a loopback port, its interface tables fed from a file that the test writes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from snmp_world import COMMUNITY

IF_ENTRY = ".1.3.6.1.2.1.2.2.1"
IFX_ENTRY = ".1.3.6.1.2.1.31.1.1.1"
AUTH, PRIVACY = "auth-of-witness", "privacy-of-witness"

# snmpd.conf(5), pass_persist: lines of PING, get and getnext on standard input.
_FEEDER = """
import json, sys
def table():
    return {tuple(map(int, oid.split("."))): pair for oid, pair in json.load(open(sys.argv[1])).items()}
def spell(oid):
    return "." + ".".join(map(str, oid))
while True:
    line = sys.stdin.readline()
    if not line:
        break
    if line.strip() == "PING":
        print("PONG", flush=True)
        continue
    asked = tuple(map(int, sys.stdin.readline().strip().strip(".").split(".")))
    rows = table()
    oid = asked if line.strip() == "get" else next((o for o in sorted(rows) if o > asked), None)
    if oid not in rows:
        print("NONE", flush=True)
        continue
    print(spell(oid), *rows[oid], sep="\\n", flush=True)
"""


class NetSnmp:
    """snmpd with a configuration of its own. What its interfaces say is written by ``show``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._table = folder / "table.json"
        (folder / "persistent").mkdir()
        feeder = folder / "feeder.py"
        feeder.write_text(_FEEDER)
        command = f"{sys.executable} -S {feeder} {self._table}"
        (folder / "witness.conf").write_text(
            textwrap.dedent(f"""
            agentaddress udp:127.0.0.1:{self.port}
            rocommunity {COMMUNITY} 127.0.0.1
            createUser mon SHA-256 "{AUTH}" AES "{PRIVACY}"
            createUser old SHA "{AUTH}" AES "{PRIVACY}"
            createUser plain SHA-512 "{AUTH}"
            rouser mon priv
            rouser old priv
            rouser plain auth
            sysName tower-witness
            pass_persist {IF_ENTRY} {command}
            pass_persist {IFX_ENTRY} {command}
            """)
        )
        self.show({})

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be run here, None if it can."""
        absent = [tool for tool in ("snmpd", "snmpget") if _program(tool) is None]
        return f"net-snmp is not installed (Debian packages snmpd, snmp): {absent}" if absent else None

    def show(
        self,
        rows: dict[str, tuple[int, int, int]],
        *,
        wide: bool = True,
        packets: tuple[int, int] | None = None,
    ) -> None:
        """What the tables say from now on: name to (index, in, out); ``wide`` False: no 64-bit columns."""
        table: dict[str, tuple[str, str]] = {}
        for name, (index, octets_in, octets_out) in rows.items():
            narrow_in, narrow_out = octets_in % (1 << 32), octets_out % (1 << 32)
            table[f"{IF_ENTRY[1:]}.2.{index}"] = ("string", name)
            table[f"{IF_ENTRY[1:]}.10.{index}"] = ("counter", str(narrow_in))
            table[f"{IF_ENTRY[1:]}.16.{index}"] = ("counter", str(narrow_out))
            if packets is not None:
                table[f"{IF_ENTRY[1:]}.11.{index}"] = ("counter", str(packets[0]))
                table[f"{IF_ENTRY[1:]}.17.{index}"] = ("counter", str(packets[1]))
            if wide:
                table[f"{IFX_ENTRY[1:]}.1.{index}"] = ("string", name)
                table[f"{IFX_ENTRY[1:]}.6.{index}"] = ("counter64", str(octets_in))
                table[f"{IFX_ENTRY[1:]}.10.{index}"] = ("counter64", str(octets_out))
        written = self._table.with_suffix(".new")
        written.write_text(json.dumps(table))
        written.replace(self._table)

    def start(self) -> None:
        """Start, and wait until it answers snmpget."""
        environment = os.environ | {"SNMP_PERSISTENT_DIR": str(self.folder / "persistent"), "MIBS": ""}
        # What it wrote down when it stopped (boots, engine id) is read like a file of its own: -C reads no other.
        files = [self.folder / "witness.conf", self.folder / "persistent" / "snmpd.conf"]
        command = [
            str(_program("snmpd")), "-f", "-C", "-c",
            ",".join(str(one) for one in files if one.exists()), "-Lf",
            str(self.folder / "snmpd.log"), "-p", str(self.folder / "snmpd.pid"), "-I",
            "-ifTable,ifXTable,interface",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, env=environment)
        for _attempt in range(100):
            # A row of ours is asked for as well, so that the feeder stands.
            if self.snmpget("1.3.6.1.2.1.1.3.0") and self.snmpget(IFX_ENTRY + ".1.1") is not None:
                return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "snmpd.log").read_text())

    def snmpget(self, oid: str) -> str | None:
        """What net-snmp's own client reads; None without an answer."""
        login = ["-v2c", "-c", COMMUNITY, "-t", "0.3", "-r", "0", "-m", "", "-Oqvt"]
        asked = subprocess.run(
            ["snmpget", *login, f"127.0.0.1:{self.port}", oid], capture_output=True, text=True
        )
        return asked.stdout.strip() if asked.returncode == 0 else None

    def stop(self) -> None:
        """Stop; a later ``start`` is a reboot of the agent (engine boots go up)."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._process = None


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
