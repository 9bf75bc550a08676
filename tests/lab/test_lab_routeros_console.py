"""The console over SSH: asyncssh, the machine's own OpenSSH client, and netmiko as drivers use it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import netmiko
import pytest

from core.clock import FakeClock
from lab.routeros import RouterOsConsole
from lab.routeros_terminal import PAGER, LoginOptions

LIST = "/ip firewall address-list"
PASSWORD = "open sesame"


@pytest.fixture(params=["6.49.10", "7.16"])
async def console(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[RouterOsConsole]:
    one = RouterOsConsole("North Ridge", request.param, "hilltop", PASSWORD, clock=clock)
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def seven(clock: FakeClock) -> AsyncIterator[RouterOsConsole]:
    one = RouterOsConsole("North Ridge", "7.16", "hilltop", PASSWORD, clock=clock)
    await one.start()
    yield one
    await one.stop()


def connect(console: RouterOsConsole, login: str = "hilltop", password: str = PASSWORD) -> Any:
    return asyncssh.connect(
        console.host, console.port, username=login, password=password, known_hosts=None, client_keys=None
    )


class Shell:
    """A person at a terminal."""

    def __init__(self, process: asyncssh.SSHClientProcess[str]) -> None:
        self.process = process
        self.seen = ""

    async def until(self, pattern: str) -> str:
        """What came until the pattern was seen."""
        async with asyncio.timeout(10):
            while not (found := re.search(pattern, self.seen)):
                self.seen += await self.process.stdout.read(4096)
        text, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return text

    def type(self, text: str) -> None:
        self.process.stdin.write(text)


async def shell(connection: asyncssh.SSHClientConnection, columns: int = 80, rows: int = 24) -> Shell:
    return Shell(await connection.create_process(term_type="vt100", term_size=(columns, rows)))


def test_login_options_are_read_from_the_name() -> None:
    assert LoginOptions.of("hilltop") == ("hilltop", LoginOptions())
    name, options = LoginOptions.of("hilltop+ct511w4098h")
    assert name == "hilltop"
    assert options == LoginOptions(colours=False, probes=False, width=511, height=4098)
    assert LoginOptions.of("hilltop+cte")[1].dumb
    assert LoginOptions.of("hilltop+c80w")[1] == LoginOptions(colours=False, width=80)


async def test_netmiko_drives_it_and_the_state_outlives_the_session(console: RouterOsConsole) -> None:
    def session() -> list[str]:
        with netmiko.ConnectHandler(
            device_type="mikrotik_routeros",
            host=console.host,
            port=console.port,
            username="hilltop",
            password=PASSWORD,
        ) as device:
            add = f'{LIST} add list=suspended address=100.64.1.7 comment="hilltop:svc_1"'
            return [
                device.find_prompt(),
                *(
                    str(device.send_command(one, cmd_verify=False))
                    for one in (add, f"{LIST} print count-only where list=suspended", ':put "marker-1"')
                ),
            ]

    prompt, added, count, marker = await asyncio.to_thread(session)
    assert prompt == "[hilltop@North Ridge] >"
    assert (added, count, marker) == ("", "1", "marker-1")
    _, again, count, _ = await asyncio.to_thread(session)
    assert again == "failure: already have such entry"
    assert count == "1"
    assert console.listed("suspended", "100.64.1.7")
    assert console.logins == ["hilltop+ct511w4098h"] * 2


async def test_nothing_is_written_into_a_connection_that_is_gone(
    console: RouterOsConsole, caplog: pytest.LogCaptureFixture
) -> None:
    """netmiko says quit and hangs up at once; the router's last words must not pile up as warnings."""

    def session(lines: int) -> None:
        with netmiko.ConnectHandler(
            device_type="mikrotik_routeros", host=console.host, port=console.port, username="hilltop",
            password=PASSWORD,
        ) as device:  # fmt: skip
            device.write_channel(f"{LIST} print terse without-paging\r" * lines)

    for number in range(300):
        console.router.run(f"{LIST} add list=a address=100.64.{number // 250}.{number % 250}")
    for lines in (0, 5):
        await asyncio.to_thread(session, lines)
    while console._terminals:
        await asyncio.sleep(0.01)
    assert [record.message for record in caplog.records if "socket.send" in record.message] == []


