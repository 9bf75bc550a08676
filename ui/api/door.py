"""The door of the API: who asks (a bearer token), whether he may, not too often, and then the operation."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from aiohttp import hdrs, web

from core.refusal import Refused
from ui.api import answers
from ui.api.declare import Ask, Download, Operation, Scope
from ui.api_tokens import digest_of
from ui.store import token_rows
from ui.store.token_rows import ApiToken
from ui.web.text_files import text_stream
from ui.web.visit import Panel, Visit

_PATIENCE_S = 30.0
_NOTE_USE_EVERY = timedelta(minutes=1)
_WRONG_AT_ONCE = 10.0
_WRONG_A_SECOND = 0.5
_REMEMBERED = 1_000
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="hilltop"'}


class Patience:
    """For each key ``at_once`` requests, and ``a_second`` more each second; a bounded number of keys."""

    def __init__(self, at_once: float, a_second: float) -> None:
        self._at_once = at_once
        self._a_second = a_second
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, key: str, now_s: float) -> int:
        """Take one; 0, or after how many seconds the next is there."""
        left = self._now(key, now_s)
        if left < 1:
            return int((1 - left) / self._a_second) + 1
        if len(self._left) >= _REMEMBERED and key not in self._left:
            self._left.clear()
        self._left[key] = (left - 1, now_s)
        return 0

    def is_used_up(self, key: str, now_s: float) -> int:
        """The same without taking one."""
        left = self._now(key, now_s)
        return 0 if left >= 1 else int((1 - left) / self._a_second) + 1

    def _now(self, key: str, now_s: float) -> float:
        left, since_s = self._left.get(key, (self._at_once, now_s))
        return min(self._at_once, left + max(now_s - since_s, 0) * self._a_second)


class ApiDoor:
    """Made once for each application; keeps count of who asks how often."""

    def __init__(self, requests_per_minute: int) -> None:
        self._asked = Patience(requests_per_minute, requests_per_minute / 60)
        self._wrong = Patience(_WRONG_AT_ONCE, _WRONG_A_SECOND)

    async def serve(self, operation: Operation, visit: Visit) -> web.StreamResponse:
        """The answer to a request for ``operation``."""
        answer = await self._answer(operation, visit)
        if isinstance(answer, Download):
            return await text_stream(visit.request, answer.file_name, answer.content_type, answer.parts())
        return answer

    async def _answer(self, operation: Operation, visit: Visit) -> web.Response | Download:
        panel, now_s = visit.panel, visit.panel.clock.monotonic_s()
        source = visit.request.remote or ""
        if (after_s := self._wrong.is_used_up(source, now_s)) > 0:
            return answers.too_many(after_s)
        async with asyncio.timeout(_PATIENCE_S):
            token = await _token_of(panel, visit.request)
            if token is None:
                self._wrong.take(source, now_s)
                return answers.failed(401, headers=_CHALLENGE)
            if (after_s := self._asked.take(token.id, now_s)) > 0:
                return answers.too_many(after_s)
            if not Scope(token.scope).covers(operation.scope):
                return answers.failed(403)
            await _note_use(panel, token)
            try:
                values = operation.values(visit.request.match_info, visit.request.query)
                answer = await operation.handler(Ask(panel, token, values))
            except Refused as trouble:
                return answers.of_refused(trouble)
        return answer if isinstance(answer, Download) else answers.answered(answer)


async def _token_of(panel: Panel, request: web.Request) -> ApiToken | None:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not 20 <= len(token) <= 200:
        return None
    async with panel.workplace.reading() as connection:
        return await token_rows.living_token(connection, digest_of(token.strip()))


async def _note_use(panel: Panel, token: ApiToken) -> None:
    now = panel.workplace.clock.now()
    if token.last_used_at is None or now - token.last_used_at >= _NOTE_USE_EVERY:
        async with panel.workplace.work(f"token:{token.name}") as work:
            await token_rows.note_use(work.connection, token.id, now)
