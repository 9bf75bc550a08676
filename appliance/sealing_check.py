"""Whether the sealing key at hand is the one that sealed this database."""

from __future__ import annotations

from sqlalchemy import Column, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store import tables as aaa
from core.secrets import Sealer, SealError
from provisioning.store import tables as provisioning
from snmp.store import tables as snmp

_SEALED: tuple[tuple[Column[str], str], ...] = (
    (aaa.nas.c.secret_sealed, "nas.secret"),
    (aaa.credential.c.password_sealed, "credential.password"),
    (provisioning.device.c.password_sealed, "device.password"),
    (provisioning.device.c.private_key_sealed, "device.private_key"),
    (snmp.target.c.community_sealed, "snmp.community"),
    (snmp.target.c.auth_sealed, "snmp.auth"),
    (snmp.target.c.privacy_sealed, "snmp.privacy"),
)


async def find_unreadable(connection: AsyncConnection, sealer: Sealer) -> str | None:
    """What a sealed credential of each kind says to this key; None when all of them open."""
    for column, purpose in _SEALED:
        sealed = await connection.scalar(select(column).where(column.is_not(None)).limit(1))
        if sealed is None:
            continue
        try:
            sealer.open(sealed, purpose)
        except SealError as trouble:
            return str(trouble)
    return None


async def holds_sealed(connection: AsyncConnection) -> bool:
    """True when something is sealed in the database, which a new key would not open."""
    present = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
    for column, _ in _SEALED:
        if column.table.name not in present:
            continue
        if await connection.scalar(select(column).where(column.is_not(None)).limit(1)) is not None:
            return True
    return False
