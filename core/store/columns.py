"""Column types and naming that every room's tables share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Index, Integer, MetaData, event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.types import TypeDecorator

from core.clock import EPOCH

_NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
_MICROSECOND = timedelta(microseconds=1)
_WHERE = "where"

BigId = BigInteger().with_variant(Integer, "sqlite")
"""An integer key that the database gives (SQLite counts only INTEGER PRIMARY KEY up by itself)."""


def new_metadata() -> MetaData:
    """The metadata of one room, with the constraint names that migrations rely on."""
    return MetaData(naming_convention=_NAMING)


def partial_index(
    name: str, *columns: Column[Any], where: ColumnElement[bool], unique: bool = False
) -> Index:
    """An index over those rows where ``where`` holds.

    SQLAlchemy loads a dialect as soon as one is named, and PostgreSQL's is two megabytes of a process that
    speaks SQLite: so this is said to the database in use, when the index is made.
    """
    index = Index(name, *columns, unique=unique, info={_WHERE: where})

    @event.listens_for(index.table, "before_create")
    def on_create(_table: Any, connection: Connection, **_: Any) -> None:
        _say_where(index, connection.dialect.name)

    return index


def say_where_in_every_dialect(metadata: MetaData) -> None:
    """For whoever writes migrations from ``metadata``: they are for both databases."""
    for table in metadata.tables.values():
        for index in table.indexes:
            for dialect in ("sqlite", "postgresql"):
                _say_where(index, dialect)


def _say_where(index: Index, dialect: str) -> None:
    if _WHERE in index.info:
        index.dialect_kwargs[f"{dialect}_where"] = index.info[_WHERE]


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as integer microseconds since 1970: both databases compare it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant must carry its time zone")
        return (value - EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else from_microseconds(value)


def from_microseconds(value: int) -> datetime:
    """The UTC instant of integer microseconds since 1970."""
    return EPOCH + timedelta(microseconds=value)


def to_microseconds(instant: datetime) -> int:
    """Integer microseconds since 1970 of an aware instant."""
    return (instant.astimezone(UTC) - EPOCH) // _MICROSECOND
