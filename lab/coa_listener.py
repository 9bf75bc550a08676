"""The NAS's ear for RFC 5176: CoA-Request and Disconnect-Request, answered with ACK or NAK and a cause."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from pyrad.packet import (
    CoAACK,
    CoANAK,
    CoAPacket,
    CoARequest,
    DisconnectACK,
    DisconnectNAK,
    DisconnectRequest,
    PacketError,
)

from lab.radius_wire import decoded

if TYPE_CHECKING:
    from lab.nas import LabNas

EVENT_WINDOW_S = 300

# Error-Cause, RFC 5176 3.6
MISSING_ATTRIBUTE = 402
NAS_IDENTIFICATION_MISMATCH = 403
SESSION_CONTEXT_NOT_FOUND = 503


class CoaListener(asyncio.DatagramProtocol):
    """Listens for RFC 5176 requests of the NAS's own servers; strangers and forgeries get no answer."""

    def __init__(self, nas: LabNas) -> None:
        self._nas = nas
        self._transport: asyncio.DatagramTransport | None = None
        self._answers: dict[tuple[str, int, int], tuple[bytes, bytes]] = {}
        self.discarded = 0

    async def open(self, address: str, port: int) -> int:
        """Bind; the port is returned."""
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(address, port))
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def close(self) -> None:
        """Unbind."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._answer(data, addr)
        if answer is None:
            self.discarded += 1
        elif self._transport is not None:
            self._transport.sendto(answer, addr)

    def _answer(self, data: bytes, addr: tuple[str, int]) -> bytes | None:
        request = self._genuine(data, addr)
        if request is None or self._nas.coa_mode == "silent" or not self._nas.listens_to_coa():
            return None
        key = (addr[0], addr[1], request.id)
        before = self._answers.get(key)
        if before is not None and before[0] == request.authenticator:
            return before[1]  # a duplicate: the same answer, nothing done twice
        reply = request.CreateReply()
        done = request.code == DisconnectRequest
        cause = self._carry_out(request)
        reply.code = DisconnectACK if done else CoAACK
        if cause is not None:
            reply.code = DisconnectNAK if done else CoANAK
            reply["Error-Cause"] = cause
        if request.message_authenticator:
            reply.add_message_authenticator()
        answer: bytes = reply.ReplyPacket()
        self._answers[key] = (request.authenticator, answer)
        return answer

    def _genuine(self, data: bytes, addr: tuple[str, int]) -> CoAPacket | None:
        if addr[0] not in {server.host for server in self._nas.servers}:
            return None
        try:
            request = CoAPacket(secret=self._nas.secret, dict=self._nas.dictionary, packet=data)
        except PacketError:
            return None
        if request.code not in (CoARequest, DisconnectRequest) or not request.VerifyCoARequest():
            return None
        if request.message_authenticator and not request.verify_message_authenticator():
            return None
        stamps = request.get("Event-Timestamp", [])
        now = self._nas.clock.now().timestamp()
        stale = any(abs(now - stamp) > EVENT_WINDOW_S for stamp in stamps)  # RFC 5176 6.3
        return None if stale else request

    def _carry_out(self, request: CoAPacket) -> int | None:
        """Do it; the Error-Cause when it is refused."""
        attributes = decoded(request)
        self._nas.coa_heard.append({"code": int(request.code), **attributes})
        if self._nas.coa_mode == "nak":
            return self._nas.nak_cause
        if attributes.get("NAS-IP-Address", [self._nas.source_address])[0] != self._nas.source_address:
            return NAS_IDENTIFICATION_MISMATCH
        if attributes.get("NAS-Identifier", [self._nas.identifier])[0] != self._nas.identifier:
            return NAS_IDENTIFICATION_MISMATCH
        if not {"User-Name", "Acct-Session-Id", "Framed-IP-Address"} & attributes.keys():
            return MISSING_ATTRIBUTE
        sessions = self._nas.sessions_meant(attributes)
        if not sessions:
            return SESSION_CONTEXT_NOT_FOUND
        for session in sessions:
            if request.code == DisconnectRequest:
                self._nas.disconnect(session)
            else:
                self._nas.change(session, attributes)
        return None
