"""The Debian package on a real Debian: installed, used, upgraded, removed, purged; its services in their walls.

The ordinary run takes Debian 12; Debian 13 runs inside the image, and here with HILLTOP_IMAGE_TESTS=whole. Tests of one
suite share a container and stand in the order of its life.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import image_container
import package_debian
import pytest
from image_container import Container
from image_visitor import Browser, radclient

pytestmark = [pytest.mark.namespaces, pytest.mark.slow]

ROLES = ("radius", "collector", "worker", "web")
UNITS = [f"hilltop-{role}.service" for role in ROLES]
SECRET = "a secret of the test"
WHOLE = os.environ.get("HILLTOP_IMAGE_TESTS") == "whole"
RELEASE = {"bookworm": "deb12", "trixie": "deb13"}
SUITES = tuple(RELEASE)
# Works what a role works with, inside its walls: threads, PDF, password hashes, SSH, files, the clock.
PROBE = """
import asyncio, ctypes, os, pathlib, socket, sqlite3, sys, threading
import argon2, asyncpg, asyncssh, netmiko, typst
argon2.PasswordHasher().verify(argon2.PasswordHasher().hash("word"), "word")
assert typst.compile(b"= Invoice", format="pdf").startswith(b"%PDF")
asyncssh.generate_private_key("ssh-ed25519")
threads = [threading.Thread(target=len, args=("",)) for _ in range(32)]
[thread.start() for thread in threads]
socket.getaddrinfo("localhost", 443)
socket.socket(socket.AF_INET6)
async def dial():
    try:
        await asyncpg.connect("postgresql://nobody@127.0.0.1:1/none", timeout=5)
    except OSError:
        pass
asyncio.run(dial())
sqlite3.connect("/var/lib/hilltop/probe.sqlite").execute("create table t (a)")
pathlib.Path("/var/lib/hilltop/probe.sqlite").unlink()
asked = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
assert "worker" not in sys.argv or asked >= 0, ctypes.get_errno()
for refused in (
    lambda: pathlib.Path("/etc/hilltop/hilltop.toml").write_text(""),
    lambda: pathlib.Path("/opt/hilltop/x").write_text(""),
    lambda: os.setuid(0),
    lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
):
    try:
        refused()
    except OSError:
        continue
    raise SystemExit("something was allowed that should not be")
key = pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"], "hilltop.sealing-key").read_text()
assert key.startswith("k1 ")
"""


@dataclass
class Installed:
    """A container with the package in it."""

    suite: str
    box: Container
    package: Path

    def install(self, package: Path) -> str:
        """Install as an administrator does, with nobody to answer a question."""
        shutil.copy(package, self.box.inside("/run/new.deb"))
        return self.box.run("dpkg", "--force-unsafe-io", "--install", "/run/new.deb", timeout_s=240)

    def hilltop(self, *words: str, stdin: str = "") -> str:
        """The command line, as root."""
        return self.box.run("hilltop", *words, stdin=stdin)

    def pid(self, unit: str) -> int:
        """The main process of a unit, as numbered inside."""
        return int(self.box.show(unit, "MainPID")["MainPID"])

    def radius(self, kind: str, port: int, *attributes: str) -> str:
        """Ask as a NAS does; what radclient printed."""
        return radclient(self.box.network.there, port, kind, SECRET, *attributes)


@pytest.fixture(scope="module", params=SUITES)
def installed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    suite = str(request.param)
    if suite != "bookworm" and not WHOLE:
        pytest.skip(f"{suite} is installed in the image; here only with HILLTOP_IMAGE_TESTS=whole")
    reason = image_container.missing() or package_debian.missing()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp(f"package-{suite}")
    tree, failed = folder / "tree", None
    bare, packages = package_debian.prepared(suite), package_debian.prepared("packages")
    package = package_debian.start_package(suite, folder) if packages is None else None
    if bare is None:
        failed = package_debian.ended(package_debian.start_tree(suite, tree), 400)
    else:
        bare.rename(tree)
    if packages is not None:
        shutil.copy(next(packages.glob(f"hilltop_*+{RELEASE[suite]}_amd64.deb")), folder)
    elif package is not None:
        built = package_debian.ended(package, 400)
        assert built is None, built
    if failed:
        pytest.skip(f"no bare {suite} could be made here: {failed}")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n")
    # Beside the right to set the clock a container may not even ask about it; no role inherits it.
    box = Container(tree, arguments=["--capability=CAP_SYS_TIME"])
    try:
        box.start()
        made = Installed(suite, box, next(folder.glob("*.deb")))
        made.install(made.package)
        yield made
    finally:
        box.stop()
        shutil.rmtree(tree, ignore_errors=True)


def test_services_run_after_an_installation_that_asked_nothing(installed: Installed) -> None:
    box = installed.box
    box.wait_active("hilltop.target", "hilltop-firstboot.service", *UNITS)
    for unit in UNITS:
        shown = box.show(
            unit, "User", "NRestarts", "ProtectSystem", "CapabilityBoundingSet", "WatchdogUSec", "MainPID"
        )
        assert shown["User"] == "hilltop" and shown["NRestarts"] == "0", box.journal("--unit", unit)
        assert (shown["ProtectSystem"], shown["CapabilityBoundingSet"]) == ("strict", "")
        assert shown["WatchdogUSec"] == "30s"
        status = box.run("cat", f"/proc/{shown['MainPID']}/status")
        assert (
            "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
        )
    assert box.run("systemctl", "is-enabled", "hilltop.target") == "enabled\n"
    assert box.run("systemctl", "--failed", "--no-legend") == ""


def test_this_systemd_too_finds_little_harm_in_them(installed: Installed) -> None:
    for unit in [*UNITS, "hilltop-firstboot.service", "hilltop-sealing-key.service"]:
        judged = installed.box.run("systemd-analyze", "security", "--no-pager", unit)
        score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged)
        assert score is not None and float(score[1]) <= 2.0, judged


def test_no_secret_lies_open(installed: Installed) -> None:
    box = installed.box
    asked = ["stat", "-c", "%a %U:%G"]
    assert box.run(*asked, "/etc/hilltop/hilltop.toml") == "640 root:hilltop\n"
    assert box.run(*asked, "/var/lib/hilltop") == "750 hilltop:hilltop\n"
    assert box.run(*asked, "/run/hilltop/admin-code") == "600 hilltop:hilltop\n"
    assert box.run(*asked, "/etc/credstore.encrypted/hilltop.sealing-key") == "400 root:root\n"
    assert box.attempt("test", "-e", "/var/lib/hilltop/keys/sealing.key").returncode == 1
    sealed = box.run("cat", "/etc/credstore.encrypted/hilltop.sealing-key")
    opened = box.run(
        "systemd-creds",
        "decrypt",
        "--name=hilltop.sealing-key",
        "/etc/credstore.encrypted/hilltop.sealing-key",
        "-",
    )
    assert re.fullmatch(r"k1 [0-9a-f]{64}\n", opened) and opened.split()[1] not in sealed


def test_every_wheel_is_accounted_for(installed: Installed) -> None:
    listed = json.loads(installed.box.run("cat", "/opt/hilltop/share/manifest.json"))["wheels"]
    lock = (package_debian.ROOT / "requirements/run.lock").read_text()
    assert {"hilltop", "typst", "aiohttp"} <= {wheel["name"] for wheel in listed}
    assert all(f"sha256:{w['sha256']}" in lock for w in listed if w["name"] != "hilltop")


@pytest.mark.parametrize("role", ["web", "worker"])
def test_a_role_can_work_inside_its_walls(installed: Installed, role: str) -> None:
    box, unit = installed.box, f"hilltop-probe-{role}.service"
    text = box.run("cat", f"/usr/lib/systemd/system/hilltop-{role}.service")
    kept = [
        line
        for line in text.splitlines()
        if not re.match(r"(Restart|Watchdog|TimeoutAbort|PartOf|ExecStart=)", line)
    ]
    probe = "\n".join(kept).replace(
        "Type=notify", f"Type=oneshot\nExecStart=/opt/hilltop/bin/python3 /opt/probe.py {role}"
    )
    box.run("tee", "/opt/probe.py", stdin=PROBE)
    box.run("tee", f"/run/systemd/system/{unit}", stdin=probe + "\n")
    box.run("systemctl", "daemon-reload")
    done = box.attempt("systemctl", "start", unit)
    box.run("rm", "/opt/probe.py", f"/run/systemd/system/{unit}")
    assert done.returncode == 0, box.journal("--unit", unit)


def test_radius_is_answered_from_outside(installed: Installed) -> None:
    here = installed.box.network.here
    installed.hilltop("site", "add", "Ridge")
    installed.hilltop("nas", "add", "ridge", here, "--site", "Ridge", "--secret-file", "-", stdin=SECRET)
    installed.hilltop("profile", "add", "home", "--down", "25000000", "--up", "5000000")
    installed.hilltop("plan", "add", "home", "Home", "--price", "49.00", "--profile", "home")
    lines = "account_number,name,plan,label,username,password\nA-1,Fir,home,fir,fir,a long password\n"
    installed.box.run("tee", "/run/some.csv", stdin=lines)
    installed.hilltop("import", "/run/some.csv")
    asked = ('User-Name = "fir"', 'User-Password = "a long password"')

    def accepted() -> bool:
        return "Access-Accept" in installed.radius("auth", 1812, *asked)

    installed.box.wait("an Access-Accept", accepted, 15)
    assert "Access-Reject" in installed.radius("auth", 1812, asked[0], 'User-Password = "wrong"')


def test_the_panel_lets_the_owner_in_by_his_one_time_code(installed: Installed) -> None:
    code = installed.box.run("cat", "/run/hilltop/admin-code").strip()
    browser = Browser(installed.box.network.there, 8443)
    assert browser.fingerprint() in installed.hilltop("certificate", "show")
    assert browser.sign_in("owner", code) == (303, "/password")
    portal = http.client.HTTPConnection(installed.box.network.there, 8080, timeout=20)
    portal.request("GET", "/")
    assert portal.getresponse().status == 200


def test_a_killed_role_comes_back_and_a_stuck_one_is_killed(installed: Installed) -> None:
    box = installed.box
    before = {unit: installed.pid(unit) for unit in UNITS}
    stuck = "hilltop-collector.service"
    for unit in UNITS:
        if unit != stuck:
            box.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit)
    box.run("mkdir", "-p", f"/run/systemd/system/{stuck}.d")
    box.run(
        "tee",
        f"/run/systemd/system/{stuck}.d/soon.conf",
        stdin="[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n",
    )
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "restart", stuck)
    before[stuck] = installed.pid(stuck)
    box.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", stuck)
    for unit in UNITS:
        box.wait(f"another {unit}", lambda unit=unit: installed.pid(unit) not in {0, before[unit]}, 30)  # type: ignore[misc]
    box.wait_active(*UNITS)
    assert "Watchdog timeout" in box.journal("--unit", stuck)
    box.run("rm", "-r", f"/run/systemd/system/{stuck}.d")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "restart", stuck)


def test_while_the_database_is_away_the_roles_wait_quietly(installed: Installed) -> None:
    box, settings = installed.box, "/etc/hilltop/hilltop.toml"
    box.run("cp", "-p", settings, "/run/hilltop.toml")
    box.run("sed", "-i", 's|^url = ""|url = "postgresql://nobody@127.0.0.1:1/none"|', settings)
    box.run("systemctl", "restart", "hilltop.target")
    box.wait("a second try", lambda: int(box.show("hilltop-firstboot.service", "NRestarts")["NRestarts"]) > 1)
    for unit in UNITS:
        shown = box.show(unit, "ActiveState", "NRestarts")
        assert (shown["ActiveState"], shown["NRestarts"]) == ("inactive", "0"), (unit, shown)
    box.run("cp", "-p", "/run/hilltop.toml", settings)
    box.wait_active("hilltop-firstboot.service", *UNITS)
    box.run("rm", "/run/hilltop.toml")


def test_an_upgrade_keeps_settings_and_state(installed: Installed) -> None:
    box = installed.box
    installed.hilltop("settings", "set", "ui.time_zone", "America/Denver")
    before = {unit: installed.pid(unit) for unit in UNITS}
    installed.install(
        package_debian.raised(installed.package, "9.0.0", package_debian.PYTHON[installed.suite])
    )
    box.wait_active("hilltop-firstboot.service", *UNITS)
    assert all(installed.pid(unit) != before[unit] for unit in UNITS)
    assert {box.show(unit, "NRestarts")["NRestarts"] for unit in UNITS} == {"0"}
    assert "America/Denver" in installed.hilltop("settings")
    says = "import appliance; print(appliance.RAISED)"
    assert (
        box.run("/opt/hilltop/bin/python3", "-c", says) == "9.0.0\n"
    )  # nothing of the old code is remembered
    asked = ('User-Name = "fir"', 'User-Password = "a long password"')
    box.wait("an Access-Accept", lambda: "Access-Accept" in installed.radius("auth", 1812, *asked), 60)


def owned_processes(box: Container) -> list[str]:
    """Processes of Hilltop's user."""
    number = box.run("id", "-u", "hilltop").strip()
    return box.run(
        "sh", "-c", f"grep -l '^Uid:.*[[:space:]]{number}[[:space:]]' /proc/[0-9]*/status || true"
    ).split()


