"""Towers, devices and enforcement points: what the operator tells us about the network."""

from __future__ import annotations

import base64
import binascii
import re
from ipaddress import ip_address
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from aaa.entitlements import entitlement_of
from core.health import close_issue
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work
from provisioning.drivers.registry import DRIVERS, driver_named
from provisioning.issues import blast_radius_key, device_key
from provisioning.request_enforcement import (
    ensure_live_session_point,
    request_at_point,
    request_enforcement,
)
from provisioning.store import repositories
from provisioning.store.repositories import AnyRow

_HOST_NAME = re.compile(
    r"(?=.{1,64}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\Z"
)
_ZONE = re.compile(r"[A-Za-z0-9_.:-]{1,15}\Z")
_LOGIN = re.compile(r"[\x21-\x7e]{1,80}\Z")


async def register_site(
    work: Work, *, name: str, latitude: float | None = None, longitude: float | None = None
) -> str | Refusal:
    """Add a tower. Refused: bad name, name in use, place off the globe."""
    trouble = _name_trouble(name) or _place_trouble(latitude, longitude)
    if trouble:
        return trouble
    if await repositories.site_named(work.connection, name):
        return Refusal("duplicate", f"there is already a tower named {name}; choose another name", "name")
    site_id = work.ids.new("site")
    await repositories.insert_site(
        work.connection,
        {
            "id": site_id, "name": name, "latitude": latitude, "longitude": longitude,
            "known_outage": False, "created_at": work.now,
        },
    )  # fmt: skip
    await work.audit("provisioning.site_registered", site_id, name=name)
    return site_id


async def register_device(
    work: Work,
    sealer: Sealer,
    *,
    site_id: str,
    name: str,
    driver: str,
    address: str,
    port: int = 22,
    username: str,
    password: Secret | None = None,
    private_key: Secret | None = None,
    host_key: str | None = None,
    options: dict[str, Any] | None = None,
) -> str | Refusal:
    """Add a router or other device that enforces. Its credentials are sealed.

    Without ``host_key`` (``type base64`` as in known_hosts) the key of the first contact is pinned.
    """
    fields = {
        "name": name, "driver": driver, "address": address, "port": port, "username": username,
        "password": password, "private_key": private_key, "host_key": host_key, "options": options or {},
    }  # fmt: skip
    trouble = _device_trouble(fields)
    if trouble:
        return trouble
    if await repositories.site_row(work.connection, site_id) is None:
        return Refusal("unknown_site", f"there is no tower {site_id}; register the tower first", "site_id")
    if await repositories.device_named(work.connection, name):
        return Refusal("duplicate", f"there is already a device named {name}; choose another name", "name")
    device_id = work.ids.new("dev")
    await repositories.insert_device(
        work.connection,
        {
            "id": device_id, "site_id": site_id, "facts": {}, "enabled": True, "failures_in_row": 0,
            "created_at": work.now, **_columns(sealer, fields),
        },
    )  # fmt: skip
    await work.audit("provisioning.device_registered", device_id, name=name, driver=driver, address=address)
    return device_id


async def change_device(work: Work, sealer: Sealer, device_id: str, **fields: Any) -> Refusal | None:
    """Change what is known of a device: any of register_device's fields, and ``enabled``.

    ``host_key=None`` forgets the pinned key, so that the next contact pins anew: for a replaced device.
    A change gives the device a fresh start: breaker closed, tasks due now.
    """
    row = await repositories.device_row(work.connection, device_id)
    if row is None:
        return Refusal("unknown_device", f"there is no device {device_id}", "device_id")
    allowed = {
        "site_id", "name", "driver", "address", "port", "username", "password", "private_key", "host_key",
        "options", "enabled",
    }  # fmt: skip
    if unknown := sorted(set(fields) - allowed):
        return Refusal("unknown_field", f"a device has no field {unknown[0]}", unknown[0])
    present = {"name": row.name, "driver": row.driver, "address": row.address, "port": row.port,
               "username": row.username, "host_key": row.host_key, "options": row.options}  # fmt: skip
    kept = Secret("kept") if row.password_sealed or row.private_key_sealed else None
    trouble = _device_trouble({**present, "password": kept, "private_key": None, **fields})
    trouble = trouble or await _clash(work, device_id, fields)
    if trouble:
        return trouble
    columns = _columns(sealer, fields) | {
        "breaker_open_until": None,
        "failures_in_row": 0,
        "next_check_at": None,
    }
    await repositories.update_device(work.connection, device_id, **columns)
    services = await repositories.services_on_device(work.connection, device_id)
    await repositories.hasten_tasks(work.connection, services, work.now)
    if "host_key" in fields:
        await close_issue(work, device_key(device_id))
    await work.audit("provisioning.device_changed", device_id, fields=sorted(fields))
    return None


