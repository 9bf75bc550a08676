"""What a hostile day brings: consoles that misbehave, rows that read like commands, races, words for people."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import paramiko
import pytest
from netmiko.exceptions import NetmikoTimeoutException
from provisioning_world import World
from scripted_tower import LIST, Entry, ScriptedConsole, ScriptedTower
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from core.clock import FakeClock
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Workplace
from provisioning.config import ProvisioningSettings
from provisioning.domain.plan import Add, OwnedEntry
from provisioning.drivers.routeros import RouterOs
from provisioning.enforce import Enforcer
from provisioning.ports import Command, Driver, NoLiveSessions, Reply, SessionTrouble, Target, Unreadable
from provisioning.request_enforcement import request_enforcement
from provisioning.set_up import (
    add_enforcement_point,
    change_device,
    register_device,
    register_site,
    set_known_outage,
)
from provisioning.store.tables import enforcement_point
from provisioning.transport import NetmikoConsole, _connect_trouble, _without_echo

DRIVER = RouterOs()
TARGET = Target("d", "rb", "routeros", "192.0.2.1", 22, "hilltop", Secret("opensesame"), None, None,
                facts={"version": "7.16"})  # fmt: skip
ADDRESS = "100.64.1.7"


def made(
    world: World, tower: Any, worker: str = "w", settings: ProvisioningSettings | None = None
) -> Enforcer:
    return Enforcer(
        world.workplace, world.sealer, NoLiveSessions(), settings or ProvisioningSettings(), worker,
        transport=tower, chance=lambda: 0.0,
    )  # fmt: skip


async def suspended(world: World, tower: ScriptedTower, name: str = "ann", address: str = ADDRESS) -> str:
    service_id = await world.enforced_service(name, address)
    await world.suspend(service_id)
    await made(world, tower).run_due()
    return service_id


# --- consoles


class Killed(BaseException):
    """The process ends here: nothing of ours that handles faults may handle this one."""


class Wire:
    """A netmiko connection whose far end says what the test lets it say. ``{mark}`` is the end mark."""

    RETURN = "\n"
    base_prompt = "[hilltop@rb]"
    remote_conn_pre = None

    def __init__(self, *pieces: str, forever: str = "") -> None:
        self.pieces = list(pieces)
        self.forever = forever
        self.typed: list[str] = []
        self.remote_conn = self
        self.closed = False

    def write_channel(self, line: str) -> None:
        self.typed.append(line.strip())

    def read_channel(self) -> str:
        if not self.pieces:
            return self.forever
        mark = re.sub(r'^:put "(.*)"$', r"\1", self.typed[-1])
        return self.pieces.pop(0).replace("{mark}", mark).replace("{typed}", self.typed[0])

    def paramiko_cleanup(self) -> None:
        self.closed = True


def console_on(wire: Wire, **settings: float) -> NetmikoConsole:
    async def here(work: Callable[[], str]) -> str:
        return await asyncio.to_thread(work)

    return NetmikoConsole(
        wire, target=TARGET, driver=DRIVER, settings=ProvisioningSettings(**settings), in_thread=here
    )


async def test_half_a_page_and_then_silence_is_no_answer() -> None:
    wire = Wire(" 0   list=hilltop-suspended address=100.64.1.7 \r\n 1   list=hilltop-su")
    console = console_on(wire, command_timeout_s=0.2)
    with pytest.raises(SessionTrouble) as told:
        await console.send(Command("/ip/firewall/address-list/print"))
    assert told.value.kind == "hung"
    assert "no answer within 0.2 s" in str(told.value)


async def test_a_console_that_never_stops_talking_is_left() -> None:
    console = console_on(Wire(forever="x" * 1_000_000))
    with pytest.raises(SessionTrouble, match="does not end"):
        await console.send(Command("/export"))


async def test_nothing_is_typed_once_the_claim_may_have_run_out() -> None:
    wire = Wire("{mark}\r\n")
    console = console_on(wire, claim_lease_s=1e-6)
    with pytest.raises(SessionTrouble, match="session took longer"):
        await console.send(Command("/ip/firewall/address-list/add list=x"))
    assert wire.typed == []


async def test_escapes_of_every_kind_are_no_text() -> None:
    """Colours, cursor moves, window titles, character sets; cut at any place by the network."""
    text = (
        "\x1b]0;hilltop@rb: ~\x07\x1b[?2004h\x1b[35mhilltop\x1b[m\x1b(B\x1b[9999B\r\n"
        '{typed}\r\n:put "{mark}"\r\n\x1b[1;32m17\x1b[0m\x1b[K\r\n\x1b7\x1b8{mark}\x1b[K\r\n[hilltop@rb] > '
    )
    for size in (1, 3, 7, 1000):
        wire = Wire()
        console = console_on(wire)
        wire.pieces = [text]
        first = wire.read_channel

        def cut(size: int = size, wire: Wire = wire, first: Callable[[], str] = first) -> str:
            if wire.pieces and len(wire.pieces) == 1 and "{mark}" in wire.pieces[0]:
                whole = first()
                wire.pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
            return wire.pieces.pop(0) if wire.pieces else ""

        wire.read_channel = cut  # type: ignore[method-assign]
        reply = await console.send(Command("/ip/firewall/address-list/print count-only"))
        assert "17" in reply.text.split("\n"), size


@pytest.mark.parametrize("count", ["10", "37", "5000"])
def test_a_count_is_never_taken_for_the_echo_of_its_digits(count: str) -> None:
    """The random end mark and the list's name hold digits, too: one session in twenty failed of it."""
    typed = (
        f"/ip firewall address-list print count-only where list=wisp{count}",
        f':put "hilltop-a{count}f"',
    )
    assert _without_echo(f"{typed[0]}\r\n{typed[1]}\r\n{count}\r\n", typed, "[a@b]").split() == [count]


