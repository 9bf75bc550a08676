"""The authentication pipeline: octets in, octets out, each reply verified by pyrad."""

from __future__ import annotations

import random

import pytest
from radius_world import (
    HERE,
    SECRET,
    Bench,
    World,
    bench_over,
    chap,
    mschapv2,
    octets,
    pap,
    reply_to,
    request,
    status,
    vendor,
)

from aaa.domain.class_token import decode_class
from aaa.domain.effect import Effect
from aaa.domain.mschap import mppe_keys
from aaa.domain.nt_hash import md4, nt_hash
from aaa.domain.profile import AccessPolicy
from core.secrets import Sealer
from radius.packet.codec import parse
from radius.packet.shared_secret import SharedSecret

ACCEPT, REJECT = 2, 3
MAC = "00:e1:0c:38:c8:f8"


async def _bench(world: World, **limits: object) -> Bench:
    await world.nas()
    await world.service("alice", mac=MAC)
    return bench_over(await world.directory(), **limits)


@pytest.mark.parametrize("method", [pap, chap, mschapv2])
async def test_right_password_is_accepted_by_every_method(world: World, method: object) -> None:
    bench = await _bench(world)
    asked = method()  # type: ignore[operator]
    reply = reply_to(asked, bench.ask(octets(asked)))
    assert reply.code == ACCEPT
    wrong = method(password="other")  # type: ignore[operator]
    reply = reply_to(wrong, bench.ask(octets(wrong), source=("127.0.0.1", 2)))
    assert reply.code == REJECT
    assert bench.rejections[0].reject.rule == "wrong_password"
    assert bench.rejections[0].reject.remedy


async def test_accept_carries_the_profile_in_mikrotik_words(world: World, sealer: Sealer) -> None:
    await world.nas()
    await world.profile(
        "Burst", rate_down_bps=25_000_000, rate_up_bps=5_500_000, burst_down_bps=50_000_000,
        burst_up_bps=10_000_000, burst_seconds=8, pool="cgnat", session_timeout_s=86_400, idle_timeout_s=600,
    )  # fmt: skip
    service_id = await world.service("alice", profile="Burst")
    bench = bench_over(await world.directory())
    asked = pap()
    reply = reply_to(asked, bench.ask(octets(asked)))
    assert vendor(reply, 14988, 8) == b"5500k/25M 10M/50M 5500k/25M 8/8", "rx, the upload, comes first"
    assert reply[88] == [b"cgnat"]
    assert int.from_bytes(reply[27][0], "big") == 86_400
    assert int.from_bytes(reply[28][0], "big") == 600
    assert 300 <= int.from_bytes(reply[85][0], "big") <= 330, (
        "jitter keeps a rebooted tower from marching in step"
    )
    token = decode_class(reply[25][0], sealer.derive_key("class-token"))
    assert token is not None
    assert (token.service_id, token.generation) == (service_id, 1)
    again = pap(identifier=8)
    other = reply_to(again, bench.ask(octets(again)))
    assert other[25] != reply[25], "every sign-in has a Class of its own"


async def test_static_address_goes_before_the_pool(world: World) -> None:
    await world.nas()
    await world.profile("Pooled", pool="cgnat")
    await world.service("alice", profile="Pooled", framed_ip="100.64.3.9")
    bench = bench_over(await world.directory())
    asked = pap()
    reply = reply_to(asked, bench.ask(octets(asked)))
    assert reply[8] == [bytes((100, 64, 3, 9))]
    assert 88 not in reply


async def test_wispr_and_generic_dialects(world: World) -> None:
    await world.nas("hotspot", "127.0.0.1", dialect="wispr")
    await world.nas("bras", "127.0.0.2", dialect="generic")
    service_id = await world.service("alice")
    await world.hold(service_id, Effect.WALLED_GARDEN)
    bench = bench_over(await world.directory())
    asked = pap()
    reply = reply_to(asked, bench.ask(octets(asked)))
    assert int.from_bytes(vendor(reply, 14122, 7) or b"", "big") == 5_000_000
    assert int.from_bytes(vendor(reply, 14122, 8) or b"", "big") == 25_000_000
    reply = reply_to(asked, bench.ask(octets(asked), source=("127.0.0.2", 1)))
    assert reply[11] == [b"hilltop-walled"]
    assert 26 not in reply