async def add_enforcement_point(work: Work, *, service_id: str, device_id: str) -> str | Refusal:
    """Say that ``device_id`` enforces the service; returns the point's id (the same when asked again).

    The service gets its live-session point too. A service under a hold already is enforced here at once.
    """
    if await repositories.device_row(work.connection, device_id) is None:
        return Refusal("unknown_device", f"there is no device {device_id}; register it first", "device_id")
    entitlement = await entitlement_of(work.connection, service_id)
    if entitlement is None:
        return Refusal("unknown_service", f"there is no service {service_id}", "service_id")
    await ensure_live_session_point(work, service_id)
    point_id, is_new = await _make_present(work, service_id, device_id)
    if not is_new:
        return point_id
    await work.audit("provisioning.enforcement_point_added", service_id, device_id=device_id)
    if entitlement.effect.rank > 0:
        await request_enforcement(
            work, service_id=service_id, generation=entitlement.generation, effect=str(entitlement.effect),
            cause="an enforcement point was added",
        )  # fmt: skip
    return point_id


async def remove_enforcement_point(
    work: Work, *, service_id: str, device_id: str, device_is_gone: bool = False
) -> str | Refusal | None:
    """Say that ``device_id`` no longer enforces the service: for a subscriber who moves to another tower.

    Our entries for the service are taken from the device first, by the task whose id is returned, and read
    back; then the point goes. None: nothing of ours stands there, the point is gone at once. With
    ``device_is_gone`` (stolen, burnt, given away) it goes without a word to the device. Asked again, the
    same task answers. The service's live-session point stays, and so does the history.
    """
    point = await repositories.point_on_device(work.connection, service_id, device_id)
    if point is None or point.mechanism == "former":
        return Refusal(
            "no_such_point", f"{service_id} is not enforced by the device {device_id}", "device_id"
        )  # fmt: skip
    row = await repositories.device_row(work.connection, device_id)
    if row is not None and not row.enabled and not device_is_gone:
        return Refusal(
            "device_disabled",
            f"{row.name} is disabled: our entries cannot be taken from it; enable it, or say that it is gone",
            "device_id",
        )
    await work.audit(
        "provisioning.enforcement_point_leaving", service_id, device_id=device_id, gone=device_is_gone
    )
    if device_is_gone or not await repositories.point_was_tried(work.connection, point.id):
        await _drop_point(work, point.id)
        return None
    return await _ask_to_leave(work, point)


async def _ask_to_leave(work: Work, point: AnyRow) -> str | None:
    """The task that takes our entries away; a task to enforce that stood there is superseded."""
    if point.mechanism == "device":
        await _supersede_open_task(work, point.id, "the device no longer enforces the service")
        await repositories.set_mechanism(work.connection, point.id, "leaving")
    entitlement = await entitlement_of(work.connection, point.service_id)
    return await request_at_point(
        work, point, generation=entitlement.generation if entitlement else 0, effect="none",
        cause="the device no longer enforces the service",
    )  # fmt: skip


async def _drop_point(work: Work, point_id: str) -> None:
    await _supersede_open_task(work, point_id, "the device no longer enforces the service")
    await repositories.set_mechanism(work.connection, point_id, "former")


async def _supersede_open_task(work: Work, point_id: str, why: str) -> None:
    standing = await repositories.open_task_of_point(work.connection, point_id)
    if standing is not None:
        await repositories.supersede_task(work.connection, standing.id, why)


async def _make_present(work: Work, service_id: str, device_id: str) -> tuple[str, bool]:
    """(id of the point, whether it enforces only from now on). One that was leaving stays after all."""
    point_id = work.ids.new("point")
    values = {"id": point_id, "service_id": service_id, "mechanism": "device", "device_id": device_id}
    if await repositories.insert_point(work.connection, values):
        return point_id, True
    point = await repositories.point_on_device(work.connection, service_id, device_id)
    if point is None:
        raise LookupError(f"the point of {service_id} on {device_id} is there and is not")
    if point.mechanism == "device":
        return str(point.id), False
    await _supersede_open_task(work, point.id, "the device enforces the service again")
    await repositories.set_mechanism(work.connection, point.id, "device")
    return str(point.id), True


async def set_known_outage(work: Work, site_id: str, outage: bool) -> Refusal | None:
    """Say that a tower is known to be down (suspensions wait) or up again (they are due now)."""
    if await repositories.site_row(work.connection, site_id) is None:
        return Refusal("unknown_site", f"there is no tower {site_id}", "site_id")
    await repositories.set_site_outage(work.connection, site_id, outage)
    if not outage:
        services = await repositories.services_of_site(work.connection, site_id)
        await repositories.hasten_tasks(work.connection, services, work.now)
    await work.audit("provisioning.known_outage", site_id, outage=outage)
    return None


