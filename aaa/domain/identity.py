"""How devices spell a MAC address, and which User-Names are MAC logins.

RouterOS spells one MAC in several ways: ``00:E1:0C:38:C8:F8`` as the User-Name of a DHCP lease,
``1:0:e1:c:38:c8:f8`` as the client identifier in the same request's Calling-Station-Id, and for wireless what
the operator chose (``AA:AA:…``, ``AA-AA-…``, ``AAAA:AAAA:AAAA``, ``AAAAAA-AAAAAA``, ``AAAAAAAAAAAA``, either
case). Here a MAC is twelve lower-case hex digits.
"""

from __future__ import annotations

import re
from functools import lru_cache

_HEX12 = re.compile(r"[0-9a-f]{12}")
_GROUPED = re.compile(r"[0-9a-f]{1,6}(?:[:.\-][0-9a-f]{1,6})+")
_SEPARATOR = re.compile(r"[:.\-]")
_GROUP_DIGITS = {6: 2, 3: 4, 2: 6}  # groups in the spelling -> digits in each
_ETHERNET = "1"  # hardware type in front of a DHCP client identifier (RFC 2132 section 9.14)

MAC_FORMATS: dict[str, re.Pattern[str]] = {
    "mikrotik": re.compile(
        r"[0-9A-Fa-f]{2}(?:[:-]?[0-9A-Fa-f]{2}){5}"
        r"|(?:[0-9A-Fa-f]{4}[:-]){2}[0-9A-Fa-f]{4}"
        r"|[0-9A-Fa-f]{6}[:-][0-9A-Fa-f]{6}"
    ),
    "colon": re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}"),
    "hyphen": re.compile(r"[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}"),
    "dotted": re.compile(r"[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2}"),
    "plain": re.compile(r"[0-9A-Fa-f]{12}"),
    "any": re.compile(r"[0-9A-Fa-f:.\-]{12,17}"),
}  # fmt: skip
"""What a NAS may send as the User-Name of a MAC login, by the ``mac_format`` it is registered with."""


@lru_cache(maxsize=65_536)
def normalise_mac(text: str) -> str | None:
    """Twelve lower-case hex digits, or None when ``text`` is no MAC.

    Groups may lack leading zeros, as in a DHCP client identifier (``1:0:e1:c:38:c8:f8``).
    """
    lowered = text.strip().lower()
    if _HEX12.fullmatch(lowered):
        return lowered
    if not _GROUPED.fullmatch(lowered):
        return None
    groups = _SEPARATOR.split(lowered)
    if len(groups) == 7 and groups[0].lstrip("0") == _ETHERNET:
        groups = groups[1:]
    digits = _GROUP_DIGITS.get(len(groups))
    if digits is None or any(len(group) > digits for group in groups):
        return None
    if digits > 2 and any(len(group) < digits for group in groups):
        return None  # only octets are ever written without their zeros; "dead.beef" is a name
    return "".join(group.rjust(digits, "0") for group in groups)


def spelled_mac(mac: str | None) -> str:
    """``AA:BB:CC:00:11:22``, as labels on devices have it."""
    return ":".join(mac[at : at + 2] for at in range(0, 12, 2)).upper() if mac else ""


@lru_cache(maxsize=65_536)
def mac_login(username: str, mac_format: str) -> str | None:
    """The MAC that ``username`` is, when it is spelled as this kind of NAS spells MAC logins; else None."""
    pattern = MAC_FORMATS.get(mac_format)
    return normalise_mac(username) if pattern is not None and pattern.fullmatch(username) else None


def is_locally_administered(mac: str) -> bool:
    """True for a MAC (twelve hex digits) its owner made up: it may be another one tomorrow (IEEE 802c)."""
    return bool(int(mac[1], 16) & 2)
