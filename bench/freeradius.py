"""FreeRADIUS 3.2 from Debian's packages, configured as lean as it goes for the work at hand.

Lean: only the modules that the rows need, no logging of requests, no proxying, no session database, users
from the ``files`` module. Nothing of Debian's own /etc/freeradius is changed or started; the stock SQL schema
and queries are included from there as they are.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.packets import INTERIM_INTERVAL_S, Subscriber

STOCK_SQL = Path("/etc/freeradius/3.0/mods-config/sql/main")
_MODULES = Path("/usr/lib/freeradius")
RATE_LIMIT = "20M/100M"

_RADIUSD = """\
prefix = /usr
name = bench
libdir = {modules}
confdir = {folder}
run_dir = {folder}
pidfile = {folder}/pid
max_request_time = 30
cleanup_delay = 5
max_requests = 65536
hostname_lookups = no
log {{
    destination = files
    file = {folder}/log
    auth = no
}}
security {{
    max_attributes = 200
    reject_delay = 1
    status_server = no
}}
proxy_requests = no
thread pool {{
    start_servers = {threads}
    max_servers = {threads}
    min_spare_servers = 1
    max_spare_servers = {threads}
    max_requests_per_server = 0
    max_queue_size = 65536
    auto_limit_acct = no
}}
client bench {{
    ipaddr = 127.0.0.1
    secret = {secret}
    require_message_authenticator = yes
}}
modules {{
{module_text}}}
server bench {{
{server_text}}}
"""

_AUTHENTICATION_MODULES = """\
    files {{
        usersfile = {folder}/users
    }}
    pap {{
        normalise = no
    }}
    chap {{
    }}
    mschap {{
        use_mppe = yes
        with_ntdomain_hack = no
    }}
"""

_AUTHENTICATION_SERVER = """\
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {port}
        recv_buff = 4194304
    }}
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
"""

_EAP_MODULES = """\
    files {{
        usersfile = {folder}/users
    }}
    mschap {{
        use_mppe = yes
        with_ntdomain_hack = no
    }}
    eap {{
        default_eap_type = ttls
        timer_expire = 60
        max_sessions = 4096
        tls-config common {{
            private_key_file = {key}
            certificate_file = {chain}
            fragment_size = 1200
            cipher_list = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:DEFAULT"
            cipher_server_preference = yes
            tls_min_version = "1.2"
            tls_max_version = "1.2"
            cache {{
                enable = no
            }}
        }}
        ttls {{
            tls = common
            default_eap_type = mschapv2
            copy_request_to_tunnel = no
            use_tunneled_reply = no
            virtual_server = inner
        }}
    }}
