"""Column types and naming that every room's tables share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Integer, MetaData
from sqlalchemy.engine import Dialect
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

BigId = BigInteger().with_variant(Integer, "sqlite")
"""An integer key that the database gives (SQLite counts only INTEGER PRIMARY KEY up by itself)."""


def new_metadata() -> MetaData:
    """The metadata of one room, with the constraint names that migrations rely on."""
    return MetaData(naming_convention=_NAMING)


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
