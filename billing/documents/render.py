"""Documents: an invoice as HTML and as PDF. User text travels as data and is never part of a template."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from markupsafe import Markup

from billing.documents import typesetter as typesetting
from billing.documents.invoice_view import InvoiceView, as_issued, invoice_view
from billing.documents.look import Look, built_in
from billing.documents.printed import print_invoice
from billing.documents.sandbox import TemplateSandbox
from billing.documents.typesetter import fonts, typesetter
from billing.documents.usage_chart import chart_svg
from core.log import logger

__all__ = ["InvoiceView", "as_issued", "fonts", "invoice_html", "invoice_pdf", "invoice_view", "printed_pdf"]

_log = logger("billing")


def invoice_html(view: InvoiceView) -> str:
    """A whole HTML document that carries its style, its pictures and nothing that acts."""
    return printed_html(view.look, print_invoice(view))


def printed_html(look: Look, printed: dict[str, Any], *, fall_back: bool = True) -> str:
    """The HTML of a printed invoice; the built-in template where the operator's own fails.

    Raises ``typesetter.TemplateError`` without ``fall_back``.
    """
    try:
        return _html(look.source("invoice.html.j2"), look.source("invoice.css"), look, printed)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as trouble:
        if not fall_back:
            raise typesetting.TemplateError(f"{type(trouble).__name__}: {trouble}") from None
        _log.error("template_failed", template="invoice.html.j2", error=str(trouble)[:300])
        return _html(built_in("invoice.html.j2"), built_in("invoice.css"), look, printed)


def _html(source: str, style: str, look: Look, printed: dict[str, Any]) -> str:
    logo = None
    if look.logo is not None:
        logo = f"data:{look.logo.media_type};base64,{base64.b64encode(look.logo.content).decode()}"
    page: str = _template(source).render(
        inv=printed,
        logo=logo,
        charts=[Markup(chart_svg(one, printed["accent"])) for one in printed["charts"]],  # noqa: S704 - drawn by us
        code=_picture(printed["pay"]["code"]) if printed["pay"] and printed["pay"]["code"] else None,
        stylesheet=Markup(style.replace("</", "<\\/")),  # noqa: S704 - the operator's own, kept inside its element
    )
    return page


def _picture(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


@lru_cache(maxsize=16)
def _template(source: str) -> Any:
    environment = TemplateSandbox(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(source)


def invoice_pdf(view: InvoiceView) -> bytes:
    """The invoice as PDF, octet for octet the same each time."""
    return printed_pdf(view.look, [print_invoice(view)])


def printed_pdf(look: Look, printed: Sequence[dict[str, Any]]) -> bytes:
    """Printed documents in one PDF; by the built-in templates where the operator's own fail."""
    try:
        return typesetter().pdf(look, printed)
    except typesetting.TemplateError as trouble:
        if not any(name.endswith(".typ") for name in look.templates):
            raise
        _log.error("template_failed", template="typst", error=str(trouble)[:300])
        return typesetter().pdf(Look(look.issuer, look.terms, look.locale, look.logo), printed)
