"""What provisioning needs from outside: a mover of live sessions, and a door to consoles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.secrets import Secret
from provisioning.domain.plan import Change, Observation


class LiveSessionOutcome(Protocol):
    """What became of a service's live sessions.

    ``outcome`` is nothing_live, moved, disconnected, refused or silent; ``exchanges`` are mappings with
    ``sent``, ``received`` and ``ms``.
    """

    @property
    def outcome(self) -> str: ...

    @property
    def detail(self) -> str: ...

    @property
    def exchanges(self) -> Sequence[Mapping[str, Any]]: ...


class LiveSessionMover(Protocol):
    """Moves the live RADIUS sessions of a service under another effect (CoA, else Disconnect)."""

    async def move(self, service_id: str, generation: int, effect: str) -> LiveSessionOutcome: ...


class NoLiveSessions:
    """The mover of an installation without RADIUS: nothing is ever live."""

    @dataclass(frozen=True, slots=True)
    class Nothing:
        """The only outcome there is."""

        outcome: str = "nothing_live"
        detail: str = "no RADIUS on this box"
        exchanges: Sequence[Mapping[str, Any]] = ()

    async def move(self, service_id: str, generation: int, effect: str) -> LiveSessionOutcome:
        return self.Nothing()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a console answered: the text without echo and prompts, and the exit status where there is one."""

    text: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """One line for a console, and the service it is about (None: about the device)."""

    text: str
    service_id: str | None = None


class Driver(Protocol):
    """Words of one platform. A driver declares and parses; it never opens a connection and knows no time."""

    @property
    def name(self) -> str: ...

    @property
    def device_type(self) -> str:
        """The name of the platform in the terminal library."""

    @property
    def option_names(self) -> frozenset[str]: ...

    def option_trouble(self, options: Mapping[str, Any]) -> str | None:
        """What is wrong with a device's options, in words for the operator."""

    def typed(self, command: str, nonce: str) -> tuple[str, ...]:
        """The lines that make the console run ``command`` and then print an end mark with ``nonce``."""

    def end_mark(self, nonce: str) -> str:
        """Pattern (no groups) of the end mark as printed; the echo of what was typed never matches.

        Where the mark ends in ``-`` and digits, they are the exit status of the command.
        """

    def facts_command(self) -> str:
        """Asks the device what it is."""

    def read_facts(self, reply: Reply) -> dict[str, str]:
        """What the device says of itself; raises ``Unreadable``."""

    def observe_commands(self, target: Target) -> list[str]: ...

    def parse_observation(self, target: Target, replies: Sequence[Reply]) -> Observation:
        """The entries of our list as the device says; raises ``Unreadable`` when it says something else."""

    def change_commands(self, target: Target, changes: Sequence[Change]) -> list[Command]: ...

    def complaint(self, reply: Reply) -> str | None:
        """The device's own words of refusal in a reply, or None. Silence proves nothing."""


class Unreadable(Exception):  # noqa: N818 - the word for it
    """A device answered something its driver does not understand; the text says what."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where and as whom to log in, and what the device is known to be."""

    device_id: str
    name: str
    driver: str
    address: str
    port: int
    username: str
    password: Secret | None
    private_key: Secret | None
    host_key: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


NO_SESSION = frozenset(
    {"unreachable", "refused", "timed_out", "no_route", "unknown_name", "login_refused", "host_key"}
)
"""Kinds of trouble that keep a session from beginning."""


class SessionTrouble(Exception):  # noqa: N818 - the word for it
    """The outside failed; the text says so in plain words. ``kind`` is of NO_SESSION, or hung or broken."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Exchange:
    """One command, what came back, and how long it took. Already redacted."""

    sent: str
    received: str
    ms: int
    service_id: str | None = None


class Console(Protocol):
    """An open session on a device."""

    @property
    def host_key(self) -> str | None:
        """The key the device showed, as ``type base64``."""

    @property
    def exchanges(self) -> list[Exchange]: ...

    async def send(self, command: Command) -> Reply:
        """Type one line and read until its end is marked; raises ``SessionTrouble``."""


class Transport(Protocol):
    """Opens consoles. Leaving the context closes the session; entering raises ``SessionTrouble``."""

    def open(self, target: Target, driver: Driver) -> AbstractAsyncContextManager[Console]: ...

    def close(self) -> None:
        """Give back what the transport holds."""
