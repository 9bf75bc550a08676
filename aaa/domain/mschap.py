"""MS-CHAP arithmetic: challenge and authenticator responses (RFC 2433, RFC 2759), MPPE keys (RFC 3079)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext

try:
    from _sha1 import sha1 as _builtin_sha1  # type: ignore[import-not-found] # a third of OpenSSL's cost

    _sha1: Any = _builtin_sha1
except ImportError:  # a Python built without it
    from hashlib import sha1 as _openssl_sha1

    _sha1 = _openssl_sha1

_MAGIC_SIGNING: Final = b"Magic server to client signing constant"
_MAGIC_PADDING: Final = b"Pad to make it do more than one iteration"
_MAGIC_MASTER: Final = b"This is the MPPE Master Key"
_MAGIC_SEND: Final = (  # RFC 3079 section 3.3: what the server sends with
    b"On the client side, this is the receive key; on the server side, it is the send key."
)
_MAGIC_RECEIVE: Final = (
    b"On the client side, this is the send key; on the server side, it is the receive key."
)
_SEND_TAIL: Final = bytes(40) + _MAGIC_SEND + b"\xf2" * 40  # SHSpad1, magic, SHSpad2 (section 3.4)
_RECEIVE_TAIL: Final = bytes(40) + _MAGIC_RECEIVE + b"\xf2" * 40


def challenge_hash(peer_challenge: bytes, authenticator_challenge: bytes, username: bytes) -> bytes:
    """RFC 2759 section 8.2. ``username`` is what the peer typed; a domain in front of it does not count."""
    name = username.rpartition(b"\\")[2]
    digest: bytes = _sha1(peer_challenge + authenticator_challenge + name).digest()
    return digest[:8]


@lru_cache(maxsize=8_192)
def _encryptors(nt_hash: bytes) -> tuple[CipherContext, CipherContext, CipherContext]:
    """Three DES encryptors keyed by the hash (RFC 2759 section 8.5), kept for users who come again."""
    padded = nt_hash + bytes(5)
    first, second, third = (_des(padded[start : start + 7]) for start in (0, 7, 14))
    return first, second, third


def _des(key: bytes) -> CipherContext:
    bits = int.from_bytes(key, "big")
    spread = bytes(
        ((bits >> (49 - 7 * place)) & 0x7F) << 1 for place in range(8)
    )  # parity bits do not matter
    # DES is triple DES under three equal keys; the protocol knows nothing else.
    return Cipher(TripleDES(spread * 3), modes.ECB()).encryptor()  # noqa: S305


def challenge_response(challenge: bytes, nt_hash: bytes) -> bytes:
    """The 24 octets of an NT-Response to an 8-octet challenge (RFC 2759 section 8.5)."""
    first, second, third = _encryptors(nt_hash)
    return first.update(challenge) + second.update(challenge) + third.update(challenge)


def authenticator_response(nt_hash_hash: bytes, nt_response: bytes, challenge: bytes) -> bytes:
    """``S=`` and forty hex digits: the proof that we know the password too (RFC 2759 section 8.7)."""
    digest = _sha1(nt_hash_hash + nt_response + _MAGIC_SIGNING).digest()
    proof: str = _sha1(digest + challenge + _MAGIC_PADDING).hexdigest()
    return b"S=" + proof.upper().encode()


def mppe_keys(nt_hash_hash: bytes, nt_response: bytes) -> tuple[bytes, bytes]:
    """The server's 128-bit (send, receive) start keys (RFC 3079 sections 3.3 and 3.4)."""
    master = _sha1(nt_hash_hash + nt_response + _MAGIC_MASTER).digest()[:16]
    return _sha1(master + _SEND_TAIL).digest()[:16], _sha1(master + _RECEIVE_TAIL).digest()[:16]
