"""Commands for the network: sites, devices, NASes, profiles, discovery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select

from aaa.domain.checks import DIALECTS
from aaa.domain.identity import MAC_FORMATS
from aaa.domain.mac_convention import MAC_PRESETS
from aaa.set_up import change_nas, register_nas, retire_old_secret, rotate_secret
from appliance.commands.nas_sheet import nas_list, nas_show
from appliance.commands.running import (
    actor,
    fail,
    in_house,
    in_transaction,
    one_from_stdin,
    outcome_or_fail,
    read_secret,
    say,
    show,
    span,
)
from appliance.lookup import find
from appliance.wiring import House
from provisioning.set_up import change_device, register_device, register_site, set_known_outage
from provisioning.store import tables as provisioning

SecretFile = Annotated[
    Path | None, typer.Option(help="File with the secret (-: standard input); else typed unseen.")
]
NewSecretFile = Annotated[Path | None, typer.Option(help="File with the new secret (-: standard input).")]
MacPresetName = Annotated[
    str | None, typer.Option(help=f"How a kind of device sends MAC logins: {', '.join(MAC_PRESETS)}.")
]
Identity = Annotated[
    str, typer.Option(help="What says who signs in: user_name, circuit (option 82) or port (NAS-Port-Id).")
]
NewIdentity = Annotated[
    str | None, typer.Option(help="user_name, circuit (option 82) or port (NAS-Port-Id).")
]
MacSpelling = Annotated[
    str | None, typer.Option(help=f"How it spells MAC logins: {', '.join(MAC_FORMATS)} or none.")
]
MacCase = Annotated[str | None, typer.Option(help="Case of MAC logins: any, upper or lower.")]
MacSends = Annotated[
    str | None, typer.Option(help="The password of MAC logins: empty, mac (again), either, shared or any.")
]
MacPasswordFile = Annotated[
    Path | None, typer.Option(help="File with the password that its MAC logins share (-: standard input).")
]
_DIALECTS = ", ".join(DIALECTS)
_RADSEC = "A name in its RadSec certificate, or sha256: and the certificate's fingerprint."

sites = typer.Typer(help="Towers and other places with radios.", no_args_is_help=True)
devices = typer.Typer(help="Devices on which entitlements are enforced.", no_args_is_help=True)
nases = typer.Typer(help="Network access servers that send RADIUS.", no_args_is_help=True)


@sites.command("add")
def site_add(
    name: str,
    latitude: Annotated[float | None, typer.Option(help="Degrees, north is positive.")] = None,
    longitude: Annotated[float | None, typer.Option(help="Degrees, east is positive.")] = None,
) -> None:
    """Register a tower or another place."""

    site_id = in_transaction(
        lambda work, _: register_site(work, name=name, latitude=latitude, longitude=longitude)
    )
    say(f"site {name}: {site_id}")


@sites.command("outage")
def site_outage(
    name: str, over: Annotated[bool, typer.Option("--over", help="The outage is over.")] = False
) -> None:
    """Declare a known outage: nobody on this site is suspended meanwhile."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            site_id = await find(work.connection, "site", name)
            outcome_or_fail(await set_known_outage(work, site_id, not over))
        say(f"site {name}: {'outage over' if over else 'known outage'}")

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
    port: Annotated[int, typer.Option(help="SSH port.")] = 22,
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
    one_from_stdin(password_file, key_file)
    private_key = None if key_file is None else read_secret("private key", key_file, lines=True)
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
        say(f"device {name}: {device_id}")

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
            ["name", "driver", "address", "enabled", "last contact", "id"],
            [[r.name, r.driver, f"{r.address}:{r.port}", r.enabled, r.last_contact_at, r.id] for r in rows],
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


def _macs_given(
    preset: str | None, spelling: str | None, case: str | None, sends: str | None, password_file: Path | None
) -> dict[str, Any]:
    """What was said of MAC logins, and nothing else."""
    shared = None if password_file is None else read_secret("password of MAC logins", password_file)
    given = {
        "mac_preset": preset, "mac_format": spelling, "mac_case": case,
        "mac_password": sends or (None if shared is None else "shared"), "mac_shared_password": shared,
    }  # fmt: skip
    return {field: value for field, value in given.items() if value is not None}


