"""Set up SNMP targets and say whose interfaces are whose."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from aaa.entitlements import entitlement_of
from core.health import close_issue
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work
from snmp import issues
from snmp.domain.samples import RADIUS_MEMORY
from snmp.store import target_rows

MIN_V3_PASSWORD = 8  # RFC 3414 section 11.2
LONGEST_POLL_INTERVAL_S = 3600


@dataclass(frozen=True, slots=True)
class _Login:
    """How a target lets us in, as the operator gave it."""

    version: str
    community: Secret | None
    username: str | None
    auth: Secret | None
    privacy: Secret | None

    def refusal(self) -> Refusal | None:
        """What is wrong with it."""
        match self.version:
            case "2c":
                return self._refusal_2c()
            case "3":
                return self._refusal_3()
            case _:
                return Refusal(
                    "version.unknown", f"{self.version!r} is no version we speak; use 2c or 3", "version"
                )

    def _refusal_2c(self) -> Refusal | None:
        if self.community is None or not self.community.reveal():
            return Refusal("community.empty", "SNMP 2c needs a community; give the device's own", "community")
        for field in ("username", "auth", "privacy"):
            if getattr(self, field) is not None:
                return Refusal(
                    f"{field}.unused", f"SNMP 2c has no {field}; leave it out or use version 3", field
                )
        return None

    def _refusal_3(self) -> Refusal | None:
        if self.community is not None:
            return Refusal(
                "community.unused", "SNMP 3 has no community; leave it out or use version 2c", "community"
            )
        if not self.username or len(self.username) > 32:  # RFC 3414 section 5, usmUserName
            return Refusal("username.length", "SNMP 3 needs a user of 1 to 32 characters", "username")
        if self.auth is None:
            return Refusal(
                "auth.empty", "SNMP 3 without authentication is open to all; give the password", "auth"
            )
        for field, secret in (("auth", self.auth), ("privacy", self.privacy)):
            if secret is not None and len(secret.reveal()) < MIN_V3_PASSWORD:
                return Refusal(
                    f"{field}.short", f"an SNMP 3 password has at least {MIN_V3_PASSWORD} characters", field
                )
        return None

    def columns(self, sealer: Sealer) -> dict[str, Any]:
        """As it is stored: sealed."""
        return {
            "version": self.version, "username": self.username,
            "community_sealed": _seal(sealer, self.community, "snmp.community"),
            "auth_sealed": _seal(sealer, self.auth, "snmp.auth"),
            "privacy_sealed": _seal(sealer, self.privacy, "snmp.privacy"),
        }  # fmt: skip


def _seal(sealer: Sealer, secret: Secret | None, purpose: str) -> str | None:
    return None if secret is None else sealer.seal(secret, purpose)


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
    device_id: str | None = None,
    site_id: str | None = None,
    poll_interval_s: int = 300,
) -> str | Refusal:
    """Poll a device by SNMP; returns the target's id. Credentials are sealed.

    Version 3 with ``auth`` speaks SHA (which of the family is found by asking), with ``privacy`` AES-128.
    """
    name, address = name.strip(), address.strip()
    login = _Login(version, community, username, auth, privacy)
    refusal = (
        _check_name(name)
        or _check_address(address, port)
        or _check_interval(poll_interval_s)
        or login.refusal()
        or await _check_name_free(work, name)
    )
    if refusal is not None:
        return refusal
    target_id = work.ids.new("tgt")
    await target_rows.insert_target(
        work.connection,
        {
            "id": target_id, "name": name, "device_id": device_id, "site_id": site_id,
            "address": address, "port": port, "poll_interval_s": poll_interval_s, "enabled": True,
            "created_at": work.now, **login.columns(sealer),
        },
    )  # fmt: skip
    await work.audit("snmp.target_registered", target_id, name=name, address=address, version=version)
    return target_id


async def change_credentials(
    work: Work,
    sealer: Sealer,
    target_id: str,
    *,
    version: str,
    community: Secret | None = None,
    username: str | None = None,
    auth: Secret | None = None,
    privacy: Secret | None = None,
) -> Refusal | None:
    """Give a target other credentials; all of them at once."""
    if await target_rows.target_row(work.connection, target_id) is None:
        return _unknown_target(target_id)
    login = _Login(version, community, username, auth, privacy)
    refusal = login.refusal()
    if refusal is not None:
        return refusal
    await target_rows.update_target(work.connection, target_id, login.columns(sealer))
    await work.audit("snmp.target_credentials_changed", target_id, version=version)
    return None


async def change_target(
    work: Work,
    target_id: str,
    *,
    address: str | None = None,
    port: int | None = None,
    poll_interval_s: int | None = None,
) -> Refusal | None:
    """Change where a target is or how often it is polled; what is None stays."""
    row = await target_rows.target_row(work.connection, target_id)
    if row is None:
        return _unknown_target(target_id)
    values: dict[str, Any] = {
        "address": row.address if address is None else address.strip(),
        "port": row.port if port is None else port,
        "poll_interval_s": row.poll_interval_s if poll_interval_s is None else poll_interval_s,
    }
    refusal = _check_address(values["address"], values["port"]) or _check_interval(values["poll_interval_s"])
    if refusal is not None:
        return refusal
    await target_rows.update_target(work.connection, target_id, values)
    await work.audit("snmp.target_changed", target_id, **values)
    return None


async def enable_target(work: Work, target_id: str) -> Refusal | None:
    """Poll a target again."""
    return await _set_enabled(work, target_id, True)


async def disable_target(work: Work, target_id: str) -> Refusal | None:
    """Leave a target alone; what its counters do meanwhile is counted when it is enabled again."""
    return await _set_enabled(work, target_id, False)


async def _set_enabled(work: Work, target_id: str, enabled: bool) -> Refusal | None:
    if await target_rows.target_row(work.connection, target_id) is None:
        return _unknown_target(target_id)
    await target_rows.update_target(work.connection, target_id, {"enabled": enabled})
    if not enabled:
        await close_issue(work, issues.unreachable_key(target_id))
    await work.audit("snmp.target_enabled" if enabled else "snmp.target_disabled", target_id)
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

    ``reversed``: the interface's "in" is the download. ``bills`` False: it only checks another meter. Without
    ``rate_cap_bps`` the service's profile says what is too much.
    """
    if_name = if_name.strip()
    refusal = (
        _check_binding(if_name, rate_cap_bps)
        or await _check_free(work, target_id, if_name)
        or await _check_service(work, service_id, bills)
    )
    if refusal is not None:
        return refusal
    binding_id = work.ids.new("bnd")
    values: dict[str, Any] = {
        "id": binding_id, "target_id": target_id, "if_name": if_name, "service_id": service_id,
        "reversed": reversed, "bills": bills, "rate_cap_bps": rate_cap_bps,
    }  # fmt: skip
    await target_rows.insert_binding(work.connection, values)
    await work.audit(
        "snmp.bound", service_id, target=target_id, if_name=if_name, bills=bills, reversed=reversed
    )
    return binding_id


