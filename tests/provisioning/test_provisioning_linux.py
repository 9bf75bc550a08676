"""Linux over real OpenSSH with real nftables in the lab's namespaces: the traffic stops and returns."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Sequence

import pytest
from provisioning_world import World

from core.secrets import Secret
from lab.linux_tower import LinuxTower
from provisioning.config import ProvisioningSettings
from provisioning.domain.plan import Add, Change, OwnedEntry, Remove
from provisioning.drivers.linux_nftables import LinuxNftables, bootstrap_ruleset
from provisioning.enforce import Enforcer
from provisioning.ports import NoLiveSessions, Reply, Target, Unreadable

WHY_NOT = LinuxTower.can_build()
real = pytest.mark.skipif(WHY_NOT is not None, reason=f"no Linux tower here: {WHY_NOT}")
ANN, BOB = "100.64.213.10", "100.64.213.11"
DRIVER = LinuxNftables()
TARGET = Target("d", "bng", "linux_nftables", "h", 22, "root", None, None, None)
USER = Target("d", "bng", "linux_nftables", "h", 22, "hilltop", None, None, None)


@pytest.fixture
async def tower() -> AsyncIterator[LinuxTower]:
    one = LinuxTower(subscriber_addresses=(ANN, BOB))
    await one.start()
    yield one
    await one.stop()


WITHOUT_SUDO = WHY_NOT or LinuxTower.can_build("sudo", "conntrack")
with_sudo = pytest.mark.skipif(WITHOUT_SUDO is not None, reason=f"no such tower here: {WITHOUT_SUDO}")


@pytest.fixture
async def sudo_tower() -> AsyncIterator[LinuxTower]:
    """Logged in to as a user without rights of his own."""
    one = LinuxTower(subscriber_addresses=(ANN, BOB), username="hilltop")
    await one.start()
    yield one
    await one.stop()


async def at(world: World, tower: LinuxTower, **fields: object) -> str:
    return await world.add_device(
        "bng", driver="linux_nftables", address=tower.tower_address, username=tower.username, password=None,
        private_key=Secret(tower.private_key), **fields,
    )  # fmt: skip


def enforcer_of(world: World) -> Enforcer:
    return Enforcer(
        world.workplace, world.sealer, NoLiveSessions(), ProvisioningSettings(command_timeout_s=8), "w1",
        chance=lambda: 0.0,
    )  # fmt: skip


async def verified(world: World, service_id: str) -> None:
    task = (await world.tasks(service_id))[-1]
    assert task.status == "verified", task.last_error


@real
@pytest.mark.namespaces
async def test_the_traffic_really_stops_and_returns(world: World, tower: LinuxTower) -> None:
    """Established flows stop too, IPv6 as well, the portal stays in reach, the neighbour is not hit."""
    await tower.load_ruleset(bootstrap_ruleset([tower.portal_address], tower.uplink_interface))
    device_id = await at(world, tower, host_key=tower.host_key)
    service_id = await world.enforced_service("ann", ANN, device_id)
    await world.online(service_id, tower.subscribers[0].address6)
    assert await tower.subscriber_reaches("internet")
    await tower.hold_flow()
    assert await tower.flow_moves()
    enforcer = enforcer_of(world)
    await world.suspend(service_id)
    await enforcer.run_due()
    await verified(world, service_id)
    assert not await tower.subscriber_reaches("internet", timeout_s=1)
    assert not await tower.subscriber_reaches("internet6", timeout_s=1)
    assert not await tower.flow_moves()
    assert await tower.subscriber_reaches("portal")
    assert await tower.subscriber_reaches("internet", subscriber=1)
    await world.restore(service_id)
    await enforcer.run_due()
    await verified(world, service_id)
    assert await tower.subscriber_reaches("internet")
    assert await tower.subscriber_reaches("internet6")
    enforcer.close()


@real
@pytest.mark.namespaces
async def test_elements_of_others_are_never_touched_and_the_ruleset_can_be_loaded_again(
    world: World, tower: LinuxTower
) -> None:
    rules = bootstrap_ruleset([tower.portal_address], tower.uplink_interface)
    await tower.load_ruleset(rules)
    await tower.on_tower(
        "nft", 'add element inet hilltop suspended4 { 192.0.2.50 comment "by hand", 192.0.2.51 }'
    )
    await tower.on_tower(
        "nft", 'add element inet hilltop suspended4 { 192.0.2.52 comment "hilltop:svc_gone" }'
    )
    device_id = await at(world, tower)
    service_id = await world.enforced_service("ann", ANN, device_id)
    enforcer = enforcer_of(world)
    await world.suspend(service_id)
    await enforcer.run_due()
    await verified(world, service_id)
    assert await enforcer.check_drift() == 1
    await tower.load_ruleset(rules)
    listed = await tower.on_tower("nft", "-j", "list", "set", "inet", "hilltop", "suspended4")
    seen = DRIVER.parse_observation(TARGET, [Reply(listed, 0), Reply(_listing("suspended6", []), 0)])
    assert seen.owned == {OwnedEntry(service_id, ANN)}
    assert seen.foreign == {"192.0.2.50", "192.0.2.51"}
    assert (await world.device(device_id)).host_key == tower.host_key
    enforcer.close()


@real
@pytest.mark.namespaces
async def test_without_the_bootstrap_ruleset_the_issue_says_so(world: World, tower: LinuxTower) -> None:
    device_id = await at(world, tower)
    service_id = await world.enforced_service("ann", ANN, device_id)
    await world.suspend(service_id)
    enforcer = enforcer_of(world)
    await enforcer.run_due()
    enforcer.close()
    issue = (await world.open_issues())[f"provisioning.device:{device_id}"]
    assert "was the bootstrap ruleset loaded?" in issue.title


@real
@pytest.mark.namespaces
async def test_another_host_key_is_refused(world: World, tower: LinuxTower) -> None:
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3nVSiYLDMvL1cVPCPKTD4KQGQhH9WlEVVXGD4wWpLk"
    device_id = await at(world, tower, host_key=other)
    service_id = await world.enforced_service("ann", ANN, device_id)
    await world.suspend(service_id)
    enforcer = enforcer_of(world)
    await enforcer.run_due()
    enforcer.close()
    assert "host key differs" in (await world.open_issues())[f"provisioning.device:{device_id}"].title


ACCEPTS_ESTABLISHED_FIRST = """
table inet operator {
    chain forward {
        type filter hook forward priority -100; policy accept;
        ct state established,related accept
    }
}
"""


async def _tracked(tower: LinuxTower, address: str) -> list[str]:
    """The tower's own list of connections from that address."""
    family = ("-f", "ipv6") if ":" in address else ()
    return (await tower.on_tower("conntrack", "-L", *family, "-s", address)).splitlines()


