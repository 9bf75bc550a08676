"""Where a program listens: an address of this machine and a port, as the settings write them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import combinations

_FIRST_FREE_PORT = 1024  # those below are root's, and no role runs as root
_LAST_PORT = 65_535


def split_endpoint(text: str) -> tuple[str, int]:
    """``192.0.2.1:1812`` or ``[2001:db8::1]:1812`` as address and port; port 0: any that is free.

    Raises ``ValueError``, naming what is wrong.
    """
    host, colon, port = text.rpartition(":")
    address = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not is_address(address) or (":" in address) == (address == host):
        raise ValueError(f"{text!r} is not an address and port; write it like 0.0.0.0:1812 or [::]:1812")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and _is_usable(int(port))):
        raise ValueError(f"{text!r}: choose a port from {_FIRST_FREE_PORT} to {_LAST_PORT}")
    return address, int(port)


def is_address(text: str) -> bool:
    """Whether this is an IPv4 or IPv6 address as it stands; a name is none."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_distinct(names: str, endpoints: Sequence[str]) -> None:
    """Raise ``ValueError``, naming the settings, when two of them would want one port of one address."""
    for one, other in combinations(endpoints, 2):
        (host, port), (other_host, other_port) = split_endpoint(one), split_endpoint(other)
        hosts = {host, other_host}
        same_kind = (":" in host) == (":" in other_host)
        meet = len(hosts) == 1 or (same_kind and hosts & {"0.0.0.0", "::"})  # noqa: S104 - looked at
        if port and port == other_port and meet:
            raise ValueError(f"{names}: {one} and {other} want the same port; give each its own")


def _is_usable(port: int) -> bool:
    return port == 0 or _FIRST_FREE_PORT <= port <= _LAST_PORT
