"""Facts that the AAA room publishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from core.facts import Fact


@dataclass(frozen=True, slots=True)
class EntitlementChanged(Fact):
    """What a service may do is now another; ``cause`` says in words what made it so."""

    kind: ClassVar[str] = "aaa.entitlement_changed"

    service_id: str
    generation: int
    effect: str
    cause: str

    def subject(self) -> str:
        return self.service_id


@dataclass(frozen=True, slots=True)
class AddressChanged(Fact):
    """A service that is held (effect other than none) has another set of addresses than before.

    Also told of a service whose new session signed in under an older entitlement than the present one.
    ``addresses`` is the whole new set, sorted; empty when the subscriber went away.
    """

    kind: ClassVar[str] = "aaa.address_changed"

    service_id: str
    generation: int
    effect: str
    addresses: list[str]

    def subject(self) -> str:
        return self.service_id


@dataclass(frozen=True, slots=True)
class ProfileRedefined(Fact):
    """A profile says something else now: live sessions of its services behind ``after`` are to be moved."""

    kind: ClassVar[str] = "aaa.profile_redefined"

    profile_id: str
    after: str
    cause: str

    def subject(self) -> str:
        return self.profile_id