async def test_suspended_subscriber_is_accepted_into_the_walled_garden(world: World) -> None:
    await world.nas()
    service_id = await world.service("alice")
    generation = await world.hold(service_id, Effect.WALLED_GARDEN)
    bench = bench_over(await world.directory(AccessPolicy(walled_garden_list="pay-first")))
    asked = pap()
    reply = reply_to(asked, bench.ask(octets(asked)))
    assert reply.code == ACCEPT
    assert vendor(reply, 14988, 19) == b"pay-first"
    assert f".{generation}.".encode() in reply[25][0]
    assert bench.counters.walled == 1


async def test_throttled_subscriber_gets_the_lower_rate(world: World) -> None:
    await world.nas()
    await world.hold(await world.service("alice"), Effect.THROTTLE)
    policy = AccessPolicy(throttle_down_bps=2_000_000, throttle_up_bps=9_000_000)
    bench = bench_over(await world.directory(policy))
    asked = pap()
    reply = reply_to(asked, bench.ask(octets(asked)))
    assert vendor(reply, 14988, 8) == b"5M/2M", "a throttle never raises a rate"


async def test_blocked_subscriber_is_rejected_with_the_reason_recorded(world: World) -> None:
    await world.nas()
    service_id = await world.service("alice")
    await world.hold(service_id, Effect.BLOCK)
    bench = bench_over(await world.directory())
    asked = pap()
    answer = bench.ask(octets(asked))
    assert reply_to(asked, answer).code == REJECT
    assert [kind for kind, _ in parse(answer or b"").attributes] == [80], (
        "a reject carries nothing of the service"
    )
    reject = bench.rejections[0].reject
    assert (reject.rule, reject.service_id) == ("blocked", service_id)
    assert "invoice 7 is overdue" in reject.explanation


async def test_wrong_password_of_a_blocked_service_does_not_tell_that_it_is_blocked(world: World) -> None:
    await world.nas()
    await world.hold(await world.service("alice"), Effect.BLOCK)
    bench = bench_over(await world.directory())
    bench.ask(octets(pap(password="nope")))
    assert bench.rejections[0].reject.rule == "wrong_password"


@pytest.mark.parametrize(
    ("username", "password", "calling", "rule"),
    [
        ("00:E1:0C:38:C8:F8", "", b"1:0:e1:c:38:c8:f8", None),
        ("00:E1:0C:38:C8:F8", "", None, None),
        ("00-e1-0c-38-c8-f8", "00-e1-0c-38-c8-f8", b"00-E1-0C-38-C8-F8", None),
        ("00E10C38C8F8", "00:E1:0C:38:C8:F8", b"00:E1:0C:38:C8:F8", None),
        ("00E10C-38C8F8", "", b"\xff\x00rubbish", None),
        ("00e1.0c38.c8f8", "", b"00:E1:0C:38:C8:F8", "mac_login_not_here"),
        ("00:E1:0C:38:C8:F8", "guess", b"00:E1:0C:38:C8:F8", "mac_login_password"),
        ("00:E1:0C:38:C8:F8", "", b"AA:BB:CC:00:11:22", "calling_station_differs"),
        ("00:E1:0C:38:C8:F9", "", b"00:E1:0C:38:C8:F9", "unknown_mac"),
        ("alice", "", b"AA:BB:CC:00:11:22", "empty_password"),
        ("ALICE", "open sesame", b"AA:BB:CC:00:11:22", "unknown_user"),
        ("", "x", b"AA:BB:CC:00:11:22", "no_user_name"),
    ],
)
async def test_mac_logins_and_names(
    world: World, username: str, password: str, calling: bytes | None, rule: str | None
) -> None:
    bench = await _bench(world)
    asked = pap(username, password)
    del asked[31]
    if calling is not None:
        asked[31] = [calling]
    reply = reply_to(asked, bench.ask(octets(asked)))
    assert reply.code == (ACCEPT if rule is None else REJECT)
    assert [one.reject.rule for one in bench.rejections] == ([] if rule is None else [rule])


