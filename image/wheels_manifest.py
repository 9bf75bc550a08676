"""What wheels a package holds, as JSON: name, version, file and SHA-256 of each.

Usage: wheels_manifest.py FOLDER [WHEEL…]; FOLDER holds the wheels that were installed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def describe(wheel: Path) -> dict[str, str]:
    """One wheel; its file's name says what it is."""
    name, version = wheel.name.split("-")[:2]
    return {
        "name": name.lower().replace("_", "-"),
        "version": version,
        "file": wheel.name,
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
    }


if __name__ == "__main__":
    wheels = [*Path(sys.argv[1]).glob("*.whl"), *map(Path, sys.argv[2:])]
    found = sorted((describe(wheel) for wheel in wheels), key=lambda each: each["name"])
    sys.stdout.write(json.dumps({"wheels": found}, indent=1) + "\n")