@pytest.mark.parametrize(
    ("printed", "prompt"),
    [("$ {answer}", "$"), ("hilltop@bng:~$ {answer}", "hilltop@bng:~"), ("[a@b] > {answer}", "[a@b]")],
)
def test_an_answer_on_the_line_of_a_late_prompt_is_kept(printed: str, prompt: str) -> None:
    """dash shows its prompt when it comes to read; the terminal echoed what was typed before that."""
    typed = ('nft -j list set inet hilltop suspended6; echo "hilltop-af-$?"',)
    answer = '{"nftables": [{"metainfo": {"release_name": "Lester Gooch #5"}}]}'
    raw = f"{typed[0]}\r\n{printed.format(answer=answer)}\r\n{printed.format(answer=typed[0])}\r\n"
    assert _without_echo(raw, typed, prompt) == answer
    for redrawn in ("", "n", "nft -j li"):
        assert _without_echo(printed.format(answer=redrawn), typed, prompt) == ""


# --- rows


@pytest.mark.parametrize(
    "comment",
    [
        "this is not a valid customer",
        "error: unpaid",
        "failure: of the roof antenna",
        "value of the house must rise",
        "interrupted",
        "hilltop:svc_2 list=hilltop-suspended address=100.64.9.9",
    ],
)
def test_comments_of_others_may_hold_any_words(comment: str) -> None:
    rows = (
        f" 0   comment={comment} list={LIST} address=192.0.2.50 \n"
        f" 1   comment=hilltop:svc_1 list={LIST} address={ADDRESS} "
    )
    seen = DRIVER.parse_observation(TARGET, [Reply(rows), Reply("2"), Reply(""), Reply("0")])
    assert seen.owned == {OwnedEntry("svc_1", ADDRESS)}
    assert seen.foreign == {"192.0.2.50"}


@pytest.mark.parametrize(
    "replies",
    [
        ["not enough permissions (9)", "not enough permissions (9)"],
        ["", "not enough permissions (9)"],
        ["interrupted", "0 0"],
        [f" 0   list={LIST} address=192.0.2.1 ", "2"],
    ],
)
def test_without_the_routers_own_count_nothing_is_believed(replies: list[str]) -> None:
    with pytest.raises(Unreadable):
        DRIVER.parse_observation(TARGET, [*map(Reply, replies), Reply(""), Reply("0")])