@with_sudo
@pytest.mark.namespaces
async def test_a_login_with_sudo_cuts_established_flows_though_others_accept_them_first(
    world: World, sudo_tower: LinuxTower
) -> None:
    """An accept ends only its own chain, so ours still sees the packet; and conntrack has forgotten the flow."""
    await sudo_tower.load_ruleset(bootstrap_ruleset([sudo_tower.portal_address], sudo_tower.uplink_interface))
    await sudo_tower.load_ruleset(ACCEPTS_ESTABLISHED_FIRST)
    device_id = await at(world, sudo_tower, host_key=sudo_tower.host_key)
    service_id = await world.enforced_service("ann", ANN, device_id)
    address6 = sudo_tower.subscribers[0].address6
    await world.online(service_id, address6)
    for subscriber in (0, 1):
        await sudo_tower.hold_flow(subscriber=subscriber)
        assert await sudo_tower.flow_moves(subscriber=subscriber)
    assert await sudo_tower.subscriber_reaches("internet6")
    assert await _tracked(sudo_tower, ANN)
    assert await _tracked(sudo_tower, address6)
    enforcer = enforcer_of(world)
    await world.suspend(service_id)
    await enforcer.run_due()
    await verified(world, service_id)
    assert not await sudo_tower.flow_moves()
    assert await sudo_tower.flow_moves(subscriber=1)
    assert [line for line in await _tracked(sudo_tower, ANN) if "ASSURED" in line] == []
    assert await _tracked(sudo_tower, address6) == []
    assert not await sudo_tower.subscriber_reaches("internet", timeout_s=1)
    assert not await sudo_tower.subscriber_reaches("internet6", timeout_s=1)
    assert await sudo_tower.subscriber_reaches("portal")
    await world.restore(service_id)
    await enforcer.run_due()
    await verified(world, service_id)
    enforcer.close()
    assert await sudo_tower.subscriber_reaches("internet")
    assert await sudo_tower.subscriber_reaches("internet6")


@with_sudo
@pytest.mark.namespaces
async def test_a_login_that_may_not_use_sudo_is_told_so(world: World, sudo_tower: LinuxTower) -> None:
    await sudo_tower.load_ruleset(bootstrap_ruleset([sudo_tower.portal_address], sudo_tower.uplink_interface))
    device_id = await at(world, sudo_tower, options={"sudo": False})
    await world.suspend(await world.enforced_service("ann", ANN, device_id))
    enforcer = enforcer_of(world)
    await enforcer.run_due()
    enforcer.close()
    issue = (await world.open_issues())[f"provisioning.device:{device_id}"]
    assert "Operation not permitted" in issue.title
    assert "right to write" in issue.remedy


