"""The rules as one book, read again only when one was written: a bought table has tens of thousands."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.taxes.book import TaxBook
from billing.store import tax_rows

_KEPT = 4


class TaxBooks:
    """The latest books that were asked for. One for each process or run is enough."""

    def __init__(self) -> None:
        self._mark: tuple[object, ...] = ()
        self._books: dict[datetime | None, TaxBook] = {}

    async def book(self, connection: AsyncConnection, as_of: datetime | None = None) -> TaxBook:
        """The rules as they were known at ``as_of`` (None: now)."""
        mark = await tax_rows.rules_mark(connection)
        if mark != self._mark:
            self._mark, self._books = mark, {}
        found = self._books.get(as_of)
        if found is None:
            if len(self._books) >= _KEPT:
                self._books.clear()
            found = self._books[as_of] = TaxBook(await tax_rows.tax_rules(connection, as_of))
        return found
