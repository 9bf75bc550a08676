"""``hilltop lab serve``: towers to try the product on, with the commands that register them."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from core.clock import Clock, SystemClock
from core.secrets import random_password
from lab.config import LabSettings, LabSubscriber
from lab.linux_tower import LinuxTower
from lab.namespaces import CommandFailed
from lab.nas import RejectedDial
from lab.radius_wire import RadiusServer
from lab.tower import Demand, SimulatedTower

Say = Callable[[str], None]


def say_on_terminal(text: str) -> None:
    """One line on standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class LabSecrets:
    """What was made up for this run; each stands in a file that the commands refer to."""

    directory: Path
    radius: str
    password: str
    community: str

    @classmethod
    def fresh(cls, directory: Path) -> LabSecrets:
        """New random ones, written down with mode 0600."""
        made = cls(directory, random_password(), random_password(), random_password())
        for name in ("radius", "password", "community"):
            write_secret(directory / f"lab-{name}", getattr(made, name))
        return made

    def file(self, name: str) -> str:
        """The file's path, quoted for a shell."""
        return shlex.quote(str(self.directory / f"lab-{name}"))


def write_secret(path: Path, text: str) -> None:
    """Write a file that nobody else may read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


async def run_lab(
    settings: LabSettings,
    stop: asyncio.Event,
    *,
    clock: Clock | None = None,
    say: Say = say_on_terminal,
    linux_ruleset: Callable[[LinuxTower], str] | None = None,
    ready: asyncio.Event | None = None,
) -> None:
    """Run the lab until ``stop``: a RouterOS-like tower, and a Linux tower where one can be built.

    ``linux_ruleset`` gives the nftables text to load on the Linux tower (the product's bootstrap); without it
    nothing is loaded and a command that loads one is the operator's affair.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        directory = settings.directory
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hilltop-lab-")))
        secrets = LabSecrets.fresh(directory)
        subscribers = [_with_password(one) for one in settings.subscribers]
        tower = _tower(settings, secrets, clock or SystemClock())
        await tower.start(settings.host, ssh_port=settings.ssh_port, snmp_port=settings.snmp_port)
        stack.push_async_callback(tower.stop)
        _tell_routeros(say, settings, secrets, tower, subscribers)
        if settings.linux_tower:
            await _build_linux(say, stack, secrets, linux_ruleset)
        if ready is not None:
            ready.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(tower.run(stop))
            for subscriber in subscribers:
                tasks.create_task(_keep_dialled(say, settings, tower, subscriber, stop))


def _with_password(subscriber: LabSubscriber) -> LabSubscriber:
    if subscriber.password:
        return subscriber
    return subscriber.model_copy(update={"password": random_password(2)})


def _tower(settings: LabSettings, secrets: LabSecrets, clock: Clock) -> SimulatedTower:
    return SimulatedTower(
        "lab-ridge",
        source_address=settings.nas_address,
        servers=[RadiusServer(settings.radius_host, settings.auth_port, settings.accounting_port)],
        radius_secret=secrets.radius,
        clock=clock,
        version=settings.version,
        password=secrets.password,
        community=secrets.community,
        coa_port=settings.coa_port,
    )


def _tell_routeros(
    say: Say,
    settings: LabSettings,
    secrets: LabSecrets,
    tower: SimulatedTower,
    subscribers: list[LabSubscriber],
) -> None:
    console, agent, nas = tower.console, tower.agent, tower.nas
    password, community, radius = (secrets.file(name) for name in ("password", "community", "radius"))
    say(f"RouterOS-like tower {tower.name} ({settings.version}):")
    say(f"  SSH   {console.host}:{console.port}, user {console.username}, password in {password}")
    say(f"  SNMP  {agent.host}:{agent.port}, community in {community}")
    say(f"  NAS   {nas.source_address}, CoA on port {nas.coa_port}, secret in {radius}")
    say("  Register it:")
    say("    hilltop site add Lab")
    say(
        f"    hilltop device add {tower.name} {console.host} --port {console.port} --site Lab"
        f" --driver routeros --username {console.username} --password-file {password}"
        f" --host-key {shlex.quote(console.host_key)}"
    )
    say(
        f"    hilltop nas add {tower.name} {nas.source_address} --site Lab --dynauth-port {nas.coa_port}"
        f" --secret-file {radius}"
    )
    say(
        f"    hilltop snmp add {tower.name} {agent.host} --port {agent.port} --device {tower.name}"
        f" --community-file {community}"
    )
    say("  These subscribers dial in until they are accepted; make services with their PPPoE credentials:")
    for one in subscribers:
        file = secrets.directory / f"lab-pppoe-{one.username}"
        write_secret(file, one.password)
        say(f"    {one.username}, password in {shlex.quote(str(file))}")


async def _build_linux(
    say: Say, stack: AsyncExitStack, secrets: LabSecrets, ruleset: Callable[[LinuxTower], str] | None
) -> None:
    reason = LinuxTower.can_build()
    if reason is not None:
        say(f"No Linux tower: {reason}")
        return
    tower = LinuxTower("lab-linux", snmp_community=secrets.community)
    try:
        await tower.start()
    except CommandFailed as trouble:
        say(f"No Linux tower: {trouble}")
        return
    stack.push_async_callback(tower.stop)
    if ruleset is not None:
        await tower.load_ruleset(ruleset(tower))
    key = secrets.directory / "lab-linux-key"
    write_secret(key, tower.private_key)
    _tell_linux(say, secrets, tower, key, loaded=ruleset is not None)


def _tell_linux(say: Say, secrets: LabSecrets, tower: LinuxTower, key: Path, *, loaded: bool) -> None:
    quoted = shlex.quote(str(key))
    say(f"Linux tower {tower.name}: OpenSSH, nftables and net-snmp in namespaces of this machine:")
    say(f"  SSH   ssh -i {quoted} {tower.username}@{tower.tower_address}")
    say(f"  SNMP  {tower.tower_address}, community in {secrets.file('community')}")
    for one in tower.subscribers:
        say(f"  Subscriber {one.address} behind interface {one.interface}; try it from his side:")
        say(
            f"    ip netns exec {one.namespace} curl -m 2 {tower.url_of('internet')} {tower.url_of('portal')}"
        )
    if not loaded:
        say("  No ruleset is loaded yet.")
        say(f"  Its uplink is {tower.uplink_interface}, the portal is at {tower.portal_address}.")
    say("  Register it:")
    say(
        f"    hilltop device add {tower.name} {tower.tower_address} --site Lab --driver linux_nftables"
        f" --username {tower.username} --key-file {quoted} --host-key {shlex.quote(tower.host_key)}"
    )


async def _keep_dialled(
    say: Say, settings: LabSettings, tower: SimulatedTower, subscriber: LabSubscriber, stop: asyncio.Event
) -> None:
    """Dial until accepted, and again when hung up; say it when the answer changes."""
    told = ""
    while not stop.is_set():
        if not any(line.session.username == subscriber.username for line in tower.lines):
            answer = await _dial(tower, subscriber)
            if answer != told:
                say(answer)
                told = answer
        try:
            await asyncio.wait_for(stop.wait(), settings.redial_s)
        except TimeoutError:
            continue


async def _dial(tower: SimulatedTower, subscriber: LabSubscriber) -> str:
    demand = Demand(subscriber.down_bps, subscriber.up_bps)
    line = await tower.dial(
        subscriber.username, subscriber.password, "mschapv2", mac=subscriber.mac, demand=demand
    )
    if isinstance(line, RejectedDial):
        return f"{subscriber.username}: {'rejected' if line.answered else 'no answer'}: {line.message}"
    rate = line.session.rate_limit or "unlimited"
    return f"{subscriber.username}: online at {line.session.framed_ip}, rate {rate}"
