"""The EAP server: what is behind the EAP-Message of an Access-Request, and what is answered.

It holds the conversations of one worker. It never raises for what a peer sends, and never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from aaa.authorize import Reject, Unproven, Verdict, admit, authorize
from aaa.directory import Directory, Login
from aaa.domain.authentication import Proof
from aaa.domain.mac_convention import MacConvention
from radius.eap import packet
from radius.eap.certificates import CertificateBook
from radius.eap.conversation import Conversation, Spoken, Stale, Turn
from radius.eap.conversations import Conversations, Owner
from radius.eap.dialogue import Dialogue
from radius.eap.md5 import Md5
from radius.eap.mschapv2 import MsChapV2Method
from radius.eap.packet import EapPacket, EapType, MalformedEap
from radius.eap.peap import Peap
from radius.eap.resumption import Resumptions
from radius.eap.steps import Ask, Circle, Fail, Method, Pass, Wait, refusal
from radius.eap.tls import Tls
from radius.eap.tls_session import ServerCertificate, TlsRules, TlsServer
from radius.eap.ttls import Ttls
from radius.guard.lockout import Lockout

METHODS: Final = {
    "ttls": EapType.TTLS,
    "peap": EapType.PEAP,
    "tls": EapType.TLS,
    "mschapv2": EapType.MSCHAPV2,
    "md5": EapType.MD5_CHALLENGE,
}
"""What the settings call them."""
_WITH_TLS: Final = frozenset((EapType.TTLS, EapType.PEAP, EapType.TLS))
_WITHOUT_KEYS: Final = frozenset((EapType.MD5_CHALLENGE,))
_LEAST_FRAGMENT: Final = 100
_HEADERS: Final = 14
"""Octets of a link's packet that are not TLS: EAPOL 4, EAP 5, flags 1, length 4 (RFC 3579 section 2.4)."""


@dataclass(frozen=True, slots=True)
class EapLimits:
    """Bounds of one worker."""

    conversations: int = 2_048
    conversations_of_one: int = 512
    lifetime_s: float = 60.0
    fragment_octets: int = 1_200
    resumable: int = 50_000


@dataclass(frozen=True, slots=True)
class EapOffer:
    """What is spoken: methods in the order they are proposed in; ``of_nas`` replaces it by a NAS's name.

    Without a certificate the methods with TLS are left out, and EAP-TLS is without a book's anchors.
    """

    methods: tuple[int, ...]
    of_nas: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    rules: TlsRules = field(default_factory=TlsRules)
    certificates: tuple[ServerCertificate, ...] = ()
    book: CertificateBook | None = None


class EapQuestion(NamedTuple):
    """What an Access-Request with EAP says. ``nas`` is its name, ``owner`` its id and address."""

    message: bytes
    state: bytes | None
    owner: Owner
    nas: str
    macs: MacConvention
    station: bytes | None
    framed_mtu: int | None
    wants_keys: bool
    wants_session_id: bool


class Challenge(NamedTuple):
    """Go on: the next request and the State to come back with. ``refused``: decided, and not yet said."""

    request: bytes
    state: bytes
    refused: Reject | None


class Granted(NamedTuple):
    """Let in."""

    passed: Pass
    identifier: int


class Refused(NamedTuple):
    """Not let in. ``told`` when a challenge carried the decision already."""

    reject: Reject
    told: bool


class Ignored(NamedTuple):
    """No answer: the response is not one to our last request."""


class Undecided(NamedTuple):
    """A slow password hash has to be tried first; ``settle`` is told what came of it, None for nothing."""

    unproven: Unproven
    settle: Settle


EapAnswer = Challenge | Granted | Refused | Ignored | Undecided
Settle = Callable[[bool | None], EapAnswer]


