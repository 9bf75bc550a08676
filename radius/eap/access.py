"""EAP in RADIUS packets: what an Access-Request asks, and the attributes of what is answered (RFC 3579)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from aaa.authorize import Reject
from radius.eap import packet as eap
from radius.eap.server import EapQuestion, Granted
from radius.nas.table import NasState
from radius.packet.codec import (
    MICROSOFT,
    Attr,
    attribute,
    locate,
    read_integer,
    value_at,
    values_of,
    vendor_attribute,
)
from radius.packet.shared_secret import SharedSecret, new_salt

_MPPE_SEND_KEY: Final = 16  # RFC 2548 section 2.4.2
_MPPE_RECV_KEY: Final = 17  # section 2.4.3
_WIRELESS: Final = (18, 19, 22)
"""NAS-Port-Type of links that cannot do without keys."""
_LONGEST_KEY_NAME: Final = 253


def read_question(
    nas: NasState, packet: bytes, first: Mapping[int, int], repeats: Sequence[int], address: str
) -> EapQuestion:
    """What a located Access-Request with an EAP-Message asks; each attribute is cut out where it is."""
    at = first[79]
    message = packet[at + 2 : at + packet[at + 1]]
    if repeats:
        message = eap.join(values_of(packet, 79, first, repeats))
    station, state = first.get(31), first.get(24)
    mtu, port_type, wants_session_id = first.get(12), first.get(61), 102 in first
    known = nas.nas
    return EapQuestion(
        message,
        None if state is None else packet[state + 2 : state + packet[state + 1]],
        (known.id, address),
        known.name,
        known.macs,
        None if station is None else packet[station + 2 : station + packet[station + 1]],
        None if mtu is None else read_integer(value_at(packet, mtu)),
        wants_session_id
        or (port_type is not None and read_integer(value_at(packet, port_type)) in _WIRELESS),
        wants_session_id,
    )


def _value(packet: bytes, first: Mapping[int, int], kind: int) -> bytes | None:
    at = first.get(kind)
    return None if at is None else value_at(packet, at)


def named(reject: Reject, packet: bytes) -> Reject:
    """The reject with the User-Name of the request, when EAP itself did not come as far as a name."""
    if reject.identity:
        return reject
    first, _ = locate(packet)
    username = _value(packet, first, Attr.USER_NAME) or b""
    return reject._replace(identity=username.decode("utf-8", "replace"))


def session_of(nas_id: str, packet: bytes) -> bytes | None:
    """What tells the session that signs in from all others: its NAS, station, and its id where it is told."""
    first, _ = locate(packet)
    station = _value(packet, first, Attr.CALLING_STATION_ID)
    session = _value(packet, first, Attr.ACCT_SESSION_ID)
    if station is None and session is None:
        return None
    return b"\x1f".join((nas_id.encode(), station or b"", session or b""))


def challenge_attributes(request: bytes, state: bytes) -> bytes:
    """A request and the State to come back with."""
    return eap.split(request) + attribute(Attr.STATE, state)


def success_attributes(granted: Granted, secret: SharedSecret, packet: bytes) -> bytes:
    """The success, the identity that was proved, and the keys for the NAS."""
    passed = granted.passed
    attributes = eap.split(eap.finished(eap.SUCCESS, granted.identifier))
    attributes += attribute(Attr.USER_NAME, passed.login.credential.username.encode())
    if passed.keys:
        attributes += _keys(passed.keys, secret, packet[4:20])
    if passed.session_id and len(passed.session_id) <= _LONGEST_KEY_NAME:
        attributes += attribute(Attr.EAP_KEY_NAME, passed.session_id)
    return attributes


def _keys(keys: bytes, secret: SharedSecret, authenticator: bytes) -> bytes:
    """RFC 3748 section 7.10: the first half is what the NAS receives under, the second what it sends under.

    Each is hidden under a salt of its own.
    """
    half = len(keys) // 2
    receive = secret.hide_long_key(keys[:half], authenticator, new_salt())
    send = secret.hide_long_key(keys[half:], authenticator, new_salt())
    return vendor_attribute(MICROSOFT, _MPPE_RECV_KEY, receive) + vendor_attribute(
        MICROSOFT, _MPPE_SEND_KEY, send
    )
