"""What a proxy does to packets (RFC 2865 section 2.3): requests for a home server, its replies for the NAS.

Hidden values are opened with the one secret and closed with the other. A reply brings only what may pass.
Pure: random octets are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from radius.packet.codec import (
    ACCESS_ACCEPT,
    ACCESS_REJECT,
    ACCESS_REQUEST,
    HEADER_OCTETS,
    MICROSOFT,
    Attr,
    MalformedPacket,
    attribute,
    locate,
    trim,
    vendor_attribute,
)
from radius.packet.shared_secret import SharedSecret

ACCESS_CHALLENGE: Final = 11
_ANSWERS: Final = frozenset({ACCESS_ACCEPT, ACCESS_REJECT, ACCESS_CHALLENGE})
_TUNNEL_PASSWORD: Final = 69
_MPPE_KEYS: Final = (MICROSOFT, 12)
_SALTED: Final = frozenset({(MICROSOFT, 16), (MICROSOFT, 17)})
_MOST_PROXIES: Final = 16

Place = tuple[int, int]
"""Vendor (0: none) and type of an attribute."""

_CONVERSATION: Final = frozenset({
    (0, 18), (0, 24), (0, 79), (0, 89), (MICROSOFT, 2), (MICROSOFT, 26),
})  # fmt: skip
"""Reply-Message, State, EAP-Message, Chargeable-User-Identity, MS-CHAP-Error and -Success: a method's own."""
_OF_ACCEPT: Final = _CONVERSATION | {
    (0, 25), (MICROSOFT, 7), (MICROSOFT, 8), _MPPE_KEYS, *_SALTED
}  # fmt: skip
"""Also Class and the keys of the session."""
_OF_CHALLENGE: Final = _CONVERSATION | {(0, 27)}
_OF_REJECT: Final = frozenset({(0, 18), (0, 79), (MICROSOFT, 2)})


class Looping(Exception):  # noqa: N818 - what it does
    """The request has been here before, or has come through too many proxies."""


class HomeAnswer(NamedTuple):
    """A verified reply: its code and, in order, what may pass, hidden for the NAS."""

    code: int
    attributes: bytes
    state: bytes | None


def attributes_of(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of a trimmed and located packet, in the order of the wire."""
    at, end = HEADER_OCTETS, len(packet)
    while at < end:
        length = packet[at + 1]
        yield packet[at], packet[at + 2 : at + length]
        at += length


class Homeward(NamedTuple):
    """What a request is rewritten with: both secrets, our Proxy-State and, when it is cut, the user name."""

    nas: SharedSecret
    home: SharedSecret
    proxy_state: bytes
    username: bytes | None = None


def forward_access(packet: bytes, homeward: Homeward, identifier: int, authenticator: bytes) -> bytes:
    """The Access-Request for a home server, signed, its password hidden anew, our Proxy-State last.

    A CHAP response whose challenge was the request's authenticator gets it as CHAP-Challenge (RFC 2865
    section 5.40). Raises ``MalformedPacket`` when it does not fit.
    """
    kept = b""
    has_chap, has_challenge = False, False
    for kind, value in attributes_of(packet):
        if kind == Attr.MESSAGE_AUTHENTICATOR:
            continue
        forwarded = value
        if kind == Attr.USER_PASSWORD:
            clear = homeward.nas.show_password(value, packet[4:20])
            forwarded = homeward.home.hide_password(clear, authenticator)
        elif kind == Attr.USER_NAME and homeward.username is not None:
            forwarded = homeward.username
        has_chap |= kind == Attr.CHAP_PASSWORD
        has_challenge |= kind == Attr.CHAP_CHALLENGE
        kept += attribute(kind, forwarded)
    if has_chap and not has_challenge:
        kept += attribute(Attr.CHAP_CHALLENGE, packet[4:20])
    kept += attribute(Attr.PROXY_STATE, homeward.proxy_state)
    return homeward.home.access_request(bytes((ACCESS_REQUEST, identifier)), authenticator, kept)


def check_loop(packet: bytes, marker: bytes) -> None:
    """Raise ``Looping`` for a request that carries a Proxy-State of ours, or too many."""
    states = [value for kind, value in attributes_of(packet) if kind == Attr.PROXY_STATE]
    if len(states) > _MOST_PROXIES or any(one.startswith(marker) for one in states):
        raise Looping


def is_reply(datagram: bytes, request: bytes, secret: SharedSecret, *, must_sign: bool) -> bytes | None:
    """The trimmed reply, if it is one to ``request`` and its signatures are right; else None."""
    try:
        reply = trim(datagram)
        first, _ = locate(reply)
    except MalformedPacket:
        return None
    if reply[1] != request[1] or not secret.response_is_right(reply, request[4:20]):
        return None
    at = first.get(Attr.MESSAGE_AUTHENTICATOR)
    if at is None:
        return None if must_sign or Attr.EAP_MESSAGE in first else reply
    return reply if secret.response_is_signed(reply, at, request[4:20]) else None


class Nasward(NamedTuple):
    """What a reply is rewritten with: both requests and secrets, salts, and what an accept may bring."""

    request: bytes
    """The NAS's."""
    forwarded: bytes
    """Ours."""
    nas: SharedSecret
    home: SharedSecret
    salt: Callable[[], bytes]
    passes: frozenset[Place] | None
    """None: everything."""
    is_theirs: Callable[[bytes], bool]
    """Whether a User-Name is one of the home server's subscribers: under another's name the NAS would report
    the session as his."""