class _Workshop:
    """Makes methods. It is never changed: what is offered anew gets a new one."""

    def __init__(self, offer: EapOffer, resumptions: Resumptions) -> None:
        self._resumptions = resumptions
        self._book = offer.book
        self._tls: dict[int, TlsServer] = {}
        certificates, rules, book = offer.certificates, offer.rules, offer.book
        if not certificates:
            return
        for kind in (EapType.TTLS, EapType.PEAP):
            self._tls[kind] = TlsServer(kind.name.lower(), certificates, rules)
        if book is not None and book.anchors:
            self._tls[EapType.TLS] = TlsServer("tls", certificates, rules, book.anchors, book.vet)

    def possible(self, methods: Sequence[int]) -> tuple[int, ...]:
        """Those of the methods that can be spoken."""
        return tuple(one for one in methods if one not in _WITH_TLS or one in self._tls)

    def make(self, kind: int, identity: bytes) -> Method:
        """A method that is possible, for a peer."""
        if kind == EapType.MSCHAPV2:
            return MsChapV2Method(identity)
        if kind == EapType.MD5_CHALLENGE:
            return Md5(identity)
        server = self._tls[kind]
        if kind == EapType.TTLS:
            return Ttls(identity, server, self._resumptions, self.make)
        if kind == EapType.PEAP or self._book is None:
            return Peap(identity, server, self._resumptions, self.make)
        return Tls(identity, server, self._resumptions, self._book)


