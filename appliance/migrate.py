"""Bringing a database to the schema of this release: Alembic over the product's own connections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData

from aaa.store.tables import metadata as aaa_metadata
from appliance.schema import is_newer, schema_fault
from appliance.settings import SettingsError
from billing.store.tables import metadata as billing_metadata
from core.database import Database
from core.schema import revision_of
from core.store.columns import say_where_in_every_dialect
from core.store.tables import metadata as core_metadata
from provisioning.store.tables import metadata as provisioning_metadata
from snmp.store.tables import metadata as snmp_metadata
from ui.store.tables import metadata as ui_metadata

ALL_METADATA: list[MetaData] = [
    core_metadata,
    aaa_metadata,
    billing_metadata,
    provisioning_metadata,
    snmp_metadata,
    ui_metadata,
]
for _metadata in ALL_METADATA:
    say_where_in_every_dialect(_metadata)


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration without a file; ``connection`` is what the migrations run on."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


async def upgrade(database: Database, revision: str = "head") -> None:
    """Migrate to ``revision``, each step in one transaction; nothing to do is fine.

    Raises ``SettingsError`` for a database of a newer release.
    """

    def run(sync: Connection, *_: Any) -> None:
        command.upgrade(alembic_config(sync), revision)

    async with database.write() as connection:
        present = await revision_of(connection)
        if is_newer(present):
            raise SettingsError(schema_fault(present))
        await connection.run_sync(run)


async def downgrade(database: Database, revision: str) -> None:
    """Migrate back to ``revision`` (``base`` empties the database)."""
    async with database.write() as connection:
        await connection.run_sync(lambda sync: command.downgrade(alembic_config(sync), revision))
