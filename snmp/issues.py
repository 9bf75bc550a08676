"""Health issues of the SNMP room."""

from __future__ import annotations

from core.health import HealthIssue


def unreachable_key(target_id: str) -> str:
    """The key of the issue that a target does not answer."""
    return f"snmp.target_unreachable:{target_id}"


def unreachable(target_id: str, name: str, failures: int, why: str) -> HealthIssue:
    """A target that stayed silent for several polls."""
    return HealthIssue(
        unreachable_key(target_id),
        "warning",
        f"{name} did not answer {failures} polls: {why}",
        f"try it with: hilltop snmp poll {name}; check address, community or user, and the device's firewall",
    )