async def test_netmiko_gets_past_licence_and_new_password_screens(clock: FakeClock) -> None:
    console = RouterOsConsole(
        "N", "7.16", "hilltop", PASSWORD, clock=clock, shows_license=True, asks_new_password=True
    )
    await console.start()

    def session() -> str:
        with netmiko.ConnectHandler(
            device_type="mikrotik_routeros",
            host=console.host,
            port=console.port,
            username="hilltop",
            password=PASSWORD,
        ) as device:
            return str(device.send_command(":put here", cmd_verify=False))

    assert await asyncio.to_thread(session) == "here"
    assert console.password == PASSWORD
    await console.stop()


async def test_a_new_password_may_be_given_at_the_first_login(clock: FakeClock) -> None:
    console = RouterOsConsole("N", "7.16", "admin", "", clock=clock, asks_new_password=True)
    await console.start()
    async with connect(console, "admin+ct80w", "") as connection:
        person = await shell(connection)
        for word in ("one", "other", "same", "same"):
            await person.until("password> ")
            person.type(f"{word}\r")
        screen = await person.until(r"\] > ")
    assert "passwords do not match" not in screen
    assert console.password == "same"
    assert not console.asks_new_password
    await console.stop()


@pytest.mark.skipif(shutil.which("ssh") is None, reason="the OpenSSH client is not installed")
async def test_openssh_runs_one_command(console: RouterOsConsole, tmp_path: Path) -> None:
    known, asking = tmp_path / "known_hosts", tmp_path / "askpass"
    known.write_text(f"[{console.host}]:{console.port} {console.host_key}\n")
    asking.write_text(f"#!/bin/sh\necho '{PASSWORD}'\n")
    asking.chmod(0o700)
    process = await asyncio.create_subprocess_exec(
        "ssh", "-p", str(console.port), "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes",
        "-o", "NumberOfPasswordPrompts=1", f"hilltop@{console.host}",
        f"{LIST} add list=a address=10.0.0.1; {LIST} print terse; /nope",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "SSH_ASKPASS": str(asking), "SSH_ASKPASS_REQUIRE": "force"},
    )  # fmt: skip
    output, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    assert output.decode().startswith("bad command name nope (line 1 column "), (
        "nothing is run when a part is wrong"
    )
    assert console.firewall_address_list == []


async def test_the_exec_channel_has_neither_prompt_nor_echo_nor_paging(seven: RouterOsConsole) -> None:
    for number in range(60):
        seven.router.run(f"{LIST} add list=a address=10.0.0.{number}")
    async with connect(seven) as connection:
        done = await connection.run(f"{LIST} print terse")
    lines = str(done.stdout).split("\r\n")
    assert len(lines) == 61
    assert "\x1b" not in str(done.stdout)
    assert PAGER not in str(done.stdout)


async def test_banner_prompt_echo_and_redraw(console: RouterOsConsole) -> None:
    async with connect(console, "hilltop+ct120w") as connection:
        person = await shell(connection)
        banner = await person.until(r"\] > ")
        assert "MMM      MMM       KKK" in banner
        assert f"MikroTik RouterOS {console.router.version_text} (c) 1999-20" in banner
        await person.until(r"\] > ")  # painted twice where erasing is not known
        person.type(':put "x')
        assert (await person.until('"x')).endswith(':put "x')
        person.type('y"\r\n')
        answer = await person.until(r"\r\nxy\r\n")
        assert '\r[hilltop@North Ridge] > :put "xy"\r\n' in answer, "the line is painted again when entered"
        after = await person.until(r"\] > .*\r\[hilltop@North Ridge\] > ")
        assert after.startswith("\r\r\r\r[hilltop@North Ridge] > ")
        assert "\x1b" not in banner + answer + after


