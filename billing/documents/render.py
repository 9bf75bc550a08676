"""Documents: an invoice as HTML and as PDF. User text travels as data and is never part of a template."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from billing.documents.invoice_view import InvoiceView, invoice_view
from billing.documents.printed import print_invoice

if TYPE_CHECKING:
    import typst

__all__ = ["INVOICE_CSS", "InvoiceView", "invoice_html", "invoice_pdf", "invoice_view"]

TEMPLATES = Path(__file__).parent / "templates"
INVOICE_CSS = (TEMPLATES / "invoice.css").read_text(encoding="utf-8")


def invoice_html(view: InvoiceView, *, stylesheet_href: str | None = None) -> str:
    """A whole HTML document. With ``stylesheet_href`` it links ``INVOICE_CSS`` there, else it carries it."""
    template = _environment().get_template("invoice.html.j2")
    return template.render(
        inv=print_invoice(view),
        stylesheet_href=stylesheet_href,
        stylesheet=Markup(INVOICE_CSS),  # noqa: S704 - our own file, not input
    )


def invoice_pdf(view: InvoiceView) -> bytes:
    """The invoice as PDF, octet for octet the same each time; ``typst.TypstError`` if its template is bad."""
    import typst  # 84 MB of machine code, of which 6 come into memory: only for who prints

    pdf = typst.compile(
        str(TEMPLATES / "invoice.typ"),
        format="pdf",
        root=str(TEMPLATES),
        font_paths=fonts(),
        sys_inputs={"invoice": json.dumps(print_invoice(view), ensure_ascii=False)},
        timestamp=0,
    )
    if not isinstance(pdf, bytes):
        raise TypeError("typst answered with pages instead of one PDF")
    return pdf


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )


@cache
def fonts() -> typst.Fonts:
    """Looked up once: typst's own fonts, and those of the machine for scripts that they lack."""
    import typst

    return typst.Fonts(include_system_fonts=True, include_embedded_fonts=True)
