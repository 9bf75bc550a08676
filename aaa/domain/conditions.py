"""What a sign-in has to fulfil beside its proof: its device, the port it comes in at, how many are online.

Most logins have no conditions, and then nobody looks. Names:

- *binding*: ``off``; ``learn``: the first CPE seen is the login's from then on; ``list``: those listed.
- *replacement window*: a time an operator opens for a swap of the CPE. The next other CPE takes the place of
  the old one, and the window is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from aaa.domain.line import Port, read_port

BINDINGS: Final = ("off", "learn", "list")


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of one login."""

    binding: str = "off"
    macs: tuple[str, ...] = ()
    """The CPEs it is bound to, as twelve lower-case hex digits."""
    replace_until: datetime | None = None
    replace_mac: str | None = None
    """The CPE that is to be replaced, when there are several."""
    port_nas_id: str | None = None
    port: Port | None = None
    devices: int = 0
    """How many may be online at once before a further one is refused; 0: nobody is refused for that."""
    not_over_ppp: bool = False
    """A MAC login: what dials by PPPoE has a user name and a password of its own."""

    @property
    def is_about_cpe_alone(self) -> bool:
        """Whether nothing counts but the CPE, as for most logins that have conditions."""
        return self.port is None and self.port_nas_id is None and not self.devices and not self.not_over_ppp


MAC_ALONE: Final = Conditions(not_over_ppp=True)
"""Those of nearly every MAC login."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where a sign-in comes from, as its NAS says."""

    nas_id: str
    mac: str | None
    """The Calling-Station-Id, when that is a MAC."""
    port: str | None = None
    """The NAS-Port-Id as sent."""
    over_ppp: bool = False


class CpeFinding(Enum):
    """What the CPE of a sign-in is to its login."""

    FITS = "fits"
    FIRST = "first"  # to be learned
    REPLACES = "replaces"  # to be learned in place of the old one
    UNKNOWN = "unknown"  # the request does not name it, and the login is bound
    OTHER = "other"


def find_cpe(conditions: Conditions, bound: tuple[str, ...], mac: str | None, *, window: bool) -> CpeFinding:
    """Compare the CPE with the ones the login is bound to; ``window``: one may be replaced now."""
    if conditions.binding == "off" or (mac is not None and mac in bound):
        return CpeFinding.FITS
    if mac is None:
        return CpeFinding.UNKNOWN if bound or conditions.binding == "list" else CpeFinding.FITS
    if not bound and conditions.binding == "learn":
        return CpeFinding.FIRST
    return CpeFinding.REPLACES if window else CpeFinding.OTHER


def replaced_cpes(conditions: Conditions, bound: tuple[str, ...]) -> tuple[str, ...]:
    """Those that a replacement takes away: the one named, else all, for then there is but one."""
    if conditions.replace_mac is not None:
        return (conditions.replace_mac,) if conditions.replace_mac in bound else ()
    return bound


def port_fits(conditions: Conditions, attachment: Attachment) -> bool:
    """Whether the sign-in comes in at the port the login is bound to, on the NAS it is bound to."""
    if conditions.port_nas_id is not None and conditions.port_nas_id != attachment.nas_id:
        return False
    if conditions.port is None:
        return True
    return attachment.port is not None and read_port(attachment.port).fits(conditions.port)
