"""The bench's own requests, against RFC vectors and an independent library."""

from __future__ import annotations

import hmac
from io import StringIO

import pytest
from pyrad.dictionary import Dictionary
from pyrad.packet import AcctPacket, AuthPacket

from bench import packets
from bench.mschap import md4, nt_hash, nt_response, success_message

SECRET = b"a-secret-for-the-bench"
CHAP = "ATTRIBUTE CHAP-Password 3 octets\nATTRIBUTE CHAP-Challenge 60 octets\n"


@pytest.mark.parametrize(
    ("message", "digest"),
    [  # RFC 1320, appendix A.5
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"message digest", "d9130a8164549fe818874806e1c7014b"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4(message: bytes, digest: str) -> None:
    assert md4(message).hex() == digest


def test_mschapv2_of_rfc_2759_section_9_2() -> None:
    challenge = bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628")
    peer = bytes.fromhex("21402324255E262A28295F2B3A337C7E")
    secret_hash = nt_hash("clientPass")
    assert secret_hash.hex().upper() == "44EBBA8D5312B8D611474411F56989AE"
    response = nt_response(b"User", secret_hash, challenge, peer)
    assert response.hex().upper() == "82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF"
    success = success_message(b"User", secret_hash, challenge, peer, response)
    assert success == b"S=407A5589115FD0D6209F510FE9C04566932CDA56"


def test_pap_and_chap_are_what_pyrad_reads() -> None:
    people = packets.make_subscribers(3)
    for method in ("pap", "chap"):
        (lane,) = packets.access_requests(people, SECRET, method, 3, 1)
        for request in lane:
            read = AuthPacket(packet=request.octets, secret=SECRET, dict=Dictionary(StringIO(CHAP)))
            assert read.verify_message_authenticator()
            assert read[1] == [people[request.subscriber].username.encode()]
            password = people[request.subscriber].password
            if method == "pap":
                assert read.PwDecrypt(read[2][0]) == password
            else:
                assert read.VerifyChapPasswd(password)


def test_accounting_is_what_pyrad_verifies() -> None:
    people = packets.make_subscribers(5)
    lanes = packets.accounting_requests(people, SECRET, [b"token"] * 5, 20, 2, "r", 1_700_000_000)
    assert [len(lane) for lane in lanes] == [10, 10]
    for request in (request for lane in lanes for request in lane):
        assert AcctPacket(packet=request.octets, secret=SECRET, dict=Dictionary()).VerifyAcctRequest()
        found = packets.attributes_of(request.octets)
        assert found[packets.CLASS] == [b"token"]
        blank = request.octets[:4] + bytes(16) + b"\x50\x12" + bytes(16) + request.octets[38:]
        assert hmac.digest(SECRET, blank, "md5") == request.octets[22:38]


def test_reports_of_a_session_never_run_side_by_side() -> None:
    people = packets.make_subscribers(10)
    count = packets.BLOCK * 5
    lanes = packets.accounting_requests(people, SECRET, [b""] * 10, count, 1, "r", 1_700_000_000)
    places: dict[int, list[tuple[int, int]]] = {}
    for place, request in enumerate(lanes[0]):
        status = packets.attributes_of(request.octets)[40][0][3]
        places.setdefault(request.session, []).append((place, status))
    assert [status for _, status in places[0]] == [1, 3, 3, 2]
    assert all(
        later - earlier >= packets.BLOCK
        for (earlier, _), (later, _) in zip(places[0], places[0][1:], strict=False)
    )
    assert len(places) == 2 * packets.BLOCK


def test_a_reply_that_runs_past_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="length field"):
        packets.attributes_of(b"\x02\x01\x00\x15" + bytes(16))
    with pytest.raises(ValueError, match="past the end"):
        packets.attributes_of(b"\x02\x01\x00\x17" + bytes(16) + b"\x08\x06\x01")
