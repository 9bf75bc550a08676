"""Set up SNMP targets and say whose interfaces are whose."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from aaa.entitlements import entitlement_of
from core.health import close_issue
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work
from snmp.issues import unreachable_key
from snmp.store import target_rows
from snmp.transport import AUTH_PROTOCOLS, PRIVACY_PROTOCOLS

SHORTEST_POLL_S = 15
MIN_V3_PASSWORD = 8  # RFC 3414 section 11.2


async def register_target(
    work: Work,
    sealer: Sealer,
    *,
    name: str,
    address: str,
    port: int = 161,
    version: str = "2c",
    community: Secret | None = None,
    username: str | None = None,
    auth: Secret | None = None,
    privacy: Secret | None = None,
    auth_protocol: str = "sha256",
    privacy_protocol: str = "aes128",
    device_id: str | None = None,
    site_id: str | None = None,
    poll_interval_s: int = 300,
) -> str | Refusal:
    """Poll a device by SNMP; returns the target's id. Credentials are sealed."""
    refusal = (
        _check_address(name, address, port, poll_interval_s)
        or _check_version(version, community, username)
        or _check_v3(version, auth, privacy, auth_protocol, privacy_protocol)
    )
    if refusal is not None:
        return refusal
    if await target_rows.target_named(work.connection, name.strip()) is not None:
        return Refusal("target.name_taken", f"there is a target {name.strip()}; choose another name", "name")
    target_id = work.ids.new("tgt")
    wide = version == "3"
    await target_rows.insert_target(
        work.connection,
        {
            "id": target_id, "name": name.strip(), "device_id": device_id, "site_id": site_id,
            "address": address.strip(), "port": port, "version": version,
            "username": username if wide else None,
            "community_sealed": None if wide else _seal(sealer, community, "snmp.community"),
            "auth_sealed": _seal(sealer, auth, "snmp.auth") if wide else None,
            "auth_protocol": auth_protocol if wide and auth else None,
            "privacy_sealed": _seal(sealer, privacy, "snmp.privacy") if wide else None,
            "privacy_protocol": privacy_protocol if wide and privacy else None,
            "poll_interval_s": poll_interval_s, "enabled": True, "created_at": work.now,
        },
    )  # fmt: skip
    await work.audit("snmp.target.register", target_id, name=name.strip(), address=address, version=version)
    return target_id


async def set_enabled(work: Work, target_id: str, enabled: bool) -> Refusal | None:
    """Poll a target, or leave it alone."""
    if await target_rows.target_row(work.connection, target_id) is None:
        return _unknown_target(target_id)
    await target_rows.update_target(work.connection, target_id, {"enabled": enabled})
    if not enabled:
        await close_issue(work, unreachable_key(target_id))
    await work.audit("snmp.target.enable" if enabled else "snmp.target.disable", target_id)
    return None


async def bind(
    work: Work,
    *,
    target_id: str,
    if_name: str,
    service_id: str,
    reversed: bool = False,  # noqa: A002 - the word of the schema
    bills: bool = True,
    rate_cap_bps: int | None = None,
) -> str | Refusal:
    """Meter a service by an interface, found by its name; returns the binding's id.

    ``reversed``: the interface's "in" is the download. ``bills`` False: it only cross-checks RADIUS. Without
    ``rate_cap_bps`` the service's profile says what is too much.
    """
    if await target_rows.target_row(work.connection, target_id) is None:
        return _unknown_target(target_id)
    name = if_name.strip()
    if not name or len(name) > 120:
        return Refusal(
            "if_name.length", "give the interface's name as the device spells it (ifName)", "if_name"
        )
    if rate_cap_bps is not None and rate_cap_bps <= 0:
        return Refusal(
            "rate_cap_bps.range", "the rate cap must be more than 0; or leave it out", "rate_cap_bps"
        )
    if await entitlement_of(work.connection, service_id) is None:
        return Refusal("service.unknown", f"there is no service {service_id}; create it first", "service_id")
    taken = await target_rows.binding_at(work.connection, target_id, name)
    if taken is not None:
        return Refusal(
            "if_name.taken", f"{name} already meters {taken.service_id}; unbind it there first", "if_name"
        )
    binding_id = work.ids.new("bnd")
    values: dict[str, Any] = {
        "id": binding_id, "target_id": target_id, "if_name": name, "service_id": service_id,
        "reversed": reversed, "bills": bills, "rate_cap_bps": rate_cap_bps,
    }  # fmt: skip
    await target_rows.insert_binding(work.connection, values)
    await work.audit("snmp.bind", service_id, target=target_id, if_name=name, bills=bills, reversed=reversed)
    return binding_id


