"""The directory: everything authorization needs, in memory, answering without I/O.

A ``Directory`` is an immutable snapshot. ``load`` makes the first one; ``refreshed`` makes the next from the
change feed, touching only what changed. While the database is away the last snapshot goes on answering.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.define_pool import pools_of
from aaa.directory_certificates import ENTITIES, Certificates
from aaa.directory_realms import Realms, load_realms
from aaa.domain.address_pool import AddressPool
from aaa.domain.addressing import NO_ADDRESSING, Addressing
from aaa.domain.authentication import Credential
from aaa.domain.conditions import MAC_ALONE, Conditions
from aaa.domain.effect import Effect
from aaa.domain.gear import GearLogin
from aaa.domain.line import read_port
from aaa.domain.mac_convention import MacConvention
from aaa.domain.nt_hash import md4
from aaa.domain.password_hash import PasswordHash
from aaa.domain.profile import (
    AccessPolicy,
    Profile,
    SessionTerms,
    from_own_pools,
    interim_interval_s,
    is_admitted,
    terms_of,
)
from aaa.domain.profile_terms import FIELDS
from aaa.domain.reply_template import ReplyTemplate
from aaa.gear_logins import load_gear
from aaa.store import cpe_rows, prefix_rows
from aaa.store import directory_rows as rows
from core.secrets import Sealer, SealError, Secret

_PAGE = 250  # services between two breaths of the event loop
_READ_AT_ONCE = 2_000  # services a query
_CHANGES_AT_ONCE = 5_000
_UNLIMITED = 64
"""Addresses of a service whose devices nobody counts."""


@dataclass(frozen=True, slots=True)
class KnownNas:
    """A device that may send us RADIUS."""

    id: str
    name: str
    network: IPv4Network | IPv6Network
    identifier: str | None
    dialect: str
    secret: Secret
    message_authenticator: str  # require, auto, off
    signs_requests: bool
    macs: MacConvention
    octets_reversed: bool
    dynauth_port: int
    identity: str = "user_name"
    """What says who signs in: ``user_name``, ``circuit`` (option 82) or ``port`` (NAS-Port-Id)."""
    old_secret: Secret | None = None
    """While the secret is rotated: what its devices may use until ``old_secret_until``."""
    old_secret_until: datetime | None = None
    on_new_secret: frozenset[str] = frozenset()
    """Addresses that were last seen to use the new one."""
    radsec_identity: str | None = None
    admin_logins: bool = False
    """Whether operators may sign in to the device itself."""


@dataclass(frozen=True, slots=True, eq=False)
class ServiceAccess:
    """What a service may do now, ready to be answered with."""

    id: str
    lifecycle: str
    effect: Effect
    generation: int
    because: tuple[str, ...]
    terms: SessionTerms
    framed_ip: str | None
    interim_interval_s: int
    devices: int
    profile_name: str
    admitted: bool = True
    """Whether the right password gets a session (perhaps one in the walled garden)."""
    addressing: Addressing = NO_ADDRESSING
    pools: tuple[AddressPool, ...] = ()
    """Hilltop's pools it gets something from: those of its terms, without what it has for good."""
    addresses: int = 1
    """How many devices at once get something of each."""
    limited: bool = False
    """Whether a device beyond ``devices`` is refused while the others are alive."""


