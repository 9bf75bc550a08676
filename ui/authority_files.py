"""What devices fetch of the certificate authority without a sign-in: its certificate and its CRLs.

The panel has them, and so has the portal's plain-HTTP listener: a device that checks a CRL does not speak TLS
to whom it cannot judge without that CRL (RFC 5280 section 8).
"""

from __future__ import annotations

from aiohttp import web

from aaa.list_certificates import PUBLIC_FILES, public_file
from core.work import Workplace


async def authority_file(workplace: Workplace, name: str) -> web.Response | None:
    """One of ``PUBLIC_FILES`` as a download; None for another name, or while there is nothing behind it."""
    if name not in PUBLIC_FILES:
        return None
    async with workplace.reading() as connection:
        found = await public_file(connection, name)
    if found is None:
        return None
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "max-age=300"}
    return web.Response(body=found[1], content_type=found[0], headers=headers)
