"""Operators' passwords: argon2id, a floor under their quality, and one-time passwords."""

from __future__ import annotations

import asyncio
import hmac
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from core.secrets import Sealer, Secret

SHORTEST = 12
LONGEST = 200
_FEWEST_DIFFERENT = 6
_TYPED = "abcdefghjkmnpqrstvwxyz23456789"
_ROWS = "01234567890123456789 abcdefghijklmnopqrstuvwxyz qwertyuiopasdfghjklzxcvbnm"
_WELL_KNOWN = (
    "password", "passw0rd", "qwerty", "letmein", "welcome", "admin", "changeme", "hilltop", "mikrotik",
    "ubnt",
)  # fmt: skip


class Passwords:
    """Hashes and checks passwords outside the event loop, a few at a time: a flood must not eat the memory.

    19 MiB, two passes, one lane: the OWASP figure for argon2id.
    """

    def __init__(self, at_once: int = 2) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._gate = asyncio.Semaphore(at_once)
        self._nobody = self._hasher.hash("nobody has this password")

    def hash_now(self, password: str) -> str:
        """The hash of a new password (tens of milliseconds; for the command line and tests)."""
        return self._hasher.hash(password)

    async def hash(self, password: str) -> str:
        """The hash of a new password."""
        async with self._gate:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """True when the password is the one; ``None`` (no such operator) takes the same time and is False."""
        async with self._gate:
            right = await asyncio.to_thread(self._verify, password, password_hash or self._nobody)
        return right and password_hash is not None

    def _verify(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False


def new_nonce() -> str:
    """What makes one form differ from the next."""
    return secrets.token_urlsafe(18)


def repeatable_password(sealer: Sealer, nonce: str, username: str) -> Secret:
    """A PPPoE password for one form: the same form sent twice gives the same one, nobody else can tell it.

    Three groups of four characters without look-alikes, 58 bits.
    """
    octets = hmac.digest(sealer.derive_key("panel-password"), f"{nonce}\0{username}".encode(), "sha512")
    number, letters = int.from_bytes(octets), []
    for _ in range(12):
        number, place = divmod(number, len(_TYPED))
        letters.append(_TYPED[place])
    return Secret("-".join("".join(letters[start : start + 4]) for start in (0, 4, 8)))


def password_fault(password: str, name: str) -> str | None:
    """What is wrong with a new password, in words, or None."""
    lowered = password.lower()
    stripped = lowered
    for word in (*_WELL_KNOWN, name.lower()):
        stripped = stripped.replace(word, "")
    if len(password) < SHORTEST:
        return f"is too short: use at least {SHORTEST} characters, for example four unrelated words"
    if len(password) > LONGEST:
        return f"is too long: use at most {LONGEST} characters"
    if len(set(lowered)) < _FEWEST_DIFFERENT or lowered in _ROWS:
        return "is too easy to guess: use more different characters"
    if len(stripped) < SHORTEST // 2:
        return "is too easy to guess: it is mostly your name or a well-known word"
    return None
