"""EAP-MD5-Challenge (RFC 3748 section 5.4): CHAP in EAP. It makes no keys and proves no server."""

from __future__ import annotations

import os

from aaa.authorize import Accept
from aaa.domain.authentication import Chap
from radius.eap.packet import EapType, MalformedEap
from radius.eap.steps import Ask, Circle, Pass, Step, declined

_CHALLENGE_OCTETS = 16


class Md5:
    """One challenge, one response."""

    kind = int(EapType.MD5_CHALLENGE)

    def __init__(self, identity: bytes, challenge: bytes | None = None) -> None:
        self._identity = identity
        self._challenge = challenge or os.urandom(_CHALLENGE_OCTETS)

    def begin(self, circle: Circle) -> Step:
        return Ask(bytes((len(self._challenge),)) + self._challenge)

    def take(self, data: bytes, identifier: int, circle: Circle) -> Step:
        if len(data) < 17 or data[0] != 16:
            raise MalformedEap("an MD5 response of the wrong length")
        verdict = circle.judge(self._identity, Chap(identifier, self._challenge, data[1:17]))
        if isinstance(verdict, Accept):
            return Pass(verdict.login, b"", b"", "EAP-MD5")
        return declined(verdict, self._identity)

    def close(self) -> None:
        """Nothing is held."""