async def test_a_terminal_that_answers_probes_gets_escapes_and_its_width(seven: RouterOsConsole) -> None:
    async with connect(seven) as connection:
        person = await shell(connection)
        await person.until(r"\x1b\[6n.*\x1b\[6n")
        person.type("\x1b[?1;0c\x1b[1;1R\x1b[1;50R")
        screen = await person.until(r"\x1b\[9999B.*?\x1b\[K")
        assert "\x1b[36mNorth Ridge" in screen, "colours"
        assert all(len(row) <= 50 for row in screen.split("\r\n")[:10]), (
            "lines are broken at the terminal's width"
        )


async def test_without_an_answer_to_the_probes_the_pty_tells_the_width(seven: RouterOsConsole) -> None:
    async with connect(seven) as connection:
        person = await shell(connection, columns=60)
        await person.until(r"\] > .*\] > ")
        person.type(f'{LIST} add list=a address=10.0.0.1 comment="{"long " * 20}"\r')
        await person.until(r"\] > .*\] > ")
        person.type(f"{LIST} print terse\r")
        screen = await person.until(r"creation-\r?\n?time|creation-time")
        rows = [row for row in screen.split("\r\n") if "long" in row]
        assert len(rows) > 1
        assert all(len(row) <= 60 for row in rows)


async def test_long_output_is_paged_unless_asked_otherwise(seven: RouterOsConsole) -> None:
    for number in range(40):
        seven.router.run(f"{LIST} add list=a address=10.0.0.{number}")
    async with connect(seven, "hilltop+ct") as connection:
        person = await shell(connection, rows=10)
        await person.until(r"\] > .*\] > ")
        person.type(f"{LIST} print terse\r")
        page = await person.until(re.escape(PAGER))
        assert page.count("creation-time") == 9
        person.type(" ")
        page = await person.until(re.escape(PAGER))
        assert page.count("creation-time") == 9
        person.type("Q")
        rest = await person.until(r"\] > .*\] > ")
        assert "creation-time" not in rest
        person.type(f"{LIST} print terse\rD")
        await person.until(re.escape(PAGER))
        assert (await person.until(r"\] > .*\] > ")).count("creation-time") == 31
        person.type(f"{LIST} print terse without-paging\r")
        assert PAGER not in await person.until(r"10\.0\.0\.39 .*\r\n")


async def test_editing_keys_history_and_menus(seven: RouterOsConsole) -> None:
    async with connect(seven, "hilltop+ct") as connection:
        person = await shell(connection)
        await person.until(r"\] > .*\] > ")
        person.type(":put abd\x7fc\r")
        await person.until(r"\r\nabc\r\n")
        person.type("\x1b[A\r")
        await person.until(r"\r\nabc\r\n")
        person.type("rubbish\x03:put again\r")
        await person.until(r"\r\nagain\r\n")
        person.type("/ip firewall\r")
        await person.until(re.escape("[hilltop@North Ridge] /ip/firewall> "))
        person.type("addr\t print count-only\r")
        assert "address-list " in await person.until(r"\r\n0\r\n")
        person.type("/\r")
        await person.until(re.escape("[hilltop@North Ridge] > "))
        person.type("/system identity set name=South\r")
        await person.until(re.escape("[hilltop@South] > "))
        person.type("quit\r")
        await person.until("interrupted")
        await person.process.wait_closed()


async def test_another_ones_failed_login_is_written_into_an_idle_session(seven: RouterOsConsole) -> None:
    async with connect(seven, "hilltop+ct") as connection:
        person = await shell(connection)
        await person.until(r"\] > .*\] > ")
        with pytest.raises(asyncssh.PermissionDenied):
            await connect(seven, "mallory", "guess")
        line = await person.until(r"via ssh\r\n")
        assert "12:00:00 echo: system,error,critical login failure for user mallory from 127.0.0.1" in line
        await person.until(r"\] > ")


