"""EAP by itself: octets, negotiation, bounds, and peers that lie. Packets are pyrad's, so are the checks."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eap_peer import ACCEPT, CHALLENGE, PEAP, REJECT, TLS, TTLS, Peer, TunnelPeer, keys_of, response
from eapol import Authority
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from radius_world import Bench, World, bench_over, octets
from scapy.layers.eap import EAP

from aaa.directory import Login
from aaa.domain.effect import Effect
from aaa.domain.mac_convention import NO_MACS
from aaa.domain.mschap import challenge_hash, challenge_response, mppe_keys
from aaa.domain.nt_hash import md4, nt_hash
from radius.config import EapSettings
from radius.eap import avp, packet
from radius.eap.certificates import read_server_certificate
from radius.eap.conversations import Conversations
from radius.eap.framing import LONGEST_MESSAGE, Fragments, Reassembly
from radius.eap.mschapv2 import MsChapV2Method
from radius.eap.packet import MalformedEap
from radius.eap.server import METHODS, EapLimits, EapOffer, EapQuestion, EapServer
from radius.eap.tls_session import ServerCertificate, TlsRules
from radius.packet.codec import locate, values_of
from radius.packet.shared_secret import SharedSecret

OTHER = ("127.0.0.2", 40_000)
EVERYTHING = tuple(METHODS.values())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    authority = Authority(tmp_path_factory.mktemp("pki"))
    return read_server_certificate(*authority.issue("radius.example", server=True))


Make = Callable[..., Any]


@pytest.fixture
def bench(world: World, certificate: ServerCertificate) -> Make:
    async def make(limits: EapLimits | None = None, **offer: Any) -> Bench:
        await world.nas()
        await world.nas("other", OTHER[0])
        await world.service("alice")
        told = EapOffer(offer.pop("methods", EVERYTHING), certificates=(certificate,), **offer)
        return bench_over(await world.directory(), eap=EapServer(told, limits, worker=7))

    return make


# --- octets -----------------------------------------------------------------------------------------------


@given(st.integers(1, 2), st.integers(0, 255), st.sampled_from([1, 6, 26, 200]), st.binary(max_size=600))
def test_packets_read_as_scapy_reads_them(code: int, identifier: int, kind: int, data: bytes) -> None:
    made = packet.encode(code, identifier, kind, data)
    seen = EAP(made)
    assert (seen.code, seen.id, seen.len, seen.type) == (code, identifier, len(made), kind)
    assert packet.parse(made + b"padding") == (code, identifier, kind, data)


@given(st.binary(max_size=40))
def test_any_octets_are_a_packet_or_malformed(octets: bytes) -> None:
    try:
        parsed = packet.parse(octets)
    except MalformedEap:
        return
    assert parsed.code in (1, 2, 3, 4)


@given(st.binary(min_size=1, max_size=3_000))
def test_eap_messages_are_split_and_joined(message: bytes) -> None:
    attributes = bytes(20) + packet.split(message)
    first, repeats = locate(attributes)
    values = values_of(attributes, 79, first, repeats)
    assert packet.join(values) == message
    assert all(len(one) == 253 for one in values[:-1])


@given(st.binary(max_size=5_000), st.integers(50, 1_500))
def test_fragments_come_together_again(message: bytes, size: int) -> None:
    outgoing, incoming = Fragments(message, size), Reassembly()
    rounds = 0
    while True:
        piece = outgoing.next()
        assert len(piece) <= size + 5
        whole = incoming.take(piece)
        rounds += 1
        if outgoing.is_finished:
            break
        assert whole is None
    assert whole == message
    assert rounds == max(1, -(-len(message) // size))


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [b"\x20"],
        [b"\x80\0\0"],
        [b"\x40"],
        [b"\xc0\0\0\0\x03abcd"],
        [b"\x80\0\0\0\x05abcd"],
        [b"\xc0\0\0\0\x08abcd", b"\0ab"],
        [b"\xc0\0\0\0\x08abcd", b"\xc0\0\0\0\x09ab"],
        [b"\xc0\xff\xff\xff\xffabcd"],
    ],
)
def test_lies_about_lengths_are_malformed(pieces: list[bytes]) -> None:
    incoming = Reassembly()
    with pytest.raises(MalformedEap):
        for piece in pieces:
            incoming.take(piece)


def test_a_message_without_an_announced_length_has_a_bound() -> None:
    incoming = Reassembly()
    with pytest.raises(MalformedEap):
        for _ in range(LONGEST_MESSAGE // 1_000 + 1):
            incoming.take(b"\x40" + bytes(1_000))


@given(
    st.lists(st.tuples(st.sampled_from([0, 311]), st.integers(1, 255), st.binary(max_size=60)), max_size=6)
)
def test_avps_come_back(given: list[tuple[int, int, bytes]]) -> None:
    message = b"".join(avp.encode(*one) for one in given)
    assert len(message) % 4 == 0
    assert [(one.vendor, one.code, one.value) for one in avp.parse(message)] == given


@given(st.binary(min_size=1, max_size=40))
def test_any_octets_are_avps_or_malformed(octets: bytes) -> None:
    try:
        list(avp.parse(octets))
    except MalformedEap:
        return


def test_keys_of_any_length_are_hidden_as_pyrad_hides_them() -> None:
    secret = SharedSecret(b"xyzzy5461")
    for size in (16, 32, 64):
        key = bytes(range(size))
        hidden = secret.hide_long_key(key, bytes(16), b"\x80\x01")
        assert secret.show_key(hidden, bytes(16)) == key
    sixteen = bytes(range(16))
    assert secret.hide_long_key(sixteen, bytes(16), b"\x81\x02") == secret.hide_key(
        sixteen, bytes(16), b"\x81\x02"
    )


# --- methods ----------------------------------------------------------------------------------------------


async def test_mschapv2_gives_the_answers_of_rfc_2759_and_the_keys_of_rfc_3079(
    bench: Make, world: World
) -> None:
    await world.service("User", "clientPass")
    here = await bench()
    challenge = bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628")
    peer_challenge = bytes.fromhex("21402324255E262A28295F2B3A337C7E")
    nt_response = bytes.fromhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")
    method = MsChapV2Method(b"User", challenge)
    server: EapServer = here.pipeline.eap.server
    question = _question()
    circle = server._circle(_conversation(server, question), question, 0.0)
    begun: Any = method.begin(circle)
    number = begun.data[1]
    value = b"\x31" + peer_challenge + bytes(8) + nt_response + b"\0User"
    answer: Any = method.take(bytes((2, number, 0, 4 + len(value))) + value, 1, circle)
    assert answer.data[0] == 3
    assert answer.data[4:].startswith(b"S=407A5589115FD0D6209F510FE9C04566932CDA56 M=")
    passed: Any = method.take(b"\x03", 2, circle)
    send, receive = mppe_keys(md4([nt_hash("clientPass")])[0], nt_response)
    assert passed.keys == receive + send, "what the NAS receives under comes first"
    assert send == bytes.fromhex("8B7CDC149B993A1BA118CB153F56DCCB"), "RFC 3079 section 3.5.3"


def _question(**changes: Any) -> Any:
    plain = EapQuestion(b"", None, ("nas_1", "127.0.0.1"), "tower", NO_MACS, None, None, False, False)
    return plain._replace(**changes)


def _conversation(server: EapServer, question: Any) -> Any:
    return server._new(question, 0.0)


async def test_md5_is_chap_in_eap(bench: Make) -> None:
    here = await bench()
    peer = Peer(here, identity="alice")
    assert peer.choose(4).code == CHALLENGE
    value = peer.eap[6 : 6 + peer.eap[5]]
    asked = peer.eap[1]
    digest = hashlib.md5(bytes((asked,)) + b"open sesame" + value).digest()
    reply = peer.say(4, b"\x10" + digest)
    assert reply.code == ACCEPT
    assert reply[79] == [bytes((3, asked, 0, 4))], "the success repeats the response's identifier"
    assert reply[1] == [b"alice"]
    assert all(value[:4] != (311).to_bytes(4, "big") for value in reply[26]), "it makes no keys"


async def test_md5_is_not_offered_to_a_nas_that_needs_keys(bench: Make) -> None:
    here = await bench(methods=(4,))
    for asked in ({"a61": (19).to_bytes(4, "big")}, {"a102": b"\0"}):
        assert Peer(here, identity="alice").begin(**asked).code == REJECT
    assert {one.reject.rule for one in here.rejections} == {"eap_no_method"}


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
async def test_ttls_makes_the_keys_that_the_peer_makes(bench: Make, version: int) -> None:
    peer = TunnelPeer(await bench(), piece=200)
    assert peer.connect(version).code == CHALLENGE
    reply = peer.pap("alice", "open sesame")
    assert reply.code == ACCEPT
    assert reply[1] == [b"alice"]
    if version == SSL.TLS1_2_VERSION:
        exported = peer.tls.export_keying_material(b"ttls keying material", 128)
    else:
        exported = peer.tls.export_keying_material(b"EXPORTER_EAP_TLS_Key_Material", 128, bytes((TTLS,)))
    assert keys_of(peer, reply) == (exported[:32], exported[32:64])


async def test_a_session_that_signs_in_again_keeps_its_class(bench: Make) -> None:
    """Else its accounting would go on in another session, and its octets count twice."""
    here = await bench()

    async def class_of(**more: bytes) -> bytes:
        peer = Peer(here, identity="alice")
        peer.choose(4)
        digest = hashlib.md5(bytes((peer.eap[1],)) + b"open sesame" + peer.eap[6:22]).digest()
        return bytes(peer.say(4, b"\x10" + digest, **more)[25][0])

    first = await class_of(a44=b"143E4D60F477587E")
    assert await class_of(a44=b"143E4D60F477587E") == first
    assert await class_of(a44=b"143E4D60F477587F") != first
    assert await class_of() == await class_of(), "a NAS that tells no id means its station"


async def test_who_is_to_hear_nothing_hears_nothing_inside_either(bench: Make, world: World) -> None:
    """A profile may say so for when the database is away for long; then the NAS asks another server."""
    here = await bench()
    directory = await world.directory()
    login = directory.logins[b"alice"]
    stale = Login(login.credential, replace(login.service, lifecycle="stale_silent", admitted=False))
    here.pipeline.use(replace(directory, logins={b"alice": stale}))
    peer = Peer(here, identity="alice")
    peer.choose(26)
    challenge = peer.eap[10:26]
    answer = challenge_response(challenge_hash(bytes(16), challenge, b"alice"), nt_hash("open sesame"))
    value = b"\x31" + bytes(24) + answer + b"\0alice"
    said = bytes((2, peer.eap[6])) + (4 + len(value)).to_bytes(2, "big") + value
    assert peer.say(26, said) is None
    assert here.counters.stale_silent == 1
    assert here.pipeline.eap.server.under_way == 0  # type: ignore[union-attr]


async def test_a_state_names_its_worker_and_cannot_be_guessed(bench: Make) -> None:
    here = await bench()
    states = {Peer(here).begin()[24][0] for _ in range(50)}
    assert len(states) == 50
    assert {(len(one), one[0]) for one in states} == {(16, 7)}


async def test_the_nas_may_leave_the_identity_to_us(bench: Make) -> None:
    """EAP-Start, RFC 3579 section 2.1."""
    peer = Peer(await bench(), identity="alice")
    assert peer.ask(b"").code == CHALLENGE
    assert (peer.eap[0], peer.eap[4:]) == (1, b"\x01")
    assert peer.say(1, b"alice").code == CHALLENGE
    assert peer.eap[4] == TTLS


# --- resumption -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
async def test_a_resumed_session_is_decided_anew(bench: Make, world: World, version: int) -> None:
    here = await bench()
    peer = TunnelPeer(here)
    peer.connect(version)
    assert peer.pap("alice", "open sesame").code == ACCEPT
    peer.remember()
    resumed = peer.connect(version)
    if version == SSL.TLS1_3_VERSION:
        assert peer.tls.recv(10) == b"\0", "the success indication of RFC 9190 section 2.5"
        resumed = peer.say(TTLS, b"\0")
    assert resumed.code == ACCEPT
    assert resumed[1] == [b"alice"]
    peer.remember()
    service_id = here.pipeline._directory.logins[b"alice"].service.id  # type: ignore[union-attr]
    await world.hold(service_id, Effect.BLOCK)
    here.pipeline.use(await world.directory())
    assert peer.connect(version).code == REJECT
    assert here.rejections[-1].reject.rule == "blocked"
    assert here.rejections[-1].reject.service_id == service_id


async def test_a_new_password_ends_what_the_old_one_began(bench: Make, world: World) -> None:
    here = await bench()
    peer = TunnelPeer(here)
    peer.connect()
    assert peer.pap("alice", "open sesame").code == ACCEPT
    peer.remember()
    directory = await world.directory()
    login = directory.logins[b"alice"]
    changed = Login(replace(login.credential, password=b"other"), login.service)
    here.pipeline.use(replace(directory, logins={b"alice": changed}))
    reply = peer.connect()
    assert reply.code == CHALLENGE, "the session may be resumed, and proves nobody"
    assert peer.pap("alice", "open sesame").code == REJECT


async def test_who_was_refused_has_nothing_to_resume(bench: Make) -> None:
    here = await bench()
    peer = TunnelPeer(here)
    peer.connect()
    assert peer.pap("alice", "wrong").code == REJECT
    peer.remember()
    assert peer.connect().code == CHALLENGE
    assert peer.tls.get_session() is not None
    assert peer.pap("alice", "open sesame").code == ACCEPT


async def test_a_session_of_one_method_is_none_of_another(bench: Make) -> None:
    here = await bench()
    peer = TunnelPeer(here)
    peer.connect()
    assert peer.pap("alice", "open sesame").code == ACCEPT
    peer.remember()
    peer.kind = PEAP
    assert peer.connect().code == CHALLENGE
    peer.say(PEAP, b"\0")
    assert peer.eap[6:], "an inner identity is asked for"


# --- bounds, and peers that lie ---------------------------------------------------------------------------


async def test_a_retransmit_gets_the_same_octets(bench: Make) -> None:
    here = await bench()
    peer = Peer(here, identity="alice")
    packet = peer.packet(response(1, 1, b"alice"))
    first = here.ask(octets(packet))
    assert here.ask(octets(packet)) == first
    assert here.counters.duplicates == 1
    assert here.pipeline.eap.server.under_way == 1  # type: ignore[union-attr]


async def test_a_response_sent_again_in_another_packet_gets_the_same_request(bench: Make) -> None:
    peer = TunnelPeer(await bench())
    reply = peer.begin()
    start, state = peer.eap, reply[24][0]
    hello = response(start[1], TTLS, b"\0" + b"\x16\x03\x01\x00\x02")
    peer.state = state
    first = peer.ask(hello)
    answered = peer.eap
    peer.state = state
    second = peer.ask(hello)
    assert (first.code, second.code, peer.eap) == (CHALLENGE, CHALLENGE, answered)


async def test_a_late_response_to_an_earlier_request_is_let_go(bench: Make) -> None:
    here = await bench()
    peer = Peer(here, identity="alice")
    peer.begin()
    state, identifier = peer.state, peer.eap[1]
    peer.say(3, bytes((26,)))
    peer.state = state
    assert peer.ask(response(identifier, 3, bytes((4,)))) is None
    assert here.counters.eap_ignored == 1


async def test_a_state_is_its_nas_and_stations_own(bench: Make) -> None:
    here = await bench()
    peer = Peer(here, identity="alice")
    state = peer.begin()[24][0]
    for thief in (
        Peer(here, source=OTHER, identity="alice"),
        Peer(here, identity="alice", station=b"02-00-00-00-00-09"),
    ):
        thief.state, thief.eap = state, peer.eap
        assert thief.say(3, bytes((26,))).code == REJECT
        assert here.rejections[-1].reject.rule == "eap_conversation_unknown"
        assert here.rejections[-1].reject.identity == "alice"
    assert peer.say(3, bytes((26,))).code == CHALLENGE, "and nothing has happened to it"


async def test_a_conversation_has_its_time(bench: Make) -> None:
    here = await bench()
    peer = Peer(here, identity="alice")
    peer.begin()
    peer.now_s = 60.0
    list(here.pipeline.due(60.0))
    assert here.pipeline.eap.server.under_way == 0  # type: ignore[union-attr]
    assert peer.say(3, bytes((26,))).code == REJECT


async def test_a_flood_from_one_nas_costs_no_other(bench: Make) -> None:
    here = await bench(EapLimits(conversations=60, conversations_of_one=50))
    quiet = [Peer(here, source=OTHER, identity="alice", station=b"%02d" % one) for one in range(10)]
    for one in quiet:
        one.begin()
    for number in range(3_000):
        Peer(here, source=("127.0.0.1", number), identity=f"x{number}", station=b"s%d" % number).begin()
    assert here.pipeline.eap.server.under_way <= 60  # type: ignore[union-attr]
    assert all(one.say(3, bytes((26,))).code == CHALLENGE for one in quiet)


async def test_when_all_is_full_whoever_has_most_gives_way(bench: Make) -> None:
    here = await bench(EapLimits(conversations=20, conversations_of_one=20))
    for number in range(40):
        Peer(here, identity="x", station=b"%d" % number).begin()
    late = [Peer(here, source=OTHER, identity="alice", station=b"%d" % one) for one in range(5)]
    for one in late:
        assert one.begin().code == CHALLENGE
    assert here.pipeline.eap.server.under_way == 20  # type: ignore[union-attr]
    assert all(one.say(3, bytes((26,))).code == CHALLENGE for one in late)


async def test_fragments_without_end_come_to_one(bench: Make) -> None:
    here = await bench()
    peer = Peer(here)
    peer.choose(TTLS)
    rounds = 0
    while peer.say(TTLS, b"\x40" + bytes(1_000)).code == CHALLENGE:
        rounds += 1
        assert rounds < 100
    assert here.rejections[-1].reject.rule == "eap_malformed"
    peer.choose(TTLS)
    while peer.say(TTLS, b"\x40x").code == CHALLENGE:
        rounds += 1
        assert rounds < 1_000
    assert here.rejections[-1].reject.rule == "eap_too_long"
    assert here.pipeline.eap.server.under_way == 0  # type: ignore[union-attr]


def test_silence_in_the_midst_is_on_record_once() -> None:
    lost: list[Any] = []
    kept = Conversations(0, 10, 10, lost.append)
    server = EapServer(EapOffer((26,)))
    question = _question()
    old, new = _conversation(server, question), _conversation(server, question)
    for one in (old, new):
        kept.add(one)
    kept.expire(60.0)
    assert lost == [new], "the first was given up for the second by the peer itself"
    assert len(kept) == 0
    assert not kept._newest


@pytest.mark.parametrize("kind", [4, TLS, TTLS, PEAP, 26, 254])
async def test_noise_in_every_method_ends_it_in_order(bench: Make, kind: int) -> None:
    here = await bench()
    chance = random.Random(kind)
    for _ in range(150):
        peer = Peer(here, identity="alice")
        peer.choose(kind)
        for _ in range(6):
            if peer.state is None:
                break
            data = chance.randbytes(chance.choice([0, 1, 2, 5, 17, 60, 300]))
            peer.say(kind, data)
    assert here.counters.failures == 0
    assert here.counters.accepts == 0


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("kind", [TTLS, PEAP])
async def test_noise_inside_of_tls_ends_it_in_order(bench: Make, kind: int, version: int) -> None:
    here = await bench()
    chance = random.Random(kind)
    for _ in range(25):
        peer = TunnelPeer(here, kind=kind)
        reply = peer.connect(version)
        for _ in range(3):
            if reply is None or reply.code != CHALLENGE:
                break
            reply = peer.inside(chance.randbytes(chance.choice([1, 5, 13, 40, 200])))
    assert here.counters.accepts == 0


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 400), value=st.integers(0, 255))
def test_a_handshake_with_one_octet_changed_is_never_let_in(
    certificate: ServerCertificate, position: int, value: int
) -> None:
    here = _bare_bench(certificate)
    peer = TunnelPeer(here)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    peer.tls = SSL.Connection(context, None)
    peer.tls.set_connect_state()
    peer.choose(TTLS)
    with pytest.raises(SSL.WantReadError):
        peer.tls.do_handshake()
    hello = bytearray(peer.pending())
    hello[position % len(hello)] = value
    reply = peer.say(TTLS, b"\0" + bytes(hello))
    assert reply is None or reply.code in (CHALLENGE, REJECT)


_BARE: list[Bench] = []


def _bare_bench(certificate: ServerCertificate) -> Bench:
    """A server that knows a NAS and nobody else; made once."""
    if not _BARE:
        from ipaddress import ip_network

        from radius_world import SECRET

        from aaa.directory import Directory, KnownNas
        from aaa.domain.profile import AccessPolicy
        from core.secrets import Secret

        nas = KnownNas(
            "nas_1", "tower", ip_network("127.0.0.1/32"), None, "generic", Secret(SECRET), "require", True,
            "mikrotik", False, 3799,
        )  # fmt: skip
        directory = Directory(0, AccessPolicy(), (nas,), {}, {}, {})
        server = EapServer(EapOffer(EVERYTHING, certificates=(certificate,)))
        _BARE.append(bench_over(directory, eap=server))
    return _BARE[0]


def test_rules_that_cannot_be_are_told(certificate: ServerCertificate, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names no cipher"):
        EapServer(EapOffer(EVERYTHING, rules=TlsRules(ciphers="NONSENSE"), certificates=(certificate,)))
    chain, key = Authority(tmp_path).issue("radius.example", server=True)
    _, other = Authority(tmp_path, "Second").issue("radius.example", server=True)
    with pytest.raises(ValueError, match="not the key of the first certificate"):
        read_server_certificate(chain, other)
    with pytest.raises(ValueError, match="cannot be read"):
        read_server_certificate(tmp_path / "none.pem", key)
    with pytest.raises(ValueError, match="no private key"):
        read_server_certificate(chain, chain)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"methods": ["leap"]}, "Input should be"),
        ({"methods_of_nas": ["tower"]}, "write it like tower=peap,ttls"),
        ({"methods_of_nas": ["tower=leap"]}, "write it like tower=peap,ttls"),
        ({"tls_minimum": "1.3", "tls_maximum": "1.2"}, "no TLS is left"),
        ({"session_lifetime_s": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_say_what_is_wrong(written: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EapSettings(**written)
    assert EapSettings(methods_of_nas=["a = b=peap, ttls"]).of_nas == {"a = b": ["peap", "ttls"]}


@pytest.mark.parametrize("kind", [TTLS, PEAP])
async def test_who_says_more_than_any_needs_is_not_listened_to(bench: Make, kind: int) -> None:
    """In one message that never ends, or in many that TLS itself gathers."""
    made = await bench()
    for flags in (b"\x40", b"\0"):
        peer = Peer(made)
        peer.choose(kind)
        hello = b"\x01" + (100_000).to_bytes(3, "big") + bytes(3_000)
        codes = []
        while not codes or codes[-1] == CHALLENGE:
            record = b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello
            codes.append(peer.say(kind, flags + record).code)
            hello = bytes(3_000)
        assert codes == [CHALLENGE] * 5 + [REJECT], "16 KiB"
        assert "more octets than a conversation may have" in made.rejections[-1].reject.explanation
    assert made.pipeline.eap.server is not None
    assert made.pipeline.eap.server.under_way == 0