async def approve_parked(work: Work, site_id: str | None) -> int:
    """Let the suspensions parked at a tower go on; returns how many. None: services without a device."""
    parked = await repositories.parked_tasks(work.connection)
    sites = await repositories.sites_of_services(work.connection, {row.service_id for row in parked})
    chosen = [row.id for row in parked if sites.get(row.service_id) == site_id]
    await repositories.release_parked(work.connection, chosen, work.actor, work.now)
    await close_issue(work, blast_radius_key(site_id))
    await work.audit("provisioning.parked_approved", site_id or "no_site", tasks=len(chosen))
    return len(chosen)


async def _clash(work: Work, device_id: str, fields: dict[str, Any]) -> Refusal | None:
    if "site_id" in fields and await repositories.site_row(work.connection, fields["site_id"]) is None:
        return Refusal("unknown_site", f"there is no tower {fields['site_id']}", "site_id")
    namesake = await repositories.device_named(work.connection, fields.get("name", ""))
    if namesake is not None and namesake.id != device_id:
        return Refusal("duplicate", f"there is already a device named {fields['name']}", "name")
    return None


def _columns(sealer: Sealer, fields: dict[str, Any]) -> dict[str, Any]:
    """The row's columns for these fields, with secrets sealed."""
    columns = {name: value for name, value in fields.items() if name not in {"password", "private_key"}}
    for name, purpose in (("password", "device.password"), ("private_key", "device.private_key")):
        if name in fields:
            secret = fields[name]
            columns[f"{name}_sealed"] = None if secret is None else sealer.seal(secret, purpose)
    if columns.get("host_key"):
        columns["host_key"] = " ".join(columns["host_key"].split()[:2])
    return columns


def _name_trouble(name: str) -> Refusal | None:
    if name.strip() and len(name) <= 80 and name.isprintable():
        return None
    return Refusal("bad_name", "give a name of 1 to 80 printable characters", "name")


def _place_trouble(latitude: float | None, longitude: float | None) -> Refusal | None:
    if latitude is not None and not -90 <= latitude <= 90:
        return Refusal("bad_place", f"latitude is {latitude}; it must be -90 to 90 degrees", "latitude")
    if longitude is not None and not -180 <= longitude <= 180:
        return Refusal("bad_place", f"longitude is {longitude}; it must be -180 to 180 degrees", "longitude")
    return None


def _device_trouble(fields: dict[str, Any]) -> Refusal | None:
    """The first thing wrong with a device's fields, in the order they are asked for."""
    return (
        _name_trouble(fields["name"])
        or _driver_trouble(fields["driver"], fields["options"])
        or _address_trouble(fields["address"], fields["port"])
        or _credential_trouble(fields["username"], fields["password"], fields["private_key"])
        or _host_key_trouble(fields["host_key"])
    )


def _driver_trouble(driver: str, options: dict[str, Any]) -> Refusal | None:
    if driver not in DRIVERS:
        known = ", ".join(sorted(DRIVERS))
        return Refusal("unknown_driver", f"there is no driver {driver!r}; use one of {known}", "driver")
    trouble = driver_named(driver).option_trouble(options)
    return Refusal("bad_options", trouble, "options") if trouble else None


def _address_trouble(address: str, port: int) -> Refusal | None:
    if not _is_host(address):
        return Refusal(
            "bad_address", f"{address!r} is neither an IP address nor a host name", "address"
        )  # fmt: skip
    if not 1 <= port <= 65535:
        return Refusal("bad_port", f"port is {port}; it must be 1 to 65535", "port")
    return None


def _is_host(address: str) -> bool:
    host, percent, zone = address.partition("%")
    if percent and not _ZONE.match(zone):
        return False
    try:
        ip_address(host)
    except ValueError:
        looks_numeric = bool(re.fullmatch(r"[0-9.]+", address))
        return bool(_HOST_NAME.match(host)) and not looks_numeric and not percent
    return True


def _credential_trouble(username: str, password: Secret | None, private_key: Secret | None) -> Refusal | None:
    if not _LOGIN.match(username):
        return Refusal("bad_username", "give a user name without spaces, 1 to 80 characters", "username")
    if password is None and private_key is None:
        return Refusal("no_credentials", "give a password or a private key for the device", "password")
    if private_key is not None and not _is_private_key(private_key):
        return Refusal(
            "bad_private_key",
            "this is not an unencrypted private key in OpenSSH or PEM form; export it without a passphrase",
            "private_key",
        )
    return None


def _is_private_key(private_key: Secret) -> bool:
    octets = private_key.reveal().encode()
    for load in (load_ssh_private_key, load_pem_private_key):
        try:
            load(octets, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        return True
    return False


def _host_key_trouble(host_key: str | None) -> Refusal | None:
    if host_key is None:
        return None
    words = host_key.split()
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error):
        blob = b""
    name = words[0].encode() if words else b""
    if name and blob[4 : 4 + len(name)] == name:  # RFC 4253 section 6.6: the blob begins with its own name
        return None
    return Refusal(
        "bad_host_key", "write the host key as in known_hosts: 'ssh-ed25519 AAAA…'", "host_key"
    )  # fmt: skip