def test_five_thousand_entries_are_read_whole() -> None:
    rows = "\n".join(
        f"{n:>4}   comment=hilltop:svc_{n} list={LIST} address=100.{64 + n // 62500}.{n // 250 % 250}.{n % 250} "
        "creation-time=2026-03-10 12:00:00 "
        for n in range(5000)
    )
    seen = DRIVER.parse_observation(TARGET, [Reply(rows), Reply("5000"), Reply(""), Reply("0")])
    assert len(seen.owned) == 5000
    with pytest.raises(Unreadable, match="counted 4999"):
        DRIVER.parse_observation(TARGET, [Reply(rows), Reply("4999"), Reply(""), Reply("0")])


@pytest.mark.parametrize(
    ("address", "hit", "spared"),
    [
        (ADDRESS, ["100.64.1.7", "100.64.1.7:443"], ["100.64.1.70:443", "1100.64.1.7:1", "100.64.11.7:5"]),
        ("2001:db8::7", ["2001:db8::7", "2001:db8::7/128"], ["2001:db8::7:1", "2001:db8::7:1/128"]),
    ],
)
def test_connections_of_neighbours_are_not_cut(address: str, hit: list[str], spared: list[str]) -> None:
    cuts = [c.text for c in DRIVER.change_commands(TARGET, [Add("svc_1", address)]) if "connection" in c.text]
    found = re.search(r'src-address~"(.*)"\]', cuts[0])
    assert found is not None
    pattern = found[1].replace("\\$", "$")
    assert [one for one in [*hit, *spared] if re.search(pattern, one)] == hit


@pytest.mark.parametrize(("name", "spelled"), [("walled", "walled"), ("10", '"10"'), ("a.b", '"a.b"')])
def test_list_names_that_the_language_would_read_otherwise_are_quoted(name: str, spelled: str) -> None:
    target = Target("d", "rb", "routeros", "h", 22, "u", None, None, None, {"list": name})
    assert all(f"where list={spelled}" in text for text in DRIVER.observe_commands(target))
    rows = [Reply(f" 0   comment=hilltop:svc_1 list={name} address={ADDRESS} "), Reply("1")]
    seen = DRIVER.parse_observation(target, [*rows, Reply(""), Reply("0")])
    assert seen.owned == {OwnedEntry("svc_1", ADDRESS)}


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("routeros", {"list": 'x" ; /system reset-configuration'}),
        ("routeros", {"list": "x]\n/quit"}),
        ("routeros", {"list": "$x"}),
        ("linux_nftables", {"table": "hilltop; flush ruleset"}),
        ("linux_nftables", {"set4": "a'; reboot; '"}),
        ("linux_nftables", {"set6": "$(reboot)"}),
        ("linux_nftables", {"sudo": "; reboot"}),
    ],
)
async def test_options_that_would_be_commands_are_refused(
    world: World, driver: str, options: dict[str, Any]
) -> None:
    async with world.workplace.work("operator:eve") as work:
        told = await register_device(
            work, world.sealer, site_id=world.site_id, name="evil", driver=driver, address="192.0.2.9",
            username="u", password=Secret("p"), options=options,
        )  # fmt: skip
    assert isinstance(told, Refusal)
    assert told.field == "options"


@pytest.mark.parametrize("address", ["fe80::1%eth0\n* ssh-rsa AAAA", "fe80::1%", "router%eth0", "a b", "-x"])
async def test_addresses_that_are_more_than_an_address_are_refused(world: World, address: str) -> None:
    async with world.workplace.work("operator:eve") as work:
        told = await register_device(
            work, world.sealer, site_id=world.site_id, name="evil", driver="routeros", address=address,
            username="u", password=Secret("p"),
        )  # fmt: skip
    assert isinstance(told, Refusal)
    assert told.field == "address"


# --- words for people


