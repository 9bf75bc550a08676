"""The console on a real pseudo-terminal: what a person in a hurry, a child or a broken line may type."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from appliance_machine import NOBODY, Machine, make_machine

import appliance.console.screen
from appliance.console.network import WrongError, parse_address, parse_dns, parse_gateway, put, written
from appliance.console.places import find_places
from appliance.settings import load_settings
from appliance.wiring import open_house
from core.store.tables import audit
from ui.operators import choose_password
from ui.passwords import Passwords
from ui.store import operator_rows

OWN = "four unrelated words"
FIRST_SCREEN = re.compile(r"Choice: $")
_START = "from appliance.cli import main\nmain()"


class Screen:
    """A console running on the other end of a pseudo-terminal."""

    def __init__(self, machine: Machine, *words: str, term: str = "dumb", user: int | None = None) -> None:
        self.said = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                os.environ |= {"TERM": term, "HILLTOP_CONFIG": str(machine.config)}
                if user is not None:
                    os.setgroups([])
                python = [sys.executable, "-c", _START, "console", *words]
                if user is not None:
                    caps = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
                    python = [
                        "setpriv",
                        f"--reuid={user}",
                        f"--regid={user}",
                        "--clear-groups",
                        *caps,
                        *python,
                    ]
                os.execvp(python[0], python)
            os._exit(127)

    def type(self, text: str | bytes) -> None:
        os.write(self.fd, text.encode() if isinstance(text, str) else text)

    def until(self, pattern: str, patience_s: float = 40.0) -> str:
        """What came until ``pattern`` matched, which is then forgotten."""
        deadline = time.monotonic() + patience_s
        while (found := re.search(pattern, self.said)) is None:
            assert time.monotonic() < deadline, f"{pattern!r} did not come:\n{self.said[-3000:]}"
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.said += os.read(self.fd, 65_536).decode(errors="replace").replace("\r\n", "\n")
                except OSError:
                    raise AssertionError(f"the console is gone:\n{self.said[-3000:]}") from None
        came, self.said = self.said[: found.end()], self.said[found.end() :]
        return came

    def first(self) -> str:
        return self.until("Choice: ")

    def enter(self, line: str, then: str) -> str:
        self.type(f"{line}\n")
        return self.until(then)

    def lives(self) -> bool:
        return os.waitpid(self.pid, os.WNOHANG) == (0, 0)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    one = make_machine(tmp_path)
    one.hilltop("first-boot")
    (one.runtime / "asks").mkdir()
    return one


@pytest.fixture
def consoles() -> Iterator[Callable[..., Screen]]:
    made: list[Screen] = []

    def make(*given: object, **named: object) -> Screen:
        made.append(Screen(*given, **named))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        with contextlib.suppress(OSError):
            os.kill(one.pid, signal.SIGKILL)
            os.waitpid(one.pid, 0)
        with contextlib.suppress(OSError):
            os.close(one.fd)


def test_the_first_screen_tells_all_and_fits_a_serial_line(
    machine: Machine, consoles: Callable[..., Screen]
) -> None:
    screen = consoles(machine)
    shown = screen.first()
    assert machine.code() is not None and str(machine.code()) in shown
    assert "Machine        ready" in shown and "https://127.0.0.1:8080/" in shown
    assert "\x1b" not in shown and all(len(line) <= 79 for line in shown.splitlines())
    assert len(shown.strip("\n").splitlines()) <= 24
    fingerprint = machine.hilltop("certificate", "show").stdout.split("SHA-256 ")[1].strip()
    assert fingerprint[:47] in shown and fingerprint[48:] in shown
    screen.until(r"Clock .* UTC, (not )?kept")  # told by another process, after the first screen

    machine.hilltop("operator", "reset", "owner")
    screen.type("\n")
    assert "One-time code  used" in screen.until("One-time code  used")


def test_it_shows_itself_before_the_first_boot_and_without_settings(
    tmp_path: Path, consoles: Callable[..., Screen]
) -> None:
    bare = make_machine(tmp_path)
    bare.config.write_text("this is not TOML")
    shown = consoles(bare).first()
    assert "Machine" in shown and "Traceback" not in shown


def test_a_data_partition_that_is_lost_is_shown_with_its_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lost, places = tmp_path / "lost", find_places(machine.config)
    monkeypatch.setattr(appliance.console.screen, "_DATA_LOST", lost)
    for text, told in (
        (
            "/dev/sda4 cannot be mounted: \x1b[2Jbad superblock\n",
            "/dev/sda4 cannot be mounted:  [2Jbad superblock",
        ),
        ("", "look at the disk"),
        ("reason " * 200, "[...]"),
    ):
        lost.write_text(text)
        lines = appliance.console.screen.view(places, None).lines
        assert any(line.startswith("Machine ") and "cannot be used" in line for line in lines)
        assert told in "\n".join(lines) and all(line.isprintable() and len(line) <= 79 for line in lines)
        assert len(lines) <= 24


@pytest.mark.slow
def test_whatever_is_typed_it_lives(machine: Machine, consoles: Callable[..., Screen]) -> None:
    screen = consoles(machine)
    screen.first()
    for item in ("", "1", "2", "3", "4", "5", "6", "7"):
        for hostile in (
            b"\x03",
            b"\x04",
            b"\x1c",
            b"\x1a",
            os.urandom(300).replace(b"\x13", b""),
            b"x" * 9000,
        ):
            if item:
                screen.enter(item, r"\): |Name: |do it: ")
            screen.type(hostile)
            time.sleep(0.1)
            screen.type(b"\x11\x03")
            time.sleep(0.3)
            screen.type(b"\x03\x03")
            screen.said = ""
            time.sleep(0.2)
            screen.type(b"\n")
            screen.first()
            screen.said = ""
            assert screen.lives()
    assert not list((machine.runtime / "asks").iterdir())


def test_a_line_that_hangs_up_ends_it_quietly(machine: Machine, consoles: Callable[..., Screen]) -> None:
    screen = consoles(machine)
    screen.first()
    os.close(screen.fd)
    for _ in range(100):
        if os.waitpid(screen.pid, os.WNOHANG) != (0, 0):
            return
        time.sleep(0.1)
    raise AssertionError("it lives on without a line")


def test_it_wants_a_terminal(machine: Machine) -> None:
    assert "needs a terminal" in machine.hilltop("console", code=2).stderr
    assert "usage:" in machine.hilltop("console", "--shell", code=2).stderr


# Network


def test_a_fixed_address_is_asked_checked_shown_and_written(
    machine: Machine, consoles: Callable[..., Screen], tmp_path: Path
) -> None:
    file = tmp_path / "20-hilltop.network"
    file.write_text("# as it was\n")
    before = file.stat().st_ino
    screen = consoles(machine, "--network-file", str(file))
    screen.first()
    assert "# as it was" in screen.enter("1", r"leave it\): ")
    shown = screen.enter("2", "Interface: ")
    name = re.findall(r"^ 1 (\S+)$", shown, re.MULTILINE)[-1]
    screen.enter("99", "choose one of")
    screen.enter("1", "Address with prefix")
    for wrong in ("10.0.0.300/24", "10.0.0.7", "10.0.0.0/24", "127.0.0.1/8", "x; reboot", "::/0"):
        screen.enter(wrong, "Address: ")
    screen.enter("10.0.0.7/24", r"Gateway \(Enter")
    for wrong in ("10.0.1.1", "10.0.0.7", "fe80::1", "nothing"):
        screen.enter(wrong, "Gateway: ")
    screen.enter("10.0.0.1", r"DNS servers \(Enter")
    screen.enter("resolver.example", "DNS: ")
    shown = screen.enter("9.9.9.9, 2620:fe::fe", "yes to write it: ")
    assert "Address=10.0.0.7/24" in shown
    assert file.read_text() == "# as it was\n"
    screen.enter("yes", "Written")
    assert file.read_text() == (
        f"# Written by the Hilltop console.\n[Match]\nName={name}\n\n[Network]\nDHCP=no\n"
        "Address=10.0.0.7/24\nGateway=10.0.0.1\nDNS=9.9.9.9\nDNS=2620:fe::fe\n"
    )
    assert file.stat().st_ino == before

    screen.enter("", "Choice: ")
    screen.enter("1", r"leave it\): ")
    screen.enter("3", "yes to write it: ")
    screen.enter("yes", "Written")
    assert file.read_text() == "# as it was\n"
    screen.enter("", "Choice: ")
    screen.enter("1", r"leave it\): ")
    screen.enter("1", "Interface: ")
    assert "DHCP=yes" in screen.enter(name, "yes to write it: ")
    screen.enter("no", "Nothing was changed")
    assert file.read_text() == "# as it was\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_network_file_of_somebody_else_is_left_alone(
    machine: Machine, consoles: Callable[..., Screen], tmp_path: Path
) -> None:
    file = tmp_path / "20-hilltop.network"
    file.write_text("# root's\n")
    for path in (machine.state, machine.runtime, *machine.state.rglob("*"), *machine.runtime.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    screen = consoles(machine, "--network-file", str(file), user=NOBODY)
    screen.first()
    screen.enter("1", r"leave it\): ")
    screen.enter("1", "Interface: ")
    screen.enter("1", "yes to write it: ")
    assert "nothing was changed" in screen.enter("yes", "nothing was changed")
    assert file.read_text() == "# root's\n" and screen.lives()


def test_addresses_that_cannot_be_are_refused_in_words() -> None:
    assert str(parse_address("2001:db8::5/64")) == "2001:db8::5/64"
    assert str(parse_address("192.0.2.1/31")) == "192.0.2.1/31"
    for wrong in (
        "192.0.2.255/24",
        "224.0.0.1/4",
        "0.0.0.0/0",
        "1.2.3.4/33",
        "a/b",
        "/",
        "١.2.3.4/24",
        "1.2.3.4/",
    ):
        with pytest.raises(WrongError, match=r"^Address: "):
            parse_address(wrong)
    for zoned in ("fe80::1%eth0", "fd00::5%x/64", "fd00::5/64%x"):  # systemd-networkd refuses them
        with pytest.raises(WrongError, match=r"^Address: leave out the %"):
            parse_address(zoned)
    with pytest.raises(WrongError, match=r"^DNS: leave out the %"):
        parse_dns("9.9.9.9 fe80::1%eth0")
    six = parse_address("2001:db8::5/64")
    with pytest.raises(WrongError, match=r"^Gateway: leave out the %"):
        parse_gateway("fe80::1%eth0", six)
    assert str(parse_gateway("fe80::1", six)) == "fe80::1" and parse_gateway("", six) is None
    with pytest.raises(WrongError, match=r"^Gateway: "):
        parse_gateway("fe80::1%eth0\n", parse_address("192.0.2.1/24"))
    assert parse_dns("") == ()
    assert "DHCP=yes" in written("eth0", None)


def test_a_network_file_behind_a_link_is_not_followed(machine: Machine, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("precious")
    (tmp_path / "net").symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        put(find_places(machine.config, tmp_path / "net"), "x")
    assert target.read_text() == "precious"


# What only the system may do


def granted(machine: Machine, name: str, *, fails: bool = False) -> list[str]:
    """Wait for an asking file as the appliance does, read it and remove it, or say that it ``fails``."""
    heard: list[str] = []

    def watch() -> None:
        file = machine.runtime / "asks" / name
        deadline = time.monotonic() + 30
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        with contextlib.suppress(OSError):
            heard.append(file.read_text())
            if fails:
                file.rename(file.with_name(f"{name}.failed"))
            else:
                file.unlink()

    threading.Thread(target=watch, daemon=True).start()
    return heard


def test_the_system_is_asked_with_a_file(machine: Machine, consoles: Callable[..., Screen]) -> None:
    screen = consoles(machine)
    screen.first()
    heard = granted(machine, "set-time")
    screen.enter("3", r"leave it\): ")
    screen.enter("2", "Enter: leave it")
    screen.enter("2026-04-31 10:00", "Time: ")
    screen.enter("", "Choice: ")
    screen.enter("3", r"leave it\): ")
    screen.enter("2", "Enter: leave it")
    screen.enter("2026-04-30 13:45", "Done")
    assert heard == ["1777556700"]

    screen.enter("", "Choice: ")
    screen.enter("5", "yes to do it: ")
    screen.enter("no", "Nothing was done")
    heard = granted(machine, "factory-reset", fails=True)
    screen.enter("", "Choice: ")
    screen.enter("7", "to do it: ")
    screen.enter("erase  everything", "Nothing was done")
    assert heard == []
    screen.enter("", "Choice: ")
    assert "ledger are lost" in screen.enter("7", "to do it: ")
    assert "taken it over" not in screen.enter("erase everything", "could not do it")
    assert heard == [""] and (machine.runtime / "asks" / "factory-reset.failed").exists()
    shutil.rmtree(
        machine.state
    )  # a data partition that is lost can be wiped too, and what failed once may work now
    heard = granted(machine, "factory-reset")
    screen.enter("", "Choice: ")
    screen.enter("7", "to do it: ")
    screen.enter("erase everything", "taken it over")
    assert heard == [""] and list((machine.runtime / "asks").iterdir()) == []
    heard = granted(machine, "power-off")
    screen.enter("", "Choice: ")
    screen.enter("6", "yes to do it: ")
    screen.enter("yes", "taken it over")
    assert heard == [""]


def test_another_machine_is_told_that_it_is_no_appliance(
    machine: Machine, consoles: Callable[..., Screen]
) -> None:
    (machine.runtime / "asks").rmdir()
    screen = consoles(machine)
    screen.first()
    for item in "567":
        screen.enter(item, "belongs to the appliance image")
        screen.enter("", "Choice: ")
    screen.enter("3", r"leave it\): ")
    screen.enter("2", "belongs to the appliance image")


# Hilltop commands


async def own_password(machine: Machine) -> None:
    async with open_house(load_settings(machine.config)) as house, house.workplace.work("test") as work:
        found = await operator_rows.operator_by_name(work.connection, "owner")
        assert found is not None
        code = machine.code() or ""
        assert await choose_password(work, Passwords(), found, current=code, chosen=OWN, again=OWN) is None


async def put_on_record(machine: Machine) -> list[tuple[str, str, str]]:
    async with open_house(load_settings(machine.config)) as house, house.workplace.reading() as connection:
        rows = await connection.execute(audit.select().order_by(audit.c.seq))
        return [(row.actor, row.action, str(row.detail.get("words", ""))) for row in rows]


async def test_an_owner_gets_hilltop_and_no_shell(machine: Machine, consoles: Callable[..., Screen]) -> None:
    screen = consoles(machine)
    screen.first()

    def sign_in(name: str, password: str, then: str) -> str:
        screen.enter("4", "Name: ")
        screen.enter(name, "Password: ")
        return screen.enter(password, then)

    sign_in("owner", machine.code() or "", "is for once")
    screen.enter("", "Choice: ")
    await own_password(machine)
    machine.hilltop("operator", "add", "vera", "--role", "viewer")
    sign_in("owner", "not the password", "not right")
    screen.enter("", "Choice: ")
    sign_in("nobody-of-that-name", OWN, "not right")
    screen.enter("", "Choice: ")
    assert OWN not in sign_in("owner", OWN, "hilltop> ")

    assert "vera" in screen.enter("operator list", "hilltop> ")
    for refused in ("run", "role web", "console", "lab story", "first-boot"):
        screen.enter(refused, "is not for this place")
        screen.until("hilltop> ")
    for shell in ("!sh", "operator list; id", "$(id)", "`id`", "operator list | sh", "-c /etc/passwd health"):
        answer = screen.enter(shell, "hilltop> ")
        assert "uid=" not in answer and "Traceback" not in answer
    screen.enter("'unfinished", "put quotes in pairs")
    screen.until("hilltop> ")
    screen.enter("operator add tom --password-file -", "one-time password: ")
    assert "unseen-one-time" not in screen.enter("unseen-one-time-words", "hilltop> ")
    screen.enter("operator add kim --password-file -", "one-time password: ")
    time.sleep(0.3)
    screen.type(b"\x03")  # ends the command alone
    screen.until("hilltop> ")
    assert "tom" in screen.enter("operator list", "hilltop> ")
    told = screen.enter("settings set ui.provider_name 'Ridge Wireless'", "hilltop> ")
    assert 'ui.provider_name = "Ridge Wireless"' in told and "by: hilltop restart" in told
    screen.enter("settings set database.url --value-file -", "database.url: ")
    told = screen.enter("postgresql://u:unseen-too@127.0.0.1:1/x", "hilltop> ")
    assert "unseen" not in told and "does not answer" in told
    screen.enter("exit", "Enter: back")
    assert load_settings(machine.config).ui.provider_name == "Ridge Wireless"
    record = await put_on_record(machine)
    assert ("console:owner", "settings.changed", "") in record
    assert ("console:owner", "console.command", "operator list") in [
        (a, b, c.split(" ", 2)[-1]) for a, b, c in record
    ]
    assert ("console:owner", "operator.created", "") in record
    assert "unseen" not in str(record)


def test_the_panels_limit_on_wrong_passwords_holds_at_the_console(machine: Machine) -> None:
    said = [machine.hilltop("operator", "check", "owner", code=1, stdin="wrong\n").stderr for _ in range(11)]
    assert "not right" in said[9] and "wait 15 minutes" in said[10]


def test_a_forgotten_password_is_replaced_at_the_console(
    machine: Machine, consoles: Callable[..., Screen]
) -> None:
    screen = consoles(machine)
    screen.first()
    assert "locked room" in screen.enter("2", "owner\\): ")
    screen.enter("-rf", "Name: ")
    screen.enter("", "Choice: ")
    screen.enter("2", "owner\\): ")
    screen.enter("", "replace the password of owner: ")
    assert re.search(r"one-time password: \w{4}-\w{4}-\w{4}-\w{4}", screen.enter("yes", "Enter: back"))
    assert machine.code() is None  # the code on the first screen opened nothing any more


def test_echo_is_back_after_a_command_that_took_it(machine: Machine, consoles: Callable[..., Screen]) -> None:
    screen = consoles(machine)
    screen.first()
    modes = termios.tcgetattr(screen.fd)
    modes[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
    termios.tcsetattr(screen.fd, termios.TCSANOW, modes)
    screen.type(b"\n")
    screen.first()
    assert termios.tcgetattr(screen.fd)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
