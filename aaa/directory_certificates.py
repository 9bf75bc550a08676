"""The directory's certificates: whom TLS may trust, what we show, and whose each client certificate is.

A part of the directory's snapshot, as immutable as the rest. What TLS contexts are made of is one object that
stays the same while only clients' certificates come and go: compare it with ``is``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from sys import intern
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store import certificate_rows as rows
from core.secrets import Sealer, SealError, Secret

ENTITIES = frozenset({"authority", "certificate"})
"""What the change feed calls our rows."""

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """An authority whose certificates may be shown to us, by those in ``uses`` (client, nas)."""

    id: str
    name: str
    certificate: str
    """PEM."""
    issuer_digest: str
    uses: frozenset[str]
    is_ours: bool
    not_after: datetime


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """What we show: ``chain`` (PEM) begins with our own certificate and leaves the root out."""

    id: str
    names: tuple[str, ...]
    chain: str
    key: Secret
    key_type: str
    not_after: datetime


@dataclass(frozen=True, slots=True, eq=False)
class TlsMaterial:
    """What a TLS context is made of. ``servers``: the newest of each kind of key, P-256 before RSA."""

    anchors: tuple[TrustAnchor, ...] = ()
    servers: tuple[ServerCertificate, ...] = ()

    def anchors_for(self, use: str) -> str:
        """The trusted authorities for ``client`` or ``nas``, as PEM one after the other; may be empty."""
        return "".join(one.certificate for one in self.anchors if use in one.uses)


@dataclass(frozen=True, slots=True)
class KnownCertificate:
    """A certificate of ours: a client's (``service_id``, ``username``) or a NAS's (``nas_id``)."""

    id: str
    purpose: str
    service_id: str | None
    username: str | None
    nas_id: str | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class OutsideCertificate:
    """One of an outside authority: the names it carries, common name first."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unacceptable:
    """Why a certificate that OpenSSL verified is refused all the same. ``rule`` is stable for programs."""

    rule: str
    explanation: str
    remedy: str


@dataclass(frozen=True, slots=True, eq=False)
class Certificates:
    """A snapshot. ``known`` is by the SHA-256 of the DER; ``outside_revoked`` by issuer and serial."""

    tls: TlsMaterial = TlsMaterial()
    known: Mapping[bytes, KnownCertificate] = field(default_factory=dict, repr=False)
    outside_revoked: Mapping[str, frozenset[int]] = field(default_factory=dict, repr=False)
    troubles: tuple[str, ...] = ()

    @classmethod
    async def load(cls, connection: AsyncConnection, sealer: Sealer) -> Certificates:
        """Everything, letting other tasks run between pages."""
        known: dict[bytes, KnownCertificate] = {}
        after = ""
        while page := await rows.known_page(connection, after, _PAGE):
            _take(page, known)
            after = page[-1].id
            await asyncio.sleep(0)
        return await _over(connection, sealer, known)

    async def refreshed(
        self, connection: AsyncConnection, sealer: Sealer, changes: Sequence[tuple[str, str]]
    ) -> Certificates:
        """The next snapshot after ``changes`` ((entity, id) of the feed): those rows alone are read."""
        changed = sorted({entity_id for entity, entity_id in changes if entity == "certificate"})
        known = self.known
        found = await rows.known_with_ids(connection, changed)
        if found:
            known = dict(known)
            _take(found, known)
        if len(found) < len(changed) or any(entity == "authority" for entity, _ in changes):
            return await _over(connection, sealer, known)
        return Certificates(self.tls, known, self.outside_revoked, self.troubles)

    def judge(self, der: bytes, purpose: str) -> KnownCertificate | OutsideCertificate | Unacceptable:
        """Whose the certificate is that OpenSSL has verified against ``tls.anchors_for(purpose)``.

        One of ours must be on our list: what our authority signed and we do not know of was never issued.
        """
        known = self.known.get(sha256(der).digest())
        if known is None:
            return self._judge_unlisted(der, purpose)
        if known.revoked:
            return Unacceptable(
                "certificate_revoked", f"its certificate {known.id} is revoked",
                "issue another certificate, if the device may sign in",
            )  # fmt: skip
        if known.purpose != purpose:
            return Unacceptable(
                "certificate_purpose",
                f"its certificate {known.id} is a {known.purpose}'s, not a {purpose}'s",
                "give the device the certificate that was issued for it",
            )  # fmt: skip
        return known

    def _judge_unlisted(self, der: bytes, purpose: str) -> OutsideCertificate | Unacceptable:
        from core import pki  # five megabytes, for those who have outside authorities

        try:
            (shown,) = pki.read_certificates(der)
            digest, names = pki.issuer_digest(shown).hex(), pki.names_in(shown)
        except (pki.PkiError, ValueError):
            return Unacceptable("certificate_damaged", "its certificate cannot be read", "issue another one")
        revoked = self.outside_revoked.get(digest)
        if revoked is None or not self._trusts(digest, purpose):
            return Unacceptable(
                "certificate_unknown", "its certificate is on no list of ours",
                "issue the device a certificate here, or trust the authority that issued it",
            )  # fmt: skip
        if shown.serial_number in revoked:
            return Unacceptable(
                "certificate_revoked", f"its certificate {shown.serial_number:x} is revoked by its issuer",
                "let its authority issue another one",
            )  # fmt: skip
        return OutsideCertificate(names.all)

    def _trusts(self, issuer_digest: str, purpose: str) -> bool:
        return any(one.issuer_digest == issuer_digest and purpose in one.uses for one in self.tls.anchors)


def _take(page: Collection[Any], known: dict[bytes, KnownCertificate]) -> None:
    for row in page:
        known[bytes.fromhex(row.fingerprint)] = KnownCertificate(
            row.id, intern(row.purpose), row.service_id, row.username, row.nas_id, row.revoked_at is not None
        )


async def _over(
    connection: AsyncConnection,
    sealer: Sealer,
    known: Mapping[bytes, KnownCertificate],
) -> Certificates:
    """With authorities and our own certificates read anew: they are few."""
    trusted = [row for row in await rows.authorities(connection) if row.retired_at is None]
    anchors = tuple(
        TrustAnchor(
            row.id, row.name, row.certificate, row.issuer_digest, frozenset(row.uses), row.kind != "outside",
            row.not_after,
        )
        for row in trusted
    )  # fmt: skip
    by_id = {row.id: row for row in trusted}
    troubles: list[str] = []
    servers: dict[str, ServerCertificate] = {}
    for row in await rows.servers_in_use(connection):
        kind = row.key_type[:3]
        one = None if kind in servers else _server(sealer, row, by_id, troubles)
        if one is not None:
            servers[kind] = one
    revoked = {
        row.issuer_digest: frozenset(int(one, 16) for one in row.outside_revoked)
        for row in trusted
        if row.kind == "outside"
    }
    shown = tuple(sorted(servers.values(), key=lambda one: one.key_type))
    return Certificates(TlsMaterial(anchors, shown), known, revoked, tuple(troubles))


def _server(
    sealer: Sealer, row: Any, authorities: Mapping[str, Any], troubles: list[str]
) -> ServerCertificate | None:
    try:
        key = sealer.open(row.key_sealed, "certificate.private_key")
    except SealError as trouble:
        troubles.append(f"the server certificate {row.subject} cannot be shown: {trouble}; issue another")
        return None
    chain, above = row.certificate, authorities.get(row.authority_id)
    if above is not None and above.kind == "issuing":
        chain += above.certificate
    return ServerCertificate(row.id, tuple(row.names), chain, key, row.key_type, row.not_after)