def _why(cause: BaseException) -> tuple[str, str]:
    """What is said of the library's trouble that stands on ``cause``."""
    trouble = NetmikoTimeoutException(
        "TCP connection to device failed.\n\nCommon causes of this problem are:"
    )
    trouble.__context__ = cause
    told = _connect_trouble(TARGET, trouble, ProvisioningSettings())
    return told.kind, str(told)


def _no_valid(*causes: OSError) -> paramiko.ssh_exception.NoValidConnectionsError:
    return paramiko.ssh_exception.NoValidConnectionsError(
        {(f"192.0.2.{n}", 22): cause for n, cause in enumerate(causes)}
    )


@pytest.mark.parametrize(
    ("cause", "kind", "words"),
    [
        (_no_valid(ConnectionRefusedError(111, "x")), "refused", "192.0.2.1 port 22 refused the connection"),
        (_no_valid(OSError(errno.EHOSTUNREACH, "x")), "no_route", "there is no way from here to 192.0.2.1"),
        (_no_valid(TimeoutError(110, "x")), "timed_out", "192.0.2.1 port 22 did not answer within 10 s"),
        (TimeoutError("timed out"), "timed_out", "192.0.2.1 port 22 did not answer within 10 s"),
        (socket.gaierror(-2, "Name or service not known"), "unknown_name", "the name 192.0.2.1 is not known"),
        (
            paramiko.SSHException("Error reading SSH protocol banner"),
            "unreachable",
            "192.0.2.1 port 22 takes connections but does not speak SSH, or breaks them off",
        ),
    ],
)
def test_why_there_is_no_session_is_said_in_plain_words(cause: BaseException, kind: str, words: str) -> None:
    assert _why(cause) == (kind, f"no SSH session: {words}")


# --- the moment


async def test_a_new_address_while_the_device_is_spoken_to_is_enforced_too(world: World) -> None:
    """The fact of the new address finds a task that stands; that task must not be proven by the old one."""
    service_id = await world.enforced_service("ann")
    await world.online(service_id, ADDRESS)
    generation = await world.suspend(service_id)

    async def redial() -> None:
        await world.offline(service_id)
        await world.online(service_id, "100.64.1.99")
        assert len(await world.ask(service_id, generation, "block")) == 2

    class Redialing(ScriptedTower):
        @asynccontextmanager
        async def open(self, target: Target, driver: Driver) -> AsyncIterator[ScriptedConsole]:
            async with super().open(target, driver) as console:
                yield console
            if self.sessions == 1:  # after the last look, before it is written down
                await redial()

    tower = Redialing()
    enforcer = made(world, tower)
    await enforcer.run_due()
    task = (await world.tasks(service_id))[0]
    assert (task.status, task.attempts) == ("waiting", 0)
    world.clock.advance(timedelta(seconds=3))
    await enforcer.run_due()
    task = (await world.tasks(service_id))[0]
    assert task.status == "verified"
    assert task.proof["addresses"] == ["100.64.1.99"]
    assert tower.marked() == {(service_id, "100.64.1.99")}


async def test_asking_again_when_the_next_customer_has_the_address_is_something_new(world: World) -> None:
    """The old session never got its Stop: the address stays on record, but it is another's by now."""
    tower = ScriptedTower()
    service_id = await world.enforced_service("ann")
    await world.online(service_id, ADDRESS)
    generation = await world.suspend(service_id)
    await made(world, tower).run_due()
    assert tower.marked() == {(service_id, ADDRESS)}
    assert await world.ask(service_id, generation, "block") == []
    await world.online(await world.service("bob"), ADDRESS)
    assert len(await world.ask(service_id, generation, "block")) == 1
    await made(world, tower).run_due()
    assert tower.marked() == set()
    assert (await world.tasks(service_id))[-1].proof["spared"] == [ADDRESS]
    assert await world.ask(service_id, generation, "block") == []