@dataclass(frozen=True, slots=True, eq=False)
class Login:
    """A credential and the service behind it."""

    credential: Credential
    service: ServiceAccess
    conditions: Conditions | None = None
    """What a sign-in has to fulfil beside its proof; None for most."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A snapshot as of change ``seq``. ``troubles`` names rows that could not be used, for the operator."""

    seq: int
    policy: AccessPolicy
    nases: tuple[KnownNas, ...]
    profiles: Mapping[str, Profile]
    logins: Mapping[bytes, Login] = field(repr=False)
    usernames_of: Mapping[str, tuple[bytes, ...]] = field(repr=False)
    troubles: tuple[str, ...] = ()
    certificates: Certificates = field(default_factory=Certificates, repr=False)
    templates: tuple[ReplyTemplate, ...] = ()
    """The operator's own reply lines, of every scope."""
    limited: frozenset[str] = field(default=frozenset(), repr=False)
    """The services on which a device too many is refused."""
    pools: tuple[AddressPool, ...] = ()
    """Hilltop's own."""
    realms: Realms | None = None
    """Whose sign-ins another server answers; None: nobody's."""
    gear: Mapping[bytes, GearLogin] = field(default_factory=dict, repr=False)
    """Operators' logins to network gear, by name."""

    @classmethod
    async def load(
        cls, connection: AsyncConnection, sealer: Sealer, policy: AccessPolicy | None = None
    ) -> Directory:
        """Read everything within one snapshot of the database, letting other tasks run between pages."""
        policy = policy or AccessPolicy()
        seq = await rows.newest_change(connection)
        draft = _Draft(sealer, policy)
        draft.take_profiles(await rows.profile_rows(connection))
        draft.take_templates(await rows.template_rows(connection))
        draft.take_pools(await pools_of(connection))
        nases = draft.nases(*await _nas_rows(connection))
        after = ""
        with _without_collections():
            while page := await rows.service_page(connection, after, _READ_AT_ONCE):
                last = page[-1].id
                await draft.take_page(
                    page,
                    await rows.credentials_between(connection, after, last),
                    await prefix_rows.prefixes_between(connection, after, last),
                    await cpe_rows.bound_between(connection, after, last),
                )
                after = last
        await draft.read_realms(connection)
        await draft.read_gear(connection)
        return draft.finished(seq, nases, await Certificates.load(connection, sealer))

    @classmethod
    async def of_usernames(
        cls,
        connection: AsyncConnection,
        sealer: Sealer,
        usernames: Sequence[str],
        policy: AccessPolicy | None = None,
    ) -> Directory:
        """A directory of these user names alone, for explaining one of them."""
        draft = _Draft(sealer, policy or AccessPolicy())
        draft.take_profiles(await rows.profile_rows(connection))
        draft.take_templates(await rows.template_rows(connection))
        draft.take_pools(await pools_of(connection))
        ids = sorted(set(await rows.service_ids_of_usernames(connection, usernames)))
        await draft.read_services(connection, ids)
        await draft.read_realms(connection)
        return draft.finished(await rows.newest_change(connection), draft.nases(*await _nas_rows(connection)))

    @staticmethod
    async def access_of(
        connection: AsyncConnection, sealer: Sealer, service_id: str, effect: Effect, policy: AccessPolicy
    ) -> ServiceAccess:
        """What a service may do under ``effect``, straight from the database and without its credentials."""
        draft = _Draft(sealer, policy)
        draft.take_profiles(await rows.profile_rows(connection))
        draft.take_pools(await pools_of(connection))
        (row,) = await rows.services_with_ids(connection, [service_id])
        own = (await prefix_rows.addressing_of(connection, [row]))[service_id]
        return draft.service(row, own, effect)

    @staticmethod
    async def access_under(
        connection: AsyncConnection, profile_id: str, effect: Effect, policy: AccessPolicy
    ) -> ServiceAccess | None:
        """What a service that has nothing of its own may do under a profile; None: there is no such one."""
        found = {row.id: _profile(row) for row in await rows.profile_rows(connection)}
        profile = found.get(profile_id)
        if profile is None:
            return None
        lifecycle = "ended" if effect is Effect.ENDED else "active"
        own = {one.name: one for one in await pools_of(connection)}
        terms = from_own_pools(terms_of(profile, effect, policy), own)
        return ServiceAccess(
            "svc_preview", lifecycle, effect, 1, (), terms, None,
            interim_interval_s(profile, "", policy), 1, profile.name,
            is_admitted(profile, lifecycle, effect, policy), pools=terms.pools,
        )  # fmt: skip

    @staticmethod
    async def templates_of(connection: AsyncConnection) -> tuple[ReplyTemplate, ...]:
        """The reply templates as they stand."""
        return _templates(await rows.template_rows(connection))

    async def refreshed(self, connection: AsyncConnection, sealer: Sealer) -> Directory:
        """The snapshot after the latest changes; the same object when nothing changed."""
        changes = await rows.changes_after(connection, self.seq, _CHANGES_AT_ONCE)
        if not changes:
            return self
        if len(changes) == _CHANGES_AT_ONCE:
            return await Directory.load(connection, sealer, self.policy)
        return await self._with(connection, sealer, changes)

    async def _with(self, connection: AsyncConnection, sealer: Sealer, changes: Sequence[Any]) -> Directory:
        draft = _Draft(sealer, self.policy, dict(self.profiles), dict(self.logins), dict(self.usernames_of))
        draft.limited = set(self.limited)
        draft.templates, draft.realms, draft.pools = self.templates, self.realms, self.pools
        draft.gear = self.gear
        if any(change.entity == "gear" for change in changes):
            await draft.read_gear(connection)
        if any(change.entity == "template" for change in changes):
            draft.take_templates(await rows.template_rows(connection))
        services = {change.entity_id for change in changes if change.entity == "service"}
        profiles = sorted({change.entity_id for change in changes if change.entity == "profile"})
        if any(change.entity == "pool" for change in changes):
            draft.take_pools(await pools_of(connection))
            profiles = sorted({*profiles, *_using(self.profiles, self.policy, self.pools, draft.pools)})
        if profiles:
            draft.take_profiles(await rows.profile_rows(connection))
            services.update(await rows.services_with_profile(connection, profiles))
        changed = sorted(services)
        for start in range(0, len(changed), _PAGE):
            draft.forget(changed[start : start + _PAGE])
        for start in range(0, len(changed), _PAGE):
            some = changed[start : start + _PAGE]
            await draft.read_services(connection, some)
            await asyncio.sleep(0)
        nases = self.nases
        if any(change.entity == "nas" for change in changes):
            nases = draft.nases(*await _nas_rows(connection))
        if profiles or any(change.entity == "realm" for change in changes):
            await draft.read_realms(connection)
        certificates = self.certificates
        ours = [(change.entity, change.entity_id) for change in changes if change.entity in ENTITIES]
        if ours:
            certificates = await certificates.refreshed(connection, sealer, ours)
        return draft.finished(changes[-1].seq, nases, certificates)


