"""Where the settings, the state and the panel of this machine are.

Only light imports: the console's first screen asks.
"""

from __future__ import annotations

import os
from pathlib import Path

from core.addresses import local_addresses
from core.endpoints import split_endpoint

USUAL_SETTINGS = Path("/etc/hilltop/hilltop.toml")
USUAL_STATE = Path("/var/lib/hilltop")
USUAL_RUNTIME = Path("/run/hilltop")


def settings_path(given: Path | None) -> Path:
    """The file to read: the one given, else ``$HILLTOP_CONFIG``, else ``/etc/hilltop/hilltop.toml``."""
    if given is not None:
        return given
    return Path(os.environ.get("HILLTOP_CONFIG", USUAL_SETTINGS))


def panel_urls(listen: str, *, tls: bool) -> list[str]:
    """Where a browser finds the panel that listens there. Raises ``ValueError`` when that is no endpoint."""
    host, port = split_endpoint(listen)
    hosts = [host]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - looked at, not listened on
        found = [one.address for one in local_addresses() if one.reachable]
        hosts = [str(one) for one in found if (one.version == 6) == (host == "::")]  # each hears its own kind
    scheme = "https" if tls else "http"
    return [f"{scheme}://{f'[{one}]' if ':' in one else one}:{port}/" for one in hosts]
