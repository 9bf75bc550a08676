"""Realms: the part of a user name that says whose subscriber it is (RFC 7542; ``realm\\user`` of old)."""

from __future__ import annotations

import re
from collections.abc import Container

from core.refusal import Refusal

ANY = "*"
"""The realm that stands for every one that has no entry of its own."""

PASSED = (
    "Service-Type", "Framed-Protocol", "Session-Timeout", "Idle-Timeout", "Acct-Interim-Interval",
    "Termination-Action", "Framed-MTU",
)  # fmt: skip
"""What an accept of a home server may bring unless the operator says otherwise: nothing of our network's."""

_LABELS = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")


def split_realm(username: bytes) -> tuple[bytes, str] | None:
    """``(user, realm)`` of ``user@realm`` (the last @) or ``realm\\user``; the realm in lower case."""
    user, at, realm = username.rpartition(b"@")
    if not at:
        realm, at, user = username.partition(b"\\")
    if not at or not realm:
        return None
    try:
        return user, realm.decode().lower()
    except UnicodeDecodeError:
        return None


def without_own_realm(username: bytes, own: Container[str], foreign: Container[str]) -> bytes:
    """The user name without its realm where that is one of ``own``, or ``*`` is and ``foreign`` lacks it."""
    parts = split_realm(username)
    if parts is None or not parts[0]:
        return username
    ours = parts[1] in own or (ANY in own and parts[1] not in foreign)
    return parts[0] if ours else username


def check_realm(text: str) -> str | Refusal:
    """A realm's name as it is compared: a host name in lower case, or ``*``."""
    name = text.strip().lower().removeprefix("@")
    if name == ANY or (len(name) <= 253 and _LABELS.fullmatch(name)):
        return name
    return Refusal(
        "realm.malformed",
        f"{text!r} is no realm; write it like example.net, or * for every other one",
        "name",
    )
