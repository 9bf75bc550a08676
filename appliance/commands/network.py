"""Commands for the network: sites, devices, NASes, profiles, SNMP, RADIUS, enforcement, discovery."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from aaa.domain.effect import Effect
from aaa.place_hold import lift_hold, place_hold
from aaa.set_up import define_profile, register_nas
from aaa.store import tables as aaa
from appliance.commands.running import (
    actor,
    console,
    fail,
    in_house,
    outcome_or_fail,
    read_secret,
    show,
)
from appliance.lookup import find
from appliance.wiring import House
from core.quantities import format_rate
from provisioning.set_up import register_device, register_site, set_known_outage
from provisioning.store import tables as provisioning
from snmp.store import tables as snmp_tables

SecretFile = Annotated[
    Path | None, typer.Option(help="File with the secret (-: standard input); else typed unseen.")
]

sites = typer.Typer(help="Towers and other places with radios.", no_args_is_help=True)
devices = typer.Typer(help="Devices on which entitlements are enforced.", no_args_is_help=True)
nases = typer.Typer(help="Network access servers that send RADIUS.", no_args_is_help=True)
profiles = typer.Typer(help="Service profiles: the technical half of a plan.", no_args_is_help=True)
snmp = typer.Typer(help="SNMP targets and whose counters they hold.", no_args_is_help=True)
radius = typer.Typer(help="RADIUS: explain, test, status.", no_args_is_help=True)
holds = typer.Typer(help="Holds on services.", no_args_is_help=True)
enforcement = typer.Typer(help="Making towers match entitlements.", no_args_is_help=True)


@sites.command("add")
def site_add(name: str, latitude: float | None = None, longitude: float | None = None) -> None:
    """Register a tower or another place."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            site_id = outcome_or_fail(
                await register_site(work, name=name, latitude=latitude, longitude=longitude)
            )
        console.print(f"site {name}: {site_id}")

    in_house(body)


@sites.command("outage")
def site_outage(name: str, over: Annotated[bool, typer.Option(help="The outage is over.")] = False) -> None:
    """Declare a known outage: nobody on this site is suspended meanwhile."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            site_id = await find(work.connection, "site", name)
            outcome_or_fail(await set_known_outage(work, site_id, not over))
        console.print(f"site {name}: {'outage over' if over else 'known outage'}")

    in_house(body)


@sites.command("list")
def site_list() -> None:
    """All sites."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(select(provisioning.site).order_by(provisioning.site.c.name))
            ).all()
        show("Sites", ["name", "known outage", "id"], [[r.name, r.known_outage, r.id] for r in rows])

    in_house(body)


@devices.command("add")
def device_add(
    name: str,
    address: str,
    site: Annotated[str, typer.Option(help="Site name or id.")],
    driver: Annotated[str, typer.Option(help="routeros or linux_nftables")],
    username: Annotated[str, typer.Option(help="Login on the device.")],
    port: int = 22,
    password_file: SecretFile = None,
    key_file: Annotated[Path | None, typer.Option(help="Private key instead of a password.")] = None,
    host_key: Annotated[
        str | None, typer.Option(help="Pinned host key (TYPE BASE64); else pinned at first contact.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Driver option, name=value; may be repeated.")
    ] = None,
) -> None:
    """Register a device; its credentials are sealed."""
    private_key = None if key_file is None else read_secret("private key", key_file)
    password = None if key_file is not None else read_secret("device password", password_file)
    options = dict(_option(one) for one in option or [])

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            device_id = outcome_or_fail(
                await register_device(
                    work,
                    house.sealer,
                    site_id=await find(work.connection, "site", site),
                    name=name,
                    driver=driver,
                    address=address,
                    port=port,
                    username=username,
                    password=password,
                    private_key=private_key,
                    host_key=host_key,
                    options=options,
                )
            )
        console.print(f"device {name}: {device_id}")

    in_house(body)


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        fail(f"--option {text!r}: write it name=value", 2)
    return name, value


