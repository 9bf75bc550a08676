"""MD4 (RFC 1320) and the NT hash, for many passwords at once.

OpenSSL 3 no longer has MD4. The words of many messages lie in 64-bit lanes of one big integer, so a hundred
thousand passwords are hashed in a fraction of a second when the directory loads, one by the same code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

_WORD = 0xFFFFFFFF
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_ROUNDS = (
    (0, tuple(range(16)), (3, 7, 11, 19)),
    (0x5A827999, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
    (0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
)
_LANES = 512


def nt_hash(password: str) -> bytes:
    """MD4 of the password in UTF-16LE (RFC 2759 section 8.3)."""
    return md4([password.encode("utf-16-le")])[0]


def md4(messages: Sequence[bytes]) -> list[bytes]:
    """The MD4 of each message, in order."""
    digests: list[bytes] = [b""] * len(messages)
    by_blocks: dict[int, list[int]] = {}
    padded = [_pad(message) for message in messages]
    for index, octets in enumerate(padded):
        by_blocks.setdefault(len(octets) // 64, []).append(index)
    for indices in by_blocks.values():
        for some in _chunks(indices):
            for index, digest in zip(some, _digest_lanes([padded[one] for one in some]), strict=True):
                digests[index] = digest
    return digests


def _chunks(indices: list[int]) -> Iterable[list[int]]:
    return (indices[start : start + _LANES] for start in range(0, len(indices), _LANES))


def _pad(message: bytes) -> bytes:
    """RFC 1320 sections 3.1 and 3.2: a one bit, zeros, the length in bits."""
    zeros = (55 - len(message)) % 64
    return message + b"\x80" + bytes(zeros) + struct.pack("<Q", len(message) * 8)


def _digest_lanes(messages: Sequence[bytes]) -> list[bytes]:
    """Messages of one padded length, hashed side by side."""
    lanes = len(messages)
    ones = sum(1 << (64 * lane) for lane in range(lanes))
    state = tuple(word * ones for word in _START)
    for at in range(0, len(messages[0]), 64):
        words = [struct.unpack_from("<16I", message, at) for message in messages]
        block = [
            int.from_bytes(struct.pack(f"<{lanes}Q", *column), "little")
            for column in zip(*words, strict=True)
        ]
        state = _compress(state, block, ones)
    columns = [struct.unpack(f"<{lanes}Q", word.to_bytes(lanes * 8, "little")) for word in state]
    return [struct.pack("<4I", *row) for row in zip(*columns, strict=True)]


def _compress(state: tuple[int, ...], block: Sequence[int], ones: int) -> tuple[int, ...]:
    """RFC 1320 section 3.4, on every lane at once."""
    mask = _WORD * ones
    a, b, c, d = state
    for turn, (constant, order, shifts) in enumerate(_ROUNDS):
        added = constant * ones
        for step, index in enumerate(order):
            total = (a + _mix(turn, b, c, d, mask) + block[index] + added) & mask
            shift = shifts[step & 3]
            turned = ((total << shift) | (total >> (32 - shift))) & mask
            a, b, c, d = d, turned, b, c
    return tuple((old + new) & mask for old, new in zip(state, (a, b, c, d), strict=True))


def _mix(turn: int, x: int, y: int, z: int, mask: int) -> int:
    if turn == 0:
        return (x & y) | ((x ^ mask) & z)
    if turn == 1:
        return (x & y) | (x & z) | (y & z)
    return x ^ y ^ z
