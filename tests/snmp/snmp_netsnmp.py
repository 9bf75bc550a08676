"""net-snmp's agent on a loopback port, its interface table fed from a file that the test writes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

IF_ENTRY = ".1.3.6.1.2.1.2.2.1"
IFX_ENTRY = ".1.3.6.1.2.1.31.1.1.1"

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
    """snmpd with its own configuration. ``rows``: name to (index, in, out); written by ``show``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._table = folder / "table.json"
        (folder / "persistent").mkdir()
        feeder = folder / "feeder.py"
        feeder.write_text(_FEEDER)
        command = f"{sys.executable} -S {feeder} {self._table}"
        (folder / "snmpd.conf").write_text(
            textwrap.dedent(f"""
            rocommunity public 127.0.0.1
            rouser mon priv
            createUser mon SHA-256 "authpassword" AES "privpassword"
            sysName tower-witness
            pass_persist {IF_ENTRY} {command}
            pass_persist {IFX_ENTRY} {command}
            """)
        )
        self.show({})

    def show(self, rows: dict[str, tuple[int, int, int]], *, wide: bool = True) -> None:
        """What the interface tables say from now on; ``wide`` False leaves the 64-bit columns out."""
        table: dict[str, tuple[str, str]] = {}
        for name, (index, octets_in, octets_out) in rows.items():
            narrow_in, narrow_out = octets_in % (1 << 32), octets_out % (1 << 32)
            table[f"{IF_ENTRY[1:]}.2.{index}"] = ("string", name)
            table[f"{IF_ENTRY[1:]}.10.{index}"] = ("counter", str(narrow_in))
            table[f"{IF_ENTRY[1:]}.16.{index}"] = ("counter", str(narrow_out))
            table[f"{IFX_ENTRY[1:]}.1.{index}"] = ("string", name)
            if wide:
                table[f"{IFX_ENTRY[1:]}.6.{index}"] = ("counter64", str(octets_in))
                table[f"{IFX_ENTRY[1:]}.10.{index}"] = ("counter64", str(octets_out))
        written = self._table.with_suffix(".new")
        written.write_text(json.dumps(table))
        written.replace(self._table)

    def start(self) -> None:
        """Start, and wait until it answers snmpget."""
        environment = os.environ | {
            "SNMPCONFPATH": f"{self.folder}:{self.folder / 'persistent'}",
            "SNMP_PERSISTENT_DIR": str(self.folder / "persistent"),
            "MIBS": "",
        }
        self._process = subprocess.Popen(
            [
                "/usr/sbin/snmpd", "-f", "-Lf", str(self.folder / "snmpd.log"), "-I", "-ifTable,ifXTable",
                f"udp:127.0.0.1:{self.port}",
            ],
            env=environment,
        )  # fmt: skip
        for _attempt in range(50):
            if self.snmpget("1.3.6.1.2.1.1.3.0") is not None:
                return
            time.sleep(0.1)
        raise RuntimeError((self.folder / "snmpd.log").read_text())

    def snmpget(self, oid: str) -> str | None:
        """What net-snmp's own client reads; None without an answer."""
        asked = subprocess.run(
            [
                "snmpget",
                "-v2c",
                "-c",
                "public",
                "-t",
                "0.3",
                "-r",
                "0",
                "-Oqvt",
                f"127.0.0.1:{self.port}",
                oid,
            ],
            capture_output=True,
            text=True,
        )
        return asked.stdout.strip() if asked.returncode == 0 else None

    def stop(self) -> None:
        """Stop; a later ``start`` is a reboot of the agent (engine boots go up)."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._process = None


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
