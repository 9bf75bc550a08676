"""The image's root, looked through and booted under systemd-nspawn: the real units, seen from outside."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import image_container
import pytest
from conftest import Image
from image_container import Container, Network
from image_visitor import Browser, radclient

pytestmark = [pytest.mark.namespaces, pytest.mark.slow]

ROLES = ("radius", "collector", "worker", "web")
SECRET = "a secret of the test"
COMMUNITY = "community-of-the-test"


def test_nothing_of_a_particular_box_is_in_it(image: Image) -> None:
    tree = image.tree
    assert (tree / "etc/machine-id").read_bytes() == b""
    assert not list(tree.glob("etc/ssh/ssh_host_*")) and not (tree / "usr/sbin/sshd").exists()
    assert list((tree / "var/lib/hilltop").iterdir()) == []
    assert list((tree / "etc/credstore.encrypted").iterdir()) == []
    assert not (tree / "var/lib/systemd/credential.secret").exists()
    for line in (tree / "etc/shadow").read_text().splitlines():
        name, password, *_ = line.split(":")
        assert password.startswith(("!", "*")), f"{name} has a password"
    shells = {
        line.split(":")[0] for line in (tree / "etc/passwd").read_text().splitlines() if line.endswith("sh")
    }
    assert shells == set()


def test_what_persists_is_listed_and_stands_in_the_tree(image: Image) -> None:
    listed = [line.split() for line in (image.tree / "usr/lib/hilltop/persist.list").read_text().splitlines()]
    kept = [line for line in listed if line and line[0] in {"dir", "file"}]
    assert ["dir", "/var/lib/hilltop"] in kept and ["file", "/etc/machine-id"] in kept
    for kind, path in kept:
        place = image.tree / path.lstrip("/")
        assert place.is_dir() if kind == "dir" else place.is_file(), path


def test_the_manifest_is_inside_and_beside_it_and_complete(image: Image) -> None:
    manifest = image.manifest
    assert json.loads((image.tree / "usr/lib/hilltop/manifest.json").read_text()) == manifest
    told = json.loads((image.tree / "usr/lib/hilltop/image.json").read_text())
    assert (told["name"], told["version"]) == (manifest["name"], manifest["version"])
    assert image.disk.name == f"{manifest['name']}.img"
    installed = {
        re.sub(r":.*", "", line.split(" ")[1])
        for line in (image.tree / "var/lib/dpkg/status").read_text().splitlines()
        if line.startswith("Package: ")
    }
    assert {one["name"] for one in manifest["debian"]} == installed - {"hilltop"}
    for one in (*manifest["debian"], *manifest["wheels"]):
        assert re.fullmatch(r"[0-9a-f]{64}", one["sha256"]), one
    sums = dict(reversed(line.split("  ")) for line in (image.folder / "SHA256SUMS").read_text().splitlines())
    beside = f"{manifest['name']}.manifest.json"
    summed = subprocess.run(
        ["sha256sum", beside], cwd=image.folder, capture_output=True, text=True, check=True
    )
    assert sums[beside] == summed.stdout.split()[0]


def test_few_programs_may_raise_themselves(image: Image) -> None:
    raised = {
        str(path.relative_to(image.tree))
        for folder in ("usr", "opt")
        for path in (image.tree / folder).rglob("*")
        if not path.is_symlink() and path.is_file() and path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)
    }
    debians_own = {"chage", "chfn", "chsh", "expiry", "gpasswd", "mount", "newgrp", "passwd", "su", "umount"}
    known = {f"usr/bin/{name}" for name in debians_own} | {"usr/sbin/unix_chkpwd"}
    known.add("usr/lib/dbus-1.0/dbus-daemon-launch-helper")
    assert raised <= known


@pytest.fixture(scope="module")
def box(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    reason = image_container.missing()
    if reason:
        pytest.skip(f"the tree cannot be booted here: {reason}")
    network = Network()
    link = tmp_path_factory.mktemp("network") / "link.network"
    link.write_text(f"[Match]\nName=host0\n[Network]\nAddress={network.there}/24\nGateway={network.here}\n")
    link.chmod(0o644)
    # As the disk has it: the root cannot be written, memory lies over /etc and /var.
    arguments = [
        "--read-only", "--overlay=+/etc::/etc", "--overlay=+/var::/var",
        "--capability=CAP_NET_ADMIN,CAP_SYS_TIME", f"--bind-ro={link}:/etc/systemd/network/70-link.network",
    ]  # fmt: skip
    container = Container(image.tree, network=network, arguments=arguments)
    try:
        container.start()
        yield container
    finally:
        container.stop()
        network.close()


def test_every_unit_comes_up_and_none_fails(box: Container) -> None:
    box.wait_active(
        "hilltop.target", "hilltop-firstboot.service", *(f"hilltop-{role}.service" for role in ROLES)
    )
    box.wait_active("nftables.service", "hilltop-network.path", "hilltop-ask@reboot.path")
    assert box.run("systemctl", "--failed", "--no-legend") == "", box.journal("--priority=err")
    box.run("systemctl", "start", "hilltop-console-key.service")  # the consoles themselves need a terminal
    key = "/run/hilltop-console/hilltop.sealing-key"
    assert box.run("stat", "-c", "%a %U", key) == "400 hilltop\n" and box.run("cat", key).startswith("k1 ")
    assert box.attempt("touch", "/usr/written").returncode != 0


def test_the_security_scores_hold_as_the_running_system_counts_them(box: Container) -> None:
    units = [f"hilltop-{name}.service" for name in (*ROLES, "firstboot", "sealing-key")]
    units += ["hilltop-console@tty1.service", "hilltop-console-key.service"]
    units += ["hilltop-ask@reboot.service", "hilltop-network.service"]
    scores = {}
    for unit in units:
        told = box.run("systemd-analyze", "security", "--no-pager", unit)
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
        assert found is not None, told[-500:]
        scores[unit] = float(found[1])
    print(scores)
    assert all(score <= 2.0 for score in scores.values()), scores


_LISTENER = "import socket, time; s = socket.create_server(('', 2222)); time.sleep(60)"


def test_only_what_a_box_answers_can_be_reached(box: Container) -> None:
    listening = box.run("ss", "--no-header", "--numeric", "--listening", "--tcp", "--udp")
    outside = {
        (line.split()[0], line.split()[4].rsplit(":", 1)[1])
        for line in listening.splitlines()
        if not re.match(r"(127\.|\[::1\])", line.split()[4])
    }
    assert outside <= {("udp", "1812"), ("udp", "1813"), ("tcp", "8443"), ("tcp", "8080")} | {
        ("udp", port) for port in ("68", "546")
    }, listening
    for port in (443, 8443, 80, 8080):
        socket.create_connection((box.network.there, port), timeout=5).close()
    # Somebody listens on 2222, so that it is the firewall that is tried; a refusal would be an answer.
    box.run("systemd-run", "--unit=listener", "/opt/hilltop/bin/python3", "-c", _LISTENER)
    box.wait("the listener", lambda: "2222" in box.run("ss", "--no-header", "-tln"), 20)
    for port in (22, 53, 2222, 5355, 9090):
        with pytest.raises(TimeoutError), socket.create_connection((box.network.there, port), timeout=1):
            pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        datagram.settimeout(1)
        datagram.connect((box.network.there, 2222))
        datagram.send(b"anyone?")
        with pytest.raises(TimeoutError):  # an unreachable port would be told by ICMP
            datagram.recv(64)
    box.run("systemctl", "stop", "listener")
    assert "policy drop" in box.run("nft", "list", "chain", "inet", "hilltop", "input")


def test_radius_snmp_panel_and_health_are_answered(box: Container, tmp_path: Path) -> None:
    there, here = box.network.there, box.network.here
    browser = Browser(there, 443)
    health = browser.health()
    assert health is not None and (health["http"], health["status"]) == (200, "ok"), health
    assert health["image"]["name"].startswith("hilltop-"), health

    def hilltop(*words: str, stdin: str = "") -> str:
        return box.run("hilltop", *words, stdin=stdin)

    hilltop("site", "add", "Ridge")
    hilltop("nas", "add", "ridge", here, "--site", "Ridge", "--secret-file", "-", stdin=SECRET)
    hilltop("profile", "add", "home", "--down", "25000000", "--up", "5000000")
    hilltop("plan", "add", "home", "Home", "--price", "49.00", "--profile", "home")
    box.run(
        "tee",
        "/run/some.csv",
        stdin="account_number,name,plan,username,password\nA-1,Fir,home,fir,a long password\n",
    )
    hilltop("import", "/run/some.csv")
    asked = ('User-Name = "fir"', 'User-Password = "a long password"')
    box.wait(
        "an Access-Accept", lambda: "Access-Accept" in radclient(there, 1812, "auth", SECRET, *asked), 15
    )
    assert "Access-Reject" in radclient(there, 1812, "auth", SECRET, asked[0], 'User-Password = "wrong"')

    code = box.run("cat", "/run/hilltop/admin-code").strip()
    assert browser.fingerprint() in hilltop("certificate", "show")
    assert browser.sign_in("owner", "owner")[0] == 401
    assert browser.sign_in("owner", code) == (303, "/password")
    assert browser.choose_password(code, "four unrelated words")[0] == 303
    assert browser.ask("GET", "/")[0] == 200

    with _agent(tmp_path, here):
        hilltop("device", "add", "switch", here, "--site", "Ridge", "--driver", "routeros", "--username", "x",
                "--password-file", "-", stdin="unused")  # fmt: skip
        hilltop("snmp", "add", "switch", here, "--device", "switch", "--poll-interval", "1", "--community-file", "-",
                stdin=COMMUNITY)  # fmt: skip
        answered = re.compile(rf"switch +{re.escape(here)}:161 .* 20\d\d-")
        box.wait("an SNMP poll", lambda: answered.search(hilltop("snmp", "list")), 60)


@contextlib.contextmanager
def _agent(folder: Path, address: str) -> Iterator[None]:
    """net-snmp's agent on this side of the link."""
    (folder / "snmpd.conf").write_text(f"agentaddress udp:{address}:161\nrocommunity {COMMUNITY}\n")
    agent = subprocess.Popen(
        ["/usr/sbin/snmpd", "-f", "-C", "-c", str(folder / "snmpd.conf"), "-Lf", str(folder / "log"), "-p", str(folder / "pid")],
        env={"SNMP_PERSISTENT_DIR": str(folder), "MIBS": ""},
    )  # fmt: skip
    try:
        yield
    finally:
        agent.kill()
        agent.wait()


