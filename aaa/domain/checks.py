"""What may be declared: each check returns the value as it is stored, or a refusal that names the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network

from core.refusal import Refusal

DIALECTS = {
    "mikrotik": "MikroTik RouterOS",
    "cambium_epmp": "Cambium ePMP",
    "cambium_pmp450": "Cambium PMP 450 (Canopy)",
    "ubiquiti": "Ubiquiti",
    "wispr": "WISPr",
    "cisco": "Cisco IOS (AVPair)",
    "juniper": "Juniper ERX, Junos BNG",
    "accel_ppp": "accel-ppp",
    "generic": "Generic (Filter-Id)",
}
"""The kinds of NAS whose words are known, as people call them. What each says: ``radius.dialects``."""

MESSAGE_AUTHENTICATOR = ("require", "auto", "off")
MIN_SECRET = 8
STRONG_SECRET = 16  # RFC 2865 section 3 asks for a secret that cannot be guessed; 16 is its preferred length

_NO_HOST = (IPv4Network("127.0.0.0/8"), IPv4Network("224.0.0.0/3"), IPv4Network("0.0.0.0/8"))
"""RouterOS reads a Framed-IP-Address in the first two as "use the profile's pool"."""


def check_text(text: str, field: str, longest: int) -> str | Refusal:
    """The text without surrounding spaces; refused when empty or too long."""
    stripped = text.strip()
    if not stripped:
        return Refusal(f"{field}.empty", f"the {field} is empty; give one", field)
    if len(stripped) > longest:
        return Refusal(f"{field}.long", f"the {field} has {len(stripped)} characters; {longest} fit", field)
    return stripped


def check_printable(text: str, field: str, longest: int) -> str | Refusal:
    """One line of text that a NAS can be sent; its octets are counted, for an attribute has so many."""
    checked = check_text(text, field, longest)
    if isinstance(checked, Refusal):
        return checked
    if not checked.isprintable():
        return Refusal(
            f"{field}.unprintable", f"the {field} holds characters that cannot be typed; remove them", field
        )
    if len(checked.encode()) > longest:
        return Refusal(
            f"{field}.long", f"the {field} takes {len(checked.encode())} octets; {longest} fit", field
        )
    return checked


def check_choice(value: str, field: str, choices: Sequence[str]) -> str | Refusal:
    """``value`` if it is one of ``choices``."""
    if value in choices:
        return value
    return Refusal(f"{field}.unknown", f"{value!r} is no {field}; use one of {', '.join(choices)}", field)


def check_network(text: str) -> str | Refusal:
    """The address or prefix in CIDR form: ``10.0.0.1`` becomes ``10.0.0.1/32``."""
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        return Refusal(
            "network.malformed",
            f"{text!r} is not an address or prefix; write it like 10.0.0.1 or 10.0.0.0/24",
            "network",
        )
    return _check_bounds(text.strip(), network)


def _check_bounds(text: str, network: IPv4Network | IPv6Network) -> str | Refusal:
    if network.prefixlen == 0:
        return Refusal("network.everyone", "a NAS cannot be the whole internet; name its address", "network")
    if "/" in text and ip_address(text.partition("/")[0]) != network.network_address:
        return Refusal(
            "network.host_bits",
            f"{text} has bits set behind its mask; write {network} for all of it or "
            f"{text.partition('/')[0]} for the one address",
            "network",
        )
    return str(network)


def check_secret(secret_length: int) -> Refusal | None:
    """Refuses a shared secret that is guessed in no time."""
    if secret_length >= MIN_SECRET:
        return None
    return Refusal(
        "secret.short",
        f"the RADIUS secret has {secret_length} characters; use at least {STRONG_SECRET} random ones "
        f"(fewer than {MIN_SECRET} are refused)",
        "secret",
    )


def check_port(port: int, field: str) -> int | Refusal:
    """A UDP or TCP port."""
    if 1 <= port <= 65535:
        return port
    return Refusal(f"{field}.range", f"the {field} is {port}; it must be 1 to 65535", field)


def check_positive(values: Iterable[tuple[str, int | None]]) -> Refusal | None:
    """Refuses the first of (field, value) that is given and is not positive."""
    for field, value in values:
        if value is not None and value <= 0:
            return Refusal(f"{field}.range", f"the {field} is {value}; it must be more than 0", field)
    return None


def check_static_address(text: str) -> str | Refusal:
    """One IPv4 address that can stand in Framed-IP-Address (RFC 2865 section 5.8)."""
    try:
        address = IPv4Address(text.strip())
    except ValueError:
        return Refusal(
            "framed_ip.malformed", f"{text!r} is not an IPv4 address; write it like 10.1.2.3", "framed_ip"
        )
    if any(address in network for network in _NO_HOST):
        return Refusal(
            "framed_ip.no_host",
            f"{address} cannot be a subscriber's address; give one of your own",
            "framed_ip",
        )
    return str(address)
