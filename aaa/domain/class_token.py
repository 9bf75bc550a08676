"""The Class attribute: what ties a NAS's accounting to our authorization (RFC 2865 section 5.25).

The NAS must echo it unread, so it survives a User-Name that changes on the way. It is printable because some
devices keep Class as text: ``h1.SERVICE.GENERATION.SIGN_IN.SIGNATURE``, at most 253 octets.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

PREFIX = b"h1."
MAX_OCTETS = 253
_SIGNATURE_OCTETS = 10


@dataclass(frozen=True, slots=True)
class ClassToken:
    """Which service signed in, under which entitlement generation; ``sign_in`` differs each time."""

    service_id: str
    generation: int
    sign_in: str


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> blake2b:
    return blake2b(key=key, digest_size=_SIGNATURE_OCTETS)


def sign_class(body: bytes, key: bytes) -> bytes:
    """``body`` (prefix and fields) with its signature behind it."""
    state = _keyed(key).copy()
    state.update(body)
    return body + b"." + state.hexdigest().encode()


def encode_class(token: ClassToken, key: bytes) -> bytes:
    """The signed octets of ``token``. Raises ``ValueError`` for a field with a dot or too long a token."""
    fields = (token.service_id, str(token.generation), token.sign_in)
    if any("." in field for field in fields):
        raise ValueError("a field of a Class token must not contain a dot")
    octets = sign_class(PREFIX + ".".join(fields).encode(), key)
    if len(octets) > MAX_OCTETS:
        raise ValueError(f"a Class token has {len(octets)} octets; {MAX_OCTETS} fit")
    return octets


def decode_class(octets: bytes, key: bytes) -> ClassToken | None:
    """The token, or None when the octets are not ours or were altered."""
    if not octets.startswith(PREFIX) or len(octets) > MAX_OCTETS:
        return None
    body = octets.rpartition(b".")[0]
    if not hmac.compare_digest(sign_class(body, key), octets):
        return None
    fields = body[len(PREFIX) :].decode().split(".")
    if len(fields) != 3:
        return None
    return ClassToken(fields[0], int(fields[1]), fields[2])
