"""What a NAS sends when a device signs in by its MAC alone: the spelling of the MAC, and the password.

No two makers agree, and most let the operator choose, so it is set for each NAS. What is not set is not let
in: a user name that looks like a MAC is a MAC login only where the NAS is known to send such.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from aaa.domain.identity import mac_login

NO_MACS: Final = "none"
"""The spelling of a NAS that sends no MAC logins."""
CASES: Final = ("any", "upper", "lower")
MAC_PASSWORDS: Final = ("empty", "mac", "either", "shared", "any")
"""None or an empty one; the MAC again, in any spelling; one of these; one all devices share; whichever."""


@dataclass(frozen=True, slots=True)
class MacConvention:
    """How one NAS sends MAC logins. ``shared`` is the password all its devices have, for ``shared``."""

    spelling: str = NO_MACS  # a key of aaa.domain.identity.MAC_FORMATS, or none
    case: str = "any"
    password: str = "empty"  # noqa: S105 - the kind of one
    shared: bytes = field(default=b"", repr=False)

    def mac_of(self, username: str) -> str | None:
        """The MAC that this user name is, when this NAS spells MAC logins so; else None."""
        if self.spelling == NO_MACS:
            return None
        if self.case != "any" and username != (
            username.upper() if self.case == "upper" else username.lower()
        ):
            return None
        return mac_login(username, self.spelling)


@dataclass(frozen=True, slots=True)
class MacPreset:
    """What a kind of device sends unless its operator has chosen otherwise."""

    label: str
    spelling: str
    case: str
    password: str


MAC_PRESETS: Final = {
    "none": MacPreset("No MAC logins", NO_MACS, "any", "empty"),
    "mikrotik-dhcp": MacPreset("MikroTik DHCP leases", "colon", "upper", "empty"),
    "mikrotik-hotspot": MacPreset("MikroTik HotSpot by MAC", "colon", "upper", "empty"),
    "mikrotik-wireless": MacPreset("MikroTik wireless, CAPsMAN", "mikrotik", "any", "either"),
    "ubiquiti": MacPreset("Ubiquiti UniFi, airMAX", "any", "any", "mac"),
    "cambium": MacPreset("Cambium ePMP, cnPilot", "any", "any", "mac"),
}  # fmt: skip
"""Starting points by kind of device. Each field can be set otherwise, as the device's own settings can."""
