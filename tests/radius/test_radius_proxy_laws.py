"""Laws of the proxy's packets: whatever a home server or a NAS sends, nothing breaks and nothing slips through."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from pyrad.packet import AuthPacket

from radius.packet.codec import MalformedPacket, attribute, locate, trim, vendor_attribute
from radius.packet.shared_secret import SharedSecret
from radius.proxying.packets import Homeward, Nasward, answer_for_nas, attributes_of, forward_access, is_reply
from radius.proxying.proxied_reports import forward_report

NAS, HOME = b"between us and the NAS", b"between us and them"
SECRETS = SharedSecret(NAS), SharedSecret(HOME)
MARKER = b"marker!!"

_values = st.binary(max_size=253)
_standard = st.builds(
    attribute, st.integers(1, 255).filter(lambda kind: kind not in (2, 3, 33, 60, 79, 80)), _values
)
_vendor = st.builds(vendor_attribute, st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=200))
_attributes = st.lists(st.one_of(_standard, _vendor), max_size=12).map(b"".join)


def packet(code: int, attributes: bytes, authenticator: bytes = bytes(16)) -> bytes:
    length = 20 + len(attributes)
    return bytes((code, 7, length >> 8, length & 255)) + authenticator + attributes


@given(_attributes, st.binary(max_size=100).filter(lambda text: not text.endswith(b"\0")))
def test_a_request_arrives_as_it_was_but_for_what_must_change(attributes: bytes, password: bytes) -> None:
    asked, ours = os.urandom(16), os.urandom(16)
    hidden = SECRETS[0].hide_password(password, asked)
    request = packet(1, attributes + attribute(2, hidden) + attribute(33, b"theirs"), asked)
    forwarded = forward_access(request, Homeward(*SECRETS, MARKER + b"1"), 9, ours)
    first, _ = locate(trim(forwarded))
    assert SECRETS[1].access_is_signed(forwarded, first[80])
    before = [one for one in attributes_of(request) if one[0] not in (2, 80)]
    after = [one for one in attributes_of(forwarded) if one[0] not in (2, 80)]
    assert after == [*before, (33, MARKER + b"1")]
    witness = AuthPacket(secret=HOME, packet=forwarded)
    assert witness.verify_message_authenticator()
    shown = next(value for kind, value in attributes_of(forwarded) if kind == 2)
    assert SECRETS[1].show_password(shown, ours) == password


@given(st.binary(max_size=200))
def test_no_noise_is_a_reply(noise: bytes) -> None:
    request = SECRETS[1].access_request(b"\x01\x07", os.urandom(16), b"")
    for datagram in (noise, b"\x02\x07" + len(noise).to_bytes(2, "big") + noise):
        assert is_reply(datagram, request, SECRETS[1], must_sign=True) is None


@given(st.sampled_from([2, 3, 11]), _attributes, st.data())
def test_one_wrong_bit_anywhere_is_noticed(code: int, attributes: bytes, data: st.DataObject) -> None:
    request = SECRETS[1].access_request(b"\x01\x07", os.urandom(16), b"")
    reply = SECRETS[1].reply(code, request, attributes)
    assert is_reply(reply, request, SECRETS[1], must_sign=True) == reply
    at = data.draw(st.integers(0, len(reply) * 8 - 1))
    wrong = bytearray(reply)
    wrong[at // 8] ^= 1 << at % 8
    assert is_reply(bytes(wrong), request, SECRETS[1], must_sign=False) is None


@given(st.integers(0, 255), _attributes)
@settings(max_examples=200)
def test_only_what_may_pass_does(code: int, attributes: bytes) -> None:
    request = packet(1, b"", os.urandom(16))
    ours = SECRETS[1].access_request(b"\x01\x07", os.urandom(16), b"")
    reply = SECRETS[1].reply(code, ours, attributes)
    nasward = Nasward(request, ours, *SECRETS, lambda: b"\x80\x01", frozenset({(0, 27), (14988, 8)}), bool)
    try:
        answer = answer_for_nas(reply, nasward)
    except MalformedPacket:
        return  # a hidden value of an impossible length: the NAS gets silence
    if code not in (2, 3, 11):
        assert answer is None
        return
    assert answer is not None
    locate(trim(packet(code, answer.attributes)))
    standard = {2: {18, 24, 25, 27, 79, 89, 26}, 3: {18, 79, 26}, 11: {18, 24, 27, 79, 89, 26}}[code]
    for kind, value in attributes_of(packet(code, answer.attributes)):
        assert kind in standard
        if kind == 26:
            assert int.from_bytes(value[:4], "big") in (311, 14988)


@given(_attributes, st.integers(0, 10**6), st.booleans())
def test_a_report_grows_older_and_keeps_the_rest(attributes: bytes, delay_s: int, strip: bool) -> None:
    report = packet(4, attributes + attribute(41, (5).to_bytes(4, "big")))
    others = [one for one in attributes_of(packet(4, attributes)) if one[0] not in (1, 41, 80)]
    before = sum(int.from_bytes(v, "big") for k, v in attributes_of(report) if k == 41 and len(v) == 4)
    forwarded = forward_report(report, SECRETS[1], delay_s=delay_s, strip=strip)
    assert SECRETS[1].request_is_right(forwarded)
    after = list(attributes_of(forwarded))
    assert [one for one in after if one[0] not in (1, 41, 80)][: len(others)] == others
    assert int.from_bytes(after[-2][1], "big") == min(before + delay_s, 0xFFFFFFFF)
