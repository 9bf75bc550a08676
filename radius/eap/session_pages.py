"""Sessions with certificates, page after page: so much of them is remembered, and the oldest go first.

OpenSSL remembers 20,480 sessions in each context and has, from here, no other number and no way to take one
out. Without certificates that is a kilobyte each; a session of EAP-TLS holds the peer's certificate, and is
five or six. So a context is given up when it is full. The one before it is kept beside the new one, and who
has a session there may resume it once more: he is known by the identity that he tells before TLS begins.
"""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL import SSL


class Page:
    """One context and what it remembers."""

    __slots__ = ("__weakref__", "context", "identities", "sessions")

    def __init__(self, context: SSL.Context) -> None:
        self.context = context
        self.identities: set[bytes] = set()
        self.sessions = 0


class SessionPages:
    """The page in use and the one before it. ``sessions``: what a page takes.

    Of the older page no more than another session for each identity in it comes to be.
    """

    def __init__(self, make: Callable[[], SSL.Context], sessions: int) -> None:
        self._make = make
        self._most = sessions
        self._newest = Page(make())
        self._older: Page | None = None

    def page_of(self, identity: bytes) -> Page:
        """Where a peer that comes under that name begins."""
        older = self._older
        if older is not None and identity in older.identities and identity not in self._newest.identities:
            older.identities.remove(identity)
            return older
        return self._newest

    def note(self, page: Page, identity: bytes, sessions: int, *, kept: bool) -> None:
        """A whole handshake has left so many sessions; ``kept``: the peer may resume."""
        if page is not self._newest:
            return
        page.sessions += sessions
        if kept:
            page.identities.add(identity)
        if page.sessions >= self._most:
            self._older, self._newest = page, Page(self._make())
