"""Passwords checked against slow hashes, off the event loop: a few threads, a bounded queue, and a memory.

argon2id and bcrypt take tens of milliseconds on purpose. A password once found right is known again by a
keyed digest under a key of this process alone, so that the next sign-in with it costs no more than one with
a password kept in clear; the last ones found wrong are known again likewise, for a CPE with a mistyped
password dials for ever. A new password has a new hash, under which nothing is known.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from typing import Any, TypeVar

from aaa.domain.password_hash import PasswordHash
from core.log import logger

_RIGHT_KEPT = 131_072
_WRONG_KEPT = 16_384
_log = logger("radius")

Kept = TypeVar("Kept")
Then = Callable[[bool | None], None]
"""Called on the event loop with whether the password was right; None when it could not be checked."""


class SlowProofs:
    """The checks of one process. Everything but the check itself happens on the event loop."""

    def __init__(self, threads: int = 2, queue: int = 256) -> None:
        self._threads = threads
        self._queue = queue
        self._pool: ThreadPoolExecutor | None = None
        self._key = os.urandom(32)
        self._waiting: dict[bytes, list[Then]] = {}
        self._waiters = 0
        self._right: dict[str, bytes] = {}
        self._wrong: dict[bytes, None] = {}

    def known(self, hashed: PasswordHash, password: bytes) -> bool | None:
        """Whether the password is right, as far as that needs no waiting; None when it has to be checked."""
        digest = self._digest(hashed, password)
        if self._right.get(hashed.text) == digest:
            return True
        if digest in self._wrong:
            return False
        if hashed.is_slow:
            return None
        right = hashed.proves(password)
        self._remember(hashed, digest, right=right)
        return right

    def submit(self, hashed: PasswordHash, password: bytes, then: Then) -> bool:
        """Check it in a thread and tell ``then``; False when as many wait already as may.

        Those who wait for the same password of the same hash share one check.
        """
        if self._waiters >= self._queue:
            return False
        digest = self._digest(hashed, password)
        others = self._waiting.get(digest)
        self._waiters += 1
        if others is not None:
            others.append(then)
            return True
        self._waiting[digest] = [then]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="slow-proof")
        checking = self._pool.submit(hashed.proves, password)
        done = partial(self._done, hashed, digest)
        loop = asyncio.get_running_loop()
        checking.add_done_callback(lambda future: _tell(loop, done, future))
        return True

    def _done(self, hashed: PasswordHash, digest: bytes, checked: Future[bool]) -> None:
        waiting = self._waiting.pop(digest)
        self._waiters -= len(waiting)
        right = None if checked.cancelled() else _result(checked, hashed)
        if right is not None:
            self._remember(hashed, digest, right=right)
        for then in waiting:
            try:
                then(right)
            except Exception as trouble:  # noqa: BLE001 - the boundary of one answer
                _log.error("slow_proof_answer_failed", error=f"{type(trouble).__name__}: {trouble}")

    def _remember(self, hashed: PasswordHash, digest: bytes, *, right: bool) -> None:
        if right:
            _make_room(self._right, _RIGHT_KEPT)
            self._right[hashed.text] = digest
        else:
            _make_room(self._wrong, _WRONG_KEPT)
            self._wrong[digest] = None

    def _digest(self, hashed: PasswordHash, password: bytes) -> bytes:
        """A keyed digest (RFC 7693) of the hash and the password: nothing that leaves this process."""
        text = hashed.text.encode()
        return blake2b(len(text).to_bytes(2, "big") + text + password, key=self._key, digest_size=32).digest()

    @property
    def waiting(self) -> int:
        """How many requests wait for a check."""
        return self._waiters

    def close(self) -> None:
        """Drop what waits; a check under way ends by itself and is told to nobody."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _result(checked: Future[bool], hashed: PasswordHash) -> bool | None:
    trouble = checked.exception()
    if trouble is None:
        return checked.result()
    # no memory for the hash, say: the NAS asks again
    _log.error("slow_proof_failed", scheme=hashed.scheme, error=f"{type(trouble).__name__}: {trouble}")
    return None


def _tell(
    loop: asyncio.AbstractEventLoop, done: Callable[[Future[bool]], None], checked: Future[bool]
) -> None:
    """From the thread to the loop, if it is still there to be told."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(done, checked)


def _make_room(kept: dict[Kept, Any], most: int) -> None:
    """The oldest tenth goes when it is full."""
    if len(kept) >= most:
        for key in list(kept)[: most // 10]:
            del kept[key]
