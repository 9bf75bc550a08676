"""A document behind a link that was mailed, on the panel and on the portal: the link is the proof."""

from __future__ import annotations

import asyncio

from aiohttp import web

from billing.delivery.signed_names import document_of
from billing.documents.render import as_issued, invoice_pdf, invoice_view
from core.refusal import Refusal
from ui.web.documents import pdf_document
from ui.web.visit import MISSING_TEXT, Panel

_PATIENCE_S = 20.0


async def document_at(panel: Panel, name: str) -> web.Response:
    """The invoice that the link names, as it was issued; 404 for a name that we did not make."""
    invoice_id = document_of(panel.sealer, name[:120])
    if invoice_id is None:
        raise web.HTTPNotFound(text=MISSING_TEXT)
    async with asyncio.timeout(_PATIENCE_S), panel.workplace.reading() as connection:
        view = await invoice_view(connection, invoice_id, panel.billing, panel.usage, panel.sealer)
    if isinstance(view, Refusal):
        raise web.HTTPNotFound(text=MISSING_TEXT)
    body = await asyncio.to_thread(invoice_pdf, as_issued(view))
    return pdf_document(body, view.number, shown=True)
