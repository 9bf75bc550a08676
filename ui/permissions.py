"""Who may do what. Every route declares one permission; a role is a set of them."""

from __future__ import annotations

from enum import StrEnum


class Permission(StrEnum):
    """What a route asks of its visitor."""

    PUBLIC = "public"  # anybody, signed in or not
    BEARER = "bearer"  # programs with a token, never a sign-in: see ui.api
    PROVEN = "proven"  # whoever the request itself proves: a gateway's signature, a link made for a customer
    SIGNED_IN = "signed_in"  # any operator, even one whose one-time password is still to be changed
    LOOK = "look"  # read everything but the audit trail
    SUBSCRIBERS = "subscribers"  # make accounts and services, place and lift the operator's hold
    MONEY = "money"  # record payments, make plans, run billing
    NETWORK = "network"  # make towers, devices, NASes and service profiles
    OWN = "own"  # operators and the audit trail


class Role(StrEnum):
    """What an operator is trusted with."""

    OWNER = "owner"
    BILLING = "billing"
    NETWORK = "network"
    VIEWER = "viewer"


_ALWAYS = frozenset({Permission.PUBLIC, Permission.SIGNED_IN})

ALLOWED: dict[Role, frozenset[Permission]] = {
    Role.OWNER: frozenset(Permission) - {Permission.BEARER, Permission.PROVEN},
    Role.BILLING: _ALWAYS | {Permission.LOOK, Permission.SUBSCRIBERS, Permission.MONEY},
    Role.NETWORK: _ALWAYS | {Permission.LOOK, Permission.SUBSCRIBERS, Permission.NETWORK},
    Role.VIEWER: _ALWAYS | {Permission.LOOK},
}


def allows(role: Role, permission: Permission) -> bool:
    """True when ``role`` holds ``permission``."""
    return permission in ALLOWED[role]
