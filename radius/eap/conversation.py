"""One peer's EAP conversation: requests numbered, responses matched, retransmits answered alike."""

from __future__ import annotations

from typing import Final, NamedTuple

from aaa.authorize import Reject
from radius.eap import packet
from radius.eap.dialogue import Dialogue
from radius.eap.packet import EapPacket, EapType, MalformedEap
from radius.eap.steps import Ask, Circle, Fail, Pass, Step, Wait, refusal

_MOST_ROUNDS: Final = 200
"""A chain of 64 kB in pieces of 400 octets needs 170; who needs more will not come to an end."""


class Stale(NamedTuple):
    """A response to another request than the last: it is let go without an answer."""


class Spoken(NamedTuple):
    """A request to send, and what the method may have decided already."""

    request: bytes
    refused: Reject | None


Turn = Spoken | Pass | Fail | Wait | Stale


class Conversation:
    """From the identity to the verdict. ``owner`` is the NAS and source address it belongs to."""

    __slots__ = (
        "_identifier", "_last", "_rounds", "_spoken", "_waits",
        "dialogue", "ends_s", "owner", "state", "station",
    )  # fmt: skip

    def __init__(
        self, state: bytes, owner: tuple[str, str], station: bytes | None, dialogue: Dialogue, ends_s: float
    ) -> None:
        self.state = state
        self.owner = owner
        self.station = station
        self.dialogue = dialogue
        self.ends_s = ends_s
        self._identifier = 0
        self._rounds = 0
        self._last: EapPacket | None = None
        self._spoken: Spoken | None = None
        self._waits = False

    @property
    def next_identifier(self) -> int:
        """The identifier of the request that comes next."""
        return self._identifier + 1 & 255

    def ask_identity(self, identifier: int) -> Spoken:
        """The request for an identity, when the NAS leaves it to us (RFC 3579 section 2.1)."""
        self._identifier = identifier
        return self._speak(Ask(bytes((EapType.IDENTITY,))))

    def take(self, response: EapPacket, circle: Circle) -> Turn:
        """One response of the peer. The first one sets the number that the requests go on from."""
        if self._waits:
            return Stale()
        if response == self._last and self._spoken is not None:
            return self._spoken  # the NAS lost our request and asks again in a packet of its own
        if self._last is None and self._spoken is None:
            self._identifier = response.identifier
        elif response.identifier != self._identifier:
            return Stale()
        self._rounds += 1
        step = self._step(response, circle)
        self._last = response
        self._waits = isinstance(step, Wait)
        return self._speak(step) if isinstance(step, Ask) else step

    def resume(self, step: Ask | Pass | Fail) -> Turn:
        """What was waited for is known."""
        self._waits = False
        return self._speak(step) if isinstance(step, Ask) else step

    def _step(self, response: EapPacket, circle: Circle) -> Step:
        if self._rounds > _MOST_ROUNDS:
            return self._fail("eap_too_long", "the conversation does not come to an end", "restart the CPE")
        try:
            return self.dialogue.take(response.kind, response.identifier, response.data, circle)
        except MalformedEap as trouble:
            return self._fail(
                "eap_malformed", f"what the CPE sent cannot be understood: {trouble}",
                "update the CPE; if it is current, look for something that changes packets on their way",
            )  # fmt: skip

    def _fail(self, rule: str, explanation: str, remedy: str) -> Fail:
        return Fail(refusal(rule, self.dialogue.identity, explanation, remedy))

    def _speak(self, step: Ask) -> Spoken:
        identifier = self._identifier = self._identifier + 1 & 255
        length = packet.HEADER_OCTETS + len(step.data)
        header = bytes((packet.REQUEST, identifier, length >> 8, length & 255))
        spoken = self._spoken = Spoken(header + step.data, step.refused)
        return spoken

    def close(self) -> None:
        """Let go of what the method holds."""
        self.dialogue.close()
