"""``column IN (…)`` over many values as one parameter.

SQLAlchemy writes a long list out, a parameter each, and does so anew for every statement: for the blocks of a
bill run that costs as much as the query. One array (PostgreSQL) or one JSON text (SQLite) says the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, String, any_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

FEW = 16
"""So few are written out: that needs no subquery."""


def among(
    connection: AsyncConnection, column: ColumnElement[Any], values: Iterable[str]
) -> ColumnElement[bool]:
    """Whether ``column``, a text, is one of ``values``."""
    listed = list(values)
    if len(listed) <= FEW:
        return column.in_(listed)
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import ARRAY

        return column == any_(bindparam(None, listed, ARRAY(String), unique=True))
    each = func.json_each(json.dumps(listed)).table_valued("value")
    return column.in_(select(each.c.value))
