"""EAP-TTLSv0 (RFC 5281): a password by PAP, CHAP, MS-CHAP, MS-CHAPv2 or an inner EAP, inside of TLS."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from aaa.authorize import Accept, Unproven, settle
from aaa.domain.authentication import Chap, MsChap, MsChapV2, Pap, Proof
from aaa.domain.mschap import challenge_hash
from radius.eap import avp, packet
from radius.eap.dialogue import Dialogue, Make
from radius.eap.packet import EapType, MalformedEap
from radius.eap.resumption import Resumptions
from radius.eap.steps import Ask, Circle, Fail, Pass, Step, Wait, declined
from radius.eap.tls_session import TlsServer
from radius.eap.tunnel_method import TunnelMethod, out_of_turn
from radius.packet.codec import MICROSOFT, Attr

INNER_METHODS: Final = (int(EapType.MSCHAPV2), int(EapType.MD5_CHALLENGE))
_MS_CHAP_RESPONSE: Final = (MICROSOFT, 1)
_MS_CHAP_CHALLENGE: Final = (MICROSOFT, 11)
_MS_CHAP2_RESPONSE: Final = (MICROSOFT, 25)
_MS_CHAP2_SUCCESS: Final = 26
_USER_NAME: Final = (0, int(Attr.USER_NAME))
_USER_PASSWORD: Final = (0, int(Attr.USER_PASSWORD))
_CHAP_PASSWORD: Final = (0, int(Attr.CHAP_PASSWORD))
_CHAP_CHALLENGE: Final = (0, int(Attr.CHAP_CHALLENGE))
_EAP_MESSAGE: Final = (0, int(Attr.EAP_MESSAGE))
_KNOWN_VENDORS: Final = (0, MICROSOFT)
_CHALLENGE_LABEL: Final = b"ttls challenge"

Said = Mapping[tuple[int, int], bytes]
"""What the peer said, by vendor and code; several EAP-Messages are joined."""


class Ttls(TunnelMethod):
    """The tunnel, then one message of the peer (with MS-CHAPv2 one of ours and its acknowledgement)."""

    kind = int(EapType.TTLS)
    key_label = b"ttls keying material"

    def __init__(self, identity: bytes, server: TlsServer, resumptions: Resumptions, make: Make) -> None:
        super().__init__(identity, server, resumptions)
        self._inner = Dialogue(INNER_METHODS, make)
        self._speaks_eap = False
        self._next_inner = 1

    def opened(self, circle: Circle) -> Step:
        clear = self.tunnel.read()
        if clear:  # it spoke in the same breath as its Finished
            return self.heard(clear, circle)
        return self.send(self.tunnel.outgoing(), circle)

    def resumed(self, passed: Pass, circle: Circle) -> Step:
        """RFC 9427 section 4: the second phase is left out."""
        return self.indicate_success(passed, circle)

    def heard(self, clear: bytes, circle: Circle) -> Step:
        if not clear:
            raise MalformedEap("an acknowledgement where the second phase is due")
        said = _read(clear)
        if _EAP_MESSAGE in said:
            return self._hear_eap(said[_EAP_MESSAGE], circle)
        username = said.get(_USER_NAME, b"")
        proof, how = self._proof(said, username)
        if proof is None:
            return out_of_turn(username or self.identity, how)
        verdict = circle.judge(username, proof)
        if isinstance(verdict, Unproven):
            return Wait(verdict, partial(self._proved, verdict, circle))
        if isinstance(verdict, Accept):
            passed = self.passed(verdict.login, f"EAP-TTLS/{how}", circle)
            return self._greet(proof, passed, circle) if isinstance(proof, MsChapV2) else passed
        return declined(verdict, username)

    def _proved(self, verdict: Unproven, circle: Circle, right: bool) -> Pass | Fail:
        """Only a hash of the password is kept, and a thread has tried it: PAP alone comes this way."""
        settled = settle(verdict.login, right=right)
        if isinstance(settled, Accept):
            return self.passed(settled.login, "EAP-TTLS/PAP", circle)
        return Fail(settled)

    def _greet(self, proof: MsChapV2, passed: Pass, circle: Circle) -> Step:
        """We prove ourselves too (section 11.2.4); its empty answer says that it believes us."""
        success = bytes((proof.identifier,)) + proof.success(passed.login.credential)
        message = avp.encode(MICROSOFT, _MS_CHAP2_SUCCESS, success)
        return self.send(self.tunnel.seal(message), circle, passed)

    def _proof(self, said: Said, username: bytes) -> tuple[Proof | None, str]:
        if _USER_PASSWORD in said:
            return Pap(said[_USER_PASSWORD].rstrip(b"\0")), "PAP"
        if _CHAP_PASSWORD in said:
            return self._chap(said)
        if _MS_CHAP2_RESPONSE in said:
            return self._ms_chap2(said, username)
        if _MS_CHAP_RESPONSE in said:
            return self._ms_chap(said)
        return None, "the CPE says nothing inside of TLS that proves a password"

    def _challenge(self, size: int) -> bytes:
        """The challenge both sides know without sending it (section 11.1), and an identifier behind it."""
        return self.tunnel.export(_CHALLENGE_LABEL, size + 1)

    def _chap(self, said: Said) -> tuple[Proof | None, str]:
        expected, response = self._challenge(16), said[_CHAP_PASSWORD]
        if len(response) != 17:
            raise MalformedEap("a CHAP response of the wrong length")
        if said.get(_CHAP_CHALLENGE) != expected[:16] or response[0] != expected[16]:
            return None, "the CHAP challenge is not the one of this tunnel"
        return Chap(response[0], expected[:16], response[1:]), "CHAP"

    def _ms_chap(self, said: Said) -> tuple[Proof | None, str]:
        expected, response = self._challenge(8), said[_MS_CHAP_RESPONSE]
        if len(response) != 50:
            raise MalformedEap("an MS-CHAP response of the wrong length")
        if said.get(_MS_CHAP_CHALLENGE) != expected[:8] or response[0] != expected[8]:
            return None, "the MS-CHAP challenge is not the one of this tunnel"
        return MsChap(expected[:8], response[26:50]), "MS-CHAP"

    def _ms_chap2(self, said: Said, username: bytes) -> tuple[Proof | None, str]:
        expected, response = self._challenge(16), said[_MS_CHAP2_RESPONSE]
        if len(response) != 50:
            raise MalformedEap("an MS-CHAPv2 response of the wrong length")
        if said.get(_MS_CHAP_CHALLENGE) != expected[:16] or response[0] != expected[16]:
            return None, "the MS-CHAPv2 challenge is not the one of this tunnel"
        challenge = challenge_hash(response[2:18], expected[:16], username)
        return MsChapV2(response[0], challenge, response[26:50]), "MS-CHAPv2"

    def _hear_eap(self, octets: bytes, circle: Circle) -> Step:
        """An inner EAP conversation, which the peer begins with its identity (section 11.2.1)."""
        inner = packet.parse(octets)
        if inner.code != packet.RESPONSE:
            raise MalformedEap("an inner packet that is no response")
        if self._speaks_eap and inner.identifier != self._next_inner:
            raise MalformedEap("an inner response under another identifier than its request")
        self._next_inner = inner.identifier + 1 & 255
        self._speaks_eap = True
        step = self._inner.take(inner.kind, inner.identifier, inner.data, circle.under(self._next_inner))
        match step:
            case Ask(data, refused):
                length = packet.HEADER_OCTETS + len(data)
                request = bytes((packet.REQUEST, self._next_inner, length >> 8, length & 255)) + data
                sealed = self.tunnel.seal(avp.encode(0, Attr.EAP_MESSAGE, request))
                sent = self.send(sealed, circle)
                return sent._replace(refused=refused) if isinstance(sent, Ask) else sent
            case Pass(login, _, _, how):
                return self.passed(login, f"EAP-TTLS/{how}", circle)
            case Fail() | Wait():
                return step

    def close(self) -> None:
        self._inner.close()
        super().close()


def _read(clear: bytes) -> Said:
    """RFC 5281 section 10.1: what must be understood and is not ends the conversation."""
    said: dict[tuple[int, int], bytes] = {}
    for one in avp.parse(clear):
        if one.mandatory and (one.vendor not in _KNOWN_VENDORS or one.code > 255):
            raise MalformedEap(f"a mandatory attribute {one.vendor}/{one.code} that is not known here")
        key = one.vendor, one.code
        said[key] = said.get(key, b"") + one.value if key == _EAP_MESSAGE else one.value
    return said
