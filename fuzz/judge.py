"""Whether an answer may be given at all, and whether it is of the right form: without our own code.

Everything here is written from the RFCs with ``hashlib`` and ``hmac``, so that a mistake of the codec is not
repeated.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import md5

from fuzz.world import Nas

_REPLIES = {1: (2, 3, 11), 12: (2, 5), 4: (5,)}
_REJECT_MAY_CARRY = {18, 26, 33, 79, 80}


class Unsound(Exception):  # noqa: N818 - named for what it is
    """An answer that should not have been given, or not so."""


@dataclass(frozen=True, slots=True)
class Walked:
    """A packet as the RFCs have it: attributes as (type, value, where the value begins)."""

    code: int
    identifier: int
    octets: bytes
    attributes: list[tuple[int, bytes, int]]

    def all(self, kind: int) -> list[bytes]:
        return [value for one, value, _ in self.attributes if one == kind]


def walk(datagram: bytes) -> Walked | None:
    """RFC 2865 section 3 and 5; None for what is no packet."""
    if len(datagram) < 20:
        return None
    length = int.from_bytes(datagram[2:4], "big")
    if not 20 <= length <= 4096 or length > len(datagram):
        return None
    octets, attributes, at = datagram[:length], [], 20
    while at < length:
        if at + 2 > length or octets[at + 1] < 2 or at + octets[at + 1] > length:
            return None
        attributes.append((octets[at], octets[at + 2 : at + octets[at + 1]], at + 2))
        at += octets[at + 1]
    return Walked(octets[0], octets[1], octets, attributes)


def _is_signed(packet: Walked, secret: bytes, authenticator: bytes) -> bool:
    """RFC 3579 section 3.2, under the authenticator that counts for this kind of packet."""
    places = [at for kind, value, at in packet.attributes if kind == 80 and len(value) == 16]
    if len(places) != 1 or len(packet.all(80)) != 1:
        return False
    at, octets = places[0], packet.octets
    signed = octets[:4] + authenticator + octets[20:at] + bytes(16) + octets[at + 16 :]
    return hmac.digest(secret, signed, "md5") == octets[at : at + 16]


@dataclass(slots=True)
class Judge:
    """Remembers which NASes have been seen to sign: under ``auto`` they must from then on."""

    signs: set[str] = field(default_factory=set)

    def has_signed(self, nas: Nas | None) -> bool:
        """Whether a signed request of it has been answered."""
        return nas is not None and nas.address in self.signs

    def judge(
        self, datagram: bytes, reply: bytes, nas: Nas | None, *, accounting: bool, had_signed: bool
    ) -> Walked:
        """The reply, found sound. ``had_signed``: when the request came. Raises ``Unsound``."""
        request = walk(datagram)
        if nas is None or request is None:
            raise Unsound("an answer to a stranger, or to what is no packet")
        if request.code not in ((4, 12) if accounting else (1, 12)):
            raise Unsound(f"an answer to code {request.code}")
        self._may_be_answered(request, nas, had_signed=had_signed)
        answer = walk(reply)
        if answer is None or len(answer.octets) != len(reply):
            raise Unsound("a reply that is no packet")
        self._is_of_right_form(request, answer, nas, accounting=accounting)
        return answer

    def _may_be_answered(self, request: Walked, nas: Nas, *, had_signed: bool) -> None:
        zeros = request.code == 4
        vector = bytes(16) if zeros else request.octets[4:20]
        signed = any(_is_signed(request, secret, vector) for secret in nas.secrets)
        if request.all(80) and not signed:
            raise Unsound("an answer to a wrong Message-Authenticator, or to two")
        if zeros:
            plain = request.octets[:4] + bytes(16) + request.octets[20:]
            if not any(md5(plain + secret).digest() == request.octets[4:20] for secret in nas.secrets):
                raise Unsound("an answer to an Accounting-Request of another secret")
        elif not signed:
            _may_be_unsigned(request, nas, had_signed=had_signed)
        elif request.code == 1 and not request.all(79):
            self.signs.add(nas.address)

    def _is_of_right_form(self, request: Walked, answer: Walked, nas: Nas, *, accounting: bool) -> None:
        if answer.identifier != request.identifier or answer.code not in _REPLIES[request.code]:
            raise Unsound(f"code {answer.code} with identifier {answer.identifier}")
        if accounting != (answer.code == 5):
            raise Unsound(f"code {answer.code} on the other port")
        vector = request.octets[4:20]
        made = answer.octets[:4] + vector + answer.octets[20:]
        secrets = [one for one in nas.secrets if md5(made + one).digest() == answer.octets[4:20]]
        if not secrets:
            raise Unsound("a reply with a wrong Response Authenticator")
        if request.code != 4 and (
            answer.attributes[0][0] != 80 or not _is_signed(answer, secrets[0], vector)
        ):
            raise Unsound("a reply whose first attribute is no right Message-Authenticator")
        if answer.all(33) != request.all(33):
            raise Unsound("Proxy-State changed, lost or out of order")
        if answer.code == 3:
            _is_bare(answer)


def _may_be_unsigned(request: Walked, nas: Nas, *, had_signed: bool) -> None:
    if request.code == 12 or request.all(79):
        raise Unsound("an answer to an unsigned Status-Server or EAP request")
    if nas.policy == "require" or (nas.policy == "auto" and (had_signed or request.all(33))):
        raise Unsound(f"an answer to an unsigned request of a NAS under {nas.policy}")


def _is_bare(reject: Walked) -> None:
    """A reject has nothing of a service in it (RFC 2865 section 4.3)."""
    more = {kind for kind, _, _ in reject.attributes} - _REJECT_MAY_CARRY
    vendors = [value for value in reject.all(26) if value[:5] != b"\0\0\x01\x37\x02"]
    if more or vendors:
        raise Unsound(f"a reject that carries {sorted(more) or vendors}")