async def test_killed_between_apply_and_verify(world: World, clock: FakeClock) -> None:
    """The dead worker's entry is found, nothing is written twice, the proof is the read-back."""

    class Dying(ScriptedTower):
        @asynccontextmanager
        async def open(self, target: Target, driver: Driver) -> AsyncIterator[ScriptedConsole]:
            async with super().open(target, driver) as console:
                yield console
                if self.sessions == 1:
                    raise Killed

    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    tower = Dying()
    with pytest.raises(Killed):
        await made(world, tower, "dead").run_due()
    assert tower.marked() == {(service_id, ADDRESS)}
    assert (await world.tasks(service_id))[0].status == "claimed"
    writes = len([line for line in tower.sent if "address-list/add " in line])
    other = made(world, tower, "alive")
    await other.run_due()
    assert (await world.tasks(service_id))[0].status == "claimed"  # the lease still stands
    clock.advance(timedelta(seconds=181))
    await other.run_due()
    assert (await world.tasks(service_id))[0].status == "verified"
    assert len([line for line in tower.sent if "address-list/add " in line]) == writes


async def test_a_worker_that_waited_its_claim_away_speaks_to_nobody(world: World, clock: FakeClock) -> None:
    """All slots taken for longer than the lease: the other worker has the device by now."""
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    slow_tower, quick_tower = ScriptedTower(), ScriptedTower()
    slow = made(world, slow_tower, "w", ProvisioningSettings(device_sessions=1))
    await slow._slots.acquire()
    waiting = asyncio.create_task(slow.run_due())
    while (await world.tasks(service_id))[0].status != "claimed":
        await asyncio.sleep(0)
    clock.advance(timedelta(seconds=181))
    await made(world, quick_tower, "w").run_due()  # the same name: a restarted process
    slow._slots.release()
    await waiting
    assert slow_tower.sessions == 0
    assert quick_tower.sessions == 1
    assert (await world.tasks(service_id))[0].status == "verified"


async def test_two_ask_at_once(any_workplace: Workplace, sealer: Sealer, clock: FakeClock) -> None:
    """The outbox and an operator ask in the same moment: one task a point, and one live-session point."""
    world = await World.build(any_workplace, sealer, clock)
    service_id = await world.service("ann", ADDRESS)
    generation = await world.hold(service_id)
    results = await asyncio.gather(*(world.ask(service_id, generation, "block") for _ in range(8)))
    points = await world.points(service_id)
    assert [point.mechanism for point in points] == ["live_session"]
    assert {tuple(one) for one in results} == {
        (one.id,) for one in await world.tasks(service_id, "live_session")
    }


async def test_the_database_itself_refuses_a_second_live_session_point(
    any_workplace: Workplace, sealer: Sealer, clock: FakeClock
) -> None:
    world = await World.build(any_workplace, sealer, clock)
    service_id = await world.enforced_service("ann", ADDRESS)
    with pytest.raises(IntegrityError):
        async with any_workplace.work("operator:eve") as work:
            await work.connection.execute(
                insert(enforcement_point).values(id="p2", service_id=service_id, mechanism="live_session")
            )


async def test_a_job_that_fails_leaves_none_running_behind(world: World) -> None:
    """One device's rows cannot be written: the other device's session is over when the run is."""
    other = await world.add_device("rb-blue", address="192.0.2.2")
    for number, device_id in enumerate([world.device_id, other]):
        await world.suspend(await world.enforced_service(f"s{number}", f"100.64.2.{number}", device_id))
    tower = ScriptedTower()
    enforcer = made(world, tower)
    real = enforcer._record
    ended: list[str] = []

    async def failing(target: Target, *rest: Any) -> None:
        if target.device_id == world.device_id:
            raise OSError("disk full")
        await asyncio.sleep(0.05)
        await real(target, *rest)
        ended.append(target.device_id)

    enforcer._record = failing  # type: ignore[method-assign, assignment]
    with pytest.raises(OSError, match="disk full"):
        await enforcer.run_due()
    assert ended == [other]


# --- places and people


