"""Issue certificates: for our own RADIUS server, for subscribers' devices, for NASes that come by RadSec.

Keys of others are made here, handed out once with the certificate, and kept nowhere. Who has a key already
sends a request instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any

from sqlalchemy.engine import Row

from aaa import service_terms
from aaa.domain import certificate as rules
from aaa.domain.checks import check_choice
from aaa.make_authority import crl_url, signer
from aaa.service_terms import NewCredential
from aaa.store import certificate_rows as rows
from aaa.store import repositories
from core import pki
from core.refusal import Refusal
from core.secrets import Sealer, Secret, random_password
from core.work import Work

KEY_PURPOSE = "certificate.private_key"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new certificate with its chain (PEM), and the key that is given out this once and not kept."""

    id: str
    label: str
    certificate: str
    chain: str
    """The authorities above it, from the nearest to the root."""
    not_after: datetime
    key: Secret | None = field(default=None, repr=False)

    def bundle(self, password: Secret, *, old: bool = False) -> bytes:
        """PKCS#12 of key and chain under a password. Raises ``PkiError`` when the key is not at hand."""
        if self.key is None:
            raise pki.PkiError("the key is where the request was made; only the certificate can be had here")
        chain = pki.read_certificates((self.certificate + self.chain).encode())
        return pki.bundle(self.label, pki.key_from_pem(self.key), chain, password, old=old)


@dataclass(frozen=True, slots=True)
class Order:
    """How a certificate is wanted: for how many days, and with a new key of which type or for a request's."""

    days: int | None = None
    key_type: str = "p256"
    request: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Holder:
    """Whom a certificate is for."""

    purpose: str
    names: pki.Names
    service_id: str | None = None
    username: str | None = None
    nas_id: str | None = None


async def issue_server_certificate(
    work: Work, sealer: Sealer, *, names: Sequence[str], order: Order | None = None
) -> Issued | Refusal:
    """Our own certificate for EAP and RadSec, under these host names and addresses; its key stays here.

    It is shown from then on in place of the one before with a key of the same kind: one of P-256 and one of
    RSA may be in use together, and each client gets what it can read.
    """
    await repositories.take_directory_lane(work.connection)
    if order is not None and order.request is not None:
        return Refusal("request.own", "our own key is made here; leave the request out", "request")
    checked = _host_names(names)
    if isinstance(checked, Refusal):
        return checked
    made = await _issue(work, sealer, _Holder("server", checked), order or Order())
    if not isinstance(made, Refusal):
        await _supersede_servers(work, made)
    return made


async def _supersede_servers(work: Work, made: Issued) -> None:
    (own,) = pki.read_certificates(made.certificate.encode())
    kind = pki.type_of(own.public_key())[:3]  # type: ignore[arg-type]
    for row in await rows.servers_in_use(work.connection):
        if row.id != made.id and row.key_type[:3] == kind:
            await rows.update_certificate(work.connection, row.id, {"superseded_at": work.now})


async def issue_client_certificate(
    work: Work,
    sealer: Sealer,
    *,
    service_id: str,
    username: str | None = None,
    order: Order | None = None,
) -> Issued | Refusal:
    """For EAP-TLS: lets a device sign in as ``username`` of a service, by default its first.

    A name that no service has yet becomes one of this service's, with a password that nobody knows.
    """
    await repositories.take_directory_lane(work.connection)
    service = await service_terms.living_service(work, service_id)
    if isinstance(service, Refusal):
        return service
    name = await _username(work, sealer, service_id, username)
    if isinstance(name, Refusal):
        return name
    emails = (name,) if _is_email(name) else ()
    holder = _Holder("client", pki.Names(name, emails=emails), service_id=service_id, username=name)
    return await _issue(work, sealer, holder, order or Order())


