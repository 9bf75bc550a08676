"""The codec against the packets of the RFCs, and against pyrad and scapy."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.packet import AuthPacket
from scapy.layers.radius import Radius, RadiusAttribute

from aaa.domain import mschap
from aaa.domain.authentication import Chap, Credential
from aaa.domain.nt_hash import md4, nt_hash
from radius.packet.codec import (
    MalformedPacket,
    Packet,
    attribute,
    encode,
    locate,
    parse,
    trim,
    values_of,
    vendor_attribute,
    vendor_values,
)
from radius.packet.requests import read_proof
from radius.packet.shared_secret import SharedSecret

VALUES = st.binary(min_size=1, max_size=60)
KINDS = st.integers(1, 255).filter(lambda kind: kind not in (26, 80))
ATTRIBUTES = st.lists(st.tuples(KINDS, VALUES), max_size=20)


def test_rfc2865_7_1_pap_is_read_and_its_reply_reproduced() -> None:
    request = bytes.fromhex(
        "010000380f403f9473978057bd83d5cb98f4227a01066e656d6f02120dbe708d93d413ce3196e43f782a0aee"
        "0406c0a80110050600000003"
    )
    accept = bytes.fromhex("0200002686fe220e7624ba2a1005f6bf9b55e0b20606000000010f06000000000e06c0a80103")
    secret = SharedSecret(b"xyzzy5461")
    packet = parse(request)
    assert packet.first(1) == b"nemo"
    assert secret.show_password(packet.first(2) or b"", packet.authenticator) == b"arctangent"
    assert secret.plain_reply(2, request, accept[20:]) == accept
    assert secret.hide_password(b"arctangent", packet.authenticator) == packet.first(2)


def test_rfc2865_7_2_chap_reply_is_reproduced() -> None:
    request = bytes.fromhex(
        "010100472aee86f08d0d55969ca5978e0d3367a20108666c6f70737903131 6e97557c316185895f293ff634407"
        "72750406c0a80110050600000014060600000002070600000001".replace(" ", "")
    )
    accept = bytes.fromhex(
        "0201003815efbc7dab26cfa3dc34d9c03c8601a40606000000020706000000010806fffffffe0a0600000002"
        "0d06000000010c06000005dc"
    )
    assert SharedSecret(b"xyzzy5461").plain_reply(2, request, accept[20:]) == accept
    first, repeats = locate(request)
    proof = read_proof(request, first, repeats, b"flopsy", SharedSecret(b"xyzzy5461"))
    assert isinstance(proof, Chap)
    assert proof.identifier == 0x16
    assert proof.challenge == request[4:20], "without CHAP-Challenge the authenticator is the challenge"
    assert proof.matches(Credential("flopsy", "pppoe", b"arctangent", b"", b""))


def test_rfc2759_9_2_mschapv2() -> None:
    challenge = bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628")
    peer = bytes.fromhex("21402324255E262A28295F2B3A337C7E")
    once = nt_hash("clientPass")
    assert once.hex() == "44ebba8d5312b8d611474411f56989ae"
    short = mschap.challenge_hash(peer, challenge, b"User")
    assert short.hex() == "d02e4386bce91226"
    assert mschap.challenge_hash(peer, challenge, b"DOMAIN\\User") == short
    response = mschap.challenge_response(short, once)
    assert response.hex() == "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df"
    (twice,) = md4([once])
    assert twice.hex() == "41c00c584bd2d91c4017a2a12fa59f3f"
    assert (
        mschap.authenticator_response(twice, response, short) == b"S=407A5589115FD0D6209F510FE9C04566932CDA56"
    )


def test_rfc3079_3_5_3_mppe_keys() -> None:
    twice = bytes.fromhex("41C00C584BD2D91C4017A2A12FA59F3F")
    response = bytes.fromhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")
    send, _receive = mschap.mppe_keys(twice, response)
    assert send.hex().upper() == "8B7CDC149B993A1BA118CB153F56DCCB"


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_rfc1320_a_5_md4(message: bytes, digest: str) -> None:
    assert md4([message])[0].hex() == digest


@given(st.lists(st.binary(max_size=150), max_size=12))
def test_md4_of_many_is_md4_of_each(messages: list[bytes]) -> None:
    assert md4(messages) == [md4([message])[0] for message in messages]


@given(st.binary(max_size=200))
def test_decoding_arbitrary_octets_raises_only_its_own_error(octets: bytes) -> None:
    try:
        parse(octets)
    except MalformedPacket:
        return


@given(ATTRIBUTES, st.binary(min_size=16, max_size=16), st.integers(0, 255))
def test_encode_then_parse_is_identity(
    attributes: list[tuple[int, bytes]], authenticator: bytes, identifier: int
) -> None:
    packet = Packet(1, identifier, authenticator, tuple(attributes))
    assert parse(encode(packet)) == packet


@given(ATTRIBUTES)
def test_pyrad_reads_what_we_write(attributes: list[tuple[int, bytes]]) -> None:
    octets = encode(Packet(1, 5, bytes(16), tuple(attributes)))
    theirs = AuthPacket(packet=octets, secret=b"x")
    for kind in {kind for kind, _ in attributes}:
        assert theirs[kind] == [value for one, value in attributes if one == kind]


@given(st.lists(st.tuples(st.sampled_from((1, 11, 18, 24, 25, 31, 32, 33, 44, 87, 88)), VALUES), max_size=20))
def test_scapy_reads_what_we_write(attributes: list[tuple[int, bytes]]) -> None:
    seen = Radius(encode(Packet(1, 5, bytes(16), tuple(attributes)))).attributes
    assert [(one.type, one.value) for one in seen] == attributes


@given(st.lists(st.tuples(st.sampled_from((1, 11, 18, 24, 25, 31, 32, 33, 44, 87, 88)), VALUES), max_size=20))
def test_we_read_what_scapy_writes(attributes: list[tuple[int, bytes]]) -> None:
    theirs = Radius(code=1, id=5, authenticator=bytes(16))
    theirs.attributes = [RadiusAttribute(type=kind, value=value) for kind, value in attributes]
    assert parse(bytes(theirs)).attributes == tuple(attributes)


@given(ATTRIBUTES)
def test_we_read_what_pyrad_writes(attributes: list[tuple[int, bytes]]) -> None:
    theirs = AuthPacket(code=1, id=5, secret=b"x", authenticator=bytes(16))
    for kind, value in attributes:
        theirs[kind] = [*theirs.get(kind, []), value]
    packet = theirs.RequestPacket()
    first, repeats = locate(packet)
    for kind in {kind for kind, _ in attributes}:
        assert values_of(packet, kind, first, repeats) == theirs[kind]


@given(st.binary(min_size=1, max_size=128).filter(lambda text: not text.endswith(b"\0")))
def test_passwords_travel_to_and_from_pyrad(password: bytes) -> None:
    authenticator = os.urandom(16)
    secret = SharedSecret(b"a secret")
    theirs = AuthPacket(secret=b"a secret", authenticator=authenticator)
    assert secret.show_password(theirs.PwCrypt(password), authenticator) == password
    assert secret.hide_password(password, authenticator) == theirs.PwCrypt(password)


@given(st.binary(min_size=16, max_size=16))
def test_hidden_mppe_key_comes_back(key: bytes) -> None:
    secret, authenticator = SharedSecret(b"a secret"), bytes(range(16))
    hidden = secret.hide_key(key, authenticator, b"\x80\x01")
    assert len(hidden) == 34
    assert secret.show_key(hidden, authenticator) == key


def test_secret_longer_than_a_block_signs_as_the_hmac_of_the_library() -> None:
    import hmac

    long = os.urandom(100)
    packet = bytes((1, 1, 0, 38)) + bytes(16) + b"\x50\x12" + bytes(16)
    right = hmac.digest(long, packet, "md5")
    signed = packet[:22] + right
    assert SharedSecret(long).access_is_signed(signed, 20)
    assert not SharedSecret(long[:-1]).access_is_signed(signed, 20)


def _packet(body: bytes, length: int | None = None) -> bytes:
    size = 20 + len(body) if length is None else length
    return bytes((1, 1, size >> 8, size & 255)) + bytes(16) + body


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "nothing"),
        (bytes(19), "shorter than a header"),
        (_packet(b"", length=19), "a Length below the header"),
        (_packet(b"\x01\x03a", length=24), "a Length beyond what came"),
        (_packet(bytes(4090), length=4110), "more than 4096"),
        (_packet(b"\x01"), "an attribute without a length"),
        (_packet(b"\x01\x00"), "an attribute of length 0"),
        (_packet(b"\x01\x01"), "an attribute of length 1"),
        (_packet(b"\x01\x05ab"), "an attribute past the end"),
        (_packet(b"\x50\x11" + bytes(15)), "a short Message-Authenticator"),
        (_packet((b"\x50\x12" + bytes(16)) * 2), "two Message-Authenticators"),
    ],
)
def test_malformed(octets: bytes, why: str) -> None:
    with pytest.raises(MalformedPacket):
        parse(octets)


def test_padding_behind_the_length_is_ignored() -> None:
    packet = _packet(b"\x01\x03a")
    assert trim(packet + b"\xff" * 7) == packet


def test_what_does_not_fit_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match="253 fit"):
        attribute(1, bytes(254))
    with pytest.raises(ValueError, match="4096 fit"):
        encode(Packet(1, 1, bytes(16), ((1, bytes(250)),) * 20))


@pytest.mark.parametrize(
    "value",
    [b"", b"\0\0", b"\0\0\x01\x37", b"\0\0\x01\x37\x19", b"\0\0\x01\x37\x19\x00", b"\0\0\x01\x37\x19\xff"],
)
def test_badly_formed_vendor_attributes_are_left_out(value: bytes) -> None:
    assert vendor_values([value], 311) == {}


def test_several_sub_attributes_in_one_vendor_attribute() -> None:
    two = vendor_attribute(311, 11, b"challenge")[2:] + b"\x19\x04ok"
    assert vendor_values([two], 311) == {11: b"challenge", 25: b"ok"}
    assert vendor_values([two], 14988) == {}


def test_accounting_request_is_signed_as_rfc2866_says() -> None:
    body = attribute(40, b"\0\0\0\x01")
    header = bytes((4, 9, 0, 20 + len(body)))
    packet = SharedSecret(b"s").sign_request(header, body)
    assert packet[4:20] == hashlib.md5(header + bytes(16) + body + b"s").digest()
    assert SharedSecret(b"s").request_is_right(packet)
    assert not SharedSecret(b"t").request_is_right(packet)