async def test_a_disabled_entry_of_others_in_the_way_is_named_and_spares_the_device(world: World) -> None:
    """RouterOS refuses a second entry for the address, though the first one does nothing."""
    tower = ScriptedTower(entries=[Entry(LIST, ADDRESS, "by hand", disabled=True)])
    service_id = await suspended(world, tower)
    assert (await world.tasks(service_id))[0].status == "waiting"
    assert (await world.device()).failures_in_row == 0
    issues = await world.open_issues()
    assert list(issues) == [f"provisioning.foreign_entry:{world.device_id}:{service_id}"]
    assert "disabled entry without our mark" in next(iter(issues.values())).title
    tower.entries.clear()
    world.clock.advance(timedelta(seconds=3))
    await made(world, tower).run_due()
    assert (await world.tasks(service_id))[0].status == "verified"
    assert await world.open_issues() == {}


async def test_tasks_of_a_disabled_device_wait_and_say_so(world: World) -> None:
    tower = ScriptedTower()
    service_id = await world.enforced_service("ann", ADDRESS)
    await world.suspend(service_id)
    async with world.workplace.work("operator:ann") as work:
        assert await change_device(work, world.sealer, world.device_id, enabled=False) is None
    enforcer = made(world, tower)
    await enforcer.run_due()
    await enforcer.check_drift()
    assert tower.sessions == 0
    key = f"provisioning.device_disabled:{world.device_id}"
    assert "1 change(s) wait" in (await world.open_issues())[key].title
    async with world.workplace.work("operator:ann") as work:
        assert await change_device(work, world.sealer, world.device_id, enabled=True) is None
    await enforcer.run_due()
    assert tower.marked() == {(service_id, ADDRESS)}
    await enforcer.check_drift()
    assert await world.open_issues() == {}


async def test_what_waits_for_a_disabled_device_uses_up_no_cap(world: World) -> None:
    """Its live sessions were moved long ago; what is left for the device must not park the next tower's."""
    dead = await world.add_device("rb-dead", address="192.0.2.2")
    async with world.workplace.work("operator:ann") as work:
        assert await change_device(work, world.sealer, dead, enabled=False) is None
    for number in range(3):
        await world.suspend(await world.enforced_service(f"d{number}", f"100.64.2.{number}", dead))
    tower = ScriptedTower()
    await made(world, tower).run_due()
    world.clock.advance(timedelta(hours=2))
    ann = await world.enforced_service("ann", ADDRESS)
    await world.suspend(ann)
    await made(world, tower, settings=ProvisioningSettings(new_suspensions_per_run=2)).run_due()
    assert (await world.tasks(ann))[0].status == "verified"


async def test_an_outage_counts_for_the_device_that_stands_there(world: World) -> None:
    """A service on two towers: only the device of the tower that is down waits."""
    async with world.workplace.work("operator:ann") as work:
        site = await register_site(work, name="Blue Hill")
        assert isinstance(site, str)
    blue = await world.add_device("rb-blue", address="192.0.2.2", site_id=site)
    service_id = await world.enforced_service("ann", ADDRESS)
    async with world.workplace.work("operator:ann") as work:
        assert isinstance(await add_enforcement_point(work, service_id=service_id, device_id=blue), str)
        assert await set_known_outage(work, site, True) is None
    await world.suspend(service_id)
    tower = ScriptedTower()
    await made(world, tower).run_due()
    assert sorted((t.status, t.device_id == blue) for t in await world.tasks(service_id)) == [
        ("verified", False), ("waiting", True)
    ]  # fmt: skip
    assert tower.sessions == 1


async def test_enforcing_again_does_not_wait_for_the_next_attempt(world: World) -> None:
    service_id = await world.enforced_service("ann", ADDRESS)
    generation = await world.suspend(service_id)
    tower = ScriptedTower(faults=["unreachable"])
    enforcer = made(world, tower)
    await enforcer.run_due()
    assert await enforcer.run_due() == 0
    async with world.workplace.work("operator:ann") as work:
        await request_enforcement(
            work, service_id=service_id, generation=generation, effect="block", cause="again", again=True
        )
    await enforcer.run_due()
    assert tower.marked() == {(service_id, ADDRESS)}
