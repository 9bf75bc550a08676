"""One interface's network settings: asked, checked, shown, written in systemd-networkd's own words."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from appliance.console.places import Places
from appliance.console.terminal import Terminal
from core.files import write_durably

_HEAD = "# Written by the Hilltop console.\n"
_NO_WHERE = {"lo"}
_ADDRESSES = ipaddress.IPv4Address | ipaddress.IPv6Address


class WrongError(ValueError):
    """A field that cannot be so; the message names it and says what would be right."""


@dataclass(frozen=True, slots=True)
class Static:
    """A fixed address with what belongs to it."""

    address: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    gateway: _ADDRESSES | None
    dns: tuple[_ADDRESSES, ...]


def interfaces(folder: Path) -> list[str]:
    """The network interfaces of this machine."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.name not in _NO_WHERE)
    except OSError:
        return []


def _without_zone(field: str, text: str) -> None:
    """Python reads ``fe80::1%eth0``, systemd-networkd does not."""
    if "%" in text:
        raise WrongError(f"{field}: leave out the % and what follows it; the interface is chosen already")


def parse_address(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """An address with its prefix. Raises ``WrongError``."""
    _without_zone("Address", text)
    if "/" not in text:
        raise WrongError("Address: write it with the length of its network, like 192.168.1.10/24")
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        raise WrongError(f"Address: {text} is not an address; write it like 192.168.1.10/24") from None
    address, network = found.ip, found.network
    if address.is_loopback or address.is_multicast or address.is_unspecified:
        raise WrongError(f"Address: {address} is not for a machine; choose one of your network")
    last = network.max_prefixlen - 1
    ends = {network.network_address, network.broadcast_address} if found.version == 4 else set()
    if network.prefixlen == 0 or (network.prefixlen < last and address in ends):
        raise WrongError(f"Address: {found} names the whole network; choose an address in it")
    return found


def parse_gateway(text: str, address: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> _ADDRESSES | None:
    """The router's address; none for a network without one. Raises ``WrongError``."""
    if not text:
        return None
    _without_zone("Gateway", text)
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise WrongError(f"Gateway: {text} is not an address; write it like 192.168.1.1") from None
    if found.version != address.version:
        raise WrongError(f"Gateway: {found} is not of the same kind (IPv4, IPv6) as {address.ip}")
    if found == address.ip:
        raise WrongError("Gateway: that is this machine's own address; give the router's")
    if found not in address.network and not found.is_link_local:
        raise WrongError(f"Gateway: {found} is not in {address.network}; it could not be reached")
    return found


def parse_dns(text: str) -> tuple[_ADDRESSES, ...]:
    """Name servers, separated by blanks or commas. Raises ``WrongError``."""
    found = []
    for word in text.replace(",", " ").split():
        _without_zone("DNS", word)
        try:
            found.append(ipaddress.ip_address(word))
        except ValueError:
            raise WrongError(f"DNS: {word} is not an address; write them like 9.9.9.9 1.1.1.1") from None
    return tuple(found)


def written(interface: str, static: Static | None) -> str:
    """What systemd-networkd is to read; without ``static`` the network is asked for an address."""
    lines = ["[Match]", f"Name={interface}", "", "[Network]"]
    if static is None:
        return _HEAD + "\n".join([*lines, "DHCP=yes", "LinkLocalAddressing=ipv6", ""])
    lines += ["DHCP=no", f"Address={static.address}"]
    lines += [f"Gateway={static.gateway}"] if static.gateway else []
    lines += [f"DNS={one}" for one in static.dns]
    return _HEAD + "\n".join([*lines, ""])


def _previous(places: Places) -> Path:
    return places.state / "machine" / "network.previous"


def put(places: Places, content: str) -> None:
    """Write the network file in place, its folder is not ours; the old one is kept. Raises ``OSError``."""
    path = places.network_file
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        old = os.pread(descriptor, 65_536, 0)
        write_durably(_previous(places), old, 0o640)
        octets = content.encode()
        # Blank lines up to the old length first: a power cut leaves no end of an old line behind.
        os.pwrite(descriptor, octets.ljust(len(old), b"\n"), 0)
        os.fsync(descriptor)
        os.ftruncate(descriptor, len(octets))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_network(terminal: Terminal, places: Places) -> None:
    """The dialogue."""
    terminal.say("Network")
    terminal.say()
    for line in _now(places).splitlines():
        terminal.say(f"  {line}")
    terminal.say()
    previous = _read(_previous(places))
    terminal.say(" 1 An address by DHCP")
    terminal.say(" 2 A fixed address")
    if previous is not None:
        terminal.say(" 3 Back to what was there before the last change")
    choice = terminal.ask("Choice (Enter: leave it): ")
    if choice == "3" and previous is not None:
        _confirm(terminal, places, previous)
    elif choice in {"1", "2"}:
        interface = _choose(terminal, places)
        if interface is not None:
            static = _ask_static(terminal) if choice == "2" else None
            _confirm(terminal, places, written(interface, static))


def _now(places: Places) -> str:
    return _read(places.network_file) or "Nothing was set here: every interface asks for an address by DHCP."


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _choose(terminal: Terminal, places: Places) -> str | None:
    present = interfaces(places.interfaces)
    if not present:
        terminal.say("This machine has no network interface; look at its hardware.")
        return None
    for number, name in enumerate(present, 1):
        terminal.say(f" {number} {name}")
    while True:
        given = terminal.ask("Interface: ")
        if given in present:
            return given
        if given.isascii() and given.isdigit() and 1 <= int(given) <= len(present):
            return present[int(given) - 1]
        terminal.say(f"Interface: choose one of 1 to {len(present)}; ^C goes back")


def _ask_static(terminal: Terminal) -> Static:
    while True:
        try:
            address = parse_address(terminal.ask("Address with prefix, like 192.168.1.10/24: "))
            break
        except WrongError as wrong:
            terminal.say(str(wrong))
    while True:
        try:
            gateway = parse_gateway(terminal.ask("Gateway (Enter: none): "), address)
            break
        except WrongError as wrong:
            terminal.say(str(wrong))
    while True:
        try:
            return Static(address, gateway, parse_dns(terminal.ask("DNS servers (Enter: none): ")))
        except WrongError as wrong:
            terminal.say(str(wrong))


def _confirm(terminal: Terminal, places: Places, content: str) -> None:
    terminal.say()
    terminal.say(f"This will stand in {places.network_file}:")
    terminal.say()
    for line in content.splitlines() or ["(nothing: every interface asks for an address by DHCP)"]:
        terminal.say(f"  {line}")
    terminal.say()
    terminal.say("Whoever is connected through the old address loses the connection.")
    if terminal.ask("Type yes to write it: ").lower() != "yes":
        terminal.say("Nothing was changed.")
        return
    try:
        put(places, content)
    except OSError as trouble:
        terminal.say(f"{trouble.filename or places.network_file}: {trouble.strerror}; nothing was changed.")
        terminal.say("On a machine that is not the appliance the network is set elsewhere.")
        return
    terminal.say("Written. It is taken over within a few seconds; choose 1, then 3, to go back.")
