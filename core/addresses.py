"""This machine's own addresses, read without a library, a program or netlink, under any sandbox."""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_SIOCGIFCONF = 0x8912
_ROW = 40  # sizeof(struct ifreq): 16 octets of name, then a sockaddr_in in a union of 24
_MOST = 256
_IF_INET6 = Path("/proc/self/net/if_inet6")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address on one of this machine's interfaces."""

    interface: str
    address: Address

    @property
    def reachable(self) -> bool:
        """True when another machine's browser may use it as it stands."""
        return not (self.address.is_loopback or self.address.is_link_local)


def local_addresses() -> list[LocalAddress]:
    """Every address, IPv4 first; what cannot be read is left out."""
    return [*_ipv4(), *_ipv6()]


def _ipv4() -> list[LocalAddress]:
    rows = array.array("B", bytes(_ROW * _MOST))
    where, _ = rows.buffer_info()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asked:
            answer = fcntl.ioctl(asked, _SIOCGIFCONF, struct.pack("iL", len(rows), where))
    except OSError:
        return []
    length: int = struct.unpack("iL", answer)[0]
    found = []
    for start in range(0, length, _ROW):
        row = rows[start : start + _ROW].tobytes()
        name = row[:16].split(b"\0", 1)[0].decode(errors="replace").partition(":")[0]
        found.append(LocalAddress(name, ipaddress.IPv4Address(row[20:24])))
    return found


def _ipv6() -> list[LocalAddress]:
    try:
        lines = _IF_INET6.read_text().splitlines()
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [LocalAddress(row[5], ipaddress.IPv6Address(bytes.fromhex(row[0]))) for row in rows]
