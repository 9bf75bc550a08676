"""What certificates need unasked: fresh CRLs, a renewed server, ended overlaps, early words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aaa.domain import certificate as rules
from aaa.issue_certificate import Order, renew_certificate
from aaa.revoke_certificate import revoke_row, sign_crl
from aaa.store import certificate_rows as rows
from core.health import HealthIssue, close_issue, open_issue
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Work

_ENDED_AGO = timedelta(days=30)  # an unused certificate is not told of for ever


async def keep_certificates(work: Work, sealer: Sealer) -> int:
    """One round; returns how many things it did. Without an authority there is nothing to do."""
    known = await rows.authorities(work.connection)
    if not known:
        return 0
    done = await _end_overlaps(work)
    done += await _sign_due_crls(work, sealer)
    done += await _renew_servers(work, sealer)
    await _tell_ends(work, known)
    return done


async def _end_overlaps(work: Work) -> int:
    ended = await rows.superseded_by(work.connection, work.now)
    clients = [row for row in ended if row.purpose != "server"]
    for row in clients:
        await revoke_row(work, row, "superseded")
    for authority_id in {row.authority_id for row in clients}:
        await rows.update_authority(work.connection, authority_id, {"crl_due_at": None})
    return len(clients)


async def _sign_due_crls(work: Work, sealer: Sealer) -> int:
    old = work.now + rules.CRL_LIFE - rules.CRL_RENEWED_AFTER
    signed = 0
    for row in await rows.authorities(work.connection):
        if row.key_sealed is None or row.not_after <= work.now:
            continue
        if row.crl_due_at is None or row.crl_due_at <= old:
            await sign_crl(work, sealer, row)
            signed += 1
    return signed


async def _renew_servers(work: Work, sealer: Sealer) -> int:
    authority = await rows.issuing_authority(work.connection)
    renewed = 0
    for row in await rows.servers_in_use(work.connection):
        due = row.not_after - work.now <= rules.SERVER_RENEWED_BEFORE
        if authority is None or not due or authority.not_after <= row.not_after:
            continue
        made = await renew_certificate(
            work, sealer, certificate=row.id, order=Order(key_type=_key_type(row.key_type))
        )
        renewed += not isinstance(made, Refusal)
    return renewed


def _key_type(present: str) -> str:
    return present if present in {"p256", "rsa2048", "rsa3072"} else "p256"


async def _tell_ends(work: Work, known: Any) -> None:
    for row in known:
        key = f"aaa.authority_ends:{row.id}"
        severity = rules.severity_of_end(row.not_after, work.now) if row.retired_at is None else None
        await _tell(
            work, key, severity, f"The certificate authority {row.name} ends on {row.not_after:%Y-%m-%d}",
            "Make another (hilltop ca init --replace), hand its certificate to the devices, renew theirs, "
            "and distrust this one when it has ended.",
        )  # fmt: skip
        if row.kind == "outside":
            await _tell_outside_crl(work, row)
    ending = await rows.in_use_ending(work.connection, work.now - _ENDED_AGO, work.now + rules.WARN_BEFORE)
    found = {row.purpose: row for row in ending}
    for purpose in rules.PURPOSES:
        await _tell_ending(work, purpose, found.get(purpose))


async def _tell_outside_crl(work: Work, row: Any) -> None:
    stale = row.retired_at is None and row.crl_due_at is not None and row.crl_due_at <= work.now
    await _tell(
        work, f"aaa.outside_crl:{row.id}", "warning" if stale else None,
        f"The CRL of {row.name} is out of date: what it revoked since is not known here",
        "Fetch its newest one: hilltop ca trust-crl NAME FILE.",
    )  # fmt: skip


_WHOSE = {"server": "RADIUS server", "client": "subscriber", "nas": "NAS"}


async def _tell_ending(work: Work, purpose: str, row: Any) -> None:
    severity = None if row is None else rules.severity_of_end(row.at, work.now)
    what = "" if row is None else (
        f"{row.number} {_WHOSE[purpose]} certificate{'s' if row.number != 1 else ''} end within 30 days or "
        f"have ended, the first on {row.at:%Y-%m-%d}"
    )  # fmt: skip
    await _tell(
        work, f"aaa.certificates_end:{purpose}", severity, what,
        "See them with hilltop ca list --ending, renew each (hilltop ca renew) and give it to its device; "
        "revoke what is not used.",
    )  # fmt: skip


async def _tell(work: Work, key: str, severity: str | None, title: str, remedy: str) -> None:
    if severity is None:
        await close_issue(work, key)
    else:
        await open_issue(work, HealthIssue(key, severity, title, remedy))
