"""Sign-ins that went well before, answered in one pass: the same verdict as in full, sooner.

A CPE that dialled yesterday dials today. Of a sign-in that was accepted in full, with nothing about it that
could be otherwise the next time (no condition on CPE, port or line, no hash to check, no pool of ours), the
octets of its Accept are kept by the login, an object that the directory replaces with any change to the
service. The next request of that login has to be signed and to prove the password; whatever else is unusual
about it, and every wrong password, is looked at in full by the pipeline.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from aaa.directory import Login
from aaa.domain.mschap import authenticator_response, challenge_hash, challenge_response
from radius.nas.table import NasState
from radius.packet.codec import ACCESS_ACCEPT
from radius.packet.shared_secret import md5
from radius.serving.counters import Counters
from radius.sign_in.ms_chap import keys_and_success

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from radius.sign_in.class_tokens import ClassTokens

_OTHER, _LOOK_IN_FULL, _USER, _PASSWORD, _CHAP, _CHALLENGE, _VENDOR, _SIGNATURE, _SERVICE_TYPE = range(9)
_ROLES: Final = {
    1: _USER, 2: _PASSWORD, 3: _CHAP, 6: _SERVICE_TYPE, 26: _VENDOR, 60: _CHALLENGE, 80: _SIGNATURE,
    33: _LOOK_IN_FULL,  # Proxy-State is to be repeated
    79: _LOOK_IN_FULL,  # EAP
    89: _LOOK_IN_FULL,  # a chargeable identity is asked for
}  # fmt: skip
_ROLE: Final = bytes(_ROLES.get(kind, _OTHER) for kind in range(256))
_FRAMED: Final = (2).to_bytes(4, "big")  # Service-Type, RFC 2865 section 5.6
_MICROSOFT: Final = (311).to_bytes(4, "big")
_MS_CHALLENGE, _MS_RESPONSE = b"\x0b\x12", b"\x19\x34"
"""Type and length of MS-CHAP-Challenge with 16 octets and MS-CHAP2-Response (RFC 2548 section 2)."""


class QuickLogin:
    """What is kept of a login: how it proves itself and what its Accept carries."""

    __slots__ = ("attributes", "class_prefix", "login", "password", "walled")

    def __init__(self, login: Login, attributes: bytes, class_prefix: bytes) -> None:
        self.login = login
        self.password = login.credential.password
        self.attributes = attributes
        self.class_prefix = class_prefix
        self.walled = login.service.terms.walled


class QuickSignIns:
    """Answers what can be answered at once."""

    def __init__(self, sign_ins: ClassTokens, counters: Counters) -> None:
        self._sign_ins = sign_ins
        self._counters = counters

    def remember(self, nas: NasState, login: Login, attributes: bytes, class_prefix: bytes) -> None:
        """Keep what a sign-in was accepted with, if nothing about it can be otherwise the next time."""
        credential = login.credential
        if credential.kind == "pppoe" and credential.password and login.conditions is None:
            nas.rendering.keep_quick(login, QuickLogin(login, attributes, class_prefix))

    def accept(  # noqa: PLR0911, PLR0912 - one pass over the octets, every way out the same
        self,
        nas: NasState,
        packet: bytes,
        logins: Mapping[bytes, Login],
        watched: Container[bytes],
        has_realms: bool,
    ) -> bytes | None:
        """The Access-Accept; None: look at the request in full. The caller has trimmed it.

        ``watched``: the names somebody guesses at. ``has_realms``: some names may be another server's.
        """
        user = password = chap = challenge = signature = ms_challenge = ms_response = 0
        at, end = 20, len(packet)
        while at + 1 < end:
            size = packet[at + 1]
            if size < 2:
                return None
            role = _ROLE[packet[at]]
            if role:
                if role == _USER:
                    if user:
                        return None
                    user = at
                elif role == _SIGNATURE:
                    if signature or size != 18:
                        return None
                    signature = at
                elif role == _PASSWORD:
                    if password or size != 18:  # a longer password is rare
                        return None
                    password = at
                elif role == _VENDOR:
                    if packet[at + 2 : at + 6] == _MICROSOFT:
                        inner = packet[at + 6 : at + 8]
                        if inner == _MS_CHALLENGE and size == 24 and not ms_challenge:
                            ms_challenge = at + 8
                        elif inner == _MS_RESPONSE and size == 58 and not ms_response:
                            ms_response = at + 8
                        else:
                            return None
                elif role == _SERVICE_TYPE:
                    if packet[at + 2 : at + size] != _FRAMED:  # it may be for a prompt, which is not a line
                        return None
                elif role == _CHAP:
                    if chap or size != 19:
                        return None
                    chap = at
                elif role == _CHALLENGE:
                    if challenge:
                        return None
                    challenge = at
                else:
                    return None
            at += size
        if at != end or not user or not signature or not nas.secret.access_is_signed(packet, signature):
            return None
        name = packet[user + 2 : user + packet[user + 1]]
        if name in watched or (has_realms and (b"@" in name or b"\\" in name)):
            return None
        login = logins.get(name)
        if login is None:
            return None
        quick = nas.quick.get(login)
        if quick is None:
            return None
        extra: bytes | None
        if password:
            extra = _by_password(nas, packet, quick, password)
        elif chap:
            extra = _by_chap(packet, quick, chap, challenge)
        elif ms_challenge and ms_response:
            extra = _by_ms_chap(nas, packet, quick, (user, ms_challenge, ms_response))
        else:
            return None
        return None if extra is None else self._accept(nas, packet, quick, extra)

    def _accept(self, nas: NasState, packet: bytes, quick: QuickLogin, extra: bytes) -> bytes:
        nas.right += 1
        nas.signs = True
        self._counters.accepts += 1
        if quick.walled:
            self._counters.walled += 1
        value = self._sign_ins.class_value(quick.class_prefix)
        attributes = quick.attributes + bytes((25, len(value) + 2)) + value + extra
        return nas.secret.reply(ACCESS_ACCEPT, packet, attributes)


def _by_password(nas: NasState, packet: bytes, quick: QuickLogin, at: int) -> bytes | None:
    """Nothing to add to the Accept; None: a wrong password."""
    shown = nas.secret.show_password(packet[at + 2 : at + 18], packet[4:20])
    return b"" if compare_digest(shown, quick.password) else None


def _by_chap(packet: bytes, quick: QuickLogin, at: int, challenge: int) -> bytes | None:
    """RFC 2865 section 5.3: the challenge is in CHAP-Challenge, else it is the Request Authenticator."""
    asked = packet[challenge + 2 : challenge + packet[challenge + 1]] if challenge else packet[4:20]
    made = md5(packet[at + 2 : at + 3] + quick.password + asked).digest()
    return b"" if compare_digest(made, packet[at + 3 : at + 19]) else None


def _by_ms_chap(
    nas: NasState, packet: bytes, quick: QuickLogin, places: tuple[int, int, int]
) -> bytes | None:
    """The keys and the server's own proof (RFC 2759, RFC 2548); ``places``: name, challenge, response."""
    user, challenge, response = places
    credential = quick.login.credential
    name = packet[user + 2 : user + packet[user + 1]]
    hashed = challenge_hash(packet[response + 2 : response + 18], packet[challenge : challenge + 16], name)
    shown = packet[response + 26 : response + 50]
    if not compare_digest(challenge_response(hashed, credential.nt_hash), shown):
        return None
    success = authenticator_response(credential.nt_hash_hash, shown, hashed)
    told = packet[response : response + 1] + success
    return keys_and_success(nas.secret, packet, credential.nt_hash_hash, shown, told)