"""

_EAP_SERVER = """\
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {port}
        recv_buff = 4194304
    }}
    authorize {{
        eap {{
            ok = return
        }}
    }}
    authenticate {{
        eap
    }}
}}
server inner {{
    authorize {{
        mschap
        files
    }}
    authenticate {{
        Auth-Type MS-CHAP {{
            mschap
        }}
    }}
"""

_SQLITE_DRIVER = """\
        sqlite {{
            filename = "{database}"
            busy_timeout = 5000
        }}
"""

_POSTGRESQL_DRIVER = """\
        server = "{host}"
        port = {port}
        login = "bench"
"""

_SQL_MODULES = """\
    expr {{
        safe_characters = "@abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_: /"
    }}
    sql {{
        driver = "rlm_sql_{dialect}"
        dialect = "{dialect}"
{driver_text}        radius_db = "{database}"
        acct_table1 = "radacct"
        acct_table2 = "radacct"
        postauth_table = "radpostauth"
        authcheck_table = "radcheck"
        authreply_table = "radreply"
        groupcheck_table = "radgroupcheck"
        groupreply_table = "radgroupreply"
        usergroup_table = "radusergroup"
        client_table = "nas"
        group_attribute = "SQL-Group"
        read_clients = no
        delete_stale_sessions = yes
        pool {{
            start = {connections}
            min = {connections}
            max = {connections}
            spare = 0
            uses = 0
            retry_delay = 1
            lifetime = 0
            idle_timeout = 0
        }}
        $INCLUDE {stock}/{dialect}/queries.conf
    }}
"""

_SESSION_KEY = (
    "%{User-Name},%{Acct-Session-ID},%{NAS-IP-Address},%{NAS-Identifier},%{NAS-Port-ID},%{NAS-Port}"
)
"""What tells sessions apart in the stock policy ``acct_unique``."""

_SQL_SERVER = """\
    listen {{
        type = acct
        ipaddr = 127.0.0.1
        port = {port}
        recv_buff = 4194304
    }}
    preacct {{
        update request {{
            &Acct-Unique-Session-Id := "%{{md5:{session}}}"
        }}
    }}
    accounting {{
        sql
    }}
"""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The ``radiusd.conf`` of one FreeRADIUS and how it is run (0 threads: its single mode ``-s``)."""

    text: str
    threads: int


def missing_packages() -> list[str]:
    """Debian packages that have to be installed before the measurement can run."""
    needed = {
        "freeradius": _MODULES / "rlm_sql_sqlite.so",
        "freeradius-config": STOCK_SQL / "sqlite" / "schema.sql",
        "freeradius-postgresql": _MODULES / "rlm_sql_postgresql.so",
    }
    return [package for package, proof in needed.items() if not proof.exists()]


def version() -> str:
    """The version that Debian's package reports, such as ``3.2.1``."""
    shown = subprocess.run(["/usr/sbin/freeradius", "-v"], capture_output=True, text=True, check=False).stdout
    return shown.partition("Version ")[2].partition(",")[0].strip() or "unknown"


def authentication(folder: Path, port: int, secret: str, threads: int) -> Configuration:
    """PAP, CHAP and MS-CHAPv2 against the ``files`` module."""
    modules = _AUTHENTICATION_MODULES.format(folder=folder)
    return _whole(folder, secret, threads, modules, _AUTHENTICATION_SERVER.format(port=port))


def eap_ttls(folder: Path, port: int, secret: str, threads: int, chain: Path, key: Path) -> Configuration:
    """EAP-TTLS/MSCHAPv2 over TLS 1.2 against the ``files`` module, no session resumed; PEM files of a
    server certificate with its chain, and of its key."""
    modules = _EAP_MODULES.format(folder=folder, chain=chain, key=key)
    return _whole(folder, secret, threads, modules, _EAP_SERVER.format(port=port))


def accounting_sqlite(folder: Path, port: int, secret: str, threads: int, database: Path) -> Configuration:
    """rlm_sql on an SQLite file (put into WAL mode by ``create_sqlite``) with its stock queries."""
    driver = _SQLITE_DRIVER.format(database=database)
    return _sql(folder, port, secret, threads, "sqlite", "radius", driver)


def accounting_postgresql(
    folder: Path, port: int, secret: str, threads: int, host: str, database_port: int, database: str
) -> Configuration:
    """rlm_sql on PostgreSQL with its stock queries."""
    driver = _POSTGRESQL_DRIVER.format(host=host, port=database_port)
    return _sql(folder, port, secret, threads, "postgresql", database, driver)


def with_authentication(folder: Path, port: int, accounting: Configuration) -> Configuration:
    """The same server, which also signs the users of its ``files`` module in at ``port``."""
    modules = _AUTHENTICATION_MODULES.format(folder=folder)
    server = _AUTHENTICATION_SERVER.format(port=port)
    text = accounting.text.replace("modules {\n", "modules {\n" + modules, 1)
    text = text.replace("server bench {\n", "server bench {\n" + server, 1)
    return Configuration(text, accounting.threads)


def _sql(
    folder: Path, port: int, secret: str, threads: int, dialect: str, database: str, driver: str
) -> Configuration:
    modules = _SQL_MODULES.format(
        dialect=dialect, database=database, driver_text=driver, connections=max(threads, 1), stock=STOCK_SQL
    )
    return _whole(folder, secret, threads, modules, _SQL_SERVER.format(port=port, session=_SESSION_KEY))


def _whole(folder: Path, secret: str, threads: int, modules: str, server: str) -> Configuration:
    text = _RADIUSD.format(
        folder=folder,
        modules=_MODULES,
        threads=max(threads, 1),
        secret=secret,
        module_text=modules,
        server_text=server,
    )
    return Configuration(text, threads)


def users_file(people: Sequence[Subscriber]) -> str:
    """The ``files`` module's users: password, address, rate and interim interval of each."""
    return "".join(
        f'{person.username} Cleartext-Password := "{person.password}"\n'
        f"\tFramed-IP-Address = {person.address},\n"
        f'\tMikrotik-Rate-Limit = "{RATE_LIMIT}",\n'
        f"\tAcct-Interim-Interval = {INTERIM_INTERVAL_S},\n"
        f'\tClass = "{number:070d}"\n\n'
        for number, person in enumerate(people)
    )


def create_sqlite(path: Path) -> None:
    """SQLite with FreeRADIUS's stock schema in WAL mode; every commit is synced, SQLite's default."""
    schema = (STOCK_SQL / "sqlite" / "schema.sql").read_text()
    lines = [line for line in schema.splitlines() if not line.lstrip().startswith("-")]
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript("\n".join(lines))
    finally:
        connection.close()


class FreeRadius:
    """One running FreeRADIUS."""

    name = "FreeRADIUS"

    def __init__(
        self, folder: Path, port: int, configuration: Configuration, users: str = "", auth_port: int = 0
    ) -> None:
        """``auth_port``: where it signs users in, when ``port`` is for accounting."""
        self.folder = folder
        self.port = port
        self.auth_port = auth_port
        self.configuration = configuration
        self._users = users
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Write the configuration and start; raises ``RuntimeError`` with its words when it will not run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "radiusd.conf").write_text(self.configuration.text)
        (self.folder / "users").write_text(self._users)
        mode = "-f" if self.configuration.threads else "-fs"
        command = [
            "/usr/sbin/freeradius",
            mode,
            "-d",
            str(self.folder),
            "-n",
            "radiusd",
            "-D",
            "/usr/share/freeradius",
        ]
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._await_readiness()

    def _await_readiness(self) -> None:
        log = self.folder / "log"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            said = log.read_text(errors="replace") if log.exists() else ""
            if "Ready to process requests" in said:
                return
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"FreeRADIUS did not start: {said[-2000:].strip()}")
            time.sleep(0.05)
        raise RuntimeError("FreeRADIUS was not ready within 20 s")

    @property
    def pids(self) -> list[int]:
        """Its process."""
        return [self._process.pid] if self._process else []

    def stop(self) -> None:
        """End it; safe to call twice."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
