"""Many invoices at once: printed by processes beside this one, in order, as a ZIP or as one PDF to print.

Reading is done here and typesetting there, a parcel at a time, so that memory stays the same however many
there are. An archive is streamed: it is begun before the last invoice is printed.
"""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import zipfile
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings
from billing.documents.invoice_view import InvoiceView, as_issued, invoice_view
from billing.documents.printed import print_invoice
from billing.documents.render import printed_pdf
from billing.ports import DailyUsageSource
from billing.store import document_rows
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Workplace

Form = Literal["zip", "print"]
PARCEL = 20
"""Invoices that go to a process together."""
SHEAF = 50
"""Invoices in one PDF of a print queue: Typst holds them all in memory, some 3 MB each."""
Progress = Callable[[int, int], None]
"""``(printed, of how many)``."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which invoices: of a bill run, of days of issue (both included), of accounts with that delivery."""

    bill_run_id: str | None = None
    from_on: date | None = None
    until_on: date | None = None
    delivery: str | None = None
    account_id: str | None = None


async def chosen_invoices(connection: AsyncConnection, choice: Choice) -> list[str] | Refusal:
    """Their ids in order of number; refused when there are none, or when nothing was chosen."""
    if choice == Choice(delivery=choice.delivery):
        return Refusal("bulk.everything", "choose a bill run or days of issue", "from")
    ids = await document_rows.invoices_to_print(
        connection, bill_run_id=choice.bill_run_id, from_on=choice.from_on, until_on=choice.until_on,
        delivery=choice.delivery, account_id=choice.account_id,
    )  # fmt: skip
    return ids or Refusal("bulk.none", "there is no such invoice", "from")


@asynccontextmanager
async def printers(count: int | None = None) -> AsyncIterator[Executor]:
    """Processes that typeset: as many as there are cores, two at most unless told."""
    pool = ProcessPoolExecutor(
        count or min(2, os.cpu_count() or 1), mp_context=multiprocessing.get_context("spawn")
    )
    try:
        yield pool
    finally:
        await asyncio.to_thread(pool.shutdown, cancel_futures=True)


def print_parcel(views: Sequence[InvoiceView]) -> list[tuple[str, bytes]]:
    """``(file name, PDF)`` of each; runs in a printing process."""
    return [(file_name(view.number), printed_pdf(view.look, [print_invoice(view)])) for view in views]


def print_sheaf(views: Sequence[InvoiceView]) -> list[tuple[str, bytes]]:
    """All of them in one PDF, one for each look; runs in a printing process."""
    sheaves: dict[str, list[InvoiceView]] = {}
    for view in views:
        sheaves.setdefault(view.look.digest, []).append(view)
    return [
        (
            f"{file_stem(some[0].number)}-{file_name(some[-1].number)}",
            printed_pdf(some[0].look, [print_invoice(one) for one in some]),
        )
        for some in sheaves.values()
    ]


def file_stem(number: str) -> str:
    """The invoice's number in letters that any file system takes."""
    return "".join(one if one.isascii() and one.isalnum() else "-" for one in number)


def file_name(number: str) -> str:
    """The invoice's file."""
    return f"{file_stem(number)}.pdf"


async def printed_invoices(  # noqa: PLR0917 - the house, then what is asked
    workplace: Workplace,
    settings: BillingSettings,
    usage: DailyUsageSource | None,
    sealer: Sealer | None,
    invoice_ids: Sequence[str],
    pool: Executor,
    *,
    form: Form = "zip",
    progress: Progress | None = None,
) -> AsyncIterator[tuple[str, bytes]]:
    """``(file name, PDF)`` in order of number, as issued; at most four parcels are under way."""
    loop, size = asyncio.get_running_loop(), SHEAF if form == "print" else PARCEL
    act = print_sheaf if form == "print" else print_parcel
    waiting: deque[tuple[int, asyncio.Future[list[tuple[str, bytes]]]]] = deque()
    done = 0

    async def next_parcel() -> list[tuple[str, bytes]]:
        nonlocal done
        count, printing = waiting.popleft()
        made = await printing
        done += count
        if progress is not None:
            progress(done, len(invoice_ids))
        return made

    try:
        for start in range(0, len(invoice_ids), size):
            views = await _views(workplace, settings, usage, sealer, invoice_ids[start : start + size])
            waiting.append((len(views), loop.run_in_executor(pool, act, views)))
            if len(waiting) >= 4:
                for one in await next_parcel():
                    yield one
        while waiting:
            for one in await next_parcel():
                yield one
    finally:
        for _, printing in waiting:
            printing.cancel()


async def _views(
    workplace: Workplace,
    settings: BillingSettings,
    usage: DailyUsageSource | None,
    sealer: Sealer | None,
    ids: Sequence[str],
) -> list[InvoiceView]:
    found = []
    async with workplace.reading() as connection:
        for one in ids:
            view = await invoice_view(connection, one, settings, usage, sealer)
            if not isinstance(view, Refusal):
                found.append(as_issued(view))
    return found


class _Spool(io.RawIOBase):
    """Takes what the archive writes and gives it on; it is never all in memory."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._told = 0

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self._parts.append(bytes(part))
        self._told += len(part)
        return len(part)

    def tell(self) -> int:
        return self._told

    def take(self) -> bytes:
        """What was written since last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def zipped(files: AsyncIterator[tuple[str, bytes]]) -> AsyncGenerator[bytes, None]:
    """The files as a ZIP archive, part by part. PDFs are compressed already: they are stored."""
    spool = _Spool()
    with zipfile.ZipFile(spool, "w", zipfile.ZIP_STORED) as archive:
        async for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content)
            yield spool.take()
    yield spool.take()
