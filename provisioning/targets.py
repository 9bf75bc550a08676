"""From a device's row to what a session needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.secrets import Sealer, Secret
from provisioning.ports import Target


def describe_target(row: Any) -> Target:
    """The target of a device's row, without its credentials."""
    return Target(
        device_id=row.id,
        name=row.name,
        driver=row.driver,
        address=row.address,
        port=row.port,
        username=row.username,
        password=None,
        private_key=None,
        host_key=row.host_key,
        options=row.options,
        facts=row.facts,
    )


def with_credentials(target: Target, row: Any, sealer: Sealer) -> Target:
    """The target ready to log in; raises ``core.secrets.SealError`` when the credentials cannot be opened."""
    return replace(
        target,
        password=_opened(sealer, row.password_sealed, "device.password"),
        private_key=_opened(sealer, row.private_key_sealed, "device.private_key"),
    )


def _opened(sealer: Sealer, sealed: str | None, purpose: str) -> Secret | None:
    return None if sealed is None else sealer.open(sealed, purpose)
