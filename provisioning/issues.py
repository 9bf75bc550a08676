"""Health issues of the provisioning room, each with its remedy."""

from __future__ import annotations

from core.health import HealthIssue

_REMEDIES = {
    "unreachable": "Check power and link of the device, its address and port, and that SSH is allowed here.",
    "refused": "Check the port, and that the device's SSH service is on and allows this machine's address.",
    "timed_out": "Check power and link of the device, its address, and that no firewall drops SSH.",
    "no_route": "Check this machine's own network and its route to the device.",
    "unknown_name": "Correct the device's address, or this machine's name servers; an IP address needs none.",
    "login_refused": "Check user name and password or key of the device, and enter them anew.",
    "no_permission": "Give the device's login the right to write (RouterOS: a group with ssh,read,write).",
    "host_key": (
        "The device shows another host key than the pinned one. If it was replaced or reset, confirm the new "
        "key on the device and forget the old one in its settings; otherwise someone may stand in between."
    ),
    "hung": "The console takes logins but does not answer. Reboot it at a quiet hour and watch its load.",
    "lied": (
        "The device accepts commands but its state does not change. Look at its log and storage; reboot or "
        "replace it."
    ),
    "unreadable": (
        "The device answers in words its driver does not know. Check driver and version; report the "
        "transcript."
    ),
    "failed": "Read the transcript: the device refused a command. Put right what it names.",
    "broken": "The session broke off. Check the link to the device; the next attempt follows by itself.",
    "internal": (
        "This is a fault of this software. Report it with the worker's log; the task is tried again."
    ),
}
INTERNAL = "a fault of this software broke the session off; the worker's log tells more"


def device_key(device_id: str) -> str:
    """The key of a device's one issue."""
    return f"provisioning.device:{device_id}"


def device_issue(device_id: str, name: str, kind: str, text: str, severity: str) -> HealthIssue:
    """A device cannot be made to agree; ``kind`` chooses the remedy."""
    remedy = _REMEDIES.get(kind, _REMEDIES["failed"])
    return HealthIssue(device_key(device_id), severity, f"{name}: {text}"[:500], remedy)


def disabled_key(device_id: str) -> str:
    """The key of changes that wait for a disabled device."""
    return f"provisioning.device_disabled:{device_id}"


def disabled_issue(device_id: str, name: str, tasks: int) -> HealthIssue:
    """Changes wait for a device that somebody disabled."""
    return HealthIssue(
        disabled_key(device_id),
        "warning",
        f"{name} is disabled, and {tasks} change(s) wait for it",
        "Enable the device; if it is gone for good, say of each service that it is not enforced there.",
    )


def foreign_key(device_id: str, service_id: str) -> str:
    """The key of a restored service that an entry of others still blocks."""
    return f"provisioning.foreign_entry:{device_id}:{service_id}"


def foreign_issue(device_id: str, name: str, service_id: str, addresses: list[str]) -> HealthIssue:
    """A restored service is still on the list by an entry that is not ours."""
    where = ", ".join(addresses)
    return HealthIssue(
        foreign_key(device_id, service_id),
        "warning",
        f"{name}: {where} of a restored service is still blocked by an entry without our mark",
        f"Entries of others are never touched. Remove the entry for {where} on {name} by hand if unwanted.",
    )


def place_taken_issue(device_id: str, name: str, service_id: str, addresses: list[str]) -> HealthIssue:
    """A service cannot be cut off: an entry that is not ours and is switched off stands in its place."""
    where = ", ".join(addresses)
    return HealthIssue(
        foreign_key(device_id, service_id),
        "warning",
        f"{name}: {where} cannot be cut off: a disabled entry without our mark is in the way",
        f"Entries of others are never touched. Remove or enable the entry for {where} on {name} by hand.",
    )


def blast_radius_key(site_id: str | None) -> str:
    """The key of suspensions parked at one tower."""
    return f"provisioning.blast_radius:{site_id or 'no_site'}"


def blast_radius_issue(site_id: str | None, site_name: str, services: int, cap: str) -> HealthIssue:
    """More new suspensions than the caps allow."""
    return HealthIssue(
        blast_radius_key(site_id),
        "critical",
        f"{site_name}: {services} new suspensions are parked: {cap}",
        "Look through the list; if it is right, approve this tower's suspensions, otherwise lift the holds.",
    )


def live_session_key(service_id: str) -> str:
    """The key of a service whose live session does not move."""
    return f"provisioning.live_session:{service_id}"


def live_session_issue(service_id: str, outcome: str, detail: str) -> HealthIssue:
    """A live session did not move under the service's entitlement."""
    return HealthIssue(
        live_session_key(service_id),
        "warning",
        f"the live session of {service_id} could not be moved: {outcome}: {detail}"[:500],
        "Check that the NAS accepts CoA and Disconnect from here (RouterOS: /radius incoming set "
        "accept=yes), its port and its secret.",
    )
