"""Bearer tokens of the API: made once and shown once, kept as a digest, revoked for good."""

from __future__ import annotations

import hashlib
import re
import secrets

from core.refusal import Refusal
from core.secrets import Secret
from core.work import Work
from ui.store import token_rows
from ui.store.token_rows import ApiToken

SCOPES = {"read": "Look only", "act": "Look, end and change sessions"}
PREFIX = "hilltop_"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def digest_of(token: str) -> str:
    """What is kept of a token. It is 256 random bits: nothing slower is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


async def make_token(work: Work, name: str, scope: str) -> Secret | Refusal:
    """A new token; it is returned now and never again."""
    name = name.strip().lower()
    if not _NAME.fullmatch(name):
        words = "use 1 to 40 of a-z, 0-9, dot, dash and underscore, letter or digit first"
        return Refusal("name.malformed", words, "name")
    if scope not in SCOPES:
        return Refusal("scope.unknown", f"is {scope!r}; use one of {', '.join(SCOPES)}", "scope")
    if await token_rows.token_called(work.connection, name) is not None:
        return Refusal("name.taken", f"there is or was a token {name!r}; choose another name", "name")
    token = Secret(PREFIX + secrets.token_urlsafe(32))
    made = ApiToken(work.ids.new("tok"), name, scope, work.now, work.actor, None, None, None)
    await token_rows.add_token(work.connection, made, digest_of(token.reveal()))
    await work.audit("token.make", made.id, name=name, scope=scope)
    return token


async def revoke_token(work: Work, token: str) -> Refusal | None:
    """The token (by name or id) is refused from now on. Revoking it again changes nothing."""
    found = await token_rows.token_called(work.connection, token)
    if found is None:
        return Refusal("token.unknown", f"there is no token {token!r}; see: hilltop token list", "token")
    if found.revoked_at is None:
        await token_rows.revoke(work.connection, found.id, work.now, work.actor)
        await work.audit("token.revoke", found.id, name=found.name)
    return None
