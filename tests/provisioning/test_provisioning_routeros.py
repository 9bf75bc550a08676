"""RouterOS through real netmiko and real SSH against the lab's console, v6 and v7, faults included."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

import asyncssh
import paramiko
import pytest
from provisioning_world import World

from core.secrets import Secret
from lab.routeros import RouterOsConsole
from provisioning.config import ProvisioningSettings
from provisioning.domain.plan import Add, OwnedEntry, Remove
from provisioning.drivers.registry import driver_named
from provisioning.drivers.routeros import RouterOs
from provisioning.enforce import Enforcer
from provisioning.ports import Command, NoLiveSessions, Reply, SessionTrouble, Target, Unreadable
from provisioning.preview import preview_enforcement
from provisioning.set_up import change_device
from provisioning.transport import NetmikoTransport

LIST = "hilltop-suspended"
ADDRESS = "100.64.1.7"
PASSWORD = "open-sesame-7"
FAST = ProvisioningSettings(command_timeout_s=3, connect_timeout_s=3, login_timeout_s=5)


@pytest.fixture(params=["6.49.10", "7.16", "7.18.2"])
async def console(request: pytest.FixtureRequest) -> AsyncIterator[RouterOsConsole]:
    one = RouterOsConsole("Red Hill", request.param, "hilltop", PASSWORD)
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def new_console() -> AsyncIterator[RouterOsConsole]:
    one = RouterOsConsole("rb-red", "7.16", "hilltop", PASSWORD)
    await one.start()
    yield one
    await one.stop()


async def at(world: World, console: RouterOsConsole) -> str:
    """The console as a device of the world."""
    return await world.add_device(
        "console", address="127.0.0.1", port=console.port, password=Secret(PASSWORD)
    )


def enforcer_of(world: World, settings: ProvisioningSettings = FAST) -> Enforcer:
    return Enforcer(world.workplace, world.sealer, NoLiveSessions(), settings, "w1", chance=lambda: 0.0)


async def test_suspended_and_restored_and_read_back(world: World, console: RouterOsConsole) -> None:
    device_id = await at(world, console)
    await console_add(console, "100.64.1.200", "by hand")
    service_id = await world.enforced_service("ann", ADDRESS, device_id)
    await world.online(service_id, "2001:db8:5::7")
    kept = console.add_connection("100.64.1.70:1024", "203.0.113.9:443")
    console.add_connection(f"{ADDRESS}:40000", "203.0.113.9:443")
    console.add_connection("203.0.113.9:443", f"{ADDRESS}:40000")
    await world.suspend(service_id)
    async with world.workplace.reading() as connection:
        preview = await preview_enforcement(connection, [service_id], "block")
    enforcer = enforcer_of(world)
    await enforcer.run_due()
    assert (await world.tasks(service_id))[0].status == "verified", (await world.tasks(service_id))[
        0
    ].last_error
    assert console.listed(LIST, ADDRESS)
    assert console.listed(LIST, "2001:db8:5::7")
    assert list(console.connections) == [kept]
    assert (await world.device(device_id)).facts["version"] == console.router.version_text
    spaced = [line.replace("/", " ").strip() for line in console.commands]
    assert [c for line in preview[0].commands if (c := line.replace("/", " ").strip()) not in spaced] == []
    await world.restore(service_id)
    await enforcer.run_due()
    last = (await world.tasks(service_id))[-1]
    assert last.status == "verified", (last.last_error, [r.exchanges for r in await world.transcripts()])
    assert not console.listed(LIST, ADDRESS)
    assert console.listed(LIST, "100.64.1.200")
    transcripts = await world.transcripts()
    assert PASSWORD not in str([row.exchanges for row in transcripts])
    assert any("already" not in e["received"] for row in transcripts for e in row.exchanges)
    enforcer.close()


async def console_add(console: RouterOsConsole, address: str, comment: str) -> None:
    line = f'/ip firewall address-list add list={LIST} address={address} comment="{comment}"'
    console.router.run(line, (), may_write=True)


async def test_the_preview_is_what_is_sent(world: World, console: RouterOsConsole) -> None:
    device_id = await at(world, console)
    service_id = await world.enforced_service("ann", ADDRESS, device_id)
    enforcer = enforcer_of(world)
    await enforcer.check_drift()  # first contact: the version is known from now on
    console.commands.clear()
    async with world.workplace.reading() as connection:
        preview = await preview_enforcement(connection, [service_id], "block")
    assert console.commands == []
    await world.suspend(service_id)
    await enforcer.run_due()
    writes = [line for line in console.commands if "add list" in line or "remove" in line]
    assert preview[0].commands == writes
    async with world.workplace.reading() as connection:
        again = await preview_enforcement(connection, [service_id], "block")
        back = await preview_enforcement(connection, [service_id], "none")
    assert again[0].commands == []
    assert len(back[0].commands) == 1
    enforcer.close()


async def test_output_of_a_crowded_list_is_read_whole(world: World, new_console: RouterOsConsole) -> None:
    for number in range(300):
        await console_add(
            new_console,
            f"100.64.{8 + number // 250}.{number % 250}",
            f"foreign {number} list=x address=1.2.3.4",
        )
    device_id = await at(world, new_console)
    service_id = await world.enforced_service("ann", ADDRESS, device_id)
    await world.suspend(service_id)
    enforcer = enforcer_of(world)
    await enforcer.run_due()
    assert (await world.tasks(service_id))[0].status == "verified", (await world.tasks(service_id))[
        0
    ].last_error
    assert len(new_console.firewall_address_list) == 301
    enforcer.close()


async def first_outcome(
    world: World, console: RouterOsConsole, settings: ProvisioningSettings = FAST
) -> tuple[str, str]:
    """(outcome of the transcript, title of the issue) of one attempt to suspend."""
    device_id = await at(world, console)
    service_id = await world.enforced_service("ann", ADDRESS, device_id)
    await world.suspend(service_id)
    enforcer = enforcer_of(world, settings)
    await enforcer.run_due()
    enforcer.close()
    issue = (await world.open_issues())[f"provisioning.device:{device_id}"]
    return [row.outcome for row in await world.transcripts() if row.device_id][-1], issue.title


async def test_device_rebooted_while_suspended(world: World, console: RouterOsConsole) -> None:
    """Entries carry no timeout, so a reboot keeps them; ids move, and restoring does not need them."""
    device_id = await at(world, console)
    service_id = await world.enforced_service("ann", ADDRESS, device_id)
    await world.suspend(service_id)
    enforcer = enforcer_of(world)
    await enforcer.run_due()
    console.reboot()
    assert console.listed(LIST, ADDRESS)
    await world.restore(service_id)
    await enforcer.run_due()
    assert not console.listed(LIST, ADDRESS)
    enforcer.close()


async def test_device_lying(world: World, new_console: RouterOsConsole) -> None:
    new_console.lying = True
    outcome, title = await first_outcome(world, new_console)
    assert outcome == "lied"
    assert "not cut off" in title


async def test_no_exception_proves_nothing_not_enough_permissions(
    world: World, new_console: RouterOsConsole
) -> None:
    new_console.read_only = True
    outcome, title = await first_outcome(world, new_console)
    assert outcome == "failed"
    assert "not enough permissions" in title


async def test_device_slow(world: World, new_console: RouterOsConsole) -> None:
    new_console.delay_per_line_s = 0.05
    device_id = await at(world, new_console)
    service_id = await world.enforced_service("ann", ADDRESS, device_id)
    await world.suspend(service_id)
    enforcer = enforcer_of(world, ProvisioningSettings())
    await enforcer.run_due()
    assert (await world.tasks(service_id))[0].status == "verified"
    enforcer.close()


async def test_a_hung_console(world: World, new_console: RouterOsConsole) -> None:
    new_console.hang = True
    outcome, title = await first_outcome(world, new_console, ProvisioningSettings(command_timeout_s=1))
    assert outcome == "failed"
    assert "no answer within 1 s" in title


async def test_a_wrong_password(world: World, new_console: RouterOsConsole) -> None:
    new_console.refuse_auth = True
    outcome, title = await first_outcome(world, new_console)
    assert outcome == "unreachable"
    assert "login as hilltop was refused" in title


async def test_device_unreachable(world: World, new_console: RouterOsConsole) -> None:
    await new_console.unreachable()
    outcome, title = await first_outcome(world, new_console)
    assert outcome == "unreachable"
    assert "no SSH session" in title


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_power_lost_in_the_middle_of_a_command(
    world: World, new_console: RouterOsConsole, moment: str
) -> None:
    new_console.drop_mid_command = "before" if moment == "before" else "after"
    device_id = await at(world, new_console)
    service_id = await world.enforced_service("ann", ADDRESS, device_id)
    await world.suspend(service_id)
    enforcer = enforcer_of(world)
    await enforcer.run_due()
    assert (await world.tasks(service_id))[0].status == "waiting"
    world.clock.step_to((await world.tasks(service_id))[0].next_attempt_at)
    await enforcer.run_due()
    assert (await world.tasks(service_id))[0].status == "verified"
    assert len(new_console.firewall_address_list) == 1
    assert await world.open_issues() == {}
    enforcer.close()


async def test_first_host_key_is_pinned_and_another_is_refused(
    world: World, new_console: RouterOsConsole
) -> None:
    device_id = await at(world, new_console)
    service_id = await world.enforced_service("ann", ADDRESS, device_id)
    await world.suspend(service_id)
    enforcer = enforcer_of(world)
    await enforcer.run_due()
    assert (await world.device(device_id)).host_key == new_console.host_key
    impostor = RouterOsConsole("impostor", "7.16", "hilltop", PASSWORD)
    await impostor.start()
    async with world.workplace.work("operator:ann") as work:
        assert await change_device(work, world.sealer, device_id, port=impostor.port) is None
    await world.restore(service_id)
    await enforcer.run_due()
    enforcer.close()
    await impostor.stop()
    assert impostor.logins == []  # the password never left
    issue = (await world.open_issues())[f"provisioning.device:{device_id}"]
    assert "host key differs" in issue.title
    assert issue.severity == "critical"


async def test_a_pinned_key_of_a_kind_no_longer_offered_is_refused(
    world: World, new_console: RouterOsConsole
) -> None:
    other = asyncssh.generate_private_key("ssh-rsa").export_public_key().decode().strip()
    device_id = await world.add_device(
        "console", address="127.0.0.1", port=new_console.port, password=Secret(PASSWORD), host_key=other
    )
    service_id = await world.enforced_service("ann", ADDRESS, device_id)
    await world.suspend(service_id)
    enforcer = enforcer_of(world)
    await enforcer.run_due()
    enforcer.close()
    assert new_console.logins == []
    assert "host key" in (await world.open_issues())[f"provisioning.device:{device_id}"].title


async def test_login_screens_and_suffix(world: World, new_console: RouterOsConsole) -> None:
    """Licence and new-password screens are passed; the login carries netmiko's terminal options."""
    new_console.shows_license = True
    device_id = await at(world, new_console)
    service_id = await world.enforced_service("ann", ADDRESS, device_id)
    await world.suspend(service_id)
    enforcer = enforcer_of(world)
    await enforcer.run_due()
    enforcer.close()
    assert new_console.logins[0] == "hilltop+ct511w4098h"
    assert (await world.tasks(service_id))[0].status == "verified"


