"""Static files, from memory, by exact name."""

from __future__ import annotations

from aiohttp import web

_TYPES = {
    "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8", "toml": "text/plain; charset=utf-8",
}  # fmt: skip


def serve_static(request: web.Request, files: dict[str, bytes], name: str) -> web.Response:
    """The file; one asked for with its digest may be kept for good. Other names are not found."""
    body = files.get(name)
    if body is None:
        raise web.HTTPNotFound
    kind = _TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    kept = "public, max-age=31536000, immutable" if "v" in request.query else "no-cache"
    return web.Response(body=body, headers={"Content-Type": kind, "Cache-Control": kept})