def test_a_killed_role_comes_back_and_a_stuck_one_is_killed(box: Container) -> None:
    def pid(role: str) -> str:
        return box.show(f"hilltop-{role}.service", "MainPID")["MainPID"]

    soon = "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n"
    box.run("mkdir", "-p", "/run/systemd/system/hilltop-worker.service.d")
    box.run("tee", "/run/systemd/system/hilltop-worker.service.d/soon.conf", stdin=soon)
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "restart", "hilltop-worker.service")
    before = {role: pid(role) for role in ROLES}
    for role in ROLES:
        how = "STOP" if role == "worker" else "KILL"
        box.run("systemctl", "kill", "--kill-whom=main", f"--signal={how}", f"hilltop-{role}.service")
    for role in ROLES:
        box.wait(f"another {role}", lambda role=role: pid(role) not in {"0", before[role]}, 40)  # type: ignore[misc]
    box.wait_active(*(f"hilltop-{role}.service" for role in ROLES))
    assert "Watchdog timeout" in box.journal("--unit=hilltop-worker.service")


def test_the_network_is_as_the_console_writes_it(box: Container) -> None:
    file = "/etc/systemd/network/20-hilltop.network"
    second = box.network.there.rpartition(".")[0] + ".77"
    text = f"[Match]\nName=host0\n[Network]\nAddress={box.network.there}/24\nAddress={second}/24\n"
    assert box.run("stat", "-c", "%U %a", file) == "hilltop 644\n"
    box.run("runuser", "-u", "hilltop", "--", "tee", file, stdin=text)
    box.wait("the second address", lambda: second in box.run("ip", "-4", "address"), 30)