async def test_a_login_by_key(world: World) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    console = RouterOsConsole(
        "rb", "7.16", "hilltop", PASSWORD, authorized_keys=[key.export_public_key().decode()]
    )
    await console.start()
    device_id = await world.add_device(
        "console", address="127.0.0.1", port=console.port, password=None,
        private_key=Secret(key.export_private_key().decode()),
    )  # fmt: skip
    service_id = await world.enforced_service("ann", ADDRESS, device_id)
    await world.suspend(service_id)
    enforcer = enforcer_of(world)
    await enforcer.run_due()
    enforcer.close()
    await console.stop()
    assert (await world.tasks(service_id))[0].status == "verified"


async def test_transcripts_hide_secrets_that_the_device_prints(new_console: RouterOsConsole) -> None:
    transport = NetmikoTransport(FAST)
    target = Target(
        "dev_1", "rb", "routeros", "127.0.0.1", new_console.port, "hilltop", Secret(PASSWORD), None, None
    )
    async with transport.open(target, driver_named("routeros")) as session:
        await session.send(Command('/ppp secret add name="ann" password="hunter22" service=pppoe'))
        await session.send(Command("/ppp secret export show-sensitive"))
        await session.send(Command(f':put "{PASSWORD}"'))
        said = str(session.exchanges)
    transport.close()
    assert "hunter22" not in said
    assert PASSWORD not in said
    assert "name=" in said


