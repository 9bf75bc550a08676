"""What is done to a request: to its parts before it is signed, and to its octets afterwards."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from fuzz.drafts import Draft

_TELLING_KINDS: Final = (
    1,
    2,
    3,
    24,
    25,
    26,
    30,
    31,
    33,
    40,
    44,
    60,
    79,
    80,
    87,
    89,
    97,
    123,
    126,
    168,
    241,
    245,
    246,
)
_TELLING_NUMBERS: Final = (0, 1, 2, 3, 4, 5, 6, 15, 16, 17, 18, 127, 128, 250, 251, 252, 253, 254, 255)
_TELLING_TEXTS: Final = (
    b"", b"\0", b"\xff" * 8, b"alice", b"alice\0", b"\xc3\x28", "ü☃".encode(), b"a" * 253, b"..", b"h1.",
    b"h1....", b"%s%n", b"'; --", b"\x1b[31m", b"1:0:e1:c:38:c8:f8",
)  # fmt: skip
_VENDORS: Final = (9, 54, 161, 311, 529, 2352, 3561, 4874, 14122, 14988, 17713, 41112, 0, 0xFFFFFFFF)


def octets_of(random: Random, value: bytes) -> bytes:
    """A value like the given one, and yet not."""
    if not value or random.random() < 0.1:
        return random.choice(_TELLING_TEXTS)
    at = random.randrange(len(value))
    match random.randrange(7):
        case 0:
            return value[:at]
        case 1:
            return value + random.randbytes(random.choice((1, 2, 16, 200)))
        case 2:
            return value[:at] + bytes((value[at] ^ 1 << random.randrange(8),)) + value[at + 1 :]
        case 3:
            return value[:at] + bytes((random.choice(_TELLING_NUMBERS),)) + value[at + 1 :]
        case 4:
            return value[at:] + value[:at]
        case 5:
            return value[:at] + value[:at] + value[at:]
        case _:
            return random.randbytes(len(value))


def _change(random: Random, one: Draft) -> None:
    at = random.randrange(len(one.attributes))
    kind, value = one.attributes[at]
    one.attributes[at] = (kind, octets_of(random, value))


def _drop(random: Random, one: Draft) -> None:
    del one.attributes[random.randrange(len(one.attributes))]


def _double(random: Random, one: Draft) -> None:
    twice = random.choice(one.attributes)
    times = random.choice((1, 1, 2, 15, 200))
    one.attributes.extend([twice] * times)


def _retype(random: Random, one: Draft) -> None:
    at = random.randrange(len(one.attributes))
    kind = random.choice(_TELLING_KINDS) if random.random() < 0.7 else random.randrange(256)
    one.attributes[at] = (kind, one.attributes[at][1])


def _shuffle(random: Random, one: Draft) -> None:
    random.shuffle(one.attributes)


def _insert(random: Random, one: Draft) -> None:
    kind = random.choice(_TELLING_KINDS) if random.random() < 0.7 else random.randrange(256)
    length = random.choice(_TELLING_NUMBERS)
    value = random.choice(_TELLING_TEXTS) if random.random() < 0.3 else random.randbytes(length)
    one.attributes.insert(random.randrange(len(one.attributes) + 1), (kind, value))


def _insert_vendor(random: Random, one: Draft) -> None:
    """A vendor's attribute whose inner lengths may lie."""
    inner = b""
    for _ in range(random.choice((1, 1, 2, 5))):
        value = random.randbytes(random.choice((0, 1, 4, 16, 50)))
        length = len(value) + 2 if random.random() < 0.6 else random.choice(_TELLING_NUMBERS)
        inner += bytes((random.randrange(256), length)) + value
    vendor = random.choice(_VENDORS).to_bytes(4, "big")
    one.attributes.insert(random.randrange(len(one.attributes) + 1), (26, (vendor + inner)[:253]))


def _insert_extended(random: Random, one: Draft) -> None:
    """Extended and long-extended attributes, fragments that never end, TLVs in TLVs."""
    value = bytes(
        (random.choice((1, 5, 6, 7, 26, 255)), random.choice((0, 0x80, 4, 255)))
    ) + random.randbytes(random.choice((0, 1, 5, 30, 251)))
    times = random.choice((1, 1, 3, 12))
    at = random.randrange(len(one.attributes) + 1)
    one.attributes[at:at] = [(random.choice((241, 244, 245, 246)), value)] * times