def test_the_system_grants_what_the_console_asks_and_nothing_through_a_link(box: Container) -> None:
    asks = "/run/hilltop/asks"
    before = float(box.run("date", "+%s"))
    box.run("runuser", "-u", "hilltop", "--", "ln", "-s", "/etc/shadow", f"{asks}/set-time")
    gone = ["test", "-e", f"{asks}/set-time", "-o", "-L", f"{asks}/set-time"]
    box.wait("the link to be taken away", lambda: box.attempt(*gone).returncode, 20)
    box.run("runuser", "-u", "hilltop", "--", "mkfifo", f"{asks}/set-time")
    box.wait("the pipe to be taken away", lambda: box.attempt(*gone).returncode, 20)
    assert abs(float(box.run("date", "+%s")) - before) < 60
    # What cannot be done is told: a container has no data partition to put the mark of a reset on.
    box.run("runuser", "-u", "hilltop", "--", "touch", f"{asks}/factory-reset")
    failed = ["test", "-f", f"{asks}/factory-reset.failed"]
    box.wait("the refusal", lambda: box.attempt(*failed).returncode == 0, 20)
    assert box.run("ls", asks).split() == ["factory-reset.failed", "set-time.failed"]
    box.run("systemctl", "reset-failed")


def test_the_settings_are_changed_at_the_console_and_the_services_take_them_over(box: Container) -> None:
    def behind_the_consoles_walls(*words: str) -> str:
        may_write = box.show("hilltop-console@tty1.service", "ReadWritePaths")["ReadWritePaths"]
        walls = ("User=hilltop", "ProtectSystem=strict", "PrivateUsers=yes", f"ReadWritePaths={may_write}")
        return box.run(
            "systemd-run", "--quiet", "--wait", "--pipe", *(f"--property={one}" for one in walls), *words
        )

    def began(unit: str) -> str:
        return box.show(f"hilltop-{unit}.service", "ActiveEnterTimestampMonotonic")[
            "ActiveEnterTimestampMonotonic"
        ]

    said = behind_the_consoles_walls("hilltop", "settings", "set", "ui.provider_name", "Ridge Wireless")
    assert "hilltop.toml.before" in said and "hilltop restart" in said and "not on record" not in said
    assert box.run("stat", "-c", "%U:%G %a", "/etc/hilltop", "/etc/hilltop/hilltop.toml") == (
        "root:hilltop 770\nhilltop:hilltop 640\n"
    )
    box.run("systemd-tmpfiles", "--create", "hilltop.conf")
    before = {unit: began(unit) for unit in ("firstboot", *ROLES)}
    behind_the_consoles_walls("hilltop", "restart")
    for unit, instant in before.items():
        box.wait(f"another {unit}", lambda unit=unit, instant=instant: began(unit) not in {"0", instant}, 60)  # type: ignore[misc]
    box.wait_active(
        "hilltop.target", "hilltop-firstboot.service", *(f"hilltop-{role}.service" for role in ROLES)
    )
    with socket.create_connection((box.network.there, 8080), timeout=5) as portal:
        portal.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        assert b"Ridge Wireless" in b"".join(iter(lambda: portal.recv(65_536), b""))
