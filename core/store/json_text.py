"""JSON columns as text: most of what a bill run writes is explanations, and their text has to be quick."""

from __future__ import annotations

import json
from typing import Any

import orjson

# What json refuses, orjson would write in a way of its own: refuse it as well.
_STRICT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


def json_text(value: Any) -> str:
    """``value`` as JSON without spaces. Raises ``TypeError`` for what JSON has no word for."""
    try:
        return orjson.dumps(value, option=_STRICT).decode()
    except TypeError:  # keys that are no texts, subclasses, integers beyond 64 bits: json knows them
        return json.dumps(value, separators=(",", ":"))