async def test_empty_password_of_sixteen_zeros_is_empty_too(world: World) -> None:
    bench = await _bench(world)
    asked = request("alice")
    asked[2] = [SharedSecret(SECRET.encode()).hide_password(b"", asked.authenticator)]
    assert reply_to(asked, bench.ask(octets(asked))).code == REJECT
    assert bench.rejections[0].reject.rule == "empty_password"


async def test_a_mac_login_without_any_password_attribute_and_by_chap(world: World) -> None:
    bench = await _bench(world)
    bare = request("00:E1:0C:38:C8:F8")
    del bare[31]
    assert reply_to(bare, bench.ask(octets(bare))).code == ACCEPT
    spelled = chap("00:E1:0C:38:C8:F8", "00:E1:0C:38:C8:F8", identifier=8)
    del spelled[31]
    assert reply_to(spelled, bench.ask(octets(spelled))).code == ACCEPT
    person = request("alice", identifier=9)
    assert reply_to(person, bench.ask(octets(person))).code == REJECT
    assert bench.rejections[0].reject.rule == "no_password_sent"


async def test_mschapv2_success_and_mppe_keys(world: World) -> None:
    bench = await _bench(world)
    asked = mschapv2()
    packet = octets(asked)
    reply = reply_to(asked, bench.ask(packet))
    success = vendor(reply, 311, 26)
    assert success is not None and success[0] == 9 and success[1:3] == b"S=" and len(success) == 43
    (twice,) = md4([nt_hash("open sesame")])
    nt_response = asked[26][1][-24:]
    send, receive = mppe_keys(twice, nt_response)
    secret = SharedSecret(SECRET.encode())
    hidden = [vendor(reply, 311, kind) or b"" for kind in (16, 17)]
    assert [secret.show_key(one, packet[4:20]) for one in hidden] == [send, receive]
    assert hidden[0][:2] != hidden[1][:2], "each key has a salt of its own"
    wrong = mschapv2(password="other")
    reply = reply_to(wrong, bench.ask(octets(wrong), source=("127.0.0.1", 2)))
    assert vendor(reply, 311, 2) == b"\x09E=691 R=0"


async def test_message_authenticator_comes_first_and_proxy_state_keeps_its_order(world: World) -> None:
    bench = await _bench(world)
    for password, code in (("open sesame", ACCEPT), ("wrong", REJECT)):
        asked = pap(password=password)
        asked[33] = [b"outer", b"inner", b"\0\xff"]
        answer = bench.ask(octets(asked), source=("127.0.0.1", code))
        assert reply_to(asked, answer).code == code
        packet = parse(answer or b"")
        assert packet.attributes[0][0] == 80
        assert packet.all(33) == [b"outer", b"inner", b"\0\xff"]


async def test_a_duplicate_gets_the_same_octets_and_is_decided_once(world: World) -> None:
    bench = await _bench(world)
    packet = octets(pap())
    first = bench.ask(packet)
    assert [bench.ask(packet) for _ in range(3)] == [first] * 3
    assert (bench.counters.accepts, bench.counters.duplicates) == (1, 3)
    assert bench.ask(packet, source=("127.0.0.1", 40_001)) != first, "another port is another client"
    renewed = octets(pap(identifier=7))
    assert bench.ask(renewed) != first, "another authenticator under the same identifier is a new request"
    assert bench.counters.accepts == 3


async def test_duplicates_are_forgotten_after_a_while_and_never_pile_up(world: World) -> None:
    bench = await _bench(world, duplicate_memory_s=5.0, duplicate_entries=1_024)
    list(bench.pipeline.due(0.0))
    packet = octets(pap())
    bench.ask(packet)
    list(bench.pipeline.due(5.0))
    bench.ask(packet)
    assert bench.counters.duplicates == 1
    list(bench.pipeline.due(11.0))
    list(bench.pipeline.due(17.0))
    bench.ask(packet)
    assert bench.counters.accepts == 2
    for port in range(5_000):
        bench.ask(packet, source=("127.0.0.1", port))
    assert len(bench.pipeline._replies) <= 2 * 1_024