async def issue_nas_certificate(
    work: Work, sealer: Sealer, *, nas_id: str, order: Order | None = None
) -> Issued | Refusal:
    """For RadSec: lets a NAS open connections. Without a RadSec identity it gets its name as one."""
    await repositories.take_directory_lane(work.connection)
    nas = await repositories.nas_row(work.connection, nas_id)
    if nas is None:
        return Refusal("nas.unknown", f"there is no NAS {nas_id}; look it up by its name", "nas_id")
    identity = nas.radsec_identity
    if identity is None:
        identity = rules.check_host_name(nas.name.replace(" ", "-"), "radsec_identity")
        if isinstance(identity, Refusal):
            return Refusal(
                "radsec_identity.none",
                f"{nas.name} makes no host name; give the NAS a RadSec identity first", "radsec_identity",
            )  # fmt: skip
        await repositories.update_nas(work.connection, nas_id, {"radsec_identity": identity})
        await repositories.append_directory_change(work.connection, "nas", nas_id, work.now)
    if identity.startswith("sha256:"):
        return Refusal(
            "radsec_identity.fingerprint",
            f"{nas.name} is known by the fingerprint of a certificate it has; set a name to issue it another",
            "radsec_identity",
        )
    names = _host_names([identity])
    if isinstance(names, Refusal):
        return names
    return await _issue(work, sealer, _Holder("nas", names, nas_id=nas_id), order or Order())


async def renew_certificate(
    work: Work,
    sealer: Sealer,
    *,
    certificate: str,
    order: Order | None = None,
    overlap_days: int = rules.OVERLAP_DAYS,
) -> Issued | Refusal:
    """Another certificate for the same holder, named by id or serial.

    A client's or NAS's old one stays good for ``overlap_days`` and is then revoked as superseded.
    """
    await repositories.take_directory_lane(work.connection)
    row = await rows.certificate_row(work.connection, certificate)
    if row is None:
        return unknown(certificate)
    if row.revoked_at is not None or row.superseded_at is not None:
        return Refusal(
            "certificate.over", "it is revoked or has a successor; renew that, or issue another",
            "certificate",
        )  # fmt: skip
    if not 0 <= overlap_days <= 365:
        return Refusal("overlap_days.range", "the overlap is 0 to 365 days", "overlap_days")
    made = await _again(work, sealer, row, order or Order(key_type=row.key_type))
    if isinstance(made, Refusal):
        return made
    ends = work.now + timedelta(days=overlap_days if row.purpose != "server" else 0)
    await rows.update_certificate(work.connection, row.id, {"superseded_at": ends})
    await rows.update_certificate(work.connection, made.id, {"renews_id": row.id})
    await work.audit("certificate.renew", made.id, renews=row.id, overlap_days=overlap_days)
    return made


async def _again(work: Work, sealer: Sealer, row: Row[Any], order: Order) -> Issued | Refusal:
    if row.purpose == "client":
        return await issue_client_certificate(
            work, sealer, service_id=row.service_id, username=row.username, order=order
        )
    if row.purpose == "nas":
        return await issue_nas_certificate(work, sealer, nas_id=row.nas_id, order=order)
    return await issue_server_certificate(work, sealer, names=row.names, order=order)


async def _issue(work: Work, sealer: Sealer, holder: _Holder, order: Order) -> Issued | Refusal:
    authority = await rows.issuing_authority(work.connection)
    if authority is None:
        return Refusal("authority.none", "there is no certificate authority yet; make one: hilltop ca init")
    days = rules.check_days(order.days, holder.purpose)
    if isinstance(days, Refusal):
        return days
    key = _key_for(order)
    if isinstance(key, Refusal):
        return key
    own, public = key
    made = pki.issue(
        signer(sealer, authority), holder.names, public,
        use="server" if holder.purpose == "server" else "client",
        now=work.now, days=days, crl_url=crl_url(authority.crl_base, authority.kind),
    )  # fmt: skip
    kept = own is not None and holder.purpose == "server"
    certificate_id = await _keep(
        work, holder, authority.id, made,
        sealer.seal(pki.key_to_pem(own), KEY_PURPOSE) if own is not None and kept else None,
    )  # fmt: skip
    return Issued(
        certificate_id, holder.names.common_name, pki.to_pem(made), await chain_of(work, authority),
        made.not_valid_after_utc, None if own is None or kept else pki.key_to_pem(own),
    )  # fmt: skip


