"""IPv6 addresses in accounting, encoded by pyrad: what a NAS reports is what is on record."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.tools import EncodeIPv6Address, EncodeIPv6Prefix
from radius_world import accounting, octets

from radius.accounting.decode import AccountingOrigin, decode_accounting

ORIGIN = AccountingOrigin("nas_1", "192.0.2.1", datetime(2026, 3, 10, 12, tzinfo=UTC))


@given(st.integers(1, 2**128 - 1), st.integers(1, 128))
def test_prefixes_and_addresses_are_read_as_pyrad_writes_them(number: int, bits: int) -> None:
    network = IPv6Network((number, bits), strict=False)
    packet = accounting(
        a97=bytes(EncodeIPv6Prefix(str(network))), a123=bytes(EncodeIPv6Prefix(str(network))),
        a168=bytes(EncodeIPv6Address(str(IPv6Address(number)))),
    )  # fmt: skip
    event = decode_accounting(octets(packet), ORIGIN)
    assert event is not None
    assert event.framed_ipv6_prefix == event.delegated_ipv6_prefix == str(network)
    assert event.framed_ipv6_address == str(IPv6Address(number))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (97, b"\0"), (97, b"\0\x40"), (97, b"\0\x81" + bytes(16)), (97, b"\0\x40" + bytes(7)), (123, b"\0\0"),
        (168, bytes(16)), (168, bytes(15)), (168, b""),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_left_out_and_the_record_kept(kind: int, value: bytes) -> None:
    event = decode_accounting(octets(accounting(**{f"a{kind}": value})), ORIGIN)
    assert event is not None
    assert (event.framed_ipv6_address, event.framed_ipv6_prefix, event.delegated_ipv6_prefix) == (None,) * 3


def test_octets_left_out_behind_the_prefix_are_zero_and_bits_behind_it_do_not_count() -> None:
    short = b"\0\x38" + bytes.fromhex("20010db8000701")  # /56 in seven octets (RFC 3162 section 2.3)
    loose = b"\0\x38" + bytes.fromhex("20010db80007010000000000000000ff")
    for value in (short, loose):
        event = decode_accounting(octets(accounting(a123=value)), ORIGIN)
        assert event is not None
        assert event.delegated_ipv6_prefix == "2001:db8:7:100::/56"