@devices.command("list")
def device_list() -> None:
    """All devices."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(select(provisioning.device).order_by(provisioning.device.c.name))
            ).all()
        show(
            "Devices",
            ["name", "driver", "address", "last contact", "id"],
            [[r.name, r.driver, f"{r.address}:{r.port}", r.last_contact_at, r.id] for r in rows],
        )

    in_house(body)


@devices.command("bootstrap")
def device_bootstrap(
    portal: Annotated[list[str], typer.Option(help="Address of the portal; may be repeated.")],
    uplink: Annotated[str, typer.Option(help="The router's interface to the internet.")],
) -> None:
    """Print the nftables ruleset that a Linux tower router loads once (nft -f)."""
    from provisioning.drivers.linux_nftables import bootstrap_ruleset

    try:
        typer.echo(bootstrap_ruleset(portal, uplink))
    except ValueError as trouble:
        fail(str(trouble), 2)


@nases.command("add")
def nas_add(
    name: str,
    network: Annotated[str, typer.Argument(help="Address or prefix it sends from.")],
    secret_file: SecretFile = None,
    dialect: Annotated[str, typer.Option(help="mikrotik, wispr or generic")] = "mikrotik",
    site: Annotated[str | None, typer.Option(help="Site name or id.")] = None,
    identifier: Annotated[str | None, typer.Option(help="Its NAS-Identifier.")] = None,
    message_authenticator: Annotated[str, typer.Option(help="require, auto or off")] = "auto",
    mac_format: Annotated[str, typer.Option(help="How it spells MAC logins.")] = "mikrotik",
    octets_reversed: Annotated[
        bool, typer.Option(help="It counts input and output the other way round.")
    ] = False,
    dynauth_port: Annotated[int, typer.Option(help="Port for CoA and Disconnect.")] = 3799,
) -> None:
    """Register a NAS; its secret is sealed."""
    secret = read_secret("RADIUS secret", secret_file)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            nas_id = outcome_or_fail(
                await register_nas(
                    work,
                    house.sealer,
                    name=name,
                    network=network,
                    secret=secret,
                    dialect=dialect,
                    message_authenticator=message_authenticator,
                    mac_format=mac_format,
                    identifier=identifier,
                    site_id=None if site is None else await find(work.connection, "site", site),
                    octets_reversed=octets_reversed,
                    dynauth_port=dynauth_port,
                )
            )
        console.print(f"NAS {name}: {nas_id}")

    in_house(body)


@nases.command("list")
def nas_list() -> None:
    """All NASes."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (await connection.execute(select(aaa.nas).order_by(aaa.nas.c.name))).all()
        show(
            "NASes",
            ["name", "network", "dialect", "signs requests", "CoA port", "enabled", "id"],
            [[r.name, r.network, r.dialect, r.signs_requests, r.dynauth_port, r.enabled, r.id] for r in rows],
        )

    in_house(body)


