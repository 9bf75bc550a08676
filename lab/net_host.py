"""A small program that lives inside a namespace: the internet's web server, or a subscriber's browser.

``python -m lab.net_host serve WORD PORT ADDRESS…`` answers HTTP: ``/`` with WORD, ``/octets/N`` with N
octets, ``/drip`` with one octet every 50 ms without end.

``python -m lab.net_host browse`` reads JSON requests from its standard input, one a line, and answers each
with a line of JSON: ``{"id": 1, "do": "get", "url": …, "timeout_s": …}`` with
``{"id": 1, "status": 200, "octets": 9, "text": …}``; ``{"do": "hold", "url": …}`` opens a flow and keeps
reading it; ``{"do": "held"}`` tells how many octets it got so far. It needs the standard library alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any
from urllib.parse import urlsplit

_CHUNK = bytes(65536)


async def answer_http(word: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request, one answer, closed."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ")[1]
        await _send_page(writer, word, path)
        await writer.drain()
    writer.close()


async def _send_page(writer: asyncio.StreamWriter, word: str, path: str) -> None:
    if path == "/drip":
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.05)
    left = int(path.removeprefix("/octets/")) if path.startswith("/octets/") else 0
    body = b"" if left else f"{word}\n".encode()
    writer.write(f"HTTP/1.0 200 OK\r\nContent-Length: {left or len(body)}\r\n\r\n".encode() + body)
    while left > 0:
        writer.write(_CHUNK[:left])
        left -= len(_CHUNK)
        await writer.drain()


async def serve(word: str, port: int, addresses: list[str]) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(
        lambda reader, writer: answer_http(word, reader, writer), addresses, port
    )
    print("ready", flush=True)  # noqa: T201 - the parent waits for it
    await server.serve_forever()


async def fetch(url: str) -> dict[str, Any]:
    """GET over a new connection: status, octets of the body, its beginning."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        host = parts.netloc
        writer.write(f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        status = int((await reader.readuntil(b"\r\n")).split()[1])
        while (await reader.readuntil(b"\r\n")) != b"\r\n":
            pass
        first, octets = b"", 0
        while chunk := await reader.read(262_144):
            first = first or chunk[:4000]
            octets += len(chunk)
    finally:
        writer.close()
    return {"status": status, "octets": octets, "text": first.decode(errors="replace")}


class Browser:
    """Carries out the requests of the parent."""

    def __init__(self) -> None:
        self._held = 0
        self._flow: asyncio.Task[None] | None = None
        self._flow_writer: asyncio.StreamWriter | None = None  # let go of, it would close the connection

    async def do(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request; failures are answers too."""
        try:
            async with asyncio.timeout(float(request.get("timeout_s", 5))):
                if request["do"] == "get":
                    return await fetch(request["url"])
                if request["do"] == "hold":
                    return await self._hold(request["url"])
                return {"octets": self._held}
        except TimeoutError:
            return {"error": "timeout"}
        except (OSError, asyncio.IncompleteReadError, ValueError) as trouble:
            return {"error": f"{type(trouble).__name__}: {trouble}"}

    async def _hold(self, url: str) -> dict[str, Any]:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        writer.write(f"GET {parts.path or '/'} HTTP/1.0\r\n\r\n".encode())
        self._held = len(await reader.read(4096))
        self._flow_writer = writer
        self._flow = asyncio.create_task(self._keep_reading(reader))
        return {"octets": self._held}

    async def _keep_reading(self, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(4096):
            self._held += len(chunk)


async def browse() -> None:
    """Requests in, answers out, as many at a time as come; ends with its standard input."""
    browser = Browser()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    running: set[asyncio.Task[None]] = set()

    async def answer(request: dict[str, Any]) -> None:
        print(json.dumps({"id": request["id"], **await browser.do(request)}), flush=True)  # noqa: T201

    while line := await reader.readline():
        task = asyncio.create_task(answer(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)


def main(arguments: list[str]) -> None:
    """``serve WORD PORT ADDRESS…`` or ``browse``."""
    with contextlib.suppress(KeyboardInterrupt):
        if arguments[0] == "serve":
            asyncio.run(serve(arguments[1], int(arguments[2]), arguments[3:]))
        else:
            asyncio.run(browse())


if __name__ == "__main__":
    main(sys.argv[1:])
