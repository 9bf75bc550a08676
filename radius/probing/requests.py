"""What ``hilltop radius test`` sends: the packet of each method as a NAS would make it, in pyrad's packets.

Attributes of the command line replace ours of the same name.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import md5
from typing import Final, TypeAlias

from pyrad.packet import AccountingRequest, AcctPacket, AuthPacket, CoAPacket

from aaa.domain.authentication import Chap
from aaa.domain.mschap import authenticator_response, challenge_hash, challenge_response
from aaa.domain.nt_hash import md4, nt_hash
from core.secrets import Secret
from radius.dictionary.attributes import AttributeDictionary, Hiding
from radius.dictionary.wire import split
from radius.packet.codec import (
    ACCESS_REQUEST,
    COA_REQUEST,
    DISCONNECT_REQUEST,
    MICROSOFT,
    STATUS_SERVER,
    Attr,
    Packet,
    attribute,
    vendor_attribute,
    vendor_values,
)
from radius.packet.shared_secret import SharedSecret

ACCESS_METHODS: Final = ("pap", "chap", "mschap", "mschapv2", "mac", "eap-md5")
ACCOUNTING_METHODS: Final = {
    "start": "Start", "interim": "Interim-Update", "stop": "Stop",
    "accounting-on": "Accounting-On", "accounting-off": "Accounting-Off",
}  # fmt: skip
DYNAUTH_METHODS: Final = {"coa": COA_REQUEST, "disconnect": DISCONNECT_REQUEST}
METHODS: Final = (*ACCESS_METHODS, *ACCOUNTING_METHODS, *DYNAUTH_METHODS, "status")
PASSWORDLESS: Final = frozenset((*ACCOUNTING_METHODS, *DYNAUTH_METHODS, "status", "mac"))
"""Methods that do without a password; ``mac`` takes one when the NAS sends one."""
NAMELESS: Final = frozenset(("status", "accounting-on", "accounting-off", *DYNAUTH_METHODS))
"""Methods that do without a user's name."""

_NAS_NAMES: Final = {"nas-identifier", "nas-ip-address", "nas-ipv6-address"}
_OUR_NAME: Final = "hilltop-test"
_MS_CHAP_RESPONSE, _MS_CHAP_CHALLENGE, _MS_CHAP2_RESPONSE, _MS_CHAP2_SUCCESS = 1, 11, 25, 26
_IDENTIFIER = 1
_EAP_RESPONSE, _EAP_IDENTITY, _EAP_NAK, _EAP_MD5 = 2, 1, 3, 4

AnyPacket: TypeAlias = AuthPacket | AcctPacket | CoAPacket


@dataclass(frozen=True, slots=True)
class ProbeOrder:
    """What to ask. ``attributes``: (name, value) by name; ``signed``: with Message-Authenticator."""

    method: str = "pap"
    username: str = ""
    password: Secret | None = None
    attributes: Sequence[tuple[str, str]] = ()
    signed: bool = True

    @property
    def clear(self) -> str:
        """The password."""
        return self.password.reveal() if self.password is not None else ""


