"""SSH when the first device is spoken to: the libraries for it are five hundred modules and 11 MB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from provisioning.config import ProvisioningSettings
from provisioning.ports import Console, Driver, Target, Transport


class FirstContact:
    """The ``Transport`` to real devices, loaded at the first session, in a thread."""

    def __init__(self, settings: ProvisioningSettings) -> None:
        self._settings = settings
        self._loading = asyncio.Lock()
        self._transport: Transport | None = None

    def close(self) -> None:
        """Give back the transport's threads."""
        if self._transport is not None:
            self._transport.close()

    @asynccontextmanager
    async def open(self, target: Target, driver: Driver) -> AsyncIterator[Console]:
        """Log in; raises ``SessionTrouble`` saying why not."""
        async with (await self._loaded()).open(target, driver) as console:
            yield console

    async def _loaded(self) -> Transport:
        async with self._loading:
            if self._transport is None:
                self._transport = await asyncio.to_thread(_load, self._settings)
        return self._transport


def _load(settings: ProvisioningSettings) -> Transport:
    from provisioning.transport import NetmikoTransport

    return NetmikoTransport(settings)