async def test_hanging_up_on_a_device_that_is_gone_is_no_trouble(
    new_console: RouterOsConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What broke the session is told, not that the channel could not be closed either."""
    transport = NetmikoTransport(FAST)
    target = Target(
        "dev_1", "rb", "routeros", "127.0.0.1", new_console.port, "hilltop", Secret(PASSWORD), None, None
    )

    def gone(*_: object) -> None:
        raise EOFError

    with pytest.raises(SessionTrouble) as trouble:
        async with transport.open(target, driver_named("routeros")) as session:
            for name in ("close", "send", "sendall"):
                monkeypatch.setattr(paramiko.Channel, name, gone)
            await session.send(Command("/system resource print"))
    transport.close()
    assert trouble.value.kind == "broken"
    assert not [one for one in threading.enumerate() if isinstance(one, paramiko.Transport) and one.active]


async def test_a_session_broken_by_a_reboot_is_told_so(new_console: RouterOsConsole) -> None:
    transport = NetmikoTransport(FAST)
    target = Target(
        "dev_1", "rb", "routeros", "127.0.0.1", new_console.port, "hilltop", Secret(PASSWORD), None, None
    )
    with pytest.raises(SessionTrouble) as trouble:
        async with transport.open(target, driver_named("routeros")) as session:
            await session.send(Command("/system resource print"))
            new_console.reboot()
            await session.send(Command("/system resource print"))
    transport.close()
    assert trouble.value.kind in {"broken", "hung"}


# --- the driver's words, without a device

V6 = Target("d", "rb", "routeros", "h", 22, "u", None, None, None, facts={"version": "6.49.10"})
V7 = Target("d", "rb", "routeros", "h", 22, "u", None, None, None, facts={"version": "7.16"})
ROS = RouterOs()


def test_v6_and_v7_words() -> None:
    add = [Add("svc_1", ADDRESS)]
    assert ROS.change_commands(V6, add)[0].text == (
        f'/ip firewall address-list add list={LIST} address="{ADDRESS}" comment="hilltop:svc_1"'
    )
    assert ROS.change_commands(V7, add)[0].text == (
        f'/ip/firewall/address-list/add list={LIST} address="{ADDRESS}" comment="hilltop:svc_1"'
    )
    assert ROS.change_commands(V7, [Remove("svc_1", "2001:db8::1")])[0].text == (
        f'/ipv6/firewall/address-list/remove [find list={LIST} address="2001:db8::1/128" comment="hilltop:svc_1"]'
    )
    unknown = Target("d", "rb", "routeros", "h", 22, "u", None, None, None)
    assert ROS.observe_commands(unknown)[0].startswith("/ip firewall address-list print terse")


@pytest.mark.parametrize("address", ["example.com", "100.64.1.7; /system reboot", "", "100.64.1.7/33", "svc"])
def test_what_is_no_address_is_never_sent(address: str) -> None:
    with pytest.raises(ValueError):
        ROS.change_commands(V6, [Add("svc_1", address)])


@pytest.mark.parametrize("service_id", ['x" ; /system reboot', "", "a b", "é"])
def test_what_is_no_service_id_is_never_sent(service_id: str) -> None:
    with pytest.raises(ValueError):
        ROS.change_commands(V6, [Remove(service_id, ADDRESS)])


def parsed(rows: str, count: int, target: Target = V7) -> tuple[set[OwnedEntry], set[str]]:
    seen = ROS.parse_observation(
        Target(
            **{**{f: getattr(target, f) for f in target.__dataclass_fields__}, "options": {"ipv6": False}}
        ),
        [Reply(rows), Reply(str(count))],
    )
    return set(seen.owned), set(seen.foreign)


def test_terse_rows_with_flags_quotes_and_folding() -> None:
    rows = (
        f" 0   comment=hilltop:svc_1 list={LIST} address=100.64.1.7 creation-time=2026-01-02 10:00:00 \n"
        f' 1 X comment="hilltop:svc_2" list={LIST} address=100.64.1.8 creation-time=jan/02/2026 10:00:00 \n'
        f" 2 D list={LIST} address=100.64.1.9 timeout=5m \n"
        f" 3   comment=hilltop:svc_3 and more list={LIST} addr\n"
        f"ess=100.64.1.10 creation-time=2026-01-02 10:00:00 \n"
        f" 4   list={LIST} address=100.64.2.0/24\n"
        f" 5   list={LIST} address=bad.example.com\n"
        f" 6   comment=hilltop:svc_9 list=other address=1.2.3.4 list={LIST} address=100.64.1.11 \n"
    )
    owned, foreign = parsed(rows, 7)
    assert owned == {OwnedEntry("svc_1", "100.64.1.7"), OwnedEntry("svc_2", "100.64.1.8", False)}
    assert foreign == {"100.64.1.9", "100.64.1.10", "100.64.2.0/24", "100.64.1.11"}


def test_a_row_lost_on_the_way_is_noticed() -> None:
    with pytest.raises(Unreadable, match="counted 2"):
        parsed(f" 0   comment=hilltop:svc_1 list={LIST} address=100.64.1.7 \n", 2)


def test_no_ipv6_package_is_no_fault() -> None:
    bad = Reply("bad command name ipv6 (line 1 column 2)")
    seen = ROS.parse_observation(V6, [Reply(""), Reply("0"), bad, bad])
    assert (seen.owned, seen.foreign) == (frozenset(), frozenset())


@pytest.mark.parametrize(
    "text",
    [
        "failure: already have such entry",
        "bad command name adress-list (line 1 column 14)",
        "not enough permissions (9)",
        "expected end of command (line 1 column 30)",
        "no such item",
        "syntax error (line 1 column 5)",
        "invalid value for argument address",
        "input does not match any value of list",
    ],
)
def test_complaints_are_heard(text: str) -> None:
    assert ROS.complaint(Reply(f"\n{text}\n")) == text


def test_silence_is_no_complaint_and_no_proof() -> None:
    assert ROS.complaint(Reply("")) is None


def test_version_of_recorded_forms() -> None:
    """The spacing of /system resource print as RouterOS 7.16 and 7.18.2 print it."""
    text = "                   uptime: 32m36s\n                  version: 7.16 (stable)\n               board-name: CHR QEMU\n"
    assert ROS.read_facts(Reply(text)) == {"platform": "RouterOS", "version": "7.16", "board": "CHR QEMU"}
    with pytest.raises(Unreadable):
        ROS.read_facts(Reply("login: "))
