"""Credentials of which only a hash is kept: every scheme by every method, and slow checks that block nobody."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from pathlib import Path

import pytest
from eapol import needs_eapol_test
from radius_live import live_server, needs_radclient
from radius_world import World, bench_over, chap, mschapv2, octets, pap, reply_to
from test_radius_eapol import place, tunnelled

from aaa.domain.password_hash import NotUsable, PasswordHash, hash_of, must_read_hash, read_hash
from aaa.set_up import NewCredential, add_credential, keep_only_hash, set_password, set_password_hash
from core.refusal import Refusal
from core.secrets import Secret
from radius.explaining.explain import explain, format_explanation
from radius.sign_in.answers import LateAnswers
from radius.sign_in.slow_proof import SlowProofs

ACCEPT, REJECT = 2, 3
SALTED = base64.b64encode(hashlib.sha1(b"open sesame" + b"salt").digest() + b"salt").decode()
VECTORS = {  # of other implementations: the argon2 reference, crypt_blowfish, Samba
    "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc": "password",
    "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": "U*U",
    "{NT}8846F7EAEE8FB117AD06BDD830B7586C": "password",
}


def hashes() -> dict[str, str]:
    import argon2
    import bcrypt

    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return {
        "argon2id": "{ARGON2ID}" + cheap.hash("open sesame"),
        "bcrypt": bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$"),
        "nt": "{NT}" + hash_of("open sesame", "nt").text,
        "ssha": "{SSHA}" + SALTED,
    }


async def hashed_user(world: World, scheme: str, given: str) -> None:
    service_id = await world.service(f"first-{scheme}")
    async with world.workplace.work("test") as work:
        credential = NewCredential("pppoe", scheme, password_hash=Secret(given))
        assert await add_credential(work, world.sealer, service_id=service_id, credential=credential) is None


def test_hashes_of_other_implementations_are_proven() -> None:
    for text, password in VECTORS.items():
        hashed = must_read_hash(text)
        assert hashed.proves(password.encode())
        assert not hashed.proves(b"other")
        assert not hashed.proves(b"")
        assert password not in repr(hashed)
        assert hashed.text not in repr(hashed)


def test_bcrypt_looks_at_72_octets_as_it_always_has() -> None:
    import bcrypt

    hashed = must_read_hash(bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode())
    assert hashed.proves(b"x" * 100)
    assert not hashed.proves(b"x" * 71)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("$6$salt$abcdef", "SHA-512"),
        ("{CRYPT}$5$salt$abcdef", "SHA-256"),
        ("$1$salt$abcdef", "MD5"),
        ("$2b$12$short", "cut off"),
        ("$argon2id$v=19$m=64,t=1", "cut off"),
        ("$argon2id$v=19$m=4000000,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ", "KiB"),
        ("$2b$19$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "cost"),
        ("{SSHA}!!!", "cut off"),
        ("{BCRYPT}8846f7eaee8fb117ad06bdd830b7586c", "another kind"),
    ],
)  # fmt: skip
def test_a_hash_that_cannot_be_checked_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(NotUsable, match=says) as refused:
        read_hash(text)
    assert text not in str(refused.value)


def test_ordinary_passwords_are_not_taken_for_hashes() -> None:
    for text in (
        "open sesame",
        "$money$",
        "{smile}",
        "8846f7eaee8fb117ad06bdd830b7586c",
        "$",
        "{CLEAR}$6$a$b",
    ):
        assert read_hash(text) is None


@needs_radclient
async def test_every_scheme_by_every_method_over_the_wire(world: World, tmp_path: Path) -> None:
    await world.nas()
    for scheme, given in hashes().items():
        await hashed_user(world, scheme, given)
    async with live_server(world, tmp_path) as live:
        for scheme in hashes():
            for method in ("User-Password", "CHAP-Password", "MS-CHAP-Password"):
                works = method == "User-Password" or (scheme == "nt" and method == "MS-CHAP-Password")
                said = await live.sign_in(scheme, method, "open sesame")
                assert said == ("accept" if works else "reject"), (scheme, method)
                if works:
                    assert await live.sign_in(scheme, method, "other") == "reject", (scheme, method)
        before = live.server.counters.slow_proofs
        assert await live.sign_in("argon2id", "User-Password", "open sesame") == "accept"
        assert live.server.counters.slow_proofs == before, "known again without a thread"
        async with world.workplace.work("test") as work:
            await set_password(work, world.sealer, username="argon2id", password=Secret("new one"))
        await live.caught_up()
        assert await live.sign_in("argon2id", "User-Password", "open sesame") == "reject"
        assert await live.sign_in("argon2id", "CHAP-Password", "new one") == "accept"


async def test_mschapv2_with_an_nt_hash_proves_us_to_the_peer_too(world: World) -> None:
    await world.nas()
    await world.service("clear")
    await hashed_user(world, "nt", hashes()["nt"])
    bench = bench_over(await world.directory())
    asked = mschapv2("nt")
    reply = reply_to(asked, bench.ask(octets(asked)))
    assert reply.code == ACCEPT
    kinds = {value[4] for value in reply[26] if value[:4] == (311).to_bytes(4, "big")}
    assert kinds >= {16, 17, 26}, "keys for the link and S=… for the peer"


@needs_eapol_test
async def test_an_nt_hash_serves_eap_with_keys_that_agree(world: World, tmp_path: Path) -> None:
    await hashed_user(world, "nt", hashes()["nt"])
    async with place(world, tmp_path) as here:
        for method, inner in (("TTLS", "auth=MSCHAPV2"), ("TTLS", "autheap=MSCHAPV2"), ("PEAP", "auth=MSCHAPV2"),
                              ("TTLS", "auth=PAP")):  # fmt: skip
            right = await here.sign_in(tunnelled(method, inner), identity="nt")
            assert right.succeeded, (method, inner)
            assert right.keys_match, (method, inner)
            wrong = await here.sign_in(tunnelled(method, inner), identity="nt", password="other")
            assert not wrong.succeeded, (method, inner)
        assert not (await here.sign_in(tunnelled("TTLS", "auth=CHAP"), identity="nt")).succeeded


async def test_a_method_that_cannot_work_is_refused_with_what_would(world: World) -> None:
    await world.nas()
    await hashed_user(world, "argon2id", hashes()["argon2id"])
    bench = bench_over(await world.directory())
    for number, asked in enumerate([chap("argon2id"), mschapv2("argon2id")]):
        assert reply_to(asked, bench.ask(octets(asked), ("127.0.0.1", number))).code == REJECT
        reject = bench.rejections[number].reject
        assert reject.rule == "method_needs_cleartext"
        assert "PAP" in reject.explanation
        assert "in clear" in reject.remedy
    empty = pap("argon2id", "")
    assert reply_to(empty, bench.ask(octets(empty), ("127.0.0.1", 9))).code == REJECT
    assert bench.rejections[2].reject.rule == "empty_password"


async def test_explain_says_which_methods_work(world: World) -> None:
    await world.nas()
    await hashed_user(world, "argon2id", hashes()["argon2id"])
    async with world.workplace.reading() as connection:
        found = await explain(connection, world.sealer, "argon2id")
        right = await explain(connection, world.sealer, "argon2id", Secret("open sesame"))
        wrong = await explain(connection, world.sealer, "argon2id", Secret("other"))
    assert (found.verdict, found.kept) == ("accept", "argon2id")
    assert "not CHAP" in format_explanation(found)
    assert (right.verdict, wrong.rule) == ("accept", "wrong_password")


class Gate(SlowProofs):
    """Slow proofs whose threads wait until the test lets them go."""

    def __init__(self, queue: int = 256) -> None:
        super().__init__(threads=1, queue=queue)
        self.open = threading.Event()
        self.checks = 0

    def submit(self, hashed: PasswordHash, password: bytes, then: object) -> bool:
        return super().submit(_Held(hashed, self), password, then)  # type: ignore[arg-type]


class _Held:
    def __init__(self, hashed: PasswordHash, gate: Gate) -> None:
        self.hashed, self.gate = hashed, gate
        self.text, self.scheme, self.is_slow = hashed.text, hashed.scheme, True

    def proves(self, password: bytes) -> bool:
        self.gate.open.wait(10)
        self.gate.checks += 1
        return self.hashed.proves(password)


async def gated(world: World, gate: Gate) -> tuple[object, list[tuple[bytes, object]]]:
    await world.nas()
    await hashed_user(world, "bcrypt", hashes()["bcrypt"])
    await world.service("alice")
    bench = bench_over(await world.directory(), slow_proofs_of_one=50)
    sent: list[tuple[bytes, object]] = []
    bench.pipeline.answers.late = LateAnswers(gate, lambda reply, source: sent.append((reply, source)))
    return bench, sent


async def until(condition: object) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.002)


async def test_while_a_thread_checks_the_others_are_answered_and_retransmits_are_not(world: World) -> None:
    gate = Gate()
    bench, sent = await gated(world, gate)
    asked = pap("bcrypt")
    packet = octets(asked)
    assert bench.ask(packet) is None
    assert bench.ask(packet) is None, "a retransmit"
    assert bench.counters.duplicates_in_work == 1
    other = pap("alice")
    assert reply_to(other, bench.ask(octets(other), ("127.0.0.1", 2))).code == ACCEPT
    gate.open.set()
    await until(lambda: sent)
    assert reply_to(asked, sent[0][0]).code == ACCEPT
    assert sent[0][1] == ("127.0.0.1", 40_000)
    assert bench.ask(packet) == sent[0][0], "a late retransmit gets the same octets"
    assert len(sent) == 1
    gate.close()


async def test_the_same_password_waited_for_twice_is_checked_once(world: World) -> None:
    gate = Gate()
    bench, sent = await gated(world, gate)
    for number in range(3):
        assert bench.ask(octets(pap("bcrypt")), ("127.0.0.1", number)) is None
    gate.open.set()
    await until(lambda: len(sent) == 3)
    assert gate.checks == 1
    assert gate.waiting == 0
    gate.close()


async def test_beyond_the_queue_there_is_silence_and_a_count_and_the_next_try_is_taken(world: World) -> None:
    gate = Gate(queue=2)
    bench, sent = await gated(world, gate)
    for number in range(5):
        assert bench.ask(octets(pap("bcrypt", f"guess {number}")), ("127.0.0.1", number)) is None
    assert bench.counters.slow_proofs == 2
    assert bench.counters.slow_proofs_refused == 3
    gate.open.set()
    await until(lambda: len(sent) == 2)
    assert {reply[0] for reply, _ in sent} == {REJECT}
    asked = pap("bcrypt")
    assert bench.ask(octets(asked), ("127.0.0.1", 4)) is None
    await until(lambda: len(sent) == 3)
    assert reply_to(asked, sent[2][0]).code == ACCEPT
    gate.close()


async def test_an_answer_nobody_waits_for_any_more_is_not_sent(world: World) -> None:
    gate = Gate()
    bench, sent = await gated(world, gate)
    assert bench.ask(octets(pap("bcrypt"))) is None
    assert bench.ask(octets(pap("alice"))) is not None, "the same port and identifier ask something else"
    gate.open.set()
    await until(lambda: gate.checks == 1 and gate.waiting == 0)
    assert sent == []
    gate.close()


async def test_a_wrong_password_is_never_known_as_right(world: World) -> None:
    proofs = SlowProofs()
    hashed = must_read_hash(hashes()["bcrypt"])
    told: list[bool | None] = []
    for password in (b"wrong", b"open sesame", b"open sesam", b""):
        assert proofs.known(hashed, password) is None
        assert proofs.submit(hashed, password, told.append)
        await until(lambda: proofs.waiting == 0)
        assert proofs.known(hashed, password) is (password == b"open sesame")
    assert told == [False, True, False, False]
    other = must_read_hash(hashes()["bcrypt"])
    assert proofs.known(other, b"open sesame") is None, "another row's hash, with a salt of its own"
    proofs.close()


async def test_keeping_only_a_hash(any_world: World) -> None:
    world = any_world
    await world.nas()
    await world.service("alice", "pa\u00dfwort")
    await world.service("bob")
    async with world.workplace.work("test") as work:
        for name, scheme in (("alice", "argon2id"), ("bob", "nt")):
            assert await keep_only_hash(work, world.sealer, username=name, scheme=scheme) is None
        again = await keep_only_hash(work, world.sealer, username="bob", scheme="argon2id")
        assert isinstance(again, Refusal)
        assert await keep_only_hash(work, world.sealer, username="bob", scheme="nt") is None
        refused = await set_password_hash(work, world.sealer, username="bob", given=Secret("$6$a$b"))
        assert isinstance(refused, Refusal)
        assert refused.field == "password_hash"
    directory = await world.directory()
    alice, bob = directory.logins[b"alice"].credential, directory.logins[b"bob"].credential
    assert (alice.password, alice.nt_hash) == (b"", b"")
    assert alice.hashed is not None
    assert alice.hashed.proves("pa\u00dfwort".encode())
    bench = bench_over(directory)
    asked = mschapv2("bob")
    assert reply_to(asked, bench.ask(octets(asked))).code == ACCEPT
    assert bob.password == b""
