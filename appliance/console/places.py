"""Where things are, for the console; the settings file is read and not checked, which takes too long here."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.whereabouts import USUAL_RUNTIME, USUAL_STATE, settings_path

NETWORK_FILE = Path("/etc/systemd/network/20-hilltop.network")


@dataclass(frozen=True, slots=True)
class Places:
    """Folders and files that the console looks at or writes."""

    config: Path
    state: Path
    runtime: Path
    listen: str
    certificate: Path | None
    network_file: Path = NETWORK_FILE
    interfaces: Path = Path("/sys/class/net")

    @property
    def asks(self) -> Path | None:
        """Where the appliance image takes requests; None on another machine."""
        folder = self.runtime / "asks"
        return folder if folder.is_dir() else None

    def command(self, *words: str) -> list[str]:
        """``hilltop …`` as a command line for another process."""
        return [sys.executable, "-P", "-m", "appliance.cli", "--config", str(self.config), *words]


def find_places(config: Path | None = None, network_file: Path | None = None) -> Places:
    """As the settings say; what they do not say, or say wrongly, is as usual."""
    path = settings_path(config)
    try:
        told = tomllib.loads(path.read_text())
    except (OSError, ValueError):
        told = {}
    certificate = _text(told, "ui", "tls_cert")
    return Places(
        config=path,
        state=Path(_text(told, "state", "directory") or USUAL_STATE),
        runtime=Path(_text(told, "state", "runtime") or USUAL_RUNTIME),
        listen=_text(told, "ui", "listen") or "127.0.0.1:8080",
        certificate=Path(certificate) if certificate else None,
        network_file=network_file or NETWORK_FILE,
    )


def _text(told: dict[str, Any], section: str, key: str) -> str | None:
    table = told.get(section)
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, str) else None
