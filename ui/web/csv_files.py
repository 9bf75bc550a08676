"""Tables as CSV files that a spreadsheet opens without running anything."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aiohttp import web

from core.money import minor_digits
from core.spreadsheet import neutralised

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def cell(value: Any) -> str | int | Decimal:
    """One value as a CSV cell; numbers stay numbers, instants are ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, Decimal)):
        return value
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (list, tuple, set, frozenset)):
        return neutralised("; ".join(str(part) for part in value))
    return neutralised(str(value))


def _columns(row_type: type[DataclassInstance]) -> list[str]:
    return [one.name for one in fields(row_type) if one.metadata.get("csv", True)]


def _value(row: DataclassInstance, name: str) -> Any:
    value = getattr(row, name)
    if not name.endswith("_minor") or value is None:
        return value
    return Decimal(value).scaleb(-minor_digits(getattr(row, "currency", "USD")))


def csv_text(
    row_type: type[DataclassInstance], rows: Sequence[DataclassInstance], *, header: bool = True
) -> str:
    """Rows of one dataclass as CSV, a column a field; ``*_minor`` fields become decimal amounts."""
    columns = _columns(row_type)
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    if header:
        writer.writerow([name.removesuffix("_minor") for name in columns])
    writer.writerows([[cell(_value(row, name)) for name in columns] for row in rows])
    return written.getvalue()


def _headers(name: str) -> dict[str, str]:
    return {
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Disposition": f'attachment; filename="{name}.csv"',
    }


def csv_file(name: str, row_type: type[DataclassInstance], rows: Sequence[DataclassInstance]) -> web.Response:
    """A download of all the rows at once."""
    return web.Response(body=csv_text(row_type, rows).encode(), headers=_headers(name))


async def csv_stream(
    request: web.Request,
    name: str,
    row_type: type[DataclassInstance],
    pages: AsyncIterator[Sequence[DataclassInstance]],
) -> web.StreamResponse:
    """A download of pages of rows, however many there are."""
    response = web.StreamResponse(headers=_headers(name))
    await response.prepare(request)
    await response.write(csv_text(row_type, []).encode())
    async for rows in pages:
        await response.write(csv_text(row_type, rows, header=False).encode())
    await response.write_eof()
    return response