def _insert_hidden(random: Random, one: Draft) -> None:
    """Keys and passwords as a home server hides them, of right and of impossible lengths."""
    value = random.randbytes(random.choice((0, 1, 2, 18, 19, 32, 34, 50, 200, 240, 244, 245, 247)))
    if random.random() < 0.3:
        one.attributes.append((69, value))
    else:
        inner = bytes((random.choice((12, 16, 17)), len(value) + 2)) + value
        one.attributes.append((26, (311).to_bytes(4, "big") + inner))


def _fill_with_proxy_state(random: Random, one: Draft) -> None:
    one.attributes.extend(
        [(33, random.randbytes(random.choice((0, 1, 64, 253))))] * random.choice((1, 3, 16))
    )


def _recode(random: Random, one: Draft) -> None:
    one.code = random.choice((0, 1, 2, 3, 4, 5, 11, 12, 13, 40, 43, 255, random.randrange(256)))


def _unsign(random: Random, one: Draft) -> None:
    one.signing = random.choice(("none", "wrong", "twice", "short", "zeros"))


STRUCTURAL: Final[tuple[Callable[[Random, Draft], None], ...]] = (
    _change, _change, _change, _drop, _double, _retype, _shuffle, _insert, _insert, _insert_vendor,
    _insert_extended, _insert_hidden, _fill_with_proxy_state, _recode, _unsign, _unsign, _unsign,
)  # fmt: skip


def mutated(random: Random, one: Draft) -> Draft:
    """Several changes to its parts, now and then none; it is signed afterwards."""
    for _ in range(random.choice((0, 1, 1, 1, 2, 3, 6))):
        change = random.choice(STRUCTURAL)
        if one.attributes or change in (_insert, _insert_vendor, _insert_extended, _unsign, _recode):
            change(random, one)
    return one


def _lie_about_length(random: Random, datagram: bytes) -> bytes:
    length = random.choice((0, 1, 19, 20, 21, len(datagram) - 1, len(datagram) + 1, 4095, 4096, 4097, 0xFFFF))
    return datagram[:2] + (length & 0xFFFF).to_bytes(2, "big") + datagram[4:]


def _lie_about_an_attribute(random: Random, datagram: bytes) -> bytes:
    """The length of one attribute, found by walking."""
    starts, at = [], 20
    while at + 2 <= len(datagram) and datagram[at + 1] >= 2:
        starts.append(at)
        at += datagram[at + 1]
    if not starts:
        return datagram
    at = random.choice(starts)
    return datagram[: at + 1] + bytes((random.choice(_TELLING_NUMBERS),)) + datagram[at + 2 :]


def _flip(random: Random, datagram: bytes) -> bytes:
    at = random.randrange(len(datagram)) if datagram else 0
    return (
        datagram[:at] + bytes((datagram[at] ^ 1 << random.randrange(8),)) + datagram[at + 1 :]
        if datagram
        else b""
    )


def _cut(random: Random, datagram: bytes) -> bytes:
    return datagram[: random.randrange(len(datagram) + 1)]


def _pad(random: Random, datagram: bytes) -> bytes:
    return datagram + random.randbytes(random.choice((1, 2, 100, 4096)))


def _noise(random: Random, datagram: bytes) -> bytes:
    length = random.choice((0, 1, 3, 4, 19, 20, 21, 40, 200, 4096, 4160))
    front = datagram[: random.choice((0, 4, 20))] if random.random() < 0.5 else b""
    return front + random.randbytes(length)


OCTETS: Final[tuple[Callable[[Random, bytes], bytes], ...]] = (
    _lie_about_length, _lie_about_an_attribute, _lie_about_an_attribute, _flip, _flip, _cut, _pad, _noise,
)  # fmt: skip


def damaged(random: Random, datagram: bytes) -> bytes:
    """Its octets changed on the way: no signature follows."""
    for _ in range(random.choice((1, 1, 2, 4))):
        datagram = random.choice(OCTETS)(random, datagram)
    return datagram[:4160]
