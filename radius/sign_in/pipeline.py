"""The authentication pipeline: a datagram in, a reply or nothing out. No socket, no database, no waiting.

Known NAS → retransmit → well formed → signed as that NAS must → authorized → encoded in its dialect →
remembered. Every way out without a reply has its counter.
"""

from __future__ import annotations

import hmac
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import count
from typing import Any

from aaa.authorize import STALE_SILENT, Accept, Reject, Silent, Unproven, authorize, settle
from aaa.directory import Directory, Login, ServiceAccess
from aaa.directory_realms import Realms
from aaa.domain.authentication import MsChap, MsChapV2, Nothing, Pap, Proof
from aaa.domain.class_token import PREFIX, sign_class
from aaa.domain.gear import GearLogin
from radius.eap.access import challenge_attributes, named, read_question, session_of, success_attributes
from radius.eap.server import Challenge, EapAnswer, EapServer, Granted, Refused, Settle, Undecided
from radius.gear.door import Asker, GearDoor
from radius.gear.login import ASKS_FOR_PROMPT, Prompt, is_for_a_prompt, prompt_attributes
from radius.guard.lockout import Lockout, LockoutLimits
from radius.leases.leasing import Leased, Leasing
from radius.nas.line_identity import AskedByLine, authorize_line
from radius.nas.secret_rotation import fits_better, other_proof
from radius.nas.table import NasState, NasTable
from radius.packet.codec import (
    ACCESS_ACCEPT,
    ACCESS_CHALLENGE,
    ACCESS_REJECT,
    ACCESS_REQUEST,
    MICROSOFT,
    STATUS_SERVER,
    Attr,
    MalformedPacket,
    attribute,
    locate,
    trim,
    value_at,
    values_of,
    vendor_attribute,
)
from radius.packet.requests import ms_chap_identifier, read_proof
from radius.proxying.proxy import Foreign, Proxy
from radius.reply.cache import Remembered, ReplyCache
from radius.serving.counters import Counters
from radius.sign_in.admission import Admission
from radius.sign_in.ms_chap import keys_and_success, keys_of_first_version
from radius.sign_in.quick import QuickSignIns
from radius.sign_in.slow_proof import SlowProofs

Source = tuple[Any, ...]
"""Source address, source port, and whatever else the endpoint needs to reply; the address comes first."""
Key = tuple[Source, int]
"""What identifies a retransmit: where it comes from, and its identifier."""

_UNKNOWN = frozenset({"unknown_user", "unknown_mac", "no_user_name"})
_MS_CHAP_ERROR = 2


@dataclass(frozen=True, slots=True)
class Rejection:
    """A reject to be recorded: who was refused where, and why."""

    nas_id: str
    reject: Reject
    calling_station: str | None


@dataclass(frozen=True, slots=True)
class _Delayed:
    due_s: float
    nas: NasState
    key: Key
    fingerprint: int
    reply: bytes


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request whose verdict comes later, with what its answer needs."""

    nas: NasState
    packet: bytes
    key: Key
    proof: Proof
    station: bytes | None
    proxied: bytes
    eap: Settle | None = None
    """How its EAP conversation goes on when the verdict is known."""


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """Bounds and delays of one pipeline."""

    reject_delay_s: float = 1.0
    delayed_rejects: int = 10_000
    delayed_rejects_of_one: int = 1_000
    duplicate_memory_s: float = 6.0
    duplicate_entries: int = 65_536
    slow_proofs_of_one: int = 128


@dataclass(frozen=True, slots=True)
class LateAnswers:
    """What answers that cannot be given at once need: who finds them out, and how they leave."""

    slow_proofs: SlowProofs
    send: Callable[[bytes, Source], None]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The processes beside this one: which it is of how many, and how a datagram comes to another."""

    worker: int
    count: int
    hand_over: Callable[[int, bytes, Source], None]

    def holder_of(self, state: bytes) -> int | None:
        """Who holds the EAP conversation that a State (RFC 2865 section 5.24) of ours names, if not we."""
        holder = state[0] if state else self.worker
        return holder if holder != self.worker and holder < self.count else None


