"""Whether the sealing key at hand is the one that sealed this database.

The first boot seals a canary into the audit trail, which travels with the database: a foreign key is noticed
before anything else is sealed. A later key of the same ring leaves it as it is, for older keys still open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Select, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store import tables as aaa
from billing.store import tables as billing
from core.health import HealthIssue, close_issue, open_issue
from core.secrets import Sealer, SealError, Secret
from core.store.tables import audit
from core.work import Work
from provisioning.store import tables as provisioning
from snmp.store import tables as snmp

_SEALED: tuple[tuple[Column[str], str, Column[str]], ...] = (  # what is sealed, its purpose, whose it is
    (aaa.nas.c.secret_sealed, "nas.secret", aaa.nas.c.name),
    (aaa.nas.c.mac_password_sealed, "nas.mac_password", aaa.nas.c.name),
    (aaa.credential.c.password_sealed, "credential.password", aaa.credential.c.username),
    (aaa.credential.c.hash_sealed, "credential.hash", aaa.credential.c.username),
    (aaa.home_server.c.secret_sealed, "home_server.secret", aaa.home_server.c.name),
    (aaa.authority.c.key_sealed, "ca.private_key", aaa.authority.c.name),
    (aaa.certificate.c.key_sealed, "certificate.private_key", aaa.certificate.c.subject),
    (provisioning.device.c.password_sealed, "device.password", provisioning.device.c.name),
    (provisioning.device.c.private_key_sealed, "device.private_key", provisioning.device.c.name),
    (billing.sms_gateway.c.auth_sealed, "sms_gateway.auth", billing.sms_gateway.c.name),
    (billing.mail_server.c.password_sealed, "mail_server.password", billing.mail_server.c.host),
    (billing.tax_engine.c.token_sealed, "tax_engine.token", billing.tax_engine.c.base_url),
    (billing.gateway.c.key_sealed, "gateway.key", billing.gateway.c.name),
    (billing.gateway.c.webhook_key_sealed, "gateway.webhook_key", billing.gateway.c.name),
    (billing.payment_method.c.token_sealed, "payment_method.token", billing.payment_method.c.id),
    (snmp.target.c.community_sealed, "snmp.community", snmp.target.c.name),
    (snmp.target.c.auth_sealed, "snmp.auth", snmp.target.c.name),
    (snmp.target.c.privacy_sealed, "snmp.privacy", snmp.target.c.name),
)
_CANARY = "sealing_key.first_used"  # also its purpose
_ISSUE = "appliance.sealing_key"
_ROWS_AT_ONCE = 1000
_NAMED = 5


@dataclass(frozen=True, slots=True)
class SealingVerdict:
    """``foreign``: the key is not this database's; else ``damaged`` names the values it does not open."""

    foreign: bool
    damaged: tuple[str, ...] = ()


async def check_sealing(connection: AsyncConnection, sealer: Sealer) -> SealingVerdict:
    """The canary decides; a database without one is foreign when nothing at all in it opens."""
    canary = await connection.scalar(_canary())
    if canary is not None and not _opens(sealer, canary["sealed"], _CANARY):
        return SealingVerdict(foreign=True)
    opened, damaged = 0, []
    for column, purpose, name in _SEALED:
        wanted = select(name, column).where(column.is_not(None)).order_by(name)
        async with connection.stream(wanted) as rows:
            async for some in rows.partitions(_ROWS_AT_ONCE):
                closed = [whose for whose, sealed in some if not _opens(sealer, sealed, purpose)]
                opened += len(some) - len(closed)
                damaged += [f"{purpose} of {whose}" for whose in closed]
    if canary is None and damaged and not opened:
        return SealingVerdict(foreign=True)
    return SealingVerdict(foreign=False, damaged=tuple(damaged))


async def seal_canary(work: Work, sealer: Sealer) -> None:
    """Put the key on record as this database's, once."""
    if await work.connection.scalar(_canary()) is None:
        await work.audit(_CANARY, "sealing-key", sealed=sealer.seal(Secret("canary"), _CANARY))


async def tell_sealing_health(work: Work, verdict: SealingVerdict, remedy: str) -> None:
    """Open or close the health issue; ``remedy`` says how the right key gets into use."""
    if verdict.foreign:
        title = "The sealing key is not the one of this database"
        todo = f"{remedy[:1].upper()}{remedy[1:]}; then restart Hilltop."
    elif verdict.damaged:
        more = len(verdict.damaged) - _NAMED
        named = ", ".join(verdict.damaged[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        title = f"The sealing key does not open: {named}"
        todo = "Enter these secrets again, then restart Hilltop: each start looks again."
    else:
        await close_issue(work, _ISSUE)
        return
    await open_issue(work, HealthIssue(_ISSUE, "critical", title, todo))


async def holds_sealed(connection: AsyncConnection) -> bool:
    """True when something is sealed in the database, which a new key would not open."""
    present = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
    if audit.name in present and await connection.scalar(_canary()) is not None:
        return True
    for column, _, _ in _SEALED:
        if column.table.name not in present:
            continue
        if await connection.scalar(select(column).where(column.is_not(None)).limit(1)) is not None:
            return True
    return False


def _canary() -> Select[tuple[Any]]:
    of_the_key = audit.c.subject == "sealing-key"
    return select(audit.c.detail).where(of_the_key, audit.c.action == _CANARY).order_by(audit.c.seq).limit(1)


def _opens(sealer: Sealer, sealed: str, purpose: str) -> bool:
    try:
        sealer.open(sealed, purpose)
    except SealError:
        return False
    return True
