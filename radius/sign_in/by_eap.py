"""Sign-ins in several rounds: what ``radius.eap`` finds becomes a reply (RFC 3579)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from aaa.authorize import Reject
from aaa.directory import Directory
from aaa.domain.authentication import Nothing
from radius.eap.access import challenge_attributes, named, read_question, session_of, success_attributes
from radius.eap.server import Challenge, EapAnswer, EapServer, Granted, Refused, Undecided
from radius.nas.table import NasState
from radius.packet.codec import ACCESS_CHALLENGE, proxy_states, value_at
from radius.reply.cache import Key, Source
from radius.serving.counters import Counters
from radius.sign_in.answers import Answers, Asked


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The processes beside this one: which it is of how many, and how a datagram comes to another."""

    worker: int
    count: int
    hand_over: Callable[[int, bytes, Source], bool]
    """False: nobody is there."""
    hand_back: Callable[[bytes, Source], bool]
    """To the process that was in this one's place before; False: it is gone."""

    def holder_of(self, state: bytes) -> int | None:
        """Who holds the EAP conversation that a State (RFC 2865 section 5.24) of ours names, if not we."""
        holder = state[0] if state else self.worker
        return holder if holder != self.worker else None


class EapSignIns:
    """The EAP part of one pipeline; without a server each is refused."""

    def __init__(
        self, answers: Answers, counters: Counters, server: EapServer | None, elsewhere: Elsewhere | None
    ) -> None:
        self.server = server
        self._answers = answers
        self._counters = counters
        self._elsewhere = elsewhere

    def use(self, directory: Directory) -> None:
        """Answer from this snapshot from now on."""
        if self.server is not None:
            self.server.use(directory)

    def expire(self, now_s: float) -> None:
        """Forget conversations that nobody goes on with."""
        if self.server is not None:
            self.server.expire(now_s)

    def answer(
        self, nas: NasState, packet: bytes, key: Key, located: tuple[dict[int, int], list[int]], now_s: float
    ) -> bytes | None:
        """The reply to a request with EAP in it; None: it comes from another process, or later, or never."""
        first, repeats = located
        if self._elsewhere is not None and 24 in first:
            holder = self._elsewhere.holder_of(value_at(packet, first[24]))
            if holder is not None and self._elsewhere.hand_over(holder, packet, key[0]):
                self._counters.handed_over += 1
                return None
            is_ours = self.server is None or self.server.holds(value_at(packet, first[24]))
            if not is_ours and self._elsewhere.hand_back(packet, key[0]):
                self._counters.handed_over += 1
                return None
        question = read_question(nas, packet, first, repeats, key[0][0])
        asked = Asked(nas, packet, key, Nothing(), question.station, proxy_states(packet, first, repeats))
        if self.server is None:
            return self._tell(asked, Refused(_no_eap(), told=False), now_s)
        return self._tell(asked, self.server.answer(question, now_s), now_s)

    def _tell(self, asked: Asked, answer: EapAnswer, now_s: float) -> bytes | None:
        """A challenge is remembered like every reply: a retransmit gets the same octets."""
        if isinstance(answer, Challenge):
            return self._challenge(asked, answer, now_s)
        if isinstance(answer, Granted):
            return self._grant(asked, answer, now_s)
        if isinstance(answer, Refused):
            reject = named(answer.reject, asked.packet)
            return self._answers.decline(asked, reject, now_s, told=answer.told)
        if isinstance(answer, Undecided):
            goes_on = answer.settle

            def settled(right: bool | None, then_s: float) -> bytes | None:
                found = goes_on(right)
                return None if right is None else self._tell(asked, found, then_s)

            return self._answers.prove(asked, answer.unproven, settled, now_s)
        self._counters.eap_ignored += 1
        return None

    def _challenge(self, asked: Asked, answer: Challenge, now_s: float) -> bytes:
        self._counters.challenges += 1
        if answer.refused is not None:
            self._answers.note(asked, answer.refused, now_s)
        attributes = challenge_attributes(answer.request, answer.state)
        reply = asked.nas.secret.reply(ACCESS_CHALLENGE, asked.packet, attributes + asked.proxied)
        self._answers.replies.put(asked.key, hash(asked.packet), reply)
        return reply

    def _grant(self, asked: Asked, answer: Granted, now_s: float) -> bytes | None:
        nas, packet, login = asked.nas, asked.packet, answer.passed.login
        refusal = self._answers.not_admitted(asked, login)
        if refusal is not None:
            return self._answers.decline(asked, refusal, now_s)
        attributes = success_attributes(answer, nas.secret, packet)
        attributes += self._answers.identity_asked(packet, login)
        self._answers.right_password(asked, login)
        granted = replace(asked, proxied=attributes + asked.proxied, session=session_of(nas.nas.id, packet))
        return self._answers.accept(granted, login, now_s)


def _no_eap() -> Reject:
    return Reject(
        "eap_not_supported", "",
        "the request carries EAP, which this process is not set up for",
        "let the NAS use PAP, CHAP, MS-CHAPv2 or MAC logins",
    )  # fmt: skip
