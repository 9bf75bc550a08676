"""The print queue: what goes out on paper, as PDFs that a printer takes, one sheaf after the other."""

from __future__ import annotations

import asyncio
from datetime import date

from billing.config import BillingSettings
from billing.delivery.compose import Printed, compose, letter_of
from billing.delivery.message_text import MessageError
from billing.documents.bulk import SHEAF
from billing.documents.render import printed_pdf
from billing.ports import DailyUsageSource
from billing.store import mail_rows
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Work, Workplace

MOST_LETTERS = 500
"""In one go; those left over are printed the next time."""


async def print_letters(
    workplace: Workplace,
    settings: BillingSettings,
    usage: DailyUsageSource | None,
    sealer: Sealer,
    today: date,
) -> tuple[list[tuple[str, bytes]], list[str]] | Refusal:
    """``(file name, PDF)`` of the letters that wait, and their ids for ``mark_printed``.

    Nothing is marked here: a printer that jams costs no letter. One that cannot be made is marked failed.
    """
    pages: list[Printed] = []
    done: list[str] = []
    failed: dict[str, str] = {}
    async with workplace.reading() as connection:
        for message in await mail_rows.letters(connection, MOST_LETTERS):
            try:
                composed = await compose(connection, message, settings, usage, sealer)
                pages += await letter_of(connection, message, composed, settings, today)
            except MessageError as trouble:
                failed[message.id] = str(trouble)
            else:
                done.append(message.id)
    if failed:
        async with workplace.work("system:mail") as work:
            for message_id, reason in failed.items():
                await mail_rows.change_message(
                    work.connection, message_id, ["queued"], state="failed", reason=reason, ended_at=work.now
                )
    if not pages:
        return Refusal("letters.none", "no letter waits to be printed", "letters")
    return await asyncio.to_thread(_sheaves, pages), done


def _sheaves(pages: list[Printed]) -> list[tuple[str, bytes]]:
    by_look: dict[str, list[Printed]] = {}
    for one in pages:
        by_look.setdefault(one[1].digest, []).append(one)
    parcels = [
        some[start : start + SHEAF] for some in by_look.values() for start in range(0, len(some), SHEAF)
    ]
    return [
        (f"letters-{number}.pdf", printed_pdf(parcel[0][1], [printed for _, _, printed in parcel]))
        for number, parcel in enumerate(parcels, start=1)
    ]


async def mark_printed(work: Work, message_ids: list[str]) -> int:
    """The letters are in their envelopes; how many of them still waited."""
    marked = 0
    for message_id in message_ids:
        marked += await mail_rows.change_message(
            work.connection, message_id, ["queued"], state="sent", reason="printed", ended_at=work.now
        )
    if marked:
        await work.audit("mail.letters_printed", "letters", letters=marked)
    return marked