async def test_rejects_wait_their_time_and_a_retransmit_meanwhile_is_dropped(world: World) -> None:
    bench = await _bench(world, reject_delay_s=1.0)
    asked = pap(password="nope")
    assert bench.ask(octets(asked), now_s=10.0) is None
    assert bench.ask(octets(asked), now_s=10.5) is None
    assert bench.counters.duplicates_in_work == 1
    assert list(bench.pipeline.due(10.9)) == []
    ((answer, source),) = list(bench.pipeline.due(11.0))
    assert (reply_to(asked, answer).code, source) == (REJECT, HERE)
    assert bench.ask(octets(asked), now_s=11.5) == answer
    assert bench.counters.rejects == 1


async def test_the_queue_of_delayed_rejects_is_bounded(world: World) -> None:
    bench = await _bench(world, reject_delay_s=1.0, delayed_rejects=10)
    for port in range(30):
        bench.ask(octets(pap("nobody")), source=("127.0.0.1", port))
    assert (bench.pipeline.delayed, bench.counters.rejects_not_queued) == (10, 20)
    accepted = pap()
    assert reply_to(accepted, bench.ask(octets(accepted))).code == ACCEPT, "accepts never wait"


async def test_status_server_is_answered_at_once_and_only_when_signed(world: World) -> None:
    bench = await _bench(world, reject_delay_s=1.0)
    asked = status()
    reply = reply_to(asked, bench.ask(octets(asked)))
    assert reply.code == ACCEPT
    forged = status(secret="another secret entirely")
    assert bench.ask(octets(forged)) is None
    unsigned = status()
    unsigned.message_authenticator = None
    packet = octets(unsigned)
    bare = packet[:2] + b"\0\x14" + packet[4:20]
    assert bench.ask(bare) is None
    assert bench.counters.wrong_signature == 2


async def test_unknown_source_and_wrong_secret_get_silence(world: World) -> None:
    bench = await _bench(world)
    assert bench.ask(octets(pap()), source=("192.0.2.1", 1)) is None
    assert bench.counters.unknown_source == 1
    assert bench.ask(octets(pap(secret="another secret entirely"))) is None
    assert bench.counters.wrong_signature == 1
    assert bench.ask(octets(pap(secret="another secret entirely", signed=False))) is None
    assert bench.counters.suspected_wrong_secret == 1
    assert bench.rejections == []


async def test_an_old_alphabet_password_is_a_wrong_password_and_not_a_wrong_secret(world: World) -> None:
    bench = await _bench(world)
    asked = pap(password="contraseña".encode("cp1252"), signed=False)
    assert reply_to(asked, bench.ask(octets(asked))).code == REJECT


@pytest.mark.parametrize(
    ("policy", "signed_before", "proxied", "answered"),
    [
        ("require", False, False, False),
        ("auto", False, False, True),
        ("auto", False, True, False),
        ("auto", True, False, False),
        ("off", True, False, True),
        ("off", False, True, True),
    ],
)
async def test_blast_radius_policy_for_unsigned_requests(
    world: World, policy: str, signed_before: bool, proxied: bool, answered: bool
) -> None:
    await world.nas(message_authenticator=policy)
    await world.service("alice")
    bench = bench_over(await world.directory())
    if signed_before:
        assert bench.ask(octets(pap(identifier=1))) is not None
    asked = pap(signed=False)
    if proxied:
        asked[33] = [b"forged"]
    assert (bench.ask(octets(asked)) is not None) is answered
    assert bench.counters.unsigned_refused == (0 if answered else 1)


async def test_what_auto_learned_is_told_and_survives_a_new_directory(world: World) -> None:
    nas_id = await world.nas()
    await world.service("alice")
    directory = await world.directory()
    bench = bench_over(directory)
    assert bench.nases.newly_signing() == []
    bench.ask(octets(pap()))
    assert bench.nases.newly_signing() == [nas_id]
    bench.nases.learn(directory.nases)
    assert bench.ask(octets(pap(signed=False, identifier=9))) is None


