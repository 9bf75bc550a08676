"""Commands about the machine itself: its state in a few lines, its clock, its certificate, its console."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appliance.commands.running import actor, fail, in_house, outcome_or_fail, say, settings
from appliance.wiring import House

if TYPE_CHECKING:
    from appliance.settings import Settings
    from ui.certificates import Certificate

clock = typer.Typer(help="Whether the clock may be billed by.", no_args_is_help=True)
certificate = typer.Typer(help="The panel's TLS certificate.", no_args_is_help=True)


def console(
    network_file: Annotated[
        Path | None, typer.Option(help="What systemd-networkd reads; the menu writes it.")
    ] = None,
) -> None:
    """The menu on the appliance's screen and serial line."""
    from appliance.commands.running import config_path
    from appliance.console.menu import console as menu

    words = ["--config", str(config_path())]
    words += [] if network_file is None else ["--network-file", str(network_file)]
    raise typer.Exit(menu(words))


def status(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """This machine in a few lines: version, addresses, certificate, one-time code, clock, roles, health."""
    from appliance.machine_status import machine_status

    told = in_house(machine_status)
    if as_json:
        say(json.dumps(told, ensure_ascii=False))
        return
    for name, words in _in_lines(told):
        say(f"{name:14} {words}")


def _in_lines(told: dict[str, Any]) -> list[tuple[str, str]]:
    image, shown, code = told["image"], told["certificate"], told["code"]
    lines = [("Hilltop", told["version"])]
    lines += [("Image", f"{image['name']} {image['version']}")] if image else []
    lines += [(name, ", ".join(found)) for name, found in told["addresses"].items()]
    lines += [("Panel", url) for url in told["panel"]] or [("Panel", "no address yet")]
    lines += [("Certificate", shown)] if shown else []
    lines += [("One-time code", code if code != "valid" else told["admin_code"])]
    lines += [("Clock", f"{told['clock']['now']} UTC, {told['clock']['words']}")]
    lines += [("Roles", ", ".join(f"{role} {state}" for role, state in told["roles"].items()))]
    lines += [("Database", told["database"]), ("Health", told["health"])]
    return lines


@clock.command("status")
def clock_status() -> None:
    """What the clock says, who keeps it right, and since when it is trusted; exit 1 while billing waits."""
    from billing.clock_doubt import clock_standing

    async def body(house: House) -> bool:
        async with house.workplace.reading() as connection:
            standing = await clock_standing(connection, house.clock, house.settings.billing)
        say(f"now      {standing.now:%Y-%m-%d %H:%M:%S} UTC")
        say(f"kept     {'by a time server' if standing.synchronised else 'by no time server'}")
        trust = standing.trust
        if trust is not None:
            how = {"synchronised": "a time server had set it", "billed": "bills were run by it"}
            say(f"trusted  since {trust.at:%Y-%m-%d %H:%M} UTC: {how.get(trust.how, f'{trust.by} said so')}")
        else:
            soon = "from the next bill run" if standing.synchronised else "not yet; see: hilltop clock trust"
            say(f"trusted  {soon}")
        if standing.doubt:
            say(f"doubt    {standing.doubt}. {standing.remedy}")
        return standing.good

    if not in_house(body):
        raise typer.Exit(1)


@clock.command("trust")
def clock_trust() -> None:
    """You have looked at the clock and it is right: bills may be run by it."""
    from billing.clock_doubt import vouch_for_clock

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            outcome_or_fail(await vouch_for_clock(work, house.settings.billing))
        say(f"{work.now:%Y-%m-%d %H:%M:%S} UTC: the clock is trusted from now on")

    in_house(body)


@certificate.command("show")
def certificate_show() -> None:
    """Subject, names, expiry and fingerprint of the panel's certificate; exit 1 when it cannot be used."""
    from ui.certificates import CertificateError, read_pair

    file, key = _files(settings())
    try:
        _show(read_pair(_read(file), _read(key)))
    except CertificateError as trouble:
        fail(f"{file}: {trouble}; see: hilltop certificate renew")


def _show(shown: Certificate) -> None:
    say(f"subject      {shown.subject}{' (self-signed)' if shown.self_signed else ''}")
    say(f"names        {', '.join(shown.names) or 'none'}")
    say(f"valid        {shown.not_before:%Y-%m-%d %H:%M} to {shown.not_after:%Y-%m-%d %H:%M} UTC")
    say(f"fingerprint  SHA-256 {shown.fingerprint}")


@certificate.command("install")
def certificate_install(
    cert: Annotated[Path, typer.Option("--cert", help="Certificate and its chain, PEM.")],
    key: Annotated[Path, typer.Option("--key", help="Its private key, PEM, without a passphrase.")],
) -> None:
    """Take over a certificate; the panel shows it within seconds, without a restart."""
    from core.clock import SystemClock
    from ui.certificate_files import fault_in
    from ui.certificates import CertificateError, read_pair

    chosen = settings()
    _files(chosen)
    pem, key_pem = _read(cert), _read(key)
    try:
        shown = read_pair(pem, key_pem)
    except CertificateError as trouble:
        fail(f"refused: {trouble}")
    if fault := fault_in(pem, key_pem):
        fail(f"refused: {fault}")
    if shown.expired(SystemClock().now()):
        fail(f"refused: it expired on {shown.not_after:%Y-%m-%d %H:%M} UTC, if this machine's clock is right")
    _install(chosen, "certificate.installed", shown, pem, key_pem)


@certificate.command("renew")
def certificate_renew() -> None:
    """Make a new self-signed certificate for the names and addresses that this machine has now."""
    from core.clock import SystemClock
    from ui.certificates import make_self_signed, read_certificate

    chosen = settings()
    _files(chosen)
    pem, key_pem = make_self_signed(SystemClock().now())
    _install(chosen, "certificate.renewed", read_certificate(pem), pem, key_pem)


def _install(chosen: Settings, action: str, shown: Certificate, pem: bytes, key_pem: bytes) -> None:
    from appliance.commands.on_record import put_on_record
    from ui.certificate_files import replace_pair

    file, key = _files(chosen)
    try:
        replace_pair(file, key, pem, key_pem)
    except OSError as trouble:
        fail(f"{trouble.filename}: {trouble.strerror}; run as the user who owns it, or as root")
    _show(shown)
    put_on_record(chosen, action, "certificate", {"shown": shown.subject, "fingerprint": shown.fingerprint})


def _files(chosen: Settings) -> tuple[Path, Path]:
    if chosen.ui.tls_cert is None or chosen.ui.tls_key is None:
        fail("the panel speaks plain HTTP; set ui.tls_cert and ui.tls_key in the settings first")
    return chosen.ui.tls_cert, chosen.ui.tls_key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as trouble:
        fail(f"{path}: {trouble.strerror}")


_LARGEST = 256 * 1024