def answer_for_nas(reply: bytes, nasward: Nasward) -> HomeAnswer | None:
    """What of a verified reply goes on to the NAS; None when it is no answer to an Access-Request."""
    code = reply[0]
    if code not in _ANSWERS:
        return None
    kept, state = b"", None
    for place, value in _places(reply):
        if place == (0, Attr.STATE):
            state = value
        if place == (0, Attr.USER_NAME) and not nasward.is_theirs(value):
            continue
        if _passes(code, place, nasward.passes):
            hidden = _hidden_anew(place, value, nasward)
            if hidden is not None:
                kept += _encoded(place, hidden)
    return HomeAnswer(code, kept, state)


def _passes(code: int, place: Place, passes: frozenset[Place] | None) -> bool:
    if place[1] in (Attr.PROXY_STATE, Attr.MESSAGE_AUTHENTICATOR) and place[0] == 0:
        return False
    if code == ACCESS_REJECT:
        return place in _OF_REJECT
    if code == ACCESS_CHALLENGE:
        return place in _OF_CHALLENGE
    return passes is None or place in _OF_ACCEPT or place in passes


def _places(packet: bytes) -> Iterator[tuple[Place, bytes]]:
    """Attributes with those of vendors taken apart where they are formed as RFC 2865 section 5.26 has it."""
    for kind, value in attributes_of(packet):
        if kind != Attr.VENDOR_SPECIFIC or len(value) < 6:
            yield (0, kind), value
            continue
        vendor, at = int.from_bytes(value[:4], "big"), 4
        while at + 2 <= len(value):
            length = value[at + 1]
            if length < 2 or at + length > len(value):
                break  # formed otherwise: what cannot be told apart does not pass
            yield (vendor, value[at]), value[at + 2 : at + length]
            at += length


def _encoded(place: Place, value: bytes) -> bytes:
    vendor, kind = place
    return vendor_attribute(vendor, kind, value) if vendor else attribute(kind, value)


def _hidden_anew(place: Place, value: bytes, nasward: Nasward) -> bytes | None:
    """The value for the NAS; None for one that says it is hidden and is of no length that can be opened."""
    asked, ours = nasward.request[4:20], nasward.forwarded[4:20]
    if place == _MPPE_KEYS and len(value) == 32:
        return nasward.nas.hide_password(nasward.home.show_password(value, ours).ljust(32, b"\0"), asked)
    if place in _SALTED:
        return _salted_anew(value, nasward)
    if place == (0, _TUNNEL_PASSWORD):
        anew = _salted_anew(value[1:], nasward)
        return None if anew is None else value[:1] + anew
    return value


def _salted_anew(value: bytes, nasward: Nasward) -> bytes | None:
    """RFC 2548 section 2.4.2 and RFC 2868 section 3.5: two octets of salt, blocks of length and secret."""
    if len(value) < 18 or len(value) % 16 != 2:
        return None
    clear = nasward.home.show_key(value, nasward.forwarded[4:20])
    salt = nasward.salt()
    return salt + nasward.nas.hide_password(bytes((len(clear),)) + clear, nasward.request[4:20] + salt)