async def test_signed_eap_or_status_teaches_nothing_about_pap(world: World) -> None:
    bench = await _bench(world)
    eap = request("alice")
    eap[79] = [b"\x02\x05\x00\x0a\x01alice"]
    reply = reply_to(eap, bench.ask(octets(eap)))
    assert reply.code == REJECT
    assert reply[79] == [b"\x04\x05\x00\x04"], "EAP ends with EAP-Failure under the same identifier"
    assert bench.rejections[0].reject.rule == "eap_not_supported"
    old = pap(signed=False, identifier=9)
    assert reply_to(old, bench.ask(octets(old))).code == ACCEPT


async def test_eap_without_message_authenticator_is_refused(world: World) -> None:
    await world.nas(message_authenticator="off")
    await world.service("alice")
    bench = bench_over(await world.directory())
    eap = request("alice", signed=False)
    eap[79] = [b"\x02\x05\x00\x0a\x01alice"]
    assert bench.ask(octets(eap)) is None
    assert bench.counters.unsigned_refused == 1


async def test_longest_prefix_wins_and_neighbours_in_a_prefix_learn_apart(world: World) -> None:
    await world.nas("region", "10.0.0.0/8", dialect="generic")
    await world.nas("tower", "10.1.0.0/16", dialect="mikrotik")
    await world.service("alice")
    bench = bench_over(await world.directory())
    asked = pap()
    near = reply_to(asked, bench.ask(octets(asked), source=("10.1.2.3", 1)))
    far = reply_to(asked, bench.ask(octets(asked), source=("10.2.2.3", 1)))
    assert vendor(near, 14988, 8) == b"5M/25M"
    assert 26 not in far
    old = pap(signed=False, identifier=9)
    assert bench.ask(octets(old), source=("10.1.2.3", 1)) is None, "this one signs"
    assert bench.ask(octets(old), source=("10.1.2.4", 1)) is not None, "its neighbour may be older"
    assert bench.nases.newly_signing() == [], "a prefix is many devices: nothing is written down for all"


async def test_accounting_and_nonsense_codes_are_not_answered_here(world: World) -> None:
    bench = await _bench(world)
    packet = bytearray(octets(pap()))
    for code in (0, 4, 11, 13, 40, 43, 255):
        packet[0] = code
        assert bench.ask(bytes(packet)) is None
    assert bench.counters.unexpected_code == 7


async def test_too_much_proxy_state_to_answer_is_silence(world: World) -> None:
    bench = await _bench(world)
    asked = pap()
    asked[33] = [bytes(253)] * 15 + [bytes(180)]
    assert bench.ask(octets(asked)) is None
    assert bench.counters.malformed == 1


async def test_twenty_thousand_hostile_packets_raise_nothing_and_forgeries_get_no_accept(
    world: World,
) -> None:
    """Mutations of good requests: nothing raises, and no changed packet that claims a signature is answered."""
    await world.nas(message_authenticator="require")
    await world.service("alice", mac=MAC)
    bench = bench_over(await world.directory())
    good = [octets(make) for make in (pap(), chap(), mschapv2(), status(), pap("00:E1:0C:38:C8:F8", ""))]
    chance = random.Random(20260310)
    answered = 0
    for _ in range(20_000):
        original = chance.choice(good)
        mutated = _mutated(original, chance)
        answer = bench.ask(mutated, source=("127.0.0.1", chance.randrange(65_536)))
        if answer is not None:
            answered += 1
            assert any(mutated[: len(one)] == one for one in good), "a changed packet was answered"
    assert bench.counters.failures == 0
    counted = bench.counters
    assert min(counted.malformed, counted.wrong_signature, counted.unsigned_refused) > 30
    assert answered < 3_000


def _mutated(packet: bytes, chance: random.Random) -> bytes:
    octets_ = bytearray(packet)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(octets_)) if octets_ else 0
        match chance.randrange(6):
            case 0 if octets_:
                octets_[at] = chance.randrange(256)
            case 1 if octets_:
                del octets_[at:]
            case 2:
                octets_[at:at] = chance.randbytes(chance.randint(1, 30))
            case 3 if octets_:
                octets_[at] ^= 1 << chance.randrange(8)
            case 4 if len(octets_) > 4:
                octets_[2:4] = len(octets_).to_bytes(2, "big") if len(octets_) < 65_536 else b"\xff\xff"
            case _:
                octets_ += chance.randbytes(chance.randint(1, 40))
    return bytes(octets_)