@nases.command("add")
def nas_add(
    name: str,
    network: Annotated[str, typer.Argument(help="Address or prefix it sends from.")],
    secret_file: SecretFile = None,
    dialect: Annotated[str, typer.Option(help=_DIALECTS)] = "mikrotik",
    site: Annotated[str | None, typer.Option(help="Site name or id.")] = None,
    identifier: Annotated[str | None, typer.Option(help="Its NAS-Identifier.")] = None,
    message_authenticator: Annotated[str, typer.Option(help="require, auto or off")] = "auto",
    identity: Identity = "user_name",
    mac_preset: MacPresetName = None,
    mac_format: MacSpelling = None,
    mac_case: MacCase = None,
    mac_sends: MacSends = None,
    mac_password_file: MacPasswordFile = None,
    octets_reversed: Annotated[
        bool, typer.Option(help="It counts input and output the other way round.")
    ] = False,
    admin_logins: Annotated[bool, typer.Option(help="Operators may sign in to the device itself.")] = False,
    dynauth_port: Annotated[int, typer.Option(help="Port for CoA and Disconnect.")] = 3799,
    radsec_identity: Annotated[str | None, typer.Option(help=_RADSEC)] = None,
) -> None:
    """Register a NAS; its secret is sealed. MAC logins are let in only as said here."""
    one_from_stdin(secret_file, mac_password_file)
    secret = read_secret("RADIUS secret", secret_file)
    macs = _macs_given(mac_preset, mac_format, mac_case, mac_sends, mac_password_file)

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
                    identity=identity,
                    **macs,
                    identifier=identifier,
                    site_id=None if site is None else await find(work.connection, "site", site),
                    octets_reversed=octets_reversed,
                    admin_logins=admin_logins,
                    dynauth_port=dynauth_port,
                    radsec_identity=radsec_identity,
                )
            )
        say(f"NAS {name}: {nas_id}")

    in_house(body)


nases.command("list")(nas_list)
nases.command("show")(nas_show)


@nases.command("rotate-secret")
def nas_rotate_secret(
    nas: Annotated[str, typer.Argument(help="NAS name or id.")],
    keep_old: Annotated[str, typer.Option(help="How long the old one counts: 30m, 24h, 7d.")] = "24h",
    secret_file: NewSecretFile = None,
    retire: Annotated[bool, typer.Option("--retire-old", help="End the old secret now.")] = False,
) -> None:
    """Make a new secret and print it; until the NAS has it, the old one goes on working."""
    kept = span("--keep-old", keep_old)
    given = None if secret_file is None else read_secret("RADIUS secret", secret_file)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            nas_id = await find(work.connection, "nas", nas)
            if retire:
                outcome_or_fail(await retire_old_secret(work, nas_id))
                return
            made = outcome_or_fail(
                await rotate_secret(work, house.sealer, nas_id, secret=given, keep_old=kept)
            )
        if given is None:
            typer.echo(made.reveal())
        say(f"NAS {nas}: enter the new secret into it; the old one counts for {keep_old} more")

    in_house(body)


