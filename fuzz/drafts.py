"""Real requests of every kind, before they are signed: what mutations begin with."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import md5
from random import Random
from typing import Final

from aaa.domain.authentication import Chap
from aaa.domain.mschap import challenge_hash, challenge_response
from aaa.domain.nt_hash import nt_hash
from fuzz.world import ALWAYS_ACCEPTED, MAC, NASES, PASSWORD, Nas
from radius.packet.codec import attribute, vendor_attribute
from radius.packet.shared_secret import SharedSecret

ACCESS, ACCOUNTING, STATUS = 1, 4, 12
SECRETS: Final = {one: SharedSecret(one) for nas in NASES for one in nas.secrets}
_NT_HASHES: Final = {word: nt_hash(word) for word in (PASSWORD, "battery staple")}
_STATIONS = ("AA:BB:CC:00:11:22", "1:0:e1:c:38:c8:f8", "aabb.cc00.1122", "", "nonsense")


@dataclass(slots=True)
class Draft:
    """A request that can still be changed. ``signing``: right, none, wrong, twice, short, zeros."""

    label: str
    nas: Nas
    code: int
    identifier: int
    authenticator: bytes
    attributes: list[tuple[int, bytes]] = field(default_factory=list)
    signing: str = "right"
    secret: bytes = b""

    def octets(self) -> bytes:
        """The datagram. Values too long for their place are cut, so that lengths lie only on purpose."""
        body = b"".join(attribute(kind & 255, value[:253]) for kind, value in self.attributes)
        marks = {"none": b"", "short": b"\x50\x06" + bytes(4), "twice": (b"\x50\x12" + bytes(16)) * 2}
        body = (marks.get(self.signing, b"\x50\x12" + bytes(16)) + body)[:4076]
        header = bytes((self.code & 255, self.identifier)) + (20 + len(body)).to_bytes(2, "big")
        secret = self.secret if self.signing != "wrong" else b"somebody else's secret"
        zeroed = bytes(16) if self.code == ACCOUNTING else self.authenticator
        if self.signing in ("right", "wrong", "twice"):
            signature = hmac.digest(secret, header + zeroed + body, "md5")
            body = body[:2] + signature + body[18:]
        authenticator = self.authenticator
        if self.code == ACCOUNTING:
            authenticator = md5(header + bytes(16) + body + secret).digest()
        return header + authenticator + body


def draft(random: Random, label: str, code: int) -> Draft:
    """An empty one from a NAS chosen at random, under one of its right secrets."""
    nas = random.choice(NASES)
    return Draft(
        label, nas, code, random.randrange(256), random.randbytes(16), secret=random.choice(nas.secrets)
    )


def _access(random: Random, label: str) -> Draft:
    made = draft(random, label, ACCESS)
    made.attributes = [(31, random.choice(_STATIONS).encode()), (61, bytes((0, 0, 0, random.randrange(40))))]
    return made


def _word(random: Random) -> str:
    return PASSWORD if random.random() < 0.7 else "battery staple"


def _name(random: Random) -> bytes:
    return random.choice((*ALWAYS_ACCEPTED, *ALWAYS_ACCEPTED, "blocked", "nobody", "Ali\0ce", "")).encode()


def pap(random: Random) -> Draft:
    made = _access(random, "pap")
    hidden = SECRETS[made.secret].hide_password(_word(random).encode(), made.authenticator)
    made.attributes = [(1, _name(random)), (2, hidden), *made.attributes]
    return made


def chap(random: Random) -> Draft:
    made = _access(random, "chap")
    challenge = random.randbytes(random.choice((1, 8, 16, 16, 16, 32)))
    in_attribute = random.random() < 0.5
    proof = Chap(7, challenge if in_attribute else made.authenticator, b"").made_with(_word(random).encode())
    made.attributes = [(1, _name(random)), (3, b"\x07" + proof), *made.attributes]
    if in_attribute:
        made.attributes.append((60, challenge))
    return made


def ms_chap(random: Random) -> Draft:
    made = _access(random, "mschap")
    challenge = random.randbytes(8)
    response = b"\x07\x01" + bytes(24) + challenge_response(challenge, _NT_HASHES[_word(random)])
    made.attributes = [(1, _name(random)), *_ms(11, challenge), *_ms(1, response), *made.attributes]
    return made


def ms_chap_2(random: Random) -> Draft:
    made = _access(random, "mschapv2")
    challenge, peer, name = random.randbytes(16), random.randbytes(16), _name(random)
    answer = challenge_response(challenge_hash(peer, challenge, name), _NT_HASHES[_word(random)])
    response = b"\x07\x00" + peer + bytes(8) + answer
    made.attributes = [(1, name), *_ms(11, challenge), *_ms(25, response), *made.attributes]
    return made


def _ms(kind: int, value: bytes) -> list[tuple[int, bytes]]:
    return [(26, vendor_attribute(311, kind, value)[2:])]


def mac(random: Random) -> Draft:
    made = _access(random, "mac")
    spelling = random.choice(
        (MAC, MAC.upper(), MAC.replace(":", "-"), MAC.replace(":", ""), "02:00:00:00:00:0b")
    )
    made.attributes = [(1, spelling.encode()), (2, b""), (31, spelling.encode())]
    return made


def eap_lone(random: Random) -> Draft:
    """An EAP packet out of nowhere; conversations are ``fuzz.eap_peer``'s."""
    made = _access(random, "eap_lone")
    data = random.choice(
        (b"\x01alice", b"\x03\x15", b"\x04\x10" + random.randbytes(16), b"\x1a\x02", b"\x15\x20", b"")
    )
    message = (
        bytes((random.choice((1, 2, 2, 2, 3, 4)), random.randrange(256)))
        + (4 + len(data)).to_bytes(2, "big")
        + data
    )
    made.attributes = [(1, b"alice"), (79, message), (24, random.randbytes(16)), *made.attributes]
    return made


def status(random: Random) -> Draft:
    return draft(random, "status", STATUS)


def accounting(random: Random) -> Draft:
    made = draft(random, "accounting", ACCOUNTING)
    made.signing = random.choice(("none", "none", "right"))
    number = random.randbytes
    made.attributes = [
        (40, bytes((0, 0, 0, random.choice((1, 2, 3, 7, 8, 9, 15))))), (44, number(4).hex().encode()),
        (1, _name(random)), (8, number(4)), (25, b"h1.svc_1.1.abc.0123456789"), (31, b"AA:BB:CC:00:11:22"),
        *((kind, number(4)) for kind in (42, 43, 46, 52, 53, 55)),
        (49, bytes((0, 0, 0, random.randrange(25)))), (97, b"\0\x40" + number(8)),
        (123, b"\0\x38" + number(7)),
        (168, number(16)), (87, b"ether1"), (41, bytes((0, 0, 0, random.randrange(256)))),
    ]  # fmt: skip
    random.shuffle(made.attributes)
    return made


KINDS: Final[tuple[Callable[[Random], Draft], ...]] = (
    pap, pap, chap, ms_chap, ms_chap_2, mac, eap_lone, status, accounting, accounting, accounting,
)  # fmt: skip
