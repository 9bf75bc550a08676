"""FreeRADIUS as an independent witness: a private configuration on loopback ports."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECRET = "a-shared-secret-of-28-letters"

_CONFIG = """
prefix = /usr
libdir = /usr/lib/freeradius
confdir = {directory}
logdir = {directory}
run_dir = {directory}
db_dir = {directory}
radacctdir = {directory}
max_request_time = 10
cleanup_delay = 2
log {{ destination = files
  file = {directory}/radius.log
  auth = yes }}
security {{ reject_delay = 0
  status_server = no }}
thread pool {{ start_servers = 1
  max_servers = 2
  min_spare_servers = 1
  max_spare_servers = 2 }}
client lab {{ ipaddr = 127.0.0.0/8
  secret = {secret} }}
modules {{
  pap {{
  }}
  chap {{
  }}
  mschap {{ use_mppe = yes
    require_encryption = no }}
  files {{ filename = {directory}/users
    acctusersfile = {directory}/acct_users
    preproxy_usersfile = {directory}/acct_users }}
  detail {{ filename = {directory}/detail
    header = "%t"
    permissions = 0600 }}
}}
server lab {{
  listen {{ type = auth
    ipaddr = 127.0.0.1
    port = {auth_port} }}
  listen {{ type = acct
    ipaddr = 127.0.0.1
    port = {acct_port} }}
  authorize {{
    chap
    mschap
    files
    pap
  }}
  authenticate {{
    Auth-Type PAP {{
      pap
    }}
    Auth-Type CHAP {{
      chap
    }}
    Auth-Type MS-CHAP {{
      mschap
    }}
  }}
  accounting {{
    detail
  }}
}}
"""

_USERS = """
anna Cleartext-Password := "correct horse"
     Framed-IP-Address = 100.64.7.7,
     Mikrotik-Rate-Limit = "5M/25M",
     Mikrotik-Address-List = "hilltop-walled",
     Acct-Interim-Interval = 300,
     Class = 0x68696c6c746f702d636c617373

02:00:00:00:00:0A Auth-Type := Accept
     Framed-Pool = "default"
"""


@dataclass(frozen=True)
class FreeRadius:
    directory: Path
    auth_port: int
    acct_port: int

    def accounted(self) -> list[dict[str, list[str]]]:
        """The records of the detail file: attribute to values, in order of arrival."""
        file = self.directory / "detail"
        records = []
        for paragraph in file.read_text().split("\n\n") if file.exists() else []:
            record: dict[str, list[str]] = {}
            for line in paragraph.splitlines()[1:]:
                name, _, value = line.strip().partition(" = ")
                record.setdefault(name, []).append(value.strip('"'))
            records += [record] if record else []
        return records


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def freeradius(directory: Path) -> Iterator[FreeRadius]:
    """The server, up and answering; gone afterwards."""
    binary = shutil.which("freeradius") or "/usr/sbin/freeradius"
    witness = FreeRadius(directory, free_port(), free_port())
    config = _CONFIG.format(
        directory=directory, secret=SECRET, auth_port=witness.auth_port, acct_port=witness.acct_port
    )
    (directory / "radiusd.conf").write_text(config)
    (directory / "dictionary").write_text("")
    (directory / "users").write_text(_USERS)
    (directory / "acct_users").write_text("")
    with (directory / "output").open("w") as output:
        process = subprocess.Popen(
            [binary, "-f", "-d", str(directory), "-n", "radiusd", "-lstdout", "-xx"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_ready(directory / "output", process)
        yield witness
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_ready(output: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while "Ready to process requests" not in output.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"FreeRADIUS did not start:\n{output.read_text()[-3000:]}")
        time.sleep(0.02)