@nases.command("change")
def nas_change(
    nas: Annotated[str, typer.Argument(help="NAS name or id.")],
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    network: Annotated[str | None, typer.Option(help="Address or prefix it sends from.")] = None,
    secret_file: NewSecretFile = None,
    dialect: Annotated[str | None, typer.Option(help=_DIALECTS)] = None,
    site: Annotated[str | None, typer.Option(help="Site name or id.")] = None,
    identifier: Annotated[str | None, typer.Option(help="Its NAS-Identifier.")] = None,
    message_authenticator: Annotated[str | None, typer.Option(help="require, auto or off")] = None,
    identity: NewIdentity = None,
    mac_preset: MacPresetName = None,
    mac_format: MacSpelling = None,
    mac_case: MacCase = None,
    mac_sends: MacSends = None,
    mac_password_file: MacPasswordFile = None,
    octets_reversed: Annotated[
        bool | None,
        typer.Option("--octets-reversed/--octets-straight", help="How it counts input and output."),
    ] = None,
    admin_logins: Annotated[
        bool | None, typer.Option(help="Whether operators may sign in to the device itself.")
    ] = None,
    dynauth_port: Annotated[int | None, typer.Option(help="Port for CoA and Disconnect.")] = None,
    radsec_identity: Annotated[str | None, typer.Option(help=f"{_RADSEC} '' for none.")] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Answer it, or leave it in silence.")
    ] = None,
) -> None:
    """Change what is said of a NAS; the server follows within a second."""
    given: dict[str, Any] = {
        "name": name, "network": network, "dialect": dialect, "identifier": identifier,
        "message_authenticator": message_authenticator, "octets_reversed": octets_reversed,
        "dynauth_port": dynauth_port, "enabled": enabled, "identity": identity,
        "admin_logins": admin_logins,
        "radsec_identity": radsec_identity,
        "secret": None if secret_file is None else read_secret("RADIUS secret", secret_file),
    }  # fmt: skip
    given |= _macs_given(mac_preset, mac_format, mac_case, mac_sends, mac_password_file)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            fields = _only_given(given)
            if site is not None:
                fields["site_id"] = await find(work.connection, "site", site)
            nas_id = await find(work.connection, "nas", nas)
            outcome_or_fail(await change_nas(work, house.sealer, nas_id, **_something(fields)))
        say(f"NAS {nas}: changed {', '.join(sorted(fields))}")

    in_house(body)


@devices.command("change")
def device_change(
    device: Annotated[str, typer.Argument(help="Device name or id.")],
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    address: Annotated[str | None, typer.Option(help="Address or host name.")] = None,
    port: Annotated[int | None, typer.Option(help="SSH port.")] = None,
    site: Annotated[str | None, typer.Option(help="Site name or id.")] = None,
    driver: Annotated[str | None, typer.Option(help="routeros or linux_nftables")] = None,
    username: Annotated[str | None, typer.Option(help="Login on the device.")] = None,
    password_file: NewSecretFile = None,
    key_file: Annotated[Path | None, typer.Option(help="File with the new private key.")] = None,
    host_key: Annotated[str | None, typer.Option(help="Pinned host key (TYPE BASE64).")] = None,
    replaced: Annotated[
        bool, typer.Option("--replaced", help="It was replaced: forget its host key, pin the next one.")
    ] = False,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Work on it, or leave it alone.")
    ] = None,
) -> None:
    """Change what is said of a device; what waits for it is tried again at once."""
    if replaced and host_key is not None:
        fail("--replaced and --host-key: give one of them", 2)
    one_from_stdin(password_file, key_file)
    given: dict[str, Any] = {
        "name": name, "address": address, "port": port, "driver": driver, "username": username,
        "host_key": host_key, "enabled": enabled,
        "password": None if password_file is None else read_secret("device password", password_file),
        "private_key": None if key_file is None else read_secret("private key", key_file, lines=True),
    }  # fmt: skip

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            fields = _only_given(given) | ({"host_key": None} if replaced else {})
            if site is not None:
                fields["site_id"] = await find(work.connection, "site", site)
            device_id = await find(work.connection, "device", device)
            outcome_or_fail(await change_device(work, house.sealer, device_id, **_something(fields)))
        say(f"device {device}: changed {', '.join(sorted(fields))}")

    in_house(body)


def _only_given(fields: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in fields.items() if value is not None}


def _something(fields: dict[str, Any]) -> dict[str, Any]:
    return fields or fail("nothing is to be changed; give an option, see --help", 2)


def discover(
    interface: Annotated[list[str], typer.Option(help="Interface to look on; may be repeated.")],
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="How long to listen.")] = 5.0,
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
