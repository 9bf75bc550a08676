"""Tell when a held service gets other addresses, so that its blocks follow and never hit the next one.

And tell when a session turns up that signed in under an entitlement that has changed since: nobody could move
it before it was known, be it into the walled garden or out of it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Row

from aaa.facts import AddressChanged
from aaa.store import repositories
from core.work import Work


class AddressWatch:
    """Compares the addresses of touched services before and after the sessions are written."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._touched: set[str] = set()
        self._signed_in: dict[str, int] = {}
        self._held: dict[str, Row[Any]] = {}
        self._behind: dict[str, Row[Any]] = {}
        self._before: dict[str, frozenset[str]] = {}

    def touch(self, service_id: str | None) -> None:
        """A session of the service opened, closed or moved."""
        if service_id is not None:
            self._touched.add(service_id)

    def signed_in(self, service_id: str | None, generation: int | None) -> None:
        """A session was not known before; its Class tells under which entitlement it signed in."""
        if service_id is not None and generation is not None:
            self._signed_in[service_id] = min(generation, self._signed_in.get(service_id, generation))

    async def before(self) -> None:
        """Look at the held ones among the touched, before anything is written."""
        rows = await repositories.entitlement_rows(self._work.connection, sorted(self._touched))
        self._held = {service_id: row for service_id, row in rows.items() if row.effect != "none"}
        self._behind = {
            service_id: rows[service_id]
            for service_id, generation in self._signed_in.items()
            if service_id in rows and generation < rows[service_id].generation
        }
        self._before = await repositories.addresses_by_service(self._work.connection, self._held)

    async def after(self) -> None:
        """Publish what changed."""
        concerned = self._held | self._behind
        after = await repositories.addresses_by_service(self._work.connection, concerned)
        await self._work.publish(
            *(
                AddressChanged(service_id, row.generation, row.effect, sorted(after[service_id]))
                for service_id, row in sorted(concerned.items())
                if service_id in self._behind or after[service_id] != self._before[service_id]
            )
        )
