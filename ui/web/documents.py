"""Documents on their way to a browser."""

from __future__ import annotations

import base64
import hashlib
import re

from aiohttp import web

from billing.documents.bulk import file_stem

_MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; base-uri 'none'"
)
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def html_document(text: str, *, inline_styles: bool = False) -> web.Response:
    """A document that carries its own style: that style and its pictures are all that it may use.

    ``inline_styles``: as mail has to be written.
    """
    policy = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
        for style in _STYLE.findall(text)
    )
    policy = f"default-src 'none'; style-src {policy}; img-src data:; frame-ancestors 'self'; base-uri 'none'"
    if inline_styles:
        policy = _MAIL_POLICY
    headers = {"Content-Security-Policy": policy, "X-Frame-Options": "SAMEORIGIN"}
    return web.Response(text=text, content_type="text/html", headers=headers)


def pdf_document(content: bytes, name: str, *, shown: bool = False) -> web.Response:
    """A PDF to keep, or to look at in the browser."""
    how = "inline" if shown else "attachment"
    headers = {
        "Content-Type": "application/pdf",
        "Content-Disposition": f'{how}; filename="{file_stem(name)}.pdf"',
    }
    return web.Response(body=content, headers=headers)
