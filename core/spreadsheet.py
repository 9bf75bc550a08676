"""CSV that a spreadsheet opens without running anything (OWASP, CSV Injection), as RFC 4180 writes it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal

_STARTS_A_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "﹢", "﹣", "﹦", "﹫")
_UNSEEN = " \u00a0\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"


def neutralised(value: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe goes before a dangerous first character."""
    shown = value.lstrip(_UNSEEN)
    dangerous = value.startswith(("\t", "\r", "\n")) or shown.lstrip().startswith(_STARTS_A_FORMULA)
    return f"'{value}" if dangerous else value


def csv_rows(rows: Iterable[Sequence[str | int | Decimal | None]]) -> str:
    """Rows as CSV lines: text is neutralised, numbers stay numbers."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    for row in rows:
        writer.writerow(neutralised(cell) if isinstance(cell, str) else cell for cell in row)
    return written.getvalue()
