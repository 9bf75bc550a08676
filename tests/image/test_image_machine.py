"""The image as a machine: powered on, set up, used, its plug pulled, reset. Seen from outside alone.

The ordinary run boots it from BIOS, pulls the plug in the middle of accounting and boots it again; more cuts, also in the
middle of the first start, UEFI and the factory reset run with HILLTOP_IMAGE_TESTS=whole, as `./dev test image` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import random
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import image_machine
import pytest
from conftest import Image
from image_console import AtConsole
from image_machine import HOST, MIB, Machine
from image_visitor import Browser, first_answer_s, radclient
from package_debian import ROOT

from appliance.role_marks import ROLE_NAMES
from lab.nas import LabNas, LabSession
from lab.radius_wire import RadiusServer

pytestmark = pytest.mark.slow

WHOLE = os.environ.get("HILLTOP_IMAGE_TESTS") == "whole"
CUTS = 5 if WHOLE else 1
SECRET = "a-secret-of-the-test"
OWN = "four unrelated words"
LINES = ("fir", "oak")
whole = pytest.mark.skipif(not WHOLE, reason="with HILLTOP_IMAGE_TESTS=whole (./dev test image)")


@dataclass
class Box:
    """A machine that has been set up, and what was acknowledged to its NAS."""

    machine: Machine
    console: AtConsole
    fingerprint: str = ""
    acknowledged: dict[str, tuple[int, int]] = field(default_factory=dict)
    cuts: int = 0

    @property
    def browser(self) -> Browser:
        """A fresh browser at the panel."""
        return Browser("127.0.0.1", self.machine.ports.panel)

    def wait_healthy(self, patience_s: float = 400) -> float:
        """Seconds from power-on until /healthz says ok."""
        self.machine.wait("health", lambda: (self.browser.health() or {}).get("status") == "ok", patience_s)
        return time.monotonic() - self.machine.began_s

    def radius(self, kind: str, *attributes: str, patience_s: int = 6) -> str:
        """What radclient, from outside, was answered."""
        return radclient(
            "127.0.0.1", self.machine.ports.auth, kind, SECRET, *attributes, patience_s=patience_s
        )


def _machine(image: Image, folder: Path, **how: object) -> Machine:
    reason = image_machine.missing(uefi=bool(how.get("uefi")))
    if reason:
        pytest.skip(f"the image cannot be booted here: {reason}")
    return Machine(image.disk, folder, image.kernel, **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def box(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("machine")
    with image_machine.own_network(), _machine(image, folder, lossy=True) as machine:
        yield Box(machine, AtConsole(machine))
    shutil.rmtree(folder, ignore_errors=True)


def test_power_on_ends_in_a_panel_that_only_the_code_on_the_console_opens(box: Box) -> None:
    machine = box.machine
    machine.hear("data partition grown from 64 to", 300)
    code = box.console.code()
    took = box.wait_healthy()
    print(f"\npower-on to health: {took:.0f} s; accelerator {image_machine.accelerator(machine._kernel)[1]}")
    browser = box.browser
    box.fingerprint = browser.fingerprint()
    assert box.fingerprint in re.sub(r"\n\s+", "", machine.said())
    for name, password in (("owner", "owner"), ("admin", "admin"), ("owner", ""), ("root", "root")):
        assert browser.sign_in(name, password)[0] != 303
    assert browser.sign_in("owner", code) == (303, "/password")
    assert browser.choose_password(code, OWN)[0] == 303
    assert browser.ask("GET", "/")[0] == 200
    assert box.browser.sign_in("owner", code)[0] != 303  # it worked once


def test_it_is_set_up_at_its_console_and_answers_a_nas_outside(box: Box) -> None:
    console, machine = box.console, box.machine
    assert box.radius("status") == ""  # nobody is known yet: silence
    console.begin_commands("owner", OWN)
    console.command("site add Ridge")
    console.command(f"nas add ridge {HOST} --site Ridge --secret-file -", secret=SECRET)
    console.command("profile add home --down 25000000 --up 5000000")
    console.command("plan add home Home --price 49.00 --profile home")
    console.command("account add 'Forest Lane' --number A-1")
    for name in LINES:
        console.command(
            f"service add A-1 --plan home --pppoe {name} --password-file -", secret=f"{name}-password"
        )
    console.end_commands()
    known = ('User-Name = "fir"', 'User-Password = "fir-password"')
    machine.wait("an Access-Accept", lambda: "Access-Accept" in box.radius("auth", *known), 90)
    assert "Access-Reject" in box.radius("auth", 'User-Name = "fir"', 'User-Password = "wrong"')
    looks = []  # it is idle when the console is not just asking for its status in a process of its own
    for _ in range(12 if WHOLE else 2):
        looks.append(machine.memory_in_use_mib())
        time.sleep(5)
    print(f"\nidle memory: {min(looks)} MiB; at most {max(looks)} MiB")


def test_a_machine_whose_clock_nobody_vouched_for_bills_nobody(box: Box) -> None:
    console = box.console
    console.begin_commands("owner", OWN)
    refused = console.enter("bill run", r"(?s)(.*)hilltop> $")[1]
    assert "clock" in refused and "ended with 1" in refused, refused
    console.end_commands()
    said = console.choose(3, (r"leave it\): $", "3"), (r"time now: $", "yes"))
    assert "trusted" in said, said
    console.begin_commands("owner", OWN)
    assert "invoice" in console.command("bill run")
    console.end_commands()


def _limit(unit: str, key: str, memory_octets: int) -> int:
    """A limit of a unit's file as its control group says it; some are a share of the machine's memory."""
    number, letter = re.search(rf"(?m)^{key}=(\d+)([MG%]?)$", unit).groups()  # type: ignore[union-attr]
    if letter == "%":
        return memory_octets // 4096 * int(number) // 100 * 4096
    return int(number) * {"": 1, "M": MIB, "G": 1024 * MIB}[letter]


def test_a_roles_limits_are_the_kernels_and_one_killed_for_memory_comes_back(box: Box) -> None:
    observe = box.machine.observe
    group = "/sys/fs/cgroup/system.slice/hilltop-{}.service".format
    memory = int(observe("awk '/^MemTotal/ {print $2}' /proc/meminfo")) * 1024
    for role in ROLE_NAMES:
        unit = (ROOT / f"systemd/hilltop-{role}.service").read_text()
        found = observe(f"cd {group(role)} && cat memory.high memory.max pids.max; cd /").split()
        limits = [_limit(unit, key, memory) for key in ("MemoryHigh", "MemoryMax", "TasksMax")]
        assert [int(one) for one in found] == pytest.approx(limits, abs=MIB), role
        assert int(found[2]) == limits[2], role
    asked = "systemctl show hilltop-radius -P {}".format
    pid, restarts = observe(asked("MainPID")), int(observe(asked("NRestarts")))
    observe(f"echo 8M > {group('radius')}/memory.max")
    box.machine.wait(
        "radius to be killed for memory", lambda: int(observe(asked("NRestarts"))) > restarts, 60, 2
    )
    box.machine.wait(
        "a watcher to be told", lambda: (box.browser.health() or {}).get("roles") == ["radius"], 60
    )
    known = ('User-Name = "fir"', 'User-Password = "fir-password"')
    box.machine.wait("an Access-Accept", lambda: "Access-Accept" in box.radius("auth", *known), 120)
    box.wait_healthy(60)
    assert observe(asked("MainPID")) not in {pid, "0"}
    assert "oom-kill" in observe("journalctl -u hilltop-radius --no-pager | grep -o \"result 'oom-kill'\"")


async def _account(box: Box, until_s: float) -> list[LabSession]:
    """Sessions that report as fast as they are answered; what was acknowledged is noted."""
    ports = box.machine.ports
    server = RadiusServer("127.0.0.1", ports.auth, ports.accounting)
    nas = LabNas("ridge", "127.0.0.1", [server], SECRET, coa_port=0, timeout_s=4.0, tries=5)
    await nas.start()
    sessions: list[LabSession] = []
    for name in LINES:
        session = await nas.dial(name, f"{name}-password")
        assert isinstance(session, LabSession), session
        sessions.append(session)

    async def report(session: LabSession) -> None:
        while time.monotonic() < until_s and box.machine.alive:
            session.transfer(down=random.randrange(1, 1 << 28), up=random.randrange(1, 1 << 22))
            meant = session.octets_out, session.octets_in
            if await session.interim():
                box.acknowledged[session.session_id] = meant

    try:
        await asyncio.gather(*(report(session) for session in sessions))
    finally:
        await nas.stop()
    return sessions


@pytest.mark.parametrize("number", range(CUTS))
def test_the_plug_is_pulled_in_the_middle_of_accounting(box: Box, number: int) -> None:
    machine = box.machine

    async def cut() -> int:
        running = asyncio.create_task(_account(box, time.monotonic() + 90))
        await asyncio.sleep(random.uniform(6, 20))
        while len(box.acknowledged) < len(LINES) * (box.cuts + 1) and not running.done():
            await asyncio.sleep(0.05)
        lost = await asyncio.to_thread(machine.cut)
        await running
        return lost

    lost = asyncio.run(cut())
    box.cuts += 1
    if box.cuts == 1:  # an update that was cut off: slot B was to be started and holds nothing
        machine.grubenv("ORDER=B A", "B_OK=1")
        machine.grow_disk(6144)
    machine.start()
    answered = first_answer_s("127.0.0.1", machine.ports.auth, SECRET, machine.began_s, 400)
    took = box.wait_healthy()
    print(
        f"\ncut {number + 1}: {lost} unflushed writes lost; RADIUS after {answered:.0f} s, health after {took:.0f} s"
    )
    assert box.browser.fingerprint() == box.fingerprint
    assert "data partition cannot be" not in machine.said()


def test_nothing_acknowledged_was_lost_and_it_is_the_same_machine(box: Box, tmp_path: Path) -> None:
    assert box.cuts == CUTS and box.acknowledged
    machine = box.machine
    assert box.browser.sign_in("owner", OWN) == (303, "/")
    time.sleep(30)  # for the collector to take over what the journal still held
    print(f"\nshut down in {machine.press_power_button(120):.0f} s")
    assert machine.data_octets() > 4500 * MIB  # of a disk that was 4096 MiB when it was made
    assert "B_TRY=1" in machine.grubenv()  # slot A came up in its place
    state = machine.read_state(tmp_path)
    with contextlib.closing(sqlite3.connect(state / "hilltop.sqlite")) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        rows = database.execute("select acct_session_id, octets_out, octets_in from aaa_session")
        known = {session: (down, up) for session, down, up in rows}
    for session, (down, up) in box.acknowledged.items():
        assert session in known, f"{session} was acknowledged and is not there"
        assert known[session][0] >= down and known[session][1] >= up, (session, known[session], (down, up))


@whole
def test_cut_off_in_its_first_starts_and_reset_it_always_begins_whole(image: Image, tmp_path: Path) -> None:
    with image_machine.own_network(), _machine(image, tmp_path, uefi=True, lossy=True) as machine:
        lost = []
        for _ in range(CUTS):
            time.sleep(random.uniform(15, 70))
            lost.append(machine.cut())
            machine.start()
        box = Box(machine, AtConsole(machine))
        code = box.console.code()
        box.wait_healthy()
        first = box.browser.fingerprint()
        print(f"\nfirst starts from UEFI cut off {CUTS} times; unflushed writes lost: {lost}")
        assert box.browser.sign_in("owner", code) == (303, "/password")
        machine.press_power_button(120)
        secret = machine.read_file("/var/lib/systemd/credential.secret", tmp_path)
        assert _holds(machine.disk, secret)

        machine.beside = image.disk  # as when somebody leaves the disk in that it came from
        machine.start()
        machine.hear("more than one disk holds a Hilltop", 240)
        machine.hear(r"Choice: $", 240)
        machine.press_power_button(120)
        machine.beside = None

        machine.spoil_data()
        machine.start()
        machine.hear("data partition cannot be used", 240)
        machine.hear(r"Choice: $", 240)
        assert box.browser.health() is None  # nothing begins anew beside what was there
        box.console.enter("7", r"to do it: $")
        machine.type("erase everything\r")
        machine.wait("the restart", lambda: not machine.alive, 240)
        assert _holds(machine.disk, secret)
        machine.start()
        machine.hear("hilltop: factory reset", 240)
        time.sleep(random.uniform(0, 3))
        machine.cut()  # in the middle of it, or just after
        machine.start()
        again = box.console.code()
        box.wait_healthy()
        assert again != code and box.browser.fingerprint() != first
        assert box.browser.sign_in("owner", code)[0] != 303
        machine.press_power_button(120)
        assert not _holds(machine.disk, secret)


def _holds(disk: Path, octets: bytes) -> bool:
    with disk.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        return view.find(octets) >= 0