@profiles.command("add")
def profile_add(
    name: str,
    down: Annotated[int, typer.Option(help="Download rate in bit/s.")],
    up: Annotated[int, typer.Option(help="Upload rate in bit/s.")],
    burst_down: Annotated[int | None, typer.Option(help="Burst download rate in bit/s.")] = None,
    burst_up: Annotated[int | None, typer.Option(help="Burst upload rate in bit/s.")] = None,
    burst_seconds: int | None = None,
    pool: Annotated[str | None, typer.Option(help="Address pool on the NAS (Framed-Pool).")] = None,
    interim: Annotated[int, typer.Option(help="Interim interval in seconds.")] = 300,
) -> None:
    """Define a service profile."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            profile_id = outcome_or_fail(
                await define_profile(
                    work,
                    name=name,
                    rate_down_bps=down,
                    rate_up_bps=up,
                    burst_down_bps=burst_down,
                    burst_up_bps=burst_up,
                    burst_seconds=burst_seconds,
                    pool=pool,
                    interim_interval_s=interim,
                )
            )
        console.print(f"profile {name} ({format_rate(down)} down, {format_rate(up)} up): {profile_id}")

    in_house(body)


@snmp.command("add")
def snmp_add(
    name: str,
    address: str,
    port: int = 161,
    version: Annotated[str, typer.Option(help="2c or 3")] = "2c",
    username: Annotated[str | None, typer.Option(help="Version 3 user.")] = None,
    community_file: SecretFile = None,
    auth_file: SecretFile = None,
    privacy_file: SecretFile = None,
    poll_interval: Annotated[int, typer.Option(help="Seconds between polls.")] = 300,
    device: Annotated[str | None, typer.Option(help="The device it is, when it is one.")] = None,
) -> None:
    """Register an SNMP agent to poll; its credentials are sealed."""
    from snmp.set_up import register_target

    community = read_secret("community", community_file) if version == "2c" else None
    auth = None if auth_file is None else read_secret("authentication key", auth_file)
    privacy = None if privacy_file is None else read_secret("privacy key", privacy_file)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            target_id = outcome_or_fail(
                await register_target(
                    work,
                    house.sealer,
                    name=name,
                    address=address,
                    port=port,
                    version=version,
                    community=community,
                    username=username,
                    auth=auth,
                    privacy=privacy,
                    device_id=None if device is None else await find(work.connection, "device", device),
                    poll_interval_s=poll_interval,
                )
            )
        console.print(f"SNMP target {name}: {target_id}")

    in_house(body)


@snmp.command("bind")
def snmp_bind(
    target: str,
    interface: Annotated[
        str, typer.Argument(help="ifName of the counters, for example eth1 or <pppoe-fir>.")
    ],
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")],
    reversed_: Annotated[bool, typer.Option("--reversed", help="The device's 'in' is the download.")] = False,
    check_only: Annotated[bool, typer.Option(help="Cross-check RADIUS; do not bill from it.")] = False,
    rate_cap: Annotated[int | None, typer.Option(help="bit/s above which a delta is quarantined.")] = None,
) -> None:
    """Say whose the counters of an interface are."""
    from snmp.set_up import bind

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(
                await bind(
                    work,
                    target_id=await find(work.connection, "target", target),
                    if_name=interface,
                    service_id=await find(work.connection, "service", service),
                    reversed=reversed_,
                    bills=not check_only,
                    rate_cap_bps=rate_cap,
                )
            )
        console.print(f"{target} {interface} belongs to {service}")

    in_house(body)


@snmp.command("list")
def snmp_list() -> None:
    """All targets and when they last answered."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (await connection.execute(select(snmp_tables.target))).all()
        show(
            "SNMP targets",
            ["name", "address", "version", "last answer", "last error"],
            [[r.name, f"{r.address}:{r.port}", r.version, r.last_answer_at, r.last_error] for r in rows],
        )

    in_house(body)


@holds.command("place")
def hold_place(
    service: str,
    reason: str,
    effect: Annotated[str, typer.Option(help="throttle, walled_garden or block")] = "walled_garden",
    holder: Annotated[str, typer.Option(help="operator, contract, quota or abuse")] = "operator",
) -> None:
    """Place a hold on a service."""
    if effect not in set(Effect) or holder == "dunning":
        fail("effect is throttle, walled_garden or block; dunning places its own holds", 2)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            service_id = await find(work.connection, "service", service)
            generation = outcome_or_fail(
                await place_hold(
                    work, service_id=service_id, holder=holder, effect=Effect(effect), reason=reason
                )
            )
        console.print(f"{service}: hold of {holder} ({effect}), entitlement generation {generation}")

    in_house(body)


