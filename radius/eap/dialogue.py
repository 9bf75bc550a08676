"""Identity, then one of the methods offered: the part of EAP that is the same outside and inside of TLS.

RFC 3748 sections 5.1 and 5.3. The steps that come out carry the type in front of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from aaa.authorize import Reject
from radius.eap.packet import EapType, MalformedEap, method_name
from radius.eap.steps import Ask, Circle, Fail, Method, Step, refusal

_LONGEST_IDENTITY: Final = 253
"""Octets: what a RADIUS User-Name holds."""

Make = Callable[[int, bytes], Method]
"""A method by its type, for a peer of that identity."""


class Dialogue:
    """One peer's way from its identity to a method's end."""

    __slots__ = ("_answered", "_make", "_method", "_offered", "_tried", "identity")

    def __init__(self, offered: Sequence[int], make: Make) -> None:
        self._offered = offered
        self._make = make
        self._method: Method | None = None
        self._answered = False
        self._tried: set[int] = set()
        self.identity = b""

    def take(self, kind: int, identifier: int, data: bytes, circle: Circle) -> Step:
        """One response. Raises ``MalformedEap``."""
        method = self._method
        if method is not None and kind == method.kind:  # nearly always
            self._answered = True
            return _typed(kind, method.take(data, identifier, circle))
        if kind == EapType.IDENTITY:
            return self._identified(data, circle)
        if method is None:
            raise MalformedEap("a response before the identity")
        if kind in (EapType.NAK, EapType.EXPANDED):
            return self._other_method(kind, data, circle)
        raise MalformedEap("a response of another type than the request")

    def _identified(self, data: bytes, circle: Circle) -> Step:
        """What stands behind a NUL is not the identity (section 5.1)."""
        if self._method is not None:
            raise MalformedEap("a second identity")
        identity = data.partition(b"\0")[0]
        if len(identity) > _LONGEST_IDENTITY:
            raise MalformedEap("an identity longer than a User-Name")
        self.identity = identity
        if not self._offered:
            return Fail(
                refusal(
                    "eap_no_method", identity, "no EAP method is offered to this NAS",
                    "look at radius.eap.methods; those with TLS need a server certificate (hilltop ca init)",
                )
            )  # fmt: skip
        return self._begin(self._offered[0], circle)

    def _begin(self, kind: int, circle: Circle) -> Step:
        self._tried.add(kind)
        self._method = self._make(kind, self.identity)
        return _typed(kind, self._method.begin(circle))

    def _other_method(self, kind: int, data: bytes, circle: Circle) -> Step:
        """The peer asks for another method than the one that was proposed."""
        if self._answered:
            raise MalformedEap("a Nak in the midst of a method")
        wanted = [one for one in data if one] if kind == EapType.NAK else []
        self.close()
        for offered in self._offered:
            if offered in wanted and offered not in self._tried:
                return self._begin(offered, circle)
        return Fail(self._nothing_in_common(wanted))

    def _nothing_in_common(self, wanted: Sequence[int]) -> Reject:
        offered = ", ".join(method_name(one) for one in self._offered) or "none"
        asked = ", ".join(method_name(one) for one in dict.fromkeys(wanted)) or "none that it names"
        return refusal(
            "eap_nak_no_common_method", self.identity,
            f"the CPE asks for {asked}; offered here: {offered}",
            "set the CPE to a method that is offered, or add its method to radius.eap.methods; TLS methods "
            "need a server certificate (hilltop ca init)",
        )  # fmt: skip

    @property
    def described(self) -> str:
        """How far it has come, for people."""
        return "EAP, before its identity" if self._method is None else method_name(self._method.kind)

    def close(self) -> None:
        """Let the method go."""
        if self._method is not None:
            self._method.close()


def _typed(kind: int, step: Step) -> Step:
    return Ask(bytes((kind,)) + step.data, step.refused) if isinstance(step, Ask) else step
