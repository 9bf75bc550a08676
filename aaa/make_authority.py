"""The embedded certificate authority: made, replaced by another, and others that are trusted beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Row

from aaa.domain import certificate as rules
from aaa.domain.checks import check_choice
from aaa.store import certificate_rows as rows
from aaa.store import repositories
from core import pki
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Work

KEY_PURPOSE = "ca.private_key"


async def make_authority(
    work: Work,
    sealer: Sealer,
    *,
    name: str,
    key_type: str = "p256",
    issuing: bool = False,
    crl_base: str | None = None,
    replace: bool = False,
) -> str | Refusal:
    """A root, and with ``issuing`` another authority under it that signs; returns the signing one's id.

    ``crl_base`` is written into every certificate: where devices fetch the CRL, like
    ``http://radius.example.net/pki``. With ``replace`` it signs from now on in place of the one before, which
    stays trusted until it is retired.
    """
    await repositories.take_directory_lane(work.connection)
    checked = await _check(work, name, key_type, crl_base, replace=replace)
    if isinstance(checked, Refusal):
        return checked
    await rows.issue_no_more(work.connection)
    root_key = pki.make_key(key_type)
    root = pki.make_root(checked, root_key, work.now, rules.ROOT_DAYS)
    root_id = work.ids.new("ca")
    common = {"crl_base": crl_base, "uses": list(rules.USES)}
    await _keep(
        work, root_id, root,
        {"name": checked, "kind": "root", "issues": not issuing, **common},
        sealer.seal(pki.key_to_pem(root_key), KEY_PURPOSE),
    )  # fmt: skip
    if not issuing:
        return root_id
    key, issuing_id = pki.make_key(key_type), work.ids.new("ca")
    signed = pki.issue_authority(
        pki.Issuer(root, root_key), _issuing_name(checked), key.public_key(), now=work.now,
        days=rules.ISSUING_DAYS, crl_url=crl_url(crl_base, "root"),
    )  # fmt: skip
    await _keep(
        work, issuing_id, signed,
        {"name": _issuing_name(checked), "kind": "issuing", "parent_id": root_id, "issues": True, **common},
        sealer.seal(pki.key_to_pem(key), KEY_PURPOSE),
    )  # fmt: skip
    return issuing_id


def crl_url(base: str | None, kind: str) -> str | None:
    """Where the CRL of a root or of what signs is fetched."""
    return None if base is None else f"{base.rstrip('/')}/{'root' if kind == 'root' else 'hilltop'}.crl"


def _issuing_name(name: str) -> str:
    return f"{name[:56]} Issuing"


async def _check(
    work: Work, name: str, key_type: str, crl_base: str | None, *, replace: bool
) -> str | Refusal:
    checked = rules.check_common_name(name, "name")
    if isinstance(checked, Refusal):
        return checked
    known = check_choice(key_type, "key_type", pki.KEY_TYPES)
    if isinstance(known, Refusal):
        return known
    if crl_base is not None and not _is_base(crl_base):
        return Refusal(
            "crl_base.malformed", "devices fetch the CRL by plain HTTP; write it like http://host/pki",
            "crl_base",
        )  # fmt: skip
    present = await rows.issuing_authority(work.connection)
    if present is not None and not replace:
        return Refusal(
            "authority.present",
            f"{present.name} signs already; to put another in its place ask for that (--replace)",
            "name",
        )
    return await _check_name_free(work, checked, _issuing_name(checked)) or checked


def _is_base(text: str) -> bool:
    return text.startswith("http://") and text.isascii() and len(text) <= 200 and " " not in text


async def _check_name_free(work: Work, *names: str) -> Refusal | None:
    for name in names:
        if await rows.authority_row(work.connection, name) is not None:
            return Refusal("name.taken", f"there is an authority {name} already; choose another name", "name")
    return None


async def _keep(
    work: Work, authority_id: str, made: Any, told: dict[str, Any], key_sealed: str | None
) -> None:
    values: dict[str, Any] = {
        "id": authority_id, "certificate": pki.to_pem(made), "issuer_digest": pki.subject_digest(made).hex(),
        "key_sealed": key_sealed, "crl_number": 0, "outside_revoked": [], "issues": False,
        "not_after": made.not_valid_after_utc, "created_at": work.now, **told,
    }  # fmt: skip
    await rows.insert_authority(work.connection, values)
    await repositories.append_directory_change(work.connection, "authority", authority_id, work.now)
    await work.audit(
        "ca.trust" if key_sealed is None else "ca.make", authority_id, name=told["name"], kind=told["kind"],
        fingerprint=pki.fingerprint(pki.to_der(made)).hex(),
    )  # fmt: skip


def signer(sealer: Sealer, row: Row[Any]) -> pki.Issuer:
    """An authority of ours, ready to sign. Raises ``SealError`` when its key cannot be opened."""
    (own,) = pki.read_certificates(row.certificate.encode())
    return pki.Issuer(own, pki.key_from_pem(sealer.open(row.key_sealed, KEY_PURPOSE)))


async def trust_authority(
    work: Work, *, name: str, certificate: bytes, uses: Sequence[str], crl: bytes | None = None
) -> str | Refusal:
    """Take certificates of an outside authority; returns its id.

    A client's is then matched to a service by the names in it; a NAS's by its registered RadSec identity.
    """
    await repositories.take_directory_lane(work.connection)
    checked = rules.check_common_name(name, "name")
    if isinstance(checked, Refusal):
        return checked
    if not uses or any(one not in rules.USES for one in uses):
        return Refusal("uses.unknown", f"say what for: {' or '.join(rules.USES)}, or both", "uses")
    made = await _outside(work, checked, certificate)
    if isinstance(made, Refusal):
        return made
    revoked = {} if crl is None else _crl_values(crl, made)
    if isinstance(revoked, Refusal):
        return revoked
    authority_id = work.ids.new("ca")
    told = {"name": checked, "kind": "outside", "uses": sorted(set(uses))}
    await _keep(work, authority_id, made, told | revoked, None)
    return authority_id


async def _outside(work: Work, name: str, certificate: bytes) -> Any | Refusal:
    """The certificate of an authority that may be trusted under ``name``."""
    try:
        made = pki.read_authority(certificate)
    except pki.PkiError as trouble:
        return Refusal("certificate.unusable", str(trouble), "certificate")
    if made.not_valid_after_utc <= work.now:
        return Refusal("certificate.ended", "the authority's certificate has expired", "certificate")
    return await _check_name_free(work, name) or await _check_unknown(work, made) or made


async def _check_unknown(work: Work, made: Any) -> Refusal | None:
    """Two authorities of one name cannot be told apart by what they issue."""
    digest = pki.subject_digest(made).hex()
    for row in await rows.authorities(work.connection):
        if row.issuer_digest == digest and row.retired_at is None:
            return Refusal(
                "authority.same_subject",
                f"{row.name} has the same subject; distrust it first, or have the other's changed",
                "certificate",
            )
    return None


async def take_outside_crl(work: Work, *, authority: str, crl: bytes) -> int | Refusal:
    """The newest CRL of an outside authority, in place of the last; returns how many it revokes."""
    await repositories.take_directory_lane(work.connection)
    row = await rows.authority_row(work.connection, authority)
    if row is None or row.kind != "outside":
        return Refusal(
            "authority.unknown", f"{authority!r} is no outside authority; see: hilltop ca show", "authority"
        )
    (made,) = pki.read_certificates(row.certificate.encode())
    values = _crl_values(crl, made)
    if isinstance(values, Refusal):
        return values
    await rows.update_authority(work.connection, row.id, values)
    await repositories.append_directory_change(work.connection, "authority", row.id, work.now)
    await work.audit("ca.outside_crl", row.id, revoked=len(values["outside_revoked"]))
    return len(values["outside_revoked"])


def _crl_values(crl: bytes, made: Any) -> dict[str, Any] | Refusal:
    try:
        serials, due = pki.read_crl(crl, made)
    except pki.PkiError as trouble:
        return Refusal("crl.unusable", str(trouble), "crl")
    return {"outside_revoked": sorted(f"{one:x}" for one in serials), "crl_due_at": due}


async def distrust_authority(work: Work, *, authority: str) -> datetime | Refusal:
    """Trust an authority no more, ours or another's: whatever it issued is refused from now on."""
    await repositories.take_directory_lane(work.connection)
    row = await rows.authority_row(work.connection, authority)
    if row is None or row.retired_at is not None:
        return Refusal(
            "authority.unknown", f"there is no trusted authority {authority!r}; see: hilltop ca show",
            "authority",
        )  # fmt: skip
    if row.issues:
        return Refusal(
            "authority.issues", f"{row.name} signs what is new; put another in its place first", "authority"
        )
    await rows.update_authority(work.connection, row.id, {"retired_at": work.now})
    await repositories.append_directory_change(work.connection, "authority", row.id, work.now)
    await work.audit("ca.distrust", row.id, name=row.name)
    return work.now