class SignIns:
    """Class attributes: the token of ``aaa.domain.class_token``, with an id no other sign-in has."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._identity_key = hmac.digest(key, b"chargeable-user-identity", "sha256")
        self._process = os.urandom(5).hex()
        self._numbers = count(1)

    def chargeable_identity(self, service_id: str, operator: bytes) -> bytes:
        """The Chargeable-User-Identity of a service for whoever asks (RFC 4372 section 2.1).

        A pseudonym: always the same for one service at one visited operator (Operator-Name, RFC 5580), and of
        no use to another one.
        """
        name = hmac.digest(self._identity_key, service_id.encode() + b"\0" + operator, "sha256")
        return attribute(89, name[:16].hex().encode())

    def prefix(self, service_id: str, generation: int) -> bytes:
        """What every Class of this service under this generation begins with."""
        return PREFIX + f"{service_id}.{generation}.{self._process}".encode()

    def class_value(self, prefix: bytes) -> bytes:
        """The Class of a new sign-in."""
        return sign_class(prefix + b"%x" % next(self._numbers), self._key)

    def class_again(self, service: ServiceAccess, session: bytes) -> bytes:
        """The Class of a session that signs in again while it lasts, as 802.1X does: each time the same one.

        ``session`` says which of all sessions it is. With another Class its accounting would be taken for
        that of another session, which begins with counters that are not zero.
        """
        name = blake2b(session, key=self._identity_key, digest_size=10).hexdigest()
        return sign_class(PREFIX + f"{service.id}.{service.generation}.{name}".encode(), self._key)


class AuthenticationPipeline:
    """Answers what comes to one authentication socket."""

    def __init__(
        self,
        nases: NasTable,
        sign_ins: SignIns,
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
        self._nases = nases
        self._elsewhere = elsewhere
        self._lockout = lockout or Lockout(LockoutLimits(), counters)
        self._eap = eap
        self._admission = admission or Admission.alone()
        self._proxy = proxy
        self._leasing = leasing
        self._realms: Realms | None = None
        self._gear = gear
        self._sign_ins = sign_ins
        self._limits = limits or PipelineLimits()
        self._replies = ReplyCache(self._limits.duplicate_memory_s, self._limits.duplicate_entries)
        self._on_reject = on_reject
        self._late = late or LateAnswers(SlowProofs(), lambda _reply, _source: None)
        self._now_s = 0.0
        self._directory: Directory | None = None
        self._delayed: deque[_Delayed] = deque()
        self._quick = QuickSignIns(sign_ins, counters)
        self._logins: Mapping[bytes, Login] = {}
        self.counters = counters

    def use(self, directory: Directory) -> None:
        """Answer from this snapshot from now on."""
        self._directory = directory
        self._logins = directory.logins
        self._realms = directory.realms if self._proxy is not None else None
        if self._eap is not None:
            self._eap.use(directory)

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
                return self._again(known)
            if packet[0] == ACCESS_REQUEST:
                if nas.is_plain and self._realms is None and not self._lockout.watched:
                    reply = self._quick.accept(nas, packet, self._logins)
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

    def _again(self, known: Remembered) -> bytes | None:
        if known[1] is None:
            self.counters.duplicates_in_work += 1
        else:
            self.counters.duplicates += 1
        return known[1]

    def _status(self, nas: NasState, packet: bytes) -> bytes | None:
        """RFC 5997 section 3: always signed, answered at once."""
        first, repeats = locate(packet)
        at = first.get(80)
        if at is None or not (nas.secret.access_is_signed(packet, at) or nas.other_signed(packet, at)):
            self.counters.wrong_signature += 1
            nas.wrong += 1
            return None
        self.counters.status += 1
        return nas.secret.reply(ACCESS_ACCEPT, packet, proxy_states(packet, first, repeats))

    def _access(  # noqa: PLR0911, PLR0912 - the ways out, the shortest first
        self, nas: NasState, packet: bytes, key: Key, now_s: float
    ) -> bytes | None:
        first, repeats = locate(packet)
        signed = self._check_signature(nas, packet, first)
        if signed is None or self._directory is None:
            return None
        if self._realms is not None and self._forward(nas, packet, key, (first, repeats)):
            return None
        if 79 in first:
            return self._answer_eap(nas, packet, key, (first, repeats), now_s)
        at = first.get(1)
        username = b"" if at is None else packet[at + 2 : at + packet[at + 1]]
        proof = read_proof(packet, first, repeats, username, nas.secret)
        at = first.get(31)
        station = None if at is None else packet[at + 2 : at + packet[at + 1]]
        at = first.get(6)
        if at is not None and packet[at + 1] == 6 and packet[at + 5] in ASKS_FOR_PROMPT:
            asked = _Asked(nas, packet, key, proof, station, proxy_states(packet, first, repeats))
            if self._answer_prompt(asked, first, username, signed=signed, now_s=now_s):
                return None
        # one look-up, and only while somebody guesses; EAP's own names are looked up where they are read
        watched = self._lockout.watched.get(username) if self._lockout.watched else None
        if watched is not None:
            refused = self._lockout.refusal(self._directory.logins, nas.nas.id, username, station, now_s)
            if refused is not None:
                return self._decline(nas, packet, key, refused, station=station, now_s=now_s)
        verdict = (
            authorize(self._directory, username, proof, station, nas.nas.macs, signed=signed)
            if not nas.by_line
            else authorize_line(
                self._directory,
                AskedByLine(nas, packet, first, repeats, username, proof, station),
                signed=signed,
            )
        )
        if nas.other is not None and not signed and type(proof) is Pap:
            # a secret is being rotated, and only the password can tell which of the two was used
            other = other_proof(nas, packet, first[2])
            tried = authorize(self._directory, username, other, station, nas.nas.macs, signed=False)
            if fits_better(proof, verdict, other, tried):
                proof, verdict = other, tried
                nas.swap()
            nas.proved |= isinstance(verdict, Accept) and proof.password != b""
        if isinstance(verdict, Accept):
            login = verdict.login
            if login.conditions is not None:
                refusal = self._admission.refusal(login, packet, first, nas.nas.id, station)
                if refusal is not None:
                    return self._decline(nas, packet, key, refusal, station=station, now_s=now_s)
            proxied = b"" if 33 not in first else proxy_states(packet, first, repeats)
            if 89 in first:
                operator = b"" if 126 not in first else value_at(packet, first[126])
                proxied = self._sign_ins.chargeable_identity(login.service.id, operator) + proxied
            if watched is not None:
                self._lockout.right_password(nas.nas.id, username, station)
            if login.service.pools:
                asked = _Asked(nas, packet, key, proof, station, proxied)
                return self._accept_leased(asked, login, now_s)
            reply = self._accept(nas, packet, proof, login, proxied)
            self._replies.put(key, hash(packet), reply)
            return reply
        if isinstance(verdict, Unproven):
            proxied = self._identity_asked(packet, verdict.login) + proxy_states(packet, first, repeats)
            return self._prove(_Asked(nas, packet, key, proof, station, proxied), verdict, now_s)
        return self._decline(nas, packet, key, verdict, station=station, now_s=now_s)

    def _forward(
        self, nas: NasState, packet: bytes, key: Key, located: tuple[dict[int, int], list[int]]
    ) -> bool:
        """Whether the sign-in is another server's to decide; then it is on its way there, or gets silence."""
        first, repeats = located
        at = first.get(1)
        if at is None or self._realms is None or self._proxy is None or self._directory is None:
            return False
        username = packet[at + 2 : at + packet[at + 1]]
        realm = self._realms.of(username, self._directory.logins)
        if realm is None:
            return False
        fingerprint, proxied = hash(packet), proxy_states(packet, first, repeats)
        self._replies.put(key, fingerprint, None)

        def settle(code: int | None, attributes: bytes) -> None:
            if self._replies.find(key, fingerprint) is None:
                return  # whoever asked has asked something else since then
            self._replies.drop(key, fingerprint)
            if code is not None:
                with suppress(MalformedPacket):  # what the home server sent does not fit
                    reply = nas.secret.reply(code, packet, attributes + proxied)
                    self._replies.put(key, fingerprint, reply)
                    self._late.send(reply, key[0])

        if not self._proxy.forward(Foreign(nas, packet, username, settle), realm):
            self._replies.drop(key, fingerprint)
        return True

    def _answer_prompt(
        self, asked: _Asked, first: Mapping[int, int], username: bytes, *, signed: bool, now_s: float
    ) -> bool:
        """Whether somebody asks for the device's own prompt; then he is answered when that is on record."""
        nas, packet = asked.nas, asked.packet
        service_type = packet[first[6] + 5]
        if not is_for_a_prompt(nas, packet, first, service_type):
            return False
        if self._gear is None or self._directory is None:
            return True
        asker = Asker(nas, asked.key[0][0], username, asked.station, service_type, signed)
        decided = self._gear.decide(self._directory.gear, asker, asked.proof, now_s)
        unknown = isinstance(decided, Reject) and decided.rule == "gear_unknown"
        if unknown and not asked.nas.answers_unknown(now_s):
            self.counters.unknown_not_answered += 1
        elif self._gear.note(asker, decided, partial(self._tell_prompt, asked, decided)):
            self._replies.put(asked.key, hash(asked.packet), None)
        else:
            self.counters.gear_not_recorded += 1
        return True

    def _tell_prompt(self, asked: _Asked, decided: Prompt | Reject, recorded: bool) -> None:
        """It is on record, or cannot be: then there is no answer. The device may have asked again since."""
        fingerprint = hash(asked.packet)
        if not recorded:
            self.counters.gear_not_recorded += 1
            self._replies.drop(asked.key, fingerprint)
            return
        if self._replies.find(asked.key, fingerprint) is None:
            return
        nas = asked.nas
        if isinstance(decided, Prompt):
            attributes = prompt_attributes(nas.nas.dialect, decided.login.level)
            if type(asked.proof) is MsChapV2:
                attributes += _ms_chap_success(nas, asked.packet, asked.proof, decided.login)
            reply: bytes | None = nas.secret.reply(ACCESS_ACCEPT, asked.packet, attributes + asked.proxied)
            self.counters.gear_accepts += 1
            self._replies.put(asked.key, fingerprint, reply)
        else:
            reply = self._decline(
                nas, asked.packet, asked.key, decided, station=asked.station, now_s=self._now_s
            )
        if reply is not None:
            self._late.send(reply, asked.key[0])

    def _prove(self, asked: _Asked, verdict: Unproven, now_s: float) -> bytes | None:
        """The answer at once when it is known whether the password is right, else when a thread knows.

        Meanwhile retransmits are told apart and get silence; beyond the bounds the request gets it, and the
        NAS asks again.
        """
        right = self._late.slow_proofs.known(verdict.hashed, verdict.password)
        if right is not None:
            return self._settle(asked, verdict.login, now_s, right=right)
        nas = asked.nas
        then = partial(self._proven, asked, verdict.login)
        full = nas.proving >= self._limits.slow_proofs_of_one
        if full or not self._late.slow_proofs.submit(verdict.hashed, verdict.password, then):
            self.counters.slow_proofs_refused += 1
            _give_up(asked)
            return None
        self.counters.slow_proofs += 1
        nas.proving += 1
        self._replies.put(asked.key, hash(asked.packet), None)
        return None

    def _proven(self, asked: _Asked, login: Login, right: bool | None) -> None:
        """A thread has found out. Whoever asked may have asked something else since then."""
        asked.nas.proving -= 1
        fingerprint = hash(asked.packet)
        if right is None or self._replies.find(asked.key, fingerprint) is None:
            self._replies.drop(asked.key, fingerprint)
            _give_up(asked)
            return
        reply = self._settle(asked, login, self._now_s, right=right)
        if reply is not None:
            self._late.send(reply, asked.key[0])

    def _settle(self, asked: _Asked, login: Login, now_s: float, *, right: bool) -> bytes | None:
        if asked.eap is not None:
            return self._tell_eap(asked, asked.eap(right), now_s)
        verdict = settle(login, right=right)
        if isinstance(verdict, Accept):
            verdict = self._not_admitted(asked, login) or verdict
        if isinstance(verdict, Reject):
            return self._decline(
                asked.nas, asked.packet, asked.key, verdict, station=asked.station, now_s=now_s
            )
        if self._lockout.watched:
            name = login.credential.username.encode()
            self._lockout.right_password(asked.nas.nas.id, name, asked.station)
        proxied = self._identity_asked(asked.packet, login) + asked.proxied
        if login.service.pools:
            return self._accept_leased(replace(asked, proxied=proxied), login, now_s)
        reply = self._accept(asked.nas, asked.packet, asked.proof, login, proxied)
        self._replies.put(asked.key, hash(asked.packet), reply)
        return reply

    def _accept_leased(
        self, asked: _Asked, login: Login, now_s: float, session: bytes | None = None
    ) -> bytes | None:
        """Accept with addresses of Hilltop's own pools; at once, unless one is new and not on disk yet."""
        nas, packet, key = asked.nas, asked.packet, asked.key
        leased: Leased | Reject | None = Leased(b"", ())
        if self._leasing is not None and nas.rendering.dialect.gives_addresses:
            leased = self._leasing.lease(login.service, asked.station, nas.nas.id)
        if isinstance(leased, Reject):
            reject = leased._replace(identity=login.credential.username)
            return self._decline(nas, packet, key, reject, station=asked.station, now_s=now_s)
        if leased is None:
            self.counters.leases_awaited += 1
            return None
        proxied = leased.attributes + asked.proxied
        reply, fingerprint = self._accept(nas, packet, asked.proof, login, proxied, session), hash(packet)
        if not leased.grants:
            self._replies.put(key, fingerprint, reply)
            return reply

        def written(committed: bool) -> None:
            if self._replies.find(key, fingerprint) is None:
                return  # whoever asked has asked something else since then
            if committed:
                self.counters.leases_written += 1
                self._replies.complete(key, fingerprint, reply)
                self._late.send(reply, key[0])
            else:
                self._replies.drop(key, fingerprint)

        self._replies.put(key, fingerprint, None)
        if self._leasing is None or not self._leasing.write(leased.grants, written):
            self._replies.drop(key, fingerprint)
        return None

    def _answer_eap(
        self, nas: NasState, packet: bytes, key: Key, located: tuple[dict[int, int], list[int]], now_s: float
    ) -> bytes | None:
        first, repeats = located
        if self._elsewhere is not None and 24 in first:
            holder = self._elsewhere.holder_of(value_at(packet, first[24]))
            if holder is not None:
                self.counters.handed_over += 1
                self._elsewhere.hand_over(holder, packet, key[0])
                return None
        question = read_question(nas, packet, first, repeats, key[0][0])
        asked = _Asked(nas, packet, key, Nothing(), question.station, proxy_states(packet, first, repeats))
        if self._eap is None:
            return self._tell_eap(asked, Refused(_no_eap(), told=False), now_s)
        return self._tell_eap(asked, self._eap.answer(question, now_s), now_s)

    def _tell_eap(self, asked: _Asked, answer: EapAnswer, now_s: float) -> bytes | None:
        """A challenge is remembered like every reply: a retransmit gets the same octets."""
        nas, packet = asked.nas, asked.packet
        if isinstance(answer, Challenge):
            self.counters.challenges += 1
            if answer.refused is not None:
                self._note(nas, answer.refused, asked.station, now_s)
            attributes = challenge_attributes(answer.request, answer.state)
            reply = nas.secret.reply(ACCESS_CHALLENGE, packet, attributes + asked.proxied)
        elif isinstance(answer, Granted):
            return self._grant_eap(asked, answer, now_s)
        elif isinstance(answer, Refused):
            reject = named(answer.reject, packet)
            return self._decline(
                nas, packet, asked.key, reject, station=asked.station, now_s=now_s, told=answer.told
            )
        elif isinstance(answer, Undecided):
            return self._prove(replace(asked, eap=answer.settle), answer.unproven, now_s)
        else:
            self.counters.eap_ignored += 1
            return None
        self._replies.put(asked.key, hash(packet), reply)
        return reply

    def _grant_eap(self, asked: _Asked, answer: Granted, now_s: float) -> bytes | None:
        nas, packet, login = asked.nas, asked.packet, answer.passed.login
        refusal = self._not_admitted(asked, login)
        if refusal is not None:
            return self._decline(nas, packet, asked.key, refusal, station=asked.station, now_s=now_s)
        attributes = success_attributes(answer, nas.secret, packet) + self._identity_asked(packet, login)
        session = session_of(nas.nas.id, packet)
        if self._lockout.watched:
            name = login.credential.username.encode()
            self._lockout.right_password(nas.nas.id, name, asked.station)
        if login.service.pools:
            return self._accept_leased(
                replace(asked, proxied=attributes + asked.proxied), login, now_s, session
            )
        reply = self._accept(nas, packet, asked.proof, login, attributes + asked.proxied, session)
        self._replies.put(asked.key, hash(packet), reply)
        return reply

    def _not_admitted(self, asked: _Asked, login: Login) -> Reject | None:
        """The condition that a login which has proved itself does not fulfil."""
        first, _ = locate(asked.packet)
        return self._admission.refusal(login, asked.packet, first, asked.nas.nas.id, asked.station)

    def _identity_asked(self, packet: bytes, login: Login) -> bytes:
        first, _ = locate(packet)
        if 89 not in first:
            return b""
        operator = b"" if 126 not in first else value_at(packet, first[126])
        return self._sign_ins.chargeable_identity(login.service.id, operator)

    def _note(self, nas: NasState, reject: Reject, station: bytes | None, now_s: float) -> None:
        """Put a reject on record, and count a wrong password against whoever guesses."""
        if reject.rule == "wrong_password" and self._directory is not None:
            name = reject.identity.encode()
            self._lockout.wrong_password(self._directory.logins, nas.nas.id, name, station, now_s)
        text = None if station is None else station.decode("utf-8", "replace")
        self._on_reject(Rejection(nas.nas.id, reject, text))

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

    def _accept(  # noqa: PLR0917 - what an answer is made of
        self,
        nas: NasState,
        packet: bytes,
        proof: Proof,
        login: Login,
        proxied: bytes,
        session: bytes | None = None,
    ) -> bytes:
        """``session`` names one that may sign in again while it lasts."""
        service = login.service
        own, prefix = nas.services.get(service) or self._encode_service(nas, service)
        value = (
            self._sign_ins.class_value(prefix)
            if session is None
            else self._sign_ins.class_again(service, session)
        )
        attributes = nas.encoded(service.terms) + own
        if session is None and nas.is_plain and not service.pools:
            self._quick.remember(nas, login, attributes, prefix)
        attributes += bytes((25, len(value) + 2)) + value
        if type(proof) is MsChapV2 or type(proof) is MsChap:
            attributes += _ms_chap_success(nas, packet, proof, login)
        self.counters.accepts += 1
        if service.terms.walled:
            self.counters.walled += 1
        return nas.secret.reply(ACCESS_ACCEPT, packet, attributes + proxied)

    def _encode_service(self, nas: NasState, service: ServiceAccess) -> tuple[bytes, bytes]:
        """What is the service's own: its addresses and interim interval, and what its Class begins with."""
        encoded = nas.rendering.own(service), self._sign_ins.prefix(service.id, service.generation)
        nas.rendering.keep(service, encoded)
        return encoded

    def _decline(
        self,
        nas: NasState,
        packet: bytes,
        key: Key,
        verdict: Reject | Silent,
        *,
        station: bytes | None,
        now_s: float,
        told: bool = False,
    ) -> bytes | None:
        """``told``: a challenge has carried the decision before, and it is on record."""
        if isinstance(verdict, Silent):
            self.counters.suspected_wrong_secret += 1
            nas.wrong += 1
            return None
        if verdict.rule in _UNKNOWN and not nas.answers_unknown(now_s):
            self.counters.unknown_not_answered += 1
            return None
        if verdict.rule == STALE_SILENT:
            self.counters.stale_silent += 1
            return None
        self.counters.rejects += 1
        if not told:
            self._note(nas, verdict, station, now_s)
        reply = nas.secret.reply(ACCESS_REJECT, packet, _reject_attributes(packet))
        if self._limits.reject_delay_s <= 0:
            self._replies.put(key, hash(packet), reply)
            return reply
        if (
            nas.delayed >= self._limits.delayed_rejects_of_one
            or len(self._delayed) >= self._limits.delayed_rejects
        ):
            self.counters.rejects_not_queued += 1
            return None
        self._replies.put(key, hash(packet), None)
        nas.delayed += 1
        self._delayed.append(_Delayed(now_s + self._limits.reject_delay_s, nas, key, hash(packet), reply))
        return None

    def due(self, now_s: float) -> Iterator[tuple[bytes, Source]]:
        """The delayed rejects whose time has come, with where they go. Call it a few times a second."""
        self._replies.age(now_s)
        self._now_s = now_s
        if self._eap is not None:
            self._eap.expire(now_s)
        while self._delayed and self._delayed[0].due_s <= now_s:
            one = self._delayed.popleft()
            one.nas.delayed -= 1
            self._replies.complete(one.key, one.fingerprint, one.reply)
            yield one.reply, one.key[0]

    @property
    def delayed(self) -> int:
        """How many rejects wait for their time."""
        return len(self._delayed)