@pytest.mark.skipif(WHY_NOT is not None, reason=f"nft cannot check rules here: {WHY_NOT}")
@pytest.mark.parametrize(
    "rules",
    [
        bootstrap_ruleset(["10.0.0.1", "2001:db8::1"], "eth0"),
        bootstrap_ruleset(["10.0.0.1"], "wan.100", dns_addresses=["9.9.9.9", "2620:fe::fe"], table="wisp"),
        bootstrap_ruleset([], "eth0", portal_ports=[8443]),
    ],
)
def test_nft_itself_accepts_the_bootstrap(rules: str) -> None:
    checked = subprocess.run(
        ["unshare", "-n", "nft", "-c", "-f", "-"], input=rules, text=True, capture_output=True
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("portal", "uplink", "ports"),
    [
        (["portal.example.com"], "eth0", [80]),
        (["10.0.0.1"], 'eth0"; drop', [80]),
        (["10.0.0.1"], "eth0", [0]),
    ],
)
def test_bootstrap_refuses_what_nft_would_misread(portal: list[str], uplink: str, ports: list[int]) -> None:
    with pytest.raises(ValueError):
        bootstrap_ruleset(portal, uplink, portal_ports=ports)


# --- the driver's words, without a device


def _listing(name: str, elements: Sequence[object]) -> str:
    """As nft 1.0.6 prints it."""
    body: dict[str, object] = {
        "family": "inet",
        "name": name,
        "table": "hilltop",
        "type": "ipv4_addr",
        "handle": 1,
    }
    if elements:
        body["elem"] = list(elements)
    head = {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}}
    return json.dumps({"nftables": [head, {"set": body}]})


def test_all_forms_of_elements_are_read() -> None:
    four = [
        "192.0.2.1",
        {"elem": {"val": "100.64.1.7", "comment": "hilltop:svc_1"}},
        {"elem": {"val": "100.64.1.8", "comment": "hilltop:svc_2 "}},
        {"elem": {"val": {"prefix": {"addr": "100.64.9.0", "len": 24}}, "comment": "hilltop:svc_3"}},
        {"range": ["10.0.0.1", "10.0.0.9"]},
        {"elem": {"val": "100.64.1.9", "timeout": 60, "expires": 5}},
    ]
    six = [{"elem": {"val": "2001:db8::7", "comment": "hilltop:svc_1"}}]
    seen = DRIVER.parse_observation(
        TARGET,
        [Reply("motd\n" + _listing("suspended4", four) + "\n", 0), Reply(_listing("suspended6", six), 0)],
    )
    assert seen.owned == {
        OwnedEntry("svc_1", "100.64.1.7"), OwnedEntry("svc_3", "100.64.9.0/24"),
        OwnedEntry("svc_1", "2001:db8::7"),
    }  # fmt: skip
    assert seen.foreign == {"192.0.2.1", "100.64.1.8", "100.64.1.9"}


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Error: No such file or directory", 1),
        ("sudo: a password is required", 1),
        ("-sh: nft: command not found", 127),
        ('{"nftables": [{"set": {"name": "suspended4", "el', 0),
        ('{"nftables": []}', 0),
        (_listing("another", []), 0),
        ("", 0),
    ],
)
def test_what_is_no_listing_is_never_taken_for_an_empty_one(text: str, status: int) -> None:
    with pytest.raises(Unreadable):
        DRIVER.parse_observation(TARGET, [Reply(text, status), Reply(text, status)])


def test_changes_of_one_service_are_one_transaction() -> None:
    changes: list[Change] = [
        Remove("svc_1", "100.64.1.7"),
        Add("svc_1", "100.64.1.8"),
        Add("svc_2", "2001:db8::7"),
    ]
    commands = DRIVER.change_commands(USER, changes)
    assert [c.service_id for c in commands] == ["svc_1", "svc_1", "svc_2", "svc_2"]
    assert commands[0].text == (
        "sudo -n nft 'delete element inet hilltop suspended4 { 100.64.1.7 }; "
        'add element inet hilltop suspended4 { 100.64.1.8 comment "hilltop:svc_1" }\''
    )
    assert "suspended6 { 2001:db8::7 comment" in commands[2].text
    assert "conntrack -D -f ipv6 -d 2001:db8::7" in commands[3].text
    assert "sudo" not in DRIVER.change_commands(TARGET, changes)[0].text


@pytest.mark.parametrize("address", ["example.com", "$(reboot)", "100.64.1.7 }; flush ruleset; #"])
def test_what_is_no_address_is_never_sent(address: str) -> None:
    with pytest.raises(ValueError):
        DRIVER.change_commands(TARGET, [Add("svc_1", address)])


def test_exit_status_speaks() -> None:
    assert DRIVER.complaint(Reply("Error: Could not process rule: Operation not permitted", 1)) == (
        "Error: Could not process rule: Operation not permitted"
    )
    assert DRIVER.complaint(Reply("strange words", 3)) == "exit status 3: strange words"
    assert DRIVER.complaint(Reply("Error: in a comment", 0)) is None
