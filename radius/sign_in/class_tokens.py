"""What names a sign-in to the NAS and to visited operators: Class and Chargeable-User-Identity."""

from __future__ import annotations

import hmac
import os
from hashlib import blake2b
from itertools import count

from aaa.directory import ServiceAccess
from aaa.domain.class_token import PREFIX, sign_class
from radius.packet.codec import attribute


class ClassTokens:
    """Class attributes: the token of ``aaa.domain.class_token``, with an id no other sign-in has."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._identity_key = hmac.digest(key, b"chargeable-user-identity", "sha256")
        self._process = os.urandom(5).hex()
        self._numbers = count(1)

    def chargeable_identity(self, service_id: str, operator: bytes) -> bytes:
        """The Chargeable-User-Identity of a service for whoever asks (RFC 4372 section 2.1).

        A pseudonym: always the same for one service at one visited operator (Operator-Name, RFC 5580), and of
        no use to another one.
        """
        name = hmac.digest(self._identity_key, service_id.encode() + b"\0" + operator, "sha256")
        return attribute(89, name[:16].hex().encode())

    def prefix(self, service_id: str, generation: int) -> bytes:
        """What every Class of this service under this generation begins with."""
        return PREFIX + f"{service_id}.{generation}.{self._process}".encode()

    def class_value(self, prefix: bytes) -> bytes:
        """The Class of a new sign-in."""
        return sign_class(prefix + b"%x" % next(self._numbers), self._key)

    def class_again(self, service: ServiceAccess, session: bytes) -> bytes:
        """The Class of a session that signs in again while it lasts, as 802.1X does: each time the same one.

        ``session`` says which of all sessions it is. With another Class its accounting would be taken for
        that of another session, which begins with counters that are not zero.
        """
        name = blake2b(session, key=self._identity_key, digest_size=10).hexdigest()
        return sign_class(PREFIX + f"{service.id}.{service.generation}.{name}".encode(), self._key)
