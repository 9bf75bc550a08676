"""MS-CHAP arithmetic: challenge and authenticator responses (RFC 2433, RFC 2759), MPPE keys (RFC 3079).

SHA-1 and DES here are what the protocol prescribes. SHA-1 is OpenSSL's, whose use of the processor's own
instructions makes it twice as fast as Python's builtin for all but the shortest inputs.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext

_MAGIC_SIGNING: Final = b"Magic server to client signing constant"
_MAGIC_PADDING: Final = b"Pad to make it do more than one iteration"
_MAGIC_MASTER: Final = b"This is the MPPE Master Key"
_MAGIC_SEND: Final = (  # RFC 3079 section 3.3: what the server sends with
    b"On the client side, this is the receive key; on the server side, it is the send key."
)
_MAGIC_RECEIVE: Final = (
    b"On the client side, this is the send key; on the server side, it is the receive key."
)
_ECB: Final = modes.ECB()  # noqa: S305 - one block under each key
_KEYS_KEPT: Final = 32_768
"""Users whose DES keys are kept: 3.5 kB each, 115 MB when so many have used MS-CHAP. 15 µs for any other."""
_SEND_TAIL: Final = bytes(40) + _MAGIC_SEND + b"\xf2" * 40  # SHSpad1, magic, SHSpad2 (section 3.4)
_RECEIVE_TAIL: Final = bytes(40) + _MAGIC_RECEIVE + b"\xf2" * 40


def challenge_hash(peer_challenge: bytes, authenticator_challenge: bytes, username: bytes) -> bytes:
    """RFC 2759 section 8.2. ``username`` is what the peer typed; a domain in front of it does not count."""
    name = username.rpartition(b"\\")[2]
    return sha1(peer_challenge + authenticator_challenge + name).digest()[:8]  # noqa: S324


@lru_cache(maxsize=_KEYS_KEPT)
def _encryptors(nt_hash: bytes) -> tuple[CipherContext, CipherContext, CipherContext]:
    """Three DES encryptors keyed by the hash (RFC 2759 section 8.5), kept for users who come again."""
    keys = _des_keys(nt_hash)
    return _des(keys[:8]), _des(keys[8:16]), _des(keys[16:])


def _des_keys(nt_hash: bytes) -> bytes:
    """The hash and five zeros as 24 octets of 7 bits and a parity bit, which does not matter."""
    bits = int.from_bytes(nt_hash, "big") << 40
    spread = 0
    for place in range(24):
        spread |= (bits >> 7 * place & 0x7F) << 8 * place + 1
    return spread.to_bytes(24, "big")


def _des(key: bytes) -> CipherContext:
    """DES is triple DES under three equal keys; the protocol knows nothing else."""
    return Cipher(TripleDES(key * 3), _ECB).encryptor()


def challenge_response(challenge: bytes, nt_hash: bytes) -> bytes:
    """The 24 octets of an NT-Response to an 8-octet challenge (RFC 2759 section 8.5)."""
    first, second, third = _encryptors(nt_hash)
    return first.update(challenge) + second.update(challenge) + third.update(challenge)


def authenticator_response(nt_hash_hash: bytes, nt_response: bytes, challenge: bytes) -> bytes:
    """``S=`` and forty hex digits: the proof that we know the password too (RFC 2759 section 8.7)."""
    digest = sha1(nt_hash_hash + nt_response + _MAGIC_SIGNING).digest()  # noqa: S324
    return b"S=" + sha1(digest + challenge + _MAGIC_PADDING).hexdigest().upper().encode()  # noqa: S324


def mppe_keys(nt_hash_hash: bytes, nt_response: bytes) -> tuple[bytes, bytes]:
    """The server's 128-bit (send, receive) start keys (RFC 3079 sections 3.3 and 3.4)."""
    master = sha1(nt_hash_hash + nt_response + _MAGIC_MASTER).digest()[:16]  # noqa: S324
    send, receive = sha1(master + _SEND_TAIL), sha1(master + _RECEIVE_TAIL)  # noqa: S324
    return send.digest()[:16], receive.digest()[:16]