@dataclass(slots=True)
class Conversation:
    """One order being carried out: the request at hand, and what the answer must prove."""

    order: ProbeOrder
    secret: bytes = field(repr=False)
    book: AttributeDictionary
    server_proof: bytes = field(default=b"", repr=False)
    """What MS-CHAP2-Success has to say (RFC 2759 section 8.7)."""

    def first_request(self) -> AnyPacket:
        """The request that begins it. Raises ``AttributeFault`` for an attribute that cannot be sent."""
        method = self.order.method
        if method in ACCOUNTING_METHODS:
            return self._accounting(ACCOUNTING_METHODS[method])
        if method in DYNAUTH_METHODS:
            return self._dynauth(DYNAUTH_METHODS[method])
        packet = self._access(STATUS_SERVER if method == "status" else ACCESS_REQUEST)
        if method == "eap-md5":
            _put(packet, self._eap_identity())
        elif method != "status":
            _put(packet, attribute(Attr.USER_NAME, self.order.username.encode()) + self._proof(packet))
        self._finish(packet, packet.authenticator)
        return packet

    def next_request(self, challenge: Packet) -> AnyPacket | None:
        """The answer to an Access-Challenge of EAP; None when there is none."""
        eap = b"".join(challenge.all(Attr.EAP_MESSAGE))
        if self.order.method != "eap-md5" or len(eap) < 5 or eap[0] != 1:
            return None
        packet = self._access(ACCESS_REQUEST)
        state = challenge.first(Attr.STATE)
        if state is not None:
            packet[int(Attr.STATE)] = [state]
        name = attribute(Attr.USER_NAME, self.order.username.encode())
        _put(packet, name + _eap(eap[1], self._eap_answer(eap)))
        self._finish(packet, packet.authenticator)
        return packet

    def _eap_identity(self) -> bytes:
        name = self.order.username.encode()
        return attribute(Attr.USER_NAME, name) + _eap(_IDENTIFIER, bytes((_EAP_IDENTITY,)) + name)

    def _eap_answer(self, request: bytes) -> bytes:
        """RFC 3748 section 5.4; for any other method the wish to do MD5 instead (section 5.3.1)."""
        if request[4] != _EAP_MD5 or len(request) < 6:
            return bytes((_EAP_NAK, _EAP_MD5))
        challenge = request[6 : 6 + request[5]]
        digest = md5(request[1:2] + self.order.clear.encode() + challenge).digest()  # noqa: S324
        return bytes((_EAP_MD5, len(digest))) + digest

    def _access(self, code: int) -> AuthPacket:
        packet = AuthPacket(
            code=code, id=secrets.randbelow(256), secret=self.secret, authenticator=os.urandom(16)
        )
        if self.order.signed or code == STATUS_SERVER or self.order.method == "eap-md5":
            packet.message_authenticator = True  # first, before anything a forger could choose
        return packet

    def _proof(self, packet: AuthPacket) -> bytes:
        order, authenticator = self.order, packet.authenticator
        match order.method:
            case "chap":
                response = Chap(_IDENTIFIER, authenticator, b"").made_with(order.clear.encode())
                return attribute(Attr.CHAP_PASSWORD, bytes((_IDENTIFIER,)) + response)
            case "mschap":
                return self._ms_chap()
            case "mschapv2":
                return self._ms_chap_2()
            case _:
                hidden = SharedSecret(self.secret).hide_password(order.clear.encode(), authenticator)
                return attribute(Attr.USER_PASSWORD, hidden if order.clear or order.method == "pap" else b"")

    def _ms_chap(self) -> bytes:
        """RFC 2548 section 2.1.3: Ident, Flags (the NT response counts), LM response, NT response."""
        challenge = os.urandom(8)
        response = (
            bytes((_IDENTIFIER, 1)) + bytes(24) + challenge_response(challenge, nt_hash(self.order.clear))
        )
        return vendor_attribute(MICROSOFT, _MS_CHAP_CHALLENGE, challenge) + vendor_attribute(
            MICROSOFT, _MS_CHAP_RESPONSE, response
        )

    def _ms_chap_2(self) -> bytes:
        """RFC 2548 section 2.3.2: Ident, Flags, peer challenge, reserved, response."""
        challenge, peer = os.urandom(16), os.urandom(16)
        short = challenge_hash(peer, challenge, self.order.username.encode())
        once = nt_hash(self.order.clear)
        answer = challenge_response(short, once)
        self.server_proof = authenticator_response(md4([once])[0], answer, short)
        return vendor_attribute(MICROSOFT, _MS_CHAP_CHALLENGE, challenge) + vendor_attribute(
            MICROSOFT, _MS_CHAP2_RESPONSE, bytes((_IDENTIFIER, 0)) + peer + bytes(8) + answer
        )

    def proof_of_server(self, reply: Packet) -> bool | None:
        """Whether the server proved in MS-CHAP2-Success that it knows the password; None when it need not."""
        if not self.server_proof or reply.code != 2:
            return None
        said = vendor_values(reply.all(Attr.VENDOR_SPECIFIC), MICROSOFT).get(_MS_CHAP2_SUCCESS, b"")
        return said[1:] == self.server_proof

    def _accounting(self, status: str) -> AcctPacket:
        packet = AcctPacket(code=AccountingRequest, id=secrets.randbelow(256), secret=self.secret)
        defaults = [("Acct-Status-Type", status), ("Acct-Session-Id", f"test-{secrets.token_hex(4)}")]
        if self.order.username:
            defaults.append(("User-Name", self.order.username))
        if status in ("Interim-Update", "Stop"):
            counters = ("Acct-Session-Time", "Acct-Input-Octets", "Acct-Output-Octets")
            defaults += [(name, "0") for name in counters]
        if status == "Stop":
            defaults.append(("Acct-Terminate-Cause", "User-Request"))
        self._put_defaults(packet, defaults)
        self._finish(packet, bytes(16))
        return packet

    def _dynauth(self, code: int) -> CoAPacket:
        packet = CoAPacket(
            code=code, id=secrets.randbelow(256), secret=self.secret, message_authenticator=self.order.signed
        )
        if self.order.username:
            self._put_defaults(packet, [("User-Name", self.order.username)])
        _put(packet, self.book.encode_all(self.order.attributes, hiding=self._hiding(bytes(16))))
        return packet

    def _given(self) -> set[str]:
        return {name.partition(":")[0].lower() for name, _ in self.order.attributes}

    def _put_defaults(self, packet: AnyPacket, defaults: Sequence[tuple[str, str]]) -> None:
        given = self._given()
        _put(packet, self.book.encode_all([one for one in defaults if one[0].lower() not in given]))

    def _hiding(self, authenticator: bytes) -> Hiding:
        return Hiding(SharedSecret(self.secret), authenticator)

    def _finish(self, packet: AnyPacket, authenticator: bytes) -> None:
        """The name a NAS has to give (RFC 2865 section 5.32), and what the command line adds."""
        given = self._given()
        if self.order.method == "mac" and "calling-station-id" not in given:
            _put(packet, attribute(Attr.CALLING_STATION_ID, self.order.username.encode()))
        if not given & _NAS_NAMES:
            _put(packet, attribute(Attr.NAS_IDENTIFIER, _OUR_NAME.encode()))
        more = self.book.encode_all(self.order.attributes, hiding=self._hiding(authenticator))
        for kind in {one for one, _ in split(more)[0]} & set(packet) - {int(Attr.VENDOR_SPECIFIC)}:
            del packet[kind]
        _put(packet, more)


def _eap(identifier: int, content: bytes) -> bytes:
    octets = bytes((_EAP_RESPONSE, identifier)) + (4 + len(content)).to_bytes(2, "big") + content
    parts = [octets[at : at + 253] for at in range(0, len(octets), 253)]
    return b"".join(attribute(Attr.EAP_MESSAGE, part) for part in parts)


def _put(packet: AnyPacket, octets: bytes) -> None:
    """Attribute octets as pyrad keeps them: values by type, as they are."""
    for kind, value in split(octets)[0]:
        packet[kind] = [*packet.get(kind, []), value]