async def unbind(work: Work, *, target_id: str, if_name: str) -> Refusal | None:
    """The interface meters nobody any more; what it metered stays."""
    row = await target_rows.binding_at(work.connection, target_id, if_name.strip())
    if row is None:
        return Refusal("if_name.unbound", f"{if_name} meters nobody on this target", "if_name")
    await target_rows.delete_binding(work.connection, row.id)
    await work.audit("snmp.unbind", row.service_id, target=target_id, if_name=row.if_name)
    return None


def _seal(sealer: Sealer, secret: Secret | None, purpose: str) -> str | None:
    return None if secret is None else sealer.seal(secret, purpose)


def _check_address(name: str, address: str, port: int, poll_interval_s: int) -> Refusal | None:
    if not name.strip() or len(name.strip()) > 80:
        return Refusal("name.length", "give the target a name of up to 80 characters", "name")
    try:
        ip_address(address.strip())
    except ValueError:
        return Refusal(
            "address.malformed", f"{address!r} is not an address; write it like 10.0.0.1", "address"
        )
    if not 1 <= port <= 65535:
        return Refusal("port.range", f"the port is {port}; it must be 1 to 65535, 161 is usual", "port")
    if poll_interval_s < SHORTEST_POLL_S:
        return Refusal(
            "poll_interval_s.range",
            f"polling every {poll_interval_s} s is too hard on the device; use {SHORTEST_POLL_S} or more",
            "poll_interval_s",
        )
    return None


def _check_version(version: str, community: Secret | None, username: str | None) -> Refusal | None:
    match version:
        case "2c" if community is None or not community.reveal():
            return Refusal("community.empty", "SNMP 2c needs a community; give the device's own", "community")
        case "3" if not username:
            return Refusal("username.empty", "SNMP 3 needs a user; give the device's own", "username")
        case "2c" | "3":
            return None
        case _:
            return Refusal("version.unknown", f"{version!r} is no version we speak; use 2c or 3", "version")


def _check_v3(
    version: str, auth: Secret | None, privacy: Secret | None, auth_protocol: str, privacy_protocol: str
) -> Refusal | None:
    if version != "3":
        return None
    if privacy is not None and auth is None:
        return Refusal("auth.empty", "privacy needs authentication as well; give both passwords", "auth")
    for field, secret in (("auth", auth), ("privacy", privacy)):
        if secret is not None and len(secret.reveal()) < MIN_V3_PASSWORD:
            return Refusal(
                f"{field}.short", f"an SNMP 3 password has at least {MIN_V3_PASSWORD} characters", field
            )
    for field, protocol, known in (
        ("auth_protocol", auth_protocol, AUTH_PROTOCOLS),
        ("privacy_protocol", privacy_protocol, PRIVACY_PROTOCOLS),
    ):
        if protocol not in known:
            return Refusal(
                f"{field}.unknown", f"{protocol!r} is not known; use one of {', '.join(known)}", field
            )
    return None


def _unknown_target(target_id: str) -> Refusal:
    return Refusal("target.unknown", f"there is no SNMP target {target_id}; register it first", "target_id")
