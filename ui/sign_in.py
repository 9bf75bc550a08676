"""Signing in: cookies that live 15 minutes idle and 12 hours at most, failures that are counted.

Everything here runs on the machine's own clock: a lab clock that moves a month in a minute must not sign
operators out. The cookie is a random token of which only the digest is kept.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import Clock
from core.work import Work, Workplace
from ui.config import UiSettings
from ui.passwords import LONGEST, Passwords
from ui.store import operator_rows
from ui.store.operator_rows import Operator, SignIn

WINDOW = timedelta(minutes=15)
FAILURES_PER_OPERATOR = 10
FAILURES_PER_ADDRESS = 30
_TOUCH_EVERY = timedelta(seconds=30)  # a write per page view would be waste


@dataclass(frozen=True, slots=True)
class NewSignIn:
    """A fresh cookie and whom it is for."""

    token: str
    operator: Operator


@dataclass(frozen=True, slots=True)
class TooManyFailures:
    """Refused before the password was looked at."""


@dataclass(frozen=True, slots=True)
class NotRight:
    """Name or password is wrong; which of them is not said."""


def digest(token: str) -> str:
    """What is kept of a cookie."""
    return hashlib.sha256(token.encode()).hexdigest()


class SignIns:
    """Opens, finds and ends sign-ins."""

    def __init__(
        self, workplace: Workplace, clock: Clock, passwords: Passwords, settings: UiSettings
    ) -> None:
        self._workplace = workplace
        self._clock = clock
        self._passwords = passwords
        self._idle = timedelta(minutes=settings.idle_minutes)
        self._longest = timedelta(hours=settings.longest_hours)

    async def open(self, name: str, password: str, address: str) -> NewSignIn | TooManyFailures | NotRight:
        """As ``prove``, with a fresh cookie."""
        proved = await self.prove(name, password, address)
        return await self.renew(proved, address=address) if isinstance(proved, Operator) else proved

    async def prove(self, name: str, password: str, address: str) -> Operator | TooManyFailures | NotRight:
        """Check a name and password typed at ``address``; an unknown name takes as long as a wrong one."""
        name = name.strip().lower()[:80]
        attempt = {f"operator:{name}": FAILURES_PER_OPERATOR, f"address:{address}": FAILURES_PER_ADDRESS}
        if not await self._reserve(attempt):
            return TooManyFailures()
        async with self._workplace.reading() as connection:
            found = await operator_rows.operator_by_name(connection, name)
        right = len(password) <= LONGEST and await self._passwords.matches(
            password, found.password_hash if found else None
        )
        if not right or found is None or not found.enabled:
            await self._record_failure(found)
            return NotRight()
        return found

    async def forgive(self, work: Work, found: Operator, address: str) -> None:
        """An operator has proved himself at ``address``: his failures are forgiven, the rest is on record."""
        await operator_rows.forget_failures(work.connection, f"operator:{found.name}")
        await operator_rows.forgive_failure(work.connection, f"address:{address}")
        await work.audit("operator.signed_in", found.id, name=found.name)

    async def renew(self, found: Operator, address: str | None = None) -> NewSignIn:
        """A fresh cookie for an operator who has just proved himself.

        With an ``address`` this is a sign-in, and its reserved failures are forgiven; without, the password
        has changed, and every other sign-in of the operator ends.
        """
        token, csrf_token, now = secrets.token_urlsafe(32), secrets.token_urlsafe(24), self._clock.now()
        async with self._workplace.work(f"operator:{found.name}") as work:
            if address is None:
                await operator_rows.end_sign_ins_of(work.connection, found.id, now)
            else:
                await self.forgive(work, found, address)
            await operator_rows.forget_sign_ins_before(work.connection, now - 2 * self._longest)
            await operator_rows.add_sign_in(work.connection, digest(token), found.id, csrf_token, now)
        return NewSignIn(token, found)

    async def find(self, token: str, *, touch: bool) -> SignIn | None:
        """The live sign-in of a cookie; ``touch`` False (automatic refreshes) does not keep it awake."""
        now = self._clock.now()
        async with self._workplace.reading() as connection:
            found = await operator_rows.live_sign_in(connection, digest(token))
        if found is None or self._expired(found, now):
            return None
        if touch and now - found.last_seen_at >= _TOUCH_EVERY:
            async with self._workplace.work(f"operator:{found.operator.name}") as work:
                await operator_rows.touch_sign_in(work.connection, found.token_digest, now)
        return found

    async def end(self, found: SignIn) -> None:
        """Sign out: the cookie is worthless from here on."""
        async with self._workplace.work(f"operator:{found.operator.name}") as work:
            await operator_rows.end_sign_in(work.connection, found.token_digest, self._clock.now())

    def _expired(self, found: SignIn, now: datetime) -> bool:
        return now - found.last_seen_at > self._idle or now - found.created_at > self._longest

    async def _reserve(self, attempt: dict[str, int]) -> bool:
        """Count the attempt as failed beforehand, so that attempts made at once cannot outrun the limit."""
        now = self._clock.now()
        async with self._workplace.work("system:web") as work:
            for key, most in attempt.items():
                if await operator_rows.failures_since(work.connection, key, now - WINDOW) >= most:
                    return False
            for key in attempt:
                await operator_rows.count_failure(work.connection, key, now, now - WINDOW)
        return True

    async def _record_failure(self, found: Operator | None) -> None:
        # An unknown name is not kept: people type passwords into the wrong field.
        subject, name = (found.id, found.name) if found else ("sign_in", "unknown")
        async with self._workplace.work("system:web") as work:
            await work.audit("operator.sign_in_failed", subject, name=name)