class EapServer:
    """EAP of one worker."""

    def __init__(
        self,
        offer: EapOffer,
        limits: EapLimits | None = None,
        worker: int = 0,
        on_lost: Callable[[Conversation], None] = lambda lost: None,
        lockout: Lockout | None = None,
    ) -> None:
        """Raises ``ValueError`` when certificate, key or ciphers cannot be used."""
        self._limits = limits or EapLimits()
        self._conversations = Conversations(
            worker, self._limits.conversations, self._limits.conversations_of_one, on_lost
        )
        self._resumptions = Resumptions(offer.rules.session_lifetime_s, self._limits.resumable)
        self._lockout = lockout
        self._directory: Directory | None = None
        self.offer_anew(offer)

    def offer_anew(self, offer: EapOffer) -> None:
        """From now on offer this: conversations under way keep what they began with."""
        workshop = _Workshop(offer, self._resumptions)
        self._make = workshop.make
        self._offered = {nas: workshop.possible(methods) for nas, methods in offer.of_nas.items()}
        self._offered_else = workshop.possible(offer.methods)

    def use(self, directory: Directory) -> None:
        """Decide by this snapshot from now on."""
        self._directory = directory

    def holds(self, state: bytes) -> bool:
        """Whether a State is one of ours."""
        return state in self._conversations

    def answer(self, question: EapQuestion, now_s: float) -> EapAnswer:
        """What to say to an Access-Request with EAP; ``now_s`` is monotonic."""
        conversation = self._conversation(question, now_s)
        if not question.message:  # EAP-Start (RFC 3579 section 2.1)
            return self._ask_identity(question, now_s)
        try:
            response = packet.parse(question.message)
        except MalformedEap as trouble:
            return Refused(_unreadable(str(trouble)), told=False)
        if response.code != packet.RESPONSE:
            return Refused(_unreadable("it is no response"), told=False)
        if conversation is None:
            if response.kind != EapType.IDENTITY:
                return Refused(_unknown_conversation(), told=False)
            conversation = self._new(question, now_s)
        return self._go_on(conversation, response, question, now_s)

    def _conversation(self, question: EapQuestion, now_s: float) -> Conversation | None:
        if question.state is None:
            return None
        return self._conversations.find(question.state, question.owner, question.station, now_s)

    def _new(self, question: EapQuestion, now_s: float) -> Conversation:
        offered = self._offered.get(question.nas, self._offered_else)
        if question.wants_keys:
            offered = tuple(one for one in offered if one not in _WITHOUT_KEYS)
        conversation = Conversation(
            self._conversations.new_state(), question.owner, question.station,
            Dialogue(offered, self._make), now_s + self._limits.lifetime_s,
        )  # fmt: skip
        self._conversations.add(conversation)
        return conversation

    def _ask_identity(self, question: EapQuestion, now_s: float) -> EapAnswer:
        conversation = self._new(question, now_s)
        return Challenge(conversation.ask_identity(0).request, conversation.state, None)

    def _go_on(
        self, conversation: Conversation, response: EapPacket, question: EapQuestion, now_s: float
    ) -> EapAnswer:
        turn = conversation.take(response, self._circle(conversation, question, now_s))
        return self._said(conversation, response.identifier, turn)

    def _said(self, conversation: Conversation, identifier: int, turn: Turn) -> EapAnswer:
        if isinstance(turn, Spoken):  # nearly always
            return Challenge(turn.request, conversation.state, turn.refused)
        match turn:
            case Stale():
                return Ignored()
            case Pass():
                self._conversations.remove(conversation)
                return Granted(turn, identifier)
            case Wait(unproven, then):
                return Undecided(unproven, partial(self._settle, conversation, identifier, then))
            case Fail(reject, told):
                self._conversations.remove(conversation)
                return Refused(reject, told)

    def _settle(
        self,
        conversation: Conversation,
        identifier: int,
        then: Callable[[bool], Ask | Pass | Fail],
        right: bool | None,
    ) -> EapAnswer:
        """The password that was waited for is right or wrong; None when nobody could find out."""
        if right is None:
            self._conversations.remove(conversation)
            return Ignored()
        return self._said(conversation, identifier, conversation.resume(then(right)))

    def _circle(self, conversation: Conversation, question: EapQuestion, now_s: float) -> Circle:
        return Circle(
            partial(self._judge, question, now_s),
            admit,
            self._find,
            conversation.next_identifier,
            self._fragment_octets(question.framed_mtu),
            now_s,
            question.wants_session_id,
        )

    def _fragment_octets(self, framed_mtu: int | None) -> int:
        """What TLS may put into a packet so that it fits the link behind the NAS."""
        if framed_mtu is None:
            return self._limits.fragment_octets
        return max(_LEAST_FRAGMENT, min(self._limits.fragment_octets, framed_mtu - _HEADERS))

    def _judge(self, question: EapQuestion, now_s: float, username: bytes, proof: Proof) -> Verdict:
        """A packet with EAP is always signed, so a password is never noise."""
        if self._directory is None:
            return refusal("no_directory", username, "the directory is not loaded yet", "try again")
        username = self._own_name(self._directory, username)
        if self._lockout is not None and username in self._lockout.watched:
            held = self._lockout.refusal(
                self._directory.logins, question.owner[0], username, question.station, now_s
            )
            if held is not None:
                return held
        return authorize(self._directory, username, proof, question.station, question.macs, signed=True)

    def _find(self, username: bytes) -> Login | None:
        if self._directory is None:
            return None
        return self._directory.logins.get(self._own_name(self._directory, username))

    @staticmethod
    def _own_name(directory: Directory, username: bytes) -> bytes:
        realms = directory.realms
        return username if realms is None else realms.own_name(username, directory.logins)

    def expire(self, now_s: float) -> None:
        """Let conversations go whose time is over; call it now and then."""
        self._conversations.expire(now_s)

    @property
    def under_way(self) -> int:
        """Conversations that wait for their peer."""
        return len(self._conversations)


def _unreadable(trouble: str) -> Reject:
    return refusal(
        "eap_malformed", b"", f"the EAP-Message is not EAP: {trouble}", "update the NAS"
    )  # fmt: skip


def _unknown_conversation() -> Reject:
    return refusal(
        "eap_conversation_unknown", b"",
        "the response belongs to no conversation of this NAS and station: it took too long, or this server "
        "was restarted",
        "none if it was once; if it goes on, look for packets that are lost between NAS and server",
    )  # fmt: skip
