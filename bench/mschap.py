"""MS-CHAPv2 as a client computes it (RFC 2759), for requests that are made ahead of a measurement."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

_SERVER_MAGIC = b"Magic server to client signing constant"
_PAD_MAGIC = b"Pad to make it do more than one iteration"
_MASK = 0xFFFFFFFF
_Mix = Callable[[int, int, int], int]
_ROUNDS: tuple[tuple[_Mix, int, tuple[int, ...], tuple[int, ...]], ...] = (
    # RFC 1320: function, constant, order of words, shifts
    (lambda x, y, z: (x & y) | (~x & z), 0, tuple(range(16)), (3, 7, 11, 19)),
    (
        lambda x, y, z: (x & y) | (x & z) | (y & z),
        0x5A827999,
        (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
        (3, 5, 9, 13),
    ),
    (
        lambda x, y, z: x ^ y ^ z,
        0x6ED9EBA1,
        (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15),
        (3, 9, 11, 15),
    ),
)


def md4(message: bytes) -> bytes:
    """MD4 of ``message`` (RFC 1320); OpenSSL 3 keeps it from hashlib."""
    padded = message + b"\x80" + b"\0" * ((55 - len(message)) % 64) + struct.pack("<Q", len(message) * 8)
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    for start in range(0, len(padded), 64):
        words = struct.unpack_from("<16I", padded, start)
        a, b, c, d = state
        for mix, constant, order, shifts in _ROUNDS:
            for step, word in enumerate(order):
                turned = (a + mix(b, c, d) + words[word] + constant) & _MASK
                shift = shifts[step % 4]
                a, b, c, d = d, ((turned << shift) | (turned >> (32 - shift))) & _MASK, b, c
        state = [(old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state)


def nt_hash(password: str) -> bytes:
    """NtPasswordHash (RFC 2759 section 8.3)."""
    return md4(password.encode("utf-16-le"))


def _des_key(seven: bytes) -> bytes:
    bits = int.from_bytes(seven, "big")
    return bytes(((bits >> (49 - 7 * place)) & 0x7F) << 1 for place in range(8))


def challenge_response(challenge: bytes, password_hash: bytes) -> bytes:
    """ChallengeResponse (RFC 2759 section 8.5): 24 octets."""
    padded = password_hash + b"\0" * 5
    parts = []
    for start in (0, 7, 14):
        key = _des_key(padded[start : start + 7])
        parts.append(Cipher(TripleDES(key * 3), modes.ECB()).encryptor().update(challenge))
    return b"".join(parts)


def nt_response(username: bytes, password_hash: bytes, challenge: bytes, peer_challenge: bytes) -> bytes:
    """GenerateNTResponse (RFC 2759 section 8.1)."""
    short = hashlib.sha1(peer_challenge + challenge + username).digest()[:8]
    return challenge_response(short, password_hash)


def success_message(
    username: bytes, password_hash: bytes, challenge: bytes, peer_challenge: bytes, response: bytes
) -> bytes:
    """GenerateAuthenticatorResponse (RFC 2759 section 8.7): ``S=`` and 40 hexadecimal digits."""
    first = hashlib.sha1(md4(password_hash) + response + _SERVER_MAGIC).digest()
    short = hashlib.sha1(peer_challenge + challenge + username).digest()[:8]
    return b"S=" + hashlib.sha1(first + short + _PAD_MAGIC).hexdigest().upper().encode()
