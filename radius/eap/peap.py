"""PEAPv0 (MS-PEAP, draft-kamath-pppext-peapv0): an EAP method inside of TLS, and a result both sides sign.

Inside, requests and responses go without their header, whose code, identifier and length are those of the
packet outside; only the extensions keep theirs. Some peers send it all the same, so both are understood.
"""

from __future__ import annotations

from typing import Final

from aaa.authorize import Reject
from radius.eap import packet
from radius.eap.dialogue import Dialogue, Make
from radius.eap.packet import EapType, MalformedEap
from radius.eap.resumption import Resumptions
from radius.eap.steps import Ask, Circle, Fail, Pass, Step, Wait, declined, refusal
from radius.eap.tls_session import TlsServer
from radius.eap.tunnel_method import TunnelMethod

INNER_METHODS: Final = (int(EapType.MSCHAPV2),)
_RESULT_SUCCESS: Final = bytes.fromhex("800300020001")
_RESULT_FAILURE: Final = bytes.fromhex("800300020002")
"""Result TLV (MS-PEAP section 2.2.8.1.2): mandatory, type 3, two octets."""


class Peap(TunnelMethod):
    """The tunnel, the inner conversation, and the result."""

    kind = int(EapType.PEAP)
    key_label = b"client EAP encryption"

    def __init__(self, identity: bytes, server: TlsServer, resumptions: Resumptions, make: Make) -> None:
        super().__init__(identity, server, resumptions)
        self._inner = Dialogue(INNER_METHODS, make)
        self._asked = False
        self._verdict: Pass | Fail | None = None

    def take(self, data: bytes, identifier: int, circle: Circle) -> Step:
        self._identifier = identifier
        return super().take(data, identifier, circle)

    def opened(self, circle: Circle) -> Step:
        if self.tunnel.is_tls13:  # its session tickets and the first inner request fit one message
            return self._ask_identity(circle)
        return self.send(self.tunnel.outgoing(), circle)

    def _ask_identity(self, circle: Circle) -> Step:
        self._asked = True
        return self.send(self.tunnel.seal(bytes((EapType.IDENTITY,))), circle)

    def resumed(self, passed: Pass, circle: Circle) -> Step:
        """MS-PEAP section 3.3.5.4, fast reconnect: the result at once."""
        return self._result(passed, circle)

    def heard(self, clear: bytes, circle: Circle) -> Step:
        if not self._asked and self._verdict is None:
            if clear:
                raise MalformedEap("an inner packet before it was asked for")
            return self._ask_identity(circle)
        kind, data = self._unpack(clear)
        if self._verdict is not None:
            return self._settled(self._verdict, kind, data)
        step = self._inner.take(kind, self._identifier, data, circle)
        match step:
            case Ask(inner, refused):
                sent = self.send(self.tunnel.seal(inner), circle)
                return sent._replace(refused=refused) if isinstance(sent, Ask) else sent
            case Pass(login, _, _, how):
                return self._result(self.passed(login, f"PEAP/{how}", circle), circle)
            case Fail():
                return step if step.is_silent else self._result(step, circle)
            case Wait():  # no inner method here sends a password itself
                return declined(step.unproven, self.identity)

    def _unpack(self, clear: bytes) -> tuple[int, bytes]:
        """Type and data, with the header or without."""
        if not clear:
            raise MalformedEap("an acknowledgement where the inner conversation is due")
        if len(clear) >= 5 and clear[0] == packet.RESPONSE and clear[2] << 8 | clear[3] == len(clear):
            return clear[4], clear[5:]
        return clear[0], clear[1:]

    def _result(self, verdict: Pass | Fail, circle: Circle) -> Step:
        """Tell the result inside of TLS, where nobody can forge it; the peer says the same."""
        self._verdict = verdict
        value = _RESULT_SUCCESS if isinstance(verdict, Pass) else _RESULT_FAILURE
        request = packet.encode(packet.REQUEST, circle.identifier, EapType.EXTENSIONS, value)
        sent = self.send(self.tunnel.seal(request), circle)
        if isinstance(sent, Ask) and isinstance(verdict, Fail) and not verdict.told:
            self._verdict = verdict._replace(told=True)
            return sent._replace(refused=verdict.reject)
        return sent

    def _settled(self, verdict: Pass | Fail, kind: int, data: bytes) -> Step:
        if isinstance(verdict, Fail):
            return verdict
        if kind == EapType.EXTENSIONS and _RESULT_SUCCESS in data:
            return verdict
        return Fail(self._peer_disagrees(verdict))

    def _peer_disagrees(self, verdict: Pass) -> Reject:
        return refusal(
            "eap_peer_refuses_result", verdict.login.credential.username.encode(),
            "the CPE answers the success inside of PEAP with a failure",
            "look at the CPE's log; switch off its demand for crypto-binding if it has one",
        )  # fmt: skip

    def close(self) -> None:
        self._inner.close()
        super().close()