async def test_read_only_logins_wrong_passwords_and_keys(seven: RouterOsConsole) -> None:
    seven.read_only = True
    async with connect(seven) as connection:
        assert (
            await connection.run(f"{LIST} add list=a address=10.0.0.1")
        ).stdout == "not enough permissions (9)\r\n"
        assert (await connection.run(f"{LIST} print count-only")).stdout == "0\r\n"
    seven.refuse_auth = True
    with pytest.raises(asyncssh.PermissionDenied):
        await connect(seven)


async def test_a_public_key_opens_it(clock: FakeClock) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    console = RouterOsConsole(
        "N", "7.16", "hilltop", PASSWORD, clock=clock, authorized_keys=[key.export_public_key().decode()]
    )
    await console.start()
    login = {"username": "hilltop+ct", "known_hosts": None}
    async with asyncssh.connect(console.host, console.port, client_keys=[key], **login) as connection:
        assert (await connection.run(":put in")).stdout == "in\r\n"
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            console.host, console.port, client_keys=[stranger], preferred_auth="publickey", **login
        )
    await console.stop()


async def test_a_hanging_router_answers_when_it_comes_to(seven: RouterOsConsole) -> None:
    async with connect(seven) as connection:
        seven.hang = True
        waiting = asyncio.ensure_future(connection.run(":put done"))
        while not seven.commands:
            await asyncio.sleep(0)
        assert not waiting.done()
        seven.hang = False
        assert (await waiting).stdout == "done\r\n"


@pytest.mark.parametrize(("moment", "listed"), [("before", False), ("after", True)])
async def test_the_connection_is_cut_before_or_after_the_deed(
    seven: RouterOsConsole, moment: Any, listed: bool
) -> None:
    async with connect(seven) as connection:
        seven.drop_mid_command = moment
        assert (await connection.run(f"{LIST} print count-only")).stdout == "0\r\n", (
            "reading is not what is cut"
        )
        cut = await connection.run(f"{LIST} add list=a address=10.0.0.1")
        assert cut.exit_status is None, "no status came: the connection was lost"
    assert seven.listed("a", "10.0.0.1") is listed
    async with connect(seven) as connection:
        await connection.run(f"{LIST} add list=b address=10.0.0.1", check=True)


async def test_unreachable_and_back_on_the_same_port(seven: RouterOsConsole) -> None:
    seven.router.run(f"{LIST} add list=a address=10.0.0.1")
    port = seven.port
    await seven.unreachable()
    with pytest.raises(OSError):
        await connect(seven)
    await seven.reachable()
    assert seven.port == port
    async with connect(seven) as connection:
        assert (await connection.run(f"{LIST} print count-only")).stdout == "1\r\n"


async def test_a_reboot_cuts_sessions_and_forgets_what_was_dynamic(seven: RouterOsConsole) -> None:
    seven.router.run(f"{LIST} add list=a address=10.0.0.1; {LIST} add list=a address=10.0.0.2 timeout=1d")
    seven.add_connection("100.64.1.7:5000", "192.0.2.1:443")
    async with connect(seven) as connection:
        process = await connection.create_process("/system reboot")
        assert "system will reboot shortly" in str(await process.stdout.read())
        async with asyncio.timeout(10):
            await connection.wait_closed()
    assert [item.values["address"] for item in seven.firewall_address_list] == ["10.0.0.1"]
    assert list(seven.connections) == []
    async with connect(seven) as connection:
        assert "uptime: 0s" in str((await connection.run("/system resource print")).stdout)


async def test_a_slow_router_is_slow_a_line(seven: RouterOsConsole) -> None:
    async with connect(seven) as connection:
        seven.delay_per_line_s = 0.01
        before = asyncio.get_running_loop().time()
        await connection.run("/interface print terse")
        assert asyncio.get_running_loop().time() - before >= 0.04
