"""JSON Schema of what the API answers, read from the dataclasses that are answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

TEXT: Mapping[str, Any] = {"type": "string"}
WHOLE: Mapping[str, Any] = {"type": "integer"}
YES_OR_NO: Mapping[str, Any] = {"type": "boolean"}
INSTANT: Mapping[str, Any] = {"type": "string", "format": "date-time"}
ANYTHING: Mapping[str, Any] = {"type": "object", "additionalProperties": True}


def listed(shape: Mapping[str, Any]) -> dict[str, Any]:
    """A list of things."""
    return {"type": "array", "items": shape}


def maybe(shape: Mapping[str, Any]) -> dict[str, Any]:
    """A thing, or null."""
    return {"anyOf": [shape, {"type": "null"}]}


def record(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """An object with these properties, all of them always there."""
    return {"type": "object", "required": sorted(properties), "properties": dict(properties)}


def of(kind: Any) -> Mapping[str, Any]:
    """The shape of a type as ``answers.plain`` writes it."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return record(**{one.name: of(hints[one.name]) for one in fields(kind)})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        kinds = [of(one) for one in arguments if one is not NoneType]
        return maybe(kinds[0]) if NoneType in arguments else {"anyOf": kinds}
    if origin in (list, tuple):
        return listed(of(arguments[0]))
    simple: dict[Any, Mapping[str, Any]] = {
        str: TEXT, int: WHOLE, bool: YES_OR_NO, float: {"type": "number"}, datetime: INSTANT,
        date: {"type": "string", "format": "date"},
        timedelta: {"type": "number"},
    }  # fmt: skip
    return simple.get(kind, ANYTHING)
