"""What a close holds, and the digest that proves it.

A close holds the usage records of its service that begin in its *pieces*: its span without what earlier
closes of the service had taken. No mark is needed on the records. Usage is only ever written from the
service's border on (the end of its last close, ``aaa.domain.usage``), and a close splits what lies across its
borders; so a record that begins in a piece ends in it, and neither changes again nor gets a neighbour.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

Span = tuple[datetime, datetime]
"""Half-open: from the first instant to before the second."""

_BY_LINES = "lines:"


def pieces_of(span: Span, taken: Iterable[Span]) -> list[Span]:
    """What is left of ``span`` without the spans ``taken``, in the order of time."""
    pieces = []
    start, end = span
    for taken_from, taken_until in sorted(taken):
        if taken_until <= start or taken_from >= end:
            continue
        if taken_from > start:
            pieces.append((start, taken_from))
        start = max(start, taken_until)
    if start < end:
        pieces.append((start, end))
    return pieces


def digest_of_lines(lines: Iterable[str]) -> str:
    """``lines:`` and SHA-256 over the records' lines, sorted by their octets, each ended by a newline.

    A line is ``meter|start|end|octets in|octets out|interpolated``, instants in microseconds since 1970. So a
    database may put the lines together, in whatever order it finds the records.
    """
    text = "\n".join([*sorted(lines), ""])
    return _BY_LINES + hashlib.sha256(text.encode()).hexdigest()


def digest_in_order(lines: Iterable[str]) -> str:
    """As closes were digested before: SHA-256 over the same lines by start, end and meter of the records."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def is_digest(digest: str, lines: Iterable[str]) -> bool:
    """Whether ``digest``, of either kind, is of these lines, which come by start, end and meter."""
    return digest == (digest_of_lines(lines) if digest.startswith(_BY_LINES) else digest_in_order(lines))
