"""RADIUS requests made ahead of a measurement, and the check of every reply after it.

Own code over hashlib, independent of Hilltop's codec, so that the measurement can also contradict it.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.mschap import nt_hash, nt_response, success_message

ACCESS_REQUEST, ACCESS_ACCEPT = 1, 2
ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE = 4, 5
FRAMED_IP, CLASS, MESSAGE_AUTHENTICATOR = 8, 25, 80
_MICROSOFT = struct.pack("!I", 311)
_START, _STOP, _INTERIM = 1, 2, 3
_EMPTY_AUTHENTICATOR = b"\0" * 16

INTERIM_INTERVAL_S = 300
STORY_S = 180
"""Length of a session in the accounting rows: short, so that every Event-Timestamp is a recent one."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One of the users that both servers know. ``nt_hash`` is of the password (RFC 2759)."""

    username: str
    password: str
    address: str
    mac: str
    nt_hash: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """One request ready to send; the identifier is already in it.

    ``nonce`` is the MS-CHAP peer challenge; ``session`` the number of the accounting session, -1 for none.
    """

    octets: bytes
    subscriber: int
    nonce: bytes = b""
    session: int = -1


def make_subscribers(count: int) -> list[Subscriber]:
    """``count`` subscribers with passwords of their own; the same at every call."""
    source = random.Random(count)
    people = []
    for number in range(count):
        password = f"{source.getrandbits(48):012x}"
        address = f"10.{64 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}"
        mac = ":".join(
            f"{octet:02X}" for octet in (0x02, 0x48, 0, number >> 16, (number >> 8) & 255, number & 255)
        )
        people.append(Subscriber(f"subscriber{number:05d}", password, address, mac, nt_hash(password)))
    return people


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute on the wire (RFC 2865 section 5)."""
    return bytes((kind, len(value) + 2)) + value


def _address(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


def _integer(kind: int, value: int) -> bytes:
    return struct.pack("!BBI", kind, 6, value)


def _dialled(person: Subscriber, number: int) -> bytes:
    """What a PPPoE concentrator of MikroTik says about a dial-in, less the credentials."""
    return b"".join(
        (
            _integer(6, 2),  # Service-Type Framed
            _integer(7, 1),  # Framed-Protocol PPP
            _integer(5, 15_728_640 + number),  # NAS-Port
            _integer(61, 15),  # NAS-Port-Type Ethernet
            attribute(31, person.mac.encode()),  # Calling-Station-Id
            attribute(30, b"pppoe-tower"),  # Called-Station-Id
            attribute(87, b"ether2-sector"),  # NAS-Port-Id
            attribute(32, b"bench-nas"),  # NAS-Identifier
            _integer(4, 0x7F000001),  # NAS-IP-Address
        )
    )


def hide_password(password: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """User-Password (RFC 2865 section 5.2); at most 16 octets here."""
    mask = hashlib.md5(secret + authenticator).digest()
    return bytes(a ^ b for a, b in zip(password.ljust(16, b"\0"), mask, strict=True))


Credentials = Callable[[Subscriber, bytes, bytes, bytes], bytes]
"""(subscriber, secret, authenticator, nonce) to the attributes that prove the subscriber."""


def _pap(person: Subscriber, secret: bytes, authenticator: bytes, _nonce: bytes) -> bytes:
    return attribute(2, hide_password(person.password.encode(), secret, authenticator))


def _chap(person: Subscriber, _secret: bytes, _authenticator: bytes, nonce: bytes) -> bytes:
    proof = hashlib.md5(nonce[:1] + person.password.encode() + nonce).digest()
    return attribute(3, nonce[:1] + proof) + attribute(60, nonce)


def _mschapv2(person: Subscriber, _secret: bytes, authenticator: bytes, nonce: bytes) -> bytes:
    response = nt_response(person.username.encode(), person.nt_hash, authenticator, nonce)
    challenge = attribute(11, authenticator)
    answer = attribute(25, b"\x01\0" + nonce + b"\0" * 8 + response)
    return attribute(26, _MICROSOFT + challenge) + attribute(26, _MICROSOFT + answer)


METHODS: dict[str, Credentials] = {"pap": _pap, "chap": _chap, "mschapv2": _mschapv2}


def _signed(code: int, identifier: int, authenticator: bytes, attributes: bytes, secret: bytes) -> bytes:
    """A request with Message-Authenticator first (RFC 3579 section 3.2)."""
    head = struct.pack("!BBH", code, identifier, 38 + len(attributes))
    blank = head + authenticator + b"\x50\x12" + _EMPTY_AUTHENTICATOR + attributes
    signature = hmac.digest(secret, blank, "md5")
    return blank[:22] + signature + attributes


def access_requests(
    people: Sequence[Subscriber], secret: bytes, method: str, count: int, lanes: int, seed: int = 1
) -> list[list[Request]]:
    """``count`` Access-Requests dealt over ``lanes`` source ports, each with an authenticator of its own."""
    source = random.Random(seed)
    prove = METHODS[method]
    dialled = [_dialled(person, number) for number, person in enumerate(people)]
    names = [attribute(1, person.username.encode()) for person in people]
    dealt: list[list[Request]] = [[] for _ in range(lanes)]
    for index in range(count):
        number = index % len(people)
        authenticator, nonce = source.randbytes(16), source.randbytes(16)
        attributes = names[number] + prove(people[number], secret, authenticator, nonce) + dialled[number]
        lane = dealt[index % lanes]
        octets = _signed(ACCESS_REQUEST, len(lane) & 255, authenticator, attributes, secret)
        lane.append(Request(octets, number, nonce))
    return dealt


BLOCK = 1_024
"""Sessions that run side by side: more than are ever in flight, so a session's reports stay in order."""


