"""Operators' sign-ins to network gear: levels, and what a login is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aaa.domain.authentication import Credential

LEVELS: Final = ("read", "write", "full")
"""What an operator may do on a device: look; change most things; everything."""

LOGIN, ADMINISTRATIVE, NAS_PROMPT = 1, 6, 7
"""Service-Type of a request for a device's own prompt (RFC 2865 section 5.6); HotSpot users send 1 too."""


@dataclass(frozen=True, slots=True)
class GearOwner:
    """Whose login it is."""

    id: str


@dataclass(frozen=True, slots=True)
class GearLogin:
    """An operator's login to network gear, with a password of its own."""

    credential: Credential
    level: str
    service: GearOwner
    """The operator; called so because what holds guessers back asks logins for their service."""
