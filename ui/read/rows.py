"""Small pieces that the read models share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case

from aaa.domain.effect import Effect

PAGE = 50
"""Rows on one screen."""

EXPORT = 50_000
"""Rows in one export of a list that is not streamed."""


def contains(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """True where the column holds ``text``, whatever the case; wildcards in it are taken as they stand."""
    return column.icontains(text, autoescape=True)


def effect_rank(column: ColumnElement[Any]) -> ColumnElement[int]:
    """The place of an effect in the order of strength, as SQL."""
    return case({str(effect): effect.rank for effect in Effect}, value=column, else_=0)