_STEPS = ((_START, 0), (_INTERIM, 60), (_INTERIM, 120), (_STOP, STORY_S))
REPORTS_OF_A_SESSION = len(_STEPS)


def _session_story(people: int, count: int) -> Iterator[tuple[int, int, int, int]]:
    """(subscriber, session, status type, seconds since start): Start, two Interims, Stop of each session."""
    made = first = 0
    while True:
        for status, age_s in _STEPS:
            for session in range(first, first + BLOCK):
                yield session % people, session, status, age_s
                made += 1
                if made == count:
                    return
        first += BLOCK


def accounting_requests(
    people: Sequence[Subscriber],
    secret: bytes,
    classes: Sequence[bytes],
    count: int,
    lanes: int,
    run: str,
    started_at_s: int,
) -> list[list[Request]]:
    """``count`` Accounting-Requests of sessions that no other ``run`` has named.

    ``classes`` holds what each Access-Accept gave to be echoed (empty: nothing); ``started_at_s`` is the
    Event-Timestamp of the Starts, in seconds since 1970.
    """
    dealt: list[list[Request]] = [[] for _ in range(lanes)]
    fixed = [
        attribute(1, person.username.encode())
        + _dialled(person, number)
        + attribute(FRAMED_IP, _address(person.address))
        + (attribute(CLASS, classes[number]) if classes[number] else b"")
        + _integer(45, 1)  # Acct-Authentic RADIUS
        for number, person in enumerate(people)
    ]
    for index, (number, session, status, age_s) in enumerate(_session_story(len(people), count)):
        attributes = (
            fixed[number]
            + attribute(44, f"{run}{session:08x}".encode())  # Acct-Session-Id
            + _integer(40, status)
            + _integer(55, started_at_s + age_s)  # Event-Timestamp
            + (_counters(session, age_s) if age_s else b"")
            + (_integer(49, 1) if status == _STOP else b"")  # Acct-Terminate-Cause User-Request
        )
        lane = dealt[index % lanes]
        octets = _signed(ACCOUNTING_REQUEST, len(lane) & 255, _EMPTY_AUTHENTICATOR, attributes, secret)
        authenticator = hashlib.md5(octets + secret).digest()  # RFC 2866 section 3
        lane.append(Request(octets[:4] + authenticator + octets[20:], number, session=session))
    return dealt


