"""CoA-Request and Disconnect-Request to a NAS (RFC 5176), through pyrad.

Each request has a socket of its own, so its identifier cannot meet another's. A retransmit is the same
octets. An ACK says that the NAS took the order, not that the subscriber is gone: enforcement observes that
elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyrad.client import Client, Timeout
from pyrad.packet import CoAPacket

from core.secrets import Secret
from radius.dialects.attributes import WireAttribute
from radius.dictionary.wire import split
from radius.packet.codec import (
    COA_ACK,
    COA_REQUEST,
    DISCONNECT_ACK,
    DISCONNECT_REQUEST,
    Attr,
    MalformedPacket,
    attribute,
    parse,
    read_integer,
)
from radius.radsec.door import RadSecRoute, order_by_radsec

_BACKOFF = 1.5

ERROR_CAUSES = {  # RFC 5176 section 3.5
    201: "residual session context removed",
    202: "invalid EAP packet",
    401: "unsupported attribute",
    402: "missing attribute",
    403: "NAS identification mismatch",
    404: "invalid request",
    405: "unsupported service",
    406: "unsupported extension",
    407: "invalid attribute value",
    501: "administratively prohibited",
    502: "request not routable",
    503: "session context not found",
    504: "session context not removable",
    505: "other proxy processing error",
    506: "resources unavailable",
    507: "request initiated",
    508: "multiple session selection unsupported",
}
SESSION_CONTEXT_NOT_FOUND = 503
RESIDUAL_CONTEXT_REMOVED = 201


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The NAS took the order, at the try with that number."""

    ms: float
    tries: int = 1

    def __str__(self) -> str:
        return "ACK"


@dataclass(frozen=True, slots=True)
class Refused:
    """The NAS said no, with Error-Cause when it gave one."""

    error_cause: int | None
    ms: float
    tries: int = 1

    @property
    def session_is_gone(self) -> bool:
        """True when the NAS has no such session any more."""
        return self.error_cause in (SESSION_CONTEXT_NOT_FOUND, RESIDUAL_CONTEXT_REMOVED)

    def __str__(self) -> str:
        if self.error_cause is None:
            return "NAK without a cause"
        return f"NAK {self.error_cause} ({ERROR_CAUSES.get(self.error_cause, 'a cause no RFC names')})"


@dataclass(frozen=True, slots=True)
class Silent:
    """No answer to any try."""

    ms: float
    trouble: str = "no answer"
    tries: int = 1

    def __str__(self) -> str:
        return self.trouble


DynauthOutcome = Acknowledged | Refused | Silent


@dataclass(frozen=True, slots=True)
class DynauthTarget:
    """Where a NAS listens for dynamic authorization."""

    address: str
    port: int
    secret: Secret
    source: str | None = None
    other_secret: Secret | None = None
    """While its secret is rotated: tried when there is no answer under ``secret``."""
    radsec: RadSecRoute | None = None
    """The connection that the NAS opened, instead of address and port."""


@dataclass(frozen=True, slots=True)
class DynauthRequest:
    """One order: ``disconnect`` or a change. ``event_time_s`` is Event-Timestamp, seconds since 1970."""

    disconnect: bool
    attributes: Sequence[WireAttribute]
    event_time_s: int

    def __str__(self) -> str:
        name = "Disconnect-Request" if self.disconnect else "CoA-Request"
        return f"{name} {', '.join(str(one) for one in self.attributes)}"


async def send_dynauth(
    target: DynauthTarget, request: DynauthRequest, *, timeout_s: float = 2.0, tries: int = 3
) -> DynauthOutcome:
    """Send the order and wait for the answer, trying again with growing patience."""
    if target.radsec is not None:
        return await _exchange_by_radsec(target.radsec, request, timeout_s * tries)
    outcome = await asyncio.to_thread(_exchange, target, request, timeout_s, tries)
    if isinstance(outcome, Silent) and target.other_secret is not None:
        other = replace(target, secret=target.other_secret, other_secret=None)
        outcome = await asyncio.to_thread(_exchange, other, request, timeout_s, tries)
    return outcome


async def _exchange_by_radsec(route: RadSecRoute, request: DynauthRequest, wait_s: float) -> DynauthOutcome:
    """Once: what travels by TCP is not sent again (RFC 6613 section 2.6.1)."""
    began = time.perf_counter()
    code = DISCONNECT_REQUEST if request.disconnect else COA_REQUEST
    attributes = b"".join(one.encoded() for one in request.attributes)
    attributes += attribute(Attr.EVENT_TIMESTAMP, request.event_time_s.to_bytes(4, "big"))
    reply = await order_by_radsec(route, code, attributes, wait_s)
    ms = _ms_since(began)
    if isinstance(reply, str):
        return Silent(ms, reply)
    if reply[0] in (COA_ACK, DISCONNECT_ACK):
        return Acknowledged(ms)
    try:
        cause = parse(reply).first(Attr.ERROR_CAUSE)
    except MalformedPacket:
        return Silent(ms, "its answer cannot be read")
    return Refused(None if cause is None else read_integer(cause), ms)


def _exchange(target: DynauthTarget, request: DynauthRequest, timeout_s: float, tries: int) -> DynauthOutcome:
    client = Client(
        target.address,
        coaport=target.port,
        secret=target.secret.reveal().encode(),
        retries=1,
        timeout=timeout_s,
    )
    began = time.perf_counter()
    try:
        if target.source is not None:
            client.bind((target.source, 0))
        packet = _packet(client, request)
        for number in range(1, tries + 1):
            reply = _try_once(client, packet)
            if reply is not None:
                return _read(reply, _ms_since(began), number)
            client.timeout *= _BACKOFF
    except OSError as trouble:
        return Silent(_ms_since(began), f"cannot reach {target.address}: {trouble.strerror or trouble}")
    finally:
        client._CloseSocket()
    said = f"no answer from {target.address} port {target.port} to {tries} tries"
    return Silent(_ms_since(began), said, tries)


def _try_once(client: Client, packet: CoAPacket) -> CoAPacket | None:
    try:
        return client.SendPacket(packet)
    except Timeout:
        return None


def _packet(client: Client, request: DynauthRequest) -> CoAPacket:
    code = DISCONNECT_REQUEST if request.disconnect else COA_REQUEST
    packet = client.CreateCoAPacket(code=code, message_authenticator=True)
    for one in request.attributes:
        for kind, value in split(one.encoded())[0]:
            packet[kind] = [*packet.get(kind, []), value]
    packet[int(Attr.EVENT_TIMESTAMP)] = [request.event_time_s.to_bytes(4, "big")]
    return packet


def _read(reply: CoAPacket, ms: float, tries: int) -> DynauthOutcome:
    if reply.code in (COA_ACK, DISCONNECT_ACK):
        return Acknowledged(ms, tries)
    causes = reply.get(int(Attr.ERROR_CAUSE), [])
    return Refused(read_integer(causes[0]) if causes else None, ms, tries)


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