def test_removed_it_leaves_what_is_the_providers_and_purged_nothing(installed: Installed) -> None:
    box = installed.box
    box.run("dpkg", "--remove", "hilltop")
    assert box.attempt("systemctl", "is-active", *UNITS).stdout.split() == ["inactive"] * len(UNITS)
    assert (
        box.attempt("runuser", "-u", "hilltop", "--", "/bin/true").returncode == 0
    )  # its files stay its own
    assert owned_processes(box) == []
    box.run("test", "-e", "/var/lib/hilltop/hilltop.sqlite")
    box.run("test", "-e", "/etc/hilltop/hilltop.toml")
    box.run("test", "-e", "/etc/credstore.encrypted/hilltop.sealing-key")
    assert box.attempt("test", "-e", "/opt/hilltop").returncode == 1
    box.run("dpkg", "--purge", "hilltop")
    box.run("rm", "/run/new.deb")
    assert package_debian.left_behind(box.inside("/")) == []


@pytest.mark.skipif(not WHOLE, reason="a second first installation only with HILLTOP_IMAGE_TESTS=whole")
def test_installed_after_a_purge_it_begins_anew(installed: Installed) -> None:
    installed.install(installed.package)
    installed.install(installed.package)  # twice over does no harm
    installed.box.wait_active("hilltop-firstboot.service", *UNITS)
    assert "fir" not in installed.hilltop("account", "list")
