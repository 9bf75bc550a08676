"""A one-shot RADIUS client, for ``hilltop radius test``: what would a NAS, or a server that orders, be told?

pyrad makes the requests and verifies the replies: another codec than the server's.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from core.secrets import Secret
from radius.dictionary.attributes import AttributeDictionary, NamedValue, attribute_dictionary
from radius.packet.codec import MalformedPacket, Packet, parse
from radius.packet.names import code_name
from radius.probing.requests import METHODS, AnyPacket, Conversation, ProbeOrder

__all__ = ["METHODS", "ProbeOrder", "ProbeOutcome", "ProbeTarget", "carry_out", "probe"]

_LARGEST: Final = 4_160
_ROUNDS: Final = 10
_GOOD: Final = frozenset((2, 5, 41, 44))
"""Access-Accept, Accounting-Response, Disconnect-ACK, CoA-ACK."""
_CHALLENGE: Final = 11


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """The server to ask, and the secret of the NAS that asks. ``source``: the address to ask from."""

    server: str
    port: int
    secret: Secret
    source: str | None = None

    def __str__(self) -> str:
        return f"{self.server} port {self.port}"


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """``answer``: the name of the reply, or silence with what to look at; ``code`` is None for silence."""

    answer: str
    code: int | None
    attributes: list[NamedValue]
    ms: float
    request: str = ""
    sent: list[NamedValue] = field(default_factory=list)
    tries: int = 1
    rounds: int = 1
    trusted: bool = True
    """False: what came back was not made with this secret, or its Message-Authenticator is wrong."""
    signed: bool = False
    """Whether the reply carries a Message-Authenticator (which is right, when it is trusted)."""
    server_proof: bool | None = None
    """Whether the server proved that it knows the password too; None where the method has no such proof."""

    @property
    def accepted(self) -> bool:
        """True for an Access-Accept, Accounting-Response or ACK that can be trusted."""
        return self.code in _GOOD and self.trusted and self.server_proof is not False

    @property
    def exit_code(self) -> int:
        """0: yes. 1: no. 3: no answer. 4: an answer that cannot be trusted."""
        if self.code is None:
            return 3
        if not self.trusted or self.server_proof is False:
            return 4
        return 0 if self.accepted else 1

    def __str__(self) -> str:
        sent = [f"sent {self.request}", *(f"  {one}" for one in self.sent)] if self.sent else []
        return "\n".join([*sent, self._headline(), *(f"  {one}" for one in self.attributes)])

    def _headline(self) -> str:
        tries = "" if self.tries == 1 else f", {self.tries} tries"
        rounds = "" if self.rounds == 1 else f", {self.rounds} rounds"
        return f"{self.answer} after {self.ms:.1f} ms{tries}{rounds}{self._doubts()}"

    def _doubts(self) -> str:
        if self.code is None:
            return ""
        if not self.trusted:
            return "; NOT made with this secret: it differs on the two sides, or somebody forges"
        if self.server_proof is False:
            return "; the server did NOT prove that it knows the password"
        if self.signed:
            return "; authenticator and Message-Authenticator are right"
        return "; its authenticator is right; it carries no Message-Authenticator"

    def as_json(self) -> dict[str, Any]:
        """For scripts; secrets are masked here too."""
        return {
            "answer": self.answer, "code": self.code, "accepted": self.accepted, "ms": self.ms,
            "tries": self.tries, "rounds": self.rounds, "trusted": self.trusted, "signed": self.signed,
            "server_proof": self.server_proof, "request": self.request,
            "sent": [_as_json(one) for one in self.sent],
            "attributes": [_as_json(one) for one in self.attributes],
        }  # fmt: skip


def _as_json(one: NamedValue) -> dict[str, Any]:
    return {"name": one.name, "tag": one.tag, "value": one.text}


async def probe(
    target: ProbeTarget,
    username: str,
    password: Secret | None = None,
    *,
    method: str = "pap",
    timeout_s: float = 3.0,
) -> ProbeOutcome:
    """Ask once, as a NAS would; one of ``METHODS``. Raises ``ValueError`` for another method."""
    return await carry_out(target, ProbeOrder(method, username, password), timeout_s=timeout_s)


async def carry_out(
    target: ProbeTarget,
    order: ProbeOrder,
    *,
    timeout_s: float = 3.0,
    tries: int = 1,
    book: AttributeDictionary | None = None,
) -> ProbeOutcome:
    """Ask, as often as ``tries`` when nothing comes within ``timeout_s``.

    Raises ``AttributeFault`` for an attribute that cannot be sent and ``ValueError`` for an unknown method.
    """
    if order.method not in METHODS:
        raise ValueError(f"{order.method!r} is no method; use one of {', '.join(METHODS)}")
    book = book or attribute_dictionary()
    conversation = Conversation(order, target.secret.reveal().encode(), book)
    return await asyncio.to_thread(_converse, target, conversation, timeout_s, tries)


def _converse(target: ProbeTarget, conversation: Conversation, timeout_s: float, tries: int) -> ProbeOutcome:
    request: AnyPacket | None = conversation.first_request()
    began = time.perf_counter()
    try:
        with _connected(target) as line:
            line.settimeout(timeout_s)
            for rounds in range(1, _ROUNDS + 1):  # noqa: B007 - told in the outcome
                exchange = _exchange(line, request, tries)
                request = conversation.next_request(exchange.reply) if exchange.continues else None
                if request is None:
                    break
    except OSError as trouble:
        why = f"cannot reach {target.server}: {trouble.strerror or trouble}"
        return ProbeOutcome(why, None, [], _ms_since(began))
    return _outcome(target, conversation, exchange, ms=_ms_since(began), rounds=rounds)


def _connected(target: ProbeTarget) -> socket.socket:
    """A socket of our own to the server, so that nobody else's answer reaches it."""
    found = socket.getaddrinfo(target.server, target.port, type=socket.SOCK_DGRAM)
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        if target.source is not None:
            made.bind((target.source, 0))
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A request and what came back to it. ``raw`` is empty for silence."""

    request: bytes = field(repr=False)
    raw: bytes = field(repr=False)
    reply: Packet
    tries: int
    trusted: bool
    refused: bool = False
    """Whether the machine said that nobody listens there."""

    @property
    def continues(self) -> bool:
        return bool(self.raw) and self.trusted and self.reply.code == _CHALLENGE


_NOTHING: Final = Packet(0, 0, bytes(16), ())


def _exchange(line: socket.socket, packet: AnyPacket, tries: int) -> _Exchange:
    """The same octets again and again until something answers them: a retransmit must be seen to be one."""
    octets = bytes(packet.RequestPacket())
    doubtful: _Exchange | None = None
    refused = False
    for tried in range(1, tries + 1):
        try:
            line.send(octets)
            found = _await_reply(line, packet, octets, tried)
        except ConnectionRefusedError:
            refused = True
            continue
        if found is not None and found.trusted:
            return found
        doubtful = found or doubtful
    return doubtful or _Exchange(octets, b"", _NOTHING, tries, trusted=True, refused=refused)


def _await_reply(line: socket.socket, packet: AnyPacket, octets: bytes, tried: int) -> _Exchange | None:
    """The first reply that can be trusted before time is up; else the last that cannot."""
    deadline = time.monotonic() + (line.gettimeout() or 0)
    patience = line.gettimeout()
    doubtful = None
    try:
        while (left := deadline - time.monotonic()) > 0:
            line.settimeout(left)
            found = _read(line.recv(_LARGEST), packet, octets, tried)
            if found is not None and found.trusted:
                return found
            doubtful = found or doubtful
    except TimeoutError:
        pass
    finally:
        line.settimeout(patience)
    return doubtful


def _read(raw: bytes, packet: AnyPacket, octets: bytes, tried: int) -> _Exchange | None:
    """None for what is no reply to this request: of another identifier, or no packet."""
    try:
        reply = parse(raw)
    except MalformedPacket:
        return None
    if reply.identifier != packet.id:
        return None
    try:
        theirs = packet.CreateReply(packet=raw)
        trusted = bool(packet.VerifyReply(theirs, raw))
    except Exception:  # noqa: BLE001 - pyrad's boundary: what it cannot read is not to be trusted
        trusted = False
    return _Exchange(octets, raw, reply, tried, trusted=trusted)


def _outcome(
    target: ProbeTarget, conversation: Conversation, exchange: _Exchange, *, ms: float, rounds: int
) -> ProbeOutcome:
    sent = parse(exchange.request)
    common: dict[str, Any] = {
        "ms": ms, "tries": exchange.tries, "rounds": rounds, "sent": _shown(sent, conversation.book),
        "request": f"{code_name(sent.code)} to {target}, identifier {sent.identifier}",
    }  # fmt: skip
    if not exchange.raw:
        return ProbeOutcome(_silence(target, exchange, conversation.order), None, [], **common)
    reply = exchange.reply
    return ProbeOutcome(
        code_name(reply.code), reply.code, _shown(reply, conversation.book),
        trusted=exchange.trusted, signed=reply.first(80) is not None,
        server_proof=conversation.proof_of_server(reply), **common,
    )  # fmt: skip


def _shown(packet: Packet, book: AttributeDictionary) -> list[NamedValue]:
    return [one for one in book.decode(packet) if one.name != "Message-Authenticator"]


def _silence(target: ProbeTarget, exchange: _Exchange, order: ProbeOrder) -> str:
    if exchange.refused:
        return f"nobody listens on {target}"
    if order.method in ("coa", "disconnect"):
        return (
            f"no answer from {target}: does the NAS accept orders, from this address, on this port, "
            "and is the secret the same on both sides?"
        )
    return (
        f"no answer from {target}: is the radius role up, is this address "
        "registered as a NAS, and is the secret the same on both sides?"
    )


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 2)


def parsed_attributes(given: Sequence[str]) -> list[tuple[str, str]]:
    """``Name=value`` of the command line as pairs. Raises ``ValueError`` naming what is no such thing."""
    pairs = []
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{one!r} is not Name=value, such as NAS-Port-Type=Ethernet")
        pairs.append((name.strip(), value.strip()))
    return pairs
