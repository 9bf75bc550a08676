"""Downloads that are written while they are read, however large they are."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web


async def text_stream(
    request: web.Request, file_name: str, content_type: str, parts: AsyncIterator[str]
) -> web.StreamResponse:
    """A file in parts; ``file_name`` must be plain ASCII."""
    headers = {"Content-Type": content_type, "Content-Disposition": f'attachment; filename="{file_name}"'}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    async for part in parts:
        await response.write(part.encode())
    await response.write_eof()
    return response
