"""The authentication pipeline: a datagram in, a reply or nothing out. No socket, no database, no waiting.

Known NAS → retransmit → well formed → signed as that NAS must → authorized → encoded in its dialect →
remembered. Every way out without a reply has its counter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from aaa.authorize import Accept, Unproven, Verdict, authorize
from aaa.directory import Directory, Login
from aaa.directory_realms import Realms
from aaa.domain.authentication import Pap
from radius.eap.server import EapServer
from radius.gear.door import GearDoor
from radius.gear.login import ASKS_FOR_PROMPT, is_for_a_prompt
from radius.guard.lockout import Lockout, LockoutLimits
from radius.guard.pipeline_limits import PipelineLimits
from radius.leases.leasing import Leasing
from radius.nas.line_identity import AskedByLine, authorize_line
from radius.nas.secret_rotation import fits_better, other_proof
from radius.nas.table import NasState, NasTable
from radius.packet.codec import (
    ACCESS_ACCEPT,
    ACCESS_REQUEST,
    STATUS_SERVER,
    MalformedPacket,
    locate,
    proxy_states,
    trim,
)
from radius.packet.requests import read_proof
from radius.proxying.proxy import Proxy
from radius.reply.cache import Key, Source
from radius.serving.counters import Counters
from radius.sign_in.admission import Admission
from radius.sign_in.answers import Answers, Asked, LateAnswers
from radius.sign_in.at_prompt import PromptSignIns
from radius.sign_in.by_eap import EapSignIns, Elsewhere
from radius.sign_in.by_realm import ForeignSignIns
from radius.sign_in.class_tokens import ClassTokens
from radius.sign_in.reject_log import Rejection
from radius.sign_in.slow_proof import SlowProofs


class AuthenticationPipeline:
    """Answers what comes to one authentication socket."""

    def __init__(
        self,
        nases: NasTable,
        tokens: ClassTokens,
        counters: Counters,
        on_reject: Callable[[Rejection], None],
        limits: PipelineLimits | None = None,
        *,
        late: LateAnswers | None = None,
        lockout: Lockout | None = None,
        gear: GearDoor | None = None,
        eap: EapServer | None = None,
        admission: Admission | None = None,
        elsewhere: Elsewhere | None = None,
        proxy: Proxy | None = None,
        leasing: Leasing | None = None,
    ) -> None:
        self.counters = counters
        self.answers = Answers(
            tokens, counters, on_reject, limits or PipelineLimits(),
            late=late or LateAnswers(SlowProofs(), lambda _reply, _source: None),
            lockout=lockout or Lockout(LockoutLimits(), counters),
            admission=admission or Admission.alone(), leasing=leasing,
        )  # fmt: skip
        self.eap = EapSignIns(self.answers, counters, eap, elsewhere)
        self._foreign = ForeignSignIns(self.answers, proxy)
        self._prompts = PromptSignIns(self.answers, counters, gear)
        self._nases = nases
        self._replies = self.answers.replies
        self._quick = self.answers.quick
        self._lockout = self.answers.lockout
        self._directory: Directory | None = None
        self._logins: Mapping[bytes, Login] = {}
        self._own_realms: Realms | None = None

    def use(self, directory: Directory) -> None:
        """Answer from this snapshot from now on."""
        self._directory = directory
        self._logins = directory.logins
        realms = directory.realms
        self._own_realms = realms if realms is not None and realms.own else None
        self.answers.use(directory)
        self.eap.use(directory)
        self._foreign.use(directory)
        self._prompts.use(directory)

    def receive(  # noqa: PLR0911 - the ways out without a reply
        self, datagram: bytes, source: Source, now_s: float
    ) -> bytes | None:
        """The reply to send back to ``source`` now, if any; ``now_s`` is monotonic."""
        nas = self._nases.at(source[0])
        if nas is None:
            self.counters.unknown_source += 1
            self._nases.note_stranger(source[0])
            return None
        nas.left -= 1.0
        if nas.left < 0.0 and not nas.refill(now_s):
            self.counters.over_limit += 1
            return None
        try:
            packet = trim(datagram)
            key = (source, packet[1])
            known = self._replies.find(key, hash(packet))
            if known is not None:
                return self.counters.again(known[1])
            if packet[0] == ACCESS_REQUEST:
                if nas.is_plain:
                    reply = self._quick.accept(
                        nas, packet, self._logins, self._lockout.watched, self._foreign.realms is not None
                    )
                    if reply is not None:
                        self._replies.put(key, hash(packet), reply)
                        return reply
                return self._access(nas, packet, key, now_s)
            if packet[0] == STATUS_SERVER:
                return self._status(nas, packet)
        except MalformedPacket:
            self.counters.malformed += 1
            return None
        self.counters.unexpected_code += 1
        return None

    def _status(self, nas: NasState, packet: bytes) -> bytes | None:
        reply = nas.status_reply(ACCESS_ACCEPT, packet)
        if reply is None:
            self.counters.wrong_signature += 1
            nas.wrong += 1
        else:
            self.counters.status += 1
        return reply

    def _access(  # noqa: PLR0911 - the ways out, the shortest first
        self, nas: NasState, packet: bytes, key: Key, now_s: float
    ) -> bytes | None:
        located = locate(packet)
        first, repeats = located
        signed = self._check_signature(nas, packet, first)
        if signed is None or self._directory is None:
            return None
        at = first.get(6)
        # first of all: neither another server's word nor a subscriber's EAP opens a device
        to_prompt = (
            at is not None
            and packet[at + 1] == 6
            and packet[at + 5] in ASKS_FOR_PROMPT
            and is_for_a_prompt(nas, packet, first, packet[at + 5])
        )
        if not to_prompt:
            if self._foreign.realms is not None and self._foreign.forward(nas, packet, key, located):
                return None
            if 79 in first:
                return self.eap.answer(nas, packet, key, located, now_s)
        at = first.get(1)
        username = b"" if at is None else packet[at + 2 : at + packet[at + 1]]
        proof = read_proof(packet, first, repeats, username, nas.secret)  # MS-CHAP hashes the name as sent
        if self._own_realms is not None:
            username = self._own_realms.own_name(username, self._logins)
        at = first.get(31)
        station = None if at is None else packet[at + 2 : at + packet[at + 1]]
        proxied = b"" if 33 not in first else proxy_states(packet, first, repeats)
        asked = Asked(nas, packet, key, proof, station, proxied, None, signed)
        if to_prompt:
            self._prompts.answer(asked, packet[first[6] + 5], username, signed=signed, now_s=now_s)
            return None
        # one look-up, and only while somebody guesses; EAP's own names are looked up where they are read
        if self._lockout.watched and username in self._lockout.watched:
            refused = self._lockout.refusal(self._logins, nas.nas.id, username, station, now_s)
            if refused is not None:
                return self.answers.decline(asked, refused, now_s)
        verdict = (
            authorize(self._directory, username, proof, station, nas.nas.macs, signed=signed)
            if not nas.by_line
            else authorize_line(
                self._directory,
                AskedByLine(nas, packet, first, repeats, username, proof, station),
                signed=signed,
            )
        )
        if nas.other is not None and not signed and isinstance(proof, Pap):
            verdict = self._by_other_secret(asked, proof, verdict, username, first[2])
        if isinstance(verdict, Accept):
            return self._grant(asked, first, username, verdict.login, now_s)
        if isinstance(verdict, Unproven):
            settled = partial(self.answers.settle, asked, verdict.login)
            return self.answers.prove(asked, verdict, settled, now_s)
        return self.answers.decline(asked, verdict, now_s)

    def _by_other_secret(
        self, asked: Asked, proof: Pap, verdict: Verdict, username: bytes, at: int
    ) -> Verdict:
        """A secret is being rotated, and only the password can tell which of the two was used."""
        nas = asked.nas
        assert self._directory is not None  # noqa: S101 - the caller has looked
        other = other_proof(nas, asked.packet, at)
        tried = authorize(self._directory, username, other, asked.station, nas.nas.macs, signed=False)
        if fits_better(proof, verdict, other, tried):
            proof, verdict = other, tried
            nas.swap()
        nas.proved |= isinstance(verdict, Accept) and proof.password != b""
        return verdict

    def _grant(
        self, asked: Asked, first: Mapping[int, int], username: bytes, login: Login, now_s: float
    ) -> bytes | None:
        nas, packet = asked.nas, asked.packet
        if login.conditions is not None:
            refusal = self.answers.admission.refusal(login, packet, first, nas.nas.id, asked.station)
            if refusal is not None:
                return self.answers.decline(asked, refusal, now_s)
        if 89 in first:
            asked.proxied = self.answers.identity_asked(packet, login) + asked.proxied
        if self._lockout.watched:
            self._lockout.right_password(nas.nas.id, username, asked.station)
        return self.answers.accept(asked, login, now_s)

    def _check_signature(self, nas: NasState, packet: bytes, first: Mapping[int, int]) -> bool | None:
        """True: signed. False: unsigned and let through. None: refused, and counted (CVE-2024-3596)."""
        at = first.get(80)
        if at is not None:
            if not nas.secret.access_is_signed(packet, at) and not nas.other_signed(packet, at):
                self.counters.wrong_signature += 1
                nas.wrong += 1
                return None
            nas.right += 1
            if 79 not in first:  # a NAS that signs EAP, as it must, may not sign the rest
                nas.signs = True
            return True
        if nas.refuses_unsigned(has_proxy_state=33 in first) or 79 in first:
            self.counters.unsigned_refused += 1
            nas.unsigned += 1
            return None
        self.counters.unsigned_accepted += 1
        return False

    def due(self, now_s: float) -> Iterator[tuple[bytes, Source]]:
        """The delayed rejects whose time has come, with where they go. Call it a few times a second."""
        self.eap.expire(now_s)
        return self.answers.due(now_s)

    @property
    def delayed(self) -> int:
        """How many rejects wait for their time."""
        return self.answers.delayed
