"""Health issues of the SNMP room."""

from __future__ import annotations

from core.health import HealthIssue


def unreachable_key(target_id: str) -> str:
    """The key of the issue that a target cannot be polled."""
    return f"snmp.target_unreachable:{target_id}"


def unreachable(target_id: str, name: str, failures: int, why: str) -> HealthIssue:
    """A target that could not be read for several polls."""
    return HealthIssue(
        unreachable_key(target_id),
        "warning",
        f"{name} could not be read {failures} times in a row: {why}",
        f"try it with: hilltop snmp poll {name}; nothing is counted until it answers, and nothing is lost "
        "as long as its counters run on",
    )


def not_octets_key(binding_id: str) -> str:
    """The key of the issue that an interface counts something else than octets."""
    return f"snmp.not_octets:{binding_id}"


def not_octets(binding_id: str, target_name: str, if_name: str) -> HealthIssue:
    """The octet counters of an interface cannot be octets."""
    return HealthIssue(
        not_octets_key(binding_id),
        "warning",
        f"{if_name} of {target_name} counts something other than octets: fewer than 20 to a packet",
        "meter this service by RADIUS or at another device; the interface is not metered meanwhile",
    )


def beside_radius_key(binding_id: str) -> str:
    """The key of the issue that RADIUS meters a service which an interface bills."""
    return f"snmp.beside_radius:{binding_id}"


def beside_radius(binding_id: str, target_name: str, if_name: str, service_id: str) -> HealthIssue:
    """Both wires meter one service: RADIUS is what is billed."""
    return HealthIssue(
        beside_radius_key(binding_id),
        "warning",
        f"{service_id} is metered by RADIUS, so {if_name} of {target_name} only checks it",
        "bind the interface for checking only; or stop RADIUS accounting for this service",
    )
