"""What a method says after each turn, and what it is told. Values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from aaa.authorize import STALE_SILENT, Reject, Unproven, Verdict
from aaa.directory import Login
from aaa.domain.authentication import Proof


class Ask(NamedTuple):
    """The conversation goes on: the data of the method's next request.

    ``refused`` is a decision that is already taken and that the peer is told in the method's own words first.
    """

    data: bytes
    refused: Reject | None = None


class Pass(NamedTuple):
    """The peer is who it says. ``keys``: the MSK (RFC 3748 section 7.10), empty for a method without.

    32 octets are 16 for each direction, 64 are 32 for each. ``session_id`` is the EAP Session-Id (RFC 5247).
    ``how`` is shown to people.
    """

    login: Login
    keys: bytes
    session_id: bytes
    how: str

    def __repr__(self) -> str:
        return f"Pass({self.login.credential.username}, {self.how}, …)"


class Fail(NamedTuple):
    """No session. ``told`` is true when an earlier ``Ask`` carried the decision."""

    reject: Reject
    told: bool = False

    @property
    def is_silent(self) -> bool:
        """Whether nobody is to hear of it, so that the NAS asks another server."""
        return self.reject.rule == STALE_SILENT


class Wait(NamedTuple):
    """Whether a password is right has to be found out first; ``then`` is told, and says what follows."""

    unproven: Unproven
    then: Callable[[bool], Ask | Pass | Fail]


Step = Ask | Pass | Fail | Wait


@dataclass(slots=True)
class Circle:
    """What a method may ask of the server in one turn.

    ``judge`` decides about a user name and its proof; ``admit`` about a login that proved itself otherwise;
    ``find`` is the login of a user name. ``identifier`` is the next request's; ``fragment_octets`` what TLS
    may put into it; ``now_s`` is monotonic.
    """

    judge: Callable[[bytes, Proof], Verdict]
    admit: Callable[[Login], Verdict]
    find: Callable[[bytes], Login | None]
    identifier: int
    fragment_octets: int
    now_s: float
    wants_session_id: bool

    def under(self, identifier: int) -> Circle:
        """The same for a conversation inside, whose requests have identifiers of their own."""
        return replace(self, identifier=identifier)


class Method(Protocol):
    """One EAP method in one conversation."""

    kind: int

    def begin(self, circle: Circle) -> Step:
        """The first request."""

    def take(self, data: bytes, identifier: int, circle: Circle) -> Step:
        """The response's data under its identifier. Raises ``MalformedEap``."""

    def close(self) -> None:
        """Let go of what is held outside of memory of our own."""


def refusal(rule: str, identity: bytes, explanation: str, remedy: str) -> Reject:
    """A reject by EAP itself, before a service is known."""
    return Reject(rule, identity.decode("utf-8", "replace"), explanation, remedy)


def declined(verdict: Verdict, identity: bytes) -> Fail:
    """The end of a conversation whose proof was not accepted."""
    if isinstance(verdict, Reject):
        return Fail(verdict)
    return Fail(
        refusal(
            "eap_undecided", identity, "the credential could not be checked now",
            "try again; if it goes on, set the credential's password anew",
        )
    )  # fmt: skip