def _counters(session: int, age_s: int) -> bytes:
    octets = (session % 977 + 1) * 1_000 * age_s
    return b"".join(
        (
            _integer(46, age_s),  # Acct-Session-Time
            _integer(42, octets & 0xFFFFFFFF),
            _integer(43, (octets * 9) & 0xFFFFFFFF),
            _integer(47, octets // 900),
            _integer(48, octets // 120),
            _integer(52, octets >> 32),
            _integer(53, (octets * 9) >> 32),
        )
    )


def attributes_of(octets: bytes) -> dict[int, list[bytes]]:
    """Attributes of a packet by number, in order; raises ``ValueError`` when they do not fill it exactly."""
    if len(octets) < 20 or len(octets) != struct.unpack_from("!H", octets, 2)[0]:
        raise ValueError("the length field is not the datagram's length")
    found: dict[int, list[bytes]] = {}
    place = 20
    while place < len(octets):
        length = octets[place + 1] if place + 1 < len(octets) else 0
        if length < 2 or place + length > len(octets):
            raise ValueError("an attribute runs past the end")
        found.setdefault(octets[place], []).append(octets[place + 2 : place + length])
        place += length
    return found


def reply_is_signed_for(request: bytes, reply: bytes, secret: bytes) -> bool:
    """Is the Response Authenticator right (RFC 2865 section 3)?"""
    proof = hashlib.md5(reply[:4] + request[4:20] + reply[20:] + secret).digest()
    return proof == reply[4:20]


def message_authenticator_is_right(request: bytes, reply: bytes, secret: bytes) -> bool | None:
    """Is the reply's Message-Authenticator right? None when it has none."""
    place = 20
    while place < len(reply):
        if reply[place] == MESSAGE_AUTHENTICATOR:
            blank = (
                reply[:4] + request[4:20] + reply[20 : place + 2] + _EMPTY_AUTHENTICATOR + reply[place + 18 :]
            )
            return hmac.digest(secret, blank, "md5") == reply[place + 2 : place + 18]
        place += reply[place + 1]
    return None


def fault_in_reply(
    request: Request, reply: bytes, person: Subscriber, secret: bytes, thorough: bool
) -> str | None:
    """What is wrong with ``reply``, or None. ``thorough`` also looks into the attributes."""
    wanted = ACCESS_ACCEPT if request.octets[0] == ACCESS_REQUEST else ACCOUNTING_RESPONSE
    if reply[0] != wanted:
        return f"code {reply[0]} where {wanted} was due"
    if not reply_is_signed_for(request.octets, reply, secret):
        return "the response authenticator is wrong"
    if not thorough:
        return None
    if message_authenticator_is_right(request.octets, reply, secret) is False:
        return "the message authenticator is wrong"
    return _fault_in_accept(request, reply, person) if wanted == ACCESS_ACCEPT else None


def _fault_in_accept(request: Request, reply: bytes, person: Subscriber) -> str | None:
    found = attributes_of(reply)
    if found.get(FRAMED_IP) != [_address(person.address)]:
        return f"Framed-IP-Address is not the one of {person.username}"
    asked = attributes_of(request.octets)
    answers = [value[6:] for value in asked.get(26, []) if value[:5] == _MICROSOFT + b"\x19"]
    if not answers:
        return None
    response = answers[0][26:50]
    proof = success_message(
        person.username.encode(), person.nt_hash, request.octets[4:20], request.nonce, response
    )
    if any(value[:5] == _MICROSOFT + b"\x1a" and proof in value for value in found.get(26, [])):
        return None
    return "MS-CHAP2-Success does not prove the password"