def _key_for(order: Order) -> tuple[pki.PrivateKey | None, pki.PublicKey] | Refusal:
    """A new key with its public half, or the public half alone that a request proves to have."""
    if order.request is not None:
        try:
            return None, pki.read_request(order.request).public_key
        except pki.PkiError as trouble:
            return Refusal("request.unusable", str(trouble), "request")
    known = check_choice(order.key_type, "key_type", pki.KEY_TYPES)
    if isinstance(known, Refusal):
        return known
    own = pki.make_key(known)
    return own, own.public_key()


async def _keep(work: Work, holder: _Holder, authority_id: str, made: Any, key_sealed: str | None) -> str:
    certificate_id = work.ids.new("crt")
    fingerprint = pki.fingerprint(pki.to_der(made)).hex()
    await rows.insert_certificate(
        work.connection,
        {
            "id": certificate_id, "authority_id": authority_id, "purpose": holder.purpose,
            "serial": f"{made.serial_number:x}", "fingerprint": fingerprint,
            "subject": holder.names.common_name, "names": list(holder.names.all),
            "service_id": holder.service_id, "username": holder.username, "nas_id": holder.nas_id,
            "key_type": pki.type_of(made.public_key()), "certificate": pki.to_pem(made),
            "key_sealed": key_sealed, "not_before": made.not_valid_before_utc,
            "not_after": made.not_valid_after_utc, "issued_at": work.now, "issued_by": work.actor,
        },
    )  # fmt: skip
    await repositories.append_directory_change(work.connection, "certificate", certificate_id, work.now)
    await work.audit(
        "certificate.issue", certificate_id, purpose=holder.purpose, name=holder.names.common_name,
        serial=f"{made.serial_number:x}", service=holder.service_id, nas=holder.nas_id,
    )  # fmt: skip
    return certificate_id


async def chain_of(work: Work, authority: Row[Any]) -> str:
    """The certificates of an authority and those above it, to the root (PEM)."""
    text = str(authority.certificate)
    if authority.parent_id is not None:
        above = await rows.authority_row(work.connection, authority.parent_id)
        if above is not None:
            text += str(above.certificate)
    return text


def _host_names(given: Sequence[str]) -> pki.Names | Refusal:
    names: list[str] = []
    for one in given:
        checked = rules.check_host_name(one, "names")
        if isinstance(checked, Refusal):
            return checked
        names.append(checked)
    if not names:
        return Refusal("names.none", "name the host, like radius.example.net", "names")
    if len(names[0]) > pki.LONGEST_COMMON_NAME:
        return Refusal("names.long", f"the first name has over {pki.LONGEST_COMMON_NAME} characters", "names")
    addresses = tuple(ip_address(one) for one in names if rules.is_address(one))
    return pki.Names(names[0], tuple(one for one in names if not rules.is_address(one)), addresses)


async def _username(work: Work, sealer: Sealer, service_id: str, given: str | None) -> str | Refusal:
    own = await rows.usernames_of_service(work.connection, service_id)
    wanted = given if given is not None else (own[0] if own else None)
    if wanted is None:
        return Refusal(
            "username.none", "the service signs in with MACs alone; give the certificate a user name",
            "username",
        )  # fmt: skip
    name = rules.check_common_name(wanted, "username")
    if isinstance(name, Refusal) or name in own:
        return name
    fresh = NewCredential("pppoe", name, Secret(random_password(8)))
    taken = await service_terms.check_credentials(work, [fresh])
    if isinstance(taken, Refusal):
        return taken
    await service_terms.release(work, [name], None)
    await repositories.insert_credentials(
        work.connection, [service_terms.credential_values(work, sealer, service_id, fresh)]
    )
    await service_terms.service_changed(work, service_id, "credential.add", username=name)
    return name


def _is_email(name: str) -> bool:
    """What can stand as rfc822Name (RFC 5280 section 4.2.1.6); others stand in the common name alone."""
    mailbox, at, host = name.rpartition("@")
    return bool(at and mailbox and name.isascii() and " " not in name) and not isinstance(
        rules.check_host_name(host, "username"), Refusal
    )


def unknown(certificate: str) -> Refusal:
    """No certificate has that id or serial."""
    return Refusal(
        "certificate.unknown", f"there is no certificate {certificate!r}; see: hilltop ca list", "certificate"
    )
