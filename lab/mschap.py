"""The caller's half of MS-CHAP (RFC 2433) and MS-CHAPv2 (RFC 2759), written apart from the product's."""

from __future__ import annotations

import hashlib
import struct

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

_MASK = 0xFFFFFFFF
_ROUNDS = (
    (0x00000000, (3, 7, 11, 19), tuple(range(16))),
    (0x5A827999, (3, 5, 9, 13), tuple(4 * (i % 4) + i // 4 for i in range(16))),
    (0x6ED9EBA1, (3, 9, 11, 15), (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15)),
)
_SIGNING = b"Magic server to client signing constant"
_PADDING = b"Pad to make it do more than one iteration"


def md4(message: bytes) -> bytes:
    """RFC 1320; OpenSSL 3 has taken it away."""
    padded = message + b"\x80" + bytes((55 - len(message)) % 64) + struct.pack("<Q", 8 * len(message))
    state = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
    for start in range(0, len(padded), 64):
        mixed = _md4_block(state, struct.unpack("<16I", padded[start : start + 64]))
        state = (
            (state[0] + mixed[0]) & _MASK,
            (state[1] + mixed[1]) & _MASK,
            (state[2] + mixed[2]) & _MASK,
            (state[3] + mixed[3]) & _MASK,
        )
    return struct.pack("<4I", *state)


def _md4_block(state: tuple[int, int, int, int], words: tuple[int, ...]) -> tuple[int, int, int, int]:
    a, b, c, d = state
    for number, (constant, shifts, order) in enumerate(_ROUNDS):
        for step, index in enumerate(order):
            mixed = (
                (b & c) | (~b & d),
                (b & c) | (b & d) | (c & d),
                b ^ c ^ d,
            )[number]
            total = (a + mixed + words[index] + constant) & _MASK
            shift = shifts[step % 4]
            a, b, c, d = d, ((total << shift) | (total >> (32 - shift))) & _MASK, b, c
    return a, b, c, d


def nt_hash(password: str) -> bytes:
    """MD4 of the password in UTF-16, little end first."""
    return md4(password.encode("utf-16-le"))


def _with_parity_bits(seven: bytes) -> bytes:
    bits = int.from_bytes(seven, "big")
    return bytes(((bits >> (49 - 7 * i)) & 0x7F) << 1 for i in range(8))


def challenge_response(challenge: bytes, password_hash: bytes) -> bytes:
    """24 octets: the challenge of 8 under three DES keys cut from the hash (RFC 2433 A.5)."""
    padded = password_hash.ljust(21, b"\0")
    answer = b""
    for start in (0, 7, 14):
        key = _with_parity_bits(padded[start : start + 7])
        encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # three times the same key: DES
        answer += encryptor.update(challenge) + encryptor.finalize()
    return answer


def challenge_hash(peer_challenge: bytes, authenticator_challenge: bytes, username: str) -> bytes:
    """RFC 2759 8.2."""
    return hashlib.sha1(peer_challenge + authenticator_challenge + username.encode()).digest()[:8]


def chap2_response(authenticator: bytes, peer: bytes, username: str, password: str, identifier: int) -> bytes:
    """The MS-CHAP2-Response attribute (RFC 2548 2.3.2): 50 octets."""
    response = challenge_response(challenge_hash(peer, authenticator, username), nt_hash(password))
    return bytes((identifier, 0)) + peer + bytes(8) + response


def chap1_response(challenge: bytes, password: str, identifier: int) -> bytes:
    """The MS-CHAP-Response attribute (RFC 2548 2.1.3): 50 octets, the NT answer alone."""
    return bytes((identifier, 1)) + bytes(24) + challenge_response(challenge, nt_hash(password))


def server_proof(response: bytes, authenticator: bytes, username: str, password: str) -> bytes:
    """What MS-CHAP2-Success must say, ``S=`` and 40 hexadecimal digits (RFC 2759 8.7)."""
    peer, nt_response = response[2:18], response[26:50]
    first = hashlib.sha1(md4(nt_hash(password)) + nt_response + _SIGNING).digest()
    challenge = challenge_hash(peer, authenticator, username)
    return b"S=" + hashlib.sha1(first + challenge + _PADDING).hexdigest().upper().encode()
