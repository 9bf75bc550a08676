"""The drivers there are, by the name a device's row carries."""

from __future__ import annotations

from provisioning.drivers.linux_nftables import LinuxNftables
from provisioning.drivers.routeros import RouterOs
from provisioning.ports import Driver

DRIVERS: dict[str, Driver] = {driver.name: driver for driver in (RouterOs(), LinuxNftables())}


def driver_named(name: str) -> Driver:
    """The driver; raises ``KeyError`` for a name that registration would have refused."""
    return DRIVERS[name]
