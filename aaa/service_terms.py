"""What creating and changing a service share: credentials, static addresses, telling the directories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.engine import Row

from aaa.domain import checks
from aaa.domain.identity import normalise_mac
from aaa.domain.line import PORT_PREFIX, NotALine, read_line, read_pattern
from aaa.domain.password_hash import NotUsable, PasswordHash, must_read_hash
from aaa.facts import AddressChanged
from aaa.lease_addresses import claim
from aaa.store import cpe_rows, repositories
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work


@dataclass(frozen=True, slots=True)
class NewCredential:
    """How a CPE signs in: ``pppoe`` with user name and password, ``mac`` with its address alone.

    By where it is: ``circuit`` with a line of option 82 (``aaa.domain.line.read_line``), ``port`` with the
    name of a NAS, a blank, and its port with the VLANs (``aaa.domain.line.read_port``).

    Instead of the password its hash may be given, as another system exported it
    (``aaa.domain.password_hash``).
    """

    kind: str
    username: str
    password: Secret | None = None
    password_hash: Secret | None = None


async def service_changed(work: Work, service_id: str, action: str, **detail: Any) -> None:
    """Tell the in-memory directories and the audit trail."""
    await repositories.append_directory_change(work.connection, "service", service_id, work.now)
    await work.audit(action, service_id, **detail)


async def living_service(work: Work, service_id: str) -> Row[Any] | Refusal:
    """The service, unless it is unknown or has ended."""
    row = await repositories.service_row(work.connection, service_id)
    if row is None:
        return unknown_service(service_id)
    if row.lifecycle == "ended":
        return Refusal("service.ended", f"{service_id} has ended; create a new service", "service_id")
    return row


async def check_credentials(
    work: Work, credentials: Sequence[NewCredential]
) -> list[NewCredential] | Refusal:
    """The credentials as stored: MACs spelled one way, no name twice, none that another service uses."""
    checked: list[NewCredential] = []
    for given in credentials:
        one = await _port_credential(work, given) if given.kind == "port" else _checked_credential(given)
        if isinstance(one, Refusal):
            return one
        row = await repositories.credential_row(work.connection, one.username)
        taken = row is not None and row.lifecycle != "ended"
        if taken or one.username in (other.username for other in checked):
            holder = row.label if row is not None and taken else "this service, twice"
            return Refusal(
                "username.taken",
                f"{one.username} already signs in to {holder}; use another name or end that service",
                "username",
            )
        checked.append(one)
    return checked


def _checked_credential(given: NewCredential) -> NewCredential | Refusal:
    if given.kind == "mac":
        return _mac_credential(given)
    if given.kind == "circuit":
        return _circuit_credential(given)
    if given.kind != "pppoe":
        return Refusal(
            "credential.kind",
            f"{given.kind!r} is no kind of credential; use pppoe, mac, circuit or port",
            "kind",
        )
    username = checks.check_text(given.username, "username", 253)
    if isinstance(username, Refusal):
        return username
    return _with_password(given, username)


def _mac_credential(given: NewCredential) -> NewCredential | Refusal:
    mac = normalise_mac(given.username)
    if mac is None:
        return Refusal(
            "mac.malformed", f"{given.username!r} is not a MAC; write it like 00:e1:0c:38:c8:f8", "username"
        )
    return NewCredential("mac", mac, None)


def _circuit_credential(given: NewCredential) -> NewCredential | Refusal:
    try:
        return NewCredential("circuit", read_line(given.username), None)
    except NotALine as trouble:
        return Refusal("line.malformed", str(trouble), "username")


async def _port_credential(work: Work, given: NewCredential) -> NewCredential | Refusal:
    name, _, port = given.username.strip().rpartition(" ")
    row = await repositories.nas_named(work.connection, name.strip())
    if row is None:
        return Refusal(
            "port.nas",
            f"{given.username!r} does not begin with the name of a NAS; write it like: "
            "north-ridge ether3:200.30",
            "username",
        )
    try:
        pattern = read_pattern(port)
    except NotALine as trouble:
        return Refusal("port.malformed", str(trouble), "username")
    if pattern.interface == "*":
        return Refusal("port.any", "a login is told by one port; name its interface", "username")
    return NewCredential("port", f"{PORT_PREFIX}{row.id}/{pattern}", None)


def _with_password(given: NewCredential, username: str) -> NewCredential | Refusal:
    if given.password_hash is not None:
        hashed = usable_hash(given.password_hash)
        return hashed if isinstance(hashed, Refusal) else replace(given, username=username)
    if given.password is None or not given.password.reveal():
        return no_password()
    return NewCredential("pppoe", username, given.password)


def usable_hash(given: Secret) -> PasswordHash | Refusal:
    """The hash of a password as another system exported it."""
    try:
        return must_read_hash(given.reveal().strip())
    except NotUsable as trouble:
        return Refusal("password_hash.unusable", str(trouble), "password_hash")


def kept_password(sealer: Sealer, kept: Secret | PasswordHash) -> dict[str, Any]:
    """The columns that keep a password, or the hash of one and no password."""
    if isinstance(kept, PasswordHash):
        sealed = sealer.seal(Secret(kept.text), "credential.hash")
        return {"password_sealed": None, "hash_sealed": sealed, "hash_scheme": kept.scheme}
    sealed = sealer.seal(kept, "credential.password")
    return {"password_sealed": sealed, "hash_sealed": None, "hash_scheme": None}


def credential_values(work: Work, sealer: Sealer, service_id: str, one: NewCredential) -> dict[str, Any]:
    """The row of a checked credential."""
    kept: Secret | PasswordHash | None = one.password
    if one.password_hash is not None:
        kept = must_read_hash(one.password_hash.reveal().strip())
    nothing = {"password_sealed": None, "hash_sealed": None, "hash_scheme": None}
    return {
        "id": work.ids.new("crd"), "service_id": service_id, "kind": one.kind, "username": one.username,
        "created_at": work.now,
    } | (nothing if kept is None else kept_password(sealer, kept))  # fmt: skip


async def check_static_address(work: Work, framed_ip: str, service_id: str = "") -> str | Refusal:
    """The address as stored, unless another living service has it."""
    address = checks.check_static_address(framed_ip)
    if isinstance(address, Refusal):
        return address
    row = await repositories.service_with_static_ip(work.connection, address)
    if row is not None and row.id != service_id and row.lifecycle != "ended":
        return Refusal(
            "framed_ip.taken", f"{address} is the address of {row.label}; give another one", "framed_ip"
        )
    return await claim(work, address, service_id, "framed_ip") or address


async def release(work: Work, usernames: Sequence[str], address: str | None) -> None:
    """Take names and address away from services that have ended, for the one that gets them now."""
    for username in usernames:
        row = await repositories.credential_row(work.connection, username)
        if row is not None:
            await repositories.delete_credential(work.connection, username)
            await cpe_rows.retire_all(
                work.connection, username, work.now, "the login went to another service"
            )
            await service_changed(work, row.service_id, "credential.release", username=username)
    previous = (
        None if address is None else await repositories.service_with_static_ip(work.connection, address)
    )
    if previous is not None:
        await repositories.update_service(work.connection, previous.id, {"framed_ip": None})
        await service_changed(work, previous.id, "service.static_address", framed_ip=None)
        await tell_addresses(work, previous.id)


async def tell_addresses(work: Work, service_id: str) -> None:
    """A held service has another set of addresses: its blocks have to follow."""
    row = await repositories.entitlement_row(work.connection, service_id)
    if row is None or row.effect == "none":
        return
    addresses = (await repositories.addresses_by_service(work.connection, [service_id]))[service_id]
    await work.publish(AddressChanged(service_id, row.generation, row.effect, sorted(addresses)))


def unknown_service(service_id: str) -> Refusal:
    """No service has that id."""
    return Refusal(
        "service.unknown", f"there is no service {service_id}; look it up by its account", "service_id"
    )


def unknown_profile(profile_id: str) -> Refusal:
    """No profile has that id."""
    return Refusal("profile.unknown", f"there is no profile {profile_id}; define it first", "profile_id")


def no_password() -> Refusal:
    """An empty password is not one."""
    return Refusal(
        "password.empty", "a PPPoE user needs a password; an empty one would let anybody in", "password"
    )
