"""The NASes by source address, each with what can be computed before its packets come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address
from typing import NamedTuple

from aaa.directory import KnownNas
from core.secrets import Secret
from radius.guard.rate_limits import Allowance, RateLimits
from radius.packet.codec import locate, proxy_states
from radius.packet.shared_secret import SharedSecret
from radius.reply.rendering import Rendering, Renderings

RADSEC = "radsec:"
"""Begins the source of what comes by RadSec; the id of the NAS that the certificate named follows."""

_RADSEC_SECRET = Secret("radsec")  # RFC 6614 section 2.3: TLS protects, the secret is known to all
_ADDRESSES_KEPT = 20_000
_STRANGERS_KEPT = 100


class Seen(NamedTuple):
    """Requests of one NAS: made with our secret, with another one, refused for want of a signature,
    beyond its limits, under names that nobody has and beyond what is answered of those."""

    right: int = 0
    wrong: int = 0
    unsigned: int = 0
    over: int = 0
    unknown: int = 0

    def plus(self, other: Seen) -> Seen:
        """What was seen in two places."""
        return Seen(*(one + another for one, another in zip(self, other, strict=True)))


NOTHING_SEEN = Seen()


class NasLimits:
    """The limits of one NAS, whose addresses share its buckets."""

    __slots__ = ("rates", "reports", "requests")

    def __init__(self, rates: RateLimits) -> None:
        self.rates = rates
        self.requests = rates.of_nas()
        self.reports = rates.of_nas()


class NasState:
    """One NAS, prepared: its secret's states, and what replies carry in its dialect."""

    __slots__ = (
        "_allowance",
        "_reports",
        "_unknown_names",
        "by_line",
        "delayed",
        "encoded",
        "forwarded",
        "is_plain",
        "left",
        "nas",
        "on_old",
        "other",
        "over",
        "proved",
        "proving",
        "quick",
        "rendering",
        "reports_left",
        "right",
        "secret",
        "services",
        "signs",
        "unknown",
        "unsigned",
        "wrong",
    )  # fmt: skip

    def __init__(
        self, nas: KnownNas, rendering: Rendering, address: str = "", limits: NasLimits | None = None
    ) -> None:
        self.nas = nas
        self.by_line = nas.identity != "user_name"
        """Whether its subscribers are told by line or port before their user names count."""
        self.rendering = rendering
        self.encoded = rendering.terms
        """The octets of terms in this NAS's dialect; those of services are in ``services``."""
        self.services = rendering.services
        self.quick = rendering.quick
        limits = limits or NasLimits(RateLimits())
        self._allowance = Allowance(limits.rates, limits.requests)
        self._reports = Allowance(limits.rates, limits.reports)
        self._unknown_names = limits.rates.of_unknown_names()
        self.left = 0.0
        """Requests that may come before the buckets are asked; the pipeline counts it down itself."""
        self.reports_left = 0.0
        """The same of Accounting-Requests."""
        self.over = 0
        """Datagrams beyond the limits, which got silence."""
        self.unknown = 0
        """Sign-ins under names nobody has, beyond what is answered."""
        self.secret = SharedSecret(nas.secret.reveal().encode())
        """The one last seen to work at this address; while a secret is rotated that may be the old one."""
        self.other: SharedSecret | None = None
        """While a secret is rotated: the other of the two, tried when ``secret`` does not fit."""
        self.on_old = False
        self.proved = False
        """Whether ``secret`` was seen to fit an unsigned request since the last look, while rotating."""
        if nas.old_secret is not None:
            self.other = SharedSecret(nas.old_secret.reveal().encode())
            if address not in nas.on_new_secret:  # it had the old one before it can have the new one
                self.swap()
        self.is_plain = self.other is None and not self.by_line
        """Whether a name and a password are all there is to its sign-ins."""
        self.signs = nas.signs_requests
        """Whether an unsigned request is refused under ``auto``: learned from the first signed one."""
        self.right = 0
        self.wrong = 0
        """Signatures and authenticators checked, by whether they were made with our secret."""
        self.unsigned = 0
        """Requests refused because they carried no signature."""
        self.delayed = 0
        """Rejects that wait for their time."""
        self.forwarded = 0
        """Requests that wait for a home server."""
        self.proving = 0
        """Requests whose password is being checked against a slow hash."""

    def refill(self, now_s: float) -> bool:
        """Ask the buckets for more requests and use one; False: the source has sent too many."""
        taken = self._allowance.take(now_s)
        self.left = max(taken - 1.0, 0.0)
        self.over += not taken
        return taken > 0

    def refill_reports(self, now_s: float) -> bool:
        """The same of Accounting-Requests."""
        taken = self._reports.take(now_s)
        self.reports_left = max(taken - 1.0, 0.0)
        self.over += not taken
        return taken > 0

    def answers_unknown(self, now_s: float) -> bool:
        """Whether one more sign-in under a name nobody has is answered."""
        answered = self._unknown_names.take(1.0, now_s) >= 1
        self.unknown += not answered
        return answered

    def swap(self) -> None:
        """The other secret is the one in use at this address."""
        if self.other is not None:
            self.secret, self.other = self.other, self.secret
            self.on_old = not self.on_old

    def other_signed(self, packet: bytes, at: int) -> bool:
        """Whether the other secret made the Message-Authenticator at ``at``; then it is the one in use."""
        if self.other is None or not self.other.access_is_signed(packet, at):
            return False
        self.swap()
        return True

    def status_reply(self, code: int, packet: bytes) -> bytes | None:
        """The answer to a Status-Server, which is always signed (RFC 5997 section 3); None: it is not, or
        wrongly. Raises ``MalformedPacket``."""
        first, repeats = locate(packet)
        at = first.get(80)
        if at is None or not (self.secret.access_is_signed(packet, at) or self.other_signed(packet, at)):
            return None
        return self.secret.reply(code, packet, proxy_states(packet, first, repeats))

    def other_made(self, packet: bytes) -> bool:
        """The same of the authenticator of an Accounting-Request."""
        if self.other is None or not self.other.request_is_right(packet):
            return False
        self.swap()
        return True

    def refuses_unsigned(self, *, has_proxy_state: bool) -> bool:
        """Whether a request without Message-Authenticator gets no answer.

        Under ``auto`` one with Proxy-State never does: that is the attack of CVE-2024-3596.
        """
        if self.nas.message_authenticator == "auto":
            return self.signs or has_proxy_state
        return self.nas.message_authenticator == "require"

    def is_unknown_to_database(self) -> bool:
        """Whether what was learned is worth keeping and not kept yet."""
        return not self.nas.signs_requests and self.nas.network.num_addresses == 1