@contextmanager
def _without_collections() -> Iterator[None]:
    """What is loaded stays: walking through it for garbage again and again is a quarter of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _using(
    profiles: Mapping[str, Profile],
    policy: AccessPolicy,
    before: Sequence[AddressPool],
    after: Sequence[AddressPool],
) -> set[str]:
    """The profiles that name a pool which is another one now."""
    names = {one.name for one in {*before} ^ {*after}}
    if policy.walled_pool in names:
        return set(profiles)
    return {
        profile_id
        for profile_id, one in profiles.items()
        if names & {one.pool, one.ipv6_pool, one.delegated_pool}
    }


async def _nas_rows(connection: AsyncConnection) -> tuple[Sequence[Any], Sequence[Any]]:
    """The NASes and, while secrets are rotated, who uses which."""
    found = await rows.nas_rows(connection)
    rotating = [row.id for row in found if row.old_secret_sealed is not None]
    return found, await rows.secret_uses(connection, rotating) if rotating else ()


def _with_uses(nas: KnownNas, uses: Sequence[Any]) -> KnownNas:
    """The NAS with the addresses whose newest sighting was under the new secret."""
    on_new = {
        use.address
        for use in uses
        if use.nas_id == nas.id and use.new_at and (use.old_at is None or use.new_at >= use.old_at)
    }
    return replace(nas, on_new_secret=frozenset(on_new)) if on_new else nas


def _by_service(found: Sequence[Any]) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = {}
    for row in found:
        grouped.setdefault(row.service_id, []).append(row)
    return grouped


class _Draft:
    """A directory in the making."""

    def __init__(
        self,
        sealer: Sealer,
        policy: AccessPolicy,
        profiles: dict[str, Profile] | None = None,
        logins: dict[bytes, Login] | None = None,
        usernames_of: dict[str, tuple[bytes, ...]] | None = None,
    ) -> None:
        self._sealer = sealer
        self._policy = policy
        self._profiles = profiles or {}
        self._logins = logins if logins is not None else {}
        self._usernames_of = usernames_of if usernames_of is not None else {}
        self._terms: dict[tuple[str, Effect], SessionTerms] = {}
        self._shared_conditions = {MAC_ALONE: MAC_ALONE}
        self._troubles: list[str] = []
        self.templates: tuple[ReplyTemplate, ...] = ()
        self.limited: set[str] = set()
        self.pools: tuple[AddressPool, ...] = ()
        self.realms: Realms | None = None
        self.gear: Mapping[bytes, GearLogin] = {}

    def finished(
        self, seq: int, nases: tuple[KnownNas, ...], certificates: Certificates | None = None
    ) -> Directory:
        certificates = certificates or Certificates()
        return Directory(
            seq, self._policy, nases, self._profiles, self._logins, self._usernames_of,
            (*self._troubles, *certificates.troubles), certificates, self.templates,
            frozenset(self.limited), self.pools, self.realms, self.gear,
        )  # fmt: skip

    async def read_realms(self, connection: AsyncConnection) -> None:
        def terms(profile_id: str) -> SessionTerms | None:
            profile = self._profiles.get(profile_id)
            return None if profile is None else terms_of(profile, Effect.NONE, self._policy)

        self.realms = await load_realms(connection, self._sealer, terms)
        if self.realms is not None:
            self._troubles += self.realms.troubles

    def take_pools(self, pools: Iterable[AddressPool]) -> None:
        self.pools = tuple(pools)

    def take_templates(self, found: Sequence[Any]) -> None:
        self.templates = _templates(found)

    def take_profiles(self, found: Sequence[Any]) -> None:
        self._profiles = {row.id: _profile(row) for row in found}

    def nases(self, found: Sequence[Any], uses: Sequence[Any]) -> tuple[KnownNas, ...]:
        """The NASes whose secret can be opened, longest prefix first; ``uses``: of secrets being rotated."""
        known = [one for one in map(self._nas, found) if one is not None]
        if uses:
            known = [_with_uses(one, uses) for one in known]
        return tuple(sorted(known, key=lambda one: (-one.network.prefixlen, one.id)))

    def _nas(self, row: Any) -> KnownNas | None:
        try:
            secret = self._sealer.open(row.secret_sealed, "nas.secret")
        except SealError as trouble:
            self._troubles.append(f"NAS {row.name} is ignored: {trouble}; enter its secret again")
            return None
        return KnownNas(
            row.id, row.name, ip_network(row.network), row.identifier, row.dialect, secret,
            row.message_authenticator, row.signs_requests, self._macs(row), row.octets_reversed,
            row.dynauth_port, row.identity, self._old_secret(row), row.old_secret_until,
            radsec_identity=row.radsec_identity, admin_logins=row.admin_logins,
        )  # fmt: skip

    def _macs(self, row: Any) -> MacConvention:
        shared = ""
        if row.mac_password_sealed is not None:
            try:
                shared = self._sealer.open(row.mac_password_sealed, "nas.mac_password").reveal()
            except SealError as trouble:
                self._troubles.append(
                    f"the password for MAC logins of NAS {row.name} cannot be read: {trouble}; enter it again"
                )
        return MacConvention(row.mac_format, row.mac_case, row.mac_password, shared.encode())

    def _old_secret(self, row: Any) -> Secret | None:
        if row.old_secret_sealed is None:
            return None
        try:
            return self._sealer.open(row.old_secret_sealed, "nas.secret")
        except SealError as trouble:
            self._troubles.append(f"the old secret of NAS {row.name} is ignored: {trouble}")
            return None

    def forget(self, service_ids: Iterable[str]) -> None:
        for service_id in service_ids:
            self.limited.discard(service_id)
            for username in self._usernames_of.pop(service_id, ()):
                login = self._logins.get(username)
                if login is not None and login.service.id == service_id:  # the name may be another's by now
                    del self._logins[username]

    async def read_gear(self, connection: AsyncConnection) -> None:
        """Take operators' logins to network gear as the database has them."""
        self.gear, troubles = await load_gear(connection, self._sealer)
        self._troubles += troubles

    async def read_services(self, connection: AsyncConnection, ids: Sequence[str]) -> None:
        """Take these services as the database has them."""
        self.take_services(
            await rows.services_with_ids(connection, ids),
            await rows.credentials_of(connection, ids),
            await prefix_rows.prefixes_of(connection, ids),
            await cpe_rows.bound_to_services(connection, ids),
        )

    async def take_page(
        self,
        services: Sequence[Any],
        credentials: Sequence[Any],
        prefixes: Sequence[Any],
        bound: Mapping[str, tuple[str, ...]],
    ) -> None:
        """Take many services, a breath of the event loop between some of them and the next."""
        logins, addresses = _by_service(credentials), _by_service(prefixes)
        for start in range(0, len(services), _PAGE):
            some = services[start : start + _PAGE]
            self.take_services(
                some,
                [row for one in some for row in logins.get(one.id, ())],
                [row for one in some for row in addresses.get(one.id, ())],
                bound,
            )
            await asyncio.sleep(0)

    def take_services(
        self,
        services: Sequence[Any],
        credentials: Sequence[Any],
        prefixes: Sequence[Any],
        bound: Mapping[str, tuple[str, ...]],
    ) -> None:
        having = {row.service_id for row in prefixes}
        netmasks = {row.id: row.netmask_bits for row in services if row.netmask_bits or row.id in having}
        own = prefix_rows.as_addressing(netmasks, prefixes)
        access = {
            row.id: self.service(row, own.get(row.id, NO_ADDRESSING), Effect(row.effect)) for row in services
        }
        for row, credential in zip(credentials, self._credentials(credentials), strict=True):
            if row.service_id not in access:
                continue
            username = row.username.encode()
            service = access[row.service_id]
            conditions = self._conditions(row, service, bound.get(row.username, ()))
            self._logins[username] = Login(credential, service, conditions)
            if service.limited:
                self.limited.add(service.id)
            others = self._usernames_of.get(row.service_id, ())
            self._usernames_of[row.service_id] = (*others, username)

    def _conditions(self, row: Any, service: ServiceAccess, macs: tuple[str, ...]) -> Conditions | None:
        binding = "off" if row.kind == "mac" else row.binding or self._policy.binding
        is_free = binding == "off" and row.port_pattern is None and row.port_nas_id is None
        if is_free and row.kind != "mac" and not service.limited:
            return None
        conditions = Conditions(
            binding, macs if binding != "off" else (), row.replace_until, row.replace_mac, row.port_nas_id,
            None if row.port_pattern is None else read_port(row.port_pattern),
            service.devices if service.limited else 0, row.kind == "mac",
        )  # fmt: skip
        return self._shared_conditions.setdefault(conditions, conditions)

    def _credentials(self, found: Sequence[Any]) -> list[Credential]:
        """The credentials of these rows, the hashes of all their passwords made at once."""
        passwords = [self._opened(row, row.password_sealed, "credential.password") for row in found]
        kept = [self._kept_hash(row) for row in found]
        hashes = md4([password.encode("utf-16-le") for password in passwords])
        for place, hashed in enumerate(kept):
            if hashed is not None:
                hashes[place] = bytes.fromhex(hashed.text) if hashed.scheme == "nt" else b""
        credentials = []
        for row, password, once, twice, hashed in zip(
            found, passwords, hashes, md4(hashes), kept, strict=True
        ):
            hash_hash = twice if once else b""
            credentials.append(Credential(row.username, row.kind, password.encode(), once, hash_hash, hashed))
        return credentials

    def _kept_hash(self, row: Any) -> PasswordHash | None:
        text = self._opened(row, row.hash_sealed, "credential.hash")
        return PasswordHash(row.hash_scheme, text) if text else None

    def _opened(self, row: Any, sealed: str | None, purpose: str) -> str:
        """What was sealed; empty when there is nothing, or nothing that opens."""
        if sealed is None:
            return ""
        try:
            return self._sealer.open(sealed, purpose).reveal()
        except SealError as trouble:
            self._troubles.append(f"{row.username} cannot sign in: {trouble}; set the password again")
            return ""

    def service(self, row: Any, addressing: Addressing, effect: Effect) -> ServiceAccess:
        profile = self._profiles[row.profile_id]
        because = () if row.effect == "none" else tuple(_reason(one) for one in row.because)
        terms, devices = self._terms_of(profile, effect), row.devices or profile.devices or 1
        crowd = row.when_crowded or profile.when_crowded or self._policy.when_crowded
        return ServiceAccess(
            row.id, row.lifecycle, effect, row.generation, because, terms, row.framed_ip,
            interim_interval_s(profile, row.id, self._policy), devices, profile.name,
            is_admitted(profile, row.lifecycle, effect, self._policy), addressing,
            _pools_for(terms, row.framed_ip, addressing) if terms.pools else (),
            _UNLIMITED if crowd == "unlimited" else devices, crowd == "oldest",
        )  # fmt: skip

    def _terms_of(self, profile: Profile, effect: Effect) -> SessionTerms:
        key = (profile.id, effect)
        terms = self._terms.get(key)
        if terms is None:
            terms = terms_of(profile, effect, self._policy)
            if self.pools:
                terms = from_own_pools(terms, {one.name: one for one in self.pools})
            self._terms[key] = terms
        return terms


def _pools_for(terms: SessionTerms, framed_ip: str | None, own: Addressing) -> tuple[AddressPool, ...]:
    """The pools of the terms without those of what the service has for good."""
    has = {
        "ipv4": framed_ip, "ipv6_prefix": own.ipv6_prefix, "delegated_prefix": own.delegated_prefix,
    }  # fmt: skip
    if any(has[one.kind] for one in terms.pools):
        return tuple(one for one in terms.pools if not has[one.kind])
    return terms.pools


def _profile(row: Any) -> Profile:
    return Profile(id=row.id, **{field: getattr(row, field) for field in FIELDS})


def _templates(found: Sequence[Any]) -> tuple[ReplyTemplate, ...]:
    return tuple(
        ReplyTemplate(
            row.id, row.profile_id, row.nas_id, row.dialect, row.lines, row.profile or "", row.nas or ""
        )
        for row in found
    )


def _reason(one: Mapping[str, Any]) -> str:
    holder, reason = one.get("holder", ""), one.get("reason", "")
    return f"{holder}: {reason}" if holder else str(reason)