def proxy_states(packet: bytes, first: Mapping[int, int], repeats: Sequence[int]) -> bytes:
    """Every Proxy-State of the request, as it came and in order (RFC 2865 section 5.33)."""
    if 33 not in first:
        return b""
    return b"".join(attribute(33, value) for value in values_of(packet, 33, first, repeats))


def _no_eap() -> Reject:
    return Reject(
        "eap_not_supported", "",
        "the request carries EAP, which this process is not set up for",
        "let the NAS use PAP, CHAP, MS-CHAPv2 or MAC logins",
    )  # fmt: skip


def _give_up(asked: _Asked) -> None:
    if asked.eap is not None:
        asked.eap(None)


def _reject_attributes(packet: bytes) -> bytes:
    """What a reject carries: the end of the method's conversation, Proxy-State, nothing of a service."""
    first, repeats = locate(packet)
    attributes = b""
    if Attr.EAP_MESSAGE in first:
        eap = value_at(packet, first[Attr.EAP_MESSAGE])
        attributes += attribute(Attr.EAP_MESSAGE, bytes((4, eap[1] if len(eap) > 1 else 0, 0, 4)))
    identifier = ms_chap_identifier(values_of(packet, Attr.VENDOR_SPECIFIC, first, repeats))
    if identifier is not None:
        error = bytes((identifier,)) + b"E=691 R=0"
        attributes += vendor_attribute(MICROSOFT, _MS_CHAP_ERROR, error)
    return attributes + proxy_states(packet, first, repeats)


def _ms_chap_success(
    nas: NasState, packet: bytes, proof: MsChapV2 | MsChap, login: Login | GearLogin
) -> bytes:
    hashed = login.credential.nt_hash_hash
    if isinstance(proof, MsChap):
        return keys_of_first_version(nas.secret, packet, hashed)
    success = bytes((proof.identifier,)) + proof.success(login.credential)
    return keys_and_success(nas.secret, packet, hashed, proof.nt_response, success)
