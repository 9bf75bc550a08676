"""What becomes of a verdict: an Accept with all it carries, or a reject whose time is to come, remembered.

Some answers wait: for a slow hash, for a lease to be on disk, for the delay of rejects. Meanwhile a request
is remembered without a reply, so that its retransmits are told apart and get silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from aaa.authorize import STALE_SILENT, Accept, Reject, Silent, Unproven, settle
from aaa.directory import Directory, Login, ServiceAccess
from aaa.domain.authentication import MsChap, MsChapV2, Proof
from aaa.domain.gear import GearLogin
from radius.guard.lockout import Lockout
from radius.guard.pipeline_limits import PipelineLimits
from radius.leases.leasing import Leased, Leasing
from radius.nas.table import RADSEC, NasState
from radius.packet.codec import (
    ACCESS_ACCEPT,
    ACCESS_REJECT,
    MICROSOFT,
    Attr,
    attribute,
    locate,
    proxy_states,
    value_at,
    values_of,
    vendor_attribute,
)
from radius.packet.requests import ms_chap_identifier
from radius.reply.cache import Key, ReplyCache, Source
from radius.serving.counters import Counters
from radius.sign_in.admission import Admission
from radius.sign_in.class_tokens import ClassTokens
from radius.sign_in.ms_chap import keys_and_success, keys_of_first_version
from radius.sign_in.quick import QuickSignIns
from radius.sign_in.reject_log import Rejection
from radius.sign_in.slow_proof import SlowProofs

_UNKNOWN = frozenset({"unknown_user", "unknown_mac", "no_user_name"})
_MS_CHAP_ERROR = 2


@dataclass(slots=True)
class Asked:
    """A request with what its answer needs, now or later."""

    nas: NasState
    packet: bytes
    key: Key
    proof: Proof
    station: bytes | None
    proxied: bytes
    session: bytes | None = None
    """Names a session that may sign in again while it lasts."""
    signed: bool = True
    """Whether it carries a right Message-Authenticator."""


@dataclass(frozen=True, slots=True)
class LateAnswers:
    """What answers that cannot be given at once need: who finds them out, and how they leave."""

    slow_proofs: SlowProofs
    send: Callable[[bytes, Source], None]


@dataclass(frozen=True, slots=True)
class _Delayed:
    due_s: float
    nas: NasState
    key: Key
    fingerprint: int
    reply: bytes


Settled = Callable[[bool | None, float], bytes | None]
"""Whether the password was right (None: nobody could check it), and when: the reply to give then, if any."""


class Answers:
    """The answers of one pipeline."""

    def __init__(
        self,
        tokens: ClassTokens,
        counters: Counters,
        on_reject: Callable[[Rejection], None],
        limits: PipelineLimits,
        *,
        late: LateAnswers,
        lockout: Lockout,
        admission: Admission,
        leasing: Leasing | None,
    ) -> None:
        self.replies = ReplyCache(limits.duplicate_memory_s, limits.duplicate_entries)
        self.lockout = lockout
        self.admission = admission
        self.late = late
        self.quick = QuickSignIns(tokens, counters)
        self.now_s = 0.0
        """Of the last tick; for what happens between datagrams."""
        self._tokens = tokens
        self._counters = counters
        self._on_reject = on_reject
        self._limits = limits
        self._leasing = leasing
        self._directory: Directory | None = None
        self._delayed: deque[_Delayed] = deque()

    def use(self, directory: Directory) -> None:
        """Count guesses against the logins of this snapshot from now on."""
        self._directory = directory

    def accept(self, asked: Asked, login: Login, now_s: float) -> bytes | None:
        """The Accept of a login that has proved itself and is admitted; None: it leaves later, or never."""
        if login.service.pools:
            return self._accept_leased(asked, login, now_s)
        reply = self._encode(asked, login, asked.proxied)
        self.replies.put(asked.key, hash(asked.packet), reply)
        return reply

    def _accept_leased(self, asked: Asked, login: Login, now_s: float) -> bytes | None:
        """Accept with addresses of Hilltop's own pools; at once, unless one is new and not on disk yet."""
        nas, packet, key = asked.nas, asked.packet, asked.key
        leased: Leased | Reject | None = Leased(b"", ())
        if self._leasing is not None and nas.rendering.dialect.gives_addresses:
            leased = self._leasing.lease(login.service, asked.station, nas.nas.id)
        if isinstance(leased, Reject):
            return self.decline(asked, leased._replace(identity=login.credential.username), now_s)
        if leased is None:
            self._counters.leases_awaited += 1
            return None
        reply, fingerprint = self._encode(asked, login, leased.attributes + asked.proxied), hash(packet)
        if not leased.grants:
            self.replies.put(key, fingerprint, reply)
            return reply

        def written(committed: bool) -> None:
            if self.replies.find(key, fingerprint) is None:
                return  # whoever asked has asked something else since then
            if committed:
                self._counters.leases_written += 1
                self.replies.complete(key, fingerprint, reply)
                self.late.send(reply, key[0])
            else:
                self.replies.drop(key, fingerprint)

        self.replies.put(key, fingerprint, None)
        if self._leasing is None or not self._leasing.write(leased.grants, written):
            self.replies.drop(key, fingerprint)
        return None

    def _encode(self, asked: Asked, login: Login, proxied: bytes) -> bytes:
        nas, proof, session, service = asked.nas, asked.proof, asked.session, login.service
        own, prefix = nas.services.get(service) or self._encode_service(nas, service)
        value = (
            self._tokens.class_value(prefix)
            if session is None
            else self._tokens.class_again(service, session)
        )
        attributes = nas.encoded(service.terms) + own
        if session is None and nas.is_plain and not service.pools:
            self.quick.remember(nas, login, attributes, prefix)
        attributes += bytes((25, len(value) + 2)) + value
        if type(proof) is MsChapV2 or type(proof) is MsChap:
            attributes += ms_chap_success(nas, asked.packet, proof, login)
        self._counters.accepts += 1
        if service.terms.walled:
            self._counters.walled += 1
        return nas.secret.reply(ACCESS_ACCEPT, asked.packet, attributes + proxied)

    def _encode_service(self, nas: NasState, service: ServiceAccess) -> tuple[bytes, bytes]:
        """What is the service's own: its addresses and interim interval, and what its Class begins with."""
        encoded = nas.rendering.own(service), self._tokens.prefix(service.id, service.generation)
        nas.rendering.keep(service, encoded)
        return encoded

    def prove(self, asked: Asked, unproven: Unproven, settled: Settled, now_s: float) -> bytes | None:
        """The answer at once when it is known whether the password is right, else when a thread knows.

        Meanwhile retransmits are told apart and get silence; beyond the bounds the request gets it, and the
        NAS asks again.
        """
        right = self.late.slow_proofs.known(unproven.hashed, unproven.password)
        if right is not None:
            return settled(right, now_s)
        nas, then = asked.nas, partial(self._proven, asked, settled)
        full = nas.proving >= self._limits.slow_proofs_of_one
        if full or not self.late.slow_proofs.submit(unproven.hashed, unproven.password, then):
            self._counters.slow_proofs_refused += 1
            settled(None, now_s)
            return None
        self._counters.slow_proofs += 1
        nas.proving += 1
        self.replies.put(asked.key, hash(asked.packet), None)
        return None

    def _proven(self, asked: Asked, settled: Settled, right: bool | None) -> None:
        """A thread has found out. Whoever asked may have asked something else since then."""
        asked.nas.proving -= 1
        fingerprint = hash(asked.packet)
        if right is None or self.replies.find(asked.key, fingerprint) is None:
            self.replies.drop(asked.key, fingerprint)
            settled(None, self.now_s)
            return
        reply = settled(right, self.now_s)
        if reply is not None:
            self.late.send(reply, asked.key[0])

    def settle(self, asked: Asked, login: Login, right: bool | None, now_s: float) -> bytes | None:
        """The answer to a password that had to be checked (a ``Settled``, but for who signs in)."""
        if right is None:
            return None
        verdict = settle(login, right=right)
        if isinstance(verdict, Accept):
            verdict = self.not_admitted(asked, login) or verdict
        if isinstance(verdict, Reject):
            return self.decline(asked, verdict, now_s)
        self.right_password(asked, login)
        proxied = self.identity_asked(asked.packet, login) + asked.proxied
        return self.accept(replace(asked, proxied=proxied), login, now_s)

    def not_admitted(self, asked: Asked, login: Login) -> Reject | None:
        """The condition that a login which has proved itself does not fulfil."""
        first, _ = locate(asked.packet)
        return self.admission.refusal(login, asked.packet, first, asked.nas.nas.id, asked.station)

    def identity_asked(self, packet: bytes, login: Login) -> bytes:
        """The Chargeable-User-Identity for whoever asks for one (RFC 4372)."""
        first, _ = locate(packet)
        if 89 not in first:
            return b""
        operator = b"" if 126 not in first else value_at(packet, first[126])
        return self._tokens.chargeable_identity(login.service.id, operator)

    def right_password(self, asked: Asked, login: Login) -> None:
        """Let the lock-out know, while somebody guesses."""
        if self.lockout.watched:
            name = login.credential.username.encode()
            self.lockout.right_password(asked.nas.nas.id, name, asked.station)

    def note(self, asked: Asked, reject: Reject, now_s: float) -> None:
        """Put a reject on record, and count a wrong password against whoever guesses."""
        nas_id, station = asked.nas.nas.id, asked.station
        if reject.rule == "wrong_password" and self._directory is not None:
            name = reject.identity.encode()
            signed = asked.signed or str(asked.key[0][0]).startswith(RADSEC)
            logins = self._directory.logins
            self.lockout.wrong_password(logins, nas_id, name, station, now_s, signed=signed)
        text = None if station is None else station.decode("utf-8", "replace")
        self._on_reject(Rejection(nas_id, reject, text))

    def decline(
        self, asked: Asked, verdict: Reject | Silent, now_s: float, *, told: bool = False
    ) -> bytes | None:
        """The Reject, if rejects are not delayed. ``told``: a challenge has carried it; it is on record."""
        nas, packet, key, fingerprint = asked.nas, asked.packet, asked.key, hash(asked.packet)
        if isinstance(verdict, Silent):
            self._counters.suspected_wrong_secret += 1
            nas.wrong += 1
            return None
        if verdict.rule in _UNKNOWN and not nas.answers_unknown(now_s):
            self._counters.unknown_not_answered += 1
            return None
        if verdict.rule == STALE_SILENT:
            self._counters.stale_silent += 1
            return None
        self._counters.rejects += 1
        if not told:
            self.note(asked, verdict, now_s)
        reply = nas.secret.reply(ACCESS_REJECT, packet, _reject_attributes(packet))
        if self._limits.reject_delay_s <= 0:
            self.replies.put(key, fingerprint, reply)
            return reply
        if (
            nas.delayed >= self._limits.delayed_rejects_of_one
            or len(self._delayed) >= self._limits.delayed_rejects
        ):
            self._counters.rejects_not_queued += 1
            return None
        self.replies.put(key, fingerprint, None)
        nas.delayed += 1
        self._delayed.append(_Delayed(now_s + self._limits.reject_delay_s, nas, key, fingerprint, reply))
        return None

    def due(self, now_s: float) -> Iterator[tuple[bytes, Source]]:
        """The delayed rejects whose time has come, with where they go. Call it a few times a second."""
        self.replies.age(now_s)
        self.now_s = now_s
        while self._delayed and self._delayed[0].due_s <= now_s:
            one = self._delayed.popleft()
            one.nas.delayed -= 1
            self.replies.complete(one.key, one.fingerprint, one.reply)
            yield one.reply, one.key[0]

    @property
    def delayed(self) -> int:
        """How many rejects wait for their time."""
        return len(self._delayed)


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


def ms_chap_success(
    nas: NasState, packet: bytes, proof: MsChapV2 | MsChap, login: Login | GearLogin
) -> bytes:
    """What an Accept carries after MS-CHAP of either version (RFC 2548)."""
    hashed = login.credential.nt_hash_hash
    if isinstance(proof, MsChap):
        return keys_of_first_version(nas.secret, packet, hashed)
    success = bytes((proof.identifier,)) + proof.success(login.credential)
    return keys_and_success(nas.secret, packet, hashed, proof.nt_response, success)