class NasTable:
    """Longest prefix wins; an address is looked up once and then remembered.

    A NAS registered by a whole prefix is many devices: each address of it has a state of its own, so that one
    device that signs its requests does not shut out its neighbour that cannot.
    """

    def __init__(self, nases: Iterable[KnownNas] = (), rates: RateLimits | None = None) -> None:
        self._rates = rates or RateLimits()
        self._limits: dict[str, NasLimits] = {}
        self._nases: tuple[KnownNas, ...] = ()
        self._by_prefix: list[tuple[int, int, dict[int, KnownNas]]] = []
        self._by_id: dict[str, KnownNas] = {}
        self._by_address: dict[str, NasState | None] = {}
        self._signing: dict[str, Secret] = {}  # learned: address -> the secret it signed with
        self._strangers: dict[str, int] = {}
        self._renderings = Renderings()
        self._uncounted: list[NasState] = []
        self.ended_rotations: set[str] = set()
        """NASes whose old secret has ended here; the database is to learn it."""
        self.learn(nases)

    def learn(self, nases: Iterable[KnownNas], renderings: Renderings | None = None) -> None:
        """Take over a new list of NASes, longest prefix first, and what their replies are rendered with.

        What was learned of an address stays.
        """
        self._remember_signing()
        self._uncounted = [*self._uncounted, *self.states][-_ADDRESSES_KEPT:]
        self._renderings = renderings or Renderings()
        self._nases = tuple(nases)
        self._by_prefix = _by_prefix(self._nases)
        self._by_id = {nas.id: _by_radsec(nas) for nas in self._nases if nas.radsec_identity is not None}
        self._limits = {nas.id: self._limits.get(nas.id) or NasLimits(self._rates) for nas in self._nases}
        self._by_address = {}

    def at(self, address: str) -> NasState | None:
        """The NAS at a source address; None for a stranger."""
        try:
            return self._by_address[address]
        except KeyError:
            return self._look_up(address)

    def _look_up(self, address: str) -> NasState | None:
        nas = self._nas_of(address)
        if len(self._by_address) >= _ADDRESSES_KEPT:  # a flood from forged sources must not fill memory
            self._make_room()
        state = None
        if nas is not None:
            rendering = self._renderings.of(nas.id, nas.dialect)
            state = NasState(nas, rendering, address, self._limits[nas.id])
        if state is not None and (signed_with := self._signing.get(address)) is not None:
            state.signs |= signed_with in (state.nas.secret, state.nas.old_secret)
        self._by_address[address] = state
        return state

    def _make_room(self) -> None:
        """Strangers go first: what is known of the NASes is worth more than forged addresses."""
        if len(self.states) > _ADDRESSES_KEPT // 2:
            self._remember_signing()
            self._uncounted = self.states
            self._by_address = {}
        else:
            self._by_address = {at: state for at, state in self._by_address.items() if state is not None}

    def _nas_of(self, address: str) -> KnownNas | None:
        """The NAS by its address, or by its id for one that came by RadSec.

        One look a prefix length, however many NASes there are: forged sources make many such looks.
        """
        if address.startswith(RADSEC):
            return self._by_id.get(address.removeprefix(RADSEC))
        parsed = ip_address(address.partition("%")[0])
        number = int(parsed)
        for version, host_bits, nases in self._by_prefix:
            if version == parsed.version:
                nas = nases.get(number >> host_bits)
                if nas is not None:
                    return nas
        return None

    def note_stranger(self, address: str) -> None:
        """Count a datagram from nobody we know, for the operator who forgot to register a NAS.

        When there are too many, the one that asked least goes: a device that keeps asking outlasts a flood
        of addresses that were made up.
        """
        strangers = self._strangers
        if address not in strangers and len(strangers) >= _STRANGERS_KEPT:
            del strangers[min(strangers, key=strangers.__getitem__)]
        strangers[address] = strangers.get(address, 0) + 1

    @property
    def strangers(self) -> dict[str, int]:
        """Unknown source addresses and how often they have asked; at most a hundred."""
        return {address: count for address, count in self._strangers.items() if self.at(address) is None}

    @property
    def template_troubles(self) -> tuple[str, ...]:
        """Lines of templates that cannot be sent, so that the dialect's own words are."""
        return self._renderings.troubles

    @property
    def names(self) -> dict[str, str]:
        """The NASes that are registered and enabled, by id."""
        return {nas.id: nas.name for nas in self._nases}

    @property
    def states(self) -> list[NasState]:
        """The NASes that have sent something since the last change."""
        return [state for state in self._by_address.values() if state is not None]

    def take_seen(self) -> dict[str, Seen]:
        """What was seen of each NAS since the last time, by its id; those that sent nothing are left out.

        Also of states that a change has put others in place of.
        """
        found: dict[str, Seen] = {}
        gone, self._uncounted = self._uncounted, []
        for state in self.states + gone:
            counts = Seen(state.right, state.wrong, state.unsigned, state.over, state.unknown)
            if any(counts):
                found[state.nas.id] = found.get(state.nas.id, NOTHING_SEEN).plus(counts)
                state.right = state.wrong = state.unsigned = state.over = state.unknown = 0
        return found

    def _remember_signing(self) -> None:
        for address, state in self._by_address.items():
            if state is not None and state.signs:
                self._signing[address] = state.nas.secret

    @property
    def rotating(self) -> list[tuple[str, NasState]]:
        """The addresses heard of whose secret is being rotated."""
        if not any(nas.old_secret is not None for nas in self._nases):
            return []
        found = self._by_address.items()
        return [(address, state) for address, state in found if state is not None and state.other is not None]

    def end_rotations(self, now: datetime) -> list[tuple[str, NasState]]:
        """Forget old secrets whose time is over, also while the database is away.

        Returns the addresses that still used one.
        """
        over = {nas.id for nas in self._nases if nas.old_secret_until and nas.old_secret_until <= now}
        if not over:
            return []
        left = [one for one in self.rotating if one[1].nas.id in over and one[1].on_old]
        self.ended_rotations |= over
        known = [
            replace(nas, old_secret=None, old_secret_until=None) if nas.id in over else nas
            for nas in self._nases
        ]
        self.learn(known, self._renderings)
        for state in self._uncounted:  # what was right under an old secret speaks for nobody any more
            if state.nas.id in over:
                state.right = 0
        return left

    def newly_signing(self) -> list[str]:
        """Ids of NASes with one address that were seen to sign, which the database does not know of yet."""
        return [state.nas.id for state in self.states if state.signs and state.is_unknown_to_database()]

    def unsigned(self) -> list[str]:
        """Names of NASes that have asked and never signed: they are open to CVE-2024-3596."""
        return sorted({state.nas.name for state in self.states if not state.signs})

    def __len__(self) -> int:
        return len(self._nases)


def _by_radsec(nas: KnownNas) -> KnownNas:
    """The NAS as it is behind TLS, where everything counts as signed."""
    return replace(
        nas, secret=_RADSEC_SECRET, old_secret=None, old_secret_until=None, message_authenticator="off",
        signs_requests=True,
    )  # fmt: skip


def _by_prefix(nases: Iterable[KnownNas]) -> list[tuple[int, int, dict[int, KnownNas]]]:
    """NASes by the leading bits of their network, longest prefix first: (version, bits left out, which)."""
    grouped: dict[tuple[int, int], dict[int, KnownNas]] = {}
    for nas in nases:
        host_bits = nas.network.max_prefixlen - nas.network.prefixlen
        numbers = grouped.setdefault((host_bits, nas.network.version), {})
        numbers.setdefault(int(nas.network.network_address) >> host_bits, nas)
    return [(version, host_bits, grouped[host_bits, version]) for host_bits, version in sorted(grouped)]
