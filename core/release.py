"""Which release this is, and which image it came in; standard library alone, for the console asks first."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

IMAGE_FILE = Path("/usr/lib/hilltop/image.json")


@cache
def version() -> str:
    """The version of the installed package."""
    from importlib import metadata

    try:
        return metadata.version("hilltop")
    except metadata.PackageNotFoundError:
        return "unknown"


def image() -> dict[str, str] | None:
    """``name`` and ``version`` of the appliance image; None on any other machine."""
    try:
        told = json.loads(IMAGE_FILE.read_text())
        return {"name": str(told["name"]), "version": str(told["version"])}
    except (OSError, ValueError, LookupError, TypeError):
        return None
