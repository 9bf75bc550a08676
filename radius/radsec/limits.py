"""How many RadSec connections a worker holds, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RadSecLimits:
    """Connections in all and of one NAS, and the seconds after which a silent one is closed."""

    connections: int = 500
    connections_of_one: int = 8
    idle_s: float = 900.0
