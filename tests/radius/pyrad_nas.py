"""A NAS made of pyrad that obeys, refuses or ignores CoA and Disconnect, and remembers what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyrad.packet import CoAACK, CoANAK, CoAPacket, DisconnectACK, DisconnectNAK, DisconnectRequest

Answer = Callable[[CoAPacket], int | str | None]
"""None: ACK. A number: NAK with that Error-Cause (0: without one). "silent": nothing."""


@dataclass
class PyradNas(asyncio.DatagramProtocol):
    secret: bytes
    answer: Answer
    heard: list[CoAPacket] = field(default_factory=list)
    datagrams: list[bytes] = field(default_factory=list)
    transport: Any = None

    async def start(self, host: str = "127.0.0.1") -> int:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, 0))
        return int(self.transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.datagrams.append(data)
        request = CoAPacket(secret=self.secret, packet=data)
        assert request.VerifyCoARequest(), "pyrad does not accept the request authenticator"
        assert request.verify_message_authenticator(), "pyrad does not accept the Message-Authenticator"
        self.heard.append(request)
        cause = self.answer(request)
        if cause == "silent":
            return
        reply = request.CreateReply()
        ends = request.code == DisconnectRequest
        if cause is None:
            reply.code = DisconnectACK if ends else CoAACK
        else:
            reply.code = DisconnectNAK if ends else CoANAK
            if cause:
                reply[101] = [int(cause).to_bytes(4, "big")]
        reply.add_message_authenticator()
        self.transport.sendto(reply.ReplyPacket(), addr)

    def close(self) -> None:
        self.transport.close()