@holds.command("lift")
def hold_lift(service: str, holder: str = "operator", reason: str = "") -> None:
    """Lift a holder's hold from a service."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            service_id = await find(work.connection, "service", service)
            generation = outcome_or_fail(
                await lift_hold(work, service_id=service_id, holder=holder, reason=reason)
            )
        console.print(f"{service}: hold of {holder} lifted, entitlement generation {generation}")

    in_house(body)


@enforcement.command("list")
def enforcement_list(limit: int = 30) -> None:
    """Enforcement tasks, newest first."""

    async def body(house: House) -> None:
        task = provisioning.task
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(select(task).order_by(task.c.created_at.desc()).limit(limit))
            ).all()
        show(
            "Enforcement tasks",
            ["created", "service", "effect", "generation", "status", "attempts", "verified", "last error"],
            [
                [
                    f"{r.created_at:%m-%d %H:%M:%S}",
                    r.service_id,
                    r.effect,
                    r.generation,
                    r.status,
                    r.attempts,
                    r.verified_at,
                    r.last_error,
                ]
                for r in rows
            ],
        )

    in_house(body)


@enforcement.command("preview")
def enforcement_preview(
    service: str,
    effect: Annotated[str, typer.Option(help="none, throttle, walled_garden, block")] = "walled_garden",
) -> None:
    """The exact device commands that an effect would need; no device is touched."""
    from provisioning.preview import preview_enforcement

    if effect not in set(Effect):
        fail(f"--effect {effect!r}: use one of {', '.join(Effect)}", 2)

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            service_id = await find(connection, "service", service)
            for change in await preview_enforcement(connection, [service_id], Effect(effect)):
                console.print(f"{change.device_name}:", style="bold")
                for line in change.commands:
                    console.print(f"  {line}", markup=False)

    in_house(body)


@enforcement.command("approve")
def enforcement_approve(site: str) -> None:
    """Let tasks go that the blast-radius guard parked on a site."""
    from provisioning.set_up import approve_parked

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            count = await approve_parked(work, await find(work.connection, "site", site))
        console.print(f"{count} tasks approved on {site}")

    in_house(body)


@enforcement.command("drift")
def enforcement_drift() -> None:
    """Read every device back now and repair what differs."""
    from appliance.roles import make_enforcer

    async def body(house: House) -> None:
        console.print(f"{await make_enforcer(house, 'cli').check_drift()} differences found")

    in_house(body)


@radius.command("explain")
def radius_explain(
    username: str,
    nas: Annotated[str | None, typer.Option(help="As seen from this NAS.")] = None,
    output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Why USER is accepted, walled or rejected, and with which attributes."""
    from radius.explain import explain, format_explanation

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            explanation = await explain(connection, house.sealer, username, nas_name=nas)
        if output:
            typer.echo(json.dumps(asdict(explanation), indent=2, default=str))
        else:
            console.print(format_explanation(explanation), markup=False)

    in_house(body)


@radius.command("test")
def radius_test(
    server: Annotated[str, typer.Argument(help="host:port of the authentication listener.")],
    username: str,
    secret_file: SecretFile = None,
    password_file: SecretFile = None,
    method: Annotated[str, typer.Option(help="pap, chap or mschapv2")] = "pap",
) -> None:
    """Send one Access-Request as a NAS would and print the answer."""
    import asyncio

    from radius.probe import METHODS, ProbeTarget, probe

    if method not in METHODS:
        fail(f"--method {method!r}: use one of {', '.join(METHODS)}", 2)
    host, _, port = server.rpartition(":")
    if not host or not port.isdecimal():
        fail(f"{server!r} is not host:port", 2)
    secret = read_secret("RADIUS secret", secret_file)
    password = read_secret("password", password_file)
    answer = asyncio.run(probe(ProbeTarget(host, int(port), secret), username, password, method=method))
    console.print(str(answer), markup=False)
    if not answer.accepted:
        raise typer.Exit(1)


def discover(
    interface: Annotated[list[str], typer.Option(help="Interface to look on; may be repeated.")],
    seconds: Annotated[float, typer.Option(help="How long to listen.")] = 5.0,
) -> None:
    """Find MikroTik and Ubiquiti devices on the named interfaces."""
    import asyncio

    from provisioning.discovery import DiscoveryRefused
    from provisioning.discovery import discover as look

    async def body() -> list[list[str]]:
        return [
            [one, d.mac, d.ipv4 or d.ipv6, d.identity, d.platform, d.version, d.protocol]
            for one in interface
            for d in await look(one, listen_s=seconds)
        ]

    try:
        found = asyncio.run(body())
    except DiscoveryRefused as trouble:
        fail(str(trouble))
    show("Devices seen", ["on", "MAC", "address", "name", "platform", "version", "by"], found)


def attach(app: typer.Typer) -> None:
    """Put these commands on ``app``."""
    app.add_typer(sites, name="site")
    app.add_typer(devices, name="device")
    app.add_typer(nases, name="nas")
    app.add_typer(profiles, name="profile")
    app.add_typer(snmp, name="snmp")
    app.add_typer(radius, name="radius")
    app.add_typer(holds, name="hold")
    app.add_typer(enforcement, name="enforcement")
    app.command("discover")(discover)
