"""Alembic's entry: runs on the connection it is handed; compares all rooms' tables."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from appliance.migrate import ALL_METADATA
from core.store.columns import Instant


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Migrations name plain database types, so that a later change of ours cannot change an old step."""
    if kind == "type" and isinstance(item, Instant):
        return "sa.BigInteger()"
    return False


def run() -> None:
    """Run the migrations inside the caller's transaction."""
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=ALL_METADATA,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=render_item,
        transactional_ddl=False,  # the caller holds the transaction
    )
    context.run_migrations()


run()
