"""The way from other roles to a NAS's own RadSec connection, for CoA and Disconnect (RFC 6614 section 2.1).

A NAS behind an address translator can be reached by the connection that it opened, and by nothing else. Who
gives orders (worker, panel) is another process: it asks here, over a local socket whose name only holders of
the sealing key know, and which serves this system's own user and root alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hmac import digest

from core.log import logger
from core.secrets import Sealer
from core.work import Workplace

_LONGEST_LINE = 16_384
_PATIENCE_S = 5.0
_MOST_AT_ONCE = 64
_log = logger("radius")

Order = Callable[[str, int, bytes, float], Awaitable[bytes | str]]
"""NAS id, code, attributes, seconds to wait: the reply, or why there is none."""


@dataclass(frozen=True, slots=True)
class RadSecRoute:
    """By which connection a NAS is reached: ``door`` is the local socket's name."""

    nas_id: str
    door: str


def door_name(sealer: Sealer, workplace: Workplace) -> str:
    """The local socket of whoever serves RadSec for this database on this machine."""
    key = sealer.derive_key("radsec-door")
    return "\0hilltop-radsec-" + digest(key, workplace.database.url.encode(), "sha256")[:16].hex()


class RadSecDoor:
    """Takes orders from other processes and carries them out."""

    def __init__(self, name: str, order: Order) -> None:
        self._name = name
        self._order = order
        self._server: asyncio.Server | None = None
        self._at_work = 0

    async def turn(self) -> None:
        """Open the door, if it is not open: the process that was here before may still hold it."""
        if self._server is not None:
            return
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            listening.bind(self._name)
        except OSError:
            listening.close()
            return
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=_LONGEST_LINE)

    def close(self) -> None:
        """Let the name go."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._at_work += 1
        try:
            if self._at_work <= _MOST_AT_ONCE and _is_trusted(writer):
                answer = await self._carry_out(await asyncio.wait_for(reader.readline(), _PATIENCE_S))
                writer.write(json.dumps(answer).encode() + b"\n")
                await asyncio.wait_for(writer.drain(), _PATIENCE_S)
        except (OSError, TimeoutError, ValueError) as trouble:
            _log.warning("radsec_order_not_understood", error=type(trouble).__name__)
        finally:
            self._at_work -= 1
            writer.close()

    async def _carry_out(self, line: bytes) -> dict[str, str]:
        asked = json.loads(line)
        nas_id, code, wait_s = str(asked["nas_id"]), int(asked["code"]), min(float(asked["wait_s"]), 60.0)
        outcome = await self._order(nas_id, code, bytes.fromhex(asked["attributes"]), wait_s)
        return {"why": outcome} if isinstance(outcome, str) else {"reply": outcome.hex()}


async def order_by_radsec(route: RadSecRoute, code: int, attributes: bytes, wait_s: float) -> bytes | str:
    """The NAS's reply to an order, its authenticator verified; or why there is none."""
    try:
        reader, writer = await asyncio.open_unix_connection(route.door, limit=_LONGEST_LINE)
    except OSError:
        return "no process of this machine serves RadSec now"
    try:
        if not _is_trusted(writer):
            return "whoever serves RadSec here is not this system"
        asked = {"nas_id": route.nas_id, "code": code, "attributes": attributes.hex(), "wait_s": wait_s}
        writer.write(json.dumps(asked).encode() + b"\n")
        line = await asyncio.wait_for(reader.readline(), wait_s + _PATIENCE_S)
        told = json.loads(line)
    except (OSError, TimeoutError, ValueError):
        return "the process that serves RadSec did not answer"
    finally:
        writer.close()
    return bytes.fromhex(told["reply"]) if "reply" in told else str(told.get("why", "no answer"))


def _is_trusted(writer: asyncio.StreamWriter) -> bool:
    """Whether the other end is this system's user, or root (unix(7), SO_PEERCRED)."""
    told = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _pid, uid, _gid = struct.unpack("=iII", told)
    return os.geteuid() == 0 or uid in (0, os.geteuid())
