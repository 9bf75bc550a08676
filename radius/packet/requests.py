"""What an Access-Request proves: the octets of one of five methods as a proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aaa.domain.authentication import Chap, MsChap, MsChapV2, Nothing, Pap, Proof
from aaa.domain.mschap import challenge_hash
from radius.packet.codec import MICROSOFT, Attr, MalformedPacket, value_at, values_of, vendor_values
from radius.packet.shared_secret import SharedSecret

_MS_CHAP_RESPONSE = 1  # RFC 2548 section 2.1.3
_MS_CHAP_CHALLENGE = 11  # section 2.1.2
_MS_CHAP2_RESPONSE = 25  # section 2.3.2
_RESPONSE_OCTETS = 50
_NT_RESPONSE_VALID = 0x01


def read_proof(
    packet: bytes, first: Mapping[int, int], repeats: Sequence[int], username: bytes, secret: SharedSecret
) -> Proof:
    """The proof in a located Access-Request; ``Nothing`` when it carries none we know."""
    at = first.get(2)
    if at is not None:
        return Pap(secret.show_password(packet[at + 2 : at + packet[at + 1]], packet[4:20]))
    if Attr.CHAP_PASSWORD in first:
        return _read_chap(packet, first)
    if Attr.VENDOR_SPECIFIC in first:
        return _read_ms_chap(values_of(packet, Attr.VENDOR_SPECIFIC, first, repeats), username)
    return Nothing()


def _read_chap(packet: bytes, first: Mapping[int, int]) -> Proof:
    """RFC 2865 section 5.3: the challenge is in CHAP-Challenge, else it is the Request Authenticator."""
    value = value_at(packet, first[Attr.CHAP_PASSWORD])
    if len(value) != 17:
        raise MalformedPacket("a CHAP-Password of the wrong length")
    at = first.get(Attr.CHAP_CHALLENGE)
    challenge = packet[4:20] if at is None else value_at(packet, at)
    return Chap(value[0], challenge, value[1:])


def _read_ms_chap(vendor_specific: Sequence[bytes], username: bytes) -> Proof:
    found = vendor_values(vendor_specific, MICROSOFT)
    challenge = found.get(_MS_CHAP_CHALLENGE, b"")
    second = found.get(_MS_CHAP2_RESPONSE)
    if second is not None and len(second) == _RESPONSE_OCTETS and len(challenge) == 16:
        return MsChapV2(second[0], challenge_hash(second[2:18], challenge, username), second[26:50])
    one = found.get(_MS_CHAP_RESPONSE)
    if (
        one is not None
        and len(one) == _RESPONSE_OCTETS
        and len(challenge) == 8
        and one[1] & _NT_RESPONSE_VALID
    ):
        return MsChap(challenge, one[26:50])
    return Nothing()


def ms_chap_identifier(vendor_specific: Sequence[bytes]) -> int | None:
    """The Ident of an MS-CHAP response, which a refusal has to repeat; None when the request has none."""
    found = vendor_values(vendor_specific, MICROSOFT)
    response = found.get(_MS_CHAP2_RESPONSE) or found.get(_MS_CHAP_RESPONSE)
    return response[0] if response else None
