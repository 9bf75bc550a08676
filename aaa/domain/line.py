"""Where a sign-in comes from: the line of an access network, and the port of a NAS.

A relay or an access node says on which line a request came in (RFC 3046 option 82, carried to RADIUS as in
RFC 4679 section 3.3): a circuit id, a remote id, or both, made of whatever octets its maker likes. A NAS says
the port and the VLANs in NAS-Port-Id, each maker in words of his own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_HEX = re.compile(r"0x((?:[0-9A-Fa-f]{2})+)")
_LONGEST = 110
CIRCUIT_PREFIX: Final = "circuit:"
REMOTE_PREFIX: Final = "remote:"
PORT_PREFIX: Final = "port:"
IDENTITIES: Final = ("user_name", "circuit", "port")
"""What may say who signs in on a NAS: the user name, the line of option 82, or the NAS-Port-Id."""


class NotALine(ValueError):  # noqa: N818 - what it is
    """The text names no line or port; it says how to write one."""


def line_text(octets: bytes) -> str:
    """A circuit or remote id as it is shown and compared: text where it is text, else ``0x`` and hex digits.

    Surrounding blanks and the zero octet some relays end it with do not count.
    """
    stripped = octets.rstrip(b"\x00").strip()
    try:
        text = stripped.decode("ascii")
    except UnicodeDecodeError:
        return "0x" + octets.hex()
    return text if text.isprintable() and text else "0x" + octets.hex()


def line_names(circuit: bytes | None, remote: bytes | None) -> list[str]:
    """What a credential for this line may be called, the most particular first."""
    names = []
    if circuit is not None and remote is not None:
        names.append(f"{CIRCUIT_PREFIX}{line_text(circuit)},{REMOTE_PREFIX}{line_text(remote)}")
    if circuit is not None:
        names.append(CIRCUIT_PREFIX + line_text(circuit))
    if remote is not None:
        names.append(REMOTE_PREFIX + line_text(remote))
    return names


def line_name(circuit: str | None, remote: str | None) -> str:
    """The name of a credential for the line with these ids as operators write them. Raises ``NotALine``."""
    named = [
        prefix + _typed(text)
        for prefix, text in ((CIRCUIT_PREFIX, circuit), (REMOTE_PREFIX, remote))
        if text and text.strip()
    ]
    if not named:
        raise NotALine(
            "a line has a circuit id, a remote id or both; give one, as text or as 0x and hex digits"
        )
    return ",".join(named)


def read_line(text: str) -> str:
    """The name of the line in one piece of text: a circuit id, or ``remote:ID``, or ``circuit:ID,remote:ID``.

    Raises ``NotALine``.
    """
    stripped = text.strip()
    if stripped.startswith(REMOTE_PREFIX):
        return line_name(None, stripped.removeprefix(REMOTE_PREFIX))
    circuit, divided, remote = stripped.removeprefix(CIRCUIT_PREFIX).partition("," + REMOTE_PREFIX)
    return line_name(circuit, remote if divided else None)


def _typed(text: str) -> str:
    stripped = text.strip()
    written = _HEX.fullmatch(stripped)
    normal = line_text(bytes.fromhex(written[1])) if written else stripped
    if len(normal) > _LONGEST or not normal.isprintable():
        raise NotALine(
            f"a circuit or remote id has at most {_LONGEST} printable characters, or is 0x and hex"
        )
    return normal


@dataclass(frozen=True, slots=True)
class Port:
    """An interface of a NAS and its VLANs: ``outer`` is the S-VLAN, or the only one; ``inner`` the C-VLAN.

    In a pattern ``*`` is any interface, and a VLAN that is None is not looked at.
    """

    interface: str
    outer: int | None = None
    inner: int | None = None

    def __str__(self) -> str:
        vlans = [str(one) for one in (self.outer, self.inner) if one is not None]
        return self.interface + (":" + ".".join(vlans) if vlans else "")

    def fits(self, pattern: Port) -> bool:
        """Whether this port is one the pattern allows."""
        return (
            pattern.interface in {"*", self.interface}
            and (pattern.outer is None or pattern.outer == self.outer)
            and (pattern.inner is None or pattern.inner == self.inner)
        )


_VLAN = r"(\d{1,4})"
_PORTS: Final = (
    # Redback and Nokia: 3/1 vlan-id 200:30 …
    re.compile(rf"(\S+) vlan-id {_VLAN}(?::{_VLAN})?(?: .*)?"),
    # Juniper and ERX: ge-1/0/3.1073741:200-30, 1/3:200.30; and as ports are written here: ether3:200.30
    re.compile(rf"(.+?)(?:\.\d{{5,}})?:{_VLAN}(?:[.\-]{_VLAN})?"),
    # Cisco: 0/0/1/200.30
    re.compile(rf"(\d+/\d+/\d+)/{_VLAN}\.{_VLAN}"),
    # Cisco: Gi0/1.200; Linux and RouterOS: eth1.200.30, ether3.200
    re.compile(rf"(.*?[A-Za-z0-9])\.{_VLAN}(?:\.{_VLAN})?"),
)
_HUAWEI = re.compile(r"slot=(\d+);subslot=(\d+);port=(\d+);vlanid=(\d+);(?:vlanid2=(\d+);)?.*")
_LONG_NAMES: Final = {
    "gigabitethernet": "gi", "tengigabitethernet": "te", "fastethernet": "fa", "hundredgige": "hu",
    "port-channel": "po", "bundle-ether": "be",
}  # fmt: skip
_INTERFACE = re.compile(r"([a-z\-]+) ?(\d.*)")
_HIGHEST_VLAN = 4_095


@lru_cache(maxsize=16_384)
def read_port(text: str) -> Port:
    """The port that a NAS-Port-Id names, or the one an operator writes: ``ether3:200.30``, ``*:200``.

    What is in no maker's form is an interface by that name. Upper and lower case are one.
    """
    plain = text.strip().lower()
    huawei = _HUAWEI.fullmatch(plain)
    if huawei is not None:
        slot, subslot, port, outer, inner = huawei.groups()
        return _port(f"{slot}/{subslot}/{port}", outer, inner)
    for form in _PORTS:
        found = form.fullmatch(plain)
        if found is not None and all(int(one or 0) <= _HIGHEST_VLAN for one in found.groups()[1:]):
            return _port(*found.groups())
    return _port(plain, None, None)


def read_pattern(text: str) -> Port:
    """The port or ports an operator allows. Raises ``NotALine``."""
    if not text.strip() or len(text.strip()) > _LONGEST or not text.isprintable():
        raise NotALine(
            "write the port as INTERFACE, INTERFACE:VLAN or INTERFACE:SVLAN.CVLAN; * is any interface"
        )
    return read_port(text)


def _port(interface: str, outer: str | None, inner: str | None) -> Port:
    named = _INTERFACE.fullmatch(interface)
    if named is not None and named[1] in _LONG_NAMES:
        interface = _LONG_NAMES[named[1]] + named[2]
    return Port(interface, None if outer is None else int(outer), None if inner is None else int(inner))
