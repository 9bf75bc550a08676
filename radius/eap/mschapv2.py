"""EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2-02), bare or inside PEAP and TTLS.

The peer proves the password, we prove that we know it too, and the peer says that it believes us; only then
has it succeeded. Changing a password is not offered.
"""

from __future__ import annotations

import os
from typing import Final

from aaa.authorize import Accept, Reject
from aaa.directory import Login
from aaa.domain.authentication import MsChapV2
from aaa.domain.mschap import challenge_hash, mppe_keys
from radius.eap.packet import EapType, MalformedEap
from radius.eap.steps import Ask, Circle, Fail, Pass, Step, declined, refusal

_CHALLENGE: Final = 1
_RESPONSE: Final = 2
_SUCCESS: Final = 3
_FAILURE: Final = 4
_RESPONSE_VALUE: Final = 49
_NAME: Final = b"hilltop"


class MsChapV2Method:
    """Challenge, response, success (or failure), and the peer's word on it."""

    kind = int(EapType.MSCHAPV2)

    def __init__(self, identity: bytes, challenge: bytes | None = None) -> None:
        self._identity = identity
        self._challenge = challenge or os.urandom(16)
        self._message = 0
        self._passed: tuple[Login, bytes] | None = None
        self._refused: Reject | None = None

    def begin(self, circle: Circle) -> Step:
        self._message = circle.identifier
        return Ask(_packet(_CHALLENGE, self._message, b"\x10" + self._challenge + _NAME))

    def take(self, data: bytes, identifier: int, circle: Circle) -> Step:
        if not data:
            raise MalformedEap("no operation")
        operation = data[0]
        if self._refused is not None:  # whatever the peer says: it was refused
            return Fail(self._refused, told=True)
        if self._passed is not None:
            return self._believed(operation)
        if operation == _RESPONSE:
            return self._judge(data, circle)
        raise MalformedEap("an operation out of turn")

    def _believed(self, operation: int) -> Step:
        if self._passed is None or operation != _SUCCESS:
            return Fail(
                refusal(
                    "eap_peer_refuses_server", self._identity,
                    "the CPE does not accept our proof of the password",
                    "set the password again, on the CPE and here",
                )
            )  # fmt: skip
        login, keys = self._passed
        return Pass(login, keys, b"", "EAP-MSCHAPv2")

    def _judge(self, data: bytes, circle: Circle) -> Step:
        if len(data) < 5 + _RESPONSE_VALUE or data[4] != _RESPONSE_VALUE or data[1] != self._message:
            raise MalformedEap("an MS-CHAPv2 response of the wrong length or number")
        length = data[2] << 8 | data[3]
        if not 5 + _RESPONSE_VALUE <= length <= len(data):
            raise MalformedEap("an MS-CHAPv2 response that contradicts its length")
        peer_challenge, nt_response = data[5:21], data[29:53]
        name = data[5 + _RESPONSE_VALUE : length] or self._identity
        proof = MsChapV2(self._message, challenge_hash(peer_challenge, self._challenge, name), nt_response)
        verdict = circle.judge(name, proof)
        if isinstance(verdict, Accept):
            return self._prove(verdict.login, proof)
        failed = declined(verdict, name)
        if failed.is_silent:
            return failed
        self._refused = failed.reject
        text = b"E=691 R=0 C=" + os.urandom(16).hex().upper().encode() + b" V=3 M=Refused"
        return Ask(_packet(_FAILURE, self._message, text), failed.reject)

    def _prove(self, login: Login, proof: MsChapV2) -> Step:
        send, receive = mppe_keys(login.credential.nt_hash_hash, proof.nt_response)
        self._passed = login, receive + send
        return Ask(_packet(_SUCCESS, self._message, proof.success(login.credential) + b" M=Welcome"))

    def close(self) -> None:
        """Nothing is held."""


def _packet(operation: int, number: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return bytes((operation, number, length >> 8, length & 255)) + value
