"""A one-shot RADIUS client on pyrad, for ``hilltop radius test``: what would a NAS be told?"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass

from pyrad.client import Client, Timeout
from pyrad.packet import AccessRequest, AuthPacket, Packet, StatusServer

from aaa.domain.authentication import Chap
from aaa.domain.mschap import challenge_hash, challenge_response
from aaa.domain.nt_hash import nt_hash
from core.secrets import Secret
from radius.codec import MICROSOFT, Attr, parse, vendor_attribute
from radius.shared_secret import SharedSecret
from radius.shown import shown_attributes

METHODS = ("pap", "chap", "mschapv2", "mac", "status")
_CODES = {2: "Access-Accept", 3: "Access-Reject", 11: "Access-Challenge"}


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """The server to ask, and the secret of the NAS that asks."""

    server: str
    port: int
    secret: Secret


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """``answer``: Access-Accept, Access-Reject, or silence with what to look at."""

    answer: str
    attributes: list[str]
    ms: float

    @property
    def accepted(self) -> bool:
        """True for an Access-Accept."""
        return self.answer == "Access-Accept"

    def __str__(self) -> str:
        return "\n".join([f"{self.answer} after {self.ms:.1f} ms", *(f"  {one}" for one in self.attributes)])


async def probe(
    target: ProbeTarget,
    username: str,
    password: Secret | None = None,
    *,
    method: str = "pap",
    timeout_s: float = 3.0,
) -> ProbeOutcome:
    """Ask once, as a NAS would; one of ``METHODS``. Raises ``ValueError`` for another method."""
    if method not in METHODS:
        raise ValueError(f"{method!r} is no method; use one of {', '.join(METHODS)}")
    return await asyncio.to_thread(_ask, target, username, password, method, timeout_s)


def _ask(
    target: ProbeTarget, username: str, password: Secret | None, method: str, timeout_s: float
) -> ProbeOutcome:
    secret = target.secret.reveal().encode()
    client = Client(
        target.server, authport=target.port, secret=secret, retries=1, timeout=timeout_s, enforce_ma=True
    )
    packet = client.CreateAuthPacket(code=StatusServer if method == "status" else AccessRequest)
    if method != "status":
        _fill(packet, secret, username.encode(), password.reveal() if password else "", method)
    began = time.perf_counter()
    try:
        reply = client.SendPacket(packet)
    except Timeout:
        return ProbeOutcome(_silence(target), [], _ms_since(began))
    except OSError as trouble:
        why = f"cannot reach {target.server}: {trouble.strerror or trouble}"
        return ProbeOutcome(why, [], _ms_since(began))
    finally:
        client._CloseSocket()
    return ProbeOutcome(_CODES.get(reply.code, f"code {reply.code}"), _shown(reply), _ms_since(began))


def _fill(packet: AuthPacket, secret: bytes, username: bytes, password: str, method: str) -> None:
    packet.authenticator = os.urandom(16)
    packet[int(Attr.USER_NAME)] = [username]
    if method in ("pap", "mac"):
        clear = password.encode() if method == "pap" else b""
        hidden = SharedSecret(secret).hide_password(clear, packet.authenticator)
        packet[int(Attr.USER_PASSWORD)] = [hidden]
    elif method == "chap":
        response = Chap(1, packet.authenticator, b"").made_with(password.encode())
        packet[int(Attr.CHAP_PASSWORD)] = [b"\x01" + response]
    else:
        _fill_ms_chap(packet, username, password)
    if method == "mac":
        packet[int(Attr.CALLING_STATION_ID)] = [username]


def _fill_ms_chap(packet: AuthPacket, username: bytes, password: str) -> None:
    challenge, peer = os.urandom(16), os.urandom(16)
    nt_response = challenge_response(challenge_hash(peer, challenge, username), nt_hash(password))
    response = bytes(2) + peer + bytes(8) + nt_response
    attributes = [vendor_attribute(MICROSOFT, 11, challenge), vendor_attribute(MICROSOFT, 25, response)]
    packet[int(Attr.VENDOR_SPECIFIC)] = [one[2:] for one in attributes]


def _shown(reply: Packet) -> list[str]:
    return [one for one in shown_attributes(parse(reply.raw_packet)) if not one.startswith("Message-Auth")]


def _silence(target: ProbeTarget) -> str:
    return (
        f"no answer from {target.server} port {target.port}: is the radius role up, is this address "
        "registered as a NAS, and is the secret the same on both sides?"
    )


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