async def unbind(work: Work, *, target_id: str, if_name: str) -> Refusal | None:
    """The interface meters nobody any more; what it metered stays."""
    row = await target_rows.binding_at(work.connection, target_id, if_name.strip())
    if row is None:
        return Refusal("if_name.unbound", f"{if_name} meters nobody on this target", "if_name")
    await target_rows.delete_binding(work.connection, row.id)
    for key in (issues.not_octets_key(row.id), issues.beside_radius_key(row.id)):
        await close_issue(work, key)
    await work.audit("snmp.unbound", row.service_id, target=target_id, if_name=row.if_name)
    return None


def _check_name(name: str) -> Refusal | None:
    if 1 <= len(name) <= 80:
        return None
    return Refusal("name.length", "give the target a name of 1 to 80 characters", "name")


async def _check_name_free(work: Work, name: str) -> Refusal | None:
    if await target_rows.target_named(work.connection, name) is None:
        return None
    return Refusal("name.taken", f"there is a target {name} already; choose another name", "name")


def _check_address(address: str, port: int) -> Refusal | None:
    try:
        ip_address(address)
    except ValueError:
        return Refusal(
            "address.malformed", f"{address!r} is not an address; write it like 10.0.0.1", "address"
        )
    if not 1 <= port <= 65535:
        return Refusal("port.range", f"the port is {port}; it must be 1 to 65535, 161 is usual", "port")
    return None


def _check_interval(poll_interval_s: int) -> Refusal | None:
    if 1 <= poll_interval_s <= LONGEST_POLL_INTERVAL_S:
        return None
    return Refusal(
        "poll_interval_s.range",
        f"the poll interval is {poll_interval_s} s; it must be 1 to {LONGEST_POLL_INTERVAL_S}, 300 is usual",
        "poll_interval_s",
    )


def _check_binding(if_name: str, rate_cap_bps: int | None) -> Refusal | None:
    if not 1 <= len(if_name) <= 120:
        return Refusal(
            "if_name.length", "give the interface's name as the device spells it (ifName)", "if_name"
        )
    if rate_cap_bps is not None and rate_cap_bps <= 0:
        return Refusal(
            "rate_cap_bps.range", "the rate cap must be more than 0; or leave it out", "rate_cap_bps"
        )
    return None


async def _check_free(work: Work, target_id: str, if_name: str) -> Refusal | None:
    if await target_rows.lock_target(work.connection, target_id) is None:
        return _unknown_target(target_id)
    taken = await target_rows.binding_at(work.connection, target_id, if_name)
    if taken is None:
        return None
    return Refusal(
        "if_name.taken", f"{if_name} already meters {taken.service_id}; unbind it there first", "if_name"
    )


async def _check_service(work: Work, service_id: str, bills: bool) -> Refusal | None:
    """Octets are billed once: by RADIUS where it accounts, else by one interface."""
    if await entitlement_of(work.connection, service_id) is None:
        return Refusal("service.unknown", f"there is no service {service_id}; create it first", "service_id")
    if not bills:
        return None
    if await target_rows.metered_by_radius(work.connection, [service_id], work.now - RADIUS_MEMORY):
        return Refusal(
            "bills.radius",
            f"RADIUS accounting meters {service_id} and would bill the same; bind it for checking only",
            "bills",
        )
    other = await target_rows.billing_binding_of(work.connection, service_id)
    if other is not None:
        return Refusal(
            "bills.twice",
            f"{other.if_name} of {other.target_name} already bills {service_id}; bind this one for checking "
            "only, or unbind that one first",
            "bills",
        )
    return None


def _unknown_target(target_id: str) -> Refusal:
    return Refusal("target.unknown", f"there is no SNMP target {target_id}; register it first", "target_id")
